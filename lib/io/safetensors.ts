/** Tensors in files: the safetensors format, shared with PyTorch and many others. */
import type { FileHandle } from 'node:fs/promises'
import { endianness } from 'node:os'
import { isFileHandle } from '../brand.ts'
import { checkPath, checkRegularFile, checkShape, checkTensorMap, checkText, checkTexts } from '../check.ts'
import { tensor } from '../create.ts'
import { BYTES } from '../dtype.ts'
import { valueError } from '../messages.ts'
import { detached } from '../scope.ts'
import { copyElements } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'
import { inTurn, writeFileAtomic } from './atomic.ts'
import { type Entry, type Header, MAX_ENTRIES, MAX_HEADER_BYTES, parseHeader } from './header.ts'
import { ELEMENT_TYPES } from './numbers.ts'
import type { FileSource, FileURL, OpenFile } from './place.ts'
import { openSource, type Source } from './source.ts'
import { takeTurns } from './turns.ts'

/** What {@link loadSafetensors} read. */
export interface SafetensorsFile {
  /** In the order of their data in the file. */
  tensors: Map<string, Tensor>
  /** What the writer kept beside the tensors; none: an empty object. */
  metadata: Record<string, string>
  /** What the file holds and a tensor cannot. */
  skipped: SkippedTensor[]
}

/** A tensor of a file that {@link loadSafetensors} could not make one of. */
export interface SkippedTensor {
  /** As in the file. */
  name: string
  /** As in the file, e.g. 'C64'. */
  dtype: string
  /** In words. */
  reason: string
}

const WRITTEN_AS = { float32: 'F32', float64: 'F64', int32: 'I32', bool: 'BOOL' } as const

/** What is read from a file at once: a tensor of any size needs no more memory than its own and this. */
const READ_BYTES = 2 ** 22

/** What is read from a tensor at once: no ArrayBuffer holds more than 4 GiB everywhere. */
const WRITE_BYTES = 2 ** 30

/**
 * Writes tensors to a safetensors file.
 *
 * All values are those at the moment of the call; training may go on while they are written. Several calls
 * for one file are done in their order: the last wins.
 *
 * A path is written atomically: the file is the old one or the whole new one, and no error leaves anything
 * else. A link stays, and the file it points to is replaced; a file keeps its mode and owner. An open
 * FileHandle is emptied and written from its beginning, which is not atomic; it stays open.
 *
 * @param file a path, a `file:` URL, or a FileHandle opened for writing
 * @param tensors names and tensors, such as `module.stateDict()`
 * @param metadata strings kept beside the tensors
 * @throws TypeError ERR_BPTT_TYPE
 * @throws RangeError ERR_BPTT_VALUE for a reserved name, for more than 131072 tensors or texts or 64 MiB of
 *   names and metadata, or if the file is none: a folder, a pipe, a device
 * @throws BpttError ERR_BPTT_DISPOSED, or the failure of the op that should have computed a tensor
 */
export async function saveSafetensors(
  file: string | FileURL | OpenFile,
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const where = 'saveSafetensors'
  const target = isFileHandle(file) ? file : checkPath(where, file)
  const entries = [...checkTensorMap(where, tensors)]
  const texts = checkTexts(where, 'metadata', metadata)
  for (const [name] of entries) {
    if (name === '__metadata__') throw valueError(where, 'a name that is not reserved', name)
    checkText(where, 'a name', name)
  }
  // Widest elements first keeps every tensor aligned in the file; equal widths are sorted by name.
  entries.sort(([a, x], [b, y]) => BYTES[y.dtype] - BYTES[x.dtype] || (a < b ? -1 : 1))
  const head = encodeHeader(where, entries, texts)
  const data = Promise.all(entries.map(([, value]) => snapshot(value)))
  const chunks = data.then((arrays) => [head, ...arrays.flat().map(toLittleEndian)])
  await (typeof target === 'string' ? writeFileAtomic(target, chunks) : overwrite(where, target, chunks))
}

/**
 * Reads a safetensors file.
 *
 * F32, F64, I32 and BOOL keep their type. F16, BF16, F8_E4M3 and F8_E5M2 become float32; U8, I8,
 * U16, I16, and U32, I64, U64 where every value fits, become int32: always exactly. A tensor of another
 * type, with a value that does not fit or of more than 8 dimensions is in `skipped` instead.
 *
 * @param from a path, a `file:` URL, a FileHandle (which stays open and where it is), or the bytes of a
 *   file, which must not change until the promise is settled
 * @throws BpttError ERR_BPTT_FORMAT, saying where, if the file is malformed; no tensor is left behind
 * @throws BpttError ERR_BPTT_OOM
 * @throws TypeError ERR_BPTT_TYPE, RangeError ERR_BPTT_VALUE, or the system's error for a path
 */
export async function loadSafetensors(from: FileSource): Promise<SafetensorsFile> {
  const source = await openSource(from)
  const tensors = new Map<string, Tensor>()
  const skipped: SkippedTensor[] = []
  try {
    const { header, dataStart } = await readHeader(source)
    const turn = takeTurns()
    for (const entry of header.entries) {
      const { name, dtype } = entry
      const read = await readTensor(source, dataStart, entry, turn)
      if (typeof read === 'string') skipped.push({ name, dtype, reason: read })
      else tensors.set(name, read)
    }
    return { tensors, metadata: header.metadata, skipped }
  } catch (error) {
    for (const value of tensors.values()) value.dispose()
    throw error
  } finally {
    await source.close()
  }
}

