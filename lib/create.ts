/** Functions that make tensors from nothing or from JavaScript data. */
import { native } from './binding.ts'
import {
  checkBoolean,
  checkDevice,
  checkDType,
  checkFloatDType,
  checkNumber,
  checkOptions,
  checkShape,
  copyShape,
  newArray,
} from './check.ts'
import { type Device, type DType, dtypeNumber, type FloatDType } from './dtype.ts'
import {
  elementsOf,
  type IntegerArray,
  type NestedArray,
  type NestedBooleans,
  type NumberArray,
} from './elements.ts'
import { layoutOf } from './layout.ts'
import { isInt32 } from './limits.ts'
import { argumentError, shapeError, shapeText, valueError } from './messages.ts'
import { draw } from './random.ts'
import { fill } from './state.ts'
import { result, type Tensor } from './tensor.ts'

/** Options of {@link tensor}, {@link zeros}, {@link rand} and the like. */
export interface TensorOptions<D extends DType = DType> {
  /** Default 'float32', or what the typed array suggests. */
  dtype?: D | undefined
  /** Default 'cpu'. */
  device?: Device | undefined
  /** Whether backward() computes a gradient for it. Default false; int32 and bool cannot. */
  requiresGrad?: boolean | undefined
}

/** @inline */
type Options<D extends DType> = TensorOptions<D> & { dtype: D }
/** @inline */
type Implied = TensorOptions & { dtype?: undefined }
/** @inline */
type Data = number | boolean | NestedArray | NestedBooleans | NumberArray

/**
 * A tensor with a copy of `data`: a number, nested arrays, or a typed array (any view,
 * also of a SharedArrayBuffer; nested arrays may hold typed arrays as rows).
 *
 * The dtype is float32, except that a Float64Array gives float64, an integer array int32 and
 * booleans bool, unless `dtype` says otherwise. Values for int32 must be integers in its range,
 * those for bool true, false, 1 or 0; booleans are for bool alone.
 *
 * @param shape default: the nesting of the data
 * @throws RangeError ERR_BPTT_SHAPE if rows differ in length or the shape does not fit
 * @throws RangeError ERR_BPTT_VALUE if a value does not fit int32 or bool
 * @throws TypeError ERR_BPTT_TYPE if an element is not a number, or the buffer is detached
 *
 * @example
 * tensor([[1, 2], [3, 4]])                       // float32 [2,2]
 * tensor(new Float32Array(6), [2, 3])
 * tensor([0, 2, 1], { dtype: 'int32' })
 * tensor([true, false])                          // bool [2]
 */
export function tensor<D extends DType>(
  data: Data,
  shape: readonly number[] | null | undefined,
  options: Options<D>,
): Tensor<D>
export function tensor<D extends DType>(data: Data, options: Options<D>): Tensor<D>
export function tensor(
  data: Float64Array,
  shape?: readonly number[] | Implied | null,
  options?: Implied,
): Tensor<'float64'>
export function tensor(
  data: IntegerArray,
  shape?: readonly number[] | Implied | null,
  options?: Implied,
): Tensor<'int32'>
export function tensor(
  data: number | NestedArray | Float32Array,
  shape?: readonly number[] | Implied | null,
  options?: Implied,
): Tensor<'float32'>
export function tensor(
  data: boolean | NestedBooleans,
  shape?: readonly number[] | Implied | null,
  options?: Implied,
): Tensor<'bool'>
export function tensor(
  data: Data,
  shape?: readonly number[] | TensorOptions | null,
  options?: TensorOptions,
): Tensor
export function tensor(
  data: Data,
  shape?: readonly number[] | TensorOptions | null,
  options?: TensorOptions,
): Tensor {
  const where = 'tensor'
  const withoutShape = shape !== null && typeof shape === 'object' && !Array.isArray(shape)
  if (withoutShape && options !== undefined) throw argumentError(where, 'shape to be an array', shape)
  const given = checkCommon(
    where,
    withoutShape ? (shape as TensorOptions) : options === undefined ? {} : options,
  )
  const wanted = withoutShape || shape === null || shape === undefined ? null : copyShape(where, shape)
  if (given.dtype !== undefined) checkDType(where, given.dtype)
  const elements = elementsOf(where, data, given.dtype)
  let dimensions = elements.shape
  if (wanted !== null) {
    const size = checkShape(where, wanted)
    if (size !== elements.data.length) {
      throw shapeError(
        where,
        `${size} elements for shape ${shapeText(wanted)}`,
        `${elements.data.length} of shape ${shapeText(elements.shape)}`,
      )
    }
    dimensions = wanted
  }
  const requiresGrad = given.requiresGrad ?? false
  if (requiresGrad) checkFloatDType(where, elements.dtype)
  const made = result(dimensions, elements.dtype, given.device ?? 'cpu')
  native().upload(made._handle(where), elements.data)
  made._setLeaf(requiresGrad)
  return made
}

