/**
 * Convolution along time, by the packed matrix product. The input is copied once, time before channels and with
 * its padding; the windows of the kernel are then rows that overlap in that copy, so that nothing is unrolled.
 *
 * The op is one sum over input, weight and output, linear in each,
 *
 *   sum  output[b,o,t] * weight[o,c,k] * input[b,c,t * stride + k * dilation - left]
 *
 * and its three derivatives are each other's gradients, to any order.
 */
import { needsGrad, record, view } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkFloat, checkInteger, checkLike, checkOptions, checkShape, checkShapeIs } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { denseStrides } from '../layout.ts'
import { MAX_INT32 } from '../limits.ts'
import { argumentError, refusal, shapeError, shapeText, valueError } from '../messages.ts'
import { tidy } from '../scope.ts'
import { fill } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'
import { copyStrided, summed } from './broadcast.ts'
import { scalarLike } from './compare.ts'

/** Options of {@link conv1d}. */
export interface Conv1dOptions {
  /** Steps from one window to the next, at least 1. Default 1. */
  stride?: number | undefined
  /** Zeros before and behind the input; 'valid': none; 'same': as many as keep T, for a stride of 1. Default 0. */
  padding?: number | 'same' | 'valid' | undefined
  /** Steps between the elements of a window, at least 1. Default 1. */
  dilation?: number | undefined
  /** How many parts the channels are divided into, each with weights of its own. Default 1. */
  groups?: number | undefined
}

export const CONV1D_OPTIONS = ['stride', 'padding', 'dilation', 'groups'] as const

/** @inline */
type Sizes = { [K in keyof Conv1dOptions]-?: NonNullable<Conv1dOptions[K]> }

/** The options, checked, and with their defaults. */
export function convolution(where: string, options: Conv1dOptions): Sizes {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options
  checkInteger(where, 'stride', stride, 1, MAX_INT32)
  checkInteger(where, 'dilation', dilation, 1, MAX_INT32)
  checkInteger(where, 'groups', groups, 1, MAX_INT32)
  if (typeof padding === 'number') checkInteger(where, 'padding', padding, 0, MAX_INT32)
  else if (padding !== 'same' && padding !== 'valid') {
    const expected = "padding to be an integer, 'same' or 'valid'"
    throw typeof padding === 'string'
      ? valueError(where, expected, padding)
      : argumentError(where, expected, padding)
  }
  if (padding === 'same' && stride !== 1) throw refusal(where, "padding 'same' is for a stride of 1 alone")
  return { stride, padding, dilation, groups }
}

/** Sizes of a convolution; ins and outs are the channels of one group. */
interface Convolution {
  batch: number
  groups: number
  ins: number
  outs: number
  kernel: number
  stride: number
  dilation: number
  /** Zeros before the input; where negative, steps of it that are left out. */
  left: number
  /** Steps of the input. */
  steps: number
  /** Steps of the output. */
  windows: number
}

/**
 * Cross-correlation along time:
 * y[b,o,t] = bias[o] + sum over c, k of weight[o,c,k] * x[b, c, t * stride + k * dilation - padding].
 *
 * @param input [B,C,T] or [C,T]
 * @param weight [O, C / groups, K]
 * @param bias [O], optional
 * @returns [B,O,T'] or [O,T'], with T' = floor((T + padding before and behind - dilation * (K - 1) - 1) / stride) + 1
 * @throws RangeError ERR_BPTT_SHAPE, also where the window is longer than the padded input; ERR_BPTT_VALUE
 * @throws TypeError ERR_BPTT_DTYPE, ERR_BPTT_TYPE
 */
