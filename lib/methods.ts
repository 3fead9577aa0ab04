/** The methods of tensors that compute: declared, and attached to the class, here alone. */
import { type BackwardOptions, runBackward } from './backward.ts'
import type { DType } from './dtype.ts'
import { compare, logical, logicalNot, maskedFill, to } from './ops/compare.ts'
import { add, div, extreme, mul, neg, sub } from './ops/elementwise.ts'
import { argExtreme, extremes } from './ops/extreme.ts'
import { logSumExp, type MomentOptions, norm, prod, std, variance } from './ops/fold.ts'
import { gather, indexSelect, scatterAdd, takeAlongAxis } from './ops/gather.ts'
import { chunk, type PadOptions, pad, slice, split } from './ops/join.ts'
import type { ReduceOptions, ValuesAndIndices } from './ops/lines.ts'
import { tril, triu } from './ops/masks.ts'
import { matmul } from './ops/matmul.ts'
import { mean, sum } from './ops/reduce.ts'
import { cumsum } from './ops/scan.ts'
import {
  clone,
  expand,
  flatten,
  flip,
  permute,
  repeat,
  reshape,
  squeeze,
  transpose,
  unsqueeze,
} from './ops/shape.ts'
import { logSoftmax, softmax } from './ops/softmax.ts'
import { sort, type TopkOptions, topk } from './ops/sort.ts'
import {
  type ClampOptions,
  clamp,
  elu,
  type GeluOptions,
  gelu,
  leakyRelu,
  pow,
  type SoftplusOptions,
  softplus,
  unary,
} from './ops/unary.ts'
import { Tensor } from './tensor.ts'

/** What every tensor can do besides holding data. */
export interface TensorMethods<D extends DType> {
  // -- gradients -----------------------------------------------------------------

  /**
   * Computes the gradient of this tensor with respect to every leaf it was computed
   * from, and adds it to their {@link Tensor.grad}. Frees the graph unless `retainGraph`, which `createGraph`
   * implies. With `createGraph` the gradients are results of ops and can be differentiated in turn.
   *
   * @param gradient of the shape of this tensor; 1 where omitted, for tensors of one element
   * @throws BpttError ERR_BPTT_GRAPH if it does not require grad, or the graph was already used
   * @throws BpttError ERR_BPTT_MODIFIED if a tensor saved for backward was changed in place
   * @throws RangeError ERR_BPTT_SHAPE if the gradient does not fit
   */
  backward(gradient?: Tensor<D> | null, options?: BackwardOptions): void

  // -- elementwise: float32 and float64; shapes broadcast as in NumPy --------------------
  // Those that say int32 take it too, and their results wrap; a number beside it must be an int32.

  /** this + other; also int32. */
  add(other: Tensor<D> | number): Tensor<D>

  /** this - other; also int32. */
  sub(other: Tensor<D> | number): Tensor<D>

  /** this * other, element by element; also int32. */
  mul(other: Tensor<D> | number): Tensor<D>

  /** this / other. Of int32, convert first: `x.to('float32').div(2)`. */
  div(other: Tensor<D> | number): Tensor<D>

  /** -this; also int32. */
  neg(): Tensor<D>

  /** Hyperbolic tangent. */
  tanh(): Tensor<D>

  /** 1 / (1 + exp(-this)) */
  sigmoid(): Tensor<D>

  /** max(this, 0) */
  relu(): Tensor<D>

  /** e to the power of this. */
  exp(): Tensor<D>

  /** Natural logarithm. */
  log(): Tensor<D>

  /** Square root; NaN below 0. */
  sqrt(): Tensor<D>

  /** Absolute value; also int32. Its derivative at 0 is 0. */
  abs(): Tensor<D>

  /** -1, 0 or 1; also int32. 0 for NaN. Its gradient is 0. */
  sign(): Tensor<D>

  /** The larger of each two, NaN where either is; also int32. Where they are equal, each gets half the gradient. */
  maximum(other: Tensor<D> | number): Tensor<D>

  /** The smaller of each two, NaN where either is; also int32. Where they are equal, each gets half the gradient. */
  minimum(other: Tensor<D> | number): Tensor<D>

  /** this to the power of the exponent; NaN where a negative number has an exponent that is no integer. */
  pow(exponent: Tensor<D> | number): Tensor<D>

  /** this * this */
  square(): Tensor<D>

  /** The largest integer that is not larger. Its gradient is 0, as of round() and ceil(). */
  floor(): Tensor<D>

  /** The nearest integer; of a half the even one. */
  round(): Tensor<D>

