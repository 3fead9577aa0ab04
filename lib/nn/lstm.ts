import { checkBoolean, checkInteger, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import type { Tensor } from '../tensor.ts'
import { LSTMCell, sharing } from './cell.ts'
import { fixFields } from './module.ts'
import { OPTIONS, Recurrent, type RecurrentOptions, type StateOptions } from './recurrent.ts'

/** Options of {@link LSTM}. */
export interface LSTMOptions<D extends FloatDType = FloatDType> extends RecurrentOptions<D> {
  /** Size of a projection of h, below hiddenSize; 0: none. Default 0. */
  projSize?: number | undefined
  /**
   * Whether the gates see the cell state: i and f the one before the step, o the new one, each by one weight per
   * unit, weight_ch_lk [3,H] in the order i f o. torch and cuDNN have no such cell; on CUDA it runs step by step.
   * Default false.
   */
  peephole?: boolean | undefined
}

/** Options of forward() of {@link LSTM}. */
export interface LSTMStateOptions extends StateOptions {
  /** The cell state before the first step: `[L*D,B,H]`. Default zeros. */
  c0?: Tensor | null | undefined
}

/** What forward() of {@link LSTM} returns. */
export interface LSTMResult<D extends FloatDType> {
  /** `[T,B,D*Hout]` (`[B,T,D*Hout]` if batchFirst); zeros past each row's length */
  output: Tensor<D>
  /** `[L*D,B,Hout]`: h of each row after its own last step */
  hn: Tensor<D>
  /** `[L*D,B,H]`: c of each row after its own last step */
  cn: Tensor<D>
}

/**
 * Long short-term memory, as torch.nn.LSTM; gate order i f g o.
 * D is 2 if bidirectional, else 1; Hout is projSize if given, else hiddenSize.
 */
export class LSTM<D extends FloatDType = 'float32'> extends Recurrent<D, LSTMResult<D>> {
  /** P: size of the projection; 0: none. */
  readonly projSize: number
  /** Whether the gates see the cell state. */
  readonly peephole: boolean

  /**
   * @param inputSize I
   * @param hiddenSize H
   * @throws TypeError, RangeError if an option does not fit
   */
  constructor(inputSize: number, hiddenSize: number, options: LSTMOptions<D> = {}) {
    options = checkOptions('LSTM', options, [...OPTIONS, 'projSize', 'peephole'])
    checkInteger('LSTM', 'hiddenSize', hiddenSize, 1, Number.MAX_SAFE_INTEGER)
    const projSize = checkInteger('LSTM', 'projSize', options.projSize ?? 0, 0, hiddenSize - 1)
    const peephole = checkBoolean('LSTM', 'peephole', options.peephole ?? false)
    const cell = peephole ? 'lstmPeephole' : 'lstm'
    super('LSTM', cell, inputSize, hiddenSize, options, projSize)
    this.projSize = projSize
    this.peephole = peephole
    fixFields(this)
  }

  override cell(layer = 0, given: { reverse?: boolean | undefined } = {}): LSTMCell<D> {
    const { inputSize, hiddenSize, options, parameters } = this.partsOf(layer, given)
    return new LSTMCell<D>(
      inputSize,
      hiddenSize,
      sharing({ ...options, projSize: this.projSize, peephole: this.peephole }, parameters),
    )
  }

  /**
   * @param input [T,B,I] ([B,T,I] if batchFirst), or [T,I] without a batch: then the states
   * and results have no B either
   * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE (lengths), TypeError ERR_BPTT_DTYPE,
   * BpttError ERR_BPTT_DEVICE (input of another device; compute that the device cannot do)
   */
  override forward(input: Tensor, options: LSTMStateOptions = {}): LSTMResult<D> {
    return this.run(input, options, ['h0', 'c0', 'lengths']) as LSTMResult<D>
  }
}
