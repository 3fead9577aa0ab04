/** Text as numbers: the vocabulary of Unicode code points, and parallel streams of training chunks. */
import { UsageError } from './output.ts'

/** The id of every character that is not in the vocabulary. */
export const UNKNOWN = 0

/** A text as ids, such as an Int32Array. */
export interface Ids {
  readonly length: number
  at(index: number): number | undefined
}

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

  /** Number of ids. */
  get size(): number {
    return this.characters.length + 1
  }

  id(point: number): number {
    return this.#ids.get(point) ?? UNKNOWN
  }

  encode(text: string): Int32Array {
    return Int32Array.from(text, (character) => this.id(character.codePointAt(0) as number))
  }

  decode(id: number): string {
    return this.characters[id - 1] ?? '\uFFFD'
  }

  has(character: string): boolean {
    return this.id(character.codePointAt(0) as number) !== UNKNOWN
  }
}

/** The characters of `text` that the vocabulary lacks, each once. */
export function unknownCharacters(text: string, vocabulary: Vocabulary): string[] {
  return [...new Set(text)].filter((character) => !vocabulary.has(character))
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
  readonly #ids: Ids
  readonly #batch: number
  readonly #seqLen: number
  readonly #rowLength: number

  constructor(ids: Ids, batch: number, seqLen: number) {
    this.#ids = ids
    this.#batch = batch
    this.#rowLength = Math.floor((ids.length - 1) / batch)
    if (this.#rowLength < 1) {
      throw new UsageError(
        `${ids.length} characters of training text are too few for ${batch} parallel streams (--batch)`,
      )
    }
    this.#seqLen = Math.min(seqLen, this.#rowLength)
    this.characters = this.#rowLength * batch
    this.chunks = Math.ceil(this.#rowLength / seqLen)
  }

  /** Characters of the longest chunk. */
  get chunkSize(): number {
    return this.#seqLen * this.#batch
  }

  chunk(index: number): Chunk {
    const begin = index * this.#seqLen
    const steps = Math.min(this.#seqLen, this.#rowLength - begin)
    const input = new Int32Array(steps * this.#batch)
    const target = new Int32Array(steps * this.#batch)
    for (let row = 0; row < this.#batch; row++) {
      const start = row * this.#rowLength + begin
      for (let t = 0; t < steps; t++) {
        input[t * this.#batch + row] = this.#ids.at(start + t) as number
        target[t * this.#batch + row] = this.#ids.at(start + t + 1) as number
      }
    }
    return { steps, input, target }
  }
}
