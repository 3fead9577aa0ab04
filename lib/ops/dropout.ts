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
 * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 */
export function dropout<D extends DType>(x: Tensor<D>, p = 0.5, options: DropoutOptions = {}): Tensor<D> {
  const where = 'dropout'
  checkFloat(where, 'input', x)
  checkNumber(where, 'p', p, 0, 1)
  options = checkOptions(where, options, ['training'])
  if (!checkBoolean(where, 'training', options.training ?? true) || p === 0) return alias(x)
  const { seed, offset } = draw(x.size)
  return dropped(x, p, seed, offset)
}

/** Its gradient is the same function of the same random numbers: the mask is not stored. */
export function dropped<D extends DType>(x: Tensor<D>, p: number, seed: number, offset: number): Tensor<D> {
  const handle = x._handle('dropout')
  const y = resultLike(x)
  native().dropout(dtypeNumber(x.dtype), x.size, p, seed, offset, handle, y._handle('dropout'))
  if (needsGrad(x)) record('dropout', [x], [y], [], (dy) => [dropped(dy, p, seed, offset)])
  return y
}
