/** What RNN, LSTM and GRU share: options, parameters, the packed weights, streams. */
import { CELLS, type CellName, outputSize, parameterShapes } from '../cells.ts'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkStateOptions,
} from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { MAX_LAYERS } from '../limits.ts'
import { dtypeError, refusal, warnDropout } from '../messages.ts'
import {
  COMPUTES,
  type Compute,
  PackedWeights,
  type RecurrentResult,
  type RecurrentShape,
  recurrent,
} from '../ops/recurrent.ts'
import { RecurrentStream, type StreamOptions } from '../stream.ts'
import type { Tensor } from '../tensor.ts'
import type { CellOptions, CellState, RecurrentCell } from './cell.ts'
import { defineParameter, Module, type Parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, type Placement, placement, uniformParameters } from './options.ts'

/** What the options of {@link RNN}, {@link LSTM} and {@link GRU} have in common. */
export interface RecurrentOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Layers, one on top of the other. Default 1. */
  numLayers?: number | undefined
  /** Whether to add b_ih and b_hh. Default true. */
  bias?: boolean | undefined
  /** Whether input and output are [B,T,..] instead of [T,B,..]. Default false. */
  batchFirst?: boolean | undefined
  /** Probability of dropout between layers, in training only. Default 0. */
  dropout?: number | undefined
  /** Whether to run a second stack backwards in time and concatenate. Default false. */
  bidirectional?: boolean | undefined
  /**
   * Mixed precision inside a float32 layer, on CUDA only. Input, output, parameters, gradients and
   * states stay float32 for you. Default: none; products of float32 are float32's, not TF32's.
   *
   * - 'tf32': products of factors rounded to 10 bits of mantissa. Compute capability 8.0 or later.
   * - 'float16': input, states, weights and all gradients are rounded to float16 on their way in
   *   and out, products are summed in float32. Beyond 65504 is infinity, below 3e-8 is zero:
   *   scaling the loss (and dividing the gradients) is up to you.
   * - 'bfloat16': the same with float32's range and 8 bits of mantissa. Compute capability 8.0 and
   *   cuDNN 9.13 or later.
   *
   * forward() throws ERR_BPTT_DEVICE where the layer is on the CPU, or the GPU or its cuDNN cannot
   * do it. Not with dtype 'float64', nor with a GRU of resetAfter: false. stream() leaves it out.
   */
  compute?: Compute | null | undefined
}

/** Options of forward() of the recurrent layers. */
export interface StateOptions {
  /** The state before the first step: `[L*D,B,Hout]`. Default zeros. */
  h0?: Tensor | null | undefined
  /** Steps of each row, 0..T, in any order; default all T. Input past it is never read. */
  lengths?: ArrayLike<number> | null | undefined
}

export const OPTIONS = [
  'numLayers',
  'bias',
  'batchFirst',
  'dropout',
  'bidirectional',
  'compute',
  'dtype',
  'device',
]

/**
 * Base of {@link RNN}, {@link LSTM} and {@link GRU}. Parameters are torch's, per layer k:
 * weight_ih_lk, weight_hh_lk, bias_ih_lk, bias_hh_lk, and of an LSTM weight_hr_lk with a projection and
 * weight_ch_lk with peepholes (which torch has not); those of the backward direction have the suffix
 * _reverse. Initialised U(-1/sqrt(hiddenSize), 1/sqrt(hiddenSize)).
 */
export abstract class Recurrent<D extends FloatDType, Out> extends Module<Tensor, Out> {
  /** I: features of the input. */
  readonly inputSize: number
  /** H: units of the state. */
  readonly hiddenSize: number
  /** L */
  readonly numLayers: number
  /** Whether b_ih and b_hh are added. */
  readonly bias: boolean
  /** Whether input and output are [B,T,..] instead of [T,B,..]. */
  readonly batchFirst: boolean
  /** Probability of dropout between layers, in training. */
  readonly dropout: number
  /** Whether D is 2. */
  readonly bidirectional: boolean
  /** What products compute in; null: the dtype. */
  readonly compute: Compute | null
  /** Of parameters, input, output and states. */
  readonly dtype: D
  readonly #shape: RecurrentShape
  readonly #parameters: Parameter<D>[] = []
  readonly #packed = new PackedWeights()
  /** `[gates*H,I]`; the gates in the order of the class */
  declare weight_ih_l0: Parameter<D>
  /** `[gates*H,Hout]` */
  declare weight_hh_l0: Parameter<D>
  /** `[gates*H]`; not there where `bias` is false */
  declare bias_ih_l0: Parameter<D>
  /** `[gates*H]`; not there where `bias` is false */
  declare bias_hh_l0: Parameter<D>;
  /** Those of the other layers and directions, and of projections; with strict compiler flags by {@link getParameter}. */
  [name: `weight_${string}` | `bias_${string}`]: Parameter<D>

