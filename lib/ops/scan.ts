/** Sums that grow along an axis. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkNumeric } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { resultLike, type Tensor } from '../tensor.ts'
import { type Dims, dimsOf } from './lines.ts'

export function cumsum<D extends DType>(x: Tensor<D>, axis: number): Tensor<D> {
  checkNumeric('Tensor.cumsum', 'input', x)
  return grown(x, dimsOf('Tensor.cumsum', x, axis).dims, false)
}

/** In reverse from the last element on: the gradient of the other. */
function grown<D extends DType>(x: Tensor<D>, dims: Dims, reverse: boolean): Tensor<D> {
  const where = 'Tensor.cumsum'
  const handle = x._handle(where)
  const y = resultLike(x)
  native().cumsum(dtypeNumber(x.dtype), Number(reverse), ...dims, handle, y._handle(where))
  if (needsGrad(x)) record('cumsum', [x], [y], [], (dy) => [grown(dy, dims, !reverse)])
  return y
}
