/** Arithmetic, with broadcasting or a number. */
import { needsGrad, record } from '../autograd.ts'
import { BINARY, native } from '../binding.ts'
import { checkLike, checkNumeric, checkScalar } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { broadcastShapes } from '../layout.ts'
import { argumentError, dtypeError } from '../messages.ts'
import { result, resultLike, type Tensor } from '../tensor.ts'
import { sumTo } from './broadcast.ts'
import { compare, maskedFill, pairLayout, scalarLike, where as select } from './compare.ts'
import { negated, scaled, shifted } from './map.ts'

export function neg<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkNumeric('Tensor.neg', 'input', x)
  return negated('Tensor.neg', x)
}

/** A tensor of that value, of the shape of `x`. */
export function constantLike<D extends DType>(x: Tensor<D>, value: number): Tensor<D> {
  const y = resultLike(x)
  native().fill(dtypeNumber(x.dtype), x.size, value, y._handle('fill'))
  return y
}

// -- binary -------------------------------------------------------------------------

/** a op b over the shape that they broadcast to, without the tape. */
export function combined<D extends DType>(where: string, op: number, a: Tensor<D>, b: Tensor<D>): Tensor<D> {
  const aShape = a._shape
  const bShape = b._shape
  const shape = broadcastShapes(where, aShape, bShape)
  const left = a._handle(where)
  const right = b._handle(where)
  const y = result(shape, a.dtype, a.device)
  const layout = pairLayout(shape, aShape, bShape, y.size)
  native().binary(dtypeNumber(a.dtype), op, layout, left, right, y._handle(where))
  return y
}

export function checkOperands<D extends DType>(
  where: string,
  a: Tensor<D>,
  b: unknown,
): asserts b is Tensor<D> {
  checkNumeric(where, 'left operand', a)
  if (typeof b !== 'object') throw argumentError(where, 'a tensor or a number', b)
  checkLike(where, 'right operand', a, b)
}

export function add<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.add'
  if (typeof b === 'number') {
    checkNumeric(where, 'left operand', a)
    checkScalar(where, a.dtype, b)
    return shifted(where, a, b)
  }
  checkOperands(where, a, b)
  const y = combined(where, BINARY.add, a, b)
  if (needsGrad(a) || needsGrad(b)) {
    const aShape = a._shape
    const bShape = b._shape
    record('add', [a, b], [y], [], (dy, node) => [
      node.wants(0) ? sumTo(dy, aShape) : null,
      node.wants(1) ? sumTo(dy, bShape) : null,
    ])
  }
  return y
}

export function sub<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.sub'
  if (typeof b === 'number') {
    checkNumeric(where, 'left operand', a)
    checkScalar(where, a.dtype, b)
    // -b itself, for the least int32, wraps to b, and so does the sum.
    return shifted(where, a, a.dtype === 'int32' ? -b | 0 : -b)
  }
  checkOperands(where, a, b)
  const y = combined(where, BINARY.sub, a, b)
  if (needsGrad(a) || needsGrad(b)) {
    const aShape = a._shape
    const bShape = b._shape
    record('sub', [a, b], [y], [], (dy, node) => [
      node.wants(0) ? sumTo(dy, aShape) : null,
      node.wants(1) ? negated(where, sumTo(dy, bShape)) : null,
    ])
  }
  return y
}

export function mul<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.mul'
  if (typeof b === 'number') {
    checkNumeric(where, 'left operand', a)
    checkScalar(where, a.dtype, b)
    return scaled(where, a, b)
  }
  checkOperands(where, a, b)
  const y = combined(where, BINARY.mul, a, b)
  const wantA = needsGrad(a)
  const wantB = needsGrad(b)
  if (wantA || wantB) {
    const aShape = a._shape
    const bShape = b._shape
    record('mul', [a, b], [y], [wantB ? a : null, wantA ? b : null], (dy, node) => [
      node.wants(0) ? sumTo(mul(dy, node.tensor(1)), aShape) : null,
      node.wants(1) ? sumTo(mul(dy, node.tensor(0)), bShape) : null,
    ])
  }
  return y
}

export function div<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.div'
  checkNumeric(where, 'left operand', a)
  if (a.dtype === 'int32') {
    throw dtypeError(
      where,
      'operands of float32 or float64',
      'int32',
      "quotients are not integers: convert both with .to('float32')",
    )
  }
  if (typeof b === 'number') {
    return divideByNumber(where, a, b)
  }
  checkOperands(where, a, b)
  const y = combined(where, BINARY.div, a, b)
  const wantB = needsGrad(b)
  if (wantB || needsGrad(a)) {
    const aShape = a._shape
    const bShape = b._shape
    // da = dy / b, db = -(dy * y) / b = -da * y
    record('div', [a, b], [y], [b, wantB ? y : null], (dy, node) => {
      const quotient = div(dy, node.tensor(0))
      return [
        node.wants(0) ? sumTo(quotient, aShape) : null,
        node.wants(1) ? negated(where, sumTo(mul(quotient, node.tensor(1)), bShape)) : null,
      ]
    })
  }
  return y
}

/** A true division: x * (1 / divisor) would round twice. */
function divideByNumber<D extends DType>(where: string, x: Tensor<D>, divisor: number): Tensor<D> {
  const scalar = scalarLike(where, x, x.dtype, divisor)
  const y = combined(where, BINARY.div, x, scalar)
  scalar.dispose()
  if (needsGrad(x)) record('div', [x], [y], [], (dy) => [divideByNumber(where, dy, divisor)])
  return y
}

/** The larger or smaller of two; where they are equal, each gets half the gradient. */
export function extreme<D extends DType>(
  name: 'maximum' | 'minimum',
  a: Tensor<D>,
  b: Tensor<D> | number,
): Tensor<D> {
  const where = `Tensor.${name}`
  if (typeof b === 'number') {
    checkNumeric(where, 'left operand', a)
    checkScalar(where, a.dtype, b)
    const scalar = scalarLike(where, a, a.dtype, b)
    const y = extreme(name, a, scalar)
    scalar.dispose()
    return y
  }
  checkOperands(where, a, b)
  const y = combined(where, BINARY[name], a, b)
  if (needsGrad(a) || needsGrad(b)) {
    const shapes = [a._shape, b._shape]
    const passed = name === 'maximum' ? 'lt' : 'gt'
    record(name, [a, b], [y], [a, b], (dy, node) =>
      shapes.map((shape, i) => {
        if (!node.wants(i)) return null
        const [mine, other] = [node.tensor(i), node.tensor(1 - i)]
        const shared = select(compare('eq', mine, other), mul(dy, 0.5), dy)
        return sumTo(maskedFill(shared, compare(passed, mine, other), 0), shape)
      }),
    )
  }
  return y
}
