import { checkNumber } from '../check.ts'
import type { DType } from '../dtype.ts'
import { dropout } from '../ops/dropout.ts'
import type { Tensor } from '../tensor.ts'
import { fixFields, Module } from './module.ts'

/** Zeroes elements with probability p in training, and scales the others by 1 / (1 - p). */
export class Dropout extends Module<Tensor, Tensor> {
  /** The probability of zero. */
  readonly p: number

  /**
   * In training mode, as every new module.
   *
   * @param p from 0 to 1, default 0.5
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(p = 0.5) {
    super()
    this.p = checkNumber('Dropout', 'p', p, 0, 1)
    fixFields(this)
  }

  /** Any shape; in evaluation a tensor that shares the input's memory. */
  override forward<D extends DType>(input: Tensor<D>): Tensor<D> {
    return dropout(input, this.p, { training: this.training })
  }
}