  /** The smallest integer that is not smaller. */
  ceil(): Tensor<D>

  /** Sine, of radians. */
  sin(): Tensor<D>

  /** Cosine, of radians. */
  cos(): Tensor<D>

  /** The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to this. */
  erf(): Tensor<D>

  /** this * P(Z < this), Z of the standard normal distribution. */
  gelu(options?: GeluOptions): Tensor<D>

  /** this * sigmoid(this) */
  silu(): Tensor<D>

  /** log(1 + exp(beta * this)) / beta */
  softplus(options?: SoftplusOptions): Tensor<D>

  /**
   * this above 0, else slope * this
   *
   * @param slope default 0.01
   */
  leakyRelu(slope?: number): Tensor<D>

  /**
   * this above 0, else alpha * (exp(this) - 1)
   *
   * @param alpha default 1
   */
  elu(alpha?: number): Tensor<D>

  /**
   * min(max(this, min), max); `max` where min is larger. Gradients flow from min to max, both included; NaN stays,
   * and has none.
   *
   * @param min a number, or null for none; or both bounds as `{ min, max }`
   * @param max a number, or null for none
   *
   * @example
   * x.clamp(0, 1)
   * x.clamp({ min: 1e-6 })
   */
  clamp(min?: number | null | ClampOptions, max?: number | null): Tensor<D>

  // -- masks: any dtype; shapes broadcast as in NumPy -------------------------------------

  /** this == other; false with NaN. */
  eq(other: Tensor<D> | number): Tensor<'bool'>

  /** this != other; true with NaN. */
  ne(other: Tensor<D> | number): Tensor<'bool'>

  /** this < other; false with NaN. */
  lt(other: Tensor<D> | number): Tensor<'bool'>

  /** this <= other; false with NaN. */
  le(other: Tensor<D> | number): Tensor<'bool'>

  /** this > other; false with NaN. */
  gt(other: Tensor<D> | number): Tensor<'bool'>

  /** this >= other; false with NaN. */
  ge(other: Tensor<D> | number): Tensor<'bool'>

  /** Whether both are not 0. The dtypes may differ. */
  logicalAnd(other: Tensor): Tensor<'bool'>

  /** Whether at least one is not 0. The dtypes may differ. */
  logicalOr(other: Tensor): Tensor<'bool'>

  /** Whether this is 0. */
  logicalNot(): Tensor<'bool'>

  /**
   * This, with `value` where the mask, which broadcasts to this shape, is true. No gradient flows there.
   *
   * @example
   * scores.maskedFill(padding, -Infinity).softmax()
   */
  maskedFill(mask: Tensor<'bool'>, value: number): Tensor<D>

  /**
   * The elements as another dtype; the same, shared, where it is this one. Gradients flow between float32 and
   * float64. To int32 goes toward zero, what is too large becomes the largest int32 there is and NaN 0; to bool is
   * whether it is not 0.
   */
  to<E extends DType>(dtype: E): Tensor<E>

  // -- reductions and products -------------------------------------------------------------

  /**
   * The sum over one axis, several, or (by default) all. Axes may be negative. Of int32 it is int32, and wraps.
   *
   * @param options keepDims: keep the summed axes with length 1 (default false)
   */
  sum(axes?: number | readonly number[] | null, options?: ReduceOptions): Tensor<D>

  /** The mean over one axis, several, or (by default) all; NaN over no elements. */
  mean(axes?: number | readonly number[] | null, options?: ReduceOptions): Tensor<D>

  /**
   * The largest element of all; NaN where there is one. Those that are equal share the gradient.
   *
   * @throws RangeError ERR_BPTT_SHAPE if there is none
   */
  max(axis?: null, options?: ReduceOptions): Tensor<D>

  /**
   * The largest elements along an axis, and where each is first. NaN is larger than any number. The gradient goes
   * to the places in `indices`.
   *
   * @returns values and int32 indices, without the axis, or with keepDims: true with length 1
   * @throws RangeError ERR_BPTT_SHAPE if the axis has no elements
   *
   * @example
   * const { values, indices } = tensor([[1, 3], [4, 2]]).max(1) // [3, 4], [1, 0]
   */
  max(axis: number, options?: ReduceOptions): ValuesAndIndices<D>

  /** The smallest element of all, as max(). NaN where there is one. */
  min(axis?: null, options?: ReduceOptions): Tensor<D>

  /** The smallest elements along an axis, as max(axis). NaN is smaller than any number. */
  min(axis: number, options?: ReduceOptions): ValuesAndIndices<D>

