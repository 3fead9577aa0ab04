import { checkBoolean, checkNumber, checkOptions, checkShape } from '../check.ts'
import { full } from '../create.ts'
import type { FloatDType } from '../dtype.ts'
import { layerNorm, normalized } from '../ops/layer_norm.ts'
import type { Tensor } from '../tensor.ts'
import { defineParameter, fixFields, Module, type Parameter, parameter } from './module.ts'
import { type LayerOptions, placement } from './options.ts'

/** Options of {@link LayerNorm}. */
export interface LayerNormLayerOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Added to the variance. Default 1e-5. */
  eps?: number | undefined
  /** Whether to learn a scale (starts at 1) and, with `bias`, a shift (starts at 0). Default true. */
  elementwiseAffine?: boolean | undefined
  /** Whether to learn a shift, beside a scale. Default true. */
  bias?: boolean | undefined
}

/** Normalizes over the last dimensions to mean 0 and variance 1, then scales and shifts. */
export class LayerNorm<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  /** The last dimensions, over which it normalizes. */
  readonly normalizedShape: readonly number[]
  /** Added to the variance. */
  readonly eps: number
  /** The scale, of shape normalizedShape; null without `elementwiseAffine`. */
  declare weight: Parameter<D> | null
  /** The shift, of shape normalizedShape; null without `elementwiseAffine` or `bias`. */
  declare bias: Parameter<D> | null

  /**
   * @param normalizedShape the last dimensions of the input, or the last one as a number
   * @throws TypeError, RangeError if it or an option does not fit
   */
  constructor(normalizedShape: number | readonly number[], options: LayerNormLayerOptions<D> = {}) {
    super()
    const where = 'LayerNorm'
    options = checkOptions(where, options, ['eps', 'elementwiseAffine', 'bias', 'dtype', 'device'])
    const shape = normalized(where, normalizedShape)
    checkShape(where, shape)
    this.normalizedShape = Object.freeze(shape)
    this.eps = checkNumber(where, 'eps', options.eps ?? 1e-5, 0)
    const place = placement(where, options)
    const affine = checkBoolean(where, 'elementwiseAffine', options.elementwiseAffine ?? true)
    const bias = checkBoolean(where, 'bias', options.bias ?? true)
    defineParameter(this, 'weight', affine ? parameter(() => full(shape, 1, place)) : null)
    defineParameter(this, 'bias', affine && bias ? parameter(() => full(shape, 0, place)) : null)
    fixFields(this)
  }

  /** [..,normalizedShape] -> the same shape */
  override forward(input: Tensor): Tensor<D> {
    const { weight, bias, eps } = this
    return layerNorm(input as Tensor<D>, this.normalizedShape, { weight, bias, eps })
  }
}
