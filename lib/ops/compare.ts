/** What makes masks and uses them: comparisons, logic, choice; and conversion between dtypes. */
import { needsGrad, record } from '../autograd.ts'
import { BINARY, COMPARISON, native } from '../binding.ts'
import { checkBool, checkDType, checkLike, checkPlacement, checkScalar, checkTensor } from '../check.ts'
import { type DType, dtypeNumber, isFloat } from '../dtype.ts'
import {
  broadcastShapes,
  broadcastStrides,
  denseLayout,
  denseStrides,
  layoutOf,
  sameShape,
} from '../layout.ts'
import { isInt32 } from '../limits.ts'
import { argumentError, shapeError, shapeText } from '../messages.ts'
import { fill } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'
import { copyStrided, sumTo } from './broadcast.ts'
import { alias } from './shape.ts'

/** Layout of an op on two operands that broadcast to `shape`. */
export function pairLayout(
  shape: readonly number[],
  a: readonly number[],
  b: readonly number[],
  size: number,
): Float64Array {
  return sameShape(a, shape) && sameShape(b, shape)
    ? denseLayout(size)
    : layoutOf(shape.length, shape, broadcastStrides(a, shape), broadcastStrides(b, shape))
}

/** A tensor of one element. */
export function scalarLike<D extends DType>(where: string, x: Tensor, dtype: D, value: number): Tensor<D> {
  const scalar = result([], dtype, x.device)
  fill(scalar, value, where)
  return scalar
}

// -- conversion -----------------------------------------------------------------------

export function to<D extends DType>(x: Tensor, dtype: D): Tensor<D> {
  const where = 'Tensor.to'
  checkTensor(where, 'input', x)
  checkDType(where, dtype)
  if (x.dtype === (dtype as DType)) return alias(x) as Tensor<D>
  const handle = x._handle(where)
  const y = result(x._shape, dtype, x.device)
  native().convert(dtypeNumber(x.dtype), dtypeNumber(dtype), x.size, handle, y._handle(where))
  if (isFloat(dtype) && needsGrad(x)) {
    const before = x.dtype
    record('to', [x], [y], [], (dy) => [to(dy, before)])
  }
  return y
}

// -- comparison and logic ----------------------------------------------------------------

export type Comparison = keyof typeof COMPARISON

export function compare(name: Comparison, a: Tensor, b: Tensor | number): Tensor<'bool'> {
  const where = `Tensor.${name}`
  checkTensor(where, 'left operand', a)
  if (typeof b !== 'number') {
    if (typeof b !== 'object') throw argumentError(where, 'a tensor or a number', b)
    checkLike(where, 'right operand', a, b)
    return compared(where, name, a, b)
  }
  if (!isFloat(a.dtype) && !isInt32(b)) {
    const wide = to(a, 'float64') // holds every value of both
    const y = compare(name, wide, b)
    wide.dispose()
    return y
  }
  const left = a.dtype === 'bool' ? to(a, 'int32') : a
  const scalar = scalarLike(where, left, left.dtype, b)
  const y = compared(where, name, left, scalar)
  scalar.dispose()
  if (left !== a) left.dispose()
  return y
}

function compared(where: string, name: Comparison, a: Tensor, b: Tensor): Tensor<'bool'> {
  const shape = broadcastShapes(where, a._shape, b._shape)
  const left = a._handle(where)
  const right = b._handle(where)
  const y = result(shape, 'bool', a.device)
  const layout = pairLayout(shape, a._shape, b._shape, y.size)
  native().compare(dtypeNumber(a.dtype), COMPARISON[name], layout, left, right, y._handle(where))
  return y
}

/** Operands of any dtypes count as whether they are not 0. */
export function logical(name: 'logicalAnd' | 'logicalOr', a: Tensor, b: Tensor): Tensor<'bool'> {
  const where = `Tensor.${name}`
  checkTensor(where, 'left operand', a)
  checkTensor(where, 'right operand', b)
  checkPlacement(where, 'right operand', b, b.dtype, a.device)
  const left = to(a, 'bool')
  const right = to(b, 'bool')
  const shape = broadcastShapes(where, a._shape, b._shape)
  const y = result(shape, 'bool', a.device)
  native().binary(
    dtypeNumber('bool'),
    name === 'logicalAnd' ? BINARY.minimum : BINARY.maximum,
    pairLayout(shape, a._shape, b._shape, y.size),
    left._handle(where),
    right._handle(where),
    y._handle(where),
  )
  left.dispose()
  right.dispose()
  return y
}

