/** Elements in order along an axis. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkBoolean, checkInteger, checkNumeric, checkOptions } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { result, type Tensor } from '../tensor.ts'
import { summedInto } from './gather.ts'
import { type Dims, dimsOf, shapeAlong, type ValuesAndIndices } from './lines.ts'

/** Options of {@link Tensor.topk}. */
export interface TopkOptions {
  /** Along which axis. Default -1, the last; negative counts from the end. */
  axis?: number | undefined
  /** The largest, or with false the smallest. Default true. */
  largest?: boolean | undefined
  /** Without effect: the result is in order either way. Default true. */
  sorted?: boolean | undefined
}

export function sort<D extends DType>(
  x: Tensor<D>,
  axis = -1,
  options: { descending?: boolean | undefined } = {},
): ValuesAndIndices<D> {
  const where = 'Tensor.sort'
  checkNumeric(where, 'input', x)
  const { dims, at } = dimsOf(where, x, axis)
  const given = checkOptions(where, options, ['descending'])
  const descending = checkBoolean(where, 'descending', given.descending ?? false)
  return first('sort', x, dims, at, dims[1], descending)
}

export function topk<D extends DType>(
  x: Tensor<D>,
  k: number,
  options: TopkOptions = {},
): ValuesAndIndices<D> {
  const where = 'Tensor.topk'
  checkNumeric(where, 'input', x)
  const given = checkOptions(where, options, ['axis', 'largest', 'sorted'])
  const { dims, at } = dimsOf(where, x, given.axis ?? -1)
  checkInteger(where, 'k', k, 0, dims[1])
  checkBoolean(where, 'sorted', given.sorted ?? true)
  return first('topk', x, dims, at, k, checkBoolean(where, 'largest', given.largest ?? true))
}

function first<D extends DType>(
  op: string,
  x: Tensor<D>,
  dims: Dims,
  at: number,
  k: number,
  descending: boolean,
): ValuesAndIndices<D> {
  const where = `Tensor.${op}`
  const shape = x._shape.length === 0 && k === 0 ? [0] : shapeAlong(x._shape, at, k)
  const handle = x._handle(where)
  const values = result(shape, x.dtype, x.device)
  const indices = result(shape, 'int32', x.device)
  native().sort(
    dtypeNumber(x.dtype),
    Number(descending),
    k,
    ...dims,
    handle,
    values._handle(where),
    indices._handle(where),
  )
  if (needsGrad(x)) {
    const before = x._shape
    record(op, [x], [values], [indices], (dy, node) => [
      summedInto('gather', null, dy, node.tensor(0), dims, k, before),
    ])
  }
  return { values, indices }
}
