/** Recurrent cases: one configuration with its numbers, run by the reference or by the library. */

import {
  type CellName,
  type CellStack,
  hasC,
  outputSize,
  parameterShapes,
  suffixes,
} from '../../lib/cells.ts'
import type { Cell, Weights } from '../../lib/reference/cell.ts'
import { gru, gruResetBefore } from '../../lib/reference/gru.ts'
import { lstm, lstmPeephole } from '../../lib/reference/lstm.ts'
import { rnnRelu, rnnTanh } from '../../lib/reference/rnn.ts'
import { type Gradients, type Result, run } from '../../lib/reference/stack.ts'
import { generator } from '../../lib/reference/uniform.ts'
import type { Matrix, Vector } from '../../lib/reference/vector.ts'
import type { Case as Fixture } from '../fixtures/read.ts'
import type { Results } from './tolerance.ts'

export type { CellName }
export const CELLS: Record<CellName, Cell> = { rnnTanh, rnnRelu, lstm, gru, gruResetBefore, lstmPeephole }

export interface Config {
  cell: CellName
  T: number
  B: number
  I: number
  H: number
  P?: number
  L?: number
  bidirectional?: boolean
  bias?: boolean
  batchFirst?: boolean
  states?: boolean
  lengths?: number[] | undefined
  dropout?: number
}

/** Everything a run reads, by PyTorch's names: input, h0, c0, d_output, d_hn, d_cn and the parameters. */
export interface RecurrentCase {
  config: Required<Omit<Config, 'lengths'>> & { lengths?: number[] | undefined }
  shapes: Map<string, number[]>
  values: Map<string, Float64Array>
}

export function complete(config: Config): RecurrentCase['config'] {
  const defaults = {
    P: 0,
    L: 1,
    bidirectional: false,
    bias: true,
    batchFirst: false,
    states: true,
    dropout: 0,
  }
  return { ...defaults, ...config } as RecurrentCase['config']
}

/** The stack of a case, as cells.ts describes it. */
export function stackOf(config: Config): CellStack {
  const { cell, I, H, P, L, bidirectional, bias } = complete(config)
  const directions = bidirectional ? 2 : 1
  return { cell, inputSize: I, hiddenSize: H, projSize: P, numLayers: L, directions, bias }
}

/** Shapes of all that a run reads. */
export function caseShapes(config: Config): Map<string, number[]> {
  const { cell, T, B, I, H, L, bidirectional, batchFirst, states } = complete(config)
  const [width, D] = [outputSize(stackOf(config)), bidirectional ? 2 : 1]
  const sequence = (size: number) => (batchFirst ? [B, T, size] : [T, B, size])
  const shapes = new Map([
    ['input', sequence(I)],
    ['d_output', sequence(D * width)],
    ['d_hn', [L * D, B, width]],
  ])
  if (states) shapes.set('h0', [L * D, B, width])
  if (hasC(cell)) shapes.set('d_cn', [L * D, B, H])
  if (hasC(cell) && states) shapes.set('c0', [L * D, B, H])
  for (const [name, shape] of parameterShapes(stackOf(config))) shapes.set(name, shape)
  return shapes
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** Random numbers that float32 holds exactly, so that both types start from the same case. */
export function makeCase(config: Config, seed: number): RecurrentCase {
  const uniform = generator(seed)
  const shapes = caseShapes(config)
  const values = new Map<string, Float64Array>()
  for (const [name, shape] of shapes) {
    // Weights as PyTorch draws them, smaller where the input is wide; everything else of magnitude one.
    const bound = /^(weight|bias)/.test(name) ? 1 / Math.sqrt(Math.max(config.H, config.I / 4)) : 1.7
    values.set(
      name,
      Float64Array.from({ length: sizeOf(shape) }, () => Math.fround((2 * uniform() - 1) * bound)),
    )
  }
  return { config: complete(config), shapes, values }
}

/** A case of PyTorch's, with PyTorch's results in float64. */
export function fromFixture(fixture: Fixture): { case: RecurrentCase; expected: Results } {
  const { cell, inputSize: I, hiddenSize: H, projSize: P, numLayers: L } = fixture
  const { bidirectional, bias, batchFirst } = fixture
  const shape = fixture.tensors.get('input')?.shape as [number, number, number]
  const [T, B] = batchFirst ? [shape[1], shape[0]] : [shape[0], shape[1]]
  const states = fixture.tensors.has('h0')
  const config = complete({ cell, T, B, I, H, P, L, bidirectional, bias, batchFirst, states })
  config.lengths = fixture.lengths ?? undefined
  const shapes = caseShapes(config)
  const values = new Map([...shapes.keys()].map((name) => [name, numbers(fixture, name)]))
  const names = Object.keys(fixture.error)
  const expected = new Map(names.map((name) => [name, numbers(fixture, name)]))
  return { case: { config, shapes, values }, expected }
}

function numbers(fixture: Fixture, name: string): Float64Array {
  const entry = fixture.tensors.get(name)
  if (!entry) throw new Error(`${fixture.name} lacks ${name}`)
  return Float64Array.from(entry.data)
}

/** [A,B,..] to [B,A,..] where inner is the size of what follows. */
export function swapLeading(values: Float64Array, a: number, b: number, inner: number): Float64Array {
  const result = new Float64Array(values.length)
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++)
      result.set(values.subarray((i * b + j) * inner, (i * b + j + 1) * inner), (j * a + i) * inner)
  return result
}

