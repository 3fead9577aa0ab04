/** Every op against finite differences. */
import {
  type BpttError,
  dropout,
  GRU,
  getRandomState,
  gradcheck,
  LSTM,
  RNN,
  randn,
  setRandomState,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { codeOf } from './support/failure.ts'
import { cases, type F64, x } from './support/gradient_cases.ts'

describe('gradients equal differences', () => {
  it.each(cases)('%s', (_, fn, inputs) => {
    expect(gradcheck(fn as (...inputs: Tensor[]) => Tensor, inputs)).toBe(true)
    for (const result of [fn(...(inputs as [F64, F64, F64]))].flat()) result.sum().backward()
    expect(inputs.map((input) => input.grad?.shape)).toEqual(inputs.map((input) => input.shape))
  })

  it('dropout, with the same random numbers each time', () => {
    const state = getRandomState()
    const fn = (p: F64) => {
      setRandomState(state)
      return dropout(p, 0.4)
    }
    expect(gradcheck(fn, [x(4, 5)])).toBe(true)
  })
})

describe('gradients of recurrent layers equal differences', () => {
  const options = { dtype: 'float64', numLayers: 2, bidirectional: true } as const
  const layers = [
    ['LSTM', new LSTM(3, 4, options)],
    ['LSTM with projection', new LSTM(3, 4, { ...options, projSize: 2 })],
    ['LSTM with peepholes', new LSTM(3, 4, { ...options, peephole: true, projSize: 2 })],
    ['GRU', new GRU(3, 4, options)],
    ['GRU, reset before', new GRU(3, 4, { ...options, resetAfter: false, batchFirst: true })],
    ['RNN', new RNN(3, 4, { ...options, bias: false })],
  ] as const

  it.each(layers)('%s: input, states and weights, through output and states', (_, layer) => {
    const lengths = [3, 0, 2]
    const lstm = layer instanceof LSTM
    const h0 = x(4, 3, lstm && layer.projSize ? layer.projSize : 4)
    const c0 = x(4, 3, 4)
    const fn = (input: Tensor, h: Tensor, c: Tensor) =>
      lstm
        ? Object.values(layer.forward(input, { h0: h, c0: c, lengths }))
        : Object.values(layer.forward(input, { h0: h, lengths }))
    const input = x(3, 3, 3)
    const inputs = [input, h0, c0, ...layer.parameters()] as F64[]
    expect(gradcheck(fn as (...inputs: Tensor[]) => Tensor[], inputs)).toBe(true)
  })

  it('a state alone', () => {
    const layer = new LSTM(2, 3, { dtype: 'float64' })
    const input = x(4, 2, 2)
    expect(gradcheck((p) => layer.forward(p).cn, [input])).toBe(true)
    expect(gradcheck((p) => layer.forward(p).hn, [input])).toBe(true)
  })

  it('dropout between layers, with the same random numbers each time', () => {
    const layer = new GRU(2, 3, { dtype: 'float64', numLayers: 3, dropout: 0.4 })
    const state = getRandomState()
    const fn = (p: Tensor) => {
      setRandomState(state)
      return layer.forward(p).output
    }
    expect(gradcheck<F64[]>(fn, [x(4, 2, 2), ...(layer.parameters() as F64[])])).toBe(true)
  })

  it('more than one backward, with retainGraph', () => {
    const layer = new LSTM(2, 3, { dtype: 'float64', numLayers: 2 })
    const loss = layer.forward(x(4, 2, 2)).output.sum()
    loss.backward(null, { retainGraph: true })
    const once = layer.parameters().map((p) => [...(p.grad as Tensor).dataSync()])
    loss.backward()
    const twice = layer.parameters().map((p) => [...(p.grad as Tensor).dataSync()])
    expect(twice).toEqual(once.map((values) => values.map((value) => 2 * value)))
  })
})

describe('gradcheck', () => {
  it('finds a wrong gradient and names the element', () => {
    const input = tensor(new Float64Array([1, 2]), { dtype: 'float64', requiresGrad: true })
    let error: BpttError | undefined
    try {
      // The tape does not see the second factor.
      gradcheck((p) => p.mul(p.detach()), [input])
    } catch (caught) {
      error = caught as BpttError
    }
    expect(error?.code).toBe('ERR_BPTT_VALUE')
    expect(error?.message).toMatch(/input 0, element/)
    expect([...input.dataSync()]).toEqual([1, 2])
    expect(input.grad).toBeNull()
  })

  it('leaves gradients that were there', () => {
    const input = x(2)
    input.mul(3).sum().backward()
    gradcheck((p) => p.tanh(), [input])
    expect([...(input.grad as Tensor).dataSync()]).toEqual([3, 3])
  })

  it('wants float64 leaves', () => {
    expect(codeOf(() => gradcheck((p) => p, [randn([2], { requiresGrad: true })]))).toBe('ERR_BPTT_DTYPE')
    expect(codeOf(() => gradcheck((p) => p, [randn([2])]))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => gradcheck((p) => p, [x(2).mul(2)]))).toBe('ERR_BPTT_GRAPH')
  })
})
