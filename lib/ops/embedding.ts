/** Rows of a table by index. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkFloat, checkInt32, checkInteger, checkOptions, checkPlacement, checkShape } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { shapeError, shapeText } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'
import { concat, slice } from './join.ts'
import { scaled } from './map.ts'

/** Options of {@link embedding}. */
export interface EmbeddingOptions {
  /** A row that gets no gradient; negative counts from the end. Default: none. */
  paddingIdx?: number | undefined
}

/**
 * weight[index], row by row.
 *
 * @param index int32, any shape
 * @param weight [V,E]
 * @returns [..index,E]
 * @throws RangeError ERR_BPTT_SHAPE, TypeError ERR_BPTT_DTYPE. An index outside 0..V-1:
 * reading the result rejects with ERR_BPTT_INDEX.
 */
export function embedding<D extends DType>(
  index: Tensor,
  weight: Tensor<D>,
  options: EmbeddingOptions = {},
): Tensor<D> {
  const where = 'embedding'
  checkInt32(where, 'index', index)
  checkFloat(where, 'weight', weight)
  checkPlacement(where, 'index', index, 'int32', weight.device)
  options = checkOptions(where, options, ['paddingIdx'])
  if (weight._shape.length !== 2) throw shapeError(where, 'weight of shape [V,E]', shapeText(weight._shape))
  const [rows, cols] = weight._shape as [number, number]
  const padding = paddingRow(where, options.paddingIdx, rows)
  const shape = [...index._shape, cols]
  checkShape(where, shape)
  return rowsOf(index, weight, padding < 0 ? rows : padding, shape)
}

/** @param padding the row without gradient, or V */
function rowsOf<D extends DType>(
  index: Tensor,
  weight: Tensor<D>,
  padding: number,
  shape: readonly number[],
): Tensor<D> {
  const [rows, cols] = weight._shape as [number, number]
  const indices = index._handle('embedding')
  const table = weight._handle('embedding')
  const y = result(shape, weight.dtype, weight.device)
  const out = y._handle('embedding')
  native().embedding(dtypeNumber(weight.dtype), index.size, rows, cols, table, indices, out)
  if (needsGrad(weight)) {
    record('embedding', [weight], [y], [index], (dy, node) => [
      gathered(node.tensor(0), dy, rows, cols, padding),
    ])
  }
  return y
}

/** The gradient of the table: sums of the rows of dy. */
function gathered(index: Tensor, dy: Tensor, rows: number, cols: number, padding: number): Tensor {
  const dweight = result([rows, cols], dy.dtype, dy.device)
  native().embeddingBackward(
    dtypeNumber(dy.dtype),
    index.size,
    rows,
    cols,
    padding,
    index._handle('embedding'),
    dy._handle('embedding'),
    dweight._handle('embedding'),
  )
  if (needsGrad(dy)) {
    const shape = dy._shape
    record('embedding', [dy], [dweight], [index], (ddweight, node) => [
      rowsOf(node.tensor(0), withoutRow(ddweight, padding), padding, shape),
    ])
  }
  return dweight
}

/** A table with zeros in one row; the table where it has no such row. */
function withoutRow(table: Tensor, row: number): Tensor {
  if (row >= (table._shape[0] as number)) return table
  const zeros = scaled('embedding', slice(table, row, row + 1, 0), 0)
  return concat([slice(table, 0, row, 0), zeros, slice(table, row + 1, undefined, 0)])
}

/** The row without gradient, or -1. */
export function paddingRow(where: string, paddingIdx: number | null | undefined, rows: number): number {
  if (paddingIdx === undefined || paddingIdx === null) return -1
  checkInteger(where, 'paddingIdx', paddingIdx, -rows, rows - 1)
  return paddingIdx < 0 ? paddingIdx + rows : paddingIdx
}
