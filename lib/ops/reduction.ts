/** What losses share: which elements count, and the reduction of the single losses (one per element) to a number. */
import { checkBool, checkBoolean, checkLengths, checkOneOf, checkPlacement } from '../check.ts'
import type { DType } from '../dtype.ts'
import { broadcastShapes, product, sameShape } from '../layout.ts'
import { shapeError, shapeText } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { where as choose, logical, to } from './compare.ts'
import { div } from './elementwise.ts'
import { runningMask } from './masks.ts'
import { mean, sum } from './reduce.ts'
import { expand, reshape } from './shape.ts'

/** 'mean' over the elements that count, 'sum' over them, or 'none': one loss each, 0 where it does not count. */
export type Reduction = 'none' | 'mean' | 'sum'

/** Options of every loss. */
export interface LossOptions {
  /** How the losses of single elements are reduced. Default 'mean'. */
  reduction?: Reduction | undefined
  /**
   * bool, true where an element counts; broadcasts to the single losses. What does not count may be anything, also
   * NaN, and gets no gradient. Default: all count.
   */
  mask?: Tensor<'bool'> | null | undefined
  /** Steps of each row that count, of single losses [T,B,..] ([B,T,..] if batchFirst). Default: all. */
  lengths?: ArrayLike<number> | null | undefined
  /** Whether single losses are [B,T,..] instead of [T,B,..], for `lengths`. Default false. */
  batchFirst?: boolean | undefined
}

export const LOSS_OPTIONS = ['reduction', 'mask', 'lengths', 'batchFirst']

const REDUCTIONS: readonly Reduction[] = ['none', 'mean', 'sum']

export function checkReduction(where: string, options: LossOptions): Reduction {
  return checkOneOf(where, 'reduction', options.reduction ?? 'mean', REDUCTIONS)
}

/** The mask of mask and lengths together, true where a single loss counts; null: everywhere. */
export function countedOf(
  where: string,
  { mask = null, lengths = null, batchFirst = false }: LossOptions,
  like: Tensor,
  shape: readonly number[],
): Tensor<'bool'> | null {
  checkBoolean(where, 'batchFirst', batchFirst)
  if (mask !== null) {
    checkBool(where, 'mask', mask)
    checkPlacement(where, 'mask', mask, 'bool', like.device)
    if (!sameShape(broadcastShapes(where, mask._shape, shape), shape)) {
      throw shapeError(where, `a mask that broadcasts to ${shapeText(shape)}`, shapeText(mask._shape))
    }
  }
  const running = lengths === null ? null : withinLengths(where, lengths, batchFirst, like, shape)
  if (mask === null || running === null) return mask ?? running
  return logical('logicalAnd', mask, running)
}

function withinLengths(
  where: string,
  lengths: ArrayLike<number>,
  batchFirst: boolean,
  { device }: Tensor,
  shape: readonly number[],
): Tensor<'bool'> {
  const [first = 0, second = 0] = shape
  const [T, B] = batchFirst ? [second, first] : [first, second]
  const named = batchFirst ? '[B,T,..]' : '[T,B,..]'
  if (shape.length < 2) throw shapeError(where, `losses of shape ${named} for lengths`, shapeText(shape))
  const mask = runningMask(checkLengths(where, lengths, T, B), T, device, batchFirst)
  return reshape(mask, [first, second, ...shape.slice(2).map(() => 1)])
}

/** `x` where it counts, else a harmless value: what a loss computes there must be finite. */
export function masked<D extends DType>(
  x: Tensor<D>,
  counted: Tensor<'bool'> | null,
  harmless: number,
): Tensor<D> {
  return counted === null ? x : choose(counted, x, harmless)
}

/** Reduces the losses that count. The mean with weights divides by the sum of the weights that count. */
export function reduced<D extends DType>(
  losses: Tensor<D>,
  counted: Tensor<'bool'> | null,
  reduction: Reduction,
  weights: Tensor<D> | null = null,
): Tensor<D> {
  const kept = masked(losses, counted, 0)
  if (reduction === 'none') return kept
  if (reduction === 'sum') return sum(kept)
  if (weights !== null) return div(sum(kept), sum(masked(weights, counted, 0)))
  if (counted === null) return mean(kept)
  return div(sum(kept), sum(to(expand(counted, losses._shape), losses.dtype)))
}

/** A vector as a tensor of that rank, its elements along `axis`. */
export function alongAxis<D extends DType>(x: Tensor<D>, rank: number, axis: number): Tensor<D> {
  return reshape(
    x,
    Array.from({ length: rank }, (_, i) => (i === axis ? product(x._shape) : 1)),
  )
}
