/** The same bits whatever the number of threads, the batch around a row, the steps at a time, the FMA table. */

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { CELL_NAMES as cells, hasC } from '../lib/cells.ts'
import {
  clipGradNorm,
  crossEntropy,
  getNumThreads,
  info,
  manualSeed,
  randn,
  setNumThreads,
  type Tensor,
  tensor,
} from '../lib/index.ts'
import { makeLayer, runLibrary } from './support/library.ts'
import { type Config, makeCase, type RecurrentCase } from './support/recurrent.ts'
import type { DType, Results } from './support/tolerance.ts'

const dtypes: DType[] = ['float32', 'float64']

function hash(values: ArrayLike<number>): string {
  const { buffer, byteOffset, byteLength } = values as Float32Array
  return createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex')
}

const hashes = (results: Results) =>
  Object.fromEntries([...results].map(([name, values]) => [name, hash(values)]))

describe('any number of threads', () => {
  const before = getNumThreads()
  afterEach(() => setNumThreads(before))

  for (const cell of cells)
    it.each(dtypes)(`${cell}, %s`, async (dtype) => {
      const shapes: Config[] = [
        {
          cell,
          T: 9,
          B: 33,
          I: 17,
          H: 64,
          L: 2,
          bidirectional: true,
          lengths: Array.from({ length: 33 }, (_, b) => (b * 4) % 10),
        },
        { cell, T: 70, B: 1, I: 9, H: 129 },
        { cell, T: 9, B: 64, I: 65, H: 33, batchFirst: true },
        ...(hasC(cell) ? [{ cell, T: 5, B: 7, I: 9, H: 65, P: 33, L: 2 }] : []),
      ]
      for (const config of shapes) {
        const given = makeCase(config, 2)
        setNumThreads(1)
        const alone = hashes(await runLibrary(given, dtype))
        for (const threads of [2, 3]) {
          setNumThreads(threads)
          expect(getNumThreads()).toBe(threads)
          expect(hashes(await runLibrary(given, dtype))).toEqual(alone)
        }
      }
    })

  it.each(dtypes)('other operations, %s', async (dtype) => {
    const run = async (): Promise<Record<string, string>> => {
      manualSeed(5)
      const a = randn([129, 257], { dtype, requiresGrad: true })
      const b = randn([257, 65], { dtype, requiresGrad: true })
      const long = randn([100_003], { dtype, requiresGrad: true })
      const product = a.matmul(b)
      const target = tensor(
        Array.from({ length: 129 }, (_, i) => i % 65),
        [129],
        { dtype: 'int32' },
      )
      const loss = product
        .logSoftmax(-1)
        .mean()
        .add(crossEntropy(product, target))
        .add(long.tanh().exp().sum())
      loss.backward()
      const norm = clipGradNorm([a, b, long], 0.1)
      const named: Record<string, Tensor> = {
        a,
        b,
        long,
        product,
        loss,
        norm,
        mean: a.mean(0),
        softmax: a.softmax(0),
      }
      for (const leaf of [a, b, long]) named[`gradient of ${leaf.shape}`] = leaf.grad as Tensor
      const result: Record<string, string> = {}
      for (const [name, value] of Object.entries(named)) result[name] = hash(await value.data())
      return result
    }
    setNumThreads(1)
    const alone = await run()
    for (const threads of [2, 3]) {
      setNumThreads(threads)
      expect(await run()).toEqual(alone)
    }
  })
})

describe('again and again, with more threads than processors', () => {
  const before = getNumThreads()
  afterEach(() => setNumThreads(before))

  // Rows that end early, in chunks of time whose accumulators are used again by other threads.
  it.each(cells)('%s', async (cell) => {
    const lengths = Array.from({ length: 37 }, (_, b) => (b * 5 + 3) % 25)
    const given = makeCase({ cell, T: 24, B: 37, I: 11, H: 40, bidirectional: true, lengths }, 9)
    for (const dtype of dtypes) {
      setNumThreads(1)
      const [trained, inferred] = [
        await runLibrary(given, dtype),
        await runLibrary(given, dtype, { plain: true }),
      ]
      for (let repeat = 0; repeat < 15; repeat++) {
        setNumThreads(2 + (repeat % 4))
        expect(hashes(await runLibrary(given, dtype, { plain: true }))).toEqual(hashes(inferred))
        if (repeat < 4) expect(hashes(await runLibrary(given, dtype))).toEqual(hashes(trained))
      }
    }
  })
})

