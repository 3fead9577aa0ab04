/** Runs the built command line as a user does: as a process of its own. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Result {
  code: number | null
  stdout: string
  stderr: string
}

export interface Running {
  child: ChildProcess
  done: Promise<Result>
  /** Resolves when stdout or stderr has matched. */
  seen(pattern: RegExp): Promise<void>
}

export function start(args: string[], options: SpawnOptions & { main?: string } = {}): Running {
  const { main = MAIN, ...rest } = options
  return watch(spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'], ...rest }))
}

export function watch(child: ChildProcess): Running {
  const result: Result = { code: null, stdout: '', stderr: '' }
  const waiting: (() => void)[] = []
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      result[name] += text
      for (const check of waiting) check()
    })
  }
  const done = new Promise<Result>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...result, code }))
  })
  const seen = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (pattern.test(result.stdout) || pattern.test(result.stderr)) resolve()
      }
      waiting.push(check)
      check()
      done.then(() => reject(new Error(`ended without ${pattern}: ${JSON.stringify(result)}`)), reject)
    })
  return { child, done, seen }
}

export function bptt(...args: string[]): Promise<Result> {
  return start(args).done
}

/** The objects of a --json output. */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}
