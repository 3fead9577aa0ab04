/** Dropout. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkBoolean, checkFloat, checkNumber, checkOptions } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { draw } from '../random.ts'
import { resultLike, type Tensor } from '../tensor.ts'
import { alias } from './shape.ts'

/** Options of {@link dropout}. */
export interface DropoutOptions {
  /** Whether to drop at all. Default true. */
  training?: boolean | undefined
}

/**
 * Zeroes each element with probability p and scales the others by 1 / (1 - p).
 *
 * @param p from 0 to 1, default 0.5
 * @throws RangeError ERR_BPTT_VALUE
 */
export function dropout<D extends DType>(x: Tensor<D>, p = 0.5, options: DropoutOptions = {}): Tensor<D> {
  const where = 'dropout'
  checkFloat(where, 'input', x)
  checkNumber(where, 'p', p, 0, 1)
  options = checkOptions(where, options, ['training'])
  if (!checkBoolean(where, 'training', options.training ?? true) || p === 0) return alias(x)
  const dtype = dtypeNumber(x.dtype)
  const { size } = x
  const handle = x._handle(where)
  const y = resultLike(x)
  const { seed, offset } = draw(size)
  native().dropout(dtype, size, p, seed, offset, handle, y._handle(where))
  if (needsGrad(x)) {
    // The same numbers again: the mask is not stored.
    record(where, [x], [y], [], (dy) => {
      const dx = resultLike(dy)
      native().dropout(dtype, size, p, seed, offset, dy._handle(where), dx._handle(where))
      return [dx]
    })
  }
  return y
}
