/** Rows of a table by index. */
import { needsGrad, record } from '../autograd.ts'
import { native } from '../binding.ts'
import { checkFloat, checkInt32, checkInteger, checkOptions, checkPlacement, checkShape } from '../check.ts'
import { type DType, dtypeNumber } from '../dtype.ts'
import { shapeError, shapeText } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'

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
  const { size } = index
  const dtype = dtypeNumber(weight.dtype)
  const indices = index._live(where)
  const table = weight._handle(where)
  const y = result(shape, weight.dtype, weight.device)
  native().embedding(dtype, size, rows, cols, table, indices.handle, y._handle(where))
  if (needsGrad(weight)) {
    record(where, [weight], [y], [indices], (dy, node) => {
      const dweight = result([rows, cols], dy.dtype, dy.device)
      const dout = dy._handle(where)
      native().embeddingBackward(
        dtype,
        size,
        rows,
        cols,
        padding < 0 ? rows : padding,
        node.saved(0),
        dout,
        dweight._handle(where),
      )
      return [dweight]
    })
  }
  return y
}

/** The row without gradient, or -1. */
export function paddingRow(where: string, paddingIdx: number | null | undefined, rows: number): number {
  if (paddingIdx === undefined || paddingIdx === null) return -1
  checkInteger(where, 'paddingIdx', paddingIdx, -rows, rows - 1)
  return paddingIdx < 0 ? paddingIdx + rows : paddingIdx
}
