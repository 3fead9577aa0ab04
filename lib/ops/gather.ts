/** Elements by index, and sums of elements into places by index. */
import { needsGrad, record } from '../autograd.ts'
import { native, PICK } from '../binding.ts'
import {
  checkDType,
  checkInt32,
  checkInteger,
  checkLike,
  checkNumeric,
  checkOptions,
  checkPlacement,
  checkShape,
} from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { broadcastShapes, product } from '../layout.ts'
import { MAX_INT32 } from '../limits.ts'
import { shapeError, shapeText } from '../messages.ts'
import { fill } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'
import { expanded } from './broadcast.ts'
import { to } from './compare.ts'
import { concat, slice } from './join.ts'
import { type Dims, dimsOf, shapeAlong } from './lines.ts'

type Pick = keyof typeof PICK

// -- without checks: x [outer,n,inner], index [outer,m,inner], or [m] of indexSelect -----------------

/** Elements of x at the places in `index`. */
function picked<D extends DType>(
  op: Pick,
  x: Tensor<D>,
  index: Tensor,
  dims: Dims,
  m: number,
  shape: readonly number[],
): Tensor<D> {
  const handle = x._handle(op)
  const places = index._handle(op)
  const y = result(shape, x.dtype, x.device)
  native().gather(dtypeNumber(x.dtype), PICK[op], ...dims, m, handle, places, y._handle(op))
  if (needsGrad(x)) {
    const before = x._shape
    record(op, [x], [y], [index], (dy, node) => [summedInto(op, null, dy, node.tensor(0), dims, m, before)])
  }
  return y
}

/** `base` (zeros where it is null) plus `source` added at the places in `index`: the gradient of picked(). */
export function summedInto<D extends DType>(
  op: Pick,
  base: Tensor<D> | null,
  source: Tensor<D>,
  index: Tensor,
  dims: Dims,
  m: number,
  shape: readonly number[],
): Tensor<D> {
  const places = index._handle(op)
  const from = source._handle(op)
  const onto = base === null ? null : base._handle(op)
  const y = result(shape, source.dtype, source.device)
  native().scatterAdd(dtypeNumber(y.dtype), PICK[op], ...dims, m, places, onto, from, y._handle(op))
  if (needsGrad(base) || needsGrad(source)) {
    const before = source._shape
    record(op, [base, source], [y], [index], (dy, node) => [
      node.wants(0) ? dy : null,
      node.wants(1) ? picked(op, dy, node.tensor(0), dims, m, before) : null,
    ])
  }
  return y
}

// -- ops -----------------------------------------------------------------------------------------

export function gather<D extends DType>(x: Tensor<D>, axis: number, index: Tensor): Tensor<D> {
  const where = 'Tensor.gather'
  const { at } = dimsOf(where, x, axis)
  checkIndex(where, x, index)
  const within = cutTo(where, x, index._shape, at)
  return along(within, index, at)
}

/** index has the shape of x, except along the axis. */
function along<D extends DType>(x: Tensor<D>, index: Tensor, at: number): Tensor<D> {
  const { dims } = dimsOf('Tensor.gather', x, at)
  return picked('gather', x, index, dims, index._shape[at] ?? 1, index._shape)
}

export function takeAlongAxis<D extends DType>(x: Tensor<D>, axis: number, index: Tensor): Tensor<D> {
  const where = 'Tensor.takeAlongAxis'
  const { at } = dimsOf(where, x, axis)
  checkIndex(where, x, index)
  const others = broadcastShapes(where, shapeAlong(x._shape, at, 1), shapeAlong(index._shape, at, 1))
  const to = <T extends DType>(one: Tensor<T>): Tensor<T> => {
    const shape = shapeAlong(others, at, one._shape[at] ?? null)
    return product(shape) === one.size ? one : expanded(one, one._shape, shape)
  }
  return along(to(x), to(index), at)
}

export function indexSelect<D extends DType>(x: Tensor<D>, axis: number, index: Tensor): Tensor<D> {
  const where = 'Tensor.indexSelect'
  const { dims, at } = dimsOf(where, x, axis)
  checkInt32(where, 'index', index)
  checkPlacement(where, 'index', index, 'int32', x.device)
  if (x._shape.length === 0) throw shapeError(where, 'input of at least one dimension', 'a scalar')
  if (index._shape.length !== 1) throw shapeError(where, 'index of shape [N]', shapeText(index._shape))
  const shape = shapeAlong(x._shape, at, index.size)
  checkShape(where, shape)
  return picked('indexSelect', x, index, dims, index.size, shape)
}