export function conv1d<D extends DType>(
  input: Tensor<D>,
  weight: Tensor<D>,
  bias: Tensor<D> | null = null,
  options: Conv1dOptions = {},
): Tensor<D> {
  const where = 'conv1d'
  checkFloat(where, 'input', input)
  checkLike(where, 'weight', input, weight)
  const { stride, padding, dilation, groups } = convolution(
    where,
    checkOptions(where, options, CONV1D_OPTIONS),
  )
  if (weight._shape.length !== 3) {
    throw shapeError(where, 'weight of shape [O,C / groups,K]', shapeText(weight._shape))
  }
  const [all, ins, kernel] = weight._shape as [number, number, number]
  if (kernel === 0)
    throw shapeError(where, 'a weight [O,C / groups,K] with K of at least 1', shapeText(weight._shape))
  if (all % groups !== 0) {
    throw shapeError(
      where,
      `weight [O,C / groups,K] with O divisible by ${groups} groups`,
      shapeText(weight._shape),
    )
  }
  const rank = input._shape.length
  const channels = ins * groups
  if ((rank !== 2 && rank !== 3) || input._shape[rank - 2] !== channels) {
    throw shapeError(where, `input of shape [B,C,T] or [C,T] with C = ${channels}`, shapeText(input._shape))
  }
  if (bias !== null) {
    checkLike(where, 'bias', input, bias)
    checkShapeIs(where, 'bias', bias, [all], 'O')
  }
  const [batch, , steps] = (rank === 3 ? input._shape : [1, ...input._shape]) as [number, number, number]
  const reach = dilation * (kernel - 1)
  const around = padding === 'same' ? reach : padding === 'valid' ? 0 : 2 * padding
  if (steps + around <= reach) {
    throw shapeError(
      where,
      `input of at least ${Math.max(reach + 1 - around, 0)} steps for a window of ${reach + 1} and ${around} of padding`,
      `${steps}`,
    )
  }
  const windows = Math.floor((steps + around - reach - 1) / stride) + 1
  const shape = [batch, all, windows]
  checkShape(where, shape)
  checkShape(where, [batch, channels, steps + around])
  const p: Convolution = {
    batch,
    groups,
    ins,
    outs: all / groups,
    kernel,
    stride,
    dilation,
    left: Math.floor(around / 2),
    steps,
    windows,
  }
  const y = correlated(rank === 3 ? input : view(input, [1, ...input._shape]), weight, bias, p)
  return rank === 3 ? y : view(y, [all, windows])
}

// -- the three derivatives, on the tape -------------------------------------------------

/** The output. */
function correlated<D extends DType>(
  x: Tensor<D>,
  w: Tensor<D>,
  bias: Tensor<D> | null,
  p: Convolution,
): Tensor<D> {
  const y = tidy(() => slide(x, kernelRows(w, p), p.outs, bias, p))
  if (needsGrad(x) || needsGrad(w) || needsGrad(bias)) {
    const saved = [needsGrad(w) ? x : null, needsGrad(x) ? w : null]
    record('conv1d', [x, w, bias], [y], saved, (dy, node) => [
      node.wants(0) ? spread(dy, node.tensor(1), p) : null,
      node.wants(1) ? gathered(node.tensor(0), dy, p) : null,
      node.wants(2) ? summed('conv1d', dy, [1, 0, 1]) : null,
    ])
  }
  return y
}

/** The gradient of the input from that of the output. */
function spread(dy: Tensor, w: Tensor, p: Convolution): Tensor {
  const dx = tidy(() => unslide(dy, w, p))
  if (needsGrad(dy) || needsGrad(w)) {
    const saved = [needsGrad(w) ? dy : null, needsGrad(dy) ? w : null]
    record('conv1d', [dy, w], [dx], saved, (ddx, node) => [
      node.wants(0) ? correlated(ddx, node.tensor(1), null, p) : null,
      node.wants(1) ? gathered(ddx, node.tensor(0), p) : null,
    ])
  }
  return dx
}

/** The gradient of the weight from that of the output. */
function gathered(x: Tensor, dy: Tensor, p: Convolution): Tensor {
  const dw = tidy(() => products(x, dy, p))
  if (needsGrad(x) || needsGrad(dy)) {
    const saved = [needsGrad(dy) ? x : null, needsGrad(x) ? dy : null]
    record('conv1d', [x, dy], [dw], saved, (ddw, node) => [
      node.wants(0) ? spread(node.tensor(1), ddw, p) : null,
      node.wants(1) ? correlated(node.tensor(0), ddw, null, p) : null,
    ])
  }
  return dw
}

// -- the same, off the tape -----------------------------------------------------------------

/** A stack [groups,batch] of matrices: in `memory`, with strides of both and of the two axes of a matrix. */
interface Stack {
  memory: Tensor
  apart: readonly [number, number]
  row: number
  col: number
}

/** out (+)= left [m,k] x right [k,n], for every group and row of the batch. Rows of `out` are dense. */
function multiply(
  stacked: readonly [number, number],
  [m, n, k]: readonly [number, number, number],
  left: Stack,
  right: Stack,
  out: Stack,
  accumulate = false,
): void {
  const layout = Float64Array.of(
    ...[m, n, k, left.row, left.col, right.row, right.col, out.row, Number(accumulate), 2],
    ...stacked,
    ...left.apart,
    ...right.apart,
    ...out.apart,
  )
  const handle = ({ memory }: Stack) => memory._handle('conv1d')
  native().matmul(dtypeNumber(out.memory.dtype), layout, handle(left), handle(right), null, handle(out))
}

/** [groups * outs, ins, kernel] -> [groups, outs, kernel, ins] */
function kernelRows(w: Tensor, { groups, outs, ins, kernel }: Convolution): Tensor {
  return swapped(w, groups * outs, ins, kernel)
}

