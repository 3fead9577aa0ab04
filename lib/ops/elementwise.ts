/** Elementwise ops: unary functions, arithmetic with broadcasting or a number. */
import { needsGrad, record } from '../autograd.ts'
import { BINARY, type Handle, native, UNARY } from '../binding.ts'
import { checkFloat, checkLike } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { broadcastShapes, broadcastStrides, denseLayout, layoutOf, sameShape } from '../layout.ts'
import { argumentError } from '../messages.ts'
import { result, resultLike, type Tensor } from '../tensor.ts'
import { sumTo } from './broadcast.ts'

// -- kernels without the tape ---------------------------------------------------

export function mapped<D extends DType>(where: string, op: number, x: Tensor<D>, alpha = 0): Tensor<D> {
  const handle = x._handle(where)
  const y = resultLike(x)
  native().unary(dtypeNumber(x.dtype), op, alpha, x.size, handle, y._handle(where))
  return y
}

/** a op b, each a handle with its shape, over the broadcast `shape`. */
function combine(
  op: number,
  shape: readonly number[],
  like: Tensor,
  a: Handle,
  aShape: readonly number[],
  b: Handle,
  bShape: readonly number[],
): Tensor {
  const out = result(shape, like.dtype, like.device)
  const layout =
    sameShape(aShape, shape) && sameShape(bShape, shape)
      ? denseLayout(out.size)
      : layoutOf(shape.length, shape, broadcastStrides(aShape, shape), broadcastStrides(bShape, shape))
  native().binary(dtypeNumber(like.dtype), op, layout, a, b, out._handle('binary'))
  return out
}

function negated(x: Tensor): Tensor {
  const y = mapped('backward', UNARY.neg, x)
  x.dispose()
  return y
}

// -- unary ------------------------------------------------------------------------

type UnaryName = Exclude<keyof typeof UNARY, 'neg' | 'scale' | 'addScalar'>

/** Functions whose derivative follows from their result (log and abs: from their input). */
export function unary<D extends DType>(name: UnaryName, x: Tensor<D>): Tensor<D> {
  const where = `Tensor.${name}`
  checkFloat(where, 'input', x)
  const op = UNARY[name]
  const y = mapped(where, op, x)
  if (needsGrad(x)) {
    const saved = name === 'log' || name === 'abs' ? x : y
    record(name, [x], [y], [saved._live(where)], (dy, node) => {
      const dx = resultLike(dy)
      native().unaryBackward(
        dtypeNumber(dy.dtype),
        op,
        dy.size,
        node.saved(0),
        dy._handle(where),
        dx._handle(where),
      )
      return [dx]
    })
  }
  return y
}

export function neg<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkFloat('Tensor.neg', 'input', x)
  const y = mapped('Tensor.neg', UNARY.neg, x)
  if (needsGrad(x)) record('neg', [x], [y], [], (dy) => [mapped('backward', UNARY.neg, dy)])
  return y
}

/** alpha * x */
function scale<D extends DType>(where: string, x: Tensor<D>, alpha: number): Tensor<D> {
  const y = mapped(where, UNARY.scale, x, alpha)
  if (needsGrad(x)) record('mul', [x], [y], [], (dy) => [mapped('backward', UNARY.scale, dy, alpha)])
  return y
}

/** x + alpha */
function shift<D extends DType>(where: string, x: Tensor<D>, alpha: number): Tensor<D> {
  const y = mapped(where, UNARY.addScalar, x, alpha)
  if (needsGrad(x)) record('add', [x], [y], [], (dy) => [dy._share(dy._shape)])
  return y
}

// -- binary -------------------------------------------------------------------------

/** Checks the operands; returns the shape of the result. */
function checkOperands(where: string, a: Tensor, b: unknown): readonly number[] {
  checkFloat(where, 'left operand', a)
  if (typeof b !== 'object') throw argumentError(where, 'a tensor or a number', b)
  checkLike(where, 'right operand', a, b)
  return broadcastShapes(where, a._shape, (b as Tensor)._shape)
}

