/** Losses of numbers, element by element. */
import { needsGrad, record, view } from '../autograd.ts'
import { unfolded } from '../backward.ts'
import { native, PAIRWISE_LOSS, REDUCTION } from '../binding.ts'
import {
  checkBoolean,
  checkFloat,
  checkLike,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkTarget,
} from '../check.ts'
import { tensor } from '../create.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { broadcastShapes, product, sameShape } from '../layout.ts'
import { argumentError, shapeError, shapeText, valueError } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { result, type Tensor } from '../tensor.ts'
import { where as choose, compare, to } from './compare.ts'
import { add, div, extreme, mul, neg, sub } from './elementwise.ts'
import { slice, stack } from './join.ts'
import { scaled, shifted } from './map.ts'
import { mean, sum } from './reduce.ts'
import {
  checkReduction,
  countedOf,
  LOSS_OPTIONS,
  type LossOptions,
  masked,
  type Reduction,
  reduced,
} from './reduction.ts'
import { logSoftmax } from './softmax.ts'
import { unary } from './unary.ts'

// -- what all share --------------------------------------------------------------------

/**
 * Reduces the single losses that `of` computes. `of` is to read every argument through `safe(x, harmless)`: it puts
 * `harmless` where an element does not count, so that NaN there reaches neither the loss nor a gradient.
 *
 * @param shape of the single losses
 */
function elementwise<D extends DType>(
  where: string,
  options: LossOptions,
  shape: readonly number[],
  like: Tensor<D>,
  of: (safe: (x: Tensor<D>, harmless: number) => Tensor<D>) => Tensor<D>,
): Tensor<D> {
  const reduction = checkReduction(where, options)
  const counted = countedOf(where, options, like, shape)
  return reduced(
    of((x, harmless) => masked(x, counted, harmless)),
    counted,
    reduction,
  )
}

/** A parameter of a distribution, that broadcasts to the input. */
function checkParameter<D extends DType>(
  where: string,
  name: string,
  input: Tensor<D>,
  value: Tensor<D>,
): void {
  checkLike(where, name, input, value)
  const { _shape: shape } = input
  if (!sameShape(broadcastShapes(where, value._shape, shape), shape)) {
    throw shapeError(where, `${name} that broadcasts to ${shapeText(shape)}`, shapeText(value._shape))
  }
}

/** max(x, low) with the gradient of x, also below `low`: as torch's losses clamp. */
function atLeast<D extends DType>(x: Tensor<D>, low: number): Tensor<D> {
  return choose(compare('lt', x, low), add(sub(x, x.detach()), low), x)
}

const LOG_2PI = Math.log(2 * Math.PI)

// -- losses by one kernel ------------------------------------------------------------------

/**
 * (input - target)^2
 *
 * @param target the shape and dtype of input
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
 */
export function mseLoss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  options: LossOptions = {},
): Tensor<D> {
  const where = 'mseLoss'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  return pairwise(where, input, target, checkOptions(where, options, LOSS_OPTIONS))
}

/** Options of {@link bceWithLogits}. */
export interface BceOptions<D extends DType = DType> extends LossOptions {
  /** What the losses are multiplied with; broadcasts to them. The mean divides by their number. Default: 1. */
  weight?: Tensor<D> | null | undefined
  /** What the first term, that of target 1, is multiplied with; broadcasts to the losses. Default: 1. */
  posWeight?: Tensor<D> | null | undefined
}

/**
 * -target * log(sigmoid(logits)) - (1 - target) * log(1 - sigmoid(logits)), computed stably.
 *
 * @param target probabilities, the shape and dtype of logits
 * @returns a scalar, or the shape of logits with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
 */
