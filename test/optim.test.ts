/** Optimizers and schedules: what they change, what they carry on. Values against PyTorch: fixtures. */
import {
  Adagrad,
  Adam,
  AdamW,
  AveragedModel,
  CosineAnnealingLR,
  clipGradNorm,
  clipGradValue,
  decayGroups,
  ExponentialLR,
  LayerNorm,
  Linear,
  LinearLR,
  manualSeed,
  mseLoss,
  NAdam,
  OneCycleLR,
  type Optimizer,
  ones,
  RAdam,
  ReduceLROnPlateau,
  RMSprop,
  randn,
  Sequential,
  SequentialLR,
  SGD,
  StepLR,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'

const list = (x: Tensor) => [...x.dataSync()]
const leaf = (...data: number[]) => tensor(new Float64Array(data), { requiresGrad: true } as const)

const kinds: [string, (parameters: Tensor[]) => Optimizer][] = [
  ['SGD', (p) => new SGD(p, { lr: 0.1 })],
  ['SGD with momentum', (p) => new SGD(p, { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.01 })],
  ['Adam', (p) => new Adam(p, { lr: 0.05, amsgrad: true })],
  ['AdamW', (p) => new AdamW(p, { lr: 0.05 })],
  ['RMSprop', (p) => new RMSprop(p, { lr: 0.05, momentum: 0.5, centered: true })],
  ['NAdam', (p) => new NAdam(p, { lr: 0.05 })],
  ['RAdam', (p) => new RAdam(p, { lr: 0.05 })],
  ['Adagrad', (p) => new Adagrad(p, { lr: 0.5, lrDecay: 0.001 })],
]

describe.each(kinds)('%s', (_, make) => {
  const step = (optimizer: Optimizer, model: Linear, x: Tensor, y: Tensor<'float32'>) => {
    optimizer.zeroGrad()
    const loss = mseLoss(model.forward(x), y)
    loss.backward()
    optimizer.step()
    return loss.itemSync()
  }
  const data = () => {
    manualSeed(3)
    const x = randn([16, 3])
    return { x, y: x.matmul(tensor([[1], [-2], [0.5]])).add(0.3), model: new Linear(3, 1) }
  }

  it('lowers a loss', () => {
    const { x, y, model } = data()
    const optimizer = make(model.parameters())
    const first = step(optimizer, model, x, y)
    let last = first
    for (let i = 0; i < 60; i++) last = step(optimizer, model, x, y)
    expect(last).toBeLessThan(first / 4)
  })

  it('goes on from a saved state, bit for bit', () => {
    const { x, y, model } = data()
    const optimizer = make(model.parameters())
    for (let i = 0; i < 3; i++) step(optimizer, model, x, y)
    const other = new Linear(3, 1)
    other.loadStateDict(model.stateDict())
    const resumed = make(other.parameters())
    resumed.loadStateDict(optimizer.stateDict())
    expect([...resumed.stateDict().keys()]).toEqual([...optimizer.stateDict().keys()])
    for (let i = 0; i < 3; i++) {
      step(optimizer, model, x, y)
      step(resumed, other, x, y)
    }
    expect(list(other.weight)).toEqual(list(model.weight))
    for (const [name, value] of resumed.stateDict()) {
      expect(list(value)).toEqual(list(optimizer.stateDict().get(name) as Tensor))
    }
  })

  it('skips parameters without gradient, and counts their steps apart', () => {
    const run = (used: (i: number) => boolean) => {
      const [a, b] = [leaf(1, 2), leaf(3)]
      const optimizer = make([a, b])
      for (let i = 0; i < 6; i++) {
        optimizer.zeroGrad()
        a.mul(a).sum().backward()
        if (used(i)) b.mul(b).sum().backward()
        optimizer.step()
      }
      return { a: list(a), b: list(b), state: optimizer.stateDict() }
    }
    const late = run((i) => i >= 3)
    const alone = leaf(3)
    const reference = make([alone])
    for (let i = 0; i < 3; i++) {
      reference.zeroGrad()
      alone.mul(alone).sum().backward()
      reference.step()
    }
    expect(late.b).toEqual(list(alone))
    expect(list(late.state.get('step.1') as Tensor)).toEqual([3])
    expect(list(late.state.get('step.0') as Tensor)).toEqual([6])
    expect(late.a).toEqual(run(() => true).a)
    expect(run(() => false).b).toEqual([3])
    expect(
      run((i) => i % 2 === 0)
        .state.get('step.1')
        ?.itemSync(),
    ).toBe(3)
  })

  it('takes float32 and float64 side by side', () => {
    const [a, b] = [tensor([1], { requiresGrad: true }), leaf(1)]
    const optimizer = make([a, b])
    a.sum().backward()
    b.sum().backward()
    optimizer.step()
    expect(list(a)[0]).toBeLessThan(1)
    expect(list(b)[0]).toBeCloseTo(list(a)[0] as number, 6)
  })

  it('refuses the state of others', () => {
    const optimizer = make([leaf(1)])
    const wrong = { 'step.0': tensor(new Float64Array([1]), []), 'nothing.0': leaf(1) }
    expect(() => optimizer.loadStateDict(wrong)).toThrow(RangeError)
    expect(optimizer.stateDict().size).toBe(0)
  })

  it('uses a new learning rate at once', () => {
    const a = leaf(1)
    const optimizer = make([a])
    optimizer.lr = 0
    a.sum().backward()
    optimizer.step()
    expect(list(a)).toEqual([1])
  })
})

describe('clipGradNorm', () => {
  it('scales gradients above the norm only', () => {
    const [a, b] = [leaf(0), leaf(0, 0)]
    a.mul(3).sum().backward()
    b.mul(tensor(new Float64Array([0, 4])))
      .sum()
      .backward()
    expect(clipGradNorm([a, b], 10).itemSync()).toBe(5)
    expect(list(a.grad as Tensor)).toEqual([3])
    expect(clipGradNorm([a, b], 1).itemSync()).toBe(5)
    expect(list(a.grad as Tensor)[0]).toBeCloseTo(0.6, 5)
    expect(list(b.grad as Tensor)[1]).toBeCloseTo(0.8, 5)
  })

  it('is 0 without gradients, and ignores parameters without', () => {
    const [a, b] = [leaf(1), leaf(1)]
    expect(clipGradNorm([a, b], 1).itemSync()).toBe(0)
    a.mul(2).sum().backward()
    expect(clipGradNorm([a, b], 1).itemSync()).toBe(2)
    expect(b.grad).toBeNull()
  })

  it('does not scale a gradient twice that two leaves had in common', () => {
    const [a, b] = [leaf(1), leaf(1)]
    a.add(b).mul(2).sum().backward()
    clipGradNorm([a, b], 1)
    expect(list(a.grad as Tensor)[0]).toBeCloseTo(Math.SQRT1_2, 5)
  })

  it('refuses mixed dtypes', () => {
    expect(() => clipGradNorm([ones([1]), leaf(1)] as Tensor[], 1)).toThrow(TypeError)
  })
})

describe('clipGradValue', () => {
  it('clips every element, of any dtype, and keeps NaN', () => {
    const [a, b, c] = [leaf(0, 0, 0), tensor([0, 0], { requiresGrad: true }), leaf(1)]
    a.mul(tensor(new Float64Array([3, -0.5, Number.NaN])))
      .sum()
      .backward()
    b.mul(tensor([-4, Infinity]))
      .sum()
      .backward()
    clipGradValue([a, b, c], 1.5)
    expect(list(a.grad as Tensor)).toEqual([1.5, -0.5, Number.NaN])
    expect(list(b.grad as Tensor)).toEqual([-1.5, 1.5])
    expect(c.grad).toBeNull()
    clipGradValue([b], 0)
    expect(list(b.grad as Tensor).map(Math.abs)).toEqual([0, 0])
  })

  it('refuses bad limits', () => {
    for (const limit of [-1, Number.NaN]) expect(() => clipGradValue([leaf(1)], limit)).toThrow(RangeError)
    expect(() => clipGradValue([leaf(1)], '1' as unknown as number)).toThrow(TypeError)
    expect(() => clipGradValue([1] as unknown as Tensor[], 1)).toThrow(TypeError)
  })
})

describe('groups of parameters', () => {
  it('are updated as by optimizers of their own', () => {
    const run = (make: (a: Tensor, b: Tensor) => Optimizer[]) => {
      const [a, b] = [leaf(1, 2), leaf(3)]
      const optimizers = make(a, b)
      for (let i = 0; i < 4; i++) {
        for (const one of optimizers) one.zeroGrad()
        a.mul(a).sum().add(b.mul(b).sum()).backward()
        for (const one of optimizers) one.step()
      }
      return { values: [list(a), list(b)], optimizers }
    }
    const own = { lr: 0.3, betas: [0.5, 0.9] as [number, number], weightDecay: 0, amsgrad: true }
    const together = run((a, b) => [
      new AdamW([{ params: [a] }, { params: [b], ...own, eps: undefined }], { lr: 0.1, weightDecay: 0.2 }),
    ])
    const apart = run((a, b) => [new AdamW([a], { lr: 0.1, weightDecay: 0.2 }), new AdamW([b], own)])
    expect(together.values).toEqual(apart.values)
    const names = [...(together.optimizers[0] as Optimizer).stateDict().keys()]
    expect(names.filter((name) => name.endsWith('.1'))).toContain('max_exp_avg_sq.1')
    expect(names).not.toContain('max_exp_avg_sq.0')
  })

  it('have numbers that can be set, and count at the next step', () => {
    const [a, b] = [leaf(1), leaf(1)]
    const optimizer = new SGD([{ params: [a] }, { params: [b], lr: 0.5, momentum: 0.5 }], { lr: 0.1 })
    const [first, second] = optimizer.paramGroups
    if (first === undefined || second === undefined) throw new Error('two groups')
    expect([first.params, second.params]).toEqual([[a], [b]])
    expect([first.lr, second.lr, first.momentum, second.momentum]).toEqual([0.1, 0.5, 0, 0.5])
    second.lr = 0
    first.weightDecay = 1
    a.add(b).sum().backward()
    optimizer.step()
    expect([list(a), list(b)]).toEqual([[0.8], [1]])
    optimizer.lr = 0.25
    expect([first.lr, second.lr]).toEqual([0.25, 0.25])
    expect(() => {
      second.lr = -1
    }).toThrow(RangeError)
    expect(() => {
      first.momentum = 0.5
    }).toThrow(/expected a group with momentum/)
    expect(() => {
      first.betas = [0, 0]
    }).toThrow(RangeError)
    expect(second.lr).toBe(0.25)
    expect(() => (optimizer.paramGroups as unknown[]).pop()).toThrow(TypeError)
  })

  it('are refused where they do not fit', () => {
    const a = leaf(1)
    const bad: [unknown, RegExp][] = [
      [[{ params: [a] }, { params: [a] }], /each parameter in one group/],
      [[{ params: [a, a] }], /each parameter once/],
      [[{ params: [a], typo: 1 }], /options among params, lr/],
      [[{ params: [a], lr: -1 }], /lr/],
      [[{ params: a }], /array of parameters/],
      [[{ params: [a] }, leaf(2)], /group 1 to be an object with params/],
      [[leaf(2), { params: [a] }], /group 0 to be an object with params/],
      [[{ params: [] }], /at least one parameter/],
      [[{}], /Tensor/],
      [[{ params: [leaf(1).detach()] }], /requires grad/],
    ]
    for (const [groups, message] of bad) expect(() => new SGD(groups as Tensor[])).toThrow(message)
    expect(new SGD([{ params: [] }, { params: [a] }]).parameters).toEqual([a])
  })

  it('decayGroups() leaves biases and norms without decay, and shared parameters once', () => {
    const model = new Sequential(new Linear(2, 2), new LayerNorm(2), new Linear(2, 2))
    const optimizer = new AdamW(decayGroups(model), { weightDecay: 0.1 })
    expect(optimizer.paramGroups.map(({ weightDecay, params }) => [weightDecay, params.length])).toEqual([
      [0.1, 2],
      [0, 4],
    ])
    const [, others] = decayGroups(model, (name) => name.startsWith('0.'))
    expect(others.params).toHaveLength(2)
  })

  it('go on from a saved state', () => {
    const make = () => {
      const [a, b] = [leaf(1), leaf(2)]
      return { a, b, optimizer: new SGD([{ params: [b], momentum: 0.9 }, { params: [a] }], { lr: 0.1 }) }
    }
    const [one, other] = [make(), make()]
    const step = ({ a, b, optimizer }: ReturnType<typeof make>) => {
      optimizer.zeroGrad()
      a.mul(a).add(b.mul(b)).sum().backward()
      optimizer.step()
    }
    step(one)
    step(other)
    other.optimizer.loadStateDict(one.optimizer.stateDict())
    expect([...one.optimizer.stateDict().keys()]).toEqual(['step.0', 'momentum_buffer.0', 'step.1'])
    for (const each of [one, other]) step(each)
    expect([list(other.a), list(other.b)]).toEqual([list(one.a), list(one.b)])
  })
})

describe('AveragedModel', () => {
  const set = (model: Linear, ...weight: number[]) =>
    model.loadStateDict({ weight: tensor([weight]) }, { strict: false })

  it('averages in place, counts tied parameters once, and leaves the module alone', () => {
    const model = new Linear(2, 1, { bias: false })
    const average = new AveragedModel(model)
    for (const k of [1, 2, 6]) {
      set(model, k, -k)
      average.update()
    }
    expect(list(average.stateDict().get('module.weight') as Tensor)).toEqual([3, -3])
    expect(list(model.weight)).toEqual([6, -6])
    const other = new Linear(2, 1, { bias: false })
    average.copyTo(other)
    expect(list(other.weight)).toEqual([3, -3])
    expect(() => average.copyTo(new Linear(2, 1))).toThrow(/bias/)
    expect(() => average.copyTo(new Linear(3, 1, { bias: false }))).toThrow(RangeError)
  })

  it('apply() runs with the averages and puts back what was there, whatever happens', async () => {
    const model = new Linear(2, 1, { bias: false })
    set(model, 1, 2)
    const average = new AveragedModel(model, { decay: 0.5 })
    average.update()
    set(model, 3, 4)
    average.update()
    const output = average.apply(() => model.forward(tensor([[1, 10]])))
    expect([list(output), list(model.weight)]).toEqual([[2 + 30], [3, 4]])
    expect(() =>
      average.apply(() => {
        throw new Error('inside')
      }),
    ).toThrow('inside')
    expect(() => average.apply(() => Promise.resolve())).toThrow(TypeError)
    expect(list(model.weight)).toEqual([3, 4])
  })

  it('notices that what a graph needs has changed', () => {
    const model = new Linear(2, 2)
    const average = new AveragedModel(model)
    const x = tensor([[1, 2]], { requiresGrad: true })
    const loss = model.forward(x).sum()
    average.update()
    average.apply(() => 0)
    expect(() => loss.backward()).toThrow(/changed/)
  })

  it('refuses what it cannot average', () => {
    expect(() => new AveragedModel({} as Linear)).toThrow(TypeError)
    for (const decay of [-0.1, 1.1, Number.NaN])
      expect(() => new AveragedModel(new Linear(1, 1), { decay })).toThrow(RangeError)
  })
})

describe('schedules', () => {
  const optimizer = (lr: number) => new SGD([leaf(1)], { lr })
  const rates = (steps: number, target: Optimizer, step: () => void) =>
    Array.from({ length: steps }, () => {
      step()
      return target.lr
    })

  it('StepLR', () => {
    const target = optimizer(1)
    const schedule = new StepLR(target, { stepSize: 2, gamma: 0.5 })
    expect(rates(5, target, () => schedule.step())).toEqual([1, 0.5, 0.5, 0.25, 0.25])
    const other = optimizer(1)
    const resumed = new StepLR(other, { stepSize: 2, gamma: 0.5 })
    resumed.loadStateDict(schedule.stateDict())
    resumed.step()
    expect(other.lr).toBe(0.125)
  })

  it('CosineAnnealingLR', () => {
    const target = optimizer(1)
    const schedule = new CosineAnnealingLR(target, { tMax: 4, etaMin: 0.2 })
    const got = rates(4, target, () => schedule.step())
    const expected = [1, 2, 3, 4].map((i) => 0.2 + (0.8 * (1 + Math.cos((Math.PI * i) / 4))) / 2)
    got.forEach((lr, i) => {
      expect(lr).toBeCloseTo(expected[i] as number, 12)
    })
    expect(got[3]).toBeCloseTo(0.2, 12)
  })

  it('drive every group from its own rate, or none', () => {
    const target = new SGD([
      { params: [leaf(1)], lr: 2 ** 1000 },
      { params: [leaf(2)], lr: 2 },
    ])
    const schedule = new ExponentialLR(target, { gamma: 2 ** 20 })
    schedule.step()
    expect(target.paramGroups.map(({ lr }) => lr)).toEqual([2 ** 1020, 2 ** 21])
    expect(() => schedule.step()).toThrow(RangeError)
    expect(schedule.stateDict()).toEqual({ step: 1, lr: [2 ** 1020, 2 ** 21] })
    const plateau = new ReduceLROnPlateau(target, { patience: 0, factor: 0.5 })
    for (const metric of [1, 1]) plateau.step(metric)
    expect(target.paramGroups.map(({ lr }) => lr)).toEqual([2 ** 1019, 2 ** 20])
  })

  it('begin from the rate that was last set by hand, whatever another schedule made of it', () => {
    const target = optimizer(1)
    const warmUp = new LinearLR(target, { startFactor: 0.5, totalIters: 2 })
    expect(target.lr).toBe(0.5)
    const cosine = new CosineAnnealingLR(target, { tMax: 4 })
    const schedule = new SequentialLR(target, { schedulers: [warmUp, cosine], milestones: [2] })
    expect(rates(3, target, () => schedule.step())).toEqual([0.75, 1, (1 + Math.SQRT1_2) / 2])
    target.lr = 3
    const next = new CosineAnnealingLR(target, { tMax: 2 })
    next.step()
    expect(target.lr).toBeCloseTo(1.5, 12)
  })

  it('refuse what does not fit', () => {
    const target = optimizer(1)
    const [part, other] = [
      new ExponentialLR(target, { gamma: 1 }),
      new ExponentialLR(optimizer(1), { gamma: 1 }),
    ]
    const plateau = new ReduceLROnPlateau(target) as unknown as ExponentialLR
    for (const [schedulers, milestones] of [
      [[part], [1]],
      [[part, other], [1]],
      [[part, plateau], [1]],
      [
        [part, part, part],
        [3, 2],
      ],
      [[part, part], [-1]],
      [[], []],
    ] as [ExponentialLR[], number[]][]) {
      expect(() => new SequentialLR(target, { schedulers, milestones })).toThrow(/SequentialLR/)
    }
    expect(() => new OneCycleLR(target, { maxLr: 1, totalSteps: 5 })).toThrow(/cycleMomentum/)
    expect(() => new OneCycleLR(target, { maxLr: 1, epochs: 5, cycleMomentum: false })).toThrow(TypeError)
    const cycle = new OneCycleLR(target, { maxLr: 1, totalSteps: 2, cycleMomentum: false })
    for (let i = 0; i < 2; i++) cycle.step()
    expect(() => cycle.step()).toThrow(/at most 2 steps, got 3/)
    const line = { totalSteps: 5, annealStrategy: 'linear', cycleMomentum: false, finalDivFactor: 1 } as const
    const straight = new OneCycleLR(target, { maxLr: 1, ...line })
    for (let i = 0; i < 5; i++) straight.step()
    expect(target.lr).toBeCloseTo(1 / 25, 12)
    expect(() => new LinearLR(target, { startFactor: 0 })).toThrow(RangeError)
  })

  it('ReduceLROnPlateau', () => {
    const target = optimizer(1)
    const schedule = new ReduceLROnPlateau(target, { factor: 0.5, patience: 1, minLr: 0.3 })
    const metrics = [1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1]
    const got = metrics.map((metric) => {
      schedule.step(metric)
      return target.lr
    })
    expect(got).toEqual([1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3])
    expect(() => schedule.loadStateDict({ best: 1 })).toThrow(TypeError)
  })
})
