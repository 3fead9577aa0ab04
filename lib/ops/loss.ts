/** Losses, fused: one kernel forward, one backward. */
import { needsGrad, record, view } from '../autograd.ts'
import { unfolded } from '../backward.ts'
import { native, PAIRWISE_LOSS, REDUCTION } from '../binding.ts'
import {
  checkClasses,
  checkFloat,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkPlacement,
  checkTarget,
} from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { product, splitAt } from '../layout.ts'
import { shapeError, twiceError } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { result, type Tensor } from '../tensor.ts'
import { add, mul, neg, sub } from './elementwise.ts'
import { scaled } from './map.ts'
import { mean, sum } from './reduce.ts'
import { slice, stack } from './shape.ts'
import { logSoftmax } from './softmax.ts'

/** 'mean' over the elements that count, 'sum' over them, or 'none': one loss each. */
export type Reduction = 'none' | 'mean' | 'sum'

/** Options of {@link mseLoss} and {@link bceWithLogits}. */
export interface LossOptions {
  /** What becomes of the single losses. Default 'mean'. */
  reduction?: Reduction | undefined
}

/** Options of {@link crossEntropy}. */
export interface CrossEntropyOptions extends LossOptions {
  /** Targets of this value do not count. Default -100. */
  ignoreIndex?: number | undefined
}

const REDUCTIONS: readonly Reduction[] = ['none', 'mean', 'sum']

/**
 * -log(softmax(logits)[target]). Targets are class indices.
 *
 * @param logits [N,C], [C] or [N,C,d1,d2,..]
 * @param target int32, the shape of logits without C: [N], [] or [N,d1,d2,..]
 * @returns a scalar, or the shape of target with `reduction: 'none'`. The mean is
 * over the targets that count; NaN if none does.
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE. A target that is neither a
 * class nor ignoreIndex: reading the result rejects with ERR_BPTT_INDEX.
 */
export function crossEntropy<D extends DType>(
  logits: Tensor<D>,
  target: Tensor,
  options: CrossEntropyOptions = {},
): Tensor<D> {
  const where = 'crossEntropy'
  checkFloat(where, 'logits', logits)
  options = checkOptions(where, options, ['reduction', 'ignoreIndex'])
  const ignore = checkInteger(where, 'ignoreIndex', options.ignoreIndex ?? -100, -(2 ** 31), 2 ** 31 - 1)
  const mode = checkOneOf(where, 'reduction', options.reduction ?? 'mean', REDUCTIONS)
  const { shape } = logits
  const rank = shape.length
  if (rank === 0) throw shapeError(where, 'logits of shape [C], [N,C] or [N,C,..]', 'a scalar')
  const axis = rank === 1 ? 0 : 1
  checkClasses(where, logits, target, axis)
  checkPlacement(where, 'target', target, 'int32', logits.device)
  const [outer, classes, inner] = splitAt(shape, axis)
  const dtype = dtypeNumber(logits.dtype)
  const reduction = REDUCTION[mode]
  const source = logits._handle(where)
  const labels = target._handle(where)
  const loss = result(mode === 'none' ? target._shape : [], logits.dtype, logits.device)
  const lse = result([outer * inner + 1], logits.dtype, logits.device)
  native().crossEntropy(
    dtype,
    reduction,
    outer,
    classes,
    inner,
    ignore,
    source,
    labels,
    loss._handle(where),
    lse._handle(where),
  )
  if (needsGrad(logits)) {
    record(where, [logits], [loss], [logits, target, lse], (dloss, node) => {
      if (isRecording()) throw twiceError(where)
      const dlogits = result(shape, dloss.dtype, dloss.device)
      native().crossEntropyBackward(
        dtype,
        reduction,
        outer,
        classes,
        inner,
        ignore,
        node.saved(0),
        node.saved(1),
        node.saved(2),
        dloss._handle(where),
        dlogits._handle(where),
      )
      return [dlogits]
    })
  }
  lse.dispose()
  return loss
}

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
  return pairwise('mseLoss', input, target, options)
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
  options: LossOptions = {},
): Tensor<D> {
  return pairwise('bceWithLogits', logits, target, options)
}

function pairwise<D extends DType>(
  where: keyof typeof PAIRWISE_LOSS,
  x: Tensor<D>,
  target: Tensor<D>,
  options: LossOptions,
): Tensor<D> {
  const kind = PAIRWISE_LOSS[where]
  checkFloat(where, 'input', x)
  checkTarget(where, x, target)
  options = checkOptions(where, options, ['reduction'])
  const mode = checkOneOf(where, 'reduction', options.reduction ?? 'mean', REDUCTIONS)
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
        return unfolded(node, [node.tensor(0), node.tensor(1)], [dloss], ([a, b]) => [
          reduced(COMPOSED[where](a as Tensor, b as Tensor), mode),
        ])
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

/** The single losses, made of other ops. */
const COMPOSED = {
  mseLoss: (x: Tensor, target: Tensor) => {
    const difference = sub(x, target)
    return mul(difference, difference)
  },
  // max(x, 0) - x * target + log(1 + exp(-|x|)), in the form whose derivatives are right at 0:
  // -log(sigmoid(x)) = -logSoftmax([x, 0])
  bceWithLogits: (x: Tensor, target: Tensor) => {
    const pair = logSoftmax(stack([x, scaled('bceWithLogits', x, 0)], -1), -1)
    const of = (i: number) => view(slice(pair, i, i + 1, -1), x._shape)
    return neg(add(mul(target, of(0)), sub(of(1), mul(target, of(1)))))
  },
}

function reduced(losses: Tensor, mode: Reduction): Tensor {
  if (mode === 'none') return losses
  return mode === 'sum' ? sum(losses) : mean(losses)
}
