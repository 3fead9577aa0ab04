/** What a module is made of: where its parameters and children are found, sharing, circles. */
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  Adam,
  Dropout,
  Embedding,
  GRU,
  LayerNorm,
  Linear,
  LSTM,
  Module,
  ones,
  Parameter,
  RNN,
  Sequential,
  SGD,
  type Tensor,
  tensor,
  zeros,
} from '../lib/index.ts'
import { expectFailure, wrong } from './support/failure.ts'

abstract class Model extends Module<Tensor, Tensor> {
  override forward(x: Tensor): Tensor {
    return x
  }
}
const one = () => new Linear(1, 1, { bias: false })
const names = (module: Module) => [...module.stateDict().keys()]
const values = (x: Tensor) => [...x.dataSync()]

describe('parameters and children', () => {
  it('are found in containers, nested, by their places', () => {
    class Nested extends Model {
      layers = [one(), [one(), null], 'text', 1] as const
      heads = { a: one(), more: { b: new Parameter(ones([2])) } }
      byName = new Map<unknown, unknown>([
        ['x', one()],
        [3, [one()]],
        [Symbol('data'), 1],
      ])
      pair = [['name', one()]]
      set = new Set([new Parameter(ones([1]))])
      scales = [new Parameter(ones([1])), new Parameter(ones([1]))]
      bare = Object.assign(Object.create(null), { c: one() })
      circle: unknown[] = []
      constructor() {
        super()
        this.circle.push(this.circle, one())
      }
    }
    const model = new Nested()
    expect(names(model)).toEqual([
      'heads.more.b',
      'set.0',
      'scales.0',
      'scales.1',
      'layers.0.weight',
      'layers.1.0.weight',
      'heads.a.weight',
      'byName.x.weight',
      'byName.3.0.weight',
      'pair.0.1.weight',
      'bare.c.weight',
      'circle.1.weight',
    ])
    expect(model.namedParameters().map(([name]) => name)).toEqual(names(model))
    expect(model.getParameter('byName.3.0.weight').shape).toEqual([1, 1])
    model.eval()
    expect((model.byName.get('x') as Module).training).toBe(false)
    model.parameters().map((parameter) => parameter.sum().backward())
    model.zeroGrad()
    expect(model.parameters().every(({ grad }) => grad === null)).toBe(true)
    model.dispose()
    expect(model.scales[1]?.disposed).toBe(true)
  })

  it('are entered by register(), where no field shows them', async () => {
    class Private extends Model {
      #head = this.register('head', one())
      #scale = this.register('scale', new Parameter(ones([1])))
      override forward(x: Tensor) {
        return this.#head.forward(x).mul(this.#scale)
      }
      again(name: string, value: unknown) {
        return this.register(name, wrong(value))
      }
    }
    const model = new Private()
    expect(names(model)).toEqual(['scale', 'head.weight'])
    const before = model.parameters().map(values)
    const optimizer = new SGD(model.parameters(), { lr: 0.1 })
    model
      .forward(ones([1, 1]))
      .sum()
      .backward()
    optimizer.step()
    expect(model.parameters().map(values)).not.toEqual(before)
    const other = one()
    expect(model.again('head', other)).toBe(other)
    expect(model.parameters()[1]).toBe(other.weight)
    for (const name of ['', 'a.b']) await expectFailure('VALUE', () => model.again(name, other))
    for (const value of [zeros([1]), 1, null, {}, Object.create(other)]) {
      await expectFailure('TYPE', () => model.again('x', value))
    }
  })

  it('are refused where they have no name', async () => {
    const keyed = Object.assign(new Sequential(), { heads: new Map([[{}, one()]]) })
    await expectFailure('VALUE', () => keyed.parameters())
    const twice = Object.assign(new Sequential(), { 'a.weight': new Parameter(ones([1])), a: one() })
    await expectFailure('VALUE', () => twice.stateDict())
    for (const fake of [Object.create(one()), new Proxy(one(), {})]) {
      await expectFailure('TYPE', () => Object.assign(new Sequential(), { fake }).parameters())
    }
    vi.resetModules()
    const copy = await import('../lib/index.ts')
    const foreign = Object.assign(new Sequential(), { layer: new copy.Linear(1, 1) })
    expect((await expectFailure('TYPE', () => foreign.parameters())).message).toContain(
      'another copy of bptt',
    )
  })

  it('in circles come to an end', async () => {
    class Child extends Model {
      weight = new Parameter(ones([1]))
      readonly owner: { parent?: Module; siblings?: Module[] }
      constructor(owner: Child['owner']) {
        super()
        this.owner = owner
      }
    }
    const parent = Object.assign(new Sequential(), { children: [] as Module[] })
    const owner = { parent }
    parent.children.push(new Child(owner), new Child(owner))
    expect(names(parent)).toEqual(['children.0.weight', 'children.1.weight'])
    parent.eval()
    expect(parent.children.every(({ training }) => !training)).toBe(true)
    parent.to('cpu')
    expect(inspect(parent)).toContain('Sequential(..)')
    expect(JSON.stringify(parent)).toContain('children.1.weight')
    parent.dispose()
    expect(parent.children[1]?.parameters()[0]?.disposed).toBe(true)

    const siblings: Module[] = []
    for (let i = 0; i < 12; i++) siblings.push(new Child({ siblings }))
    const crowd = Object.assign(new Sequential(), { siblings })
    expect(crowd.parameters()).toHaveLength(12)
    crowd.train().zeroGrad()
    await expectFailure('VALUE', () => crowd.stateDict())
    crowd.dispose()
    expect(crowd.parameters().every(({ disposed }) => disposed)).toBe(true)
  })
})

