/** Options that every layer has. */
import { checkDevice, checkFloatDType, checkShape } from '../check.ts'
import { uniform } from '../create.ts'
import type { Device, FloatDType } from '../dtype.ts'
import { result } from '../tensor.ts'
import { type Parameter, parameter } from './module.ts'

export interface LayerOptions<D extends FloatDType = FloatDType> {
  /** Default 'float32'. */
  dtype?: D | undefined
  /** Default 'cpu'. */
  device?: Device | undefined
}

export interface Placement<D extends FloatDType> {
  dtype: D
  device: Device
}

export function placement<D extends FloatDType>(where: string, options: LayerOptions<D>): Placement<D> {
  return {
    dtype: checkFloatDType(where, options.dtype ?? ('float32' as D)),
    device: checkDevice(where, options.device ?? 'cpu'),
  }
}

/** A parameter drawn from U(-bound, bound). */
export function uniformParameter<D extends FloatDType>(
  where: string,
  shape: readonly number[],
  bound: number,
  { dtype, device }: Placement<D>,
): Parameter<D> {
  checkShape(where, shape)
  return parameter(() => {
    const value = result(shape, dtype, device)
    uniform(value, -bound, bound)
    return value
  })
}

export const MAX_SIZE = 2 ** 31 - 1
