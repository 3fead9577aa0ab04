/** The loss of connectionist temporal classification: labels of which nobody knows where they stand. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import {
  checkBoolean,
  checkFloat,
  checkInteger,
  checkLengths,
  checkOptions,
  checkPlacement,
  checkTensor,
} from '../check.ts'
import { tensor } from '../create.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { product } from '../layout.ts'
import { MAX_INT32 } from '../limits.ts'
import { shapeError, shapeText, twiceError, valueError } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { result, type Tensor } from '../tensor.ts'
import { mul } from './elementwise.ts'
import { mean, sum } from './reduce.ts'
import { checkReduction, type Reduction } from './reduction.ts'
import { reshape } from './shape.ts'

/** Options of {@link ctcLoss}. */
export interface CtcLossOptions {
  /** The class that stands for no label. Default 0. */
  blank?: number | undefined
  /** 'mean': each loss divided by its number of labels (by 1 where there is none), then the mean. Default 'mean'. */
  reduction?: Reduction | undefined
  /** Take 0 for the loss of a row whose labels do not fit its steps, which is else infinite. Default false. */
  zeroInfinity?: boolean | undefined
}

/**
 * -log P(targets | logProbs): the sum over all alignments that become the targets where repeats are merged, then
 * blanks left out (Graves et al. 2006). A label that follows its like needs a blank between.
 *
 * The gradient is torch's, exp(logProbs) minus the probability that a step emits the class: the right one through
 * logSoftmax(), which logProbs must come from. It is 0 past a row's input length, where logProbs may hold anything,
 * and in rows whose loss is infinite; torch gives NaN there. It has no gradient of its own.
 *
 * @param logProbs `[T,B,C]` logarithms of probabilities, e.g. of logSoftmax(-1); `[T,C]` for a single row
 * @param targets int32 classes other than the blank: `[B,S]`, of which the first of a row count, or `[sum]`, those of all
 * rows one behind the other; `[S]` for a single row
 * @param inputLengths steps of each row, `[B]`, at most T each
 * @param targetLengths labels of each row, `[B]`, at most S each
 * @returns a scalar, or with `reduction: 'none'` `[B]`; a scalar for a single row
 * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE (lengths, blank), TypeError ERR_BPTT_DTYPE. A target that is
 * the blank or no class: reading the result rejects with ERR_BPTT_INDEX.
 *
 * @example
 * const logProbs = head.forward(lstm.forward(x).output).logSoftmax(-1)
 * ctcLoss(logProbs, targets, inputLengths, targetLengths).backward()
 */
export function ctcLoss<D extends DType>(
  logProbs: Tensor<D>,
  targets: Tensor,
  inputLengths: ArrayLike<number>,
  targetLengths: ArrayLike<number>,
  options: CtcLossOptions = {},
): Tensor<D> {
  const where = 'ctcLoss'
  const given = checkOptions(where, options, ['blank', 'reduction', 'zeroInfinity'])
  const reduction = checkReduction(where, given)
  const zeroInfinity = checkBoolean(where, 'zeroInfinity', given.zeroInfinity ?? false)
  checkFloat(where, 'logProbs', logProbs)
  const { _shape: shape } = logProbs
  const single = shape.length === 2
  if (!single && shape.length !== 3) {
    throw shapeError(where, 'logProbs of shape [T,B,C] or [T,C]', shapeText(shape))
  }
  const [T, B, C] = (single ? [shape[0], 1, shape[1]] : shape) as [number, number, number]
  const blank = checkInteger(where, 'blank', given.blank ?? 0, 0, Math.max(C - 1, 0))
  if (C === 0) throw shapeError(where, 'logProbs of one class or more, the blank', shapeText(shape))
  const steps = checkLengths(where, inputLengths, T, B, { name: 'inputLengths' })
  const [labels, first] = checkTargets(where, logProbs, targets, targetLengths, B)

  const losses = rowLosses(where, single ? reshape(logProbs, [T, 1, C]) : logProbs, targets, {
    blank,
    zeroInfinity,
    longest: labels.reduce((most, length) => Math.max(most, length), 0),
    layout: Int32Array.from([...steps, ...labels, ...first]),
  })
  if (reduction === 'sum') return sum(losses)
  if (reduction === 'none') return single ? reshape(losses, []) : losses
  const { dtype, device } = losses
  const shares = labels.map((length) => 1 / Math.max(length, 1))
  return mean(mul(losses, tensor(shares, [B], { dtype, device }) as Tensor<D>))
}

