/** The parity and fixture tests once more on every kernel table of this CPU that the default run does not use. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { info } from '../lib/index.ts'

const FILES = ['test/parity.test.ts', 'test/fixtures.test.ts']
const { isa: current, isas } = info()

function vitest(isa: string): Promise<{ code: number | null; printed: string }> {
  // A nested run must not take itself for a worker of this one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|TINYPOOL|NODE_OPTIONS)/.test(name)),
  )
  const command = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
  const child = spawn(process.execPath, [command, 'run', '--reporter=dot', ...FILES], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...env, BPTT_ISA: isa, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      printed += text
    })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, printed })))
}

describe('parity and fixtures on the other kernel tables', () => {
  for (const isa of ['baseline', 'avx2', 'avx512', 'neon']) {
    const reason = !isas.includes(isa)
      ? 'this CPU or build lacks it'
      : isa === current
        ? 'the default run uses it'
        : ''
    it.skipIf(reason !== '')(
      `${isa}${reason && ` (skipped: ${reason})`}`,
      async () => {
        const { code, printed } = await vitest(isa)
        // All of what it printed, where it failed.
        expect(code === 0 ? '' : printed).toBe('')
        expect(printed).toMatch(/Tests +\d+ passed/)
      },
      300_000,
    )
  }
})
