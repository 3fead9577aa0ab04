/** Modules: parameters by name, state dicts, train and eval, composition. */
import {
  Dropout,
  Embedding,
  GRU,
  LayerNorm,
  Linear,
  LSTM,
  Module,
  manualSeed,
  ones,
  Parameter,
  RNN,
  randn,
  Sequential,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'

const list = (x: Tensor) => [...x.dataSync()]

class Model extends Module<Tensor, Tensor> {
  readonly lstm = new LSTM(2, 3)
  readonly heads = [new Linear(3, 1), new Linear(3, 2, { bias: false })]
  readonly scale = new Parameter(ones([1]))
  readonly constant = ones([1])

  override forward(x: Tensor): Tensor {
    const { output } = this.lstm.forward(x)
    return (this.heads[0] as Linear).forward(output).mul(this.scale)
  }
}

describe('parameters', () => {
  it('are found in fields, children and arrays of children, by their names', () => {
    const model = new Model()
    expect(model.namedParameters().map(([name, { shape }]) => [name, shape])).toEqual([
      ['scale', [1]],
      ['lstm.weight_ih_l0', [12, 2]],
      ['lstm.weight_hh_l0', [12, 3]],
      ['lstm.bias_ih_l0', [12]],
      ['lstm.bias_hh_l0', [12]],
      ['heads.0.weight', [1, 3]],
      ['heads.0.bias', [1]],
      ['heads.1.weight', [2, 3]],
    ])
    expect(model.parameters()).toHaveLength(8)
    expect(model.parameters().every((parameter) => parameter.requiresGrad)).toBe(true)
    expect([...model.stateDict().keys()]).toEqual(model.namedParameters().map(([name]) => name))
  })

  it('shared under two names are trained once, saved twice', () => {
    class Tied extends Module {
      readonly a = new Linear(2, 2, { bias: false })
      readonly b = this.a
      override forward(): void {}
    }
    const model = new Tied()
    expect(model.parameters()).toHaveLength(1)
    expect([...model.stateDict().keys()]).toEqual(['a.weight', 'b.weight'])
  })

  it('of recurrent layers have the names, order and shapes of torch', () => {
    const layer = new LSTM(2, 4, { numLayers: 2, bidirectional: true, projSize: 3 })
    expect(layer.namedParameters().map(([name, { shape }]) => `${name} ${shape}`)).toEqual([
      'weight_ih_l0 16,2',
      'weight_hh_l0 16,3',
      'bias_ih_l0 16',
      'bias_hh_l0 16',
      'weight_hr_l0 3,4',
      'weight_ih_l0_reverse 16,2',
      'weight_hh_l0_reverse 16,3',
      'bias_ih_l0_reverse 16',
      'bias_hh_l0_reverse 16',
      'weight_hr_l0_reverse 3,4',
      'weight_ih_l1 16,6',
      'weight_hh_l1 16,3',
      'bias_ih_l1 16',
      'bias_hh_l1 16',
      'weight_hr_l1 3,4',
      'weight_ih_l1_reverse 16,6',
      'weight_hh_l1_reverse 16,3',
      'bias_ih_l1_reverse 16',
      'bias_hh_l1_reverse 16',
      'weight_hr_l1_reverse 3,4',
    ])
    expect(layer.weight_ih_l0?.shape).toEqual([16, 2])
    expect(
      new GRU(2, 4, { bias: false }).namedParameters().map(([name, { shape }]) => `${name} ${shape}`),
    ).toEqual(['weight_ih_l0 12,2', 'weight_hh_l0 12,4'])
    expect(new RNN(2, 4).parameters().map(({ shape }) => shape)).toEqual([[4, 2], [4, 4], [4], [4]])
  })

  it('start in the range of torch', () => {
    manualSeed(1)
    const check = (values: number[], bound: number) => {
      const largest = Math.max(...values.map(Math.abs))
      expect(largest).toBeLessThanOrEqual(bound)
      expect(largest).toBeGreaterThan(bound * 0.95)
    }
    check(list(new LSTM(8, 64).weight_hh_l0 as Tensor), 1 / 8)
    check(list(new Linear(25, 40).weight), 1 / 5)
    check(list(new Linear(25, 400).bias as Tensor), 1 / 5)
    const table = list(new Embedding(100, 50, { paddingIdx: -1 }).weight)
    expect(table.slice(-50)).toEqual(new Array(50).fill(0))
    const square = table.slice(0, -50).reduce((sum, value) => sum + value * value, 0) / 4950
    expect(Math.abs(square - 1)).toBeLessThan(0.1)
    const norm = new LayerNorm([2, 3])
    expect(list(norm.weight as Tensor)).toEqual([1, 1, 1, 1, 1, 1])
    expect(list(norm.bias as Tensor)).toEqual([0, 0, 0, 0, 0, 0])
    manualSeed(1)
    const again = new LSTM(8, 64).weight_hh_l0 as Tensor
    manualSeed(1)
    expect(list(new LSTM(8, 64).weight_hh_l0 as Tensor)).toEqual(list(again))
  })
})

describe('loadStateDict', () => {
  it('copies: later changes of the source do not matter', () => {
    const [a, b] = [new Linear(2, 2), new Linear(2, 2)]
    b.loadStateDict(a.stateDict())
    expect(list(b.weight)).toEqual(list(a.weight))
    const before = list(b.weight)
    a.loadStateDict({ weight: ones([2, 2]), bias: ones([2]) })
    expect(list(b.weight)).toEqual(before)
    expect(list(a.weight)).toEqual([1, 1, 1, 1])
  })

  it('changes nothing when something does not fit', () => {
    const model = new Linear(2, 2)
    const before = list(model.weight)
    expect(() => model.loadStateDict({ weight: ones([2, 2]), bias: ones([3]) })).toThrow(/bias.*\[2\].*\[3\]/)
    expect(() => model.loadStateDict({ weight: ones([2, 2]) })).toThrow(/missing: bias/)
    expect(() => model.loadStateDict({ weight: ones([2, 2]), bias: ones([2]), b: ones([1]) })).toThrow(
      /unexpected: b/,
    )
    expect(list(model.weight)).toEqual(before)
  })

  it('is seen by a layer that had packed its weights', () => {
    const x = randn([5, 2, 3])
    const [a, b] = [new LSTM(3, 9, { numLayers: 2 }), new LSTM(3, 9, { numLayers: 2 })]
    const [first, second] = [list(a.forward(x).output), list(b.forward(x).output)]
    expect(first).not.toEqual(second)
    b.loadStateDict(a.stateDict())
    expect(list(b.forward(x).output)).toEqual(first)
  })
})

describe('train and eval', () => {
  it('reach all children', () => {
    const dropout = new Dropout(0.5)
    const model = new Sequential(new Linear(4, 4), dropout)
    expect(model.eval()).toBe(model)
    expect(dropout.training).toBe(false)
    model.train()
    expect(dropout.training).toBe(true)
  })

  it('switch dropout', () => {
    manualSeed(5)
    const x = ones([10_000])
    const dropout = new Dropout(0.25)
    const dropped = list(dropout.forward(x))
    const zeros = dropped.filter((value) => value === 0).length
    expect(Math.abs(zeros / 10_000 - 0.25)).toBeLessThan(0.02)
    expect(dropped.filter((value) => value !== 0).every((value) => Math.abs(value - 4 / 3) < 1e-6)).toBe(true)
    expect(list(dropout.forward(x))).not.toEqual(dropped)
    const kept = dropout.eval().forward(x)
    expect(list(kept)).toEqual(list(x))
    kept.dispose()
    expect(x.disposed).toBe(false)
    expect(list(new Dropout(1).forward(ones([3])))).toEqual([0, 0, 0])
  })
})

describe('Sequential', () => {
  it("passes on a recurrent layer's output", () => {
    const model = new Sequential(
      new Embedding(5, 3),
      new GRU(3, 4, { bidirectional: true }),
      new Linear(8, 2),
    )
    const index = tensor([0, 1, 2, 3, 4, 0], [3, 2], { dtype: 'int32' })
    const y = model.forward(index)
    expect(y.shape).toEqual([3, 2, 2])
    y.sum().backward()
    expect(model.parameters().every((parameter) => parameter.grad !== null)).toBe(true)
    expect(model.namedParameters().map(([name]) => name)).toContain('1.weight_ih_l0_reverse')
    expect([...model.stateDict().keys()]).toContain('2.bias')
    model.zeroGrad()
    expect(model.parameters().every((parameter) => parameter.grad === null)).toBe(true)
    model.dispose()
    expect(model.parameters().every((parameter) => parameter.disposed)).toBe(true)
  })

  it('refuses what is no module', () => {
    expect(() => new Sequential(5 as unknown as Module<Tensor>)).toThrow(TypeError)
  })
})

describe('to', () => {
  it('knows only the devices there are', () => {
    const model = new Linear(1, 1)
    expect(model.to('cpu')).toBe(model)
    expect(() => model.to('cuda')).toThrow(expect.objectContaining({ code: 'ERR_BPTT_DEVICE' }))
  })
})
