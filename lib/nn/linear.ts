import { checkBoolean, checkInteger, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { linear } from '../ops/matmul.ts'
import type { Tensor } from '../tensor.ts'
import { defineParameter, fixFields, Module, type Parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement, uniformParameters } from './options.ts'

/** Options of {@link Linear}. */
export interface LinearOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Whether to add b. Default true. */
  bias?: boolean | undefined
}

/** x W^T + b: [..,inFeatures] -> [..,outFeatures]. Initialised U(-1/sqrt(inFeatures), 1/sqrt(inFeatures)). */
export class Linear<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  /** Features of the input. */
  readonly inFeatures: number
  /** Features of the output. */
  readonly outFeatures: number
  /** [outFeatures, inFeatures] */
  declare weight: Parameter<D>
  /** [outFeatures]; null without `bias` */
  declare bias: Parameter<D> | null

  /**
   * @param inFeatures at least 1
   * @param outFeatures at least 1
   * @throws TypeError, RangeError if a size or an option does not fit
   */
  constructor(inFeatures: number, outFeatures: number, options: LinearOptions<D> = {}) {
    super()
    const where = 'Linear'
    options = checkOptions(where, options, ['bias', 'dtype', 'device'])
    this.inFeatures = checkInteger(where, 'inFeatures', inFeatures, 1, MAX_SIZE)
    this.outFeatures = checkInteger(where, 'outFeatures', outFeatures, 1, MAX_SIZE)
    const place = placement(where, options)
    const bound = 1 / Math.sqrt(inFeatures)
    const bias = checkBoolean(where, 'bias', options.bias ?? true)
    const shapes = [[outFeatures, inFeatures], bias ? [outFeatures] : null]
    const [weight = null, biases = null] = uniformParameters(where, shapes, bound, place)
    defineParameter(this, 'weight', weight)
    defineParameter(this, 'bias', biases)
    fixFields(this)
  }

  /** [..,inFeatures] -> [..,outFeatures] */
  override forward(input: Tensor): Tensor<D> {
    return linear(input as Tensor<D>, this.weight, this.bias)
  }
}
