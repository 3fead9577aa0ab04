/** Optimizers and schedules: what they change, what they carry on. Values against PyTorch: fixtures. */
import {
  Adam,
  AdamW,
  CosineAnnealingLR,
  clipGradNorm,
  Linear,
  manualSeed,
  mseLoss,
  type Optimizer,
  ones,
  ReduceLROnPlateau,
  RMSprop,
  randn,
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
