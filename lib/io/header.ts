/**
 * The header of a safetensors file: its length as 8 bytes, little endian, then a JSON object
 * `{ name: { dtype, shape, data_offsets: [begin, end] }, "__metadata__": { string: string } }`,
 * then the data. Offsets count from the end of the header and cover the data without holes.
 */
import { ELEMENT_TYPES } from './numbers.ts'
import { type Fail, quote, Scanner } from './scanner.ts'
import { takeTurns } from './turns.ts'

/** 64 MiB: the largest models need about 1 MB, and the reference implementation takes 100 MB. */
export const MAX_HEADER_BYTES = 2 ** 26
/** Tensors of a file, and texts of its metadata. */
export const MAX_ENTRIES = 2 ** 17
/** Dimensions of a tensor: more than any library has. */
const MAX_DIMENSIONS = 64

export interface Entry {
  name: string
  /** As in the file, known to us or not. */
  dtype: string
  shape: number[]
  /** Elements. */
  size: number
  /** First byte, counted from the end of the header. */
  begin: number
  end: number
}

export interface Header {
  /** Ordered by place in the file. */
  entries: Entry[]
  metadata: Record<string, string>
}

/**
 * Checks everything there is to check: what it returns can be read without further bounds checks. Lets the
 * event loop turn.
 */
export async function parseHeader(bytes: Buffer, dataBytes: number, fail: Fail): Promise<Header> {
  const turn = takeTurns()
  if (bytes[0] !== 0x7b) throw fail('the header does not begin with {')
  const scan = new Scanner(bytes, fail)
  const entries: Entry[] = []
  let metadata: Record<string, string> = {}
  for (const name of scan.members()) {
    if (entries.length === MAX_ENTRIES) throw fail(`it holds more than ${MAX_ENTRIES} tensors`)
    if (name === '__metadata__') metadata = await readMetadata(scan, turn)
    else entries.push(readEntry(name, scan))
    scan.subject = 'the header'
    await turn()
  }
  scan.end()
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end)
  checkCover(entries, dataBytes, fail)
  return { entries, metadata }
}

async function readMetadata(scan: Scanner, turn: () => Promise<void>): Promise<Record<string, string>> {
  scan.subject = '__metadata__'
  const texts: [string, string][] = []
  for (const key of scan.members()) {
    if (texts.length === MAX_ENTRIES) throw scan.failure(`it holds more than ${MAX_ENTRIES} texts`)
    texts.push([key, scan.string()])
    await turn()
  }
  return Object.fromEntries(texts)
}

function readEntry(name: string, scan: Scanner): Entry {
  scan.subject = `tensor ${quote(name)}`
  let dtype: string | undefined
  let shape: number[] | undefined
  let offsets: number[] | undefined
  for (const field of scan.members()) {
    if (field === 'dtype') dtype = scan.string()
    else if (field === 'shape') shape = readIntegers(scan, MAX_DIMENSIONS)
    else if (field === 'data_offsets') offsets = readIntegers(scan, 2)
    else throw scan.failure(`unknown field ${quote(field)}`)
  }
  if (dtype === undefined) throw scan.failure('its entry has no dtype')
  if (shape === undefined) throw scan.failure('its entry has no shape')
  const [begin, end] = offsets ?? []
  if (begin === undefined || end === undefined) throw scan.failure('its data_offsets are not two integers')

  const size = shape.includes(0) ? 0 : shape.reduce((product, dimension) => product * dimension, 1)
  const elementBytes = ELEMENT_TYPES.get(dtype)?.bytes
  if (end < begin || (elementBytes !== undefined && end - begin !== size * elementBytes)) {
    const needed = elementBytes === undefined ? 'at least 0' : size * elementBytes
    throw scan.failure(
      `its data_offsets [${begin}, ${end}] span ${end - begin} bytes, ` +
        `but ${quote(dtype)} of shape [${shape}] takes ${needed}`,
    )
  }
  return { name, dtype, shape, size, begin, end }
}

function readIntegers(scan: Scanner, most: number): number[] {
  const integers: number[] = []
  for (const place of scan.items()) {
    if (place === most) throw scan.failure(`a list of more than ${most} integers`)
    integers.push(scan.integer())
  }
  return integers
}

/** Entries in order of place must follow each other without gap or overlap, up to the last byte. */
function checkCover(entries: Entry[], dataBytes: number, fail: Fail): void {
  let reached = 0
  for (const { name, begin, end } of entries) {
    const where = `tensor ${quote(name)}`
    if (end > dataBytes) throw fail(`${where}: ends at byte ${end} of ${dataBytes}: the file is truncated`)
    if (begin < reached) throw fail(`${where}: begins at byte ${begin}, inside the tensor before it`)
    if (begin > reached)
      throw fail(
        `${where}: begins at byte ${begin}, ${begin - reached} after the end of the tensor before it`,
      )
    reached = end
  }
  if (reached !== dataBytes) throw fail(`${dataBytes - reached} bytes after the last tensor belong to none`)
}
