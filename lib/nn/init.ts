/**
 * Fills tensors, in place and without recording, as torch.nn.init does; random numbers are those of manualSeed().
 * Every function returns the tensor that it filled.
 *
 * @example
 * init.xavierUniform(linear.weight)
 * init.zeros(linear.bias)
 * for (const [name, weight] of lstm.namedParameters()) if (name.startsWith('weight_hh')) init.orthogonal(weight)
 */
import { native } from '../binding.ts'
import { checkFloat, checkNumber, checkOneOf, checkOptions } from '../check.ts'
import { normal as fillNormal, uniform as fillUniform, tensor } from '../create.ts'
import type { FloatDType } from '../dtype.ts'
import { product } from '../layout.ts'
import { shapeError, shapeText } from '../messages.ts'
import { detached, tidy } from '../scope.ts'
import { fill } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'

/** The function that follows a layer, for {@link calculateGain}. */
export type Nonlinearity = 'linear' | 'conv1d' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu'

/** Options of {@link kaimingUniform} and {@link kaimingNormal}. */
export interface KaimingOptions {
  /** Slope of leakyRelu below 0. Default 0: that of relu. */
  a?: number | undefined
  /** Whose variance to keep: of what goes forward ('fanIn') or of gradients ('fanOut'). Default 'fanIn'. */
  mode?: 'fanIn' | 'fanOut' | undefined
  /** The function that follows the layer. Default 'leakyRelu', with slope `a`. */
  nonlinearity?: Nonlinearity | undefined
}

const NONLINEARITIES: readonly Nonlinearity[] = [
  'linear',
  'conv1d',
  'sigmoid',
  'tanh',
  'relu',
  'leakyRelu',
  'selu',
]

/** Uniform random numbers from [low, high); default [0, 1). */
export function uniform<T extends Tensor>(x: T, low = 0, high = 1): T {
  check('init.uniform', x)
  checkNumber('init.uniform', 'low', low)
  fillUniform(x, low, checkNumber('init.uniform', 'high', high, low))
  return x
}

/** Normal random numbers; by default of mean 0 and deviation 1. */
export function normal<T extends Tensor>(x: T, mean = 0, std = 1): T {
  check('init.normal', x)
  checkNumber('init.normal', 'mean', mean)
  fillNormal(x, mean, checkNumber('init.normal', 'std', std, 0))
  return x
}

/** Every element `value`. */
export function constant<T extends Tensor>(x: T, value: number): T {
  check('init.constant', x)
  checkNumber('init.constant', 'value', value)
  return fillAll('init.constant', x, value)
}

/** Zeros. */
export function zeros<T extends Tensor>(x: T): T {
  check('init.zeros', x)
  return fillAll('init.zeros', x, 0)
}

/** Ones. */
export function ones<T extends Tensor>(x: T): T {
  check('init.ones', x)
  return fillAll('init.ones', x, 1)
}

/** U(-b, b) with b = gain * sqrt(6 / (fanIn + fanOut)) (Glorot and Bengio, 2010). At least two dimensions. */
export function xavierUniform<T extends Tensor>(x: T, gain = 1): T {
  const bound = Math.sqrt(3) * xavier('init.xavierUniform', x, gain)
  if (x.size > 0) fillUniform(x, -bound, bound)
  return x
}

/** Normal of deviation gain * sqrt(2 / (fanIn + fanOut)) (Glorot and Bengio, 2010). At least two dimensions. */
export function xavierNormal<T extends Tensor>(x: T, gain = 1): T {
  const std = xavier('init.xavierNormal', x, gain)
  if (x.size > 0) fillNormal(x, 0, std)
  return x
}

/** U(-b, b) with b = gain * sqrt(3 / fan) (He et al., 2015). At least two dimensions. */
export function kaimingUniform<T extends Tensor>(x: T, options: KaimingOptions = {}): T {
  const bound = Math.sqrt(3) * kaiming('init.kaimingUniform', x, options)
  if (x.size > 0) fillUniform(x, -bound, bound)
  return x
}

/** Normal of deviation gain / sqrt(fan) (He et al., 2015). At least two dimensions. */
export function kaimingNormal<T extends Tensor>(x: T, options: KaimingOptions = {}): T {
  const std = kaiming('init.kaimingNormal', x, options)
  if (x.size > 0) fillNormal(x, 0, std)
  return x
}

/**
 * A random matrix whose rows (columns, if it has more rows) are orthogonal and of length `gain` (Saxe et al., 2013).
 * Dimensions after the first count as one; at least two. Waits for the work before; computed in float64, most of it on this thread.
 */
export function orthogonal<T extends Tensor>(x: T, gain = 1): T {
  const where = 'init.orthogonal'
  check(where, x)
  checkNumber(where, 'gain', gain)
  checkMatrix(where, x)
  if (x.size === 0) return x
  const rows = x._shape[0] as number
  const columns = x.size / rows
  const count = Math.min(rows, columns)
  const length = Math.max(rows, columns)
  const vectors = orthonormal(count, length)
  const elements = x.dtype === 'float64' ? new Float64Array(x.size) : new Float32Array(x.size)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const at = rows <= columns ? i * length + j : j * length + i
      elements[i * columns + j] = gain * (vectors[at] as number)
    }
  }
  native().upload(x._handle(where), elements)
  x._live(where).touch()
  return x
}