export function scatterAdd<D extends DType>(
  x: Tensor<D>,
  axis: number,
  index: Tensor,
  source: Tensor<D>,
): Tensor<D> {
  const where = 'Tensor.scatterAdd'
  checkNumeric(where, 'input', x)
  const { at } = dimsOf(where, x, axis)
  checkIndex(where, x, index)
  checkLike(where, 'source', x, source)
  const rank = x._shape.length
  if (source._shape.length !== rank || index._shape.some((d, i) => d > (source._shape[i] as number))) {
    throw shapeError(
      where,
      `source of at least the shape of index, ${shapeText(index._shape)}`,
      shapeText(source._shape),
    )
  }
  return scattered(where, x, at, index, cutTo(where, source, index._shape, -1))
}

/** Adds to the part of x that the index covers; where x is longer along other axes, the rest stays as it is. */
function scattered<D extends DType>(
  where: string,
  x: Tensor<D>,
  at: number,
  index: Tensor,
  source: Tensor<D>,
): Tensor<D> {
  const shape = index._shape
  checkReach(where, x, shape, at)
  const longer = x._shape.findIndex((d, i) => i !== at && d > (shape[i] as number))
  if (longer >= 0) {
    const end = shape[longer] as number
    const first = scattered(where, slice(x, 0, end, longer), at, index, source)
    return concat([first, slice(x, end, undefined, longer)], longer)
  }
  const { dims } = dimsOf(where, x, at)
  return summedInto('scatterAdd', x, source, index, dims, shape[at] ?? 1, x._shape)
}

/**
 * One row of `classes` numbers for each index: 1 in its place, else 0.
 *
 * @param index int32, any shape, of classes 0..classes-1
 * @param options dtype: of the result, default 'float32' (PyTorch gives int64)
 * @returns [..index,classes]
 * @throws TypeError ERR_BPTT_DTYPE. An index out of range: reading the result rejects with ERR_BPTT_INDEX.
 *
 * @example
 * oneHot(tensor([0, 2], { dtype: 'int32' }), 3) // [[1, 0, 0], [0, 0, 1]]
 */
export function oneHot<D extends DType = 'float32'>(
  index: Tensor,
  classes: number,
  options: { dtype?: D | undefined } = {},
): Tensor<D> {
  const where = 'oneHot'
  checkInt32(where, 'index', index)
  checkInteger(where, 'classes', classes, 1, MAX_INT32)
  const dtype = checkDType(where, (checkOptions(where, options, ['dtype']).dtype ?? 'float32') as D)
  const shape = [...index._shape, classes]
  checkShape(where, shape)
  index._live(where)
  const ones = result(index._shape, dtype === 'bool' ? 'int32' : dtype, index.device)
  fill(ones, 1, where)
  const y = summedInto<DType>(where, null, ones, index, [index.size, classes, 1], 1, shape)
  ones.dispose()
  if (dtype !== 'bool') return y as Tensor<D>
  const mask = to(y, dtype)
  y.dispose()
  return mask
}

// -- checks --------------------------------------------------------------------------------------

/** An index along an axis of x. */
function checkIndex(where: string, x: Tensor, index: Tensor): void {
  checkInt32(where, 'index', index)
  checkPlacement(where, 'index', index, 'int32', x.device)
  const rank = x._shape.length
  if (index._shape.length !== rank) {
    throw shapeError(where, `index of ${rank} dimensions, as the input`, shapeText(index._shape))
  }
}

function checkReach(where: string, x: Tensor, shape: readonly number[], at: number): void {
  if (shape.some((d, i) => i !== at && d > (x._shape[i] as number))) {
    throw shapeError(
      where,
      `index that reaches no further than the input, ${shapeText(x._shape)}, but along axis ${at}`,
      shapeText(shape),
    )
  }
}

/** x without what lies beyond `shape` along other axes than `at`. */
function cutTo<D extends DType>(
  where: string,
  x: Tensor<D>,
  shape: readonly number[],
  at: number,
): Tensor<D> {
  checkReach(where, x, shape, at)
  let cut = x
  shape.forEach((d, i) => {
    if (i !== at && d < (cut._shape[i] as number)) cut = slice(cut, 0, d, i)
  })
  return cut
}
