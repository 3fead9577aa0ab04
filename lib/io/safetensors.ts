/** Tensors in files: the safetensors format, shared with PyTorch and many others. */
import { type FileHandle, open } from 'node:fs/promises'
import { endianness } from 'node:os'
import { argumentError, checkTensorMap, newArray, valueError } from '../check.ts'
import { tensor } from '../create.ts'
import { BYTES, type DataOf, type DType } from '../dtype.ts'
import type { Tensor } from '../tensor.ts'
import { writeFileAtomic } from './atomic.ts'
import {
  ELEMENT_BYTES,
  type Entry,
  type Fail,
  failure,
  type Header,
  MAX_HEADER_BYTES,
  parseHeader,
} from './header.ts'
import { narrowInt64, widenBfloat16, widenFloat16 } from './numbers.ts'

export interface SafetensorsFile {
  tensors: Map<string, Tensor>
  metadata: Record<string, string>
}

const WRITTEN_AS = { float32: 'F32', float64: 'F64', int32: 'I32' } as const

/** One call of read() moves less than 2 GiB on every system. */
const READ_BYTES = 2 ** 30

/**
 * Writes tensors to a safetensors file, atomically: the file is the old one or the whole new one.
 *
 * All values are those at the moment of the call; training may go on while they are written.
 *
 * @param tensors names and tensors, such as `module.stateDict()`
 * @param metadata strings kept beside the tensors
 * @throws TypeError, RangeError for a reserved name or values that are not tensors and strings
 */
export async function saveSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const entries = [...checkTensorMap('saveSafetensors', tensors)]
  if (entries.some(([name]) => name === '__metadata__')) {
    throw valueError('saveSafetensors', 'a name that is not reserved', '__metadata__')
  }
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') {
      throw argumentError('saveSafetensors', `metadata ${key} to be a string`, value)
    }
  }
  // Widest elements first keeps every tensor aligned in the file; equal widths are sorted by name.
  entries.sort(([a, x], [b, y]) => BYTES[y.dtype] - BYTES[x.dtype] || (a < b ? -1 : 1))

  const header: Record<string, unknown> = Object.create(null)
  if (Object.keys(metadata).length > 0) header.__metadata__ = sorted(metadata)
  let offset = 0
  for (const [name, value] of entries) {
    const end = offset + value.size * BYTES[value.dtype]
    header[name] = { dtype: WRITTEN_AS[value.dtype], shape: value.shape, data_offsets: [offset, end] }
    offset = end
  }
  const head = encodeHeader(header)
  const data = await Promise.all(entries.map(([, value]) => value.data()))
  await writeFileAtomic(path, [head, ...data.map(toLittleEndian)])
}

/**
 * Reads a safetensors file. F32, F64 and I32 keep their type, F16 and BF16 widen to float32 (exactly), I64
 * narrows to int32 if every value fits.
 *
 * @throws BpttError ERR_BPTT_FORMAT, saying where, if the file is malformed or holds another type
 */
export async function loadSafetensors(path: string): Promise<SafetensorsFile> {
  const fail = failure(path)
  const file = await open(path, 'r')
  try {
    const { header, dataStart } = await readHeader(file, fail)
    const tensors = new Map<string, Tensor>()
    try {
      for (const entry of header.entries)
        tensors.set(entry.name, await readTensor(file, dataStart, entry, fail))
    } catch (error) {
      for (const value of tensors.values()) value.dispose()
      throw error
    }
    return { tensors, metadata: header.metadata }
  } finally {
    await file.close()
  }
}

function sorted(record: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Length and JSON, padded with spaces so that the data begins at a multiple of 8. */
function encodeHeader(header: Record<string, unknown>): Uint8Array {
  const json = Buffer.from(JSON.stringify(header))
  const length = Math.ceil(json.length / 8) * 8
  if (length > MAX_HEADER_BYTES) {
    throw valueError('saveSafetensors', `names and metadata of at most ${MAX_HEADER_BYTES} bytes`, length)
  }
  const bytes = Buffer.alloc(8 + length, ' ')
  bytes.writeBigUInt64LE(BigInt(length))
  json.copy(bytes, 8)
  return bytes
}

async function readHeader(file: FileHandle, fail: Fail): Promise<{ header: Header; dataStart: number }> {
  const { size } = await file.stat()
  if (size < 8) throw fail(`it has ${size} bytes, too few for the length of its header`)
  const length = Buffer.from(await readBytes(file, 0, 8, fail)).readBigUInt64LE()
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw fail(`the header claims ${length} bytes, more than the limit of ${MAX_HEADER_BYTES}`)
  }
  const dataStart = 8 + Number(length)
  if (dataStart > size) throw fail(`the header claims ${length} bytes, but the file ends after ${size - 8}`)
  const bytes = new Uint8Array(await readBytes(file, 8, Number(length), fail))
  return { header: parseHeader(bytes, size - dataStart, fail), dataStart }
}

async function readTensor(file: FileHandle, dataStart: number, entry: Entry, fail: Fail): Promise<Tensor> {
  const buffer = await readBytes(file, dataStart + entry.begin, entry.end - entry.begin, fail)
  const { dtype, data } = decode(buffer, entry, fail)
  return tensor(data, entry.shape, { dtype })
}

function decode(buffer: ArrayBuffer, entry: Entry, fail: Fail): { dtype: DType; data: DataOf<DType> } {
  swapIfBigEndian(Buffer.from(buffer), ELEMENT_BYTES[entry.dtype])
  switch (entry.dtype) {
    case 'F32':
      return { dtype: 'float32', data: new Float32Array(buffer) }
    case 'F64':
      return { dtype: 'float64', data: new Float64Array(buffer) }
    case 'I32':
      return { dtype: 'int32', data: new Int32Array(buffer) }
    case 'F16':
      return { dtype: 'float32', data: widenFloat16(new Uint16Array(buffer)) }
    case 'BF16':
      return { dtype: 'float32', data: widenBfloat16(new Uint16Array(buffer)) }
    case 'I64': {
      const values = new BigInt64Array(buffer)
      const data = narrowInt64(values)
      if (typeof data === 'number') {
        throw fail(
          `tensor ${JSON.stringify(entry.name)}: value ${values[data]} at element ${data} does not fit int32`,
        )
      }
      return { dtype: 'int32', data }
    }
  }
}

async function readBytes(
  file: FileHandle,
  position: number,
  length: number,
  fail: Fail,
): Promise<ArrayBuffer> {
  const bytes = newArray('loadSafetensors', Uint8Array, length)
  for (let done = 0; done < length; ) {
    const wanted = Math.min(length - done, READ_BYTES)
    const { bytesRead } = await file.read(bytes, done, wanted, position + done)
    if (bytesRead === 0) throw fail(`it ends at byte ${position + done}, in the middle of its data`)
    done += bytesRead
  }
  return bytes.buffer as ArrayBuffer
}

/** The bytes of a typed array as they stand in the file. The array is used up. */
function toLittleEndian(data: ArrayBufferView): Uint8Array {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  swapIfBigEndian(bytes, (data as Float32Array).BYTES_PER_ELEMENT)
  return bytes
}

function swapIfBigEndian(bytes: Buffer, elementBytes: number): void {
  if (endianness() === 'LE') return
  if (elementBytes === 2) bytes.swap16()
  else if (elementBytes === 4) bytes.swap32()
  else bytes.swap64()
}
