/**
 * Text files as one sequence of characters, read once and in pieces: neither the size of a file nor a pipe in its
 * place matters. In memory a character takes a byte where the text has up to 256 different ones, two up to 65,536.
 */
import { createHash } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { TextDecoder } from 'node:util'
import { memoryBytes, showBytes } from './memory.ts'
import { readingInput, UsageError } from './output.ts'
import { type Ids, UNKNOWN, Vocabulary } from './text.ts'

export interface ReadOptions {
  signal?: AbortSignal
  /** Bytes that the characters may take. Default: half of the memory. */
  budget?: number
  /** Bytes read at a time. */
  pieceBytes?: number
}

/**
 * Reads files as UTF-8, or as UTF-16 where they begin with its mark, in the given order.
 *
 * @throws UsageError for what cannot be read or is not text
 */
export async function readCorpus(
  paths: readonly string[],
  { signal, budget = memoryBytes() / 2, pieceBytes = 2 ** 20 }: ReadOptions = {},
): Promise<Corpus> {
  const corpus = new Corpus()
  const check = (bytes: number): void => {
    if (bytes <= budget) return
    throw new UsageError(
      `a text of ${showBytes(bytes)} is too long: this machine can hold ${showBytes(budget)}`,
    )
  }
  // Before minutes of reading, where the sizes of the files tell.
  const sizes = await Promise.all(paths.map((path) => readingInput(path, () => stat(path))))
  check(sizes.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0))
  const hash = createHash('sha256')
  for (const path of paths) {
    for await (const text of decoded(path, pieceBytes)) {
      signal?.throwIfAborted()
      hash.update(text)
      append(corpus, text)
      check(corpus.bytes)
    }
  }
  corpus.digest = hash.digest('hex')
  return corpus
}

function append(corpus: Corpus, text: string): void {
  try {
    corpus.append(text)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new UsageError(`the text is too long: ${error.message}`, { cause: error })
  }
}

/** The text of a file, in pieces that never cut a character in two. */
async function* decoded(path: string, pieceBytes: number): AsyncGenerator<string, void, void> {
  const file = await readingInput(path, () => open(path, 'r'))
  try {
    const buffer = Buffer.alloc(pieceBytes)
    let decoder: TextDecoder | undefined
    for (let filled = pieceBytes; filled === pieceBytes; ) {
      filled = 0
      let got = 1
      while (got > 0 && filled < pieceBytes) {
        got = (await readingInput(path, () => file.read(buffer, filled, pieceBytes - filled))).bytesRead
        filled += got
      }
      const bytes = buffer.subarray(0, filled)
      decoder ??= decoderFor(path, bytes)
      const text = decode(path, decoder, bytes, filled === pieceBytes)
      if (text.includes('\0')) throw new UsageError(`${path} is not text: it has NUL characters`)
      yield text
    }
  } finally {
    await file.close()
  }
}

function decode(path: string, decoder: TextDecoder, bytes: Uint8Array, stream: boolean): string {
  try {
    return decoder.decode(bytes, { stream })
  } catch (error) {
    throw new UsageError(`${path} is not ${decoder.encoding.toUpperCase()} text`, { cause: error })
  }
}

function decoderFor(path: string, head: Buffer): TextDecoder {
  const begins = (...mark: number[]): boolean => mark.every((byte, i) => head[i] === byte)
  if (begins(0xff, 0xfe, 0, 0) || begins(0, 0, 0xfe, 0xff)) {
    throw new UsageError(`${path} is UTF-32; make it UTF-8`)
  }
  const marked = begins(0xff, 0xfe) ? 'utf-16le' : begins(0xfe, 0xff) ? 'utf-16be' : undefined
  const unmarked = marked ? undefined : utf16WithoutMark(head)
  if (unmarked) {
    const convert = `iconv -f ${unmarked} -t UTF-8`
    throw new UsageError(
      `${path} looks like ${unmarked} without a byte order mark; make it UTF-8 (${convert})`,
    )
  }
  return new TextDecoder(marked ?? 'utf-8', { fatal: true })
}

