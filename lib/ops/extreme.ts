/** Largest and smallest elements and where they are. */
import { needsGrad, record, view } from '../autograd.ts'
import { EXTREME, native } from '../binding.ts'
import { checkNumeric } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { shapeError, shapeText } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'
import { expanded, summed } from './broadcast.ts'
import { where as choose, compare, logical, to } from './compare.ts'
import { div } from './elementwise.ts'
import { summedInto } from './gather.ts'
import {
  checkPlaces,
  type Dims,
  dimsOf,
  flags,
  keepDimsOf,
  lines,
  type ReduceOptions,
  shapeAlong,
  type ValuesAndIndices,
} from './lines.ts'

type Kind = keyof typeof EXTREME

/** Extreme values and their places along an axis; the extreme value of all where no axis is given. */
export function extremes<D extends DType>(
  kind: Kind,
  x: Tensor<D>,
  axis?: number | null,
  options: ReduceOptions = {},
): Tensor<D> | ValuesAndIndices<D> {
  const where = `Tensor.${kind}`
  checkNumeric(where, 'input', x)
  const keepDims = keepDimsOf(where, options)
  if (axis === undefined || axis === null)
    return extremeOver(where, kind, x, flags(where, null, x._shape.length), keepDims)
  const { dims, at } = dimsOf(where, x, axis)
  checkNonempty(where, dims, x)
  const shape = shapeAlong(x._shape, at, keepDims ? 1 : null)
  const handle = x._handle(where)
  const values = result(shape, x.dtype, x.device)
  const indices = result(shape, 'int32', x.device)
  native().extreme(
    dtypeNumber(x.dtype),
    EXTREME[kind],
    ...dims,
    handle,
    values._handle(where),
    indices._handle(where),
  )
  if (needsGrad(x)) {
    const before = x._shape
    record(kind, [x], [values], [indices], (dy, node) => [
      summedInto('gather', null, dy, node.tensor(0), dims, 1, before),
    ])
  }
  return { values, indices }
}

/** Where the first extreme element is, along an axis or among all. */
export function argExtreme(
  kind: Kind,
  x: Tensor,
  axis?: number | null,
  options: ReduceOptions = {},
): Tensor<'int32'> {
  const where = `Tensor.arg${kind}`
  checkNumeric(where, 'input', x)
  const keepDims = keepDimsOf(where, options)
  const all = axis === undefined || axis === null
  if (all) checkPlaces(where, x.size)
  const { dims, at } = all ? { dims: [1, x.size, 1] as const, at: -1 } : dimsOf(where, x, axis)
  checkNonempty(where, dims, x)
  const shape = all ? (keepDims ? x._shape.map(() => 1) : []) : shapeAlong(x._shape, at, keepDims ? 1 : null)
  const handle = x._handle(where)
  const indices = result(shape, 'int32', x.device)
  native().extreme(dtypeNumber(x.dtype), EXTREME[kind], ...dims, handle, null, indices._handle(where))
  return indices
}

/** Values over the flagged axes; those that are equal share the gradient, as in PyTorch. */
export function extremeOver<D extends DType>(
  where: string,
  kind: Kind,
  x: Tensor<D>,
  reduced: readonly number[],
  keepDims: boolean,
): Tensor<D> {
  x._live(where)
  const { lines: rows, dims, copied } = lines(x, reduced)
  checkNonempty(where, dims, x)
  checkPlaces(where, dims[1])
  const full = x._shape
  const kept = full.map((d, i) => (reduced[i] === 1 ? 1 : d))
  const y = result(keepDims ? kept : full.filter((_, i) => reduced[i] === 0), x.dtype, x.device)
  const places = result(y._shape, 'int32', x.device)
  native().extreme(
    dtypeNumber(x.dtype),
    EXTREME[kind],
    ...dims,
    rows._handle(where),
    y._handle(where),
    places._handle(where),
  )
  places.dispose()
  if (copied) rows.dispose()
  if (needsGrad(x)) {
    record(kind, [x], [y], [x, y], (dy, node) => {
      const ties = same(node.tensor(0), view(node.tensor(1), kept))
      const share = div(view(dy, kept), summed(where, to(ties, dy.dtype), reduced, true))
      return [choose(ties, expanded(share, kept, full), 0)]
    })
  }
  return y
}

/** Where both are equal, or both NaN. */
function same(a: Tensor, b: Tensor): Tensor<'bool'> {
  const nan = (x: Tensor) => compare('ne', x, x)
  return logical('logicalOr', compare('eq', a, b), logical('logicalAnd', nan(a), nan(b)))
}

function checkNonempty(where: string, dims: Dims, x: Tensor): void {
  if (dims[1] === 0) throw shapeError(where, 'at least one element to choose from', shapeText(x._shape))
}
