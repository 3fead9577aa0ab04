import { checkBoolean, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import type { Tensor } from '../tensor.ts'
import { GRUCell, sharing } from './cell.ts'
import { fixFields } from './module.ts'
import { OPTIONS, Recurrent, type RecurrentOptions, type StateOptions } from './recurrent.ts'

/** Options of {@link GRU}. */
export interface GRUOptions<D extends FloatDType = FloatDType> extends RecurrentOptions<D> {
  /**
   * Whether the reset gate multiplies W_hn h + b_hn (as torch and cuDNN do) or h itself,
   * before the product (the original form). Default true.
   */
  resetAfter?: boolean | undefined
}

/** What forward() of {@link GRU} returns. */
export interface GRUResult<D extends FloatDType> {
  /** `[T,B,D*H]` (`[B,T,D*H]` if batchFirst); zeros past each row's length */
  output: Tensor<D>
  /** `[L*D,B,H]`: h of each row after its own last step */
  hn: Tensor<D>
}

/** Gated recurrent unit, as torch.nn.GRU; gate order r z n. D is 2 if bidirectional, else 1. */
export class GRU<D extends FloatDType = 'float32'> extends Recurrent<D, GRUResult<D>> {
  /** Whether the reset gate acts after the product with h. */
  readonly resetAfter: boolean

  /**
   * @param inputSize I
   * @param hiddenSize H
   * @throws TypeError, RangeError if an option does not fit
   */
  constructor(inputSize: number, hiddenSize: number, options: GRUOptions<D> = {}) {
    options = checkOptions('GRU', options, [...OPTIONS, 'resetAfter'])
    const resetAfter = checkBoolean('GRU', 'resetAfter', options.resetAfter ?? true)
    super('GRU', resetAfter ? 'gru' : 'gruResetBefore', inputSize, hiddenSize, options)
    this.resetAfter = resetAfter
    fixFields(this)
  }

  override cell(layer = 0, given: { reverse?: boolean | undefined } = {}): GRUCell<D> {
    const { inputSize, hiddenSize, options, parameters } = this.partsOf(layer, given)
    return new GRUCell<D>(
      inputSize,
      hiddenSize,
      sharing({ ...options, resetAfter: this.resetAfter }, parameters),
    )
  }

  /**
   * @param input [T,B,I] ([B,T,I] if batchFirst), or [T,I] without a batch: then the states
   * and results have no B either
   * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE (lengths), TypeError ERR_BPTT_DTYPE,
   * BpttError ERR_BPTT_DEVICE (input of another device; compute that the device cannot do)
   */
  override forward(input: Tensor, options: StateOptions = {}): GRUResult<D> {
    const { output, hn } = this.run(input, options, ['h0', 'lengths'])
    return { output, hn }
  }
}
