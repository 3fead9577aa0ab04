/** The cells that the commands take, by the names of their layers, and the parameters of a stack of them. */

import {
  type CellStack,
  type CellName as LibraryCell,
  parameterShapes as shapesOf,
  outputSize as sizeOf,
} from '../cells.ts'

export const CELLS = ['lstm', 'gru', 'rnn'] as const
export type CellName = (typeof CELLS)[number]

/** Which cell of the library each is. */
const CELL_OF = { lstm: 'lstm', gru: 'gru', rnn: 'rnnTanh' } as const satisfies Record<CellName, LibraryCell>

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
  sizeOf({ hiddenSize: H, projSize })

export const directions = ({ bidirectional }: Pick<Stack, 'bidirectional'>): number => (bidirectional ? 2 : 1)

/** The stack as the library describes it. */
export function stackOf(one: Stack): CellStack {
  const { cell, I, H, layers, projSize } = one
  const sizes = { inputSize: I, hiddenSize: H, projSize, numLayers: layers, directions: directions(one) }
  return { cell: CELL_OF[cell], ...sizes, bias: true }
}

/** Parameters of the recurrent stack by PyTorch's names. */
export const parameterShapes = (one: Stack): Map<string, number[]> => shapesOf(stackOf(one))