/**
 * A tensor of zeros; float32 by default.
 *
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_TYPE or ERR_BPTT_DTYPE
 */
export function zeros<D extends DType = 'float32'>(
  shape: readonly number[],
  options: TensorOptions<D> = {},
): Tensor<D> {
  return filled('zeros', shape, 0, options)
}

/** A tensor of ones; float32 by default. Throws as {@link zeros}. */
export function ones<D extends DType = 'float32'>(
  shape: readonly number[],
  options: TensorOptions<D> = {},
): Tensor<D> {
  return filled('ones', shape, 1, options)
}

/**
 * A tensor with every element `value`; float32 by default.
 *
 * @throws RangeError ERR_BPTT_VALUE if the dtype is int32 or bool and the value does not fit
 */
export function full<D extends DType = 'float32'>(
  shape: readonly number[],
  value: number,
  options: TensorOptions<D> = {},
): Tensor<D> {
  if (typeof value !== 'number') throw argumentError('full', 'value to be a number', value)
  return filled('full', shape, value, options)
}

/**
 * The numbers start, start + step, start + 2 * step, .. before `end`; float32 by default. The start is 0 and the step 1
 * where they are left out; a step is not 0.
 *
 * @throws RangeError ERR_BPTT_VALUE if `end` lies on the other side of `start`, or the dtype is int32 and a number does
 * not fit
 *
 * @example
 * arange(4)                          // [0, 1, 2, 3]
 * arange(8, 2, -2)                   // [8, 6, 4]
 * arange(0, 10, { dtype: 'int32' })
 */
export function arange<D extends DType = 'float32'>(end: number, options?: TensorOptions<D>): Tensor<D>
export function arange<D extends DType = 'float32'>(
  start: number,
  end: number,
  options?: TensorOptions<D>,
): Tensor<D>
export function arange<D extends DType = 'float32'>(
  start: number,
  end: number,
  step: number,
  options?: TensorOptions<D>,
): Tensor<D>
export function arange<D extends DType>(...given: (number | TensorOptions<D> | undefined)[]): Tensor<D> {
  const where = 'arange'
  const first = given.slice(1).findIndex((value) => typeof value !== 'number') + 1
  const count = Math.min(first === 0 ? given.length : first, 3)
  const numbers = given.slice(0, count).map((value) => checkNumber(where, 'start, end and step', value))
  const rest = given.slice(count).filter((value) => value !== undefined)
  if (rest.length > 1) throw argumentError(where, 'options as the last argument', rest[0])
  const [start, end, step] = numbers.length === 1 ? [0, numbers[0], 1] : [...numbers, 1]
  const values = [start, end, step] as [number, number, number]
  return ranged(where, ...values, (rest[0] ?? {}) as TensorOptions<D>)
}

function ranged<D extends DType>(
  where: string,
  start: number,
  end: number,
  step: number,
  options: TensorOptions<D>,
): Tensor<D> {
  if (step === 0) throw valueError(where, 'a step other than 0', step)
  const length = Math.ceil((end - start) / step)
  if (length < 0) {
    throw valueError(where, `an end ${step > 0 ? 'not below' : 'not above'} ${start} for step ${step}`, end)
  }
  return listed(where, length, (i) => start + i * step, options)
}

/**
 * `steps` numbers at equal distances, from `start` to `end`, both included; float32 by default.
 *
 * @param steps at least 0; 1 gives `start` alone
 * @throws RangeError ERR_BPTT_SHAPE if steps is no integer of at least 0, TypeError ERR_BPTT_DTYPE
 */
export function linspace<D extends FloatDType = 'float32'>(
  start: number,
  end: number,
  steps: number,
  options: TensorOptions<D> = {},
): Tensor<D> {
  const where = 'linspace'
  checkNumber(where, 'start', start)
  checkNumber(where, 'end', end)
  const step = (end - start) / (steps - 1)
  // From the nearer end, so that both are exact.
  const at = (i: number): number => (i < steps / 2 ? start + i * step : end - (steps - 1 - i) * step)
  const made = listed(where, steps, steps === 1 ? () => start : at, options)
  checkFloatDType(where, made.dtype)
  return made
}

/**
 * The matrix [n,m] with ones where row and column are the same, else zeros; float32 by default. m is n
 * where it is left out.
 *
 * @throws RangeError ERR_BPTT_SHAPE if a size is no integer of at least 0
 */
