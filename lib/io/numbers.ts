/** Number formats that files hold and tensors do not. */
import { newArray } from '../check.ts'

const WHERE = 'loadSafetensors'

/** IEEE half precision; every value is a float32, exactly. */
export function widenFloat16(halves: Uint16Array): Float32Array {
  const out = newArray(WHERE, Float32Array, halves.length)
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
export function widenBfloat16(uppers: Uint16Array): Float32Array {
  const bits = newArray(WHERE, Uint32Array, uppers.length)
  for (let i = 0; i < uppers.length; i++) bits[i] = (uppers[i] as number) << 16
  return new Float32Array(bits.buffer)
}

/** The same values as int32, or the place of the first that does not fit. */
export function narrowInt64(values: BigInt64Array): Int32Array | number {
  const out = newArray(WHERE, Int32Array, values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as bigint
    out[i] = Number(value)
    if (BigInt(out[i] as number) !== value) return i
  }
  return out
}