describe('parameters that nothing lists', () => {
  let warnings: string[]
  const listen = (warning: Error & { code?: string }) => {
    if (warning.code === 'BPTT_UNTRAINED') warnings.push(warning.message)
  }
  beforeEach(() => {
    warnings = []
    process.on('warning', listen)
  })
  afterEach(() => {
    process.off('warning', listen)
  })

  class Hidden extends Model {
    body = one()
    readonly #head = one()
    constructor(frozen = false) {
      super()
      if (frozen) this.#head.weight.requiresGrad = false
    }
    override forward(x: Tensor) {
      return this.#head.forward(this.body.forward(x))
    }
  }

  it.each([
    ['are named at the first step', () => new Hidden(), 1],
    ['are left in peace when frozen', () => new Hidden(true), 0],
    ['need no field of their own', () => new Sequential(one(), one()), 0],
  ])('%s', async (_, make, count) => {
    const model = make()
    const optimizer = new Adam(model.parameters())
    for (let i = 0; i < 3; i++) {
      optimizer.zeroGrad()
      model
        .forward(ones([1, 1]))
        .sum()
        .backward()
      optimizer.step()
    }
    await new Promise((resolve) => setTimeout(resolve, 1))
    expect(warnings).toHaveLength(count)
    if (count > 0) expect(warnings[0]).toContain('Linear.weight [1,1]')
  })

  it('are not those of another loss', async () => {
    const [a, b] = [one(), one()]
    a.forward(ones([1, 1]))
      .sum()
      .backward()
    b.forward(ones([1, 1]))
      .sum()
      .backward()
    new SGD(b.parameters()).step()
    await new Promise((resolve) => setTimeout(resolve, 1))
    expect(warnings).toEqual([])
  })
})