  /**
   * Where the largest element is first: its index along an axis, or (by default) in the flattened tensor. int32; a
   * NaN counts as the largest.
   *
   * @throws RangeError ERR_BPTT_SHAPE if there is none
   */
  argmax(axis?: number | null, options?: ReduceOptions): Tensor<'int32'>

  /** Where the smallest element is first, as argmax(). A NaN counts as the smallest. */
  argmin(axis?: number | null, options?: ReduceOptions): Tensor<'int32'>

  /**
   * The elements in ascending order along an axis, the last by default, and where they came from. Stable; NaN is
   * larger than any number.
   *
   * @param options descending: the largest first (default false)
   */
  sort(axis?: number, options?: { descending?: boolean | undefined }): ValuesAndIndices<D>

  /**
   * The k largest elements along an axis, in order, and where they are. Of equal ones the first come first; NaN is
   * larger than any number.
   *
   * @param k 0 to the length of the axis
   */
  topk(k: number, options?: TopkOptions): ValuesAndIndices<D>

  /** Sums of all elements up to each along an axis; of int32 modulo 2^32. */
  cumsum(axis: number): Tensor<D>

  /** The product over one axis, or (by default) all. */
  prod(axis?: number | null, options?: ReduceOptions): Tensor<D>

  /**
   * The variance over one axis, several, or (by default) all: squares of the differences from the mean, summed and
   * divided by the number of elements less `correction`.
   *
   * @param options correction (default 1), keepDims (default false)
   */
  variance(axes?: number | readonly number[] | null, options?: MomentOptions): Tensor<D>

  /** The standard deviation: the root of the variance, also where that leaves the range of the type. */
  std(axes?: number | readonly number[] | null, options?: MomentOptions): Tensor<D>

  /**
   * The norm over one axis, several, or (by default) all.
   *
   * @param p 2 (default): root of the sum of squares; 1: sum of magnitudes; Infinity: the largest magnitude
   * @throws RangeError ERR_BPTT_VALUE for any other p
   */
  norm(p?: number, axes?: number | readonly number[] | null, options?: ReduceOptions): Tensor<D>

  /** log(sum(exp(this))) over one axis, several, or (by default) all, whatever the magnitudes. */
  logSumExp(axes?: number | readonly number[] | null, options?: ReduceOptions): Tensor<D>

  // -- by index: any dtype ---------------------------------------------------------------------

  /**
   * Elements by their place along an axis: out[i][j] = this[index[i][j]][j] for axis 0, and so on.
   *
   * @param index int32, of as many dimensions, and no longer along the other axes
   * @returns of the shape of index
   * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE. An index out of range: reading the result rejects
   * with ERR_BPTT_INDEX.
   */
  gather(axis: number, index: Tensor): Tensor<D>

  /**
   * As gather(), but index and this broadcast along the other axes, so that it takes what argmax() with keepDims and
   * sort() give.
   */
  takeAlongAxis(axis: number, index: Tensor): Tensor<D>

  /**
   * Slices along an axis, in the order of the index.
   *
   * @param index int32 [N]
   * @throws as gather()
   */
  indexSelect(axis: number, index: Tensor): Tensor<D>

  /**
   * This, plus the elements of source in the places along an axis that index names: out[index[i][j]][j] +=
   * source[i][j] for axis 0. Sums are made in the order of i, the same at every run.
   *
   * @param index int32, no longer than source, nor than this along the other axes
   * @throws as gather()
   */
  scatterAdd(axis: number, index: Tensor, source: Tensor<D>): Tensor<D>

  /** exp(this) / sum(exp(this)) along an axis, the last by default. */
  softmax(axis?: number): Tensor<D>

  /** log(softmax(this)) along an axis, the last by default. */
  logSoftmax(axis?: number): Tensor<D>

  /**
   * Matrix product [..,m,k] x [..,k,n] -> [..,m,n]; leading dimensions broadcast. A 1-D
   * operand is a row on the left, a column on the right, and its dimension is dropped.
   */
  matmul(other: Tensor<D>): Tensor<D>

  // -- shape: any dtype. An axis that may be omitted comes last, every other first ---------------

  /** The same elements in another shape (shared, not copied). One dimension may be -1. */
  reshape(shape: readonly number[]): Tensor<D>

  /** Without axes of length 1: without one of them, several, or (by default) all. Others stay. Shares the elements. */
  squeeze(axes?: number | readonly number[] | null): Tensor<D>

  /** With a new axis of length 1, in that place of the result; negative ones count from its end. Shares the elements. */
  unsqueeze(axis: number): Tensor<D>

