/** Options that every layer has. */
import { checkDevice, checkFloatDType, checkShape } from '../check.ts'
import { uniform } from '../create.ts'
import type { Device, FloatDType } from '../dtype.ts'
import { MAX_INT32 } from '../limits.ts'
import { result } from '../tensor.ts'
import { type Parameter, parameter } from './module.ts'

/** What the options of every layer with parameters have. */
export interface LayerOptions<D extends FloatDType = FloatDType> {
  /** Default 'float32'. */
  dtype?: D | undefined
  /** Default 'cpu'. */
  device?: Device | undefined
}

/** The largest size of a layer. */
export const MAX_SIZE = MAX_INT32

export interface Placement<D extends FloatDType> {
  dtype: D
  device: Device
}

/** Checks dtype and device of a layer, and gives their defaults. */
export function placement<D extends FloatDType>(where: string, options: LayerOptions<D>): Placement<D> {
  return {
    dtype: checkFloatDType(where, options.dtype ?? ('float32' as D)),
    device: checkDevice(where, options.device ?? 'cpu'),
  }
}

/**
 * Parameters drawn from U(-bound, bound), null where the shape is null. All are allocated before the first is filled,
 * so that too large a layer fails at once; if it throws, none is left.
 */
export function uniformParameters<D extends FloatDType>(
  where: string,
  shapes: readonly (readonly number[] | null)[],
  bound: number,
  { dtype, device }: Placement<D>,
): (Parameter<D> | null)[] {
  const made: (Parameter<D> | null)[] = []
  try {
    for (const shape of shapes) {
      if (shape !== null) checkShape(where, shape)
      made.push(shape === null ? null : parameter(() => result(shape, dtype, device)))
    }
    for (const value of made) if (value !== null) uniform(value, -bound, bound)
    return made
  } catch (error) {
    for (const value of made) value?.dispose()
    throw error
  }
}
