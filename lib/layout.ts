/** Shapes, strides and the layouts that the addon reads. */
import { shapeError, shapeText } from './messages.ts'

/** BPTT_MAX_RANK of native/backend.h. */
export const MAX_RANK = 8

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true
  const rank = a.length
  if (rank !== b.length) return false
  for (let i = 0; i < rank; i++) if (a[i] !== b[i]) return false
  return true
}

export function product(shape: readonly number[], from = 0, to = shape.length): number {
  let size = 1
  for (let i = from; i < to; i++) size *= shape[i] as number
  return size
}

/** Row-major strides, in elements. */
export function denseStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride
    stride *= shape[i] as number
  }
  return strides
}

/** Strides that read a dense `shape` as if it had the shape `out`: 0 along broadcast dimensions. */
export function broadcastStrides(shape: readonly number[], out: readonly number[]): number[] {
  const strides = denseStrides(shape)
  const missing = out.length - shape.length
  return out.map((_, i) => (i < missing || shape[i - missing] === 1 ? 0 : (strides[i - missing] as number)))
}

/** The shape that both broadcast to, by NumPy's rule. */
export function broadcastShapes(
  where: string,
  a: readonly number[],
  b: readonly number[],
): readonly number[] {
  if (sameShape(a, b)) return a
  const rank = Math.max(a.length, b.length)
  const out = new Array<number>(rank)
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1
    const y = b[b.length - i] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      throw shapeError(
        where,
        'shapes that broadcast (each dimension equal or 1, aligned at the last)',
        `${shapeText(a)} and ${shapeText(b)}`,
      )
    }
    out[rank - i] = x === 1 ? y : x
  }
  return out
}

/** Layout of binary() for equal shapes. */
export function denseLayout(size: number): Float64Array {
  return Float64Array.of(1, size, 1, 1)
}

/** [rank, ...lists] as the addon reads it. */
export function layoutOf(rank: number, ...lists: readonly (readonly number[])[]): Float64Array {
  let size = 1
  for (const list of lists) size += list.length
  const layout = new Float64Array(size)
  layout[0] = rank
  let at = 1
  for (const list of lists) for (const value of list) layout[at++] = value
  return layout
}

/** [outer, length of axis, inner] of a dense shape. A scalar is [1,1,1]. */
export function splitAt(shape: readonly number[], axis: number): [number, number, number] {
  if (shape.length === 0) return [1, 1, 1]
  return [product(shape, 0, axis), shape[axis] as number, product(shape, axis + 1)]
}
