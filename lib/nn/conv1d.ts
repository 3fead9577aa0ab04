import { checkBoolean, checkInteger, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { refusal } from '../messages.ts'
import { CONV1D_OPTIONS, type Conv1dOptions, conv1d, convolution } from '../ops/conv1d.ts'
import type { Tensor } from '../tensor.ts'
import { defineParameter, fixFields, Module, type Parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement, uniformParameters } from './options.ts'

/** Options of {@link Conv1d}. */
export interface Conv1dLayerOptions<D extends FloatDType = FloatDType>
  extends LayerOptions<D>,
    Conv1dOptions {
  /** Whether to add a bias. Default true. */
  bias?: boolean | undefined
}

/**
 * Convolution along time, [B,C,T] -> [B,O,T'] ({@link conv1d}), as torch.nn.Conv1d. Initialised
 * U(-1/sqrt(n), 1/sqrt(n)) with n = inChannels / groups * kernelSize.
 *
 * For a recurrent layer of [T,B,C]: `conv.forward(x.permute([1, 2, 0])).permute([2, 0, 1])`.
 */
export class Conv1d<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  /** C: channels of the input. */
  readonly inChannels: number
  /** O: channels of the output. */
  readonly outChannels: number
  /** K: elements of a window. */
  readonly kernelSize: number
  /** Steps from one window to the next. */
  readonly stride: number
  /** Zeros before and behind the input. */
  readonly padding: number | 'same' | 'valid'
  /** Steps between the elements of a window. */
  readonly dilation: number
  /** How many parts the channels are divided into. */
  readonly groups: number
  /** `[O,C / groups,K]` */
  declare weight: Parameter<D>
  /** `[O]`; null without `bias` */
  declare bias: Parameter<D> | null

  /**
   * @param inChannels at least 1, divisible by `groups`
   * @param outChannels at least 1, divisible by `groups`
   * @param kernelSize at least 1
   * @throws TypeError, RangeError if a size or an option does not fit
   */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number,
    options: Conv1dLayerOptions<D> = {},
  ) {
    super()
    const where = 'Conv1d'
    options = checkOptions(where, options, [...CONV1D_OPTIONS, 'bias', 'dtype', 'device'])
    this.inChannels = checkInteger(where, 'inChannels', inChannels, 1, MAX_SIZE)
    this.outChannels = checkInteger(where, 'outChannels', outChannels, 1, MAX_SIZE)
    this.kernelSize = checkInteger(where, 'kernelSize', kernelSize, 1, MAX_SIZE)
    const { stride, padding, dilation, groups } = convolution(where, options)
    this.stride = stride
    this.padding = padding
    this.dilation = dilation
    this.groups = groups
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      throw refusal(
        where,
        `expected inChannels and outChannels to be divisible by ${groups} groups, got ${inChannels} and ${outChannels}`,
      )
    }
    const bias = checkBoolean(where, 'bias', options.bias ?? true)
    const place = placement(where, options)
    const ins = inChannels / groups
    const shapes = [[outChannels, ins, kernelSize], bias ? [outChannels] : null]
    const bound = 1 / Math.sqrt(ins * kernelSize)
    const [weight = null, biases = null] = uniformParameters(where, shapes, bound, place)
    defineParameter(this, 'weight', weight)
    defineParameter(this, 'bias', biases)
    fixFields(this)
  }

  /** [B,C,T] -> [B,O,T'], or [C,T] -> [O,T'] */
  override forward(input: Tensor): Tensor<D> {
    const { weight, bias, stride, padding, dilation, groups } = this
    return conv1d(input as Tensor<D>, weight, bias, { stride, padding, dilation, groups })
  }
}
