/** From the words of the command line to values; what makes no sense is refused here. */
import { InvalidArgumentError } from 'commander'
import { MAX_INT32, MAX_THREADS } from '../limits.ts'
import { inRange, type Range, whole } from './settings.ts'

/** What setNumThreads() takes. */
export const THREADS = whole(1, MAX_THREADS)
export const COUNT = whole(1, MAX_INT32)
/** Characters to generate: they may become one string. */
export const LENGTH = whole(0, 1e8)

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

/** A number in decimal, of that range. */
export function numberIn(range: Range): (text: string) => number {
  return (text) => {
    const value = (range.whole ? /^\d+$/ : DECIMAL).test(text) ? Number(text) : Number.NaN
    if (!inRange(value, range)) throw new InvalidArgumentError(`Expected a ${describe(range)}.`)
    return value
  }
}

function describe({ whole, least, most, below }: Range): string {
  const kind = whole ? 'whole number' : 'number'
  if (most >= Number.MAX_SAFE_INTEGER) return `${kind} of at least ${least}`
  if (below) return `${kind} of at least ${least} and below ${most}`
  return `${kind} of at least ${least} and at most ${most === MAX_INT32 ? '2^31 - 1' : most}`
}

/** A list of names out of `known`, separated by commas. */
export function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(',').map((name) => {
      if (known.includes(name as T)) return name as T
      throw new InvalidArgumentError(`Expected a list of ${known.join(', ')}, separated by commas.`)
    })
}

export function threadList(text: string): number[] {
  return text.split(',').map(numberIn(THREADS))
}

export function device(text: string): string {
  if (!/^(cpu|cuda(:\d{1,4})?)$/.test(text)) throw new InvalidArgumentError('Expected cpu, cuda or cuda:<n>.')
  return text
}

/** A file or folder, or a program. */
export function path(text: string): string {
  if (text === '') throw new InvalidArgumentError('Expected a name.')
  return text
}

/** As a shell must be given it. */
export function quoted(argument: string): string {
  if (/^[\w@%+=:,./-]+$/.test(argument)) return argument
  return `'${argument.replaceAll("'", "'\\''")}'`
}
