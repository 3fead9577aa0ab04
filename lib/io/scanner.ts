/**
 * JSON read value by value from bytes, by a caller who knows which value comes next: anything else is refused
 * at its first byte. So neither depth nor size of what a file holds can cost more than one pass over its bytes.
 */
import { isUtf8 } from 'node:buffer'
import type { BpttError } from '../errors.ts'

/** Makes the error for a problem with the file. */
export type Fail = (problem: string) => BpttError

const QUOTE = 0x22
const BACKSLASH = 0x5c
const [ZERO, NINE] = [0x30, 0x39]

export class Scanner {
  /** What is being read, for messages. */
  subject = 'the header'
  readonly #bytes: Buffer
  readonly #fail: Fail
  #at = 0

  constructor(bytes: Buffer, fail: Fail) {
    this.#bytes = bytes
    this.#fail = fail
    if (!isUtf8(bytes)) throw fail('the header is not UTF-8')
  }

  /** The keys of an object; after each, its value is to be read. */
  *members(): Generator<string> {
    const seen = new Set<string>()
    this.#expect('{')
    if (this.#take('}')) return
    do {
      const key = this.string()
      if (seen.has(key)) throw this.failure(`the key ${quote(key)} appears twice`)
      seen.add(key)
      this.#expect(':')
      yield key
    } while (this.#take(','))
    this.#expect('}')
  }

  /** The places of a list, from 0; after each, its value is to be read. */
  *items(): Generator<number> {
    this.#expect('[')
    if (this.#take(']')) return
    let place = 0
    do yield place++
    while (this.#take(','))
    this.#expect(']')
  }

  string(): string {
    this.#skip()
    const bytes = this.#bytes
    const start = this.#at
    if (bytes[start] !== QUOTE) throw this.#unexpected('a string')
    let at = start + 1
    let escaped = false
    for (; bytes[at] !== QUOTE; at++) {
      if (bytes[at] === BACKSLASH) {
        escaped = true
        at++
      }
      // Past the end, bytes are undefined.
      if (!((bytes[at] as number) >= 0x20)) {
        this.#at = at
        throw this.#unexpected('a character of a string')
      }
    }
    this.#at = at + 1
    if (!escaped) return bytes.toString('utf8', start + 1, at)
    try {
      return JSON.parse(bytes.toString('utf8', start, at + 1)) as string
    } catch {
      throw this.failure(`the string at byte ${start} has a bad escape`)
    }
  }

  /** An integer of at least 0 that a number holds exactly. */
  integer(): number {
    this.#skip()
    const expected = 'an integer from 0 to 2^53 - 1'
    const bytes = this.#bytes
    const start = this.#at
    let at = start
    let value = 0
    for (; isDigit(bytes[at]) && value <= Number.MAX_SAFE_INTEGER; at++) {
      value = value * 10 + (bytes[at] as number) - ZERO
    }
    const next = String.fromCharCode(bytes[at] ?? 0)
    const isPadded = bytes[start] === ZERO && at > start + 1
    if (at === start || isPadded || value > Number.MAX_SAFE_INTEGER || '.eE'.includes(next)) {
      throw this.#unexpected(expected)
    }
    this.#at = at
    return value
  }

  end(): void {
    this.#skip()
    if (this.#at < this.#bytes.length) throw this.#unexpected('the end')
  }

  failure(problem: string): BpttError {
    return this.#fail(`${this.subject}: ${problem}`)
  }

  #take(character: string): boolean {
    this.#skip()
    if (this.#bytes[this.#at] !== character.charCodeAt(0)) return false
    this.#at++
    return true
  }

  #expect(character: string): void {
    if (!this.#take(character)) throw this.#unexpected(character)
  }

  #skip(): void {
    const bytes = this.#bytes
    let at = this.#at
    while (isSpace(bytes[at])) at++
    this.#at = at
  }

  #unexpected(expected: string): BpttError {
    const at = this.#at
    const rest = this.#bytes.toString('utf8', at, at + 20)
    const got = rest === '' ? 'it ends' : `got ${quote(rest)}`
    return this.failure(`expected ${expected} at byte ${at} of the header, ${got}`)
  }
}

/** A text from the file, fit for a one-line message. */
export function quote(text: string): string {
  return text.length <= 80 ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, 77))}...`
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
