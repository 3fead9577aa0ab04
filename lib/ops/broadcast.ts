/** Strided copies and sums: broadcasting, and its gradient. */

import { needsGrad, record, view } from '../autograd.ts'
import { native } from '../binding.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { broadcastStrides, denseStrides, layoutOf, sameShape } from '../layout.ts'
import { result, type Tensor } from '../tensor.ts'
import { scaled } from './map.ts'

/** A strided copy of `shape` elements from one tensor into another. Without elements, offsets may be past the end. */
export function copyStrided(
  from: Tensor,
  to: Tensor,
  shape: readonly number[],
  fromStrides: readonly number[],
  toStrides: readonly number[],
  fromOffset = 0,
  toOffset = 0,
): void {
  if (shape.includes(0)) return
  native().copy(
    dtypeNumber(from.dtype),
    layoutOf(shape.length, [fromOffset, toOffset], shape, fromStrides, toStrides),
    from._handle('copy'),
    to._handle('copy'),
  )
}

/** Reads `x` as shape `from` (of the same size), repeated into a new tensor of shape `to`. */
export function expanded<D extends DType>(
  x: Tensor<D>,
  from: readonly number[],
  to: readonly number[],
): Tensor<D> {
  const y = result(to, x.dtype, x.device)
  copyStrided(x, y, to, broadcastStrides(from, to), denseStrides(to))
  if (needsGrad(x)) {
    const before = x._shape
    record('expand', [x], [y], [], (dy) => [view(sumTo(dy, from), before)])
  }
  return y
}

/** scale * sum over the flagged axes, which stay with length 1 if `keepDims`. */
export function summed<D extends DType>(
  where: string,
  x: Tensor<D>,
  reduced: readonly number[],
  keepDims = false,
  scale = 1,
): Tensor<D> {
  const full = x._shape
  const kept = full.map((dimension, i) => (reduced[i] === 1 ? 1 : dimension))
  const handle = x._handle(where)
  const y = result(keepDims ? kept : full.filter((_, i) => reduced[i] === 0), x.dtype, x.device)
  native().sum(dtypeNumber(x.dtype), layoutOf(full.length, full, reduced), scale, handle, y._handle(where))
  if (needsGrad(x)) {
    record(scale === 1 ? 'sum' : 'mean', [x], [y], [], (dy) => [
      expanded(scale === 1 ? dy : scaled(where, dy, scale), kept, full),
    ])
  }
  return y
}

/** The gradient of broadcasting: `x` summed down to `shape`; `x` itself where that is its shape. */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  if (sameShape(x._shape, shape)) return x
  const missing = x._shape.length - shape.length
  const reduced = x._shape.map((dimension, i) =>
    i < missing || (shape[i - missing] === 1 && dimension !== 1) ? 1 : 0,
  )
  // Leading axes go, those of length 1 stay: the elements are the same either way.
  return view(summed('backward', x, reduced), shape)
}
