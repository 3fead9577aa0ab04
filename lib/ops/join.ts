/** Ops that cut tensors into parts, and ops that lay them side by side. All copy. */
import {
  checkAxis,
  checkInteger,
  checkIntegers,
  checkLike,
  checkOptions,
  checkRank,
  checkScalar,
  checkShape,
  checkTensor,
} from '../check.ts'
import type { DType } from '../dtype.ts'
import { product, sameShape } from '../layout.ts'
import { argumentError, shapeError, shapeText, valueError } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { type Box, boxAlong, placed, taken } from './boxes.ts'

/** Options of {@link Tensor.pad}. */
export interface PadOptions {
  /** What the new elements are. Default 0. */
  value?: number | undefined
}

/** Bounds `count` of chunk(): along an axis of length 0 it makes that many empty tensors. */
const MOST_CHUNKS = 2 ** 24

// -- parts of one tensor ----------------------------------------------------------------

export function slice<D extends DType>(
  x: Tensor<D>,
  start: number,
  end: number | undefined,
  axis: number,
): Tensor<D> {
  const where = 'Tensor.slice'
  const at = checkDivided(where, x, axis)
  const length = x._shape[at] as number
  const from = clamped(where, 'start', start, length)
  const to = end === undefined ? length : clamped(where, 'end', end, length)
  x._live(where)
  return taken('slice', x, [boxAlong(x._shape, at, from, Math.max(to, from))])[0] as Tensor<D>
}

/** The axis of a tensor that is to be divided along it. */
function checkDivided(where: string, x: Tensor, axis: number): number {
  checkTensor(where, 'input', x)
  if (x._shape.length === 0) throw shapeError(where, 'at least one dimension', 'a scalar')
  return checkAxis(where, axis, x._shape.length)
}

