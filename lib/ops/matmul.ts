/** Products: matmul, batched and broadcasting, and linear. */
import { needsGrad, record, view } from '../autograd.ts'
import { type Handle, native } from '../binding.ts'
import { checkFloat, checkLike, checkShape, checkShapeIs } from '../check.ts'
import { type Device, type DType, dtypeNumber } from '../dtype.ts'
import { broadcastShapes, denseStrides, MAX_RANK, product } from '../layout.ts'
import { shapeError, shapeText } from '../messages.ts'
import { isRecording } from '../scope.ts'
import { result, type Tensor } from '../tensor.ts'
import { summed, sumTo } from './broadcast.ts'
import { transpose } from './shape.ts'

/** A stack of matrices inside dense memory: handle, batch dimensions, and the strides of a matrix. */
interface Matrices {
  handle: Handle
  batch: readonly number[]
  rows: number
  cols: number
  rowStride: number
  colStride: number
}

function matrices(handle: Handle, batch: readonly number[], rows: number, cols: number): Matrices {
  return { handle, batch, rows, cols, rowStride: cols, colStride: 1 }
}

function flipped(x: Matrices): Matrices {
  return { ...x, rows: x.cols, cols: x.rows, rowStride: x.colStride, colStride: x.rowStride }
}

/** left x right (+ bias on columns) into a new dense tensor of shape [..batch, m, n], seen as `shape`. */
function multiply<D extends DType>(
  left: Matrices,
  right: Matrices,
  bias: Handle | null,
  batch: readonly number[],
  shape: readonly number[],
  dtype: D,
  device: Device,
): Tensor<D> {
  const out = result(shape, dtype, device)
  const rank = batch.length
  const layout = new Float64Array(10 + 4 * rank)
  layout[0] = left.rows
  layout[1] = right.cols
  layout[2] = left.cols
  layout[3] = left.rowStride
  layout[4] = left.colStride
  layout[5] = right.rowStride
  layout[6] = right.colStride
  layout[7] = right.cols
  layout[8] = 0
  layout[9] = rank
  if (rank > 0) {
    layout.set(batch, 10)
    layout.set(batchStrides(left, batch), 10 + rank)
    layout.set(batchStrides(right, batch), 10 + 2 * rank)
    const outSize = left.rows * right.cols
    layout.set(
      denseStrides(batch).map((stride) => stride * outSize),
      10 + 3 * rank,
    )
  }
  native().matmul(dtypeNumber(dtype), layout, left.handle, right.handle, bias, out._handle('matmul'))
  return out
}

function batchStrides(x: Matrices, batch: readonly number[]): number[] {
  const own = denseStrides(x.batch)
  const missing = batch.length - x.batch.length
  const size = x.rows * x.cols
  return batch.map((_, i) =>
    i < missing || x.batch[i - missing] === 1 ? 0 : (own[i - missing] as number) * size,
  )
}