export function bceWithLogits<D extends DType>(
  logits: Tensor<D>,
  target: Tensor<D>,
  options: BceOptions<D> = {},
): Tensor<D> {
  const where = 'bceWithLogits'
  checkFloat(where, 'input', logits)
  checkTarget(where, logits, target)
  options = checkOptions(where, options, [...LOSS_OPTIONS, 'weight', 'posWeight'])
  const { weight = null, posWeight = null } = options
  if (weight === null && posWeight === null) return pairwise(where, logits, target, options)
  if (weight !== null) checkParameter(where, 'weight', logits, weight)
  if (posWeight !== null) checkParameter(where, 'posWeight', logits, posWeight)
  return elementwise(where, options, logits._shape, logits, (safe) => {
    const losses = COMPOSED[where](safe(logits, 0), safe(target, 0), posWeight) as Tensor<D>
    return weight === null ? losses : mul(losses, weight)
  })
}

function pairwise<D extends DType>(
  where: keyof typeof PAIRWISE_LOSS,
  given: Tensor<D>,
  wanted: Tensor<D>,
  options: LossOptions,
): Tensor<D> {
  const mode = checkReduction(where, options)
  const counted = countedOf(where, options, given, given._shape)
  if (counted === null) return fused(where, given, wanted, mode)
  return reduced(fused(where, masked(given, counted, 0), masked(wanted, counted, 0), 'none'), counted, mode)
}

function fused<D extends DType>(
  where: keyof typeof PAIRWISE_LOSS,
  x: Tensor<D>,
  target: Tensor<D>,
  mode: Reduction,
): Tensor<D> {
  const kind = PAIRWISE_LOSS[where]
  const reduction = REDUCTION[mode]
  const dtype = dtypeNumber(x.dtype)
  const size = product(x._shape)
  const left = x._handle(where)
  const right = target._handle(where)
  const loss = result(mode === 'none' ? x._shape : [], x.dtype, x.device)
  native().pairwiseLoss(dtype, kind, reduction, size, left, right, loss._handle(where))
  if (needsGrad(x) || needsGrad(target)) {
    const { shape } = x
    record(where, [x, target], [loss], [x, target], (dloss, node) => {
      if (isRecording()) {
        return unfolded(node, [node.tensor(0), node.tensor(1)], [dloss], ([a, b]) => {
          const losses = COMPOSED[where](a as Tensor, b as Tensor)
          return [mode === 'none' ? losses : mode === 'sum' ? sum(losses) : mean(losses)]
        })
      }
      const dx = node.wants(0) ? result(shape, dloss.dtype, dloss.device) : null
      const dtarget = node.wants(1) ? result(shape, dloss.dtype, dloss.device) : null
      native().pairwiseLossBackward(
        dtype,
        kind,
        reduction,
        size,
        node.saved(0),
        node.saved(1),
        dloss._handle(where),
        dx?._handle(where) ?? null,
        dtarget?._handle(where) ?? null,
      )
      return [dx, dtarget]
    })
  }
  return loss
}

/** The single losses again, made of ops of the tape: for second derivatives and weights. */
const COMPOSED = {
  mseLoss: (x: Tensor, target: Tensor): Tensor => {
    const difference = sub(x, target)
    return mul(difference, difference)
  },
  // log(sigmoid(x)) and log(sigmoid(-x)) are logSoftmax([x, 0]), in a form whose derivatives are right at 0.
  bceWithLogits: (x: Tensor, target: Tensor, posWeight: Tensor | null = null): Tensor => {
    const pair = logSoftmax(stack([x, scaled('bceWithLogits', x, 0)], -1), -1)
    const of = (i: number) => view(slice(pair, i, i + 1, -1), x._shape)
    const positive = mul(target, of(0))
    return neg(add(posWeight === null ? positive : mul(positive, posWeight), sub(of(1), mul(target, of(1)))))
  },
}

// -- losses made of ops ------------------------------------------------------------------------

/**
 * |input - target|
 *
 * @param target the shape and dtype of input
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
 */
export function l1Loss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  options: LossOptions = {},
): Tensor<D> {
  const where = 'l1Loss'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  options = checkOptions(where, options, LOSS_OPTIONS)
  return elementwise(where, options, input._shape, input, (safe) =>
    unary('abs', sub(safe(input, 0), safe(target, 0))),
  )
}