/** [count,a,b] -> [count,b,a]; the tensor itself where that is the same memory. */
function swapped(
  x: Tensor,
  count: number,
  a: number,
  b: number,
  shape: readonly number[] = [count, b, a],
): Tensor {
  if (a <= 1 || b <= 1) return x._share(shape)
  const y = result(shape, x.dtype, x.device)
  copyStrided(x, y, [count, b, a], [a * b, 1, b], [a * b, a, 1])
  return y
}

/** Zeros at steps [begin,end) of [stacked,steps,channels]. */
function clear(
  y: Tensor,
  stacked: number,
  steps: number,
  channels: number,
  begin: number,
  end: number,
): void {
  if (begin >= end) return
  const zero = scalarLike('conv1d', y, y.dtype, 0)
  const shape = [stacked, end - begin, channels]
  copyStrided(zero, y, shape, [0, 0, 0], denseStrides([stacked, steps, channels]), 0, begin * channels)
}

/**
 * [batch, groups * channels, steps] -> [groups, batch, length, channels]: `left` zeros (steps are left out where it is
 * negative), then the steps, up to place `used` of the result, then zeros.
 */
function timeRows(
  x: Tensor,
  { batch, groups }: Convolution,
  channels: number,
  left: number,
  used: number,
  length: number,
): Tensor {
  const steps = x._shape[2] as number
  const y = result([groups, batch, length, channels], x.dtype, x.device)
  const begin = Math.min(Math.max(left, 0), length)
  const end = Math.max(Math.min(used, left + steps), begin)
  clear(y, groups * batch, length, channels, 0, begin)
  clear(y, groups * batch, length, channels, end, length)
  const matrix = channels * steps
  copyStrided(
    x,
    y,
    [groups, batch, end - begin, channels],
    [matrix, groups * matrix, 1, steps],
    [batch * length * channels, length * channels, channels, 1],
    begin - left,
    begin * channels,
  )
  return y
}

interface Windows {
  channels: number
  kernel: number
  stride: number
  dilation: number
  left: number
  /** How many. */
  count: number
}

/** Whether a product on this device takes matrices of overlapping rows, or with no stride of 1. */
function takesAnyStrides({ device }: Tensor): boolean {
  return device === 'cpu'
}

/** The windows of x as the right side of a product: [kernel * channels, count], the taps before the channels. */
function windowColumns(x: Tensor, p: Convolution, w: Windows): Stack {
  const { batch, groups } = p
  const { channels, kernel, stride, dilation, left, count } = w
  const length = (count - 1) * stride + dilation * (kernel - 1) + 1
  const steps = x._shape[2] as number
  const free = takesAnyStrides(x)
  const whole = left === 0 && length <= steps
  // Here taps and channels together are one axis of the input itself: no copy.
  if (whole && (kernel === 1 || channels === 1) && (free || (kernel === 1 && stride === 1))) {
    const matrix = channels * steps
    return { memory: x, apart: [matrix, groups * matrix], row: kernel === 1 ? steps : dilation, col: stride }
  }
  const rows = timeRows(x, p, channels, left, length, length)
  if (free && (dilation === 1 || kernel === 1 || channels === 1)) {
    const matrix = length * channels
    return {
      memory: rows,
      apart: [batch * matrix, matrix],
      row: channels === 1 ? dilation : 1,
      col: stride * channels,
    }
  }
  const depth = kernel * channels
  return {
    memory: unrolled(rows, groups * batch, length, count, w),
    apart: [batch * count * depth, count * depth],
    row: 1,
    col: depth,
  }
}

/** The windows of rows [stacked, length, channels], each whole: [stacked, count, kernel, channels]. */
function unrolled(
  rows: Tensor,
  stacked: number,
  length: number,
  count: number,
  { kernel, channels, stride, dilation }: Windows,
): Tensor {
  const shape = [stacked, count, kernel, channels]
  checkShape('conv1d', shape)
  const y = result(shape, rows.dtype, rows.device)
  const from = [length * channels, stride * channels, dilation * channels, 1]
  copyStrided(rows, y, shape, from, denseStrides(shape))
  return y
}

/** The output: one product of the kernel's rows with the windows. */
function slide<D extends DType>(
  x: Tensor<D>,
  rows: Tensor,
  outs: number,
  bias: Tensor | null,
  p: Convolution,
): Tensor<D> {
  const { batch, groups, windows, ins, kernel } = p
  const shape = [batch, groups * outs, windows]
  const y = result(shape, x.dtype, x.device)
  if (y.size === 0) return y
  if (bias !== null) copyStrided(bias, y, shape, [0, 1, 0], denseStrides(shape))
  const right = windowColumns(x, p, { ...p, channels: ins, count: windows })
  const depth = kernel * ins
  multiply(
    [groups, batch],
    [outs, windows, depth],
    { memory: rows, apart: [outs * depth, 0], row: depth, col: 1 },
    right,
    { memory: y, apart: [outs * windows, groups * outs * windows], row: windows, col: 1 },
    bias !== null,
  )
  return y
}

