import { checkInteger, checkOptions, checkShape } from '../check.ts'
import { normal } from '../create.ts'
import type { FloatDType } from '../dtype.ts'
import { embedding, paddingRow } from '../ops/embedding.ts'
import { copyElements, fill } from '../state.ts'
import { result, type Tensor } from '../tensor.ts'
import { defineParameter, fixFields, Module, type Parameter, parameter } from './module.ts'
import { type LayerOptions, MAX_SIZE, placement } from './options.ts'

/** Options of {@link Embedding}. */
export interface EmbeddingLayerOptions<D extends FloatDType = FloatDType> extends LayerOptions<D> {
  /** A row that starts at zero and gets no gradient; negative counts from the end. Default: none. */
  paddingIdx?: number | null | undefined
}

/** Rows of a table by index: int32 [..] -> [..,embeddingDim]. Initialised N(0, 1). */
export class Embedding<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  /** Rows of the table. */
  readonly numEmbeddings: number
  /** Length of a row. */
  readonly embeddingDim: number
  /** The row without gradient, counted from the start; null: none. */
  readonly paddingIdx: number | null
  /** [numEmbeddings, embeddingDim] */
  declare weight: Parameter<D>

  /**
   * @param numEmbeddings rows, at least 1
   * @param embeddingDim length of a row, at least 1
   * @throws TypeError, RangeError if a size or an option does not fit
   */
  constructor(numEmbeddings: number, embeddingDim: number, options: EmbeddingLayerOptions<D> = {}) {
    super()
    const where = 'Embedding'
    options = checkOptions(where, options, ['paddingIdx', 'dtype', 'device'])
    this.numEmbeddings = checkInteger(where, 'numEmbeddings', numEmbeddings, 1, MAX_SIZE)
    this.embeddingDim = checkInteger(where, 'embeddingDim', embeddingDim, 1, MAX_SIZE)
    const { dtype, device } = placement(where, options)
    const padding = paddingRow(where, options.paddingIdx, numEmbeddings)
    this.paddingIdx = padding < 0 ? null : padding
    checkShape(where, [numEmbeddings, embeddingDim])
    const weight = parameter(() => {
      const value = result([numEmbeddings, embeddingDim], dtype, device)
      normal(value, 0, 1)
      if (padding >= 0) zeroRow(value, padding)
      return value
    })
    defineParameter(this, 'weight', weight)
    fixFields(this)
  }

  /** int32 [..] -> [..,embeddingDim] */
  override forward(index: Tensor): Tensor<D> {
    return embedding(index, this.weight, this.paddingIdx === null ? {} : { paddingIdx: this.paddingIdx })
  }
}

function zeroRow(table: Tensor, row: number): void {
  const cols = table._shape[1] as number
  const zero = result([cols], table.dtype, table.device)
  fill(zero, 0, 'Embedding')
  copyElements(zero, 0, table, row * cols, cols)
  zero.dispose()
}
