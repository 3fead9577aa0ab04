/** Parts of tensors: copied out of one, and laid side by side in one. Each is the other's gradient. */
import { needsGrad, record, view } from '../autograd.ts'
import type { Device, DType } from '../dtype.ts'
import { denseStrides, product, sameShape } from '../layout.ts'
import { fill } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'
import { copyStrided } from './broadcast.ts'

/** A box within a larger tensor of as many axes: its shape, and the place of its first element there. */
export interface Box {
  readonly shape: readonly number[]
  readonly offset: number
}

/** From `start` to before `end` along one axis of `shape`, and all of the others. */
export function boxAlong(shape: readonly number[], axis: number, start: number, end: number): Box {
  return {
    shape: shape.map((dimension, i) => (i === axis ? end - start : dimension)),
    offset: start * product(shape, axis + 1),
  }
}

/** A copy of each box. */
export function taken<D extends DType>(op: string, x: Tensor<D>, boxes: readonly Box[]): Tensor<D>[] {
  const full = x._shape
  const strides = denseStrides(full)
  const parts = boxes.map(({ shape, offset }) => {
    const part = result(shape, x.dtype, x.device)
    copyStrided(x, part, shape, strides, denseStrides(shape), offset)
    return part
  })
  if (needsGrad(x) && parts.length > 0) {
    record(op, [x], parts, [], (_, __, gradients) => {
      const given = [...boxes.keys()].filter((i) => gradients[i] !== null)
      const from = given.map((i) => gradients[i] as Tensor)
      const to = given.map((i) => boxes[i] as Box)
      return [placed(op, from, to, full)]
    })
  }
  return parts
}

/**
 * A tensor of shape `full` with each tensor in its box, of the same size, and `value` elsewhere. Boxes do not
 * overlap; there is at least one.
 */
export function placed<D extends DType>(
  op: string,
  tensors: readonly Tensor<D>[],
  boxes: readonly Box[],
  full: readonly number[],
  value = 0,
): Tensor<D> {
  const { dtype, device } = tensors[0] as { dtype: D; device: Device }
  const y = result(full, dtype, device)
  const covered = boxes.reduce((sum, { shape }) => sum + product(shape), 0)
  if (covered < y.size) fill(y, value, op)
  const strides = denseStrides(full)
  for (const [i, { shape, offset }] of boxes.entries()) {
    copyStrided(tensors[i] as Tensor<D>, y, shape, denseStrides(shape), strides, 0, offset)
  }
  if (tensors.some(needsGrad)) {
    const shapes = tensors.map((x) => x._shape)
    record(op, tensors, [y], [], (dy, node) => {
      const wanted = [...boxes.keys()].filter((i) => node.wants(i))
      const parts = taken(
        op,
        dy,
        wanted.map((i) => boxes[i] as Box),
      )
      const gradients: (Tensor | null)[] = tensors.map(() => null)
      for (const [k, i] of wanted.entries())
        gradients[i] = reshaped(parts[k] as Tensor, shapes[i] as number[])
      return gradients
    })
  }
  return y
}

function reshaped(x: Tensor, shape: readonly number[]): Tensor {
  return sameShape(x._shape, shape) ? x : view(x, shape)
}
