/**
 * The header of a safetensors file: its length as 8 bytes, little endian, then a JSON object
 * `{ name: { dtype, shape, data_offsets: [begin, end] }, "__metadata__": { string: string } }`,
 * then the data. Offsets count from the end of the header and cover the data without holes.
 */
import { checkShape } from '../check.ts'
import { BpttError } from '../errors.ts'

/** Element types that load, with their bytes. */
export const ELEMENT_BYTES = { F64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, I64: 8 } as const
export type ElementType = keyof typeof ELEMENT_BYTES

/** The limit of the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000

export interface Entry {
  name: string
  dtype: ElementType
  shape: number[]
  /** First byte, counted from the end of the header. */
  begin: number
  end: number
}

export interface Header {
  /** Ordered by place in the file. */
  entries: Entry[]
  metadata: Record<string, string>
}

export type Fail = (problem: string) => BpttError

export function failure(path: string): Fail {
  return (problem) => new BpttError('ERR_BPTT_FORMAT', `${path} is not a valid safetensors file: ${problem}`)
}

/** Checks everything there is to check: what it returns can be read without further bounds checks. */
export function parseHeader(bytes: Uint8Array, dataBytes: number, fail: Fail): Header {
  const text = decode(bytes, fail)
  const json = parseJson(text, fail)
  const duplicate = duplicateKey(text)
  if (duplicate !== undefined) throw fail(`the key ${quote(duplicate)} appears twice in the header`)

  const entries: Entry[] = []
  let metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = parseMetadata(value, fail)
    else entries.push(parseEntry(name, value, fail))
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end)
  checkCover(entries, dataBytes, fail)
  return { entries, metadata }
}

function decode(bytes: Uint8Array, fail: Fail): string {
  if (bytes[0] !== 0x7b) throw fail('the header does not begin with {')
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw fail('the header is not UTF-8')
  }
}

function parseJson(text: string, fail: Fail): Record<string, unknown> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw fail(`the header is not JSON: ${(error as Error).message}`)
  }
  if (!isObject(json)) throw fail('the header is not a JSON object')
  return json
}

/** The first key that an object of this valid JSON text holds twice; JSON.parse would keep the last. */
function duplicateKey(text: string): string | undefined {
  const seen: Set<string>[] = []
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}]/g
  for (const [match, colon] of text.matchAll(token)) {
    if (match === '{') seen.push(new Set())
    else if (match === '}') seen.pop()
    else if (colon !== undefined) {
      const key = JSON.parse(match.slice(0, match.length - colon.length)) as string
      const keys = seen.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    }
  }
  return undefined
}

function parseMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (!isObject(value)) throw fail('__metadata__ is not an object')
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw fail(`__metadata__ ${quote(key)} is not a string`)
  }
  return value as Record<string, string>
}

function parseEntry(name: string, value: unknown, fail: Fail): Entry {
  const where = `tensor ${quote(name)}`
  if (!isObject(value)) throw fail(`${where}: its entry is not an object`)
  const extra = Object.keys(value).find((key) => !['dtype', 'shape', 'data_offsets'].includes(key))
  if (extra !== undefined) throw fail(`${where}: unknown field ${quote(extra)}`)

  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string') throw fail(`${where}: dtype is not a string`)
  if (!Object.hasOwn(ELEMENT_BYTES, dtype)) {
    const known = Object.keys(ELEMENT_BYTES).join(', ')
    throw fail(`${where}: dtype ${quote(dtype)} does not load; what loads is ${known}`)
  }
  const elements = countElements(shape, where, fail)
  if (!isPair(offsets)) throw fail(`${where}: data_offsets are not two non-negative integers`)
  const [begin, end] = offsets
  const bytes = elements * ELEMENT_BYTES[dtype as ElementType]
  if (end - begin !== bytes) {
    throw fail(
      `${where}: data_offsets [${begin}, ${end}] span ${end - begin} bytes, ` +
        `but ${dtype} of shape [${shape}] takes ${bytes}`,
    )
  }
  return { name, dtype: dtype as ElementType, shape: shape as number[], begin, end }
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

function countElements(shape: unknown, where: string, fail: Fail): number {
  try {
    return checkShape('loadSafetensors', shape)
  } catch (error) {
    throw fail(`${where}: ${(error as Error).message}`)
  }
}

function isPair(value: unknown): value is [number, number] {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((size) => Number.isSafeInteger(size) && size >= 0)
  )
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A name from the file, fit for a one-line message. */
function quote(name: string): string {
  const json = JSON.stringify(name)
  return json.length <= 80 ? json : `${json.slice(0, 77)}..."`
}