/** Of each row the number of labels, and where they begin. */
function checkTargets(
  where: string,
  logProbs: Tensor,
  targets: Tensor,
  targetLengths: ArrayLike<number>,
  B: number,
): [labels: number[], first: number[]] {
  checkTensor(where, 'targets', targets)
  checkPlacement(where, 'targets', targets, 'int32', logProbs.device)
  const { _shape: shape } = targets
  const padded = shape.length === 2
  if (shape.length !== 1 && !(padded && shape[0] === B)) {
    throw shapeError(where, `targets of shape [B,S] = [${B},*], or [sum] of all labels`, shapeText(shape))
  }
  const S = shape.at(-1) as number
  // The kernels are told as int32 where labels begin.
  if (product(shape) > MAX_INT32)
    throw shapeError(where, 'targets of fewer than 2^31 elements', shapeText(shape))
  const single = logProbs._shape.length === 2
  const labels = checkLengths(where, targetLengths, padded || single ? S : MAX_INT32, B, {
    name: 'targetLengths',
  })
  if (padded || single) return [labels, labels.map((_, b) => b * S)]
  let total = 0
  const first = labels.map((length) => {
    total += length
    return total - length
  })
  if (total !== S) {
    const remedy =
      'targets of one dimension are the labels of all rows, one behind the other, without padding'
    throw valueError(where, `targetLengths whose sum is the ${S} elements of targets`, total, remedy)
  }
  return [labels, first]
}

/** What the kernels are told besides tensors. */
interface Rows {
  blank: number
  zeroInfinity: boolean
  /** The largest number of labels. */
  longest: number
  /** [3,B]: steps of each row, labels, where they begin. */
  layout: Int32Array
}

/** The losses [B], by one kernel forward and one backward. */
function rowLosses<D extends DType>(
  where: string,
  logProbs: Tensor<D>,
  targets: Tensor,
  { blank, zeroInfinity, longest, layout }: Rows,
): Tensor<D> {
  const { _shape: shape, device } = logProbs
  const [T, B, C] = shape as [number, number, number]
  const sizes = [dtypeNumber(logProbs.dtype), T, B, C, longest, product(targets._shape), blank] as const
  const differentiable = needsGrad(logProbs)
  const rows = tensor(layout, [3, B], { dtype: 'int32', device })
  const losses = result([B], logProbs.dtype, device)
  const alpha = differentiable ? result([B, T, 2 * longest + 4], logProbs.dtype, device) : null
  native().ctcLoss(
    ...sizes,
    zeroInfinity ? 1 : 0,
    logProbs._handle(where),
    targets._handle(where),
    rows._handle(where),
    losses._handle(where),
    alpha?._handle(where) ?? null,
  )
  if (differentiable) {
    record(where, [logProbs], [losses], [logProbs, targets, rows, alpha], (dlosses, node) => {
      if (isRecording()) throw twiceError(where)
      const dlogProbs = result(shape, dlosses.dtype, device)
      native().ctcLossBackward(
        ...sizes,
        node.saved(0),
        node.saved(1),
        node.saved(2),
        node.saved(3),
        dlosses._handle(where),
        dlogProbs._handle(where),
      )
      return [dlogProbs]
    })
  }
  rows.dispose()
  alpha?.dispose()
  return losses
}
