/** `bptt info`: what this installation is and runs on. */
import { cuda, info } from '../index.ts'
import { printJson, printLine } from './output.ts'

export async function showInfo(options: { json?: boolean }): Promise<void> {
  const { memory, ...build } = info()
  const all = {
    ...build,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cuda: cuda.description() ?? `not available: ${cuda.unavailableReason()}`,
  }
  if (options.json) {
    await printJson({ ...all, memory })
    return
  }
  const lines: [string, string][] = Object.entries(all).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.join(' ') : String(value),
  ])
  const width = Math.max(...lines.map(([name]) => name.length))
  for (const [name, value] of lines) await printLine(`${name.padEnd(width)}  ${value}`)
}
