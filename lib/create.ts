/** Functions that make tensors from nothing or from JavaScript data. */
import { native } from './binding.ts'
import {
  checkBoolean,
  checkDevice,
  checkDType,
  checkFloatDType,
  checkOptions,
  checkShape,
  copyShape,
} from './check.ts'
import { type Device, type DType, dtypeNumber, type FloatDType } from './dtype.ts'
import {
  elementsOf,
  type IntegerArray,
  type NestedArray,
  type NestedBooleans,
  type NumberArray,
} from './elements.ts'
import { argumentError, shapeError, shapeText, valueError } from './messages.ts'
import { draw } from './random.ts'
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
  const bare = shape !== null && typeof shape === 'object' && !Array.isArray(shape)
  if (bare && options !== undefined) throw argumentError(where, 'shape to be an array', shape)
  const given = checkCommon(where, bare ? (shape as TensorOptions) : options === undefined ? {} : options)
  const wanted = bare || shape === null || shape === undefined ? null : copyShape(where, shape)
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

/** A tensor of zeros; float32 by default. */
export function zeros<D extends DType = 'float32'>(
  shape: readonly number[],
  options: TensorOptions<D> = {},
): Tensor<D> {
  return filled('zeros', shape, 0, options)
}

/** A tensor of ones; float32 by default. */
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

/** Uniform random numbers from [0, 1); float32 by default. */
export function rand<D extends FloatDType = 'float32'>(
  shape: readonly number[],
  options: TensorOptions<D> = {},
): Tensor<D> {
  const made = empty('rand', shape, options)
  uniform(made, 0, 1)
  return made
}

/** Normal random numbers of mean 0 and variance 1; float32 by default. */
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
  if (made.dtype === 'int32' && (value | 0) !== value) {
    throw valueError(where, 'an integer from -2147483648 to 2147483647 for int32', value)
  }
  if (made.dtype === 'bool' && value !== 0 && value !== 1) throw valueError(where, '0 or 1 for bool', value)
  native().fill(dtypeNumber(made.dtype), made.size, value, made._handle(where))
  return made
}

function empty<D extends FloatDType>(
  where: string,
  shape: readonly number[],
  options: TensorOptions<D>,
): Tensor<D> {
  const made = blank(where, shape, options)
  checkFloatDType(where, made.dtype)
  return made
}

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