  /**
   * With the axes start..end, both included, as one: by default all. A scalar becomes a vector of one element. Shares
   * the elements.
   */
  flatten(start?: number, end?: number): Tensor<D>

  /** Swaps two axes, by default the last two. Copies. */
  transpose(a?: number, b?: number): Tensor<D>

  /**
   * The axes in another order. Copies.
   *
   * @param axes each axis once: axis i of the result is axes[i] of this
   *
   * @example
   * x.permute([1, 0, 2]) // [B,T,H] from [T,B,H]
   */
  permute(axes: readonly number[]): Tensor<D>

  /** In reverse order along one axis or several. Copies. */
  flip(axes: number | readonly number[]): Tensor<D>

  /**
   * The lower triangle of each matrix [..,n,m], zeros above the diagonal.
   *
   * @param diagonal the last that is kept: 0 the main one, which is the default; above it 1, 2, ..; below it -1, -2, ..
   * @throws RangeError ERR_BPTT_SHAPE, ERR_BPTT_VALUE
   */
  tril(diagonal?: number): Tensor<D>

  /** The upper triangle of each matrix [..,n,m], zeros below the diagonal; `diagonal` as of tril(), the first kept. */
  triu(diagonal?: number): Tensor<D>

  /**
   * Elements start..end-1 along one axis, as Array.slice: negative indices count from the
   * end, both are clamped to the length, and end is the length where omitted. The axis
   * stays. Copies.
   *
   * @param axis default 0; may be negative
   *
   * @example
   * x.slice(0, 2)     // the first two rows
   * x.slice(-1)       // the last row
   * x.slice(1, 3, -1) // elements 1 and 2 along the last axis
   */
  slice(start?: number, end?: number, axis?: number): Tensor<D>

  /**
   * Parts along an axis, in order. Copies.
   *
   * @param sizes the length of each part (the last may be shorter), or the lengths of all, which add up to the axis
   * @param axis default 0; may be negative
   * @throws RangeError ERR_BPTT_SHAPE if the lengths do not add up, or for a scalar
   */
  split(sizes: number | readonly number[], axis?: number): Tensor<D>[]

  /**
   * At most `count` parts of equal length along an axis, but for the last, which may be shorter. Copies.
   *
   * @param axis default 0; may be negative
   *
   * @example
   * const [i, f, g, o] = gates.chunk(4, -1)
   */
  chunk(count: number, axis?: number): Tensor<D>[]

  /**
   * With new elements around it. Copies.
   *
   * @param pairs how many before and after, a pair for each axis in order (PyTorch: a flat list from the last axis on)
   * @param options value: of the new elements (default 0)
   *
   * @example
   * x.pad([[0, 0], [2, 1]]) // two columns of zeros before, one after
   */
  pad(pairs: readonly (readonly [before: number, after: number])[], options?: PadOptions): Tensor<D>

  /** Repeats dimensions of length 1 up to `shape`, and adds leading ones. Copies. */
  expand(shape: readonly number[]): Tensor<D>

  /**
   * The whole, several times in a row along each axis (NumPy's tile). Copies.
   *
   * @param counts how many along each axis; more counts than axes add leading ones
   *
   * @example
   * tensor([1, 2]).repeat([2, 3]) // [[1, 2, 1, 2, 1, 2], [1, 2, 1, 2, 1, 2]]
   */
  repeat(counts: readonly number[]): Tensor<D>

  /** A copy with memory of its own, through which gradients pass. */
  clone(): Tensor<D>
}

declare module './tensor.ts' {
  interface Tensor<D extends DType> extends TensorMethods<D> {}
}

