/** One step of a recurrent layer, for loops of the user's own: decoders, attention, anything that feeds back. */
import type { CellName, CellStack } from '../cells.ts'
import { parameterShapes } from '../cells.ts'
import { checkBoolean, checkInteger, checkOneOf, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { PackedWeights, type RecurrentShape, recurrentStep } from '../ops/recurrent.ts'
import type { Tensor } from '../tensor.ts'
import { defineParameter, fixFields, Module, type Parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement, uniformParameters } from './options.ts'

/** What the options of {@link RNNCell}, {@link LSTMCell} and {@link GRUCell} have in common. */
export interface CellOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Whether to add b_ih and b_hh. Default true. */
  bias?: boolean | undefined
}

/** Options of {@link RNNCell}. */
export interface RNNCellOptions<D extends FloatDType = FloatDType> extends CellOptions<D> {
  /** As of {@link RNN}. Default 'tanh'. */
  nonlinearity?: 'tanh' | 'relu' | undefined
}

/** Options of {@link LSTMCell}. */
export interface LSTMCellOptions<D extends FloatDType = FloatDType> extends CellOptions<D> {
  /** As of {@link LSTM}. Default 0: none. */
  projSize?: number | undefined
  /** As of {@link LSTM}. Default false. */
  peephole?: boolean | undefined
}

/** Options of {@link GRUCell}. */
export interface GRUCellOptions<D extends FloatDType = FloatDType> extends CellOptions<D> {
  /** As of {@link GRU}. Default true. */
  resetAfter?: boolean | undefined
}

/** The state of a cell, taken and returned by forward(). */
export interface CellState<D extends FloatDType = FloatDType> {
  /** `[B,Hout]`, or `[Hout]` without a batch */
  h: Tensor<D>
}

/** The state of an {@link LSTMCell}. */
export interface LSTMCellState<D extends FloatDType = FloatDType> extends CellState<D> {
  /** `[B,H]`, or `[H]` without a batch */
  c: Tensor<D>
}

/** @inline */
type Given<S> = { [K in keyof S]?: S[K] | null | undefined }

const OPTIONS = ['bias', 'dtype', 'device']

/** Where options carry the parameters that a cell shares with a layer: no user can pass it. */
const SHARED = Symbol('parameters')

/** Base of {@link RNNCell}, {@link LSTMCell} and {@link GRUCell}. */
export abstract class RecurrentCell<D extends FloatDType, S extends CellState<D>> extends Module<Tensor, S> {
  /** I: features of the input. */
  readonly inputSize: number
  /** H: units of the state. */
  readonly hiddenSize: number
  /** Whether b_ih and b_hh are added. */
  readonly bias: boolean
  /** Of parameters, input and states. */
  readonly dtype: D
  readonly #shape: RecurrentShape
  readonly #parameters: Parameter<D>[]
  readonly #packed = new PackedWeights()
  /** `[gates*H,I]`; the gates in the order of the layer */
  declare weight_ih: Parameter<D>
  /** `[gates*H,Hout]` */
  declare weight_hh: Parameter<D>
  /** `[gates*H]`; not there where `bias` is false */
  declare bias_ih: Parameter<D>
  /** `[gates*H]`; not there where `bias` is false */
  declare bias_hh: Parameter<D>

  /** @internal */
  protected constructor(
    name: string,
    cell: CellName,
    inputSize: number,
    hiddenSize: number,
    options: CellOptions<D>,
    shared: Parameter<D>[] | undefined,
    projSize = 0,
  ) {
    super()
    this.inputSize = checkInteger(name, 'inputSize', inputSize, 1, MAX_SIZE)
    this.hiddenSize = checkInteger(name, 'hiddenSize', hiddenSize, 1, MAX_SIZE)
    this.bias = checkBoolean(name, 'bias', options.bias ?? true)
    const { dtype, device } = placement(name, options)
    this.dtype = dtype
    const stack: CellStack = {
      cell,
      inputSize,
      hiddenSize,
      projSize,
      numLayers: 1,
      directions: 1,
      bias: this.bias,
    }
    this.#shape = { ...stack, name, batchFirst: false, dtype, compute: null }
    const shapes = parameterShapes(stack)
    const bound = 1 / Math.sqrt(hiddenSize)
    this.#parameters =
      shared ?? (uniformParameters(name, [...shapes.values()], bound, { dtype, device }) as Parameter<D>[])
    for (const [at, suffixed] of [...shapes.keys()].entries()) {
      defineParameter(this, suffixed.replace(/_l0$/, ''), this.#parameters[at] as Parameter<D>, (other) => {
        this.#parameters[at] = other as Parameter<D>
        this.#packed.dispose()
      })
    }
  }

  /** @internal */
  protected step(input: Tensor, state: Given<LSTMCellState<D>> | null, names: readonly string[]): S {
    const { h, c } = checkOptions(`${this.#shape.name}.forward`, state ?? {}, names)
    const [next, cn] = recurrentStep(
      this.#shape,
      this.#parameters,
      this.#packed,
      input as Tensor<D>,
      h ?? null,
      c ?? null,
    )
    return (cn === null ? { h: next } : { h: next, c: cn }) as CellState<D> as S
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
}