describe('shared parameters', () => {
  class Tied extends Model {
    embedding = new Embedding(5, 3)
    head = new Linear(3, 5, { bias: false })
    constructor() {
      super()
      this.head.weight = this.embedding.weight
    }
    override forward(ids: Tensor) {
      return this.head.forward(this.embedding.forward(ids))
    }
  }

  it('are trained once, by the sum of their gradients', () => {
    const [model, apart] = [
      new Tied(),
      Object.assign(new Tied(), { head: new Linear(3, 5, { bias: false }) }),
    ]
    apart.embedding.loadStateDict(model.embedding.stateDict())
    apart.head.loadStateDict({ weight: model.head.weight })
    const ids = tensor(new Int32Array([1, 4]))
    for (const one of [model, apart]) one.forward(ids).exp().sum().backward()
    const sum = (apart.embedding.weight.grad as Tensor).add(apart.head.weight.grad as Tensor)
    expect(values(model.head.weight.grad as Tensor)).toEqual(values(sum))
    expect(model.parameters()).toHaveLength(1)
    const before = values(model.embedding.weight)
    new SGD(model.parameters(), { lr: 1 }).step()
    const expected = before.map((value, i) => Math.fround(value - (values(sum)[i] as number)))
    expect(values(model.head.weight)).toEqual(expected)
  })

  it('are saved under both names and loaded from either', async () => {
    const model = new Tied()
    expect(names(model)).toEqual(['embedding.weight', 'head.weight'])
    const state = model.stateDict()
    for (const given of [['embedding.weight'], ['head.weight'], ['embedding.weight', 'head.weight']]) {
      const other = new Tied()
      const part = new Map(given.map((name) => [name, state.get(name) as Tensor]))
      expect(other.loadStateDict(part)).toEqual({ missing: [], unexpected: [] })
      expect(values(other.head.weight)).toEqual(values(model.head.weight))
      expect(other.head.weight).toBe(other.embedding.weight)
    }
    await expectFailure('VALUE', () => new Tied().loadStateDict({}))
    expect(new Tied().loadStateDict({}, { strict: false }).missing).toEqual(names(model))
  })

  it.each([RNN, GRU, LSTM])('between recurrent layers, %o', (Layer) => {
    const options = { dtype: 'float64' } as const
    const [a, b, c] = [new Layer(3, 3, options), new Layer(3, 3, options), new Layer(3, 3, options)]
    const x = ones([2, 1, 3], options)
    const run = (layer: Module<Tensor>) => (layer.forward(x) as { output: Tensor }).output
    c.loadStateDict(b.stateDict())
    // Packed before and after, also where the latest version of all weights stays the same.
    run(b).dispose()
    run(c).dispose()
    for (const name of ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'] as const) {
      b[name] = a[name]
      c.loadStateDict({ [name]: a[name] }, { strict: false })
      expect(values(run(b))).toEqual(values(run(c)))
    }
    const stacked = new Sequential(...[wrong(a), wrong(b)])
    expect(stacked.parameters()).toHaveLength(4)
    run(a).sum().add(run(b).sum()).backward()
    const twice = values(a.weight_hh_l0.grad as Tensor)
    run(c).sum().backward()
    expect(twice).toEqual(values((c.weight_hh_l0.grad as Tensor).mul(2)))
    new SGD(stacked.parameters(), { lr: 0.5 }).step()
    c.loadStateDict(a.stateDict())
    expect(values(run(b))).toEqual(values(run(c)))
    expect([...b.stream().step(Float64Array.of(1, 1, 1))]).toEqual(values(run(c)).slice(0, 3))
  })

  it('fit, or are refused', async () => {
    const head = new Linear(2, 3, { bias: false })
    const norm = new LayerNorm(2)
    const gru = new GRU(2, 3)
    for (const [code, run] of [
      ['TYPE', () => Object.assign(head, { weight: ones([3, 2]) })],
      ['TYPE', () => Object.assign(head, { weight: null })],
      ['TYPE', () => Object.assign(head, { weight: Object.create(head.weight) })],
      ['TYPE', () => Object.assign(head, { bias: new Parameter(ones([3])) })],
      ['SHAPE', () => Object.assign(norm, { weight: new Parameter(ones([3])) })],
      ['TYPE', () => Object.assign(gru, { weight_ih_l0: ones([9, 2]) })],
      ['SHAPE', () => Object.assign(gru, { weight_ih_l0: new Parameter(ones([2, 9])) })],
      ['DTYPE', () => Object.assign(gru, { bias_ih_l0: new Parameter(ones([9], { dtype: 'float64' })) })],
    ] as const) {
      await expectFailure(code, run)
    }
    expect(head.weight.requiresGrad).toBe(true)
    expect(names(wrong(gru))).toHaveLength(4)
  })
})

describe('a module among values', () => {
  it('shows its structure, never its internals', () => {
    const model = new Sequential(wrong(new LSTM(1, 1)), new Dropout(), new Linear(1, 2))
    expect(inspect(model)).toBe(
      'Sequential(\n' +
        '  0: LSTM(weight_ih_l0 [4,1], weight_hh_l0 [4,1], bias_ih_l0 [4], bias_hh_l0 [4])\n' +
        '  1: Dropout()\n' +
        '  2: Linear(weight [2,1], bias [2])\n)',
    )
    const json = JSON.parse(JSON.stringify(model))
    expect(json.module).toBe('Sequential')
    expect(json.parameters['2.bias']).toEqual({
      dtype: 'float32',
      shape: [2],
      device: 'cpu',
      requiresGrad: true,
    })
    for (const value of [model, new Dropout()]) expect(() => structuredClone(value)).toThrow(/native memory/)
  })
})
