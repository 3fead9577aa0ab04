/** One layer used many times: other shapes, changed weights, shared in one graph, backward in any order. */

import { describe, expect, it } from 'vitest'
import { CELL_NAMES as cells, parameterShapes } from '../lib/cells.ts'
import { concat, SGD, type Tensor, tensor } from '../lib/index.ts'
import { makeLayer, viewOf } from './support/library.ts'
import { type Config, makeCase, type RecurrentCase, runReference, stackOf } from './support/recurrent.ts'
import { type DType, expectClose, type Results } from './support/tolerance.ts'

const dtypes: DType[] = ['float32', 'float64']

describe.each(cells)('%s', (cell) => {
  const base: Config = { cell, T: 4, B: 3, I: 5, H: 9, L: 2, bidirectional: true, states: false }

  /** A layer, and ways to give it the weights of a case and to run that case through it. */
  function setUp(dtype: DType) {
    const layer = makeLayer(base, dtype)
    const make = (given: RecurrentCase, name: string, requiresGrad = false): Tensor =>
      tensor(viewOf(given.values.get(name) as Float64Array, dtype), given.shapes.get(name) as number[], {
        requiresGrad,
      })
    const load = (given: RecurrentCase) =>
      layer.loadStateDict(
        new Map([...parameterShapes(stackOf(base)).keys()].map((name) => [name, make(given, name)])),
      )
    const forward = (given: RecurrentCase) => {
      const input = make(given, 'input', true)
      const { lengths } = given.config
      const results = layer.forward(input, lengths ? { lengths } : {}) as object as Record<string, Tensor>
      const loss = Object.entries(results)
        .map(([name, value]) => value.mul(make(given, `d_${name}`)).sum())
        .reduce((sum, term) => sum.add(term))
      return { input, results, loss }
    }
    const read = async (results: Record<string, Tensor>): Promise<Results> => {
      const data: Results = new Map()
      for (const [name, value] of Object.entries(results)) data.set(name, await value.data())
      return data
    }
    const gradients = () =>
      read(
        Object.fromEntries(
          layer.namedParameters().map(([name, { grad }]) => [`grad.${name}`, grad as Tensor]),
        ),
      )
    return { layer, load, forward, read, gradients }
  }

  const only = (results: Results, keep: (name: string) => boolean): Results =>
    new Map([...results].filter(([name]) => keep(name)))
  const isResult = (name: string) => !name.startsWith('grad.')
  const isWeight = (name: string) => /^grad\.(weight|bias)/.test(name)
  const times = (results: Results, factor: number): Results =>
    new Map(
      [...results].map(([name, values]) => [name, Float64Array.from(values, (value) => value * factor)]),
    )

  it.each(dtypes)('serves every shape and sees its weights change, %s', async (dtype) => {
    const { layer, load, forward, read } = setUp(dtype)
    const shapes: Partial<Config>[] = [
      {},
      { T: 1, B: 1 },
      { T: 9, B: 17 },
      { T: 3, B: 40, lengths: Array.from({ length: 40 }, (_, b) => b % 4) },
      { T: 0 },
      { T: 65, B: 2 },
    ]
    for (const [seed, shape] of [...shapes, ...shapes].entries()) {
      const given = makeCase({ ...base, ...shape }, seed)
      load(given)
      for (let repeat = 0; repeat < 2; repeat++) {
        const { results } = forward(given)
        expectClose(await read(results), only(runReference(given), isResult), dtype, { group: true })
      }
      // Now an optimizer changes the weights in place.
      const { results, loss } = forward(given)
      loss.backward()
      new SGD(layer.parameters(), { lr: 2 ** -10 }).step()
      for (const [name, parameter] of layer.namedParameters())
        given.values.set(name, Float64Array.from(await parameter.data()))
      layer.zeroGrad()
      expectClose(await read(forward(given).results), only(runReference(given), isResult), dtype, {
        group: true,
      })
      results.output?.dispose()
    }
  })

  it.each(dtypes)('several passes before their backwards, in any order, %s', async (dtype) => {
    const { load, forward, layer, gradients } = setUp(dtype)
    const given = [1, 2, 3, 4].map((seed) => makeCase({ ...base, T: 2 + seed, lengths: [seed, 0, 2] }, seed))
    const first = given[0] as RecurrentCase
    for (const one of given)
      for (const name of parameterShapes(stackOf(base)).keys())
        one.values.set(name, first.values.get(name) as Float64Array)
    load(first)
    const passes = given.map(forward)
    for (const k of [2, 0, 3, 1]) {
      layer.zeroGrad()
      const { input, loss } = passes[k] as (typeof passes)[0]
      loss.backward()
      const expected = runReference(given[k] as RecurrentCase)
      expectClose(await gradients(), only(expected, isWeight), dtype, { group: true })
      expectClose(
        new Map([['grad.input', await (input.grad as Tensor).data()]]),
        only(expected, (name) => name === 'grad.input'),
        dtype,
        { group: true },
      )
    }
  })

  it.each(dtypes)('shared in one graph its gradients add up, %s', async (dtype) => {
    const { load, forward, gradients } = setUp(dtype)
    const given = makeCase(base, 6)
    load(given)
    const [a, b] = [forward(given), forward(given)]
    a.loss.add(b.loss.mul(2)).backward()
    expectClose(await gradients(), times(only(runReference(given), isWeight), 3), dtype, { group: true })
  })

  it.each(dtypes)('retainGraph leaves what the next backward needs, %s', async (dtype) => {
    const { load, forward, gradients } = setUp(dtype)
    const given = makeCase({ ...base, lengths: [4, 1, 2] }, 7)
    load(given)
    const { loss } = forward(given)
    for (const retainGraph of [true, true, false]) loss.backward(null, { retainGraph })
    expectClose(await gradients(), times(only(runReference(given), isWeight), 3), dtype, { group: true })
    expect(() => loss.backward()).toThrow(expect.objectContaining({ code: 'ERR_BPTT_GRAPH' }))
  })

  it.each(
    dtypes,
  )('in two halves joined by their states equals the whole, gradients too, %s', async (dtype) => {
    const given = makeCase({ cell, T: 6, B: 3, I: 5, H: 9, L: 2, states: false }, 8)
    const make = (name: string, requiresGrad = false): Tensor =>
      tensor(viewOf(given.values.get(name) as Float64Array, dtype), given.shapes.get(name) as number[], {
        requiresGrad,
      })
    const layer = makeLayer(given.config, dtype)
    layer.loadStateDict(
      new Map([...parameterShapes(stackOf(given.config)).keys()].map((name) => [name, make(name)])),
    )
    const input = make('input', true)
    const run = (from: number, to: number, state = {}) =>
      layer.forward(input.slice(from, to), state) as { output: Tensor; hn: Tensor; cn?: Tensor | null }
    const first = run(0, 2)
    const second = run(2, 6, { h0: first.hn, ...(first.cn && { c0: first.cn }) })
    const output = concat([first.output, second.output], 0)
    let loss = output
      .mul(make('d_output'))
      .sum()
      .add(second.hn.mul(make('d_hn')).sum())
    if (second.cn) loss = loss.add(second.cn.mul(make('d_cn')).sum())
    loss.backward()
    const actual: Results = new Map([
      ['output', await output.data()],
      ['grad.input', await (input.grad as Tensor).data()],
    ])
    for (const [name, { grad }] of layer.namedParameters())
      actual.set(`grad.${name}`, await (grad as Tensor).data())
    expectClose(
      actual,
      only(runReference(given), (name) => name === 'output' || name.startsWith('grad.')),
      dtype,
      { group: true },
    )
  })
})
