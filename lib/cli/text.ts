/** Text as numbers: files, the vocabulary of Unicode code points, and parallel streams of training chunks. */
import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { readingInput, UsageError } from './output.ts'

/** Reads files as UTF-8 and joins them in the given order. */
export async function readText(paths: readonly string[]): Promise<string> {
  const parts: string[] = []
  for (const path of paths) {
    const bytes = await readingInput(path, () => readFile(path))
    if (!isUtf8(bytes)) throw new UsageError(`${path} is not UTF-8 text`)
    parts.push(bytes.toString('utf8').replace(/^\uFEFF/, ''))
  }
  return parts.join('')
}

export function textDigest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The id of every character that is not in the vocabulary. */
export const UNKNOWN = 0

/** Code points to ids: 0 is "unknown", the rest are sorted by code point. */
export class Vocabulary {
  /** Without the unknown one: the character of id i is characters[i - 1]. */
  readonly characters: readonly string[]
  readonly #ids = new Map<number, number>()

  constructor(characters: readonly string[]) {
    this.characters = characters
    for (const [i, character] of characters.entries())
      this.#ids.set(character.codePointAt(0) as number, i + 1)
  }

  static of(text: string): Vocabulary {
    const points = new Set<number>()
    for (const character of text) points.add(character.codePointAt(0) as number)
    return new Vocabulary([...points].sort((a, b) => a - b).map((point) => String.fromCodePoint(point)))
  }

  /** Number of ids. */
  get size(): number {
    return this.characters.length + 1
  }

  encode(text: string): Int32Array {
    const ids = new Int32Array(text.length)
    let count = 0
    for (const character of text) ids[count++] = this.#ids.get(character.codePointAt(0) as number) ?? UNKNOWN
    return ids.subarray(0, count)
  }

  decode(id: number): string {
    return this.characters[id - 1] ?? '\uFFFD'
  }

  has(character: string): boolean {
    return this.#ids.has(character.codePointAt(0) as number)
  }
}

/** The characters of `text` that the vocabulary lacks, each once. */
export function unknownCharacters(text: string, vocabulary: Vocabulary): string[] {
  return [...new Set(text)].filter((character) => !vocabulary.has(character))
}

/** Cuts a text before its last `fraction` of code points. */
export function holdOut(text: string, fraction: number): { training: string; heldOut: string } {
  let points = 0
  for (const _ of text) points++
  let cut = 0
  for (let kept = points - Math.floor(points * fraction); kept > 0; kept--) {
    cut += (text.codePointAt(cut) as number) > 0xffff ? 2 : 1
  }
  return { training: text.slice(0, cut), heldOut: text.slice(cut) }
}

export interface Chunk {
  steps: number
  input: Int32Array // [steps,batch]
  target: Int32Array // [steps,batch]
}

/**
 * `batch` equal parts of a text, read side by side in chunks of `seqLen`: row b of each chunk goes on where
 * row b of the one before it stopped. The last chunk may be shorter.
 */
export class TextStreams {
  readonly chunks: number
  /** Predicted characters of all chunks. */
  readonly characters: number
  readonly #ids: Int32Array
  readonly #batch: number
  readonly #seqLen: number
  readonly #rowLength: number

  constructor(ids: Int32Array, batch: number, seqLen: number) {
    this.#ids = ids
    this.#batch = batch
    this.#seqLen = seqLen
    this.#rowLength = Math.floor((ids.length - 1) / batch)
    if (this.#rowLength < 1) {
      throw new UsageError(
        `${ids.length} characters of training text are too few for ${batch} parallel streams (--batch)`,
      )
    }
    this.characters = this.#rowLength * batch
    this.chunks = Math.ceil(this.#rowLength / seqLen)
  }

  chunk(index: number): Chunk {
    const begin = index * this.#seqLen
    const steps = Math.min(this.#seqLen, this.#rowLength - begin)
    const input = new Int32Array(steps * this.#batch)
    const target = new Int32Array(steps * this.#batch)
    for (let row = 0; row < this.#batch; row++) {
      const start = row * this.#rowLength + begin
      for (let t = 0; t < steps; t++) {
        input[t * this.#batch + row] = this.#ids[start + t] as number
        target[t * this.#batch + row] = this.#ids[start + t + 1] as number
      }
    }
    return { steps, input, target }
  }
}
