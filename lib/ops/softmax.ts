/** softmax and logSoftmax along one axis. */
import { needsGrad, record } from '../autograd.ts'
import { native, SOFTMAX_KIND } from '../binding.ts'
import { checkAxis, checkFloat } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { splitAt } from '../layout.ts'
import { isRecording } from '../scope.ts'
import { resultLike, type Tensor } from '../tensor.ts'
import { mul, sub } from './elementwise.ts'
import { sum } from './reduce.ts'
import { unary } from './unary.ts'

/**
 * exp(x) / sum(exp(x)) along an axis.
 *
 * @param axis default -1, the last
 */
export function softmax<D extends DType>(x: Tensor<D>, axis = -1): Tensor<D> {
  return normalize('softmax', x, axis)
}

/**
 * log(softmax(x)) along an axis, computed without the intermediate.
 *
 * @param axis default -1, the last
 */
export function logSoftmax<D extends DType>(x: Tensor<D>, axis = -1): Tensor<D> {
  return normalize('logSoftmax', x, axis)
}

function normalize<D extends DType>(where: keyof typeof SOFTMAX_KIND, x: Tensor<D>, axis: number): Tensor<D> {
  const kind = SOFTMAX_KIND[where]
  checkFloat(where, 'input', x)
  const at = checkAxis(where, axis, x._shape.length)
  const [outer, classes, inner] = splitAt(x._shape, at)
  const dtype = dtypeNumber(x.dtype)
  const handle = x._handle(where)
  const y = resultLike(x)
  native().softmax(dtype, kind, outer, classes, inner, handle, y._handle(where))
  if (needsGrad(x)) {
    record(where, [x], [y], [y], (dy, node) => {
      if (isRecording()) return [GRADIENT[where](dy, node.tensor(0), at)]
      const dx = resultLike(dy)
      const dout = dy._handle(where)
      native().softmaxBackward(dtype, kind, outer, classes, inner, node.saved(0), dout, dx._handle(where))
      return [dx]
    })
  }
  return y
}

/** dx from dy and the result. */
const GRADIENT = {
  softmax: (dy: Tensor, y: Tensor, axis: number) => {
    const product = mul(dy, y)
    return sub(product, mul(y, sum(product, axis, { keepDims: true })))
  },
  logSoftmax: (dy: Tensor, y: Tensor, axis: number) =>
    sub(dy, mul(unary('exp', y), sum(dy, axis, { keepDims: true }))),
}