export function matmul<D extends DType>(a: Tensor<D>, b: Tensor<D>): Tensor<D> {
  const where = 'Tensor.matmul'
  checkFloat(where, 'left operand', a)
  checkLike(where, 'right operand', a, b)
  if (a._shape.length === 0 || b._shape.length === 0) {
    throw shapeError(where, 'operands of at least one dimension', 'a scalar', 'use mul()')
  }
  const aMatrix = a._shape.length === 1 ? [1, a.size] : a._shape
  const bMatrix = b._shape.length === 1 ? [b.size, 1] : b._shape
  const m = aMatrix[aMatrix.length - 2] as number
  const k = aMatrix[aMatrix.length - 1] as number
  const n = bMatrix[bMatrix.length - 1] as number
  if (bMatrix[bMatrix.length - 2] !== k) {
    throw shapeError(
      where,
      'shapes [..,m,k] and [..,k,n] with the same k',
      `${shapeText(a._shape)} and ${shapeText(b._shape)}`,
    )
  }
  const aBatch = aMatrix.slice(0, -2)
  const bBatch = bMatrix.slice(0, -2)
  const batch = broadcastShapes(where, aBatch, bBatch)
  const shape = [...batch]
  if (a._shape.length > 1) shape.push(m)
  if (b._shape.length > 1) shape.push(n)
  checkShape(where, shape)

  // A matrix on the right serves all rows of the left: one product without batch.
  const folded = bBatch.length === 0
  const rows = folded ? product(aBatch) * m : m
  const leftBatch = folded ? [] : aBatch
  const outBatch = folded ? [] : batch
  const y = multiply(
    matrices(a._handle(where), leftBatch, rows, k),
    matrices(b._handle(where), bBatch, k, n),
    null,
    outBatch,
    shape,
    a.dtype,
    a.device,
  )
  if (needsGrad(a) || needsGrad(b)) {
    const aShape = a._shape
    const bShape = b._shape
    record('matmul', [a, b], [y], [needsGrad(b) ? a : null, needsGrad(a) ? b : null], (dy, node) => {
      if (isRecording()) {
        const dout = view(dy, [...batch, m, n])
        const times = (left: Tensor, right: Tensor, to: readonly number[], shape: readonly number[]) =>
          view(sumTo(matmul(left, right), to), shape)
        const turned = (i: number, shape: readonly number[]) => transpose(view(node.tensor(i), shape), -2, -1)
        return [
          node.wants(0) ? times(dout, turned(1, bMatrix), aMatrix, aShape) : null,
          node.wants(1) ? times(turned(0, aMatrix), dout, bMatrix, bShape) : null,
        ]
      }
      const { dtype, device } = dy
      const dout = matrices(dy._handle(where), outBatch, rows, n)
      let da: Tensor | null = null
      let db: Tensor | null = null
      if (node.wants(0)) {
        const right = flipped(matrices(node.saved(1), bBatch, k, n))
        const full = [...outBatch, rows, k]
        const product = multiply(dout, right, null, outBatch, full, dtype, device)
        da = view(sumTo(product, [...leftBatch, rows, k]), aShape)
      }
      if (node.wants(1)) {
        const left = flipped(matrices(node.saved(0), leftBatch, rows, k))
        const full = [...outBatch, k, n]
        const product = multiply(left, dout, null, outBatch, full, dtype, device)
        db = view(sumTo(product, [...bBatch, k, n]), bShape)
      }
      return [da, db]
    })
  }
  return y
}

/**
 * input x weight^T + bias.
 *
 * @param input [..,I]
 * @param weight [O,I]
 * @param bias [O], optional
 * @returns [..,O]
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE
 */
export function linear<D extends DType>(
  input: Tensor<D>,
  weight: Tensor<D>,
  bias: Tensor<D> | null = null,
): Tensor<D> {
  const where = 'linear'
  checkFloat(where, 'input', input)
  checkLike(where, 'weight', input, weight)
  if (weight._shape.length !== 2) throw shapeError(where, 'weight of shape [O,I]', shapeText(weight._shape))
  const [outs, ins] = weight._shape as [number, number]
  const rank = input._shape.length
  if (rank === 0 || rank > MAX_RANK || input._shape[rank - 1] !== ins) {
    throw shapeError(where, `input of shape [..,I] = [..,${ins}]`, shapeText(input._shape))
  }
  if (bias !== null) {
    checkLike(where, 'bias', input, bias)
    checkShapeIs(where, 'bias', bias, [outs], 'O')
  }
  const rows = product(input._shape, 0, rank - 1)
  const shape = [...input._shape.slice(0, -1), outs]
  checkShape(where, shape)
  const y = multiply(
    matrices(input._handle(where), [], rows, ins),
    flipped(matrices(weight._handle(where), [], outs, ins)),
    bias === null ? null : bias._handle(where),
    [],
    shape,
    input.dtype,
    input.device,
  )
  if (needsGrad(input) || needsGrad(weight) || needsGrad(bias)) {
    const inputShape = input._shape
    const saved = [needsGrad(weight) ? input : null, needsGrad(input) ? weight : null]
    record('linear', [input, weight, bias], [y], saved, (dy, node) => {
      const flat = node.wants(2) || isRecording() ? view(dy, [rows, outs]) : dy
      const dbias = node.wants(2) ? summed(where, flat, [1, 0]) : null
      if (isRecording()) {
        return [
          node.wants(0) ? view(matmul(flat, node.tensor(1)), inputShape) : null,
          node.wants(1) ? matmul(transpose(flat, 0, 1), view(node.tensor(0), [rows, ins])) : null,
          dbias,
        ]
      }
      const { dtype, device } = dy
      const dout = matrices(dy._handle(where), [], rows, outs)
      let dinput: Tensor | null = null
      let dweight: Tensor | null = null
      if (node.wants(0)) {
        const right = matrices(node.saved(1), [], outs, ins)
        dinput = multiply(dout, right, null, [], inputShape, dtype, device)
      }
      if (node.wants(1)) {
        const right = matrices(node.saved(0), [], rows, ins)
        dweight = multiply(flipped(dout), right, null, [], [outs, ins], dtype, device)
      }
      return [dinput, dweight, dbias]
    })
  }
  return y
}
