/**
 * The contract of streams and exit codes: results on stdout, progress and diagnostics on stderr; 0 done,
 * 1 failed while running, 2 wrong usage or unreadable input, 129, 130 and 143 after a signal. A reader that
 * closes a pipe is no error: what would have been written is dropped. All that is written is escaped here,
 * so no name and no file can command the terminal.
 */
import { styleText } from 'node:util'
import { BpttError } from '../errors.ts'
import { jsonLine, oneLine, visible } from './escape.ts'

export const EXIT_FAILURE = 1
export const EXIT_USAGE = 2

/** The user can mend it: an option, a file that cannot be read, a file that is not what it should be. */
export class UsageError extends Error {}

const closed = new Set<NodeJS.WriteStream>()

/** To be called before the first write. */
export function guardPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      closed.add(stream)
      // EIO: the terminal is gone.
      if (['EPIPE', 'EIO', 'ERR_STREAM_DESTROYED'].includes(error.code ?? '')) return
      process.exitCode = EXIT_FAILURE
      note(`bptt: cannot write to ${stream === process.stdout ? 'stdout' : 'stderr'}: ${error.message}`)
    })
  }
}

/** A result that could not be written stays a failure. */
export async function exitWith(command: Promise<number>): Promise<void> {
  process.exitCode = (await command) || process.exitCode
}

/** Writes a line of a result. Resolves when there is room for more; false if nobody reads any longer. */
export function printLine(text: string): Promise<boolean> {
  return write(`${oneLine(text)}\n`)
}

/** Writes text that is itself the result: as it is, but on a terminal its control characters are escaped. */
export function printText(text: string): Promise<boolean> {
  return write(process.stdout.isTTY ? visible(text) : text)
}

/** Writes a value as one line of JSON to stdout. */
export function printJson(value: unknown): Promise<boolean> {
  return write(`${jsonLine(value)}\n`)
}

async function write(text: string): Promise<boolean> {
  const { stdout } = process
  if (closed.has(stdout)) return false
  if (!stdout.write(text)) await roomIn(stdout)
  return !closed.has(stdout)
}

function roomIn(stream: NodeJS.WriteStream): Promise<void> {
  const events = ['drain', 'close', 'error']
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of events) stream.off(event, done)
      resolve()
    }
    for (const event of events) stream.on(event, done)
  })
}

/** Writes a diagnostic line. */
export function note(text: string): void {
  toStderr(oneLine(text))
}

function toStderr(line: string): void {
  if (!closed.has(process.stderr)) process.stderr.write(`${line}\n`)
}

/** Says what went wrong, without a stack for what the user or the machine did; returns the exit code. */
export function reportFailure(error: unknown): number {
  const expected = error instanceof UsageError || hasCode(error) || isSystemError(error)
  const text = expected ? (error as Error).message : describeBug(error)
  // The stack of a bug and the advice on a missing binary have several lines.
  const lines = !expected || (error as BpttError).code === 'ERR_BPTT_BINDING'
  toStderr(`${red('bptt:')} ${(lines ? visible : oneLine)(text)}`)
  return error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE
}

/** Runs `read`; a file that is missing, closed to us or no file at all is a matter of usage. */
export async function readingInput<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof BpttError && error.code === 'ERR_BPTT_FORMAT') {
      throw new UsageError(error.message, { cause: error })
    }
    if (isSystemError(error)) throw new UsageError(`cannot read ${path}: ${error.message}`, { cause: error })
    throw error
  }
}

/** Of the library: misuse, or a failure at run time. */
function hasCode(error: unknown): error is BpttError {
  return error instanceof Error && String((error as Partial<BpttError>).code).startsWith('ERR_BPTT_')
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}

function describeBug(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

/** hasColors() honours NO_COLOR, FORCE_COLOR and TERM=dumb. */
function red(text: string): string {
  const { stderr } = process
  return stderr.isTTY && stderr.hasColors() ? styleText('red', text, { validateStream: false }) : text
}