/** @internal Options for a cell that takes these parameters instead of making its own. */
export function sharing<O extends object>(options: O, parameters: Parameter[]): O {
  return { ...options, [SHARED]: parameters }
}

function sharedOf<D extends FloatDType>(options: object): Parameter<D>[] | undefined {
  return (options as { [SHARED]?: Parameter<D>[] } | null)?.[SHARED]
}

/**
 * One step of an {@link RNN}, as torch.nn.RNNCell: parameters weight_ih, weight_hh, bias_ih, bias_hh.
 * {@link Recurrent.cell} gives one that shares the parameters of a layer.
 */
export class RNNCell<D extends FloatDType = 'float32'> extends RecurrentCell<D, CellState<D>> {
  /** f in h' = f(W_ih x + b_ih + W_hh h + b_hh). */
  readonly nonlinearity: 'tanh' | 'relu'

  /**
   * @param inputSize I
   * @param hiddenSize H
   * @throws TypeError, RangeError if an option does not fit
   */
  constructor(inputSize: number, hiddenSize: number, options: RNNCellOptions<D> = {}) {
    const shared = sharedOf<D>(options)
    options = checkOptions('RNNCell', options, [...OPTIONS, 'nonlinearity'])
    const nonlinearity = checkOneOf('RNNCell', 'nonlinearity', options.nonlinearity ?? 'tanh', [
      'tanh',
      'relu',
    ])
    super('RNNCell', nonlinearity === 'tanh' ? 'rnnTanh' : 'rnnRelu', inputSize, hiddenSize, options, shared)
    this.nonlinearity = nonlinearity
    fixFields(this)
  }

  /**
   * @param input [B,I], or [I] without a batch
   * @param state what the step before returned; default zeros
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE, BpttError ERR_BPTT_DEVICE
   */
  override forward(input: Tensor, state: Given<CellState<D>> | null = null): CellState<D> {
    return this.step(input, state, ['h'])
  }
}

/**
 * One step of a {@link GRU}, as torch.nn.GRUCell: parameters weight_ih, weight_hh, bias_ih, bias_hh.
 * {@link Recurrent.cell} gives one that shares the parameters of a layer.
 */
export class GRUCell<D extends FloatDType = 'float32'> extends RecurrentCell<D, CellState<D>> {
  /** Whether the reset gate acts after the product with h. */
  readonly resetAfter: boolean

  /**
   * @param inputSize I
   * @param hiddenSize H
   * @throws TypeError, RangeError if an option does not fit
   */
  constructor(inputSize: number, hiddenSize: number, options: GRUCellOptions<D> = {}) {
    const shared = sharedOf<D>(options)
    options = checkOptions('GRUCell', options, [...OPTIONS, 'resetAfter'])
    const resetAfter = checkBoolean('GRUCell', 'resetAfter', options.resetAfter ?? true)
    super('GRUCell', resetAfter ? 'gru' : 'gruResetBefore', inputSize, hiddenSize, options, shared)
    this.resetAfter = resetAfter
    fixFields(this)
  }

  /**
   * @param input [B,I], or [I] without a batch
   * @param state what the step before returned; default zeros
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE, BpttError ERR_BPTT_DEVICE
   */
  override forward(input: Tensor, state: Given<CellState<D>> | null = null): CellState<D> {
    return this.step(input, state, ['h'])
  }
}

/**
 * One step of an {@link LSTM}, as torch.nn.LSTMCell: parameters weight_ih, weight_hh, bias_ih, bias_hh.
 * {@link Recurrent.cell} gives one that shares the parameters of a layer.
 *
 * @example
 * let state = null
 * for (const x of steps) state = cell.forward(x, state)   // { h, c }
 */
export class LSTMCell<D extends FloatDType = 'float32'> extends RecurrentCell<D, LSTMCellState<D>> {
  /** P: size of the projection; 0: none. */
  readonly projSize: number
  /** Whether the gates see the cell state. */
  readonly peephole: boolean

  /**
   * @param inputSize I
   * @param hiddenSize H
   * @throws TypeError, RangeError if an option does not fit
   */
  constructor(inputSize: number, hiddenSize: number, options: LSTMCellOptions<D> = {}) {
    const shared = sharedOf<D>(options)
    options = checkOptions('LSTMCell', options, [...OPTIONS, 'projSize', 'peephole'])
    checkInteger('LSTMCell', 'hiddenSize', hiddenSize, 1, Number.MAX_SAFE_INTEGER)
    const projSize = checkInteger('LSTMCell', 'projSize', options.projSize ?? 0, 0, hiddenSize - 1)
    const peephole = checkBoolean('LSTMCell', 'peephole', options.peephole ?? false)
    const cell = peephole ? 'lstmPeephole' : 'lstm'
    super('LSTMCell', cell, inputSize, hiddenSize, options, shared, projSize)
    this.projSize = projSize
    this.peephole = peephole
    fixFields(this)
  }

  /**
   * @param input [B,I], or [I] without a batch
   * @param state what the step before returned; default zeros
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE, BpttError ERR_BPTT_DEVICE
   */
  override forward(input: Tensor, state: Given<LSTMCellState<D>> | null = null): LSTMCellState<D> {
    return this.step(input, state, ['h', 'c'])
  }
}
