/** Reductions to one number per line: product, variance, standard deviation, norms, logarithm of a sum of exponentials. */
import { needsGrad, record, view } from '../autograd.ts'
import { FOLD, native } from '../binding.ts'
import { checkFloat, checkNumber, checkOptions } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { product } from '../layout.ts'
import { valueError } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'
import { compare, maskedFill } from './compare.ts'
import { div, mul, sub } from './elementwise.ts'
import { extremeOver } from './extreme.ts'
import { concat, slice } from './join.ts'
import { type Axes, flags, keepDimsOf, lines, type ReduceOptions } from './lines.ts'
import { mean, sum } from './reduce.ts'
import { unary } from './unary.ts'

/** Options of {@link Tensor.variance} and {@link Tensor.std}. */
export interface MomentOptions extends ReduceOptions {
  /** The sum of squares is divided by the number of elements less this. Default 1. */
  correction?: number | undefined
}

/** dx from dy, x and y; dy and y have the reduced axes with length 1. */
type Gradient = (dy: Tensor, x: Tensor, y: Tensor) => Tensor

/** @param alpha the correction of variance and std, else 0 */
function fold<D extends DType>(
  op: keyof typeof FOLD,
  x: Tensor<D>,
  axes: Axes | undefined,
  keepDims: boolean,
  alpha: number,
  gradient: (reduced: readonly number[], n: number) => Gradient,
): Tensor<D> {
  const where = `Tensor.${op}`
  const reduced = flags(where, axes ?? null, x._shape.length)
  x._live(where)
  const { lines: rows, dims, copied } = lines(x, reduced)
  const kept = x._shape.map((d, i) => (reduced[i] === 1 ? 1 : d))
  const shape = keepDims ? kept : x._shape.filter((_, i) => reduced[i] === 0)
  const y = result(shape, x.dtype, x.device)
  native().fold(dtypeNumber(x.dtype), FOLD[op], alpha, ...dims, rows._handle(where), y._handle(where))
  if (copied) rows.dispose()
  if (needsGrad(x)) {
    const dx = gradient(reduced, dims[1])
    record(op, [x], [y], [x, y], (dy, node) => [
      dx(view(dy, kept), node.tensor(0), view(node.tensor(1), kept)),
    ])
  }
  return y
}

/** The reduced axes. */
function flagged(reduced: readonly number[]): number[] {
  return [...reduced.keys()].filter((axis) => reduced[axis] === 1)
}

// -- product -----------------------------------------------------------------------------

export function prod<D extends DType>(
  x: Tensor<D>,
  axis?: number | null,
  options: ReduceOptions = {},
): Tensor<D> {
  const where = 'Tensor.prod'
  checkFloat(where, 'input', x)
  const keepDims = keepDimsOf(where, options)
  return fold('prod', x, axis, keepDims, 0, (reduced, n) => (dy, from) => {
    if (from.size === 0) return from
    const inner = product(from._shape, reduced.lastIndexOf(1) + 1)
    const outer = from.size / (n * inner)
    return view(others(view(from, [outer, n, inner]), view(dy, [outer, 1, inner])), from._shape)
  })
}

/**
 * dy times the product of all other elements along axis 1, without division, so that zeros need no care: the halves
 * are multiplied with each other until one element is left, and on the way back each half is multiplied with the other.
 */
function others(x: Tensor, dy: Tensor): Tensor {
  const n = x._shape[1] as number
  if (n === 1) return dy
  const half = Math.ceil(n / 2)
  const odd = 2 * half - n
  const left = slice(x, 0, n - half, 1)
  const right = slice(x, half, n, 1)
  const middle = slice(x, n - half, half, 1)
  const both = mul(left, right)
  const back = others(odd === 1 ? concat([both, middle], 1) : both, dy)
  const of = odd === 1 ? slice(back, 0, n - half, 1) : back
  const parts = [mul(of, right), mul(of, left)] as [Tensor, Tensor]
  return concat(odd === 1 ? [parts[0], slice(back, n - half, half, 1), parts[1]] : parts, 1)
}

// -- moments -----------------------------------------------------------------------------

export function variance<D extends DType>(x: Tensor<D>, axes?: Axes, options?: MomentOptions): Tensor<D> {
  return moment('variance', x, axes, options)
}

export function std<D extends DType>(x: Tensor<D>, axes?: Axes, options?: MomentOptions): Tensor<D> {
  return moment('std', x, axes, options)
}

function moment<D extends DType>(
  op: 'variance' | 'std',
  x: Tensor<D>,
  axes: Axes | undefined,
  options: MomentOptions = {},
): Tensor<D> {
  const where = `Tensor.${op}`
  checkFloat(where, 'input', x)
  const { correction = 1, ...rest } = checkOptions(where, options, ['correction', 'keepDims'])
  checkNumber(where, 'correction', correction)
  return fold(op, x, axes, keepDimsOf(where, rest), correction, (reduced, n) => {
    const freedom = Math.max(n - correction, 0)
    return (dy, from, y) => {
      const deviation = sub(from, mean(from, flagged(reduced), { keepDims: true }))
      return op === 'variance'
        ? mul(deviation, mul(dy, 2 / freedom))
        : mul(div(deviation, nonzero(y)), mul(dy, 1 / freedom))
    }
  })
}

/** x, and 1 where it is 0: to divide zeros by. */
function nonzero(x: Tensor): Tensor {
  return maskedFill(x, compare('eq', x, 0), 1)
}

// -- norms -------------------------------------------------------------------------------

export function norm<D extends DType>(
  x: Tensor<D>,
  p = 2,
  axes?: Axes,
  options: ReduceOptions = {},
): Tensor<D> {
  const where = 'Tensor.norm'
  checkFloat(where, 'input', x)
  const keepDims = keepDimsOf(where, options)
  if (p === 1) return sum(unary('abs', x), axes, { keepDims })
  if (p === Number.POSITIVE_INFINITY) {
    const reduced = flags(where, axes ?? null, x._shape.length)
    return extremeOver(where, 'max', unary('abs', x), reduced, keepDims)
  }
  if (p !== 2) throw valueError(where, 'p to be 1, 2 or Infinity', p)
  return fold('norm', x, axes, keepDims, 0, () => (dy, from, y) => mul(div(from, nonzero(y)), dy))
}

// -- logarithm of a sum ------------------------------------------------------------------

export function logSumExp<D extends DType>(
  x: Tensor<D>,
  axes?: Axes,
  options: ReduceOptions = {},
): Tensor<D> {
  const where = 'Tensor.logSumExp'
  checkFloat(where, 'input', x)
  const keepDims = keepDimsOf(where, options)
  return fold('logSumExp', x, axes, keepDims, 0, (reduced) => (dy, from, y) => {
    // Divided by their sum the shares add up to 1, however y was rounded.
    const shares = unary('exp', sub(from, y.detach()))
    return mul(div(shares, sum(shares, flagged(reduced), { keepDims: true })), dy)
  })
}
