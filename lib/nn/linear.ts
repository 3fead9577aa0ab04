import { checkBoolean, checkInteger, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { linear } from '../ops/matmul.ts'
import type { Tensor } from '../tensor.ts'
import { defineParameter, fixFields, Module, type Parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement, uniformParameters } from './options.ts'

export interface LinearOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Default true. */
  bias?: boolean | undefined
}

/** x W^T + b: [..,inFeatures] -> [..,outFeatures]. Initialised U(-1/sqrt(inFeatures), 1/sqrt(inFeatures)). */
export class Linear<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  readonly inFeatures: number
  readonly outFeatures: number
  /** [outFeatures, inFeatures] */
  declare weight: Parameter<D>
  /** [outFeatures] */
  declare bias: Parameter<D> | null

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
