/** Texts read in pieces: what they hold does not depend on where they are cut, and what is no text is named. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { Corpus, readCorpus } from '../lib/cli/corpus.ts'
import { UsageError } from '../lib/cli/output.ts'
import { UNKNOWN } from '../lib/cli/text.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-corpus-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0
function file(bytes: Uint8Array | string): string {
  const path = join(folder, String(++files))
  writeFileSync(path, bytes)
  return path
}

const TEXT = 'aé\u{1F41A} b\n\u4e2d'.repeat(5)
const swapped = Buffer.from(`\uFEFF${TEXT}`, 'utf16le').swap16()

function read(corpus: Corpus): string {
  const vocabulary = corpus.vocabulary(corpus.length)
  const ids = corpus.ids(vocabulary, 0, corpus.length)
  return Array.from({ length: ids.length }, (_, i) => vocabulary.decode(ids.at(i) as number)).join('')
}

describe.each([
  ['UTF-8', TEXT],
  ['UTF-8 with a mark', `\uFEFF${TEXT}`],
  ['UTF-16LE with a mark', Buffer.from(`\uFEFF${TEXT}`, 'utf16le')],
  ['UTF-16BE with a mark', swapped],
])('%s', (_, bytes) => {
  it.each([4, 5, 7, 2 ** 20])('is read in pieces of %i bytes', async (pieceBytes) => {
    const path = file(bytes)
    const corpus = await readCorpus([path, path], { pieceBytes })
    expect(read(corpus)).toBe(TEXT + TEXT)
    expect(corpus.length).toBe([...TEXT].length * 2)
    expect(corpus.digest).toBe(
      createHash('sha256')
        .update(TEXT + TEXT)
        .digest('hex'),
    )
  })
})

describe('is refused:', () => {
  const utf16 = Buffer.from('words and lines\n'.repeat(9), 'utf16le')
  it.each([
    ['what is not UTF-8', Buffer.from([0x61, 0xff]), /not UTF-8/],
    ['a character that the end cuts in two', Buffer.from('é').subarray(0, 1), /not UTF-8/],
    ['a NUL character', 'a\0b', /NUL/],
    ['NULs alone', new Uint8Array(300), /NUL/],
    ['UTF-16LE without a mark', utf16, /UTF-16LE without/],
    ['UTF-16BE without a mark', Buffer.from(utf16).swap16(), /UTF-16BE without/],
    ['Cyrillic in it', Buffer.from('раз два три\n'.repeat(9), 'utf16le'), /UTF-16LE without/],
    ['half a surrogate pair', Buffer.from([0xff, 0xfe, 0x00, 0xd8, 0x61, 0]), /not UTF-16LE/],
    ['UTF-32', Buffer.from([0xff, 0xfe, 0, 0, 0x61, 0, 0, 0]), /UTF-32/],
  ])('%s', async (_, bytes, message) => {
    const reading = readCorpus([file(bytes)])
    await expect(reading).rejects.toThrow(message)
    await expect(reading).rejects.toThrow(UsageError)
  })

  it('what memory does not hold, before it is read and while it is', async () => {
    await expect(readCorpus([file('a'.repeat(2000))], { budget: 1000 })).rejects.toThrow(/too long/)
    await expect(readCorpus([file('a')], { budget: 1000 })).rejects.toThrow(/too long/) // a block is larger
  })

  it('what a signal stops', async () => {
    await expect(readCorpus([file('a')], { signal: AbortSignal.abort() })).rejects.toThrow(/abort/)
  })
})

it('takes as many bytes as the number of different characters needs', () => {
  const corpus = new Corpus()
  const block = 2 ** 20
  const some = (count: number): string =>
    Array.from({ length: count }, (_, i) => String.fromCodePoint(0x10000 + i)).join('')
  corpus.append(some(256))
  expect(corpus.bytes).toBe(block)
  corpus.append(some(257))
  expect(corpus.bytes).toBe(2 * block)
  corpus.append(some(65537))
  expect(corpus.bytes).toBe(4 * block)
  expect(read(corpus)).toBe(some(256) + some(257) + some(65537))
})

it('has the vocabulary of a part, and names what that lacks', () => {
  const corpus = new Corpus()
  corpus.append('banana xay')
  const vocabulary = corpus.vocabulary(6)
  expect(vocabulary.characters).toEqual(['a', 'b', 'n'])
  expect(corpus.unknown(vocabulary)).toEqual([' ', 'x', 'y'])
  const ids = corpus.ids(vocabulary, 5, 9)
  expect([0, 1, 2, 3].map((i) => ids.at(i))).toEqual([1, UNKNOWN, UNKNOWN, 1])
})
