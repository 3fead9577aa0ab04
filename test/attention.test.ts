/** Attention: against PyTorch, its masks, its derivatives, and the modules around it. */
import {
  AdditiveAttention,
  DotAttention,
  GRUCell,
  grad,
  gradcheck,
  MultiheadAttention,
  manualSeed,
  randn,
  scaledDotProductAttention,
  stack,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { type Case, readCases } from './fixtures/read.ts'
import { codeOf } from './support/failure.ts'
import { type F64, x } from './support/gradient_cases.ts'
import { type DType, expectClose, type Results } from './support/tolerance.ts'

const valuesOf = (x: Tensor | null | undefined) => [...(x as Tensor).dataSync()]
const bool = (data: number[], shape?: number[]) => tensor(Uint8Array.from(data), shape, { dtype: 'bool' })
const double = { dtype: 'float64' } as const

const named = readCases('attention').map((fixture): [string, Case] => [fixture.name, fixture])
const dtypes: DType[] = ['float32', 'float64']

describe.each(dtypes)('PyTorch: attention, %s', (dtype) => {
  const given = (fixture: Case, name: string, requiresGrad = false) => {
    const entry = fixture.tensors.get(name)
    if (!entry) return null
    return tensor(Array.from(entry.data), entry.shape, { dtype, requiresGrad })
  }
  it.each(named)('%s', (_, fixture) => {
    const [query, key, value] = ['query', 'key', 'value'].map((name) => given(fixture, name, true) as Tensor)
    const mask = given(fixture, 'mask')?.ne(0) ?? null
    const leaves = new Map<string, Tensor>(Object.entries({ query, key, value } as Record<string, Tensor>))
    const { op, causal, scale, options } = fixture
    let found: { output: Tensor; weights: Tensor }
    if (op === 'product') {
      found = scaledDotProductAttention(query as Tensor, key as Tensor, value as Tensor, {
        mask,
        causal,
        scale: scale ?? undefined,
      })
    } else {
      const layer = new MultiheadAttention(6, 2, { dtype, ...options })
      for (const [name, parameter] of layer.namedParameters()) leaves.set(`p.${name}`, parameter)
      layer.loadStateDict(
        Object.fromEntries(
          layer.namedParameters().map(([name]) => [name, given(fixture, `p.${name}`) as Tensor]),
        ),
      )
      found = layer.forward(query as Tensor, key, value, { mask })
    }
    found.output.backward(given(fixture, 'd_out'))
    const results: Results = new Map()
    const expected: Results = new Map()
    for (const name of Object.keys(fixture.error)) {
      expected.set(name, fixture.tensors.get(name)?.data as Float64Array)
      const tensor = name.startsWith('grad.')
        ? leaves.get(name.slice('grad.'.length))?.grad
        : found[name === 'out' ? 'output' : 'weights']
      results.set(name, Float64Array.from((tensor as Tensor).dataSync()))
    }
    expectClose(results, expected, dtype, { torchErrors: fixture.error })
  })
})

describe('scaledDotProductAttention', () => {
  const [q, k, v] = [x(2, 3, 2), x(2, 4, 2), x(2, 4, 3)]
  const mask = bool([1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0], [3, 4])

  it('has first and second derivatives, masked rows included', () => {
    const run = (q: Tensor, k: Tensor, v: Tensor) =>
      scaledDotProductAttention(q, k, v, { mask, lengths: [4, 1] }).output
    expect(gradcheck<F64[]>(run as never, [q, k, v])).toBe(true)
    const twice = () => grad(run(q, k, v).exp().sum(), [q, k, v] as Tensor[], { createGraph: true })
    expect(gradcheck<F64[]>(twice as never, [q, k, v])).toBe(true)
  })

  it('gives zeros where a query may attend to nothing', () => {
    const { output, weights } = scaledDotProductAttention(q, k, v, { mask })
    expect(valuesOf(weights.slice(1, 2, 1)).every((value) => value === 0)).toBe(true)
    expect(valuesOf(output.slice(1, 2, 1)).every((value) => value === 0)).toBe(true)
    expect(valuesOf(weights.sum(-1))).toEqual([1, 0, 1, 1, 0, 1].map((one) => expect.closeTo(one, 12)))
  })

  it('never reads what padding scores', () => {
    const bad = tensor([[[1], [Number.NaN], [Number.POSITIVE_INFINITY]]], { dtype: 'float64' })
    const { weights } = scaledDotProductAttention(
      tensor([[[1]]], double),
      bad,
      tensor([[[1], [1], [1]]], double),
      {
        lengths: [1],
      },
    )
    expect(valuesOf(weights)).toEqual([1, 0, 0])
  })

  it('drops weights and scales the others', () => {
    manualSeed(1)
    const values = tensor([Array.from({ length: 64 }, () => [1])], double)
    const one = scaledDotProductAttention(x(1, 1, 2), x(1, 64, 2), values, { dropout: 0.5 })
    expect(valuesOf(one.output)[0]).not.toBeCloseTo(1, 3)
    expect(valuesOf(one.weights.sum())[0]).toBeCloseTo(1, 12)
  })

  it.each([
    ['ERR_BPTT_SHAPE', () => scaledDotProductAttention(q, x(2, 4, 3), v)],
    ['ERR_BPTT_SHAPE', () => scaledDotProductAttention(q, k, x(2, 3, 3))],
    ['ERR_BPTT_SHAPE', () => scaledDotProductAttention(q, k, v, { mask: bool([1, 1]) })],
    ['ERR_BPTT_SHAPE', () => scaledDotProductAttention(q, k, v, { lengths: [1] })],
    ['ERR_BPTT_VALUE', () => scaledDotProductAttention(q, k, v, { lengths: [1, 5] })],
    ['ERR_BPTT_DTYPE', () => scaledDotProductAttention(q, k, v, { mask: x(3, 4) as never })],
    ['ERR_BPTT_DTYPE', () => scaledDotProductAttention(q, randn([2, 4, 2]) as never, v)],
    ['ERR_BPTT_TYPE', () => scaledDotProductAttention(q, k, v, { isCausal: true } as never)],
  ])('refuses what does not fit: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})

describe('DotAttention and AdditiveAttention', () => {
  const keys = x(2, 4, 3)
  const query = x(2, 5)
  const general = new DotAttention({ querySize: 5, keySize: 3, ...double })
  const additive = new AdditiveAttention(5, 3, 4, double)

  it('score as their papers say', () => {
    const score = (b: number, s: number, of: (q: number[], k: number[]) => number) =>
      of(valuesOf(query.slice(b, b + 1)), valuesOf(keys.slice(b, b + 1).slice(s, s + 1, 1)))
    const weight = valuesOf(general.weight)
    const product = (q: number[], k: number[]) =>
      k.reduce(
        (sum, value, i) =>
          sum + value * q.reduce((one, other, j) => one + other * (weight[i * 5 + j] as number), 0),
        0,
      )
    const [W, b, U, v] = [additive.query.weight, additive.query.bias, additive.key.weight, additive.v].map(
      valuesOf,
    )
    const network = (q: number[], k: number[]) =>
      (v as number[]).reduce((sum, one, a) => {
        const inner = q.reduce((s, value, j) => s + value * (W?.[a * 5 + j] as number), b?.[a] as number)
        return sum + one * Math.tanh(k.reduce((s, value, j) => s + value * (U?.[a * 3 + j] as number), inner))
      }, 0)
    for (const [layer, of] of [
      [general, product],
      [additive, network],
    ] as const) {
      const { weights, output } = layer.forward(query, keys)
      const expected = [0, 1].flatMap((row) => {
        const scores = [0, 1, 2, 3].map((s) => Math.exp(score(row, s, of)))
        const total = scores.reduce((sum, one) => sum + one, 0)
        return scores.map((one) => one / total)
      })
      expect(valuesOf(weights)).toEqual(expected.map((one) => expect.closeTo(one, 10)))
      expect(output.shape).toEqual([2, 3])
    }
  })

  it.each([
    ['DotAttention', general],
    ['AdditiveAttention', additive],
  ] as const)('%s: steps are sequences of one, in every form; gradients', (_, layer) => {
    const one = layer.forward(query, keys, { lengths: [4, 2] })
    const many = layer.forward(query.reshape([2, 1, 5]), keys, { lengths: [4, 2] })
    expect(valuesOf(one.output)).toEqual(valuesOf(many.output))
    const twice = layer.forward(stack([query, query], 1), keys, { lengths: [4, 2] })
    expect(valuesOf(twice.output.slice(1, 2, 1))).toEqual(valuesOf(one.output))
    const mask = bool([1, 1, 0, 1, 1, 1, 0, 0], [2, 4])
    const values = x(2, 4, 2)
    const run = () => layer.forward(query, keys, { mask, values }).output
    const inputs = [query, keys, values, ...(layer.parameters() as F64[])]
    expect(gradcheck<F64[]>(run as never, inputs)).toBe(true)
    expect(run().shape).toEqual([2, 2])
  })

  it('take the plain product without sizes, and keys projected once', () => {
    const q = x(2, 3)
    const { weights } = new DotAttention(double as never).forward(q, keys)
    const scores = keys
      .matmul(q.reshape([2, 3, 1]))
      .reshape([2, 4])
      .softmax()
    expect(valuesOf(weights)).toEqual(valuesOf(scores).map((one) => expect.closeTo(one, 12)))
    const projected = additive.project(keys)
    expect(valuesOf(additive.forward(query, keys, { projected }).output)).toEqual(
      valuesOf(additive.forward(query, keys).output),
    )
  })

  it('decode: a loop of a cell that attends learns', () => {
    const cell = new GRUCell(3, 5, double)
    const loss = () => {
      let state = cell.forward(keys.slice(0, 1, 1).reshape([2, 3]))
      const outputs: Tensor[] = []
      for (let t = 0; t < 3; t++) {
        const { output } = additive.forward(state.h, keys, { projected: additive.project(keys) })
        state = cell.forward(output, state)
        outputs.push(state.h)
      }
      return stack(outputs).exp().mean()
    }
    expect(gradcheck<F64[]>(loss as never, [keys, ...(cell.parameters() as F64[])])).toBe(true)
  })

  it.each([
    ['ERR_BPTT_SHAPE', () => additive.forward(query, x(3, 4, 3))],
    ['ERR_BPTT_SHAPE', () => additive.forward(x(5), keys)],
    ['ERR_BPTT_TYPE', () => additive.forward(query)],
    ['ERR_BPTT_VALUE', () => new DotAttention({ querySize: 3 })],
    ['ERR_BPTT_TYPE', () => general.forward(query, keys, { projected: keys } as never)],
    ['ERR_BPTT_VALUE', () => new MultiheadAttention(6, 4)],
    ['ERR_BPTT_SHAPE', () => new MultiheadAttention(6, 2).forward(randn([3, 6]))],
  ])('refuse what does not fit: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})

describe('MultiheadAttention', () => {
  it('gives the weights of each head, and drops in training alone', () => {
    const layer = new MultiheadAttention(4, 2, { dropout: 0.5, batchFirst: true })
    const input = randn([2, 3, 4])
    expect(layer.forward(input, input, input, { averageWeights: false }).weights.shape).toEqual([2, 2, 3, 3])
    layer.eval()
    const once = valuesOf(layer.forward(input, input, input, { causal: true, lengths: [3, 2] }).output)
    expect(valuesOf(layer.forward(input, input, input, { causal: true, lengths: [3, 2] }).output)).toEqual(
      once,
    )
  })

  it('has the parameters of torch, and its first values', () => {
    const layer = new MultiheadAttention(4, 2)
    expect([...layer.stateDict()].map(([name, { shape }]) => [name, shape])).toEqual([
      ['in_proj_weight', [12, 4]],
      ['in_proj_bias', [12]],
      ['out_proj.weight', [4, 4]],
      ['out_proj.bias', [4]],
    ])
    expect(
      valuesOf(layer.in_proj_bias)
        .concat(valuesOf(layer.out_proj.bias))
        .every((value) => value === 0),
    ).toBe(true)
    expect(Math.max(...valuesOf(layer.in_proj_weight).map(Math.abs))).toBeLessThan(Math.sqrt(6 / 16))
    expect([...new MultiheadAttention(4, 2, { kdim: 3, bias: false }).stateDict().keys()]).toEqual([
      'q_proj_weight',
      'k_proj_weight',
      'v_proj_weight',
      'out_proj.weight',
    ])
  })
})