/**
 * The gradient of the input. Its steps of one remainder modulo the stride meet the same taps: so many rows of
 * weights, r = 0..stride - 1, slide over dy by one step at a time.
 *
 *   dx[r + stride * i] = sum over j of W[r, j] * dy[i + first + j],  W[r, last - j] = weight[r - shift + stride * j]
 */
function unslide(dy: Tensor, w: Tensor, p: Convolution): Tensor {
  const { batch, groups, ins, outs, kernel, stride, dilation, left, steps } = p
  const dx = result([batch, groups * ins, steps], dy.dtype, dy.device)
  if (dx.size === 0) return dx
  const spacing = stride === 1 ? 1 : dilation // of taps among the rows of weights
  const shift = stride === 1 ? 0 : stride * Math.ceil(left / stride) - left
  const taps = Math.floor((spacing * (kernel - 1) + shift) / stride) + 1
  const count = Math.ceil(steps / stride)
  const rows = result([groups, stride, ins, taps, outs], w.dtype, w.device)
  if (taps * stride !== kernel) {
    fill(rows, 0, 'conv1d')
  }
  for (let k = 0; k < kernel; k++) {
    const at = spacing * k + shift
    const row = at % stride
    const tap = taps - 1 - Math.floor(at / stride)
    copyStrided(
      w,
      rows,
      [groups, ins, outs],
      [outs * ins * kernel, kernel, ins * kernel],
      [stride * ins * taps * outs, taps * outs, 1],
      k,
      (row * ins * taps + tap) * outs,
    )
  }
  const right = windowColumns(dy, p, {
    channels: outs,
    kernel: taps,
    stride: 1,
    dilation: stride === 1 ? dilation : 1,
    left: stride === 1 ? dilation * (kernel - 1) - left : taps - 1 - Math.ceil(left / stride),
    count,
  })
  const depth = taps * outs
  const lines = stride * ins
  const out = stride === 1 ? dx : result([batch, groups, stride, ins, count], dy.dtype, dy.device)
  multiply(
    [groups, batch],
    [lines, count, depth],
    { memory: rows, apart: [lines * depth, 0], row: depth, col: 1 },
    right,
    { memory: out, apart: [lines * count, groups * lines * count], row: count, col: 1 },
  )
  for (let r = 0; stride > 1 && r < Math.min(stride, steps); r++) {
    copyStrided(
      out,
      dx,
      [batch * groups, ins, Math.ceil((steps - r) / stride)],
      [lines * count, count, 1],
      [ins * steps, steps, stride],
      r * ins * count,
      r,
    )
  }
  return dx
}

/** Windows may be so many times as many with those across an end, which meet zeros; else they are unrolled instead. */
const MOST_IDLE = 1.25

/** The gradient of the weight: one product over the windows of the whole batch. */
function products(x: Tensor, dy: Tensor, p: Convolution): Tensor {
  const { batch, groups, ins, outs, kernel, stride, dilation, left, windows } = p
  const depth = kernel * ins
  const dw = result([groups, outs, kernel, ins], x.dtype, x.device)
  const used = (windows - 1) * stride + dilation * (kernel - 1) + 1
  // With the sequences of a batch one behind the other, some windows reach across an end: dy is zero for those.
  const period = batch === 1 ? windows : Math.ceil(used / stride)
  const overlap =
    takesAnyStrides(x) && (dilation === 1 || kernel === 1 || ins === 1) && period <= windows * MOST_IDLE
  const each = overlap ? period : windows
  const length = overlap ? Math.max(each * stride, used) : used
  const rows = timeRows(x, p, ins, left, used, length)
  const right = overlap
    ? {
        memory: rows,
        apart: [batch * length * ins, 0] as const,
        row: stride * ins,
        col: ins === 1 ? dilation : 1,
      }
    : {
        memory: unrolled(rows, groups * batch, length, windows, { ...p, channels: ins, count: windows }),
        apart: [batch * windows * depth, 0] as const,
        row: depth,
        col: 1,
      }
  let lines = dy
  if (batch > 1) {
    lines = result([groups, outs, batch, each], dy.dtype, dy.device)
    clear(lines, groups * outs * batch, each, 1, windows, each)
    copyStrided(
      dy,
      lines,
      [groups, outs, batch, windows],
      [outs * windows, windows, groups * outs * windows, 1],
      [outs * batch * each, batch * each, each, 1],
    )
  }
  const line = batch * each
  multiply(
    [groups, 1],
    [outs, depth, batch === 0 ? 0 : (batch - 1) * each + windows],
    { memory: lines, apart: [outs * line, 0], row: line, col: 1 },
    right,
    { memory: dw, apart: [outs * depth, 0], row: depth, col: 1 },
  )
  return swapped(dw, groups * outs, kernel, ins, [groups * outs, ins, kernel])
}