/** Length and JSON, padded with spaces so that the data begins at a multiple of 8. */
function encodeHeader(
  where: string,
  entries: readonly [string, Tensor][],
  texts: readonly [string, string][],
): Uint8Array {
  const most = Math.max(entries.length, texts.length)
  if (most > MAX_ENTRIES) throw valueError(where, `at most ${MAX_ENTRIES} tensors or texts of metadata`, most)
  const length = [...entries.map(([name]) => name), ...texts.flat()].reduce(
    (sum, text) => sum + text.length,
    0,
  )
  checkHeaderBytes(where, length) // before JSON makes it longer

  const header: Record<string, unknown> = Object.create(null)
  if (texts.length > 0)
    header.__metadata__ = Object.fromEntries(texts.toSorted(([a], [b]) => (a < b ? -1 : 1)))
  let offset = 0
  for (const [name, { dtype, shape, size }] of entries) {
    const end = offset + size * BYTES[dtype]
    header[name] = { dtype: WRITTEN_AS[dtype], shape, data_offsets: [offset, end] }
    offset = end
  }
  const json = Buffer.from(JSON.stringify(header))
  const padded = Math.ceil(json.length / 8) * 8
  checkHeaderBytes(where, padded)
  const bytes = Buffer.alloc(8 + padded, ' ')
  bytes.writeBigUInt64LE(BigInt(padded))
  json.copy(bytes, 8)
  return bytes
}

function checkHeaderBytes(where: string, bytes: number): void {
  if (bytes > MAX_HEADER_BYTES) {
    throw valueError(where, `names and metadata of at most ${MAX_HEADER_BYTES} bytes as JSON`, bytes)
  }
}

/** The elements at the moment of the call, in pieces. What fails rejects. */
function snapshot(x: Tensor): Promise<ArrayBufferView[]> {
  const step = WRITE_BYTES / BYTES[x.dtype]
  if (x.size <= step) return Promise.all([readAll(x)])
  const starts = Array.from({ length: Math.ceil(x.size / step) }, (_, i) => i * step)
  return Promise.all(
    starts.map(async (start) => {
      const count = Math.min(step, x.size - start)
      const piece = detached(() => result([count], x.dtype, x.device))
      copyElements(x, start, piece, 0, count)
      const data = piece.data()
      piece.dispose()
      return data
    }),
  )
}

async function readAll(x: Tensor): Promise<ArrayBufferView> {
  return x.data()
}

/** Writes an open file from its beginning; calls for one handle are done in their order. */
async function overwrite(where: string, file: FileHandle, chunks: Promise<Uint8Array[]>): Promise<void> {
  chunks.catch(() => {}) // reported when its turn comes
  await inTurn(file, async () => {
    const content = await chunks
    checkRegularFile(where, 'the FileHandle', await file.stat())
    await file.truncate(0)
    let position = 0
    for (const chunk of content) {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position)
        done += bytesWritten
        position += bytesWritten
      }
    }
    await file.sync()
  })
}

async function readHeader(source: Source): Promise<{ header: Header; dataStart: number }> {
  const { bytes, fail } = source
  if (bytes < 8) throw fail(`it has ${bytes} bytes, too few for the length of its header`)
  const length = Buffer.from(await source.read(0, 8)).readBigUInt64LE()
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw fail(`the header claims ${length} bytes, more than the limit of ${MAX_HEADER_BYTES}`)
  }
  const dataStart = 8 + Number(length)
  if (dataStart > bytes) throw fail(`the header claims ${length} bytes, but the file ends after ${bytes - 8}`)
  const head = Buffer.from(await source.read(8, Number(length)))
  return { header: await parseHeader(head, bytes - dataStart, fail), dataStart }
}

/** The tensor, or why there can be none. */
async function readTensor(
  source: Source,
  dataStart: number,
  entry: Entry,
  turn: () => Promise<void>,
): Promise<Tensor | string> {
  await turn()
  const type = ELEMENT_TYPES.get(entry.dtype)
  if (type === undefined) return 'no type of ours holds its elements'
  const { bytes, dtype } = type
  try {
    checkShape('loadSafetensors', entry.shape)
  } catch (error) {
    return (error as Error).message
  }
  const step = READ_BYTES / bytes
  const isOne = entry.size <= step
  const whole = isOne ? null : detached(() => result([...entry.shape], dtype, 'cpu'))
  try {
    let start = 0
    do {
      const count = Math.min(step, entry.size - start)
      const raw = await source.read(dataStart + entry.begin + start * bytes, count * bytes)
      swapIfBigEndian(Buffer.from(raw), bytes)
      const data = type.read(raw)
      if ('place' in data) {
        whole?.dispose()
        return `its value ${data.value} at element ${start + data.place} does not fit ${dtype}`
      }
      if (whole === null) return detached(() => tensor(data, entry.shape, { dtype }))
      const piece = detached(() => tensor(data, { dtype }))
      copyElements(piece, 0, whole, start, count)
      piece.dispose()
      start += count
      await turn()
    } while (start < entry.size)
    return whole
  } catch (error) {
    whole?.dispose()
    throw error
  }
}

/** The bytes of a typed array as they stand in the file. The array is used up. */
function toLittleEndian(data: ArrayBufferView): Uint8Array {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  swapIfBigEndian(bytes, (data as Float32Array).BYTES_PER_ELEMENT)
  return bytes
}

function swapIfBigEndian(bytes: Buffer, elementBytes: number): void {
  if (endianness() === 'LE' || elementBytes === 1) return
  if (elementBytes === 2) bytes.swap16()
  else if (elementBytes === 4) bytes.swap32()
  else bytes.swap64()
}