/** Options of {@link huberLoss}. */
export interface HuberOptions extends LossOptions {
  /** The error up to which the loss is quadratic. Default 1. */
  delta?: number | undefined
}

/**
 * 0.5 error^2 where |error| <= delta, else delta (|error| - 0.5 delta) (Huber, 1964).
 *
 * @param target the shape and dtype of input
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 */
export function huberLoss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  options: HuberOptions = {},
): Tensor<D> {
  const where = 'huberLoss'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  options = checkOptions(where, options, [...LOSS_OPTIONS, 'delta'])
  const delta = checkNumber(where, 'delta', options.delta ?? 1, Number.MIN_VALUE)
  return elementwise(where, options, input._shape, input, (safe) => {
    const error = sub(safe(input, 0), safe(target, 0))
    const size = unary('abs', error)
    const near = compare('le', size, delta)
    // What was not chosen is 0: the square of a large error may be infinite.
    const small = choose(near, error, 0)
    const square = scaled(where, mul(small, small), 0.5)
    return choose(near, square, shifted(where, scaled(where, size, delta), -0.5 * delta * delta))
  })
}

/** Options of {@link gaussianNllLoss}. */
export interface GaussianNllOptions extends LossOptions {
  /** Whether to add the constant 0.5 log(2 pi). Default false. */
  full?: boolean | undefined
  /** The least variance. Default 1e-6. */
  eps?: number | undefined
}

/**
 * 0.5 (log(variance) + (input - target)^2 / variance): minus the log-likelihood of a normal distribution.
 *
 * @param input means
 * @param target the shape and dtype of input
 * @param variance broadcasts to input; below eps it counts as eps, and its gradient is the one at eps
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 */
export function gaussianNllLoss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  variance: Tensor<D>,
  options: GaussianNllOptions = {},
): Tensor<D> {
  const where = 'gaussianNllLoss'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  checkParameter(where, 'variance', input, variance)
  options = checkOptions(where, options, [...LOSS_OPTIONS, 'full', 'eps'])
  const eps = checkNumber(where, 'eps', options.eps ?? 1e-6, Number.MIN_VALUE)
  const constant = checkBoolean(where, 'full', options.full ?? false) ? 0.5 * LOG_2PI : 0
  return elementwise(where, options, input._shape, input, (safe) => {
    const v = atLeast(safe(variance, 1), eps)
    const error = sub(safe(input, 0), safe(target, 0))
    const twice = add(unary('log', v), div(mul(error, error), v))
    return shifted(where, scaled(where, twice, 0.5), constant)
  })
}

/** Options of {@link studentTNllLoss}. */
export interface StudentTNllOptions extends LossOptions {
  /** The least scale. Default 1e-6. */
  eps?: number | undefined
}

/**
 * Minus the log-likelihood of Student's t distribution, constants included: of heavier tails than the normal
 * one, for forecasts with outliers (Salinas et al., DeepAR, 2017).
 *
 * @param input locations
 * @param target the shape and dtype of input
 * @param scale broadcasts to input, positive; below eps it counts as eps, and its gradient is the one at eps
 * @param df degrees of freedom, above 0: a number, or a tensor that broadcasts to input
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 */
export function studentTNllLoss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  scale: Tensor<D>,
  df: Tensor<D> | number,
  options: StudentTNllOptions = {},
): Tensor<D> {
  const where = 'studentTNllLoss'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  checkParameter(where, 'scale', input, scale)
  if (typeof df === 'number') checkNumber(where, 'df', df, Number.MIN_VALUE)
  else checkParameter(where, 'df', input, df)
  options = checkOptions(where, options, [...LOSS_OPTIONS, 'eps'])
  const eps = checkNumber(where, 'eps', options.eps ?? 1e-6, Number.MIN_VALUE)
  return elementwise(where, options, input._shape, input, (safe) => {
    const s = atLeast(safe(scale, 1), eps)
    const nu = typeof df === 'number' ? shifted(where, scaled(where, s.detach(), 0), df) : safe(df, 1)
    const z = div(sub(safe(input, 0), safe(target, 0)), s)
    const half = scaled(where, shifted(where, nu, 1), 0.5)
    const tail = mul(half, unary('log', shifted(where, div(mul(z, z), nu), 1)))
    return add(add(tail, unary('log', s)), normalizer(where, nu))
  })
}