/** An index as Array.slice reads it, infinity included. */
function clamped(where: string, name: string, index: number, length: number): number {
  if (Math.abs(index) !== Number.POSITIVE_INFINITY) {
    checkInteger(where, name, index, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  }
  return Math.min(Math.max(index < 0 ? index + length : index, 0), length)
}

export function split<D extends DType>(
  x: Tensor<D>,
  sizes: number | readonly number[],
  axis: number,
): Tensor<D>[] {
  const where = 'Tensor.split'
  const at = checkDivided(where, x, axis)
  const length = x._shape[at] as number
  if (typeof sizes === 'number') {
    const size = checkInteger(where, 'size', sizes, 1, Number.MAX_SAFE_INTEGER)
    return divided(where, x, at, evenly(length, size))
  }
  const lengths = checkIntegers(where, 'sizes', sizes, 0, Number.MAX_SAFE_INTEGER)
  const sum = lengths.reduce((total, size) => total + size, 0)
  if (sum !== length) throw shapeError(where, `sizes of ${length} in all`, `${shapeText(lengths)} of ${sum}`)
  return divided(where, x, at, lengths)
}

export function chunk<D extends DType>(x: Tensor<D>, count: number, axis: number): Tensor<D>[] {
  const where = 'Tensor.chunk'
  const at = checkDivided(where, x, axis)
  const chunks = checkInteger(where, 'count', count, 1, MOST_CHUNKS)
  const length = x._shape[at] as number
  const lengths =
    length === 0 ? new Array<number>(chunks).fill(0) : evenly(length, Math.ceil(length / chunks))
  return divided(where, x, at, lengths)
}

/** Parts of `size` that add up to `length`; the last may be shorter. */
function evenly(length: number, size: number): number[] {
  const lengths: number[] = []
  for (let left = length; left > 0; left -= size) lengths.push(Math.min(size, left))
  return length === 0 ? [0] : lengths
}

/** The parts of x along an axis, of these lengths. */
function divided<D extends DType>(
  where: string,
  x: Tensor<D>,
  axis: number,
  lengths: readonly number[],
): Tensor<D>[] {
  x._live(where)
  return taken('split', x, rowOf(x._shape, axis, lengths))
}

/** Boxes of these lengths, one behind the other along an axis of `full`. */
function rowOf(full: readonly number[], axis: number, lengths: readonly number[]): Box[] {
  let end = 0
  return lengths.map((length) => {
    const start = end
    end += length
    return boxAlong(full, axis, start, end)
  })
}

// -- many into one ------------------------------------------------------------------------

export function pad<D extends DType>(
  x: Tensor<D>,
  pairs: readonly (readonly [before: number, after: number])[],
  options: PadOptions = {},
): Tensor<D> {
  const where = 'Tensor.pad'
  checkTensor(where, 'input', x)
  const { value = 0 } = checkOptions(where, options, ['value'])
  if (typeof value !== 'number') throw argumentError(where, 'value to be a number', value)
  checkScalar(where, x.dtype, value)
  const widths = checkPairs(where, pairs, x._shape)
  const full = x._shape.map(
    (dimension, i) => widths[i]?.reduce((sum, width) => sum + width, dimension) as number,
  )
  checkShape(where, full)
  x._live(where)
  const offset = widths.reduce((sum, [before], i) => sum + (before as number) * product(full, i + 1), 0)
  return placed('pad', [x], [{ shape: x._shape, offset }], full, value)
}

/** A copy of the pairs, of two counts for each axis. */
function checkPairs(
  where: string,
  pairs: readonly (readonly number[])[],
  shape: readonly number[],
): number[][] {
  const expected = 'a pair [before, after] for each axis'
  if (!Array.isArray(pairs)) throw argumentError(where, expected, pairs)
  if (pairs.length !== shape.length) {
    throw shapeError(where, `${expected} of ${shapeText(shape)}`, `${pairs.length}`)
  }
  return shape.map((_, i) => {
    const pair = checkIntegers(where, `pair ${i}`, pairs[i], 0, Number.MAX_SAFE_INTEGER)
    if (pair.length !== 2) throw shapeError(where, `pair ${i} to be [before, after]`, shapeText(pair))
    return pair
  })
}

/**
 * Joins tensors along an existing axis.
 *
 * @param tensors at least one; same dtype, and same shape except along `axis`
 * @param axis default 0; may be negative
 * @throws RangeError ERR_BPTT_SHAPE if the shapes do not fit
 */
export function concat<D extends DType>(tensors: readonly Tensor<D>[], axis = 0): Tensor<D> {
  const where = 'concat'
  const list = checkList(where, tensors)
  const [first] = list as [Tensor<D>]
  const rank = first._shape.length
  if (rank === 0) throw shapeError(where, 'tensors of at least one dimension', 'a scalar', 'use stack()')
  const at = checkAxis(where, axis, rank)
  for (const x of list) {
    if (x._shape.length !== rank || x._shape.some((d, i) => i !== at && d !== first._shape[i])) {
      throw shapeError(
        where,
        `shapes equal to ${shapeText(first._shape)} except along axis ${at}`,
        shapeText(x._shape),
      )
    }
  }
  return side(
    'concat',
    list,
    first._shape,
    at,
    list.map((x) => x._shape[at] as number),
  )
}

/**
 * Joins tensors of one shape along a new axis.
 *
 * @param tensors at least one; same dtype and shape
 * @param axis position of the new axis in the result, default 0; may be negative
 * @throws RangeError ERR_BPTT_SHAPE if the shapes differ
 */
export function stack<D extends DType>(tensors: readonly Tensor<D>[], axis = 0): Tensor<D> {
  const where = 'stack'
  const list = checkList(where, tensors)
  const [first] = list as [Tensor<D>]
  for (const x of list) {
    if (!sameShape(x._shape, first._shape)) {
      throw shapeError(where, `shapes equal to ${shapeText(first._shape)}`, shapeText(x._shape))
    }
  }
  checkRank(where, first._shape.length + 1)
  const at = checkAxis(where, axis, first._shape.length + 1)
  const shape = [...first._shape]
  shape.splice(at, 0, 1)
  return side(
    'stack',
    list,
    shape,
    at,
    list.map(() => 1),
  )
}

/** Side by side along an axis of `shape`. */
function side<D extends DType>(
  where: string,
  tensors: readonly Tensor<D>[],
  shape: readonly number[],
  axis: number,
  lengths: readonly number[],
): Tensor<D> {
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const full = shape.map((dimension, i) => (i === axis ? total : dimension))
  checkShape(where, full)
  return placed(where, tensors, rowOf(full, axis, lengths), full)
}

/** A copy of the list: live tensors, at least one, all like the first. */
function checkList<D extends DType>(where: string, tensors: readonly Tensor<D>[]): Tensor<D>[] {
  if (!Array.isArray(tensors)) throw argumentError(where, 'an array of tensors', tensors)
  const list: Tensor<D>[] = []
  for (const x of tensors as readonly Tensor<D>[]) {
    const name = `tensor ${list.length}`
    if (list.length === 0) checkTensor(where, name, x)
    else checkLike(where, name, list[0] as Tensor<D>, x)
    x._live(where)
    list.push(x)
  }
  if (list.length === 0) throw valueError(where, 'at least one tensor', tensors)
  return list
}
