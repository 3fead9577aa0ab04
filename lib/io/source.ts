/** Where a file is read from: a path, an open file, or bytes in memory. */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { isAnyArrayBuffer, isFileHandle } from '../brand.ts'
import { checkPath, fileKind, newArray } from '../check.ts'
import { BpttError } from '../errors.ts'
import type { FileSource } from './place.ts'
import type { Fail } from './scanner.ts'

const WHERE = 'loadSafetensors'

export interface Source {
  readonly bytes: number
  readonly fail: Fail
  /** A fresh copy of `length` bytes. */
  read(position: number, length: number): Promise<ArrayBuffer>
  close(): Promise<void>
}

export async function openSource(from: FileSource): Promise<Source> {
  if (ArrayBuffer.isView(from)) {
    return bytesSource(new Uint8Array(from.buffer, from.byteOffset, from.byteLength))
  }
  if (isAnyArrayBuffer(from)) return bytesSource(new Uint8Array(from))
  if (isFileHandle(from)) return fileSource(from, failure('the file'))
  const path = checkPath(WHERE, from)
  // A pipe that nobody writes to must not keep us waiting.
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    return { ...(await fileSource(file, failure(path))), close: () => file.close() }
  } catch (error) {
    await file.close()
    throw error
  }
}

function failure(name: string): Fail {
  return (problem) => new BpttError('ERR_BPTT_FORMAT', `${name} is not a valid safetensors file: ${problem}`)
}

function bytesSource(all: Uint8Array): Source {
  const fail = failure('the data')
  return {
    bytes: all.byteLength,
    fail,
    async read(position, length) {
      const copy = newArray(WHERE, Uint8Array, length)
      copy.set(all.subarray(position, position + length))
      return copy.buffer as ArrayBuffer
    },
    close: async () => {},
  }
}

async function fileSource(file: FileHandle, fail: Fail): Promise<Source> {
  const stats = await file.stat()
  if (!stats.isFile()) throw fail(`it is a ${fileKind(stats)}`)
  return {
    bytes: stats.size,
    fail,
    async read(position, length) {
      const bytes = newArray(WHERE, Uint8Array, length)
      for (let done = 0; done < length; ) {
        const { bytesRead } = await file.read(bytes, done, length - done, position + done)
        if (bytesRead === 0) throw fail(`it ends at byte ${position + done}, in the middle of its data`)
        done += bytesRead
      }
      return bytes.buffer as ArrayBuffer
    },
    close: async () => {},
  }
}
