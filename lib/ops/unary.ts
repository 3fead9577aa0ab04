/** Functions of one tensor, element by element; and powers. */
import { needsGrad, record } from '../autograd.ts'
import { BINARY, native, UNARY } from '../binding.ts'
import { checkFloat, checkNumber, checkNumeric, checkOneOf, checkOptions } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { argumentError } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { resultLike, type Tensor } from '../tensor.ts'
import { sumTo } from './broadcast.ts'
import { compare, logical, maskedFill, where as select } from './compare.ts'
import { add, checkOperands, combined, constantLike, div, mul } from './elementwise.ts'
import { mapped, negated, scaled, shifted } from './map.ts'

/** Options of {@link Tensor.clamp}. */
export interface ClampOptions {
  /** Default: none. */
  min?: number | null | undefined
  /** Default: none. */
  max?: number | null | undefined
}

/** Options of {@link Tensor.gelu}. */
export interface GeluOptions {
  /** Default 'none': by the error function. 'tanh' is close to it and faster. */
  approximate?: 'none' | 'tanh' | undefined
}

/** Options of {@link Tensor.softplus}. */
export interface SoftplusOptions {
  /** How sharp the bend is, above 0. Default 1. */
  beta?: number | undefined
  /** Where beta * this is larger, the result is this. Default 20. */
  threshold?: number | undefined
}

type UnaryName = Exclude<keyof typeof UNARY, 'neg' | 'scale' | 'addScalar'>

/** Whose derivative is computed from the result; of the others it is from the argument. */
const OF_RESULT: ReadonlySet<UnaryName> = new Set(['tanh', 'sigmoid', 'relu', 'exp', 'sqrt'])

/** Of int32 too. */
const OF_INTEGERS: ReadonlySet<UnaryName> = new Set(['abs', 'sign'])

/** Constant in pieces: the gradient is 0. */
const STEPS: ReadonlySet<UnaryName> = new Set(['sign', 'floor', 'round', 'ceil'])

/**
 * dx from dy and what is saved, for functions that have a second derivative. Nothing in them is infinite or NaN
 * where the result is not.
 */
const GRADIENT: {
  readonly [K in UnaryName]?: (dy: Tensor, saved: Tensor, alpha: number, beta: number) => Tensor
} = {
  tanh: (dy, y) => mul(dy, oneMinus('tanh', mul(y, y))),
  sigmoid: (dy, y) => mul(dy, mul(y, oneMinus('sigmoid', y))),
  exp: (dy, y) => mul(dy, y),
  log: (dy, x) => div(dy, x),
  sqrt: (dy, y) => div(dy, mul(y, 2)),
  square: (dy, x) => mul(dy, scaled('square', x, 2)),
  sin: (dy, x) => mul(dy, unary('cos', x)),
  cos: (dy, x) => negated('cos', mul(dy, unary('sin', x))),
  erf: (dy, x) =>
    mul(dy, scaled('erf', unary('exp', negated('erf', unary('square', x))), 2 / Math.sqrt(Math.PI))),
  gelu: (dy, x) => {
    const cdf = scaled('gelu', shifted('gelu', unary('erf', scaled('gelu', x, Math.SQRT1_2)), 1), 0.5)
    const bell = unary('exp', scaled('gelu', unary('square', x), -0.5))
    return mul(dy, add(cdf, mul(x, scaled('gelu', bell, 1 / Math.sqrt(2 * Math.PI)))))
  },
  geluTanh: (dy, x) => {
    const name = 'gelu'
    const root = Math.sqrt(2 / Math.PI)
    const near = unary('clamp', x, -20, 20) // beyond, the slope of tanh is 0
    const square = unary('square', near)
    const t = unary('tanh', scaled(name, add(near, scaled(name, mul(square, near), 0.044715)), root))
    const slope = scaled(name, shifted(name, scaled(name, square, 3 * 0.044715), 1), root)
    const bend = mul(mul(near, oneMinus(name, unary('square', t))), slope)
    return mul(dy, scaled(name, add(shifted(name, t, 1), bend), 0.5))
  },
  silu: (dy, x) => {
    const y = unary('sigmoid', x)
    return mul(dy, mul(y, shifted('silu', mul(x, oneMinus('silu', y)), 1)))
  },
  softplus: (dy, x, beta, threshold) => {
    const argument = scaled('softplus', x, beta)
    return select(compare('gt', argument, threshold), dy, mul(dy, unary('sigmoid', argument)))
  },
  elu: (dy, x, alpha) => {
    const slope = scaled('elu', unary('exp', unary('clamp', x, Number.NEGATIVE_INFINITY, 0)), alpha)
    return select(compare('gt', x, 0), dy, mul(dy, slope))
  },
  pow: (dy, x, exponent) =>
    exponent === 0 ? constantLike(dy, 0) : mul(dy, scaled('pow', unary('pow', x, exponent - 1), exponent)),
}

function oneMinus(name: string, x: Tensor): Tensor {
  return shifted(name, negated(name, x), 1)
}