export function logicalNot(x: Tensor): Tensor<'bool'> {
  checkTensor('Tensor.logicalNot', 'input', x)
  return compare('eq', x, 0)
}

// -- choice -------------------------------------------------------------------------------

/**
 * Elements of `a` where the mask is true, else of `b`. Shapes broadcast as in NumPy. No gradient flows to
 * what was not chosen, also where that is infinite or NaN.
 *
 * @param mask as comparisons make it
 * @param a a tensor or a number
 * @param b a tensor of the same dtype, or a number; of two numbers the result is float32
 * @throws TypeError ERR_BPTT_DTYPE if the mask is not bool or the dtypes differ
 * @throws RangeError ERR_BPTT_SHAPE if the shapes do not broadcast
 *
 * @example
 * where(x.gt(0), x, x.mul(0.01))
 */
export function where<D extends DType>(mask: Tensor<'bool'>, a: Tensor<D>, b: Tensor<D> | number): Tensor<D>
export function where<D extends DType>(mask: Tensor<'bool'>, a: number, b: Tensor<D>): Tensor<D>
export function where(mask: Tensor<'bool'>, a: number, b: number): Tensor<'float32'>
export function where(mask: Tensor<'bool'>, a: Tensor | number, b: Tensor | number): Tensor {
  const name = 'where'
  checkBool(name, 'mask', mask)
  for (const one of [a, b]) {
    if (typeof one !== 'number') checkTensor(name, 'a choice', one)
  }
  const dtype = typeof a !== 'number' ? a.dtype : typeof b !== 'number' ? b.dtype : 'float32'
  for (const one of [a, b]) {
    if (typeof one === 'number') checkScalar(name, dtype, one)
    else checkPlacement(name, 'a choice', one, dtype, mask.device)
  }
  return chosen(name, mask, a, b, dtype)
}

/** Fills with `b`, then writes `a` where the mask says so. */
function chosen<D extends DType>(
  name: string,
  mask: Tensor,
  a: Tensor<D> | number,
  b: Tensor<D> | number,
  dtype: D,
): Tensor<D> {
  const aShape = typeof a === 'number' ? [] : a._shape
  const bShape = typeof b === 'number' ? [] : b._shape
  const shape = broadcastShapes(name, mask._shape, broadcastShapes(name, aShape, bShape))
  const choice = mask._handle(name)
  const first = typeof a === 'number' ? null : a._handle(name)
  const second = typeof b === 'number' ? null : b._handle(name)
  const y = result(shape, dtype, mask.device)
  if (second === null) fill(y, b as number, name)
  else copyStrided(b as Tensor, y, shape, broadcastStrides(bShape, shape), denseStrides(shape))
  const scalar = first === null ? scalarLike(name, mask, dtype, a as number) : null
  native().maskedCopy(
    dtypeNumber(dtype),
    pairLayout(shape, mask._shape, aShape, y.size),
    choice,
    first ?? (scalar as Tensor)._handle(name),
    y._handle(name),
  )
  scalar?.dispose()
  const inputs = [a, b].map((one) => (typeof one === 'number' ? null : one))
  if (inputs.some(needsGrad)) {
    record(name, inputs, [y], [mask], (dy, node) => [
      node.wants(0) ? sumTo(chosen(name, node.tensor(0), dy, 0, dy.dtype), aShape) : null,
      node.wants(1) ? sumTo(chosen(name, node.tensor(0), 0, dy, dy.dtype), bShape) : null,
    ])
  }
  return y
}

export function maskedFill<D extends DType>(x: Tensor<D>, mask: Tensor<'bool'>, value: number): Tensor<D> {
  const name = 'Tensor.maskedFill'
  checkTensor(name, 'input', x)
  checkBool(name, 'mask', mask)
  checkPlacement(name, 'mask', mask, 'bool', x.device)
  if (typeof value !== 'number') throw argumentError(name, 'value to be a number', value)
  checkScalar(name, x.dtype, value)
  if (!sameShape(broadcastShapes(name, mask._shape, x._shape), x._shape)) {
    throw shapeError(name, `a mask that broadcasts to ${shapeText(x._shape)}`, shapeText(mask._shape))
  }
  return chosen('maskedFill', mask, value, x, x.dtype)
}
