/** Gradients of gradients: grad(), backward({ createGraph: true }), and anomaly mode. */
import {
  type BpttError,
  GRU,
  getRandomState,
  grad,
  gradcheck,
  info,
  Linear,
  LSTM,
  RNN,
  randn,
  SGD,
  setDetectAnomaly,
  setRandomState,
  type Tensor,
  tensor,
  tidy,
} from 'bptt'
import { afterEach, describe, expect, it } from 'vitest'
import { codeOf, thrownBy } from './support/failure.ts'
import { cases, type F64, x } from './support/gradient_cases.ts'

const leaf = (...data: number[]): F64 => tensor(data, undefined, { dtype: 'float64', requiresGrad: true })
const valuesOf = (x: Tensor | null) => [...(x as Tensor).dataSync()]

describe('second derivatives equal differences', () => {
  it.each(cases)('%s', (_, fn, inputs) => {
    const outputs = [fn(...(inputs as [F64, F64, F64]))].flat()
    const seeds = outputs.map((output) => x(...output.shape))
    const first = (...all: Tensor[]): Tensor[] => {
      const given = all.slice(inputs.length)
      const results = [fn(...(all as [F64, F64, F64]))].flat()
      const own = all.slice(0, inputs.length)
      return grad(results, own, { gradOutputs: given, createGraph: true, allowUnused: true })
        .flatMap((dx) => dx ?? [])
        .filter((dx) => dx.requiresGrad)
    }
    expect(gradcheck(first, [...inputs, ...seeds])).toBe(true)
  })
})

describe('second derivatives of recurrent layers', () => {
  const deep = { dtype: 'float64', numLayers: 2, bidirectional: true } as const
  const plain = { dtype: 'float64' } as const
  type Layer = LSTM<'float64'> | GRU<'float64'> | RNN<'float64'>
  const layers: [string, (options: typeof deep | typeof plain) => Layer][] = [
    ['LSTM', (options) => new LSTM(2, 2, options)],
    ['LSTM with projection', (options) => new LSTM(2, 2, { ...options, projSize: 1, batchFirst: true })],
    ['LSTM with peepholes', (options) => new LSTM(2, 2, { ...options, peephole: true })],
    ['GRU', (options) => new GRU(2, 2, { ...options, dropout: 'numLayers' in options ? 0.4 : 0 })],
    ['GRU, reset before', (options) => new GRU(2, 2, { ...options, resetAfter: false })],
    ['RNN', (options) => new RNN(2, 2, { ...options, bias: false })],
    ['RNN with relu', (options) => new RNN(2, 2, { ...options, nonlinearity: 'relu' })],
  ]
  /** First derivatives of everything, by everything. */
  const firstOf = (layer: Layer, lengths: number[]) => {
    const lstm = layer instanceof LSTM
    const steps = Math.max(...lengths)
    const stack = layer.numLayers * (layer.bidirectional ? 2 : 1)
    const h0 = x(stack, lengths.length, lstm && layer.projSize ? layer.projSize : 2)
    const c0 = x(stack, lengths.length, 2)
    const input = layer.batchFirst ? x(lengths.length, steps, 2) : x(steps, lengths.length, 2)
    const random = getRandomState()
    const run = (): Tensor[] => {
      setRandomState(random)
      return lstm
        ? Object.values(layer.forward(input, { h0, c0, lengths }))
        : Object.values(layer.forward(input, { h0, lengths }))
    }
    const inputs: Tensor[] = [input, h0, ...(lstm ? [c0] : []), ...layer.parameters()]
    const gradOutputs = run().map((output) => randn(output.shape, { dtype: 'float64' }))
    const first = (createGraph: boolean): Tensor[] => grad(run(), inputs, { gradOutputs, createGraph })
    return { inputs, first }
  }

  it.each(layers)('%s: the layer unrolled is the layer', (_, make) => {
    const { first } = firstOf(make(deep), [3, 0, 2])
    const [kernels, ops] = [first(false), first(true)]
    for (const [i, dx] of ops.entries()) {
      const expected = valuesOf(kernels[i] as Tensor)
      expect(
        Math.max(0, ...valuesOf(dx).map((value, k) => Math.abs(value - (expected[k] as number)))),
      ).toBeLessThan(1e-12)
    }
  })

  it.each(layers)('%s: equal differences', (_, make) => {
    const { inputs, first } = firstOf(make(plain), [2, 1])
    expect(gradcheck<Tensor[]>(() => first(true), inputs)).toBe(true)
  })

  it('of a sequence without a batch, and of one of no steps', () => {
    const layer = new LSTM(2, 2, { dtype: 'float64' })
    const twice = (input: F64) => grad(layer.forward(input).cn.sum(), [input], { createGraph: true })
    expect(gradcheck<F64[]>(twice as never, [x(3, 2), ...(layer.parameters() as F64[])])).toBe(true)
    expect(twice(x(0, 2, 2)).map((dx) => [dx.shape, dx.requiresGrad])).toEqual([[[0, 2, 2], false]])
  })

  it('keeps padding out, whatever it holds', () => {
    const layer = new GRU(1, 2, { dtype: 'float64' })
    const input = tensor(
      [
        [[1], [2]],
        [[3], [Number.NaN]],
      ],
      { dtype: 'float64', requiresGrad: true },
    )
    const [dx] = grad(layer.forward(input, { lengths: [2, 1] }).output.sum(), [input], { createGraph: true })
    dx.mul(dx).sum().backward()
    expect(valuesOf(input.grad)[3]).toBe(0)
    expect(layer.parameters().every((one) => valuesOf(one.grad).every(Number.isFinite))).toBe(true)
  })
})

