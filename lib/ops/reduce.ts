/** Sums and means over axes. */
import { checkAxis, checkBoolean, checkFloat, checkNumeric, checkOptions } from '../check.ts'
import type { DType } from '../dtype.ts'
import { product } from '../layout.ts'
import { argumentError, refusal } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { summed } from './broadcast.ts'

/** Options of {@link Tensor.sum} and {@link Tensor.mean}. */
export interface ReduceOptions {
  /** Keep the reduced axes with length 1. Default false. */
  keepDims?: boolean | undefined
}

type Axes = number | readonly number[] | null

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
  options = checkOptions(where, options, ['keepDims'])
  const keepDims = checkBoolean(where, 'keepDims', options.keepDims ?? false)
  const reduced = flags(where, axes ?? null, x._shape.length)
  const scale = name === 'sum' ? 1 : 1 / product(x._shape.filter((_, i) => reduced[i] === 1))
  return summed(where, x, reduced, keepDims, scale)
}

/** One flag per axis: whether it is reduced. */
function flags(where: string, axes: Axes, rank: number): number[] {
  if (axes === null) return new Array<number>(rank).fill(1)
  if (typeof axes !== 'number' && !Array.isArray(axes)) {
    throw argumentError(where, 'an axis, an array of axes, or none for all', axes)
  }
  const reduced = new Array<number>(rank).fill(0)
  for (const axis of typeof axes === 'number' ? [axes] : (axes as readonly number[])) {
    const at = checkAxis(where, axis, rank)
    if (reduced[at] === 1) throw refusal(where, `expected different axes, got ${axis} twice`)
    if (rank > 0) reduced[at] = 1
  }
  return reduced
}
