import { checkBoolean, checkFloat, checkInteger, checkNumber, checkOptions } from '../check.ts'
import { full, zeros } from '../create.ts'
import type { DType, FloatDType } from '../dtype.ts'
import { shapeError, shapeText } from '../messages.ts'
import { batchNorm } from '../ops/batch_norm.ts'
import { detached } from '../scope.ts'
import { fill } from '../state.ts'
import type { Storage } from '../storage.ts'
import type { Tensor } from '../tensor.ts'
import { Buffer, defineParameter, fixFields, Module, type Parameter, parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement } from './options.ts'

/** Options of {@link BatchNorm1d}. */
export interface BatchNorm1dOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Added to the variance. Default 1e-5. */
  eps?: number | undefined
  /**
   * m in running = (1 - m) * running + m * batch, for the running mean and variance, 0 to 1; null: they are the averages
   * over all batches. Default 0.1.
   */
  momentum?: number | null | undefined
  /** Whether to learn a scale (starts at 1) and a shift (starts at 0). Default true. */
  affine?: boolean | undefined
  /** Whether to keep a running mean and variance for evaluation; without them it uses those of its batch. Default true. */
  trackRunningStats?: boolean | undefined
}

/**
 * Normalizes each channel over the batch and time to mean 0 and variance 1, then scales and shifts, as
 * torch.nn.BatchNorm1d. Training uses the mean and variance of the batch and updates the running ones in place;
 * evaluation uses the running ones.
 */
export class BatchNorm1d<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  /** C: how many channels. */
  readonly numFeatures: number
  /** Added to the variance. */
  readonly eps: number
  /** Weight of a batch in the running mean and variance; null: these are the averages over all batches. */
  readonly momentum: number | null
  /** `[C]`: the scale; null without `affine`. */
  declare weight: Parameter<D> | null
  /** `[C]`: the shift; null without `affine`. */
  declare bias: Parameter<D> | null
  /** `[C]`: the running mean, starts at 0; null without `trackRunningStats`. */
  readonly running_mean: Buffer<D> | null
  /** `[C]`: the running unbiased variance, starts at 1; null without `trackRunningStats`. */
  readonly running_var: Buffer<D> | null
  /** `[]`: batches seen in training; null without `trackRunningStats`. */
  readonly num_batches_tracked: Buffer<'int32'> | null
  /** The value of num_batches_tracked as of this version of its storage: a step need not wait to read it. */
  #counted: { storage: Storage; version: number; count: number } | null = null

  /**
   * @param numFeatures channels of the input, at least 1
   * @throws TypeError, RangeError if it or an option does not fit
   */
  constructor(numFeatures: number, options: BatchNorm1dOptions<D> = {}) {
    super()
    const where = 'BatchNorm1d'
    options = checkOptions(where, options, [
      'eps',
      'momentum',
      'affine',
      'trackRunningStats',
      'dtype',
      'device',
    ])
    this.numFeatures = checkInteger(where, 'numFeatures', numFeatures, 1, MAX_SIZE)
    this.eps = checkNumber(where, 'eps', options.eps ?? 1e-5, 0)
    const { momentum = 0.1 } = options
    this.momentum = momentum === null ? null : checkNumber(where, 'momentum', momentum, 0, 1)
    const affine = checkBoolean(where, 'affine', options.affine ?? true)
    const tracked = checkBoolean(where, 'trackRunningStats', options.trackRunningStats ?? true)
    const place = placement(where, options)
    const shape = [numFeatures]
    defineParameter(this, 'weight', affine ? parameter(() => full(shape, 1, place)) : null)
    defineParameter(this, 'bias', affine ? parameter(() => full(shape, 0, place)) : null)
    this.running_mean = tracked ? buffer(() => zeros(shape, place)) : null
    this.running_var = tracked ? buffer(() => full(shape, 1, place)) : null
    this.num_batches_tracked = tracked ? buffer(() => zeros([], { ...place, dtype: 'int32' })) : null
    fixFields(this)
  }

  /** [N,C] or [N,C,T] -> the same shape */
  override forward(input: Tensor): Tensor<D> {
    const where = 'BatchNorm1d.forward'
    const { numFeatures, weight, bias, running_mean, running_var, eps, training } = this
    checkFloat(where, 'input', input)
    const rank = input._shape.length
    if ((rank !== 2 && rank !== 3) || input._shape[1] !== numFeatures) {
      throw shapeError(
        where,
        `input of shape [N,C] or [N,C,T] with C = ${numFeatures}`,
        shapeText(input._shape),
      )
    }
    const count = training ? this.#count() + 1 : 0
    const momentum = this.momentum ?? 1 / count
    const y = batchNorm(input as Tensor<D>, running_mean, running_var, {
      weight,
      bias,
      training: training || running_mean === null,
      momentum: training ? momentum : 0,
      eps,
    })
    if (training) this.#setCount(count)
    return y
  }

  #count(): number {
    const tracked = this.num_batches_tracked
    if (tracked === null) return 0
    const storage = tracked._live('BatchNorm1d.forward')
    const known = this.#counted
    if (known !== null && known.storage === storage && known.version === storage.version) return known.count
    return tracked.itemSync()
  }

  #setCount(count: number): void {
    const tracked = this.num_batches_tracked
    if (tracked === null) return
    const storage = tracked._live('BatchNorm1d.forward')
    fill(tracked, count, 'BatchNorm1d.forward')
    storage.touch()
    this.#counted = { storage, version: storage.version, count }
  }
}

/** A new buffer with the memory of what `value` makes. */
function buffer<D extends DType>(value: () => Tensor<D>): Buffer<D> {
  return detached(() => {
    const tensor = value()
    const made = new Buffer(tensor)
    tensor.dispose()
    return made
  })
}
