/** Random configurations against the reference. A failure prints its seed, path and the smallest counterexample. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CELL_NAMES, hasC } from '../lib/cells.ts'
import { concat, stack, tensor } from '../lib/index.ts'
import { generator } from '../lib/reference/uniform.ts'
import { describeConfig, runLibrary } from './support/library.ts'
import { type Config, makeCase, runReference, sizeOf } from './support/recurrent.ts'
import { type DType, expectClose } from './support/tolerance.ts'

/** As many runs as fit into the time; an interruption is no failure. */
const budget = (seconds: number, numRuns: number): fc.Parameters<unknown> => ({
  numRuns,
  interruptAfterTimeLimit: seconds * 1000,
})

const configs: fc.Arbitrary<Config> = fc
  .record({
    cell: fc.constantFrom(...CELL_NAMES),
    T: fc.integer({ min: 0, max: 12 }),
    B: fc.integer({ min: 0, max: 20 }),
    I: fc.integer({ min: 1, max: 40 }),
    H: fc.integer({ min: 1, max: 40 }),
    L: fc.integer({ min: 1, max: 3 }),
    bidirectional: fc.boolean(),
    bias: fc.boolean(),
    batchFirst: fc.boolean(),
    states: fc.boolean(),
    projected: fc.double({ min: 0, max: 1, noNaN: true }),
    ragged: fc.boolean(),
  })
  .chain(({ projected, ragged, ...config }) =>
    fc
      .array(fc.integer({ min: 0, max: config.T }), { minLength: config.B, maxLength: config.B })
      .map((lengths) => ({
        ...config,
        // A projection is narrower than the layer; half of the LSTMs have one.
        P: hasC(config.cell) ? Math.floor(Math.max(0, 2 * projected - 1) * config.H) % config.H : 0,
        ...(ragged && { lengths }),
      })),
  )

describe('recurrent layers', () => {
  it('any configuration agrees with the reference', async () => {
    await fc.assert(
      fc.asyncProperty(configs, fc.integer({ min: 0, max: 2 ** 31 }), async (config, seed) => {
        const given = makeCase(config, seed)
        const expected = runReference(given)
        expectClose(await runLibrary(given, 'float64'), expected, 'float64', { group: true })
        const single = await runLibrary(given, 'float32')
        // Rounding may take an argument of relu across zero, where its derivative jumps.
        const smooth = config.cell !== 'rnnRelu'
        const kept = (name: string) => smooth || !name.startsWith('grad.')
        const keep = <V>(values: Map<string, V>) => new Map([...values].filter(([name]) => kept(name)))
        expectClose(keep(single), keep(expected), 'float32', { group: true })
      }),
      budget(12, 400),
    )
  })

  it('a subset of the gradients has the values of the whole', async () => {
    await fc.assert(
      fc.asyncProperty(configs, fc.infiniteStream(fc.boolean()), async (config, wanted) => {
        const given = makeCase(config, 3)
        const choice = new Map([...given.values.keys()].map((name) => [name, wanted.next().value as boolean]))
        const all = await runLibrary(given, 'float32')
        const some = await runLibrary(given, 'float32', { gradients: (name) => choice.get(name) === true })
        const expected = new Map(
          [...all].filter(([name]) => !name.startsWith('grad.') || choice.get(name.slice(5))),
        )
        expect(some, describeConfig(config)).toEqual(expected)
      }),
      budget(4, 100),
    )
  })
})

type Shape = number[]
const shape = (maxRank: number): fc.Arbitrary<Shape> =>
  fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: maxRank })
const dtype = fc.constantFrom<DType>('float32', 'float64')

function random(dims: Shape, seed: number): number[] {
  const uniform = generator(seed)
  return Array.from({ length: sizeOf(dims) }, () => Math.fround(2 * uniform() - 1))
}

/** Every index of a shape, in row-major order. */
function* indices(dims: Shape): Generator<number[]> {
  const [first, ...rest] = dims
  if (first === undefined) yield []
  else for (let i = 0; i < first; i++) for (const tail of indices(rest)) yield [i, ...tail]
}

/** The element of a row-major array at an index of a broader shape: axes align at the end, length 1 repeats. */
function at(values: number[], dims: Shape, index: number[]): number {
  const own = index.slice(index.length - dims.length).map((i, axis) => (dims[axis] === 1 ? 0 : i))
  return values[own.reduce((offset, i, axis) => offset * (dims[axis] as number) + i, 0)] as number
}