/**
 * The gain that keeps variances, by what comes after a layer: 1 (linear, conv1d, sigmoid), 5/3 (tanh), sqrt(2)
 * (relu), sqrt(2 / (1 + a^2)) (leakyRelu), 3/4 (selu).
 *
 * @param a slope of leakyRelu below 0. Default 0.01
 */
export function calculateGain(nonlinearity: Nonlinearity, a = 0.01): number {
  const where = 'init.calculateGain'
  checkNumber(where, 'a', a)
  switch (checkOneOf(where, 'nonlinearity', nonlinearity, NONLINEARITIES)) {
    case 'tanh':
      return 5 / 3
    case 'relu':
      return Math.SQRT2
    case 'leakyRelu':
      return Math.sqrt(2 / (1 + a * a))
    case 'selu':
      return 3 / 4
    default:
      return 1
  }
}

function check(where: string, x: Tensor): void {
  checkFloat(where, 'x', x)
  x._live(where)
}

function checkMatrix(where: string, x: Tensor): void {
  if (x.rank < 2) throw shapeError(where, 'a tensor of at least two dimensions', shapeText(x._shape))
}

function fillAll<T extends Tensor>(where: string, x: T, value: number): T {
  fill(x, value, where)
  x._live(where).touch()
  return x
}

function fans(where: string, x: Tensor): { fanIn: number; fanOut: number } {
  check(where, x)
  checkMatrix(where, x)
  const [fanOut, fanIn, ...field] = x._shape as [number, number, ...number[]]
  return { fanIn: fanIn * product(field), fanOut: fanOut * product(field) }
}

/** The standard deviation of the weights. */
function xavier(where: string, x: Tensor, gain: number): number {
  const { fanIn, fanOut } = fans(where, x)
  return checkNumber(where, 'gain', gain, 0) * Math.sqrt(2 / (fanIn + fanOut))
}

/** The standard deviation of the weights. */
function kaiming(where: string, x: Tensor, options: KaimingOptions): number {
  const { fanIn, fanOut } = fans(where, x)
  const {
    a = 0,
    mode = 'fanIn',
    nonlinearity = 'leakyRelu',
  } = checkOptions(where, options, ['a', 'mode', 'nonlinearity'])
  const fan = checkOneOf(where, 'mode', mode, ['fanIn', 'fanOut']) === 'fanIn' ? fanIn : fanOut
  return calculateGain(nonlinearity, a) / Math.sqrt(fan)
}

/** So many vectors at a time are made orthogonal to all before them, by one product of matrices. */
const BLOCK = 32

/**
 * `count` random orthonormal vectors of `length` numbers: normally distributed ones, so that no direction is preferred,
 * by Gram and Schmidt. In two passes: rounding leaves the first one's results not quite orthogonal.
 */
function orthonormal(count: number, length: number): Float64Array {
  return detached(() => {
    const drawn = result<FloatDType>([count, length], 'float64', 'cpu')
    fillNormal(drawn, 0, 1)
    const vectors = drawn.dataSync() as Float64Array
    drawn.dispose()
    for (let begin = 0; begin < count; begin += BLOCK) {
      const end = Math.min(begin + BLOCK, count)
      for (let pass = 0; pass < 2; pass++) {
        if (begin > 0) separate(vectors, begin, end, length)
        for (let i = begin; i < end; i++) normalize(vectors, begin, i, length)
      }
    }
    return vectors
  })
}

/** Takes from vectors [begin, end) their parts along all before. */
function separate(vectors: Float64Array, begin: number, end: number, length: number): void {
  const others = tensor(vectors.subarray(0, begin * length), [begin, length])
  const block = tensor(vectors.subarray(begin * length, end * length), [end - begin, length])
  const parts = tidy(() => block.matmul(others.transpose()).matmul(others))
  parts.dataSync().forEach((part, j) => {
    vectors[begin * length + j] = (vectors[begin * length + j] as number) - part
  })
  for (const each of [others, block, parts]) each.dispose()
}

/** Takes from vector i its parts along those from `begin` on before it, and gives it length 1. */
function normalize(vectors: Float64Array, begin: number, i: number, length: number): void {
  const own = vectors.subarray(i * length, (i + 1) * length)
  for (let other = begin; other < i; other++) {
    const before = vectors.subarray(other * length, (other + 1) * length)
    const part = dot(own, before)
    for (let j = 0; j < length; j++) own[j] = (own[j] as number) - part * (before[j] as number)
  }
  const size = Math.sqrt(dot(own, own))
  for (let j = 0; j < length; j++) own[j] = (own[j] as number) / size
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let j = 0; j < a.length; j++) sum += (a[j] as number) * (b[j] as number)
  return sum
}
