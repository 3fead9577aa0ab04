/** Inference step by step, with carried state. */
import { type Handle, native, type StepperHandle } from './binding.ts'
import { typedArrayKind, typedArrayLength, UNCLONEABLE } from './brand.ts'
import { hasC, outputSize } from './cells.ts'
import { arrayRemedy, checkInteger, checkIntegers, checkOneOf, checkOptions, newArray } from './check.ts'
import type { DataOf, FloatDType } from './dtype.ts'
import { MAX_INT32 } from './limits.ts'
import { argumentError, disposedError, refusal, shapeError, shapeText } from './messages.ts'
import { describeStack, type RecurrentShape, stampOf } from './ops/recurrent.ts'
import type { Tensor } from './tensor.ts'

/** Options of {@link Recurrent.stream}. */
export interface StreamOptions {
  /** Sequences side by side. Default 1. */
  batch?: number | undefined
  /** The type that the snapshot of the weights has: so far the layer's dtype alone, which is the default. */
  weights?: FloatDType | undefined
}

/** The state of a stream: copies, in the layer's dtype. */
export interface StreamState<D extends FloatDType> {
  /** `[L,B,Hout]`, h of every layer */
  h: DataOf<D>
  /** `[L,B,H]`, c of every layer: only of an LSTM */
  c?: DataOf<D> | undefined
}

/**
 * A recurrent layer that runs one time step per call on the calling thread, made by
 * layer.stream(). It starts from a state of zeros and holds a snapshot of the weights, one for all streams of a layer
 * that are made before its weights change: a stream more costs its state alone ({@link bytes}).
 * Its results equal those of forward() on the CPU over the whole sequence, to the bit. It runs
 * there in the layer's dtype, also where the layer is on another device or has `compute`.
 */
export class RecurrentStream<D extends FloatDType = 'float32'> {
  /** Sequences side by side. */
  readonly batch: number
  /** I: features of the input. */
  readonly inputSize: number
  /** Hout: projSize if the layer has one, else hiddenSize. */
  readonly outputSize: number
  /** Of x, of what step() returns, and of the state. */
  readonly dtype: D
  /** @internal */
  readonly uncloneable = UNCLONEABLE
  readonly #shape: RecurrentShape
  readonly #parameters: readonly Tensor<D>[]
  #stepper: StepperHandle | null

  /** @internal Use layer.stream(). */
  constructor(shape: RecurrentShape, parameters: readonly Tensor<D>[], options: StreamOptions) {
    const where = `${shape.name}.stream`
    options = checkOptions(where, options, ['batch', 'weights'])
    this.batch = checkInteger(where, 'batch', options.batch ?? 1, 1, MAX_INT32)
    const weights: string = options.weights ?? shape.dtype
    if (weights === 'bfloat16' || weights === 'int8') {
      throw refusal(where, `weights '${weights}' are not built yet; use '${shape.dtype}'`)
    }
    checkOneOf(where, 'weights', weights, [shape.dtype])
    if (shape.directions === 2) {
      throw refusal(
        where,
        'expected a layer of one direction, got a bidirectional one; ' +
          'its backward direction needs the whole sequence: use forward()',
      )
    }
    this.#shape = shape
    this.dtype = shape.dtype as D
    this.inputSize = shape.inputSize
    this.outputSize = outputSize(shape)
    this.#parameters = parameters
    this.#stepper = native().createStepper(...this.#weights(where))
    Object.freeze(this)
  }

