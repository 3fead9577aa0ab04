/** Whether a contender computes what it should: its results against those of the float64 reference. */
import {
  directions,
  gru,
  lstm,
  outputSize,
  parameterShapes,
  rnnTanh,
  runReference,
  type Vector,
  type Weights,
} from '#internals'
import { hasGradients, rowLengths, stackOfCase } from '../cases.ts'
import { type Case, ONE_THREAD } from '../report/report.ts'
import { type CaseData, type Numbers, readTensor, type Sample } from './data.ts'
import type { Places } from './protocol.ts'
import { runDecoder } from './reference_decoder.ts'
import { demoLosses } from './reference_demo.ts'

const CELLS = { lstm, gru, rnn: rnnTanh }

/** Expected results by the protocol's names. Tensors of the sequence hold the sample alone: [steps,rows,*]. */
export type Expected = Map<string, Vector>

/** The largest error allowed, as a part of the tensor's largest magnitude. */
export interface Bounds {
  result: number
  gradient: number
}

/**
 * Ours are those of docs/numerics.md, which says why they grow with the length of the products; on a device, whose
 * libraries sum in an order of their own, ten times as much. A peer shall only be shown to compute the same thing.
 */
export function boundsFor(name: string, one: Case, device = 'cpu'): Bounds {
  const single = one.dtype === 'float32'
  if (name !== 'bptt' && name !== ONE_THREAD)
    return single ? { result: 1e-4, gradient: 1e-4 } : { result: 1e-9, gradient: 1e-9 }
  const width = directions(one) * outputSize(one)
  const terms = outputSize(one) + Math.max(one.I, one.layers > 1 ? width : 0)
  const growth = Math.sqrt(Math.max(1, terms / 1024)) * (device === 'cpu' ? 1 : 10)
  const [result, gradient] = single ? [2e-6, 5e-6] : [1e-12, 1e-12]
  return { result: result * growth, gradient: gradient * growth }
}

export function expected(one: Case, { sample, tensors }: CaseData): Expected {
  const doubles = (name: string): Vector =>
    Float64Array.from((tensors.get(name) as { values: Numbers }).values)
  if (one.pass === 'demo') return new Map([['losses', demoLosses(one, doubles, 3)]])
  const lengths = rowLengths(one)
  const names = [...parameterShapes(stackOfCase(one))]
  const perCell = names.length / (one.layers * directions(one))
  const weights = Array.from({ length: names.length / perCell }, (_, k) =>
    toWeights(names.slice(k * perCell, (k + 1) * perCell), doubles),
  )
  const sampled = (name: string): Vector =>
    takeSample((tensors.get(name) as { values: Numbers }).values, one, sample)
  const size = { cell: CELLS[one.cell], T: sample.steps, B: sample.rows.length, x: sampled('x') }
  if (one.pass === 'decoder') {
    const { output, backward } = runDecoder({
      ...size,
      weights: weights[0] as Weights,
      memory: sampled('memory'),
    })
    const { dx, dmemory, dweights } = backward(sampled('dy'))
    return new Map([
      ['output', output],
      ['dx', dx],
      ['dmemory', dmemory],
      ...gradients(names, [dweights], perCell),
    ])
  }
  const { output, backward } = runReference({
    ...size,
    weights,
    directions: directions(one),
    ...(lengths && { lengths: sample.rows.map((b) => Math.min(lengths[b] as number, sample.steps)) }),
  })
  const results: Expected = new Map([['output', output]])
  if (!hasGradients(one)) return results
  const { dx, dweights } = backward({ output: sampled('dy') })
  return new Map([...results, ['dx', dx], ...gradients(names, dweights, perCell)])
}

/** Gradients of parameters by the protocol's names. */
function gradients(names: [string, unknown][], dweights: Weights[], perCell: number): [string, Vector][] {
  return names.map(([name], i) => {
    const gradient = dweights[Math.floor(i / perCell)]?.[withoutSuffix(name)] as Vector | { data: Vector }
    return [`d.${name}`, 'data' in gradient ? gradient.data : gradient]
  })
}

const withoutSuffix = (name: string): keyof Weights => name.replace(/_l\d+(_reverse)?$/, '') as keyof Weights

function toWeights(names: [string, number[]][], doubles: (name: string) => Vector): Weights {
  const entries = names.map(([name, [rows = 0, cols]]) => {
    const data = doubles(name)
    return [withoutSuffix(name), cols === undefined ? data : { rows, cols, data }]
  })
  return Object.fromEntries(entries) as Weights
}

/** The sampled rows and steps of a tensor [T,B,*], in float64. */
function takeSample(values: Numbers, { T, B }: Case, { rows, steps }: Sample): Vector {
  const width = values.length / (T * B)
  const result = new Float64Array(steps * rows.length * width)
  for (let t = 0; t < steps; t++) {
    rows.forEach((b, i) => {
      const from = (t * B + b) * width
      result.set(values.subarray(from, from + width), (t * rows.length + i) * width)
    })
  }
  return result
}

/** What is wrong with a contender's results, one line per tensor; empty if nothing is. */
export function findErrors(
  one: Case,
  sample: Sample,
  expected: Expected,
  results: Places,
  out: string,
  bounds: Bounds,
): string[] {
  const problems: string[] = []
  for (const [name, wanted] of expected) {
    const place = results[name]
    if (!place) {
      problems.push(`${name} is missing`)
      continue
    }
    const values = readTensor(out, place, one.dtype)
    const problem = compare(one, sample, name, wanted, values, bounds)
    if (problem) problems.push(`${name}: ${problem}`)
  }
  return problems
}

function compare(
  one: Case,
  sample: Sample,
  name: string,
  wanted: Vector,
  values: Numbers,
  bounds: Bounds,
): string | null {
  const gradient = name === 'dx' || name === 'dmemory'
  const sequence = name === 'output' || gradient
  const size = sequence
    ? one.T * one.B * (name === 'dx' ? one.I : directions(one) * outputSize(one))
    : wanted.length
  if (values.length !== size) return `${values.length} elements, not ${size}`
  for (let i = 0; i < values.length; i++)
    if (!Number.isFinite(values[i] as number)) return `element ${i} is ${values[i]}`
  const actual = sequence ? takeSample(values, one, sample) : values
  let [error, largest] = [0, 0]
  for (let i = 0; i < wanted.length; i++) {
    const value = wanted[i] as number
    largest = Math.max(largest, Math.abs(value))
    error = Math.max(error, Math.abs((actual[i] as number) - value))
  }
  const bound = name === 'output' || name === 'losses' ? bounds.result : bounds.gradient
  if (error > bound * largest) {
    return `error ${(error / largest).toExponential(1)} of the largest magnitude, allowed ${bound.toExponential(1)}`
  }
  if (!gradient) return null
  const nonzero = (numbers: ArrayLike<number>): number => {
    let count = 0
    for (let i = 0; i < numbers.length; i++) if (numbers[i] !== 0) count++
    return count
  }
  // Where no gradient came in, none may go out.
  return nonzero(values) > nonzero(actual) ? 'not zero where the gradient of the output is' : null
}

/** Says what a check of this case compares, for messages. */
export function describeSample(one: Case, { rows, steps }: Sample): string {
  if (one.pass === 'demo') return 'losses of 3 steps'
  return rows.length === one.B && steps === one.T
    ? 'every row and step'
    : `rows ${rows.join(' ')}, steps 0 to ${steps - 1}${hasGradients(one) ? ', every parameter' : ''}`
}
