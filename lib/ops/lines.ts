/** What the ops along axes share: a tensor as [outer, n, inner], where n lies along an axis, and places along it. */

import { checkAxis, checkBoolean, checkOptions, checkTensor } from '../check.ts'
import type { DType } from '../dtype.ts'
import { denseStrides, product, splitAt } from '../layout.ts'
import { MAX_INT32 } from '../limits.ts'
import { argumentError, refusal } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'
import { copyStrided } from './broadcast.ts'

/** One axis, several, or null: all. */
export type Axes = number | readonly number[] | null

/** Options of {@link Tensor.sum}, {@link Tensor.max} and other reductions. */
export interface ReduceOptions {
  /** Keep the reduced axes with length 1. Default false. */
  keepDims?: boolean | undefined
}

/** Elements along an axis, and where they are. */
export interface ValuesAndIndices<D extends DType = DType> {
  /** The elements. */
  values: Tensor<D>
  /** Their places along the axis. */
  indices: Tensor<'int32'>
}

/** [outer, n, inner]: the axis has length n, those before it outer elements, those after it inner ones. */
export type Dims = readonly [outer: number, n: number, inner: number]

/** x as lines along an axis, which `at` counts from the start. */
export function dimsOf(where: string, x: Tensor, axis: unknown): { dims: Dims; at: number } {
  checkTensor(where, 'input', x)
  const at = checkAxis(where, axis, x._shape.length)
  const dims = splitAt(x._shape, at)
  checkPlaces(where, dims[1])
  return { dims, at }
}

/** Indices are int32: an axis must not be longer than they count. */
export function checkPlaces(where: string, n: number): void {
  if (n > MAX_INT32) throw refusal(where, `expected at most ${MAX_INT32} elements along an axis, got ${n}`)
}

export function keepDimsOf(where: string, options: ReduceOptions): boolean {
  return checkBoolean(where, 'keepDims', checkOptions(where, options, ['keepDims']).keepDims ?? false)
}

/** `shape` with `n` in the place of an axis; without it where n is null. A scalar stays one. */
export function shapeAlong(shape: readonly number[], axis: number, n: number | null): readonly number[] {
  if (shape.length === 0) return shape
  return n === null ? shape.filter((_, i) => i !== axis) : shape.map((d, i) => (i === axis ? n : d))
}

/** One flag per axis: whether it is reduced. */
export function flags(where: string, axes: Axes, rank: number): number[] {
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

/** The flagged axes as one, for a kernel; `lines` is a copy if they are not neighbours, which the caller disposes of. */
export function lines(x: Tensor, reduced: readonly number[]): { lines: Tensor; dims: Dims; copied: boolean } {
  const shape = x._shape
  const first = reduced.indexOf(1)
  const past = reduced.lastIndexOf(1) + 1
  if (first < 0) return { lines: x, dims: [x.size, 1, 1], copied: false }
  if (!reduced.slice(first, past).includes(0)) {
    const dims = [product(shape, 0, first), product(shape, first, past), product(shape, past)] as const
    return { lines: x, dims, copied: false }
  }
  const order = [...shape.keys()].sort((a, b) => (reduced[a] as number) - (reduced[b] as number))
  const moved = order.map((axis) => shape[axis] as number)
  const strides = denseStrides(shape)
  const copy = result(moved, x.dtype, x.device)
  const from = order.map((axis) => strides[axis] as number)
  copyStrided(x, copy, moved, from, denseStrides(moved))
  const kept = reduced.filter((flag) => flag === 0).length
  return { lines: copy, dims: [product(moved, 0, kept), product(moved, kept), 1], copied: true }
}
