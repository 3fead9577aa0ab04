/** A contender as a child process, seen from `bptt bench`. It sleeps while it is not asked. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Request } from './protocol.ts'

/** How to start a contender. */
export interface ContenderCommand {
  name: string
  command: string
  args: string[]
  threads?: number // instead of those of the question
  /** Variables beside those of this process; undefined takes one away. */
  env?: Record<string, string | undefined>
  /** Default: that of this process. */
  cwd?: string
}

/** The contender ended, or its answer makes no sense. */
export class ContenderError extends Error {}

const ERROR_TAIL = 2000

export class Child {
  readonly name: string
  readonly #process: ChildProcess
  readonly #killOnExit: () => void
  readonly #limit: number
  #stderr = ''
  #ended: string | null = null
  #waiting: { resolve(answer: Record<string, unknown>): void; reject(error: Error): void } | null = null

  /** @param limit seconds that an answer may take */
  constructor({ name, command, args, env, cwd }: ContenderCommand, limit: number) {
    this.name = name
    this.#limit = limit
    // A process group of its own: Ctrl-C is for `bptt bench`, which then ends its children.
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      cwd,
      detached: true,
    })
    this.#process = child
    this.#killOnExit = () => child.kill('SIGKILL')
    process.on('exit', this.#killOnExit)
    child.stdin.on('error', () => {}) // it ended: told by 'close'
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-ERROR_TAIL)
    })
    createInterface({ input: child.stdout }).on('line', (line) => {
      // At once: the next line may have come with this one.
      const waiting = this.#waiting
      const answer = parse(line)
      if (!waiting) this.kill(`said without being asked: ${line.slice(0, 200)}`)
      else if (!answer) this.kill(`said what is no JSON object: ${line.slice(0, 200)}`)
      else {
        this.#waiting = null
        waiting.resolve(answer)
      }
    })
    child.on('error', (error) => this.#end(`could not be started: ${error.message}`))
    child.on('close', (code, signal) => {
      const said = withoutFrames(this.#stderr.trim())
      this.#end(`ended with ${signal ?? `exit code ${code}`}${said ? `: ${said}` : ''}`)
    })
  }

  get ended(): boolean {
    return this.#ended !== null
  }

  /**
   * The answer to a request.
   *
   * @throws ContenderError if there is none, or if it is an error
   */
  async ask<T>(request: Request): Promise<T> {
    if (this.#ended !== null) throw new ContenderError(this.#ended)
    let timer: NodeJS.Timeout | undefined
    const answer = await new Promise<Record<string, unknown>>((resolve, reject) => {
      this.#waiting = { resolve, reject }
      timer = setTimeout(() => this.kill(`gave no answer within ${this.#limit} seconds`), this.#limit * 1000)
      this.#process.stdin?.write(`${JSON.stringify(request)}\n`)
    }).finally(() => clearTimeout(timer))
    if (typeof answer.error === 'string') throw new ContenderError(answer.error)
    return answer as T
  }

  /** Lets it end by itself. */
  async stop(): Promise<void> {
    if (this.#ended !== null) return
    const closed = new Promise((resolve) => this.#process.once('close', resolve))
    const timer = setTimeout(() => this.kill('did not stop'), 5000)
    this.#process.stdin?.end('{"do":"stop"}\n')
    await closed
    clearTimeout(timer)
  }

  kill(reason: string): void {
    this.#end(reason)
    this.#process.kill('SIGKILL')
  }

  #end(reason: string): void {
    this.#ended ??= reason
    process.off('exit', this.#killOnExit)
    this.#waiting?.reject(new ContenderError(this.#ended))
    this.#waiting = null
  }
}

/** What a process said, less where in its code that was. */
function withoutFrames(text: string): string {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !/^\s+at /.test(line))
  return lines.join(' | ')
}

function parse(line: string): Record<string, unknown> | null {
  try {
    const answer: unknown = JSON.parse(line)
    return typeof answer === 'object' && answer !== null ? (answer as Record<string, unknown>) : null
  } catch {
    return null
  }
}
