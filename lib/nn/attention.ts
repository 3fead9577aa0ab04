/** Modules that attend: the scores of Luong and Bahdanau, and several heads at once. */
import { checkBoolean, checkFloat, checkInteger, checkLike, checkNumber, checkOptions } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { refusal, shapeError, shapeText } from '../messages.ts'
import {
  type AttentionResult,
  attend,
  joinHeads,
  type MaskOptions,
  scaledDotProductAttention,
  splitHeads,
} from '../ops/attention.ts'
import { add } from '../ops/elementwise.ts'
import { slice } from '../ops/join.ts'
import { linear, matmul } from '../ops/matmul.ts'
import { mean } from '../ops/reduce.ts'
import { reshape, transpose } from '../ops/shape.ts'
import { unary } from '../ops/unary.ts'
import type { Tensor } from '../tensor.ts'
import { Linear } from './linear.ts'
import { defineParameter, fixFields, Module, type Parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement, uniformParameters } from './options.ts'

/** Options of forward() of {@link DotAttention} and {@link AdditiveAttention}. */
export interface AttendOptions<D extends FloatDType = FloatDType> extends Omit<MaskOptions, 'causal'> {
  /** What is averaged with the weights: `[B,S,V]`. Default: the keys. */
  values?: Tensor<D> | null | undefined
  /** The result of {@link AdditiveAttention.project} for these keys, computed once for all steps of a decoder. */
  projected?: Tensor<D> | null | undefined
}

const OPTIONS = ['values', 'projected', 'mask', 'lengths']

/** Whether there is one query per row, as in a step of a decoder: [B,E] rather than [B,L,E]. Checks the shapes. */
function isStep(where: string, query: Tensor, keys: Tensor): boolean {
  checkFloat(where, 'query', query)
  checkLike(where, 'keys', query, keys)
  const rank = query._shape.length
  if ((rank !== 2 && rank !== 3) || keys._shape.length !== 3 || query._shape[0] !== keys._shape[0]) {
    throw shapeError(
      where,
      'a query [B,E] or [B,L,E] and keys [B,S,K]',
      `${shapeText(query._shape)} and ${shapeText(keys._shape)}`,
    )
  }
  return rank === 2
}

/** [B,E] of a step as [B,1,E]. */
const asSequence = <D extends FloatDType>(x: Tensor<D>, step: boolean): Tensor<D> =>
  step ? reshape(x, [x._shape[0] as number, 1, x._shape[1] as number]) : x

/** [B,L,K] x [B,S,K]^T, without turning all keys for a single query: a decoder asks them at each of its steps. */
function products<D extends FloatDType>(queries: Tensor<D>, keys: Tensor<D>): Tensor<D> {
  const [B, L, K] = queries._shape as [number, number, number]
  if (L !== 1) return matmul(queries, transpose(keys, -2, -1))
  return reshape(matmul(keys, reshape(queries, [B, K, 1])), [B, 1, keys._shape[1] as number])
}

/** Drops the axis that asSequence() put in. */
function ofStep<D extends FloatDType>(found: AttentionResult<D>, step: boolean): AttentionResult<D> {
  if (!step) return found
  const one = (x: Tensor<D>) => reshape(x, [x._shape[0] as number, x._shape[2] as number])
  return { output: one(found.output), weights: one(found.weights) }
}

/** Options of {@link DotAttention}. */
export interface DotAttentionOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** E, for a weight between query and key (the "general" score); left out, there is none, and E must be K. */
  querySize?: number | undefined
  /** K; given with querySize, or not at all. */
  keySize?: number | undefined
}

/**
 * Attention by products (Luong et al., 2015): the score of a key is query . key, or (W query) . key with a weight
 * W [K,E] where sizes are given.
 */
export class DotAttention<D extends FloatDType = 'float32'> extends Module<Tensor, AttentionResult<D>> {
  /** `[K,E]`: W; null without sizes */
  declare weight: Parameter<D> | null