export function eye<D extends DType = 'float32'>(n: number, options?: TensorOptions<D>): Tensor<D>
export function eye<D extends DType = 'float32'>(n: number, m: number, options?: TensorOptions<D>): Tensor<D>
export function eye<D extends DType>(
  n: number,
  m: number | TensorOptions<D> = n,
  options?: TensorOptions<D>,
): Tensor<D> {
  const where = 'eye'
  const square = typeof m === 'object'
  if (square && options !== undefined) throw argumentError(where, 'm to be an integer', m)
  const columns = square ? n : m
  const made = filled(where, [n, columns], 0, (square ? m : options) ?? {})
  const length = Math.min(n, columns)
  if (length === 0) return made
  const one = result([], made.dtype, made.device)
  fill(one, 1, where)
  const layout = layoutOf(1, [0, 0], [length], [0], [columns + 1])
  native().copy(dtypeNumber(made.dtype), layout, one._handle(where), made._handle(where))
  one.dispose()
  return made
}

/** Uniform random numbers from [0, 1), by the generator of {@link manualSeed}; float32 by default. */
export function rand<D extends FloatDType = 'float32'>(
  shape: readonly number[],
  options: TensorOptions<D> = {},
): Tensor<D> {
  const made = empty('rand', shape, options)
  uniform(made, 0, 1)
  return made
}

/** Normal random numbers of mean 0 and variance 1, by the generator of {@link manualSeed}; float32 by default. */
export function randn<D extends FloatDType = 'float32'>(
  shape: readonly number[],
  options: TensorOptions<D> = {},
): Tensor<D> {
  const made = empty('randn', shape, options)
  normal(made, 0, 1)
  return made
}

/** Overwrites a tensor with uniform random numbers from [low, high). */
export function uniform(x: Tensor, low: number, high: number): void {
  const { seed, offset } = draw(x.size)
  native().uniform(dtypeNumber(x.dtype), x.size, low, high, seed, offset, x._handle('uniform'))
  x._live('uniform').touch()
}

/** Overwrites a tensor with normal random numbers. */
export function normal(x: Tensor, mean: number, std: number): void {
  const { seed, offset } = draw(x.size)
  native().normal(dtypeNumber(x.dtype), x.size, mean, std, seed, offset, x._handle('normal'))
  x._live('normal').touch()
}

function filled<D extends DType>(
  where: string,
  shape: readonly number[],
  value: number,
  options: TensorOptions<D>,
): Tensor<D> {
  const made = blank(where, shape, options)
  if (made.dtype === 'int32' && !isInt32(value)) {
    throw valueError(where, 'an integer from -2147483648 to 2147483647 for int32', value)
  }
  if (made.dtype === 'bool' && value !== 0 && value !== 1) throw valueError(where, '0 or 1 for bool', value)
  fill(made, value, where)
  return made
}

/** A vector of numbers by their index. */
function listed<D extends DType>(
  where: string,
  length: number,
  at: (i: number) => number,
  options: TensorOptions<D>,
): Tensor<D> {
  const made = blank(where, [length], options)
  const values = newArray(where, Float64Array, length)
  for (let i = 0; i < length; i++) values[i] = at(i)
  native().upload(made._handle(where), elementsOf(where, values, made.dtype).data)
  return made
}

/** A float tensor that is yet to be filled. */
function empty<D extends FloatDType>(
  where: string,
  shape: readonly number[],
  options: TensorOptions<D>,
): Tensor<D> {
  const made = blank(where, shape, options)
  checkFloatDType(where, made.dtype)
  return made
}

/** A tensor that is yet to be filled; checks shape and options. */
function blank<D extends DType>(
  where: string,
  shape: readonly number[],
  options: TensorOptions<D>,
): Tensor<D> {
  const dimensions = copyShape(where, shape)
  checkShape(where, dimensions)
  const { device, dtype, requiresGrad } = checkCommon(where, options)
  const kind = checkDType(where, (dtype ?? 'float32') as D)
  if (requiresGrad === true) checkFloatDType(where, kind)
  const made = result(dimensions, kind, device ?? 'cpu')
  made._setLeaf(requiresGrad ?? false)
  return made
}

function checkCommon<D extends DType>(where: string, options: TensorOptions<D>): TensorOptions<D> {
  const given = checkOptions(where, options, ['dtype', 'device', 'requiresGrad'])
  if (given.requiresGrad !== undefined) checkBoolean(where, 'requiresGrad', given.requiresGrad)
  if (given.device !== undefined) given.device = checkDevice(where, given.device)
  return given
}