  /** Bytes of memory that this stream alone holds: its state. The weights are shared, and scratch is of all streams. */
  get bytes(): number {
    return native().stepperBytes(this.#live('bytes'))
  }

  /**
   * Takes the layer's weights as they are now, for this stream and all that share its weights. The state goes on.
   * Waits for the weights.
   *
   * @throws BpttError ERR_BPTT_DISPOSED, ERR_BPTT_OOM; the stream then goes on with the weights that it has
   */
  update(): void {
    const stepper = this.#live('update')
    native().updateSteppers(stepper, ...this.#weights(this.#where('update')))
  }

  /**
   * One time step for every sequence of the batch.
   *
   * @param x [batch, inputSize]
   * @param out [batch, outputSize]; given, nothing is allocated
   * @returns out
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_TYPE, BpttError ERR_BPTT_DISPOSED
   */
  step(x: DataOf<D>, out?: DataOf<D>): DataOf<D> {
    return this.#run('step', 1, x, out)
  }

  /**
   * Several time steps in one call, as that many calls of {@link step}, to the bit: for audio that comes in blocks, and
   * for catching up.
   *
   * @param x [n, batch, inputSize]; n follows from its length
   * @param out [n, batch, outputSize]; given, nothing is allocated. It may be x, but not overlap it otherwise
   * @returns out
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_TYPE, BpttError ERR_BPTT_DISPOSED; ERR_BPTT_OOM, which
   * leaves the state as it is
   */
  stepMany(x: DataOf<D>, out?: DataOf<D>): DataOf<D> {
    this.#checkKind('stepMany', 'x', x)
    const length = typedArrayLength(x)
    const each = this.batch * this.inputSize
    if (length % each !== 0) {
      throw shapeError(
        this.#where('stepMany'),
        `x of whole steps, ${each} elements each (batch ${this.batch}, ${this.inputSize} features)`,
        shapeText([length]),
      )
    }
    return this.#run('stepMany', length / each, x, out)
  }

  /** A copy of the state. */
  getState(): StreamState<D> {
    const stepper = this.#live('getState')
    const h = this.#array('getState', this.#rows * this.outputSize)
    const c = hasC(this.#shape.cell) ? this.#array('getState', this.#rows * this.#shape.hiddenSize) : null
    native().getStepperState(stepper, h, c)
    return c === null ? { h } : { h, c }
  }

  /**
   * Continues from a state of {@link getState}, or from hn and cn of forward().
   *
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_TYPE
   */
  setState(state: StreamState<D>): void {
    const stepper = this.#live('setState')
    const withC = hasC(this.#shape.cell)
    state = checkOptions(this.#where('setState'), state, withC ? ['h', 'c'] : ['h'])
    this.#check('setState', 'h', state.h, this.#rows * this.outputSize)
    if (withC) this.#check('setState', 'c', state.c, this.#rows * this.#shape.hiddenSize)
    native().setStepperState(stepper, state.h, withC ? (state.c as DataOf<D>) : null)
  }

  /**
   * Sets the state to zero.
   *
   * @param rows sequences of the batch; default all
   * @throws RangeError ERR_BPTT_VALUE if a row is outside the batch
   */
  reset(rows?: ArrayLike<number> | null): void {
    const stepper = this.#live('reset')
    if (rows === undefined || rows === null) {
      native().resetStepper(stepper, null)
      return
    }
    const where = this.#where('reset')
    const list = checkIntegers(where, 'rows', rows, 0, this.batch - 1)
    native().resetStepper(stepper, Int32Array.from(list))
  }

  /** Frees the state, and the weights with the last stream that shares them. A second call does nothing. */
  dispose(): void {
    if (this.#stepper !== null) native().releaseStepper(this.#stepper)
    this.#stepper = null
  }

  /** As {@link dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** @internal */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const { batch, inputSize, outputSize, dtype } = this
    return `RecurrentStream(batch ${batch}, ${inputSize} -> ${outputSize}, ${dtype})`
  }

  #weights(where: string): [desc: Float64Array, parameters: Handle[], stamp: number] {
    const storages = this.#parameters.map((parameter) => parameter._live(where))
    return [
      describeStack({ ...this.#shape, compute: null }, 1, this.batch, false, false, 0),
      storages.map(({ handle }) => handle),
      stampOf(storages),
    ]
  }

  #run(method: string, steps: number, x: DataOf<D>, out: DataOf<D> | undefined): DataOf<D> {
    const stepper = this.#live(method)
    const { batch } = this
    this.#check(method, 'x', x, steps * batch * this.inputSize)
    const size = steps * batch * this.outputSize
    const into = out ?? this.#array(method, size)
    if (out !== undefined) this.#check(method, 'out', out, size)
    native().step(stepper, steps, x, into)
    return into
  }

  get #rows(): number {
    return this.#shape.numLayers * this.batch
  }

  #where(method: string): string {
    return `${this.#shape.name}.stream.${method}`
  }

  #live(method: string): StepperHandle {
    if (this.#stepper === null)
      throw disposedError(this.#where(method), 'stream', 'make another with layer.stream(), or ')
    return this.#stepper
  }

  #array(method: string, size: number): DataOf<D> {
    const Kind = this.dtype === 'float32' ? Float32Array : Float64Array
    return newArray<Float32Array | Float64Array>(this.#where(method), Kind, size) as DataOf<D>
  }

  #check(method: string, name: string, value: unknown, size: number): void {
    this.#checkKind(method, name, value)
    const length = typedArrayLength(value as DataOf<D>)
    if (length !== size) {
      throw shapeError(
        this.#where(method),
        `${name} of ${size} elements (batch ${this.batch})`,
        shapeText([length]),
      )
    }
  }

  #checkKind(method: string, name: string, value: unknown): void {
    const kind = this.dtype === 'float32' ? 'Float32Array' : 'Float64Array'
    if (typedArrayKind(value) !== kind) {
      throw argumentError(this.#where(method), `${name} to be a ${kind}`, value, arrayRemedy(value, kind))
    }
  }
}
