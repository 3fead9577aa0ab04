/**
 * How far a result may be from the float64 reference: the one table of the tests (docs/numerics.md).
 *
 * The error of a tensor is max |actual - expected| / max |expected|. In float32 it may be twice the error that
 * PyTorch's own float32 run made on the same case, where that is known (fixtures), and always at least the floor.
 * Layers that compute in another type have floors of their own.
 */
import { expect } from 'vitest'
import type { Compute } from '../../lib/index.ts'

export type DType = 'float32' | 'float64'
export type Numbers = ArrayLike<number>
export type Results = Map<string, Numbers>

const FLOOR = {
  float32: { result: 2e-6, gradient: 5e-6 },
  float64: { result: 1e-12, gradient: 1e-12 },
  tf32: { result: 6e-3, gradient: 2e-2 },
  float16: { result: 6e-3, gradient: 2e-2 },
  bfloat16: { result: 4e-2, gradient: 8e-2 },
}

export function tolerance(dtype: DType | Compute, name: string, torchError = 0): number {
  const floor = FLOOR[dtype][name.startsWith('grad.') ? 'gradient' : 'result']
  return dtype === 'float32' ? Math.max(floor, 2 * torchError) : floor
}

export function largest(values: Numbers): number {
  let result = 0
  for (let i = 0; i < values.length; i++) result = Math.max(result, Math.abs(values[i] as number))
  return result
}

/** max |actual - expected|; values that are not finite must be the same, else it is infinite. */
export function difference(actual: Numbers, expected: Numbers): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let result = 0
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i] as number, expected[i] as number]
    if (Object.is(a, e) || a === e) continue
    const distance = Math.abs(a - e)
    result = Math.max(result, Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance)
  }
  return result
}

/**
 * Every expected tensor is there and near enough. With `group`, an error is measured against the largest magnitude
 * among all results, or all gradients, of the case: sums in a tensor of few elements may cancel, so that their own
 * magnitude says nothing about the size of what was added.
 */
export function expectClose(
  actual: Results,
  expected: Results,
  dtype: DType | Compute,
  { torchErrors = {}, group = false }: { torchErrors?: Record<string, number>; group?: boolean } = {},
): void {
  const kind = (name: string) => name.startsWith('grad.')
  const failures: string[] = []
  for (const [name, values] of expected) {
    const peers = group
      ? [...expected].filter(([other]) => kind(other) === kind(name))
      : [[name, values] as const]
    const scale = Math.max(...peers.map(([, peer]) => largest(peer)))
    const own = actual.get(name)
    if (!own) failures.push(`${name}: missing`)
    else if (own.length !== values.length)
      failures.push(`${name}: ${own.length} elements, not ${values.length}`)
    else {
      const limit = tolerance(dtype, name, torchErrors[name])
      const error = difference(own, values)
      if (!(error <= limit * scale)) {
        const relative = (error / scale).toExponential(2)
        failures.push(
          `${name}: error ${relative} of the largest magnitude ${scale}, limit ${limit.toExponential(1)}`,
        )
      }
    }
  }
  for (const name of actual.keys()) if (!expected.has(name)) failures.push(`${name}: unexpected`)
  expect(failures).toEqual([])
}

/** Sums over tens of thousands of rows and more: within this of the float64 value, in float32. */
const MANY_ROWS = 1e-6
/** Units saturated by inputs of 1e3: those that are not yet have a float32 sum's error of 1e-4 in their argument. */
const SATURATED = 1e-4

function expectWithin(limit: number, actual: Results, expected: Results): void {
  const errors = [...expected].map(([name, values]): [string, number] => [
    name,
    difference(actual.get(name) ?? [], values) / largest(values),
  ])
  expect(errors.filter(([, error]) => !(error <= limit))).toEqual([])
}

export function expectManyRows(actual: Results, expected: Results): void {
  expectWithin(MANY_ROWS, actual, expected)
}

export function expectSaturated(actual: Results, expected: Results): void {
  expectWithin(SATURATED, actual, expected)
}