describe('grad()', () => {
  it('gives gradients of leaves and of results, and leaves .grad alone', () => {
    const a = leaf(1, 2)
    const b = a.mul(3)
    const y = b.mul(b).sum()
    const [da, db] = grad(y, [a, b])
    expect(valuesOf(da)).toEqual([18, 36])
    expect(valuesOf(db)).toEqual([6, 12])
    expect(a.grad).toBeNull()
    expect(da.requiresGrad).toBe(false)
  })

  it('stops at an input that another input was computed from', () => {
    const a = leaf(2)
    const b = a.mul(a)
    const c = b.mul(a)
    expect(grad(c, [b]).map(valuesOf)).toEqual([[2]])
    expect(grad(a.mul(a).mul(a), [a]).map(valuesOf)).toEqual([[12]])
  })

  it('sums over outputs, takes their gradients, and gives each input its own result', () => {
    const a = leaf(1, 2)
    const [p, q] = [a.mul(2), a.mul(a)]
    const seed = tensor([1, 10], undefined, { dtype: 'float64' })
    const [da, again] = grad([p, q], [a, a], { gradOutputs: [seed, seed] })
    expect(valuesOf(da)).toEqual([2 + 2, 20 + 40])
    expect(valuesOf(again)).toEqual(valuesOf(da))
    expect(again).not.toBe(da)
  })

  it('gives null for what was not used, where that is allowed', () => {
    const [a, b] = [leaf(1), leaf(2)]
    expect(codeOf(() => grad(a.mul(2), [a, b]))).toBe('ERR_BPTT_GRAPH')
    const [da, db] = grad(a.mul(2), [a, b], { allowUnused: true })
    expect(valuesOf(da)).toEqual([2])
    expect(db).toBeNull()
  })

  it('gives the gradient of an output with respect to itself', () => {
    const a = leaf(3)
    const y = a.mul(2)
    expect(grad(y, [y, a]).map(valuesOf)).toEqual([[1], [2]])
    expect(grad(a, [a]).map(valuesOf)).toEqual([[1]])
  })

  it('frees the graph unless told otherwise, but only the part it used', () => {
    const [a, b] = [leaf(1), leaf(2)]
    const [p, q] = [a.exp(), b.exp()]
    const y = p.mul(q)
    grad(y, [a], { retainGraph: true })
    grad(y, [a])
    expect(codeOf(() => grad(y, [b]))).toBe('ERR_BPTT_GRAPH')
    expect(valuesOf(grad(q, [b])[0])[0]).toBeCloseTo(Math.exp(2), 12)
  })

  it('goes to any order', () => {
    const a = leaf(2)
    let y: Tensor = a.mul(a).mul(a).mul(a)
    const derivatives: number[] = []
    for (let order = 1; order <= 5; order++) {
      y = grad(y, [a], { createGraph: true })[0]
      derivatives.push(y.itemSync())
      if (!y.requiresGrad) break
    }
    expect(derivatives).toEqual([32, 48, 48, 24])
  })

  it.each([
    ['ERR_BPTT_TYPE', () => grad(leaf(1), leaf(1) as never)],
    ['ERR_BPTT_TYPE', () => grad(leaf(1).mul(2), [leaf(1)], { gradOutputs: [] })],
    ['ERR_BPTT_SHAPE', () => grad(leaf(1, 2).mul(2), [leaf(1)])],
    ['ERR_BPTT_SHAPE', () => grad(leaf(1).mul(2), [leaf(1)], { gradOutputs: leaf(1, 2) })],
    ['ERR_BPTT_GRAPH', () => grad(leaf(1).detach(), [leaf(1)])],
    ['ERR_BPTT_GRAPH', () => grad(leaf(1).mul(2), [leaf(1).detach()])],
  ])('refuses what it cannot do: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})

describe('backward({ createGraph: true })', () => {
  it('gives gradients that can be differentiated', () => {
    const a = leaf(3)
    a.mul(a).mul(a).backward(null, { createGraph: true })
    const first = (a.grad as F64).mul(1)
    expect(first.itemSync()).toBe(27)
    a.zeroGrad()
    first.backward()
    expect(valuesOf(a.grad)).toEqual([18])
  })

  it('accumulates without losing the graph', () => {
    const a = leaf(3)
    a.mul(a).backward(null, { createGraph: true })
    a.mul(a).mul(a).backward(null, { createGraph: true })
    const sum = (a.grad as F64).mul(1)
    expect(sum.itemSync()).toBe(6 + 27)
    a.zeroGrad()
    sum.backward()
    expect(valuesOf(a.grad)).toEqual([2 + 18])
  })

  it('trains with a gradient penalty, and leaves nothing behind', () => {
    const critic = new Linear(3, 1, { dtype: 'float64' })
    const optimizer = new SGD(critic.parameters(), { lr: 0.1 })
    const step = () =>
      tidy(() => {
        const input = randn([8, 3], { dtype: 'float64', requiresGrad: true })
        const [dx] = grad(critic.forward(input).sum(), [input], { createGraph: true })
        const loss = dx.mul(dx).sum(1).sqrt().sub(1)
        const penalty = loss.mul(loss).mean()
        penalty.backward()
        optimizer.step()
        optimizer.zeroGrad()
        return penalty.itemSync()
      })
    for (let i = 0; i < 5; i++) step()
    const held = info().memory.liveStorages
    for (let i = 0; i < 200; i++) step()
    expect(step()).toBeLessThan(1e-6)
    expect(info().memory.liveStorages).toEqual(held)
  })
})

describe('anomaly mode', () => {
  afterEach(() => setDetectAnomaly(false))

  it('names the op whose result is the first NaN', () => {
    setDetectAnomaly(true)
    const error = thrownBy(() => leaf(-1).mul(2).log().exp()) as BpttError
    expect(error.code).toBe('ERR_BPTT_NONFINITE')
    expect(error.message).toMatch(/log/)
  })

  it('names the op whose gradient is the first NaN, and where it was called', () => {
    setDetectAnomaly(true)
    const a = leaf(0)
    const error = thrownBy(() => a.sqrt().mul(0).sum().backward()) as BpttError
    expect(error.code).toBe('ERR_BPTT_NONFINITE')
    expect(error.message).toMatch(/sqrt gave a gradient[\s\S]*double_backward\.test/)
  })

  it('is off until asked for', () => {
    const a = leaf(0)
    a.sqrt().mul(0).sum().backward()
    expect(valuesOf(a.grad)).toEqual([Number.NaN])
  })
})