  /** @throws TypeError, RangeError if an option does not fit */
  constructor(options: DotAttentionOptions<D> = {}) {
    super()
    const where = 'DotAttention'
    options = checkOptions(where, options, ['querySize', 'keySize', 'dtype', 'device'])
    const { querySize, keySize } = options
    if ((querySize === undefined) !== (keySize === undefined)) {
      throw refusal(where, 'expected both querySize and keySize, or neither')
    }
    const place = placement(where, options)
    let weight: Parameter<D> | null = null
    if (querySize !== undefined && keySize !== undefined) {
      checkInteger(where, 'querySize', querySize, 1, MAX_SIZE)
      checkInteger(where, 'keySize', keySize, 1, MAX_SIZE)
      const bound = 1 / Math.sqrt(querySize)
      weight = uniformParameters(where, [[keySize, querySize]], bound, place)[0] ?? null
    }
    defineParameter(this, 'weight', weight)
    fixFields(this)
  }

  /**
   * @param query [B,E], a step, or [B,L,E]
   * @param keys [B,S,K]
   * @returns output [B,V] or [B,L,V], weights [B,S] or [B,L,S]
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
   */
  override forward(
    query: Tensor,
    keys?: Tensor,
    options: Omit<AttendOptions<D>, 'projected'> = {},
  ): AttentionResult<D> {
    const where = 'DotAttention.forward'
    const { values, ...masks } = checkOptions(
      where,
      options,
      OPTIONS.filter((name) => name !== 'projected'),
    )
    const step = isStep(where, query, keys as Tensor)
    const queries = asSequence(query as Tensor<D>, step)
    const asked = this.weight === null ? queries : linear(queries, this.weight)
    const scores = products(asked, keys as Tensor<D>)
    return ofStep(attend(where, scores, values ?? (keys as Tensor<D>), maskOfStep(masks, step)), step)
  }
}

/** Options of {@link AdditiveAttention}. */
export type AdditiveAttentionOptions<D extends FloatDType = FloatDType> = LayerOptions<D>

/**
 * Attention by a small network (Bahdanau et al., 2015): the score of a key is v . tanh(W query + U key), with A
 * hidden units; parameters query.weight [A,E] (W), query.bias [A], key.weight [A,K] (U) and v [A].
 */
export class AdditiveAttention<D extends FloatDType = 'float32'> extends Module<Tensor, AttentionResult<D>> {
  /** W and its bias. */
  readonly query: Linear<D>
  /** U */
  readonly key: Linear<D>
  /** [A] */
  declare v: Parameter<D>

  /**
   * @param querySize E
   * @param keySize K
   * @param size A
   * @throws TypeError, RangeError if a size or an option does not fit
   */
  constructor(querySize: number, keySize: number, size: number, options: AdditiveAttentionOptions<D> = {}) {
    super()
    const where = 'AdditiveAttention'
    options = checkOptions(where, options, ['dtype', 'device'])
    checkInteger(where, 'querySize', querySize, 1, MAX_SIZE)
    checkInteger(where, 'keySize', keySize, 1, MAX_SIZE)
    checkInteger(where, 'size', size, 1, MAX_SIZE)
    const place = placement(where, options)
    this.query = new Linear<D>(querySize, size, place)
    this.key = new Linear<D>(keySize, size, { ...place, bias: false })
    const [v = null] = uniformParameters(where, [[size]], 1 / Math.sqrt(size), place)
    defineParameter(this, 'v', v)
    fixFields(this)
  }

  /** U key of all keys, [B,S,K] -> [B,S,A], for the option `projected`: a decoder needs it once, not at each step. */
  project(keys: Tensor): Tensor<D> {
    return this.key.forward(keys)
  }

  /**
   * @param query [B,E], a step, or [B,L,E]
   * @param keys [B,S,K]
   * @returns output [B,V] or [B,L,V], weights [B,S] or [B,L,S]
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
   */
  override forward(query: Tensor, keys?: Tensor, options: AttendOptions<D> = {}): AttentionResult<D> {
    const where = 'AdditiveAttention.forward'
    const { values, projected, ...masks } = checkOptions(where, options, OPTIONS)
    const step = isStep(where, query, keys as Tensor)
    const known = projected ?? this.project(keys as Tensor)
    const asked = this.query.forward(asSequence(query as Tensor<D>, step))
    const [B, L, A] = asked._shape as [number, number, number]
    const S = known._shape[1] as number
    const sums = add(reshape(asked, [B, L, 1, A]), reshape(known, [B, 1, S, A]))
    const scores = matmul(unary('tanh', sums), this.v) as Tensor<D>
    return ofStep(attend(where, scores, values ?? (keys as Tensor<D>), maskOfStep(masks, step)), step)
  }
}

