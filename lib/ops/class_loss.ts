/** Losses of classes: crossEntropy, by a kernel where it can, and nllLoss. */
import { needsGrad, record } from '../autograd.ts'
import { unfolded } from '../backward.ts'
import { native, REDUCTION } from '../binding.ts'
import {
  checkAxis,
  checkClasses,
  checkFloat,
  checkInteger,
  checkLike,
  checkNumber,
  checkOptions,
  checkPlacement,
  checkShapeIs,
} from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { product, splitAt } from '../layout.ts'
import { MAX_INT32, MIN_INT32 } from '../limits.ts'
import { shapeError } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { result, type Tensor } from '../tensor.ts'
import { where as choose, compare } from './compare.ts'
import { add, mul } from './elementwise.ts'
import { gather, indexSelect } from './gather.ts'
import { negated, scaled } from './map.ts'
import { sum } from './reduce.ts'
import {
  alongAxis,
  checkReduction,
  countedOf,
  LOSS_OPTIONS,
  type LossOptions,
  type Reduction,
  reduced,
} from './reduction.ts'
import { reshape } from './shape.ts'
import { logSoftmax } from './softmax.ts'

/** Options of {@link nllLoss}. */
export interface NllLossOptions<D extends DType = DType> extends LossOptions {
  /** Targets of this value do not count. Default -100. */
  ignoreIndex?: number | undefined
  /** A weight per class, [C]; the mean is then over the weights of the targets. Default: all 1. */
  weight?: Tensor<D> | null | undefined
  /** The axis of classes. Default 1, of [C] alone 0; -1 for logits [T,B,C]. */
  axis?: number | undefined
}

/** Options of {@link crossEntropy}. */
export interface CrossEntropyOptions<D extends DType = DType> extends NllLossOptions<D> {
  /** How much of the target is spread evenly over all classes, from 0 to 1. Default 0. */
  labelSmoothing?: number | undefined
}

/** The checked arguments of both losses. */
interface ClassLoss<D extends DType> {
  input: Tensor<D>
  target: Tensor
  axis: number
  ignore: number
  reduction: Reduction
  weight: Tensor<D> | null
}

const NAMES = [...LOSS_OPTIONS, 'ignoreIndex', 'weight', 'axis']

/**
 * -log(softmax(logits)[target]). Targets are class indices. With `labelSmoothing` s (Szegedy et al., 2016) it is
 * (1 - s) times that plus s / C times the sum of -log(softmax(logits)) over all C classes.
 *
 * @param logits [N,C], [C] or [N,C,d1,d2,..]; classes elsewhere by `axis`
 * @param target int32, the shape of logits without C: [N], [] or [N,d1,d2,..]
 * @returns a scalar, or the shape of target with `reduction: 'none'`. The mean is
 * over the targets that count; NaN if none does.
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE. A target that is neither a
 * class nor ignoreIndex: reading the result rejects with ERR_BPTT_INDEX.
 *
 * @example
 * // Of sequences with padding: logits [T,B,C], target [T,B]
 * crossEntropy(logits, target, { axis: -1, lengths })
 */
export function crossEntropy<D extends DType>(
  logits: Tensor<D>,
  target: Tensor,
  options: CrossEntropyOptions<D> = {},
): Tensor<D> {
  const where = 'crossEntropy'
  const given = checkOptions(where, options, [...NAMES, 'labelSmoothing'])
  const smoothing = checkNumber(where, 'labelSmoothing', given.labelSmoothing ?? 0, 0, 1)
  const loss = read(where, 'logits', logits, target, given)
  if (loss.weight === null && smoothing === 0) return fused(where, loss)
  return composed({ ...loss, input: logSoftmax(withoutIgnored(loss), loss.axis) }, smoothing)
}

/**
 * -logProbs[target], of logarithms of probabilities, e.g. of logSoftmax(). Targets are class indices.
 *
 * @param logProbs [N,C], [C] or [N,C,d1,d2,..]; classes elsewhere by `axis`
 * @param target int32, the shape of logProbs without C
 * @returns as {@link crossEntropy}
 * @throws as {@link crossEntropy}
 */
export function nllLoss<D extends DType>(
  logProbs: Tensor<D>,
  target: Tensor,
  options: NllLossOptions<D> = {},
): Tensor<D> {
  const where = 'nllLoss'
  const loss = read(where, 'logProbs', logProbs, target, checkOptions(where, options, NAMES))
  return composed({ ...loss, input: withoutIgnored(loss) }, 0)
}

