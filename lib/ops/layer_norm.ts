/** Layer normalization. */
import { needsGrad, record } from '../autograd.ts'
import { unfolded } from '../backward.ts'
import { native } from '../binding.ts'
import {
  checkFloat,
  checkInteger,
  checkLike,
  checkNumber,
  checkOptions,
  checkShapeIs,
  copyShape,
} from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { product, sameShape } from '../layout.ts'
import { MAX_ELEMENTS } from '../limits.ts'
import { argumentError, shapeError, shapeText } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { result, resultLike, type Tensor } from '../tensor.ts'
import { sumTo } from './broadcast.ts'
import { add, div, mul, sub } from './elementwise.ts'
import { mean } from './reduce.ts'
import { unary } from './unary.ts'

/** Options of {@link layerNorm}. */
export interface LayerNormOptions<D extends DType> {
  /** The scale, of shape normalizedShape. Default: none. */
  weight?: Tensor<D> | null | undefined
  /** The shift, of shape normalizedShape. Default: none. */
  bias?: Tensor<D> | null | undefined
  /** Added to the variance. Default 1e-5. */
  eps?: number | undefined
}

/**
 * (x - mean) / sqrt(variance + eps) * weight + bias, over the last dimensions; the
 * variance is the biased one.
 *
 * @param x [..,normalizedShape]
 * @param normalizedShape the last dimensions, or the last one as a number
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
 */
export function layerNorm<D extends DType>(
  x: Tensor<D>,
  normalizedShape: number | readonly number[],
  options: LayerNormOptions<D> = {},
): Tensor<D> {
  const where = 'layerNorm'
  checkFloat(where, 'input', x)
  options = checkOptions(where, options, ['weight', 'bias', 'eps'])
  const { weight = null, bias = null, eps = 1e-5 } = options
  checkNumber(where, 'eps', eps, 0)
  const tail = normalized(where, normalizedShape)
  const split = x._shape.length - tail.length
  if (split < 0 || !sameShape(x._shape.slice(split), tail)) {
    throw shapeError(
      where,
      `input of shape [..,normalizedShape] = [..,${tail.join(',')}]`,
      shapeText(x._shape),
    )
  }
  for (const [name, affine] of [
    ['weight', weight],
    ['bias', bias],
  ] as const) {
    if (affine === null) continue
    checkLike(where, name, x, affine)
    checkShapeIs(where, name, affine, tail)
  }
  const { y, average, rstd } = normalize(where, x, split, eps, weight, bias)
  average?.dispose()
  rstd?.dispose()
  return y
}

/**
 * The same without checks: over the axes from `split` on. `average` and `rstd` (1 / sqrt(variance + eps)), per row, are
 * there if it is recorded or `statistics` is true; the caller disposes of them.
 */
export function normalize<D extends DType>(
  where: string,
  x: Tensor<D>,
  split: number,
  eps: number,
  weight: Tensor<D> | null,
  bias: Tensor<D> | null,
  statistics = false,
): { y: Tensor<D>; average: Tensor<D> | null; rstd: Tensor<D> | null } {
  const tail = x._shape.slice(split)
  const rows = product(x._shape, 0, split)
  const cols = product(tail)
  const dtype = dtypeNumber(x.dtype)
  const source = x._handle(where)
  const gamma = weight?._handle(where) ?? null
  const beta = bias?._handle(where) ?? null
  const recorded = needsGrad(x) || needsGrad(weight) || needsGrad(bias)
  const y = resultLike(x)
  const kept = recorded || statistics
  const average = kept ? result([rows], x.dtype, x.device) : null
  const rstd = kept ? result([rows], x.dtype, x.device) : null
  native().layerNorm(
    dtype,
    rows,
    cols,
    eps,
    source,
    gamma,
    beta,
    y._handle(where),
    average?._handle(where) ?? null,
    rstd?._handle(where) ?? null,
  )
  if (recorded) {
    record(where, [x, weight, bias], [y], [x, weight, average, rstd], (dy, node) => {
      if (isRecording()) {
        const [dx, dweight] = unfolded(
          node,
          [node.tensor(0), node.tensorOrNull(1)],
          [dy],
          ([input, scale]) => [composed(input as Tensor, split, eps, scale as Tensor | null)],
        )
        return [dx ?? null, dweight ?? null, node.wants(2) ? sumTo(dy, tail) : null]
      }
      const dx = node.wants(0) ? resultLike(dy) : null
      const dweight = node.wants(1) ? result(tail, dy.dtype, dy.device) : null
      const dbias = node.wants(2) ? result(tail, dy.dtype, dy.device) : null
      native().layerNormBackward(
        dtype,
        rows,
        cols,
        node.saved(0),
        node.savedOrNull(1),
        node.saved(2),
        node.saved(3),
        dy._handle(where),
        dx?._handle(where) ?? null,
        dweight?._handle(where) ?? null,
        dbias?._handle(where) ?? null,
      )
      return [dx, dweight, dbias]
    })
  }
  return { y, average, rstd }
}

/** The same made of other ops, without the bias. */
function composed(x: Tensor, split: number, eps: number, weight: Tensor | null): Tensor {
  const axes = x._shape.map((_, axis) => axis).slice(split)
  const centered = sub(x, mean(x, axes, { keepDims: true }))
  const variance = mean(mul(centered, centered), axes, { keepDims: true })
  const y = div(centered, unary('sqrt', add(variance, eps)))
  return weight === null ? y : mul(y, weight)
}

/** The normalized dimensions as a list. */
export function normalized(where: string, shape: number | readonly number[]): number[] {
  const list = typeof shape === 'number' ? [shape] : copyShape(where, shape)
  if (list.length === 0) {
    throw argumentError(where, 'normalizedShape to be an integer or an array of integers', shape)
  }
  for (const dimension of list) checkInteger(where, 'normalizedShape', dimension, 0, MAX_ELEMENTS)
  return list
}