/** The options with a mask [B,S] of a step as [B,1,S]. */
function maskOfStep<M extends MaskOptions>(masks: M, step: boolean): M {
  const { mask = null } = masks
  if (!step || mask === null || mask._shape.length !== 2) return masks
  return { ...masks, mask: reshape(mask, [mask._shape[0] as number, 1, mask._shape[1] as number]) }
}

/** Options of {@link MultiheadAttention}. */
export interface MultiheadAttentionOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** Probability with which a weight is dropped in training. Default 0. */
  dropout?: number | undefined
  /** Whether to add biases. Default true. */
  bias?: boolean | undefined
  /** Size of keys. Default: embedDim. */
  kdim?: number | undefined
  /** Size of values. Default: embedDim. */
  vdim?: number | undefined
  /** Whether tensors are [B,T,..] instead of [T,B,..]. Default false. */
  batchFirst?: boolean | undefined
}

/** Options of forward() of {@link MultiheadAttention}. */
export interface MultiheadOptions extends MaskOptions {
  /** Whether weights are the mean over the heads, [B,L,S], rather than [B,heads,L,S]. Default true. */
  averageWeights?: boolean | undefined
}

/**
 * Attention with several heads, as torch.nn.MultiheadAttention, whose parameters it has: in_proj_weight [3E,E] (or
 * q_proj_weight, k_proj_weight, v_proj_weight where kdim or vdim differ), in_proj_bias [3E], out_proj.
 * Unlike torch's, masks are true where attention is allowed, as those of {@link scaledDotProductAttention}.
 */
export class MultiheadAttention<D extends FloatDType = 'float32'> extends Module<Tensor, AttentionResult<D>> {
  /** E */
  readonly embedDim: number
  /** How many heads, of E / numHeads features each. */
  readonly numHeads: number
  /** Probability with which a weight is dropped in training. */
  readonly dropout: number
  /** Whether tensors are [B,T,..] instead of [T,B,..]. */
  readonly batchFirst: boolean
  /** `[3E,E]`: of query, key and value; null where kdim or vdim differ from E */
  declare in_proj_weight: Parameter<D> | null
  /** `[E,E]`; null with in_proj_weight */
  declare q_proj_weight: Parameter<D> | null
  /** `[E,kdim]`; null with in_proj_weight */
  declare k_proj_weight: Parameter<D> | null
  /** `[E,vdim]`; null with in_proj_weight */
  declare v_proj_weight: Parameter<D> | null
  /** `[3E]`; null without `bias` */
  declare in_proj_bias: Parameter<D> | null
  /** The projection of the joined heads, E to E. */
  readonly out_proj: Linear<D>

