/** Elementwise functions of one tensor whose gradients are made of themselves: this file imports no other op. */
import { needsGrad, record } from '../autograd.ts'
import { native, UNARY } from '../binding.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { resultLike, type Tensor } from '../tensor.ts'

/** A unary kernel, without the tape. */
export function mapped<D extends DType>(
  where: string,
  op: number,
  x: Tensor<D>,
  alpha = 0,
  beta = 0,
): Tensor<D> {
  const handle = x._handle(where)
  const y = resultLike(x)
  native().unary(dtypeNumber(x.dtype), op, alpha, beta, x.size, handle, y._handle(where))
  return y
}

/** -x */
export function negated<D extends DType>(where: string, x: Tensor<D>): Tensor<D> {
  const y = mapped(where, UNARY.neg, x)
  if (needsGrad(x)) record('neg', [x], [y], [], (dy) => [negated(where, dy)])
  return y
}

/** alpha * x */
export function scaled<D extends DType>(where: string, x: Tensor<D>, alpha: number): Tensor<D> {
  const y = mapped(where, UNARY.scale, x, alpha)
  if (needsGrad(x)) record('mul', [x], [y], [], (dy) => [scaled(where, dy, alpha)])
  return y
}

/** x + alpha */
export function shifted<D extends DType>(where: string, x: Tensor<D>, alpha: number): Tensor<D> {
  const y = mapped(where, UNARY.addScalar, x, alpha)
  if (needsGrad(x)) record('add', [x], [y], [], (dy) => [dy])
  return y
}