/** The float64 reference on a case; masks as in stack.ts. */
export function runReference(given: RecurrentCase, masks?: Vector[]): Results {
  const { cell, T, B, I, bidirectional, batchFirst, lengths } = given.config
  const stack = stackOf(given.config)
  const [D, width] = [bidirectional ? 2 : 1, outputSize(stack)]
  const value = (name: string) => given.values.get(name) as Float64Array
  const timeMajor = (name: string, size: number) =>
    batchFirst ? swapLeading(value(name), B, T, size) : value(name)
  const asGiven = (v: Float64Array, size: number) => (batchFirst ? swapLeading(v, T, B, size) : v)
  const ofLayers = suffixes(stack)
  const weights = ofLayers.map(() => ({})) as Weights[]
  for (const [name, [rows = 0, cols]] of parameterShapes(stack)) {
    const [, own, suffix] = name.match(/^(\w+?)_(l\d+(?:_reverse)?)$/) as [string, string, string, string]
    const data = value(name)
    Object.assign(weights[ofLayers.indexOf(suffix)] as Weights, {
      [own]: cols === undefined ? data : { rows, cols, data },
    })
  }
  const result = run({
    cell: CELLS[cell],
    weights,
    directions: D,
    T,
    B,
    x: timeMajor('input', I),
    ...(given.config.states && { h0: value('h0') }),
    ...(given.config.states && hasC(cell) && { c0: value('c0') }),
    ...(lengths && { lengths }),
    ...(masks && { masks }),
  })
  const dout: Partial<Result> = {
    output: timeMajor('d_output', D * width),
    hn: value('d_hn'),
    ...(hasC(cell) && { cn: value('d_cn') }),
  }
  const gradients: Gradients = result.backward(dout)
  const all: Results = new Map<string, Float64Array>([
    ['output', asGiven(result.output, D * width)],
    ['hn', result.hn],
    ['grad.input', asGiven(gradients.dx, I)],
  ])
  if (hasC(cell)) all.set('cn', result.cn)
  if (given.config.states) all.set('grad.h0', gradients.dh0)
  if (given.config.states && hasC(cell)) all.set('grad.c0', gradients.dc0)
  gradients.dweights.forEach((dw, k) => {
    for (const [name, gradient] of Object.entries(dw) as [string, Matrix | Vector][])
      all.set(`grad.${name}_${ofLayers[k]}`, 'data' in gradient ? gradient.data : gradient)
  })
  return all
}