  /**
   * @param embedDim E, of queries and the output
   * @param numHeads a divisor of E
   * @throws TypeError, RangeError if a size or an option does not fit
   */
  constructor(embedDim: number, numHeads: number, options: MultiheadAttentionOptions<D> = {}) {
    super()
    const where = 'MultiheadAttention'
    const names = ['dropout', 'bias', 'kdim', 'vdim', 'batchFirst', 'dtype', 'device']
    options = checkOptions(where, options, names)
    const E = checkInteger(where, 'embedDim', embedDim, 1, MAX_SIZE)
    checkInteger(where, 'numHeads', numHeads, 1, E)
    if (E % numHeads !== 0) {
      throw refusal(where, `expected numHeads to divide embedDim ${E}, got ${numHeads}`)
    }
    this.embedDim = E
    this.numHeads = numHeads
    this.dropout = checkNumber(where, 'dropout', options.dropout ?? 0, 0, 1)
    this.batchFirst = checkBoolean(where, 'batchFirst', options.batchFirst ?? false)
    const bias = checkBoolean(where, 'bias', options.bias ?? true)
    const kdim = checkInteger(where, 'kdim', options.kdim ?? E, 1, MAX_SIZE)
    const vdim = checkInteger(where, 'vdim', options.vdim ?? E, 1, MAX_SIZE)
    const place = placement(where, options)
    const same = kdim === E && vdim === E
    // Xavier's bound of each matrix, as torch's.
    const xavier = (rows: number, cols: number) =>
      uniformParameters(where, [[rows, cols]], Math.sqrt(6 / (rows + cols)), place)[0] ?? null
    defineParameter(this, 'in_proj_weight', same ? xavier(3 * E, E) : null)
    defineParameter(this, 'q_proj_weight', same ? null : xavier(E, E))
    defineParameter(this, 'k_proj_weight', same ? null : xavier(E, kdim))
    defineParameter(this, 'v_proj_weight', same ? null : xavier(E, vdim))
    const zero = (rows: number) => uniformParameters(where, [[rows]], 0, place)[0] ?? null
    defineParameter(this, 'in_proj_bias', bias ? zero(3 * E) : null)
    this.out_proj = new Linear<D>(E, E, { ...place, bias })
    if (bias) this.out_proj.bias = zero(E)
    fixFields(this)
  }

  /**
   * @param query [L,B,E] ([B,L,E] if batchFirst)
   * @param key [S,B,kdim] ([B,S,kdim] if batchFirst); default the query
   * @param value [S,B,vdim] ([B,S,vdim] if batchFirst); default the key
   * @param options a mask broadcasts to [B,heads,L,S]; one of [B,L,S] is for all heads
   * @returns output, shaped like query, and weights [B,L,S], the mean over the heads, or [B,heads,L,S] of each
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
   */
  override forward(
    query: Tensor,
    key: Tensor = query,
    value: Tensor = key,
    options: MultiheadOptions = {},
  ): AttentionResult<D> {
    const where = 'MultiheadAttention.forward'
    const { averageWeights, ...masks } = checkOptions(where, options, [
      'mask',
      'lengths',
      'causal',
      'averageWeights',
    ])
    const average = checkBoolean(where, 'averageWeights', averageWeights ?? true)
    const names = ['query', 'key', 'value']
    const given = [query, key, value].map((x, i) => {
      checkFloat(where, names[i] as string, x)
      if (x._shape.length !== 3) {
        throw shapeError(
          where,
          `${names[i]} of shape ${this.batchFirst ? '[B,T,..]' : '[T,B,..]'}`,
          shapeText(x._shape),
        )
      }
      const turned = this.batchFirst ? (x as Tensor<D>) : transpose(x as Tensor<D>, 0, 1)
      return splitHeads(this.#projected(turned, i), this.numHeads)
    }) as [Tensor<D>, Tensor<D>, Tensor<D>]
    const { mask = null } = masks
    const found = scaledDotProductAttention(...given, {
      ...masks,
      mask: mask?._shape.length === 3 ? reshape(mask, insertHead(mask._shape)) : mask,
      dropout: this.training ? this.dropout : 0,
    })
    const joined = this.out_proj.forward(joinHeads(found.output))
    return {
      output: this.batchFirst ? joined : transpose(joined, 0, 1),
      weights: average ? mean(found.weights, 1) : found.weights,
    }
  }

  /** The query, key or value through its part of the input projection. */
  #projected(x: Tensor<D>, part: number): Tensor<D> {
    const E = this.embedDim
    const own = [this.q_proj_weight, this.k_proj_weight, this.v_proj_weight][part] ?? null
    const of = <T extends Tensor<D> | null>(all: T) => all && slice(all, part * E, (part + 1) * E, 0)
    const weight = own ?? (of(this.in_proj_weight) as Tensor<D>)
    return linear(x, weight, of(this.in_proj_bias) as Tensor<D> | null)
  }
}

/** [B,L,S] as [B,1,L,S]. */
function insertHead(shape: readonly number[]): number[] {
  const [B, L, S] = shape as [number, number, number]
  return [B, 1, L, S]
}