const methods: TensorMethods<DType> & ThisType<Tensor> = {
  backward(gradient, options) {
    runBackward(this, gradient, options)
  },
  add(other) {
    return add(this, other)
  },
  sub(other) {
    return sub(this, other)
  },
  mul(other) {
    return mul(this, other)
  },
  div(other) {
    return div(this, other)
  },
  neg() {
    return neg(this)
  },
  tanh() {
    return unary('tanh', this)
  },
  sigmoid() {
    return unary('sigmoid', this)
  },
  relu() {
    return unary('relu', this)
  },
  exp() {
    return unary('exp', this)
  },
  log() {
    return unary('log', this)
  },
  sqrt() {
    return unary('sqrt', this)
  },
  abs() {
    return unary('abs', this)
  },
  sign() {
    return unary('sign', this)
  },
  pow(exponent) {
    return pow(this, exponent)
  },
  square() {
    return unary('square', this)
  },
  floor() {
    return unary('floor', this)
  },
  round() {
    return unary('round', this)
  },
  ceil() {
    return unary('ceil', this)
  },
  sin() {
    return unary('sin', this)
  },
  cos() {
    return unary('cos', this)
  },
  erf() {
    return unary('erf', this)
  },
  silu() {
    return unary('silu', this)
  },
  gelu(options) {
    return gelu(this, options)
  },
  softplus(options) {
    return softplus(this, options)
  },
  leakyRelu(slope) {
    return leakyRelu(this, slope)
  },
  elu(alpha) {
    return elu(this, alpha)
  },
  clamp(min, max) {
    return clamp(this, min, max)
  },
  maximum(other) {
    return extreme('maximum', this, other)
  },
  minimum(other) {
    return extreme('minimum', this, other)
  },
  eq(other) {
    return compare('eq', this, other)
  },
  ne(other) {
    return compare('ne', this, other)
  },
  lt(other) {
    return compare('lt', this, other)
  },
  le(other) {
    return compare('le', this, other)
  },
  gt(other) {
    return compare('gt', this, other)
  },
  ge(other) {
    return compare('ge', this, other)
  },
  logicalAnd(other) {
    return logical('logicalAnd', this, other)
  },
  logicalOr(other) {
    return logical('logicalOr', this, other)
  },
  logicalNot() {
    return logicalNot(this)
  },
  maskedFill(mask, value) {
    return maskedFill(this, mask, value)
  },
  to(dtype) {
    return to(this, dtype)
  },
  sum(axes, options) {
    return sum(this, axes, options)
  },
  mean(axes, options) {
    return mean(this, axes, options)
  },
  max: function (this: Tensor, axis?: number | null, options?: ReduceOptions) {
    return extremes('max', this, axis, options)
  } as TensorMethods<DType>['max'],
  min: function (this: Tensor, axis?: number | null, options?: ReduceOptions) {
    return extremes('min', this, axis, options)
  } as TensorMethods<DType>['min'],
  argmax(axis, options) {
    return argExtreme('max', this, axis, options)
  },
  argmin(axis, options) {
    return argExtreme('min', this, axis, options)
  },
  sort(axis, options) {
    return sort(this, axis, options)
  },
  topk(k, options) {
    return topk(this, k, options)
  },
  cumsum(axis) {
    return cumsum(this, axis)
  },
  prod(axis, options) {
    return prod(this, axis, options)
  },
  variance(axes, options) {
    return variance(this, axes, options)
  },
  std(axes, options) {
    return std(this, axes, options)
  },
  norm(p, axes, options) {
    return norm(this, p, axes, options)
  },
  logSumExp(axes, options) {
    return logSumExp(this, axes, options)
  },
  gather(axis, index) {
    return gather(this, axis, index)
  },
  takeAlongAxis(axis, index) {
    return takeAlongAxis(this, axis, index)
  },
  indexSelect(axis, index) {
    return indexSelect(this, axis, index)
  },
  scatterAdd(axis, index, source) {
    return scatterAdd(this, axis, index, source)
  },
  softmax(axis) {
    return softmax(this, axis)
  },
  logSoftmax(axis) {
    return logSoftmax(this, axis)
  },
  matmul(other) {
    return matmul(this, other)
  },
  reshape(shape) {
    return reshape(this, shape)
  },
  squeeze(axes = null) {
    return squeeze(this, axes)
  },
  unsqueeze(axis) {
    return unsqueeze(this, axis)
  },
  flatten(start = 0, end = -1) {
    return flatten(this, start, end)
  },
  transpose(a = -2, b = -1) {
    return transpose(this, a, b)
  },
  permute(axes) {
    return permute(this, axes)
  },
  flip(axes) {
    return flip(this, axes)
  },
  tril(diagonal) {
    return tril(this, diagonal)
  },
  triu(diagonal) {
    return triu(this, diagonal)
  },
  slice(start = 0, end, axis = 0) {
    return slice(this, start, end, axis)
  },
  split(sizes, axis = 0) {
    return split(this, sizes, axis)
  },
  chunk(count, axis = 0) {
    return chunk(this, count, axis)
  },
  pad(pairs, options) {
    return pad(this, pairs, options)
  },
  expand(shape) {
    return expand(this, shape)
  },
  repeat(counts) {
    return repeat(this, counts)
  },
  clone() {
    return clone(this)
  },
}

// As of a class: writable and configurable, not enumerable.
for (const [name, value] of Object.entries(methods)) {
  Object.defineProperty(Tensor.prototype, name, { value, writable: true, configurable: true })
}