export function unary<D extends DType>(name: UnaryName, x: Tensor<D>, alpha = 0, beta = 0): Tensor<D> {
  const where = `Tensor.${name}`
  if (OF_INTEGERS.has(name)) checkNumeric(where, 'input', x)
  else checkFloat(where, 'input', x)
  const y = mapped(where, UNARY[name], x, alpha, beta)
  if (needsGrad(x)) {
    if (STEPS.has(name)) record(name, [x], [y], [], (dy) => [constantLike(dy, 0)])
    else {
      record(name, [x], [y], [OF_RESULT.has(name) ? y : x], (dy, node) => {
        const gradient = isRecording() ? GRADIENT[name] : undefined
        return [gradient?.(dy, node.tensor(0), alpha, beta) ?? pulled(name, node.tensor(0), dy, alpha, beta)]
      })
    }
  }
  return y
}

/** The gradient by its kernel: linear in dy. On the tape only where the function is linear in pieces. */
function pulled(name: UnaryName, saved: Tensor, dy: Tensor, alpha: number, beta: number): Tensor {
  const dx = resultLike(dy)
  native().unaryBackward(
    dtypeNumber(dy.dtype),
    UNARY[name],
    alpha,
    beta,
    dy.size,
    saved._handle(name),
    dy._handle(name),
    dx._handle(name),
  )
  if (needsGrad(dy)) {
    record(name, [dy], [dx], [saved], (ddx, node) => [pulled(name, node.tensor(0), ddx, alpha, beta)])
  }
  return dx
}

// -- with options ---------------------------------------------------------------------

export function clamp<D extends DType>(
  x: Tensor<D>,
  min: number | null | ClampOptions = null,
  max: number | null = null,
): Tensor<D> {
  const where = 'Tensor.clamp'
  let low: unknown = min
  let high: unknown = max
  if (typeof min === 'object' && min !== null) {
    const given = checkOptions(where, min, ['min', 'max'])
    low = given.min ?? null
    high = given.max ?? null
  }
  for (const bound of [low, high]) {
    if (bound !== null && typeof bound !== 'number') throw argumentError(where, 'bounds to be numbers', bound)
  }
  if (low === null && high === null) throw argumentError(where, 'min, max or both', null)
  return unary(
    'clamp',
    x,
    (low as number | null) ?? Number.NEGATIVE_INFINITY,
    (high as number | null) ?? Number.POSITIVE_INFINITY,
  )
}

export function checkApproximate(where: string, options: GeluOptions): 'none' | 'tanh' {
  const { approximate = 'none' } = checkOptions(where, options, ['approximate'])
  return checkOneOf(where, 'approximate', approximate, ['none', 'tanh'] as const)
}

export function gelu<D extends DType>(x: Tensor<D>, options: GeluOptions = {}): Tensor<D> {
  return unary(checkApproximate('Tensor.gelu', options) === 'none' ? 'gelu' : 'geluTanh', x)
}

export function checkBend(where: string, options: SoftplusOptions): { beta: number; threshold: number } {
  const { beta = 1, threshold = 20 } = checkOptions(where, options, ['beta', 'threshold'])
  checkNumber(where, 'beta', beta, Number.MIN_VALUE)
  if (typeof threshold !== 'number') throw argumentError(where, 'threshold to be a number', threshold)
  return { beta, threshold }
}

export function softplus<D extends DType>(x: Tensor<D>, options: SoftplusOptions = {}): Tensor<D> {
  const { beta, threshold } = checkBend('Tensor.softplus', options)
  return unary('softplus', x, beta, threshold)
}

export function leakyRelu<D extends DType>(x: Tensor<D>, slope = 0.01): Tensor<D> {
  checkNumber('Tensor.leakyRelu', 'slope', slope)
  return unary('leakyRelu', x, slope)
}

export function elu<D extends DType>(x: Tensor<D>, alpha = 1): Tensor<D> {
  checkNumber('Tensor.elu', 'alpha', alpha)
  return unary('elu', x, alpha)
}

// -- powers -----------------------------------------------------------------------------

export function pow<D extends DType>(x: Tensor<D>, exponent: Tensor<D> | number): Tensor<D> {
  const where = 'Tensor.pow'
  checkFloat(where, 'base', x)
  if (typeof exponent === 'number') {
    if (exponent === 2) return unary('square', x)
    return exponent === 0.5 ? unary('sqrt', x) : unary('pow', x, exponent)
  }
  checkOperands(where, x, exponent)
  const y = combined(where, BINARY.pow, x, exponent)
  const wantExponent = needsGrad(exponent)
  if (wantExponent || needsGrad(x)) {
    const shapes = [x._shape, exponent._shape] as const
    record('pow', [x, exponent], [y], [x, exponent, wantExponent ? y : null], (dy, node) => {
      const base = node.tensor(0)
      const power = node.tensor(1)
      return [
        node.wants(0) ? sumTo(mul(dy, byBase(base, power)), shapes[0]) : null,
        node.wants(1) ? sumTo(mul(dy, byExponent(base, power, node.tensor(2))), shapes[1]) : null,
      ]
    })
  }
  return y
}

/** power * base^(power - 1); 0 where power is 0. */
function byBase(base: Tensor, power: Tensor): Tensor {
  return maskedFill(mul(power, pow(base, shifted('pow', power, -1))), compare('eq', power, 0), 0)
}

/** y * log(base); 0 where base is 0 and power is not negative. */
function byExponent(base: Tensor, power: Tensor, y: Tensor): Tensor {
  const flat = logical('logicalAnd', compare('eq', base, 0), compare('ge', power, 0))
  return maskedFill(mul(y, unary('log', base)), flat, 0)
}
