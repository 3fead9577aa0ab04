/** Cells: one step of a layer in a graph, with the layer's own parameters. */
import {
  GRU,
  GRUCell,
  grad,
  gradcheck,
  LSTM,
  LSTMCell,
  manualSeed,
  noGrad,
  RNN,
  RNNCell,
  randn,
  stack,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { codeOf } from './support/failure.ts'
import { type F64, x } from './support/gradient_cases.ts'

const valuesOf = (x: Tensor | null | undefined) => [...(x as Tensor).dataSync()]
const double = { dtype: 'float64' } as const

const layers = [
  ['LSTM', new LSTM(3, 4)],
  ['LSTM with projection', new LSTM(3, 4, { projSize: 2 })],
  ['LSTM with peepholes', new LSTM(3, 4, { peephole: true })],
  ['LSTM in float64', new LSTM(3, 4, double)],
  ['GRU', new GRU(3, 4, { bias: false })],
  ['GRU, reset before', new GRU(3, 4, { resetAfter: false })],
  ['RNN', new RNN(3, 4)],
  ['RNN with relu', new RNN(3, 4, { nonlinearity: 'relu' })],
] as const

const cells: [string, RNNCell<'float64'> | LSTMCell<'float64'> | GRUCell<'float64'>][] = [
  ['RNNCell', new RNNCell(2, 3, double)],
  ['RNNCell with relu', new RNNCell(2, 3, { ...double, nonlinearity: 'relu' })],
  ['LSTMCell', new LSTMCell(2, 3, double)],
  ['LSTMCell with projection', new LSTMCell(2, 3, { ...double, projSize: 2 })],
  ['LSTMCell with peepholes', new LSTMCell(2, 3, { ...double, peephole: true })],
  ['GRUCell', new GRUCell(2, 3, double)],
  ['GRUCell, reset before', new GRUCell(2, 3, { ...double, resetAfter: false })],
]

describe('a loop of cells is the layer', () => {
  it.each(layers)('%s: bit by bit', (_, layer) => {
    const input = randn([5, 2, 3], { dtype: layer.dtype })
    const { output } = layer.forward(input)
    const cell = layer.cell()
    let state: { h: Tensor; c?: Tensor } | null = null
    const outputs: Tensor[] = []
    for (let t = 0; t < 5; t++) {
      state = cell.forward(input.slice(t, t + 1).reshape([2, 3]), state as never)
      outputs.push((state as { h: Tensor }).h)
    }
    expect(valuesOf(stack(outputs))).toEqual(valuesOf(output))
  })

  it.each(layers)('%s: gradients of the same parameters', (_, layer) => {
    const input = randn([3, 2, 3], { dtype: layer.dtype })
    const cell = layer.cell()
    const gradients = (loss: Tensor) => {
      loss.backward()
      const found = layer.parameters().map((one) => valuesOf(one.grad))
      layer.zeroGrad()
      return found
    }
    const whole = gradients(layer.forward(input).output.sum())
    let state = cell.forward(input.slice(0, 1).reshape([2, 3]))
    let loss: Tensor = state.h.sum()
    for (let t = 1; t < 3; t++) {
      state = cell.forward(input.slice(t, t + 1).reshape([2, 3]), state as never)
      loss = loss.add(state.h.sum() as Tensor)
    }
    for (const [i, values] of gradients(loss).entries()) {
      const scale = Math.max(...(whole[i] as number[]).map(Math.abs))
      const error = Math.max(...values.map((value, k) => Math.abs(value - (whole[i]?.[k] as number))))
      expect(error / scale).toBeLessThan(2e-6)
    }
  })

  it('of any layer and direction', () => {
    const layer = new GRU(3, 4, { ...double, numLayers: 2, bidirectional: true })
    const cell = layer.cell(1, { reverse: true })
    expect([cell.inputSize, cell.weight_ih]).toEqual([8, layer.getParameter('weight_ih_l1_reverse')])
    expect(codeOf(() => layer.cell(2))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => new GRU(3, 4).cell(0, { reverse: true }))).toBe('ERR_BPTT_VALUE')
  })

  it('draws no random numbers for parameters that are there', () => {
    const layer = new LSTM(3, 4)
    manualSeed(3)
    const expected = valuesOf(randn([2]))
    manualSeed(3)
    layer.cell()
    expect(valuesOf(randn([2]))).toEqual(expected)
  })
})

describe('cells', () => {
  it.each(cells)('%s: first and second derivatives', (_, cell) => {
    const lstm = cell instanceof LSTMCell
    const width = lstm && cell.projSize ? cell.projSize : 3
    const state: { h: Tensor; c?: Tensor } = { h: x(2, width), ...(lstm && { c: x(2, 3) }) }
    const input = x(2, 2)
    const run = () => Object.values(cell.forward(input, state as never)) as Tensor[]
    const inputs = [input, ...Object.values(state), ...cell.parameters()] as F64[]
    expect(gradcheck<F64[]>(run as never, inputs)).toBe(true)
    const gradOutputs = run().map(({ shape }) => randn(shape, double))
    const twice = () => grad(run(), inputs as Tensor[], { gradOutputs, createGraph: true })
    expect(gradcheck<F64[]>(twice as never, inputs)).toBe(true)
  })

  it('take a step without a batch, and begin with zeros', () => {
    const cell = new LSTMCell(2, 3)
    const one = tensor([0.5, -1])
    const { h, c } = cell.forward(one)
    const batch = cell.forward(one.reshape([1, 2]), { h: null })
    expect([h.shape, c.shape]).toEqual([[3], [3]])
    expect([valuesOf(h), valuesOf(c)]).toEqual([valuesOf(batch.h), valuesOf(batch.c)])
    expect(noGrad(() => cell.forward(one)).h.requiresGrad).toBe(false)
  })

  it('have the names of torch, and no row to be', () => {
    const names = (cell: { stateDict(): Map<string, Tensor> }) => [...cell.stateDict().keys()]
    expect(names(new GRUCell(2, 3))).toEqual(['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'])
    expect(names(new RNNCell(2, 3, { bias: false }))).toEqual(['weight_ih', 'weight_hh'])
    expect(new GRUCell(2, 3).forward(randn([0, 2])).h.shape).toEqual([0, 3])
  })

  const cell = new GRUCell(2, 3)
  it.each([
    ['ERR_BPTT_SHAPE', () => cell.forward(randn([4, 1, 2]))],
    ['ERR_BPTT_SHAPE', () => cell.forward(randn([4, 3]))],
    ['ERR_BPTT_SHAPE', () => cell.forward(randn([4, 2]), { h: randn([3, 3]) })],
    ['ERR_BPTT_DTYPE', () => cell.forward(randn([4, 2], double))],
    ['ERR_BPTT_TYPE', () => cell.forward(randn([4, 2]), randn([4, 3]) as never)],
    ['ERR_BPTT_TYPE', () => cell.forward(randn([4, 2]), { h0: randn([4, 3]) } as never)],
    ['ERR_BPTT_TYPE', () => new GRUCell(2, 3, { numLayers: 2 } as never)],
    ['ERR_BPTT_VALUE', () => new LSTMCell(2, 3, { projSize: 3 })],
  ])('refuse what does not fit: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})
