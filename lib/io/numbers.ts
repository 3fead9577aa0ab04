/** The element types of files, converted to ours: each value exactly, or not at all. */
import { endianness } from 'node:os'
import { newArray } from '../check.ts'
import type { DataOf, DType } from '../dtype.ts'

const WHERE = 'loadSafetensors'

/** The first value that our type does not hold. */
export interface Misfit {
  place: number
  value: number | bigint
}

interface ElementType {
  /** Of one element in the file. */
  bytes: number
  dtype: DType
  /** From bytes in this machine's order. */
  read: (bytes: ArrayBuffer) => DataOf<DType> | Misfit
}

/** IEEE half precision (5 bits of exponent, 10 of fraction); every value is a float32, exactly. */
function widenFloat16(halves: Uint16Array, out = newArray(WHERE, Float32Array, halves.length)): Float32Array {
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i] as number
    const sign = half & 0x8000 ? -1 : 1
    const exponent = (half >> 10) & 0x1f
    const fraction = half & 0x3ff
    if (exponent === 0) out[i] = sign * fraction * 2 ** -24
    else if (exponent < 31) out[i] = sign * (1024 + fraction) * 2 ** (exponent - 25)
    else out[i] = fraction === 0 ? sign * Infinity : NaN
  }
  return out
}

/** The upper half of a float32. */
function widenBfloat16(uppers: Uint16Array): Float32Array {
  const bits = newArray(WHERE, Uint32Array, uppers.length)
  for (let i = 0; i < uppers.length; i++) bits[i] = (uppers[i] as number) << 16
  return new Float32Array(bits.buffer)
}

const BYTES = Uint16Array.from({ length: 256 }, (_, byte) => byte)

/** Two bits of fraction: the upper half of a float16. */
const FLOAT8_E5M2 = widenFloat16(
  BYTES.map((byte) => byte << 8),
  new Float32Array(256),
)

/** Three bits of fraction; no infinity, and one NaN of each sign. */
const FLOAT8_E4M3 = Float32Array.from(BYTES, (byte) => {
  const sign = byte & 0x80 ? -1 : 1
  const exponent = (byte >> 3) & 0xf
  const fraction = byte & 7
  if (exponent === 15 && fraction === 7) return NaN
  return sign * (exponent === 0 ? fraction * 2 ** -9 : (8 + fraction) * 2 ** (exponent - 10))
})

function lookUp(table: Float32Array, bytes: Uint8Array): Float32Array {
  const out = newArray(WHERE, Float32Array, bytes.length)
  for (let i = 0; i < bytes.length; i++) out[i] = table[bytes[i] as number] as number
  return out
}

/** U32, read as int32: values of 2^31 and more, which then look negative, do not fit. */
function narrow32(values: Int32Array): Int32Array | Misfit {
  const place = values.findIndex((value) => value < 0)
  return place < 0 ? values : { place, value: (values[place] as number) >>> 0 }
}

/** Which of the two words of a 64-bit value is the low one. */
const LOW = endianness() === 'LE' ? 0 : 1

/** A value of 64 bits fits where its upper word only repeats its sign. */
function narrow64(values: BigInt64Array | BigUint64Array, isSigned: boolean): Int32Array | Misfit {
  const words = new Int32Array(values.buffer)
  const out = newArray(WHERE, Int32Array, values.length)
  for (let place = 0; place < out.length; place++) {
    const low = words[2 * place + LOW] as number
    const high = words[2 * place + 1 - LOW] as number
    if (high !== low >> 31 || (high !== 0 && !isSigned)) return { place, value: values[place] as bigint }
    out[place] = low
  }
  return out
}

const float32 = (bytes: number, read: ElementType['read']): ElementType => ({ bytes, dtype: 'float32', read })
const int32 = (bytes: number, read: ElementType['read']): ElementType => ({ bytes, dtype: 'int32', read })

/** What loads. Any other type of a file is skipped. */
export const ELEMENT_TYPES: ReadonlyMap<string, ElementType> = new Map([
  ['F64', { bytes: 8, dtype: 'float64', read: (bytes) => new Float64Array(bytes) }],
  ['F32', float32(4, (bytes) => new Float32Array(bytes))],
  ['F16', float32(2, (bytes) => widenFloat16(new Uint16Array(bytes)))],
  ['BF16', float32(2, (bytes) => widenBfloat16(new Uint16Array(bytes)))],
  ['F8_E4M3', float32(1, (bytes) => lookUp(FLOAT8_E4M3, new Uint8Array(bytes)))],
  ['F8_E5M2', float32(1, (bytes) => lookUp(FLOAT8_E5M2, new Uint8Array(bytes)))],
  ['I32', int32(4, (bytes) => new Int32Array(bytes))],
  ['I16', int32(2, (bytes) => new Int32Array(new Int16Array(bytes)))],
  ['I8', int32(1, (bytes) => new Int32Array(new Int8Array(bytes)))],
  ['U16', int32(2, (bytes) => new Int32Array(new Uint16Array(bytes)))],
  ['U8', int32(1, (bytes) => new Int32Array(new Uint8Array(bytes)))],
  [
    'BOOL',
    { bytes: 1, dtype: 'bool', read: (bytes) => new Uint8Array(bytes).map((byte) => Number(byte !== 0)) },
  ],
  ['U32', int32(4, (bytes) => narrow32(new Int32Array(bytes)))],
  ['I64', int32(8, (bytes) => narrow64(new BigInt64Array(bytes), true))],
  ['U64', int32(8, (bytes) => narrow64(new BigUint64Array(bytes), false))],
])
