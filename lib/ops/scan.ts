/** Cumulative sums. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkNumeric } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { resultLike, type Tensor } from '../tensor.ts'
import { type Dims, dimsOf } from './lines.ts'

export function cumsum<D extends DType>(x: Tensor<D>, axis: number): Tensor<D> {
  checkNumeric('Tensor.cumsum', 'input', x)
  return accumulated(x, dimsOf('Tensor.cumsum', x, axis).dims, false)
}

/** Cumulative sums from the first element on, or in reverse from the last: each is the other's gradient. */
function accumulated<D extends DType>(x: Tensor<D>, dims: Dims, reverse: boolean): Tensor<D> {
  const where = 'Tensor.cumsum'
  const handle = x._handle(where)
  const y = resultLike(x)
  native().cumsum(dtypeNumber(x.dtype), Number(reverse), ...dims, handle, y._handle(where))
  if (needsGrad(x)) record('cumsum', [x], [y], [], (dy) => [accumulated(dy, dims, !reverse)])
  return y
}