/** The rows [from, to) of a case with time-major input, as a case of its own. */
function rows(given: RecurrentCase, from: number, to: number): RecurrentCase {
  const config = { ...given.config, B: to - from, lengths: given.config.lengths?.slice(from, to) }
  const shapes = new Map(given.shapes)
  const values = new Map(given.values)
  for (const name of ['input', 'd_output', 'h0', 'c0', 'd_hn', 'd_cn']) {
    const shape = shapes.get(name)
    if (!shape) continue
    const [outer, B, inner] = shape as [number, number, number]
    shapes.set(name, [outer, to - from, inner])
    const source = values.get(name) as Float64Array
    const parts = Array.from({ length: outer }, (_, i) =>
      source.slice((i * B + from) * inner, (i * B + to) * inner),
    )
    values.set(name, Float64Array.from(parts.flatMap((part) => [...part])))
  }
  return { config, shapes, values }
}

const PER_ROW = ['output', 'hn', 'cn', 'grad.input', 'grad.h0', 'grad.c0']

describe.each(cells)('a row does not depend on the batch around it: %s', (cell) => {
  const B = 33
  const config: Config = { cell, T: 5, B, I: 7, H: 19, L: 2, bidirectional: true }
  for (const lengths of [undefined, Array.from({ length: B }, (_, b) => (b * 5 + 3) % 6)])
    it.each(dtypes)(`${lengths ? 'with' : 'without'} lengths, %s`, async (dtype) => {
      const given = makeCase({ ...config, lengths } as Config, 8)
      const whole = await runLibrary(given, dtype)
      const expectRows = async (from: number, to: number) => {
        const part = rows(given, from, to)
        const actual = await runLibrary(part, dtype)
        for (const name of PER_ROW)
          if (whole.has(name)) {
            const inner = (given.shapes.get(name.replace('grad.', '')) ??
              given.shapes.get(`d_${name}`))?.[2] as number
            const all = whole.get(name) as Float32Array
            const outer = all.length / inner / B
            const expected = Array.from({ length: outer }, (_, i) => [
              ...all.slice((i * B + from) * inner, (i * B + to) * inner),
            ])
            expect([...(actual.get(name) as Float32Array)], `${name} of rows ${from} to ${to}`).toEqual(
              expected.flat(),
            )
          }
      }
      for (let b = 0; b < B; b++) await expectRows(b, b + 1)
      for (let size = 2; size < B; size++) await expectRows(B - size, B)
    })
})

describe.each(cells)('streaming and chunks equal the full sequence: %s', (cell) => {
  for (const B of [1, 2, 5])
    for (const P of hasC(cell) ? [0, 3] : [0])
      it.each(dtypes)(`batch ${B}${P ? ', projected' : ''}, %s`, async (dtype) => {
        const [T, I, H] = [9, 7, 17]
        const given = makeCase({ cell, T, B, I, H, P, L: 2 }, 4)
        const layer = makeLayer(given.config, dtype)
        const ArrayType = dtype === 'float32' ? Float32Array : Float64Array
        const x = new ArrayType(given.values.get('input') as Float64Array)
        const forward = async (from: number, to: number, state: object = {}) => {
          const input = tensor(x.slice(from * B * I, to * B * I), [to - from, B, I])
          const results = layer.forward(input, state as never) as { output: Tensor; hn: Tensor; cn?: Tensor }
          return { results, output: [...(await results.output.data())] }
        }
        const whole = await forward(0, T)

        const first = await forward(0, 4)
        const { hn: h0, cn: c0 } = first.results
        const second = await forward(4, T, { h0, ...(c0 && { c0 }) })
        expect([...first.output, ...second.output]).toEqual(whole.output)
        expect(await second.results.hn.data()).toEqual(await whole.results.hn.data())

        const stream = layer.stream({ batch: B })
        const steps: number[] = []
        for (let t = 0; t < T; t++)
          steps.push(...stream.step(x.slice(t * B * I, (t + 1) * B * I) as Float32Array))
        expect(steps).toEqual(whole.output)
        stream.reset()
        expect([...stream.step(x.slice(0, B * I) as Float32Array)]).toEqual(
          whole.output.slice(0, B * (P || H)),
        )
        stream.dispose()
      })
})

describe('every FMA table of this CPU gives the same float32 bits', () => {
  const tables = info().isas.filter((isa) => isa !== 'baseline')
  const run = (isa: string) => {
    const script = fileURLToPath(new URL('support/bits.mjs', import.meta.url))
    const printed = execFileSync(process.execPath, [script], {
      env: { ...process.env, BPTT_ISA: isa },
      encoding: 'utf8',
    })
    return JSON.parse(printed) as { isa: string; hashes: Record<string, string> }
  }
  const name = tables.length > 1 ? tables.join(', ') : `skipped: this CPU runs only ${info().isas.join(', ')}`
  it.skipIf(tables.length < 2)(name, () => {
    const [first, ...others] = tables.map(run)
    expect(Object.keys(first?.hashes ?? {}).length).toBeGreaterThan(500)
    expect(first?.isa).toBe(tables[0])
    for (const other of others) {
      const different = Object.keys(other.hashes).filter((key) => other.hashes[key] !== first?.hashes[key])
      expect({ isa: other.isa, different }).toEqual({ isa: other.isa, different: [] })
    }
  })
})
