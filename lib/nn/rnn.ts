import { checkOneOf, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import type { Tensor } from '../tensor.ts'
import { RNNCell, sharing } from './cell.ts'
import { fixFields } from './module.ts'
import { OPTIONS, Recurrent, type RecurrentOptions, type StateOptions } from './recurrent.ts'

/** Options of {@link RNN}. */
export interface RNNOptions<D extends FloatDType = FloatDType> extends RecurrentOptions<D> {
  /** f in h' = f(W_ih x + b_ih + W_hh h + b_hh). Default 'tanh'. */
  nonlinearity?: 'tanh' | 'relu' | undefined
}

/** What forward() of {@link RNN} returns. */
export interface RNNResult<D extends FloatDType> {
  /** `[T,B,D*H]` (`[B,T,D*H]` if batchFirst); zeros past each row's length */
  output: Tensor<D>
  /** `[L*D,B,H]`: h of each row after its own last step */
  hn: Tensor<D>
}

/** The plain recurrent layer of Elman, as torch.nn.RNN. D is 2 if bidirectional, else 1. */
export class RNN<D extends FloatDType = 'float32'> extends Recurrent<D, RNNResult<D>> {
  /** f in h' = f(W_ih x + b_ih + W_hh h + b_hh). */
  readonly nonlinearity: 'tanh' | 'relu'

  /**
   * @param inputSize I
   * @param hiddenSize H
   * @throws TypeError, RangeError if an option does not fit
   */
  constructor(inputSize: number, hiddenSize: number, options: RNNOptions<D> = {}) {
    options = checkOptions('RNN', options, [...OPTIONS, 'nonlinearity'])
    const nonlinearity = checkOneOf('RNN', 'nonlinearity', options.nonlinearity ?? 'tanh', NONLINEARITIES)
    super('RNN', nonlinearity === 'tanh' ? 'rnnTanh' : 'rnnRelu', inputSize, hiddenSize, options)
    this.nonlinearity = nonlinearity
    fixFields(this)
  }

  override cell(layer = 0, given: { reverse?: boolean | undefined } = {}): RNNCell<D> {
    const { inputSize, hiddenSize, options, parameters } = this.partsOf(layer, given)
    return new RNNCell<D>(
      inputSize,
      hiddenSize,
      sharing({ ...options, nonlinearity: this.nonlinearity }, parameters),
    )
  }

  /**
   * @param input [T,B,I] ([B,T,I] if batchFirst), or [T,I] without a batch: then the states
   * and results have no B either
   * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE (lengths), TypeError ERR_BPTT_DTYPE,
   * BpttError ERR_BPTT_DEVICE (input of another device; compute that the device cannot do)
   */
  override forward(input: Tensor, options: StateOptions = {}): RNNResult<D> {
    const { output, hn } = this.run(input, options, ['h0', 'lengths'])
    return { output, hn }
  }
}

const NONLINEARITIES = ['tanh', 'relu'] as const
