/**
 * What the cells of recurrent layers are: gates, states, parameters and their shapes. The two lists are
 * native/cells.h's, written here by native/generate.mjs. Imports nothing: the reference and the benchmark use it, too.
 */

export interface CellFacts {
  /** In calls of the addon. */
  number: number
  /** Blocks of H rows in weight_ih and weight_hh. */
  gates: number
  /** 1: h. 2: h and c. */
  states: number
  /** Whether cuDNN has it. */
  cudnn: boolean
}

/** What the shapes of a layer's parameters are made of, in one direction. */
interface Sizes {
  G: number
  H: number
  I: number
  P: number
  Hout: number
  bias: boolean
  is: (...cells: CellName[]) => boolean
}

interface Parameter {
  name: string
  present: (sizes: Sizes) => boolean
  shape: (sizes: Sizes) => number[]
}

// from native/cells.h {
export const CELLS = {
  rnnTanh: { number: 0, gates: 1, states: 1, cudnn: true },
  rnnRelu: { number: 1, gates: 1, states: 1, cudnn: true },
  lstm: { number: 2, gates: 4, states: 2, cudnn: true },
  gru: { number: 3, gates: 3, states: 1, cudnn: true },
  gruResetBefore: { number: 4, gates: 3, states: 1, cudnn: false },
  lstmPeephole: { number: 5, gates: 4, states: 2, cudnn: false },
} as const satisfies Record<string, CellFacts>

const PARAMETERS: readonly Parameter[] = [
  { name: 'weight_ih', present: () => true, shape: ({ G, H, I }) => [G * H, I] },
  { name: 'weight_hh', present: () => true, shape: ({ G, H, Hout }) => [G * H, Hout] },
  { name: 'bias_ih', present: ({ bias }) => bias, shape: ({ G, H }) => [G * H] },
  { name: 'bias_hh', present: ({ bias }) => bias, shape: ({ G, H }) => [G * H] },
  { name: 'weight_hr', present: ({ P }) => P > 0, shape: ({ P, H }) => [P, H] },
  { name: 'weight_ch', present: ({ is }) => is('lstmPeephole'), shape: ({ H }) => [3, H] },
]
// }

export type CellName = keyof typeof CELLS

export const CELL_NAMES = Object.keys(CELLS) as CellName[]

/** Whether the cell has a state c beside h. */
export const hasC = (cell: CellName): boolean => CELLS[cell].states === 2

/** Whether the cell can have a projection: one with c alone, as in PyTorch and cuDNN. */
export const takesProjection = hasC

/** A stack of layers, as far as its parameters depend on it. */
export interface CellStack {
  cell: CellName
  inputSize: number
  hiddenSize: number
  /** 0: none */
  projSize: number
  numLayers: number
  directions: number
  bias: boolean
}

/** Width of the output of one direction. */
export const outputSize = ({ projSize, hiddenSize }: Pick<CellStack, 'projSize' | 'hiddenSize'>): number =>
  projSize || hiddenSize

/** Per layer and direction, the suffix of its parameters' names: 'l0', 'l0_reverse', 'l1', ... */
export function suffixes({ numLayers, directions }: Pick<CellStack, 'numLayers' | 'directions'>): string[] {
  return Array.from({ length: numLayers }, (_, k) => [`l${k}`, `l${k}_reverse`].slice(0, directions)).flat()
}

/** Names and shapes of the parameters of a stack, as torch's, in the order in which the addon takes them. */
export function parameterShapes(stack: CellStack): Map<string, number[]> {
  const { cell, inputSize, hiddenSize: H, projSize: P, directions, bias } = stack
  const Hout = outputSize(stack)
  const shapes = new Map<string, number[]>()
  suffixes(stack).forEach((suffix, index) => {
    const I = index < directions ? inputSize : directions * Hout
    const sizes: Sizes = { G: CELLS[cell].gates, H, I, P, Hout, bias, is: (...cells) => cells.includes(cell) }
    for (const { name, present, shape } of PARAMETERS)
      if (present(sizes)) shapes.set(`${name}_${suffix}`, shape(sizes))
  })
  return shapes
}
