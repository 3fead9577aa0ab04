/** Modules: parameters by name, state dicts, train and eval, composition. */
import {
  BatchNorm1d,
  Buffer,
  batchNorm,
  Conv1d,
  conv1d,
  Dropout,
  ELU,
  Embedding,
  Flatten,
  full,
  GELU,
  GRU,
  Identity,
  LayerNorm,
  LeakyReLU,
  Linear,
  LogSoftmax,
  LSTM,
  Module,
  ModuleDict,
  ModuleList,
  manualSeed,
  noGrad,
  ones,
  Parameter,
  ReLU,
  RNN,
  randn,
  Sequential,
  Sigmoid,
  SiLU,
  Softmax,
  Softplus,
  Tanh,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { expectFailure, wrong } from './support/failure.ts'

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
    check(list(new Conv1d(50, 20, 2, { groups: 2 }).weight), Math.sqrt(1 / 50))
    check(list(new Conv1d(25, 400, 4).bias as Tensor), 1 / 10)
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

describe('ModuleList and ModuleDict', () => {
  class Heads extends Module<Tensor, Tensor> {
    readonly layers = new ModuleList([new Linear(2, 2), new Linear(2, 2, { bias: false })])
    readonly heads = new ModuleDict({ mood: new Linear(2, 1), tense: new Linear(2, 3) })
    override forward(x: Tensor): Tensor {
      for (const layer of this.layers) x = layer.forward(x).tanh()
      return (this.heads.get('tense') as Linear).forward(x)
    }
  }

  it('show their modules under the names of torch', () => {
    const model = new Heads()
    expect([...model.stateDict().keys()]).toEqual([
      ...['layers.0.weight', 'layers.0.bias', 'layers.1.weight'],
      ...['heads.mood.weight', 'heads.mood.bias', 'heads.tense.weight', 'heads.tense.bias'],
    ])
    expect([...new ModuleList([new LSTM(1, 1)]).stateDict().keys()][0]).toBe('0.weight_ih_l0')
    expect([...new ModuleDict({ key: new Linear(1, 1) }).stateDict().keys()]).toEqual([
      'key.weight',
      'key.bias',
    ])
    expect(model.forward(ones([4, 2])).shape).toEqual([4, 3])
    model.eval()
    expect(model.layers[1]?.training).toBe(false)
    model.dispose()
    expect(model.parameters().every((parameter) => parameter.disposed)).toBe(true)
  })

  it('a list grows, and is indexed as an array', () => {
    const [a, b] = [new Linear(1, 1), new Linear(1, 2)]
    const modules = new ModuleList<Linear>().append(a).append(b)
    expect(modules.length).toBe(2)
    expect([modules[0], modules.at(-1), modules.at(2), modules.at(-3)]).toEqual([a, b, undefined, undefined])
    expect([...modules]).toEqual([a, b])
    expect(() => new ModuleList([5 as unknown as Linear])).toThrow(TypeError)
    expect(() => new ModuleList(5 as unknown as Linear[])).toThrow(TypeError)
    expect(() => modules.forward()).toThrow(/computes nothing/)
  })

  it('a dictionary keeps the order of its keys, and puts a module in the place of another', () => {
    const [a, b, c] = [new Linear(1, 1), new Linear(1, 2), new Linear(1, 3)]
    const modules = new ModuleDict(new Map([['x', a]])).set('training', b).set('x', c)
    expect([modules.size, modules.has('x'), modules.has('y'), modules.get('y')]).toEqual([
      2,
      true,
      false,
      undefined,
    ])
    expect([...modules]).toEqual([
      ['x', c],
      ['training', b],
    ])
    expect([...modules.keys()]).toEqual(['x', 'training'])
    expect([...modules.values()]).toEqual([c, b])
    expect(modules.training).toBe(true)
    expect(modules.namedChildren().map(([name]) => name)).toEqual(['x', 'training'])
    for (const key of ['', 'a.b']) expect(() => modules.set(key, a)).toThrow(RangeError)
    expect(() => modules.set('z', {} as Linear)).toThrow(TypeError)
    expect(() => new ModuleDict([a] as unknown as Record<string, Linear>)).toThrow(TypeError)
    expect(() => modules.forward()).toThrow(/computes nothing/)
  })

  it('checkpoints keep a parameter that two of them share', () => {
    const make = () => {
      const modules = new ModuleList([new Linear(2, 2), new Linear(2, 2)])
      if (modules[0] && modules[1]) modules[1].weight = modules[0].weight
      return modules
    }
    const [from, to] = [make(), make()]
    const state = from.stateDict()
    expect(state.get('0.weight')).toBe(state.get('1.weight'))
    state.delete('0.weight')
    to.loadStateDict(state)
    expect(list(to[0]?.weight as Tensor)).toEqual(list(from[0]?.weight as Tensor))
    expect(to.parameters()).toHaveLength(3)
  })
})

describe('to', () => {
  it('knows only the devices there are', () => {
    const model = new Linear(1, 1)
    expect(model.to('cpu')).toBe(model)
    expect(() => model.to('cuda')).toThrow(expect.objectContaining({ code: 'ERR_BPTT_DEVICE' }))
  })
})

describe('buffers', () => {
  class Counting extends Module<Tensor, Tensor> {
    readonly weight = new Parameter(ones([2]))
    readonly seen = new Buffer(zeros([2], { dtype: 'int32' }))
    readonly heads = [new BatchNorm1d(3), new BatchNorm1d(3, { trackRunningStats: false })]
    override forward(x: Tensor): Tensor {
      return x
    }
  }

  it('are kept and saved, not trained', async () => {
    const model = new Counting()
    const named = model.namedBuffers().map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`)
    expect(named).toEqual([
      'seen int32 [2]',
      'heads.0.running_mean float32 [3]',
      'heads.0.running_var float32 [3]',
      'heads.0.num_batches_tracked int32 []',
    ])
    expect(model.parameters()).toHaveLength(5)
    expect(model.buffers()).toEqual(model.namedBuffers().map(([, buffer]) => buffer))
    expect(model.buffers().some(({ requiresGrad }) => requiresGrad)).toBe(false)
    expect([...model.stateDict().keys()].slice(0, 7)).toEqual([
      ...['weight', 'seen', 'heads.0.weight', 'heads.0.bias'],
      ...['heads.0.running_mean', 'heads.0.running_var', 'heads.0.num_batches_tracked'],
    ])
    await expectFailure('VALUE', () => model.getParameter('seen'))
    const state = new Map<string, Tensor>(model.stateDict())
    state.set('seen', tensor([3, 4], { dtype: 'int32' }))
    model.loadStateDict(state)
    expect(list(model.seen)).toEqual([3, 4])
    state.set('seen', zeros([2]))
    await expectFailure('DTYPE', () => model.loadStateDict(state))
    state.delete('seen')
    await expectFailure('VALUE', () => model.loadStateDict(state))
    expect(list(model.seen)).toEqual([3, 4])
    model.dispose()
    expect(model.buffers().every(({ disposed }) => disposed)).toBe(true)
  })

  it('are no other tensors, and outlive a tidy()', async () => {
    await expectFailure('TYPE', () => new Buffer(wrong(5)))
    const norm = tidy(() => new BatchNorm1d(2))
    tidy(() => norm.forward(randn([4, 2])))
    expect(norm.buffers().every(({ disposed }) => !disposed)).toBe(true)
  })
})

describe('BatchNorm1d', () => {
  it('notes what it sees in training, and uses it in evaluation', () => {
    const norm = new BatchNorm1d(1, { momentum: 0.5, affine: false })
    const x = tensor([[1], [3]])
    norm.forward(x)
    noGrad(() => norm.forward(x))
    expect(list(norm.running_mean as Tensor)).toEqual([1.5])
    expect(list(norm.running_var as Tensor)[0]).toBeCloseTo(1.75, 6)
    expect(list(norm.num_batches_tracked as Tensor)).toEqual([2])
    const before = norm.buffers().map(list)
    const [y] = list(norm.eval().forward(tensor([[4]])))
    expect(y).toBeCloseTo(2.5 / Math.sqrt(1.75 + 1e-5), 6)
    expect(norm.buffers().map(list)).toEqual(before)
  })

  it('averages all batches without a momentum, from the count that was loaded', () => {
    const norm = new BatchNorm1d(1, { momentum: null })
    const batch = (a: number, b: number) => norm.forward(tensor([[a], [b]]))
    batch(0, 2)
    batch(2, 4)
    expect(list(norm.running_mean as Tensor)).toEqual([2])
    const state = new Map<string, Tensor>(norm.stateDict())
    norm.loadStateDict(state.set('num_batches_tracked', tensor(3, { dtype: 'int32' })))
    batch(8, 12)
    expect(list(norm.running_mean as Tensor)).toEqual([4])
    expect(list(norm.num_batches_tracked as Tensor)).toEqual([4])
  })

  it('uses its batch where it notes nothing', () => {
    const norm = new BatchNorm1d(2, { trackRunningStats: false })
    const x = randn([4, 2, 3])
    const trained = list(norm.forward(x))
    expect(list(norm.eval().forward(x))).toEqual(trained)
    expect(norm.buffers()).toEqual([])
  })

  it('refuses what does not fit, and then has noted nothing', async () => {
    const norm = new BatchNorm1d(2)
    for (const shape of [[2], [3, 4], [2, 2, 2, 2], [1, 2], [1, 2, 1]]) {
      await expectFailure('SHAPE', () => norm.forward(ones(shape)))
    }
    await expectFailure('DTYPE', () => norm.forward(ones([2, 2], { dtype: 'float64' })))
    expect(list(norm.num_batches_tracked as Tensor)).toEqual([0])
    expect(norm.eval().forward(ones([1, 2])).shape).toEqual([1, 2])
    const [x, one] = [ones([3, 2]), ones([2])]
    await expectFailure('TYPE', () => batchNorm(x, null, null))
    await expectFailure('TYPE', () => batchNorm(x, one, null, { training: true }))
    await expectFailure('SHAPE', () => batchNorm(x, one, ones([3])))
    await expectFailure('VALUE', () => batchNorm(x, one, one, { momentum: 2 }))
    for (const features of [0, 1.5]) await expectFailure('VALUE', () => new BatchNorm1d(features))
  })
})

describe('Conv1d', () => {
  it('refuses what does not fit', async () => {
    const layer = new Conv1d(4, 6, 3, { groups: 2 })
    expect(layer.namedParameters().map(([name, { shape }]) => `${name} ${shape}`)).toEqual([
      'weight 6,2,3',
      'bias 6',
    ])
    for (const shape of [[4], [3, 5], [1, 2, 4, 5], [1, 4, 2]]) {
      await expectFailure('SHAPE', () => layer.forward(ones(shape)))
    }
    for (const [o, code] of [
      [{ stride: 0 }, 'VALUE'],
      [{ padding: -1 }, 'VALUE'],
      [{ padding: 'full' }, 'VALUE'],
      [{ padding: true }, 'TYPE'],
      [{ padding: 'same', stride: 2 }, 'VALUE'],
      [{ groups: 4 }, 'VALUE'],
      [{ dilation: '2' }, 'TYPE'],
    ] as const) {
      await expectFailure(code, () => new Conv1d(4, 6, 3, wrong(o)))
    }
    const x = ones([1, 4, 5])
    await expectFailure('SHAPE', () => conv1d(x, ones([6, 4])))
    await expectFailure('SHAPE', () => conv1d(x, ones([6, 4, 0])))
    await expectFailure('SHAPE', () => conv1d(x, ones([6, 4, 2]), ones([5])))
    await expectFailure('SHAPE', () => conv1d(x, ones([3, 2, 2]), null, { groups: 2 }))
    await expectFailure('SHAPE', () => conv1d(x, ones([6, 4, 3]), null, { dilation: 3 }))
    await expectFailure('DTYPE', () => conv1d(x, ones([6, 4, 2], { dtype: 'float64' })))
  })

  it('gives each sequence the same bits alone and in a batch', () => {
    const layer = new Conv1d(5, 7, 3, { stride: 2, padding: 1 })
    const x = randn([6, 5, 33])
    const all = list(layer.forward(x))
    for (let b = 0; b < 6; b++) {
      const alone = list(layer.forward(x.slice(b, b + 1)))
      expect(alone).toEqual(all.slice(b * alone.length, (b + 1) * alone.length))
    }
  })
})

describe('functions as modules', () => {
  it('are those of tensors', () => {
    const x = randn([2, 3, 4])
    for (const [module, expected] of [
      [new Tanh(), x.tanh()],
      [new Sigmoid(), x.sigmoid()],
      [new ReLU(), x.relu()],
      [new SiLU(), x.silu()],
      [new GELU(), x.gelu()],
      [new GELU({ approximate: 'tanh' }), x.gelu({ approximate: 'tanh' })],
      [new Softplus(), x.softplus()],
      [new Softplus({ beta: 2, threshold: 1 }), x.softplus({ beta: 2, threshold: 1 })],
      [new LeakyReLU(), x.leakyRelu()],
      [new LeakyReLU(0.2), x.leakyRelu(0.2)],
      [new ELU(0.5), x.elu(0.5)],
      [new Softmax(1), x.softmax(1)],
      [new LogSoftmax(), x.logSoftmax()],
      [new Identity(), x],
      [new Flatten(), x.reshape([2, 12])],
      [new Flatten(0, 1), x.reshape([6, 4])],
    ] as [Module<Tensor, Tensor>, Tensor][]) {
      const y = new Sequential(module).forward(x)
      expect(y.shape).toEqual(expected.shape)
      expect(list(y)).toEqual(list(expected))
    }
  })

  it('refuse what does not fit', async () => {
    await expectFailure('VALUE', () => new Softmax(0.5))
    await expectFailure('TYPE', () => new LogSoftmax(wrong('1')))
    await expectFailure('VALUE', () => new GELU({ approximate: wrong('erf') }))
    await expectFailure('VALUE', () => new Softplus({ beta: 0 }))
    await expectFailure('TYPE', () => new LeakyReLU(wrong('0.1')))
    await expectFailure('VALUE', () => new ELU(Number.NaN))
    await expectFailure('VALUE', () => new Softmax(3).forward(full([2, 2], 1)))
    await expectFailure('SHAPE', () => new Flatten(2, 1).forward(ones([2, 2, 2])))
    await expectFailure('VALUE', () => new Flatten(1, 3).forward(ones([2, 2])))
  })
})
