/** Masks made of lengths and of diagonals, and the triangles of matrices. */
import { isTensor } from '../brand.ts'
import {
  checkDevice,
  checkInteger,
  checkIntegers,
  checkOptions,
  checkPlacement,
  checkTensor,
} from '../check.ts'
import { arange, tensor } from '../create.ts'
import type { Device, DType } from '../dtype.ts'
import { MAX_INT32 } from '../limits.ts'
import { shapeError, shapeText } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { compare, where as select } from './compare.ts'
import { reshape } from './shape.ts'

/**
 * True where step t of row b is below its length.
 *
 * @returns [B,T], or [T,B] if not batchFirst
 */
export function runningMask(
  lengths: readonly number[] | Tensor<'int32'>,
  T: number,
  device: Device,
  batchFirst = true,
): Tensor<'bool'> {
  const rows = isTensor(lengths) ? lengths : tensor(lengths, [lengths.length], { dtype: 'int32', device })
  const steps = arange(T, { dtype: 'int32', device })
  const column = batchFirst ? reshape(rows, [rows.size, 1]) : reshape(steps, [T, 1])
  const mask = batchFirst ? compare('lt', steps, column) : compare('lt', column, rows)
  for (const made of [steps, column, ...(rows === lengths ? [] : [rows])]) made.dispose()
  return mask
}

/** [n,m], true on the diagonal and below it. Diagonals count from the main one, upwards. */
export function lowerTriangle(n: number, m: number, diagonal: number, device: Device): Tensor<'bool'> {
  const first = Math.max(-n, Math.min(m, diagonal))
  const last = arange(first, first + n, { dtype: 'int32', device })
  const rows = reshape(last, [n, 1])
  const columns = arange(m, { dtype: 'int32', device })
  const mask = compare('le', columns, rows)
  for (const made of [last, rows, columns]) made.dispose()
  return mask
}

/**
 * The mask of padded sequences: true where a step is below the length of its row.
 *
 * @param lengths one per row: an array of integers from 0 to T, or an int32 tensor [B], which is not looked into (what
 *   is longer than T counts as T)
 * @param T steps
 * @param options the device of the mask; default that of the lengths, or 'cpu'
 * @returns [B,T]
 * @throws RangeError ERR_BPTT_VALUE, ERR_BPTT_SHAPE, TypeError ERR_BPTT_TYPE, ERR_BPTT_DTYPE
 *
 * @example
 * sequenceMask([1, 3], 3) // [[true, false, false], [true, true, true]]
 */
export function sequenceMask(
  lengths: ArrayLike<number> | Tensor<'int32'>,
  T: number,
  options: { device?: Device | undefined } = {},
): Tensor<'bool'> {
  const where = 'sequenceMask'
  checkInteger(where, 'T', T, 0, MAX_INT32)
  const { device } = checkOptions(where, options, ['device'])
  if (device !== undefined) checkDevice(where, device)
  if (!isTensor(lengths))
    return runningMask(checkIntegers(where, 'lengths', lengths, 0, T), T, device ?? 'cpu')
  checkPlacement(where, 'lengths', lengths, 'int32', device ?? lengths.device)
  if (lengths.shape.length !== 1) throw shapeError(where, 'lengths of shape [B]', shapeText(lengths.shape))
  return runningMask(lengths as Tensor<'int32'>, T, lengths.device)
}

/** `x` within the lower triangle, or without it; zeros elsewhere. */
function triangle<D extends DType>(name: 'tril' | 'triu', x: Tensor<D>, diagonal: number): Tensor<D> {
  const where = `Tensor.${name}`
  checkTensor(where, 'input', x)
  checkInteger(where, 'diagonal', diagonal, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  const [n, m] = x._shape.slice(-2)
  if (m === undefined) throw shapeError(where, 'a matrix, or several', shapeText(x._shape))
  const lower = name === 'tril'
  const mask = lowerTriangle(n as number, m, lower ? diagonal : diagonal - 1, x.device)
  return lower ? select(mask, x, 0) : select(mask, 0, x)
}

export function tril<D extends DType>(x: Tensor<D>, diagonal = 0): Tensor<D> {
  return triangle('tril', x, diagonal)
}

export function triu<D extends DType>(x: Tensor<D>, diagonal = 0): Tensor<D> {
  return triangle('triu', x, diagonal)
}