/** Checks the arguments. Targets that a mask or lengths leave out become ignoreIndex. */
function read<D extends DType>(
  where: string,
  name: string,
  input: Tensor<D>,
  target: Tensor,
  options: NllLossOptions<D>,
): ClassLoss<D> {
  checkFloat(where, name, input)
  const ignore = checkInteger(where, 'ignoreIndex', options.ignoreIndex ?? -100, MIN_INT32, MAX_INT32)
  const reduction = checkReduction(where, options)
  const rank = input._shape.length
  if (rank === 0) throw shapeError(where, `${name} of shape [C], [N,C] or [N,C,..]`, 'a scalar')
  const axis = checkAxis(where, options.axis ?? (rank === 1 ? 0 : 1), rank)
  checkClasses(where, input, target, axis)
  checkPlacement(where, 'target', target, 'int32', input.device)
  const { weight = null } = options
  if (weight !== null) {
    checkLike(where, 'weight', input, weight)
    checkShapeIs(where, 'weight', weight, [input._shape[axis] as number], 'C')
  }
  const counted = countedOf(where, options, input, target._shape)
  if (counted === null) return { input, target, axis, ignore, reduction, weight }
  // Logits that do not count may be NaN: zeros take their place.
  return {
    input: choose(reshape(counted, broad(counted._shape, rank, axis)), input, 0),
    target: choose(counted, target as Tensor<'int32'>, ignore),
    axis,
    ignore,
    reduction,
    weight,
  }
}

/** The shape of a tensor of targets with an axis of length 1 put in for the classes: it broadcasts to the input. */
function broad(mask: readonly number[], rank: number, axis: number): number[] {
  const full = [...Array.from({ length: rank - 1 - mask.length }, () => 1), ...mask]
  return [...full.slice(0, axis), 1, ...full.slice(axis)]
}

/** The input with zeros where the target is ignored: NaN there must not reach the result. */
function withoutIgnored<D extends DType>({ input, target, axis, ignore }: ClassLoss<D>): Tensor<D> {
  const counted = compare('ne', target, ignore)
  return choose(reshape(counted, broad(counted._shape, input._shape.length, axis)), input, 0)
}

/** The loss of log-probabilities, made of ops of the tape. */
function composed<D extends DType>(loss: ClassLoss<D>, smoothing: number): Tensor<D> {
  const { input, target, axis, ignore, reduction, weight } = loss
  const shape = target._shape
  const rank = input._shape.length
  const counted = compare('ne', target, ignore)
  const classes = choose(counted, target as Tensor<'int32'>, 0)
  const index = reshape(classes, broad(shape, rank, axis))
  const picked = negated('nllLoss', reshape(gather(input, axis, index), shape))
  const weights =
    weight === null ? null : reshape(indexSelect(weight, 0, reshape(classes, [product(shape)])), shape)
  let losses = weights === null ? picked : mul(picked, weights)
  if (smoothing > 0) {
    const all = weight === null ? input : mul(input, alongAxis(weight, rank, axis))
    const even = negated('crossEntropy', sum(all, axis))
    const share = smoothing / (input._shape[axis] as number)
    losses = add(scaled('crossEntropy', losses, 1 - smoothing), scaled('crossEntropy', even, share))
  }
  return reduced(losses, counted, reduction, weights)
}

/** One kernel forward, one backward. */
function fused<D extends DType>(where: string, loss: ClassLoss<D>): Tensor<D> {
  const { input: logits, target, axis, ignore, reduction: mode } = loss
  const { shape } = logits
  const [outer, classes, inner] = splitAt(shape, axis)
  const dtype = dtypeNumber(logits.dtype)
  const reduction = REDUCTION[mode]
  const source = logits._handle(where)
  const labels = target._handle(where)
  const y = result(mode === 'none' ? target._shape : [], logits.dtype, logits.device)
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
    y._handle(where),
    lse._handle(where),
  )
  if (needsGrad(logits)) {
    record(where, [logits], [y], [logits, target, lse], (dloss, node) => {
      if (isRecording()) {
        const labels = node.tensor(1)
        return unfolded(node, [node.tensor(0)], [dloss], ([input]) => {
          const own = { ...loss, input: input as Tensor, target: labels }
          return [composed({ ...own, input: logSoftmax(withoutIgnored(own), axis) }, 0)]
        })
      }
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
  return y
}
