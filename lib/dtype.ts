/** Element types and devices. */
import { CPU_DEVICE, DTYPE } from './binding.ts'

/**
 * Element types. `int32` holds indices and lengths; its arithmetic wraps, and it has no division. `bool` holds
 * masks, a byte of 0 or 1 each; no arithmetic. {@link Tensor.to} converts.
 */
export type DType = 'float32' | 'float64' | 'int32' | 'bool'

/** Element types that have gradients. */
export type FloatDType = 'float32' | 'float64'

export function isFloat(dtype: DType): dtype is FloatDType {
  return dtype === 'float32' || dtype === 'float64'
}

/** The typed array that holds the elements of a dtype. */
export type DataOf<D extends DType> = D extends 'float32'
  ? Float32Array
  : D extends 'float64'
    ? Float64Array
    : D extends 'int32'
      ? Int32Array
      : Uint8Array

/** Where a tensor lives. `cuda` is `cuda:0`. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`

export const BYTES = { float32: 4, float64: 8, int32: 4, bool: 1 } as const

/** The dtype's number in the addon's interface. */
export function dtypeNumber(dtype: DType): number {
  return DTYPE[dtype]
}

/** The device's number in the addon's interface. */
export function deviceNumber(device: Device): number {
  return device === 'cpu' ? CPU_DEVICE : Number(device.slice('cuda:'.length))
}

/** A typed array over the whole buffer. */
export function arrayOf<D extends DType>(dtype: D, buffer: ArrayBuffer): DataOf<D> {
  switch (dtype) {
    case 'float32':
      return new Float32Array(buffer) as DataOf<D>
    case 'float64':
      return new Float64Array(buffer) as DataOf<D>
    case 'int32':
      return new Int32Array(buffer) as DataOf<D>
    default:
      return new Uint8Array(buffer) as DataOf<D>
  }
}

export const DTYPE_FLOAT32 = DTYPE.float32
