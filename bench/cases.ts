/** What follows from a case alone: shapes, lengths, counts of operations, its name. */
import {
  type CellName,
  directions,
  generator,
  outputSize,
  parameterShapes,
  takesProjection,
} from '#internals'
import type { Case } from './report/report.ts'

/** The demo's model: its cell, and the size of its vocabulary. */
const DEMO_CELL: CellName = 'lstm'
export const VOCABULARY = 96

/** Whether the check compares gradients. */
export const hasGradients = ({ pass }: Case): boolean =>
  pass === 'train' || pass === 'ops' || pass === 'decoder'

/** The stack of a case: the cell of a decoder reads its input and what it looked at side by side. */
export const stackOfCase = (one: Case): Case => (one.pass === 'decoder' ? { ...one, I: one.I + one.H } : one)

/** Numbers in parameters and sequences. */
export function elements(one: Case): number {
  const weights = [...parameterShapes(stackOfCase(one)).values()].map((shape) =>
    shape.reduce((size, n) => size * n, 1),
  )
  const width = one.I + one.layers * directions(one) * outputSize(one)
  return one.T * one.B * width + weights.reduce((sum, size) => sum + size, 0)
}

/** Steps of each row, uniform over 1..T; null where all are T. */
export function rowLengths({ lengths, B, T }: Case): number[] | null {
  if (lengths === 'full') return null
  const uniform = generator(7)
  return Array.from({ length: B }, () => 1 + Math.floor(uniform() * T))
}

/** Floating-point operations of one step of one row, forward: those of the products. */
export function operationsPerStep(one: Case): number {
  let multiplications = 0
  for (const [name, [rows, cols]] of parameterShapes(stackOfCase(one)) as Map<string, [number, number]>) {
    if (name.startsWith('weight')) multiplications += rows * cols
  }
  if (one.pass === 'demo') multiplications += VOCABULARY * one.H
  if (one.pass === 'decoder') multiplications += 2 * one.T * one.H
  return 2 * multiplications
}

/** Time steps of one call, pass step. */
export const stepsOf = ({ steps }: Case): number => steps ?? 1

/** Floating-point operations of one timed call. */
export function operations(one: Case): number {
  const { pass, B, T } = one
  const steps =
    pass === 'step' ? B * stepsOf(one) : (rowLengths(one)?.reduce((sum, length) => sum + length, 0) ?? T * B)
  return operationsPerStep(one) * steps * (pass === 'forward' || pass === 'step' ? 1 : 3)
}

/** e.g. 'lstm train 16,50,128,128 2 layers bidirectional' */
export function describeCase(one: Case): string {
  const { pass, cell, B, T, I, H, dtype } = one
  const shape = [B, T, I, H].join(',')
  return [cell, pass, shape, ...variantOf(one), ...(dtype === 'float64' ? ['float64'] : [])].join(' ')
}

/** What sets a case apart from one plain layer, in words. */
export function variantOf({ layers, bidirectional, projSize, lengths, steps, busy }: Case): string[] {
  return [
    ...(layers > 1 ? [`${layers} layers`] : []),
    ...(bidirectional ? ['bidirectional'] : []),
    ...(projSize > 0 ? [`projection ${projSize}`] : []),
    ...(lengths === 'ragged' ? ['ragged'] : []),
    ...(steps !== undefined ? [`${steps} steps`] : []),
    ...(busy ? ['busy'] : []),
  ]
}

/** Why nobody can be asked this; null if it makes sense. */
export function impossible(one: Case): string | null {
  const { pass, cell, bidirectional, projSize, lengths, T, H, layers, steps, busy } = one
  if (projSize > 0 && !takesProjection(cell)) return `a projection is the LSTM's, not the ${cell}'s`
  if (projSize >= H) return `a projection to ${projSize} is not smaller than H = ${H}`
  if (busy && (pass === 'step' || pass === 'ops'))
    return `pass ${pass} keeps the JavaScript thread at work: it cannot be busy beside it`
  if (steps !== undefined && pass !== 'step') return 'several steps in one call are of pass step'
  if (steps !== undefined && T % steps !== 0) return `T = ${T} is no multiple of ${steps} steps`
  const plain = !bidirectional && lengths === 'full'
  if (pass === 'step' && !plain) return 'a stream has one direction, and rows of one length'
  if (pass === 'demo' && !(plain && cell === DEMO_CELL && layers === 1 && projSize === 0))
    return "the demo's model is one plain LSTM layer"
  if (pass === 'decoder' && !(plain && layers === 1 && projSize === 0)) return 'a decoder is one plain cell'
  if (pass === 'ops' && !(plain && layers === 1 && projSize === 0)) return 'pass ops takes one plain layer'
  return null
}