  /** @internal */
  protected constructor(
    name: string,
    cell: CellName,
    inputSize: number,
    hiddenSize: number,
    options: RecurrentOptions<D>,
    projSize = 0,
  ) {
    super()
    this.inputSize = checkInteger(name, 'inputSize', inputSize, 1, MAX_SIZE)
    this.hiddenSize = checkInteger(name, 'hiddenSize', hiddenSize, 1, MAX_SIZE)
    this.numLayers = checkInteger(name, 'numLayers', options.numLayers ?? 1, 1, MAX_LAYERS)
    this.bias = checkBoolean(name, 'bias', options.bias ?? true)
    this.batchFirst = checkBoolean(name, 'batchFirst', options.batchFirst ?? false)
    this.dropout = checkNumber(name, 'dropout', options.dropout ?? 0, 0, 1)
    if (this.dropout > 0 && this.numLayers === 1) warnDropout(name, this.dropout)
    this.bidirectional = checkBoolean(name, 'bidirectional', options.bidirectional ?? false)
    const { dtype, device } = placement(name, options)
    this.dtype = dtype
    this.compute = checkCompute(name, cell, dtype, options.compute ?? null)
    this.#shape = {
      name,
      cell,
      inputSize,
      hiddenSize,
      projSize,
      numLayers: this.numLayers,
      directions: this.bidirectional ? 2 : 1,
      bias: this.bias,
      batchFirst: this.batchFirst,
      dtype,
      compute: this.compute,
    }
    this.#initialise({ dtype, device })
  }

  #initialise(place: Placement<D>): void {
    const shapes = parameterShapes(this.#shape)
    const bound = 1 / Math.sqrt(this.hiddenSize)
    this.#parameters.push(
      ...(uniformParameters(this.#shape.name, [...shapes.values()], bound, place) as Parameter<D>[]),
    )
    const names = [...shapes.keys()]
    this.#parameters.forEach((value, at) => {
      defineParameter(this, names[at] as string, value, (other) => {
        this.#parameters[at] = other as Parameter<D>
        // Packed weights are known by the latest version of all parameters, which this need not change.
        this.#packed.dispose()
      })
    })
  }

  /**
   * The layer step by step, with carried state, on a snapshot of the weights: later
   * training does not change it. Waits for the weights. Runs on the CPU in the layer's dtype.
   *
   * @throws RangeError ERR_BPTT_VALUE if the layer is bidirectional
   */
  stream(options: StreamOptions = {}): RecurrentStream<D> {
    return new RecurrentStream<D>(this.#shape, this.#parameters, options)
  }

  /**
   * A cell that runs one step of one of the layers, with the same parameters: training either trains both. A
   * parameter that is assigned later is not shared.
   *
   * @param layer default 0; the input of the cell is the input of that layer
   * @param options reverse: of the backward direction (default false)
   * @throws RangeError ERR_BPTT_VALUE if there is no such layer
   */
  abstract cell(layer?: number, options?: { reverse?: boolean | undefined }): RecurrentCell<D, CellState<D>>

  /** @internal What the cell of one layer is made of. */
  protected partsOf(layer: number, options: { reverse?: boolean | undefined }): CellParts<D> {
    const where = `${this.#shape.name}.cell`
    const { directions, numLayers, inputSize, hiddenSize, bias } = this.#shape
    checkInteger(where, 'layer', layer, 0, numLayers - 1)
    const { reverse = false } = checkOptions(where, options, ['reverse'])
    checkBoolean(where, 'reverse', reverse)
    if (reverse && directions === 1)
      throw refusal(where, 'expected a bidirectional layer for { reverse: true }')
    const suffix = `_l${layer}${reverse ? '_reverse' : ''}`
    const names = [...parameterShapes(this.#shape).keys()]
    return {
      inputSize: layer === 0 ? inputSize : directions * outputSize(this.#shape),
      hiddenSize,
      options: { bias, dtype: this.dtype, device: (this.#parameters[0] as Tensor).device },
      parameters: this.#parameters.filter((_, i) => (names[i] as string).endsWith(suffix)),
    }
  }

  /** @internal */
  override _moved(): void {
    this.#packed.dispose()
  }

  /** Frees the parameters, their gradients and the packed weights. */
  override dispose(): void {
    this.#packed.dispose()
    super.dispose()
  }

  /** @internal */
  protected run(
    input: Tensor,
    options: StateOptions & { c0?: Tensor | null | undefined },
    names: readonly string[],
  ): RecurrentResult<D> {
    options = checkStateOptions(`${this.#shape.name}.forward`, options, names)
    return recurrent(
      this.#shape,
      this.#parameters,
      this.#packed,
      this.training ? this.dropout : 0,
      input as Tensor<D>,
      (options.h0 ?? null) as Tensor<D> | null,
      (options.c0 ?? null) as Tensor<D> | null,
      options.lengths ?? null,
    )
  }
}

interface CellParts<D extends FloatDType> {
  inputSize: number
  hiddenSize: number
  options: CellOptions<D>
  parameters: Parameter<D>[]
}

/** A cell that cuDNN does not have. */
type OwnCell = { [C in CellName]: (typeof CELLS)[C]['cudnn'] extends true ? never : C }[CellName]

/** The option of a layer that asks for such a cell, with its value then. */
const OPTION_OF: Readonly<Record<OwnCell, { option: string; value: boolean }>> = {
  gruResetBefore: { option: 'resetAfter', value: false },
  lstmPeephole: { option: 'peephole', value: true },
}

const isOwn = (cell: CellName): cell is OwnCell => !CELLS[cell].cudnn

function checkCompute(where: string, cell: CellName, dtype: FloatDType, compute: unknown): Compute | null {
  if (compute === null) return null
  const one = checkOneOf(where, 'compute', compute, COMPUTES)
  if (dtype !== 'float32') {
    throw dtypeError(where, `dtype float32 with compute '${one}'`, dtype, 'make the layer without compute')
  }
  if (isOwn(cell)) {
    const { option, value } = OPTION_OF[cell]
    throw refusal(
      where,
      `compute '${one}' is for the cells of cuDNN, which has no ${where} with ${option}: ${value}; ` +
        `make the layer without compute, or with ${option}: ${!value}`,
    )
  }
  return one
}
