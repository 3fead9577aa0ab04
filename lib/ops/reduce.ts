/** Sums and means over axes. */
import { checkFloat, checkNumeric } from '../check.ts'
import type { DType } from '../dtype.ts'
import { product } from '../layout.ts'
import type { Tensor } from '../tensor.ts'
import { summed } from './broadcast.ts'
import { type Axes, flags, keepDimsOf, type ReduceOptions } from './lines.ts'

export function sum<D extends DType>(x: Tensor<D>, axes?: Axes, options?: ReduceOptions): Tensor<D> {
  return reduce('sum', x, axes, options)
}

export function mean<D extends DType>(x: Tensor<D>, axes?: Axes, options?: ReduceOptions): Tensor<D> {
  return reduce('mean', x, axes, options)
}

function reduce<D extends DType>(
  name: 'sum' | 'mean',
  x: Tensor<D>,
  axes: Axes | undefined,
  options: ReduceOptions = {},
): Tensor<D> {
  const where = `Tensor.${name}`
  if (name === 'sum') checkNumeric(where, 'input', x)
  else checkFloat(where, 'input', x)
  const keepDims = keepDimsOf(where, options)
  const reduced = flags(where, axes ?? null, x._shape.length)
  const scale = name === 'sum' ? 1 : 1 / product(x._shape.filter((_, i) => reduced[i] === 1))
  return summed(where, x, reduced, keepDims, scale)
}
