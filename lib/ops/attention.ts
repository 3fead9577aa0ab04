/** Attention: weighted means of values, by how well keys fit queries. */
import {
  checkBool,
  checkBoolean,
  checkFloat,
  checkLengths,
  checkLike,
  checkNumber,
  checkOptions,
  checkPlacement,
} from '../check.ts'
import type { DType } from '../dtype.ts'
import { broadcastShapes, product, sameShape } from '../layout.ts'
import { shapeError, shapeText } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { where as choose, logical } from './compare.ts'
import { dropout as drop } from './dropout.ts'
import { scaled } from './map.ts'
import { lowerTriangle, runningMask } from './masks.ts'
import { matmul } from './matmul.ts'
import { reshape, transpose } from './shape.ts'
import { softmax } from './softmax.ts'

/** What queries may attend to. */
export interface MaskOptions {
  /** bool, true where a query may attend; broadcasts to the scores, [..,L,S]. Default: everywhere. */
  mask?: Tensor<'bool'> | null | undefined
  /** Keys of each row of the batch (axis 0) that count, from 0 to S; default all S. */
  lengths?: ArrayLike<number> | null | undefined
  /** Whether query i attends to keys 0..i alone. Default false. */
  causal?: boolean | undefined
}

/** Options of {@link scaledDotProductAttention}. */
export interface AttentionOptions extends MaskOptions {
  /** Probability with which a weight is dropped; leave it out in evaluation. Default 0. */
  dropout?: number | undefined
  /** Factor of query . key. Default 1 / sqrt(E). */
  scale?: number | undefined
}

/** What attention gives. */
export interface AttentionResult<D extends DType = DType> {
  /** The means of the values. */
  output: Tensor<D>
  /** Per query one weight per key, before dropout; they sum to 1, or are all 0 where it may attend to nothing. */
  weights: Tensor<D>
}

const MASKS = ['mask', 'lengths', 'causal']

/**
 * softmax(query key^T * scale) value, as torch.nn.functional.scaled_dot_product_attention (Vaswani et al., 2017).
 *
 * @param query [..,L,E]
 * @param key [..,S,E]; leading dimensions broadcast
 * @param value [..,S,V]
 * @returns output [..,L,V] and weights [..,L,S]; zeros for a query that may attend to nothing
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 */
export function scaledDotProductAttention<D extends DType>(
  query: Tensor<D>,
  key: Tensor<D>,
  value: Tensor<D>,
  options: AttentionOptions = {},
): AttentionResult<D> {
  const where = 'scaledDotProductAttention'
  options = checkOptions(where, options, [...MASKS, 'dropout', 'scale'])
  checkFloat(where, 'query', query)
  checkLike(where, 'key', query, key)
  const E = query._shape.at(-1)
  if (query._shape.length < 2 || key._shape.length < 2 || key._shape.at(-1) !== E) {
    throw shapeError(
      where,
      'query [..,L,E] and key [..,S,E]',
      `${shapeText(query._shape)} and ${shapeText(key._shape)}`,
    )
  }
  const scale = checkNumber(
    where,
    'scale',
    options.scale ?? 1 / Math.sqrt(E as number),
    Number.NEGATIVE_INFINITY,
  )
  const scores = scaled(where, matmul(query, transpose(key, -2, -1)), scale)
  return attend(where, scores, value, options)
}

/**
 * The weights of scores, and the values averaged with them.
 *
 * @param scores [..,L,S]
 * @param value [..,S,V]
 */
export function attend<D extends DType>(
  where: string,
  scores: Tensor<D>,
  value: Tensor<D>,
  options: MaskOptions & { dropout?: number | undefined },
): AttentionResult<D> {
  checkLike(where, 'value', scores, value)
  const S = scores._shape.at(-1) as number
  if (value._shape.length < 2 || value._shape.at(-2) !== S) {
    throw shapeError(where, `value of shape [..,S,V] = [..,${S},V]`, shapeText(value._shape))
  }
  const p = checkNumber(where, 'dropout', options.dropout ?? 0, 0, 1)
  const weights = attentionWeights(where, scores, options)
  return { output: matmul(p > 0 ? drop(weights, p) : weights, value), weights }
}

/** softmax over the keys that a query may attend to; zeros elsewhere. */
export function attentionWeights<D extends DType>(
  where: string,
  scores: Tensor<D>,
  options: MaskOptions,
): Tensor<D> {
  const mask = allowed(where, scores, options)
  if (mask === null) return softmax(scores, -1)
  // The lowest number, not -infinity: a row of nothing else must not become NaN.
  const lowest = scores.dtype === 'float64' ? -Number.MAX_VALUE : -3.4028234663852886e38
  return choose(mask, softmax(choose(mask, scores, lowest), -1), 0)
}

/** The mask that the options make together; null: everything is allowed. */
function allowed(where: string, scores: Tensor, options: MaskOptions): Tensor<'bool'> | null {
  const shape = scores._shape
  const [L, S] = shape.slice(-2) as [number, number]
  const { device } = scores
  const parts: Tensor<'bool'>[] = []
  const { mask = null, lengths = null } = options
  if (mask !== null) {
    checkBool(where, 'mask', mask)
    checkPlacement(where, 'mask', mask, 'bool', device)
    if (!sameShape(broadcastShapes(where, mask._shape, shape), shape)) {
      throw shapeError(where, `a mask that broadcasts to ${shapeText(shape)}`, shapeText(mask._shape))
    }
    parts.push(mask)
  }
  if (checkBoolean(where, 'causal', options.causal ?? false)) {
    parts.push(lowerTriangle(L, S, 0, device))
  }
  if (lengths !== null) {
    if (shape.length < 3) throw shapeError(where, 'a batch as axis 0 for lengths', shapeText(shape))
    const B = shape[0] as number
    const mask = runningMask(checkLengths(where, lengths, S, B), S, device)
    parts.push(reshape(mask, [B, ...shape.slice(1, -1).map(() => 1), S]))
  }
  return parts.length === 0 ? null : parts.reduce((all, one) => logical('logicalAnd', all, one))
}

/** [..,L,E] as [..,heads,L,E / heads]. */
export function splitHeads<D extends DType>(x: Tensor<D>, heads: number): Tensor<D> {
  const shape = x._shape
  const E = shape.at(-1) as number
  return transpose(reshape(x, [...shape.slice(0, -1), heads, E / heads]), -3, -2)
}

/** The reverse of {@link splitHeads}. */
export function joinHeads<D extends DType>(x: Tensor<D>): Tensor<D> {
  const turned = transpose(x, -3, -2)
  const shape = turned._shape
  return reshape(turned, [...shape.slice(0, -2), product(shape.slice(-2))])
}