export function add<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.add'
  if (typeof b === 'number') {
    checkFloat(where, 'left operand', a)
    return shift(where, a, b)
  }
  const shape = checkOperands(where, a, b)
  const y = combine(BINARY.add, shape, a, a._handle(where), a._shape, b._handle(where), b._shape)
  if (needsGrad(a) || needsGrad(b)) {
    const aShape = a._shape
    const bShape = b._shape
    record('add', [a, b], [y], [], (dy, node) => [
      node.wants(0) ? sumTo(dy._share(dy._shape), aShape) : null,
      node.wants(1) ? sumTo(dy._share(dy._shape), bShape) : null,
    ])
  }
  return y as Tensor<D>
}

export function sub<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.sub'
  if (typeof b === 'number') {
    checkFloat(where, 'left operand', a)
    return shift(where, a, -b)
  }
  const shape = checkOperands(where, a, b)
  const y = combine(BINARY.sub, shape, a, a._handle(where), a._shape, b._handle(where), b._shape)
  if (needsGrad(a) || needsGrad(b)) {
    const aShape = a._shape
    const bShape = b._shape
    record('sub', [a, b], [y], [], (dy, node) => [
      node.wants(0) ? sumTo(dy._share(dy._shape), aShape) : null,
      node.wants(1) ? negated(sumTo(dy._share(dy._shape), bShape)) : null,
    ])
  }
  return y as Tensor<D>
}

export function mul<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.mul'
  if (typeof b === 'number') {
    checkFloat(where, 'left operand', a)
    return scale(where, a, b)
  }
  const shape = checkOperands(where, a, b)
  const y = combine(BINARY.mul, shape, a, a._handle(where), a._shape, b._handle(where), b._shape)
  const wantA = needsGrad(a)
  const wantB = needsGrad(b)
  if (wantA || wantB) {
    const aShape = a._shape
    const bShape = b._shape
    const saved = [wantB ? a._live(where) : null, wantA ? b._live(where) : null]
    record('mul', [a, b], [y], saved, (dy, node) => {
      const times = (handle: Handle, from: readonly number[], to: readonly number[]) =>
        sumTo(combine(BINARY.mul, shape, dy, dy._handle(where), shape, handle, from), to)
      return [
        node.wants(0) ? times(node.saved(1), bShape, aShape) : null,
        node.wants(1) ? times(node.saved(0), aShape, bShape) : null,
      ]
    })
  }
  return y as Tensor<D>
}

export function div<D extends DType>(a: Tensor<D>, b: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.div'
  if (typeof b === 'number') {
    checkFloat(where, 'left operand', a)
    return divideByNumber(where, a, b)
  }
  const shape = checkOperands(where, a, b)
  const y = combine(BINARY.div, shape, a, a._handle(where), a._shape, b._handle(where), b._shape)
  const wantB = needsGrad(b)
  if (wantB || needsGrad(a)) {
    const aShape = a._shape
    const bShape = b._shape
    // da = dy / b, db = -(dy * y) / b = -da * y
    record('div', [a, b], [y], [b._live(where), wantB ? y._live(where) : null], (dy, node) => {
      const quotient = combine(BINARY.div, shape, dy, dy._handle(where), shape, node.saved(0), bShape)
      let db: Tensor | null = null
      if (node.wants(1)) {
        const handle = quotient._handle(where)
        db = negated(sumTo(combine(BINARY.mul, shape, dy, handle, shape, node.saved(1), shape), bShape))
      }
      if (node.wants(0)) return [sumTo(quotient, aShape), db]
      quotient.dispose()
      return [null, db]
    })
  }
  return y as Tensor<D>
}

/** A true division: x * (1 / divisor) would round twice. */
function divideByNumber<D extends DType>(where: string, x: Tensor<D>, divisor: number): Tensor<D> {
  const divided = (from: Tensor): Tensor => {
    const scalar = result([], from.dtype, from.device)
    native().fill(dtypeNumber(from.dtype), 1, divisor, scalar._handle(where))
    const y = combine(
      BINARY.div,
      from._shape,
      from,
      from._handle(where),
      from._shape,
      scalar._handle(where),
      [],
    )
    scalar.dispose()
    return y
  }
  const y = divided(x)
  if (needsGrad(x)) record('div', [x], [y], [], (dy) => [divided(dy)])
  return y as Tensor<D>
}