/** log of what the density of Student's t is divided by: 0.5 log(nu pi) + lgamma(nu / 2) - lgamma((nu + 1) / 2). */
function normalizer<D extends DType>(where: string, nu: Tensor<D>): Tensor<D> {
  // The difference of the two is small beside each, so float32 would lose it.
  const wide = to(nu, 'float64')
  const half = scaled(where, wide, 0.5)
  const gammas = sub(logGamma(where, half), logGamma(where, shifted(where, half, 0.5)))
  const root = scaled(where, unary('log', scaled(where, wide, Math.PI)), 0.5)
  return to(add(root, gammas), nu.dtype)
}

/** log(Gamma(x)) for x > 0: Stirling's series at x + STEPS, and the recurrence Gamma(x + 1) = x Gamma(x) down from there. */
function logGamma(where: string, x: Tensor<'float64'>): Tensor<'float64'> {
  const z = shifted(where, x, STEPS)
  const inverse = div(shifted(where, scaled(where, z, 0), 1), z)
  const square = mul(inverse, inverse)
  let series = shifted(where, scaled(where, square, 0), 0)
  for (const coefficient of STIRLING) series = shifted(where, mul(series, square), coefficient)
  let product = x
  for (let k = 1; k < STEPS; k++) product = mul(product, shifted(where, x, k))
  const main = sub(mul(shifted(where, z, -0.5), unary('log', z)), z)
  return sub(add(shifted(where, main, 0.5 * LOG_2PI), mul(series, inverse)), unary('log', product))
}

/** At 8 and above the error of the seven terms below is of the order of float64's rounding. */
const STEPS = 8
/** B_2k / (2k (2k - 1)), the highest first (Abramowitz and Stegun, 6.1.41). */
const STIRLING = [1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12]

/** Options of {@link poissonNllLoss}. */
export interface PoissonNllOptions extends LossOptions {
  /** Whether input is the logarithm of the rate. Default true. */
  logInput?: boolean | undefined
  /** Whether to add Stirling's approximation of log(target!) for targets above 1. Default false. */
  full?: boolean | undefined
  /** Added to the rate before its logarithm, without `logInput`. Default 1e-8. */
  eps?: number | undefined
}

/**
 * rate - target log(rate): minus the log-likelihood of a Poisson distribution, without log(target!).
 *
 * @param input log(rate), or the rate without `logInput`
 * @param target counts, the shape and dtype of input
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 */
export function poissonNllLoss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  options: PoissonNllOptions = {},
): Tensor<D> {
  const where = 'poissonNllLoss'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  options = checkOptions(where, options, [...LOSS_OPTIONS, 'logInput', 'full', 'eps'])
  const logInput = checkBoolean(where, 'logInput', options.logInput ?? true)
  const full = checkBoolean(where, 'full', options.full ?? false)
  const eps = checkNumber(where, 'eps', options.eps ?? 1e-8, 0)
  return elementwise(where, options, input._shape, input, (safe) => {
    const x = safe(input, 1)
    const t = safe(target, 0)
    const loss = logInput
      ? sub(unary('exp', x), mul(t, x))
      : sub(x, mul(t, unary('log', shifted(where, x, eps))))
    if (!full) return loss
    const many = compare('gt', t, 1)
    const count = choose(many, t, 1)
    const stirling = add(
      sub(mul(count, unary('log', count)), count),
      scaled(where, unary('log', scaled(where, count, 2 * Math.PI)), 0.5),
    )
    return add(loss, choose(many, stirling, 0))
  })
}

