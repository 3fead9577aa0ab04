/** Views, which share the storage, and ops that reorder or repeat elements, which copy. */
import { needsGrad, record, view } from '../autograd.ts'
import { checkAxis, checkIntegers, checkRank, checkShape, checkTensor, copyShape } from '../check.ts'
import type { DType } from '../dtype.ts'
import { denseStrides, product, sameShape } from '../layout.ts'
import { refusal, shapeError, shapeText } from '../messages.ts'
import { copyElements } from '../state.ts'
import { result, resultLike, type Tensor } from '../tensor.ts'
import { copyStrided, expanded } from './broadcast.ts'
import { type Axes, flags } from './lines.ts'

// -- without checks -----------------------------------------------------------------

/** Axis i of the result is axis order[i] of x. */
function permuted<D extends DType>(op: string, x: Tensor<D>, order: readonly number[]): Tensor<D> {
  const shape = order.map((axis) => x._shape[axis] as number)
  const strides = denseStrides(x._shape)
  const y = result(shape, x.dtype, x.device)
  const from = order.map((axis) => strides[axis] as number)
  copyStrided(x, y, shape, from, denseStrides(shape))
  if (needsGrad(x)) {
    const back = order.map((_, axis) => order.indexOf(axis))
    record(op, [x], [y], [], (dy) => [permuted(op, dy, back)])
  }
  return y
}

/** In reverse order along the flagged axes. */
function flipped<D extends DType>(x: Tensor<D>, reversed: readonly number[]): Tensor<D> {
  const shape = x._shape
  const strides = denseStrides(shape)
  let last = 0
  const from = strides.map((stride, i) => {
    if (reversed[i] !== 1) return stride
    last += ((shape[i] as number) - 1) * stride
    return -stride
  })
  const y = resultLike(x)
  copyStrided(x, y, shape, from, strides, last)
  if (needsGrad(x)) record('flip', [x], [y], [], (dy) => [flipped(dy, reversed)])
  return y
}

/** A copy with a storage of its own. */
function cloned<D extends DType>(x: Tensor<D>): Tensor<D> {
  const y = resultLike(x)
  copyElements(x, 0, y, 0, x.size)
  if (needsGrad(x)) record('clone', [x], [y], [], (dy) => [dy])
  return y
}

// -- ops --------------------------------------------------------------------------------

export function reshape<D extends DType>(x: Tensor<D>, shape: readonly number[]): Tensor<D> {
  const where = 'Tensor.reshape'
  checkTensor(where, 'input', x)
  return view(x, inferred(where, shape, x))
}

/** Another tensor of the same elements: disposing one leaves the other. */
export function alias<D extends DType>(x: Tensor<D>): Tensor<D> {
  return reshape(x, x._shape)
}

/** The shape with its -1 replaced by what the size of x leaves. */
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

export function squeeze<D extends DType>(x: Tensor<D>, axes: Axes): Tensor<D> {
  const where = 'Tensor.squeeze'
  checkTensor(where, 'input', x)
  const chosen = flags(where, axes, x._shape.length)
  return view(
    x,
    x._shape.filter((dimension, i) => dimension !== 1 || chosen[i] !== 1),
    'squeeze',
  )
}

export function unsqueeze<D extends DType>(x: Tensor<D>, axis: number): Tensor<D> {
  const where = 'Tensor.unsqueeze'
  checkTensor(where, 'input', x)
  const shape = [...x._shape]
  checkRank(where, shape.length + 1)
  shape.splice(checkAxis(where, axis, shape.length + 1), 0, 1)
  return view(x, shape, 'unsqueeze')
}

export function flatten<D extends DType>(x: Tensor<D>, start: number, end: number): Tensor<D> {
  const where = 'Tensor.flatten'
  checkTensor(where, 'input', x)
  const shape = x._shape
  const first = checkAxis(where, start, shape.length)
  const last = checkAxis(where, end, shape.length)
  if (first > last) throw refusal(where, `expected start to be no axis after end, got ${start} and ${end}`)
  return view(
    x,
    [
      ...shape.slice(0, first),
      product(shape, first, Math.min(last + 1, shape.length)),
      ...shape.slice(last + 1),
    ],
    'flatten',
  )
}

export function transpose<D extends DType>(x: Tensor<D>, a: number, b: number): Tensor<D> {
  const where = 'Tensor.transpose'
  checkTensor(where, 'input', x)
  const first = checkAxis(where, a, x._shape.length)
  const second = checkAxis(where, b, x._shape.length)
  x._live(where)
  if (first === second) return alias(x)
  const order = [...x._shape.keys()]
  order[first] = second
  order[second] = first
  return permuted('transpose', x, order)
}

export function permute<D extends DType>(x: Tensor<D>, axes: readonly number[]): Tensor<D> {
  const where = 'Tensor.permute'
  checkTensor(where, 'input', x)
  const rank = x._shape.length
  const given = checkIntegers(where, 'axes', axes, -rank, Math.max(rank - 1, 0))
  const order = given.map((axis) => (axis < 0 ? axis + rank : axis))
  if (order.length !== rank || new Set(order).size !== rank) {
    throw refusal(where, `expected each of ${rank} axes once, got ${shapeText(given)}`)
  }
  x._live(where)
  return permuted('permute', x, order)
}

export function flip<D extends DType>(x: Tensor<D>, axes: number | readonly number[]): Tensor<D> {
  const where = 'Tensor.flip'
  checkTensor(where, 'input', x)
  const reversed = flags(where, axes, x._shape.length)
  x._live(where)
  return flipped(x, reversed)
}

export function clone<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkTensor('Tensor.clone', 'input', x)
  x._live('Tensor.clone')
  return cloned(x)
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

export function repeat<D extends DType>(x: Tensor<D>, counts: readonly number[]): Tensor<D> {
  const where = 'Tensor.repeat'
  checkTensor(where, 'input', x)
  const times = checkIntegers(where, 'counts', counts, 0, Number.MAX_SAFE_INTEGER)
  checkRank(where, times.length)
  const missing = times.length - x._shape.length
  if (missing < 0) {
    throw shapeError(where, `a count for each axis of ${shapeText(x._shape)}`, shapeText(times))
  }
  const shape = [...new Array<number>(missing).fill(1), ...x._shape]
  checkShape(
    where,
    shape.map((dimension, i) => dimension * (times[i] as number)),
  )
  x._live(where)
  const steps = [view(x, shape)]
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const count = times[axis] as number
    if (count === 1) continue
    const outer = product(shape, 0, axis)
    const inner = product(shape, axis)
    const wide = expanded(steps.at(-1) as Tensor<D>, [outer, 1, inner], [outer, count, inner])
    shape[axis] = (shape[axis] as number) * count
    steps.push(wide, view(wide, [...shape]))
  }
  if (steps.length === 1) steps.push(cloned(steps[0] as Tensor<D>))
  const y = steps.pop() as Tensor<D>
  for (const step of steps) step.dispose()
  return y
}
