/** Ops that move elements: reshape shares the storage, all others copy. */
import { needsGrad, record, view } from '../autograd.ts'
import { native } from '../binding.ts'
import {
  checkAxis,
  checkInteger,
  checkLike,
  checkRank,
  checkShape,
  checkTensor,
  copyShape,
} from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { denseStrides, sameShape } from '../layout.ts'
import { argumentError, shapeError, shapeText, valueError } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'
import { copyStrided, expanded } from './broadcast.ts'

// -- without checks -----------------------------------------------------------------

function transposed<D extends DType>(x: Tensor<D>, a: number, b: number): Tensor<D> {
  const shape = swapped(x._shape, a, b)
  const y = result(shape, x.dtype, x.device)
  copyStrided(x, y, shape, swapped(denseStrides(x._shape), a, b), denseStrides(shape))
  if (needsGrad(x)) record('transpose', [x], [y], [], (dy) => [transposed(dy, a, b)])
  return y
}

function swapped(list: readonly number[], a: number, b: number): number[] {
  const out = [...list]
  out[a] = list[b] as number
  out[b] = list[a] as number
  return out
}

/** Elements start.. along an axis of `x`, into a new tensor of shape `shape`. */
function cut<D extends DType>(
  x: Tensor<D>,
  shape: readonly number[],
  axis: number,
  start: number,
): Tensor<D> {
  const y = result(shape, x.dtype, x.device)
  const strides = denseStrides(x._shape)
  copyStrided(x, y, shape, strides, denseStrides(shape), start * (strides[axis] as number))
  if (needsGrad(x)) {
    const full = x._shape
    record('slice', [x], [y], [], (dy) => [surrounded(dy, full, axis, start)])
  }
  return y
}

/** Zeros of shape `shape`, with `x` from `start` along an axis. */
function surrounded<D extends DType>(
  x: Tensor<D>,
  shape: readonly number[],
  axis: number,
  start: number,
): Tensor<D> {
  const y = result(shape, x.dtype, x.device)
  native().fill(dtypeNumber(y.dtype), y.size, 0, y._handle('slice'))
  paste(x, x._shape, y, axis, start)
  if (needsGrad(x)) {
    const part = x._shape
    record('pad', [x], [y], [], (dy) => [cut(dy, part, axis, start)])
  }
  return y
}

/** Copies all of `x` into `to`, from `start` along an axis. */
function paste(x: Tensor, shape: readonly number[], to: Tensor, axis: number, start: number): void {
  const strides = denseStrides(to._shape)
  copyStrided(x, to, shape, denseStrides(shape), strides, 0, start * (strides[axis] as number))
}

// -- ops --------------------------------------------------------------------------------

export function reshape<D extends DType>(x: Tensor<D>, shape: readonly number[]): Tensor<D> {
  const where = 'Tensor.reshape'
  checkTensor(where, 'input', x)
  return view(x, inferred(where, shape, x))
}

/** The same tensor under a new owner: disposing one leaves the other. */
export function alias<D extends DType>(x: Tensor<D>): Tensor<D> {
  return reshape(x, x._shape)
}

function inferred(where: string, shape: readonly number[], x: Tensor): readonly number[] {
  const sizes = copyShape(where, shape)
  const unknown = sizes.indexOf(-1)
  if (unknown >= 0) sizes[unknown] = 1
  const size = checkShape(where, sizes)
  if (unknown >= 0 && size > 0 && x.size % size === 0) sizes[unknown] = x.size / size
  else if (unknown >= 0 || size !== x.size) {
    if (unknown >= 0) sizes[unknown] = -1
    throw shapeError(where, `a shape of ${x.size} elements, as ${shapeText(x._shape)}`, shapeText(sizes))
  }
  return sizes
}

export function transpose<D extends DType>(x: Tensor<D>, a: number, b: number): Tensor<D> {
  const where = 'Tensor.transpose'
  checkTensor(where, 'input', x)
  const first = checkAxis(where, a, x._shape.length)
  const second = checkAxis(where, b, x._shape.length)
  x._live(where)
  if (first === second) return alias(x)
  return transposed(x, first, second)
}

export function slice<D extends DType>(
  x: Tensor<D>,
  start: number,
  end: number | undefined,
  axis: number,
): Tensor<D> {
  const where = 'Tensor.slice'
  checkTensor(where, 'input', x)
  if (x._shape.length === 0) throw shapeError(where, 'at least one dimension', 'a scalar')
  const at = checkAxis(where, axis, x._shape.length)
  const length = x._shape[at] as number
  const from = clamped(where, 'start', start, length)
  const to = end === undefined ? length : clamped(where, 'end', end, length)
  const shape = x._shape.map((dimension, i) => (i === at ? Math.max(to - from, 0) : dimension))
  x._live(where)
  return cut(x, shape, at, from)
}

/** An index as Array.slice reads it, infinity included. */
function clamped(where: string, name: string, index: number, length: number): number {
  if (Math.abs(index) !== Number.POSITIVE_INFINITY) {
    checkInteger(where, name, index, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  }
  return Math.min(Math.max(index < 0 ? index + length : index, 0), length)
}

export function expand<D extends DType>(x: Tensor<D>, shape: readonly number[]): Tensor<D> {
  const where = 'Tensor.expand'
  checkTensor(where, 'input', x)
  const sizes = copyShape(where, shape)
  checkShape(where, sizes)
  const missing = sizes.length - x._shape.length
  const fits = missing >= 0 && x._shape.every((d, i) => d === 1 || d === sizes[i + missing])
  if (!fits) throw shapeError(where, `a shape that ${shapeText(x._shape)} broadcasts to`, shapeText(sizes))
  x._live(where)
  if (sameShape(sizes, x._shape)) return alias(x)
  return expanded(x, x._shape, sizes)
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
  return join(
    'concat',
    list,
    at,
    list.map((x) => x._shape),
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
  const piece = [...first._shape]
  piece.splice(at, 0, 1)
  return join(
    'stack',
    list,
    at,
    list.map(() => piece),
  )
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

/** Pieces of the given shapes, one behind the other along an axis. */
function join<D extends DType>(
  op: string,
  tensors: readonly Tensor<D>[],
  axis: number,
  pieces: readonly (readonly number[])[],
): Tensor<D> {
  const shape = [...(pieces[0] as readonly number[])]
  const starts: number[] = []
  let length = 0
  for (const piece of pieces) {
    starts.push(length)
    length += piece[axis] as number
  }
  shape[axis] = length
  checkShape(op, shape)
  const first = tensors[0] as Tensor<D>
  const y = result(shape, first.dtype, first.device)
  for (let i = 0; i < tensors.length; i++) {
    paste(tensors[i] as Tensor<D>, pieces[i] as readonly number[], y, axis, starts[i] as number)
  }
  if (tensors.some(needsGrad)) {
    const shapes = tensors.map((x) => x._shape)
    record(op, tensors, [y], [], (dy, node) =>
      pieces.map((piece, i) =>
        node.wants(i)
          ? view(cut(dy, piece, axis, starts[i] as number), shapes[i] as readonly number[])
          : null,
      ),
    )
  }
  return y
}
