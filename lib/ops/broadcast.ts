/** Strided copies and sums without the tape: broadcasting, and its gradient. */
import { native } from '../binding.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { broadcastStrides, denseStrides, layoutOf, sameShape } from '../layout.ts'
import { result, type Tensor } from '../tensor.ts'

/** A strided copy of `shape` elements from one tensor into another; of none, an offset may be past the end. */
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
  return y
}

/** scale * sum over the flagged axes; `shape` is that of the result. */
export function summed<D extends DType>(
  where: string,
  x: Tensor<D>,
  reduced: readonly number[],
  shape: readonly number[],
  scale = 1,
): Tensor<D> {
  const handle = x._handle(where)
  const y = result(shape, x.dtype, x.device)
  const layout = layoutOf(x._shape.length, x._shape, reduced)
  native().sum(dtypeNumber(x.dtype), layout, scale, handle, y._handle(where))
  return y
}

/** The gradient of broadcasting: sums `x` down to `shape`. Consumes x. */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  if (sameShape(x._shape, shape)) return x
  const missing = x._shape.length - shape.length
  const reduced = x._shape.map((dimension, i) =>
    i < missing || (shape[i - missing] === 1 && dimension !== 1) ? 1 : 0,
  )
  const y = summed('backward', x, reduced, shape)
  x.dispose()
  return y
}
