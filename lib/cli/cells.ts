/** The cells that the commands take, by the names of their layers, and the parameters of a stack of them. */

export const CELLS = ['lstm', 'gru', 'rnn'] as const
export type CellName = (typeof CELLS)[number]

const GATES: Record<CellName, number> = { lstm: 4, gru: 3, rnn: 1 }

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
export const outputSize = ({ H, projSize }: Pick<Stack, 'H' | 'projSize'>): number => projSize || H

export const directions = ({ bidirectional }: Pick<Stack, 'bidirectional'>): number => (bidirectional ? 2 : 1)

/** Parameters of the recurrent stack by PyTorch's names. */
export function parameterShapes(one: Stack): Map<string, number[]> {
  const { cell, I, H, layers, projSize } = one
  const [rows, width] = [GATES[cell] * H, outputSize(one)]
  const shapes = new Map<string, number[]>()
  for (let layer = 0; layer < layers; layer++) {
    for (const suffix of [`l${layer}`, `l${layer}_reverse`].slice(0, directions(one))) {
      shapes.set(`weight_ih_${suffix}`, [rows, layer === 0 ? I : directions(one) * width])
      shapes.set(`weight_hh_${suffix}`, [rows, width])
      shapes.set(`bias_ih_${suffix}`, [rows])
      shapes.set(`bias_hh_${suffix}`, [rows])
      if (projSize > 0) shapes.set(`weight_hr_${suffix}`, [projSize, H])
    }
  }
  return shapes
}
