/** The cells that the commands take, by the names of their layers, and the parameters of a stack of them. */

import * as library from '../cells.ts'

/** Which cell of the library each is. */
const CELL_OF = { lstm: 'lstm', gru: 'gru', rnn: 'rnnTanh' } as const satisfies Record<
  string,
  library.CellName
>

export type CellName = keyof typeof CELL_OF
export const CELLS = Object.keys(CELL_OF) as CellName[]

/** Whether its layer has a state c beside h. */
export const hasC = (cell: CellName): boolean => library.hasC(CELL_OF[cell])

/** Whether its layer can have a projection. */
export const takesProjection = (cell: CellName): boolean => library.takesProjection(CELL_OF[cell])

/** A recurrent stack, without the sequences that it is to read. */
export interface Stack {
  cell: CellName
  I: number // input size
  H: number // hidden size
  layers: number
  bidirectional: boolean
  projSize: number // 0: none
}

/** Width of the layer's output per direction. */
export const outputSize = ({ H, projSize }: Pick<Stack, 'H' | 'projSize'>): number =>
  library.outputSize({ hiddenSize: H, projSize })

export const directions = ({ bidirectional }: Pick<Stack, 'bidirectional'>): number => (bidirectional ? 2 : 1)

/** The stack as the library describes it. */
export function stackOf(one: Stack): library.CellStack {
  const { cell, I, H, layers, projSize } = one
  const sizes = { inputSize: I, hiddenSize: H, projSize, numLayers: layers, directions: directions(one) }
  return { cell: CELL_OF[cell], ...sizes, bias: true }
}

/** Parameters of the recurrent stack by PyTorch's names. */
export const parameterShapes = (one: Stack): Map<string, number[]> => library.parameterShapes(stackOf(one))