/** Bytes of a file that are looked at for its encoding. */
const LOOKED_AT = 2 ** 16

/**
 * The encoding of UTF-16 text, by its NUL bytes: in Latin text every second byte, in any script the upper ones of spaces
 * and line breaks. It takes one in 128 bytes, eight times as many at even places as at odd ones, or the reverse.
 */
function utf16WithoutMark(start: Buffer): string | undefined {
  const head = start.subarray(0, LOOKED_AT)
  const nul = [0, 0] as [number, number]
  for (const [i, byte] of head.entries()) if (byte === 0) nul[i % 2 === 0 ? 0 : 1]++
  const [fewer, more] = [Math.min(...nul), Math.max(...nul)]
  if (more < Math.max(2, head.length / 128) || more <= 8 * fewer) return undefined
  return nul[0] > nul[1] ? 'UTF-16BE' : 'UTF-16LE'
}

/** All of Unicode. */
const CODE_POINTS = 0x110000
/** Characters of a block of memory. */
const BLOCK = 2 ** 20

/** By bytes of an element: enough for numbers below 256 ** bytes. */
const KINDS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }
type Block = Uint8Array | Uint16Array | Uint32Array

export class Corpus {
  /** Characters, which are Unicode code points. */
  length = 0
  /** Memory of the characters. */
  bytes = 0
  /** SHA-256 of the text in UTF-8. */
  digest = ''
  /** The different code points and where each comes first, in that order; a character is stored as its place here. */
  readonly #points: number[] = []
  readonly #firstAt: number[] = []
  readonly #numbers = new Int32Array(CODE_POINTS).fill(-1)
  readonly #blocks: Block[] = []

  append(text: string): void {
    let block = this.#blocks.at(-1)
    for (let i = 0; i < text.length; i++) {
      const point = text.codePointAt(i) as number
      if (point > 0xffff) i++
      let number = this.#numbers[point] as number
      if (number < 0) number = this.#add(point)
      const at = this.length % BLOCK
      if (at === 0) block = this.#startBlock()
      if (number >= 256 ** (block as Block).BYTES_PER_ELEMENT) block = this.#widen()
      ;(block as Block)[at] = number
      this.length++
    }
  }

  /** Of the characters before `end`. */
  vocabulary(end: number): Vocabulary {
    const known = this.#points.filter((_, number) => (this.#firstAt[number] as number) < end)
    return new Vocabulary(known.sort((a, b) => a - b).map((point) => String.fromCodePoint(point)))
  }

  /** Those that the vocabulary lacks, each once. */
  unknown(vocabulary: Vocabulary): string[] {
    return this.#points.map((point) => String.fromCodePoint(point)).filter((one) => !vocabulary.has(one))
  }

  /** A part of the text as ids of a vocabulary. */
  ids(vocabulary: Vocabulary, begin: number, end: number): Ids {
    const table = Int32Array.from(this.#points, (point) => vocabulary.id(point))
    const blocks = this.#blocks
    return {
      length: end - begin,
      at(index) {
        const place = begin + index
        const number = blocks[Math.floor(place / BLOCK)]?.[place % BLOCK]
        return number === undefined ? UNKNOWN : (table[number] as number)
      },
    }
  }

  #add(point: number): number {
    this.#numbers[point] = this.#points.length
    this.#firstAt.push(this.length)
    return this.#points.push(point) - 1
  }

  #startBlock(): Block {
    return this.#keep(new KINDS[this.#points.length <= 256 ? 1 : this.#points.length <= 65536 ? 2 : 4](BLOCK))
  }

  #widen(): Block {
    const old = this.#blocks.pop() as Block
    this.bytes -= old.byteLength
    return this.#keep((old.BYTES_PER_ELEMENT === 1 ? Uint16Array : Uint32Array).from(old))
  }

  #keep(block: Block): Block {
    this.#blocks.push(block)
    this.bytes += block.byteLength
    return block
  }
}