/**
 * max(q (target - input), (q - 1) (target - input)): the pinball loss, whose least is at the q quantile of the
 * targets (Koenker and Bassett, 1978).
 *
 * @param input of one quantile the shape of target; of several [..target,Q], one per quantile
 * @param quantiles one from 0 to 1, or an array of Q
 * @returns a scalar, or the shape of input with `reduction: 'none'`. A mask and lengths are of the shape of target.
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE
 *
 * @example
 * quantileLoss(head.forward(h), y, [0.1, 0.5, 0.9]) // head gives [T,B,3], y is [T,B]
 */
export function quantileLoss<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  quantiles: number | readonly number[],
  options: LossOptions = {},
): Tensor<D> {
  const where = 'quantileLoss'
  checkFloat(where, 'input', input)
  checkLike(where, 'target', input, target)
  options = checkOptions(where, options, LOSS_OPTIONS)
  const several = typeof quantiles !== 'number'
  const list = several ? quantiles : [quantiles]
  if (!Array.isArray(list)) throw argumentError(where, 'a quantile or an array of quantiles', quantiles)
  if (list.length === 0) throw valueError(where, 'at least one quantile', quantiles)
  for (const q of list as number[]) checkNumber(where, 'quantile', q, 0, 1)
  const expected = several ? [...target._shape, list.length] : target._shape
  if (!sameShape(input._shape, expected)) {
    throw shapeError(where, `input of shape [..target,Q] = ${shapeText(expected)}`, shapeText(input._shape))
  }
  const reduction = checkReduction(where, options)
  const own = countedOf(where, options, target, target._shape)
  const counted = own !== null && several ? view(own, [...own._shape, 1]) : own
  const wanted = several ? view(target, [...target._shape, 1]) : target
  const error = sub(masked(wanted, counted, 0), masked(input, counted, 0))
  const q = tensor(list as number[], several ? [list.length] : [], {
    dtype: input.dtype as 'float64',
    device: input.device,
  }) as Tensor as Tensor<D>
  const losses = extreme('maximum', mul(error, q), mul(error, shifted(where, q, -1)))
  return reduced(losses, counted, reduction)
}

/** Options of {@link klDiv}. */
export interface KlDivOptions extends Omit<LossOptions, 'reduction'> {
  /** As of other losses, or 'batchmean': the sum over the length of axis 0, the divergence itself. Default 'mean'. */
  reduction?: Reduction | 'batchmean' | undefined
  /** Whether target holds logarithms, too. Default false. */
  logTarget?: boolean | undefined
}

/**
 * target (log(target) - input): the terms of the Kullback-Leibler divergence of target from exp(input).
 *
 * @param input logarithms of probabilities
 * @param target probabilities, the shape and dtype of input; where it is 0, so is the term
 * @returns a scalar, or the shape of input with `reduction: 'none'`
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
 */
export function klDiv<D extends DType>(
  input: Tensor<D>,
  target: Tensor<D>,
  options: KlDivOptions = {},
): Tensor<D> {
  const where = 'klDiv'
  checkFloat(where, 'input', input)
  checkTarget(where, input, target)
  const { reduction = 'mean', ...others } = checkOptions(where, options, [...LOSS_OPTIONS, 'logTarget'])
  checkOneOf(where, 'reduction', reduction, ['none', 'mean', 'sum', 'batchmean'])
  const logTarget = checkBoolean(where, 'logTarget', others.logTarget ?? false)
  const batch = reduction === 'batchmean'
  const loss = elementwise(
    where,
    { ...others, reduction: batch ? 'sum' : reduction },
    input._shape,
    input,
    (safe) => {
      const x = safe(input, 0)
      const t = safe(target, 0)
      if (logTarget) return mul(unary('exp', t), sub(t, x))
      const some = compare('gt', t, 0)
      return sub(choose(some, mul(t, unary('log', choose(some, t, 1))), 0), mul(t, x))
    },
  )
  return batch ? div(loss, input._shape[0] ?? 1) : loss
}