describe('tensor operations', () => {
  it('broadcasting follows its definition', async () => {
    const pairs = fc
      .tuple(shape(4), fc.nat(4), fc.infiniteStream(fc.constantFrom(0, 1, 2)))
      .map(([dims, drop, kind]) => {
        // Each axis is kept by both, or has length 1 in one of them; b may lack leading axes.
        const kinds = dims.map(() => kind.next().value as number)
        const a = dims.map((size, axis) => (kinds[axis] === 1 ? 1 : size))
        const b = dims.map((size, axis) => (kinds[axis] === 2 ? 1 : size)).slice(Math.min(drop, dims.length))
        return { a, b }
      })
    await fc.assert(
      fc.asyncProperty(pairs, dtype, fc.nat(), async ({ a, b }, type, seed) => {
        const [x, y] = [random(a, seed), random(b, seed + 1).map((value) => value || 0.5)]
        const [left, right] = [tensor(x, a, { dtype: type }), tensor(y, b, { dtype: type })]
        const rank = Math.max(a.length, b.length)
        const out = Array.from({ length: rank }, (_, i) => {
          const [p, q] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1]
          return p === 1 ? q : p
        })
        const round = type === 'float32' ? Math.fround : (value: number) => value
        const each = (f: (p: number, q: number) => number) =>
          [...indices(out)].map((index) => round(f(at(x, a, index), at(y, b, index))))
        for (const [result, expected] of [
          [left.add(right), each((p, q) => p + q)],
          [left.sub(right), each((p, q) => p - q)],
          [left.mul(right), each((p, q) => p * q)],
          [left.div(right), each((p, q) => p / q)],
        ] as const) {
          expect(result.shape).toEqual(out)
          expect([...(await result.data())]).toEqual(expected)
        }
      }),
      budget(3, 200),
    )
  })

  it('matmul follows its definition, in batches and through transposes', async () => {
    const sizes = fc.record({
      batch: shape(2),
      m: fc.integer({ min: 0, max: 20 }),
      k: fc.integer({ min: 0, max: 40 }),
      n: fc.integer({ min: 0, max: 40 }),
      shared: fc.boolean(),
      flip: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(sizes, dtype, fc.nat(), async ({ batch, m, k, n, shared, flip }, type, seed) => {
        const [aShape, bShape] = [[...batch, m, k], shared ? [k, n] : [...batch, k, n]]
        const [x, y] = [random(aShape, seed), random(bShape, seed + 1)]
        const a = tensor(x, aShape, { dtype: type })
        let b = tensor(y, bShape, { dtype: type })
        if (flip) b = b.transpose(-1, -2).transpose(-1, -2)
        const expected = [...indices([...batch, m, n])].map((index) => {
          const [lead, i, j] = [index.slice(0, -2), index.at(-2) as number, index.at(-1) as number]
          let sum = 0
          for (let l = 0; l < k; l++)
            sum += at(x, aShape, [...lead, i, l]) * at(y, bShape, [...(shared ? [] : lead), l, j])
          return sum
        })
        const out = a.matmul(b)
        expect(out.shape).toEqual([...batch, m, n])
        expectClose(new Map([['out', await out.data()]]), new Map([['out', expected]]), type)
      }),
      budget(3, 150),
    )
  })

  it('sum, slice, concat and stack follow their definitions', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
        fc.nat(3),
        fc.nat(5),
        fc.nat(),
        async (dims, axisSeed, cut, seed) => {
          const axis = axisSeed % dims.length
          const size = dims[axis] as number
          const at1 = cut % (size + 1)
          const x = random(dims, seed)
          const a = tensor(x, dims, { dtype: 'float64' })
          const rest = dims.filter((_, i) => i !== axis)
          const sums = [...indices(rest)].map((index) => {
            let sum = 0
            for (let i = 0; i < size; i++)
              sum += at(x, dims, [...index.slice(0, axis), i, ...index.slice(axis)])
            return sum
          })
          expectClose(new Map([['sum', await a.sum(axis).data()]]), new Map([['sum', sums]]), 'float64', {
            group: true,
          })
          const [head, tail] = [a.slice(0, at1, axis), a.slice(at1, size, axis)]
          expect(head.shape[axis]).toBe(at1)
          expect([...(await concat([head, tail], axis).data())]).toEqual(x)
          const both = stack([a, a.neg()], axis)
          expect(both.shape).toEqual([...dims.slice(0, axis), 2, ...dims.slice(axis)])
          expect([...(await both.slice(1, 2, axis).data())]).toEqual(x.map((value) => -value))
        },
      ),
      budget(3, 150),
    )
  })
})
