/** Batch normalization: layer normalization of the channels, each over the batch and all positions. */
import { view } from '../autograd.ts'
import { checkBoolean, checkFloat, checkLike, checkNumber, checkOptions, checkShapeIs } from '../check.ts'
import { full } from '../create.ts'
import type { DType } from '../dtype.ts'
import { argumentError, shapeError, shapeText } from '../messages.ts'
import { noGrad, tidy } from '../scope.ts'
import { copyElements } from '../state.ts'
import type { Tensor } from '../tensor.ts'
import { add, div, mul, sub } from './elementwise.ts'
import { normalize } from './layer_norm.ts'
import { transpose } from './shape.ts'
import { unary } from './unary.ts'

/** Options of {@link batchNorm}. */
export interface BatchNormOptions<D extends DType> {
  /** The scale, [C]. Default: none. */
  weight?: Tensor<D> | null | undefined
  /** The shift, [C]. Default: none. */
  bias?: Tensor<D> | null | undefined
  /** Whether to use the mean and variance of this batch, and to update the running ones by them. Default false. */
  training?: boolean | undefined
  /** m in running = (1 - m) * running + m * batch, 0 to 1. Default 0.1. */
  momentum?: number | undefined
  /** Added to the variance. Default 1e-5. */
  eps?: number | undefined
}

/**
 * (x - mean) / sqrt(variance + eps) * weight + bias, per channel. In training mean and variance (the biased one)
 * are those over the batch and all positions, and the running ones, where given, are moved towards them in place
 * (the variance towards the unbiased one); otherwise they are the running ones.
 *
 * @param x [N,C,..]
 * @param runningMean [C], or null in training
 * @param runningVar [C], or null in training
 * @throws RangeError ERR_BPTT_SHAPE, also for one value per channel in training; TypeError ERR_BPTT_DTYPE
 * @throws TypeError ERR_BPTT_TYPE if running values are missing outside training, or one of them alone
 */
export function batchNorm<D extends DType>(
  x: Tensor<D>,
  runningMean: Tensor<D> | null,
  runningVar: Tensor<D> | null,
  options: BatchNormOptions<D> = {},
): Tensor<D> {
  const where = 'batchNorm'
  checkFloat(where, 'input', x)
  options = checkOptions(where, options, ['weight', 'bias', 'training', 'momentum', 'eps'])
  const { weight = null, bias = null } = options
  const training = checkBoolean(where, 'training', options.training ?? false)
  const momentum = checkNumber(where, 'momentum', options.momentum ?? 0.1, 0, 1)
  const eps = checkNumber(where, 'eps', options.eps ?? 1e-5, 0)
  if (x._shape.length < 2) throw shapeError(where, 'input of shape [N,C,..]', shapeText(x._shape))
  const channels = x._shape[1] as number
  for (const [name, one] of Object.entries({ runningMean, runningVar, weight, bias })) {
    if (one === null) continue
    checkLike(where, name, x, one)
    checkShapeIs(where, name, one, [channels], 'C')
    one._live(where)
  }
  if ((runningMean === null) !== (runningVar === null) || (runningMean === null && !training)) {
    const missing = runningMean === null ? 'runningMean' : 'runningVar'
    throw argumentError(where, `${missing} to be a Tensor${training ? '' : ' outside training'}`, null)
  }
  const column = [channels, ...new Array<number>(x._shape.length - 2).fill(1)]
  if (training) checkBatch(where, x)
  return tidy(() => {
    let y: Tensor<D>
    let scale = weight
    if (training) y = overBatch(where, x, runningMean, runningVar, momentum, eps)
    else {
      const root = unary('sqrt', add(runningVar as Tensor<D>, eps))
      scale = div(weight ?? full([], 1, { dtype: x.dtype, device: x.device }), root)
      y = sub(x, view(runningMean as Tensor<D>, column))
    }
    if (scale !== null) y = mul(y, view(scale, column))
    return bias === null ? y : add(y, view(bias, column))
  })
}

function checkBatch(where: string, x: Tensor): void {
  const channels = x._shape[1] as number
  // Where there are no channels either, nothing is computed.
  if (x.size === channels && channels > 0) {
    throw shapeError(
      where,
      'more than one value per channel in training',
      shapeText(x._shape),
      'call eval() first',
    )
  }
}

function overBatch<D extends DType>(
  where: string,
  x: Tensor<D>,
  runningMean: Tensor<D> | null,
  runningVar: Tensor<D> | null,
  momentum: number,
  eps: number,
): Tensor<D> {
  const rows = transpose(x, 0, 1)
  const tracked = runningMean !== null && runningVar !== null && x.size > 0
  const { y, average, rstd } = normalize(where, rows, 1, eps, null, null, tracked)
  if (tracked) {
    noGrad(() => {
      const count = x.size / (x._shape[1] as number)
      const std = div(full([], 1, { dtype: x.dtype, device: x.device }), rstd as Tensor<D>)
      // 1 / rstd^2 is variance + eps. Where eps is most of it the difference is inexact, which never shows: whoever uses
      // the running variance adds eps again.
      const variance = unary('relu', add(mul(std, std), -eps))
      follow(runningMean, average as Tensor<D>, momentum)
      follow(runningVar, mul(variance, count / (count - 1)), momentum)
    })
  }
  return transpose(y, 0, 1)
}

/** running += momentum * (value - running), in place. */
function follow<D extends DType>(running: Tensor<D>, value: Tensor<D>, momentum: number): void {
  const next = add(mul(running, 1 - momentum), mul(value, momentum))
  copyElements(next, 0, running, 0, running.size)
  running._live('batchNorm').touch()
}
