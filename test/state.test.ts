/** Loading a state: all of it or nothing, from a copy, from another realm, from JSON, from what the object itself gave. */
import { runInNewContext } from 'node:vm'
import {
  Adagrad,
  Adam,
  AdamW,
  AveragedModel,
  CosineAnnealingLR,
  CosineAnnealingWarmRestarts,
  Embedding,
  ExponentialLR,
  getRandomState,
  LambdaLR,
  Linear,
  LinearLR,
  LSTM,
  Module,
  manualSeed,
  NAdam,
  OneCycleLR,
  type Optimizer,
  RAdam,
  ReduceLROnPlateau,
  RMSprop,
  type ScheduleState,
  SequentialLR,
  SGD,
  StepLR,
  setRandomState,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from 'bptt'
import { describe, expect, it } from 'vitest'

type State = Map<string, Tensor>

const list = (x: Tensor) => [...x.dataSync()]
const values = (state: ReadonlyMap<string, Tensor>) => [...state].map(([name, x]) => [name, list(x)])
const float64 = (...data: number[]) => tensor(new Float64Array(data))
const scalar = (value: number) => tensor(new Float64Array([value]), [])
const leaf = (...data: number[]) => tensor(new Float64Array(data), { requiresGrad: true } as const)
/** A tensor whose computation fails, of the shape given. */
const failing = (shape: readonly number[], dtype: 'float32' | 'float64' = 'float64') =>
  new Embedding(1, 1, { dtype })
    .forward(tensor([7], { dtype: 'int32' }))
    .expand([1, 1])
    .sum()
    .expand(shape)
const codeOf = (run: () => unknown): unknown => {
  try {
    run()
  } catch (error) {
    return (error as { code?: unknown }).code
  }
  return 'no error'
}

const kinds: [string, (parameters: Tensor[]) => Optimizer][] = [
  ['SGD', (p) => new SGD(p, { lr: 0.1, momentum: 0.9 })],
  ['Adam', (p) => new Adam(p, { lr: 0.1, amsgrad: true })],
  ['AdamW', (p) => new AdamW(p, { lr: 0.1 })],
  ['RMSprop', (p) => new RMSprop(p, { lr: 0.1, momentum: 0.5, centered: true })],
  ['NAdam', (p) => new NAdam(p, { lr: 0.1 })],
  ['RAdam', (p) => new RAdam(p, { lr: 0.1 })],
  ['Adagrad', (p) => new Adagrad(p, { lr: 0.1, initialAccumulatorValue: 0.1 })],
]

describe.each(kinds)('%s', (_, make) => {
  const step = (optimizer: Optimizer) => {
    optimizer.zeroGrad()
    for (const x of optimizer.parameters) x.mul(x).sum().backward()
    optimizer.step()
  }
  const trained = (...at: number[]) => {
    const parameter = leaf(...at)
    const optimizer = make([parameter])
    for (let i = 0; i < 3; i++) step(optimizer)
    return { parameter, optimizer }
  }

  it('takes its own state, and trains on as if nothing had been loaded', () => {
    const { parameter, optimizer } = trained(1, 2)
    const other = trained(1, 2)
    optimizer.loadStateDict(optimizer.stateDict())
    optimizer.loadStateDict(Object.fromEntries(optimizer.stateDict()))
    expect(values(optimizer.stateDict())).toEqual(values(other.optimizer.stateDict()))
    step(optimizer)
    step(other.optimizer)
    expect(list(parameter)).toEqual(list(other.parameter))
  })

  it('gives a state that may be disposed, and keeps none of what it is given', () => {
    const { parameter, optimizer } = trained(1, 2)
    const [a, b] = [make([leaf(...list(parameter))]), make([leaf(...list(parameter))])]
    const state = optimizer.stateDict()
    a.loadStateDict(state)
    b.loadStateDict(state)
    for (const x of state.values()) x.dispose()
    tidy(() => [...optimizer.stateDict().values()][0]?.sum())
    for (const one of [optimizer, a, b]) step(one)
    for (const one of [a, b]) {
      expect(values(one.stateDict())).toEqual(values(optimizer.stateDict()))
      expect(list(one.parameters[0] as Tensor)).toEqual(list(parameter))
    }
  })

  it('shows later steps in the state it gave', () => {
    const { optimizer } = trained(1, 2)
    const count = optimizer.stateDict().get('step.0') as Tensor
    step(optimizer)
    expect(count.itemSync()).toBe(4)
  })

  const edits: [string, string, (state: State, name: string) => unknown][] = [
    ...[Number.NaN, -1, 1.5, 2 ** 60, Infinity].map((steps): [string, string, (state: State) => unknown] => [
      `${steps} steps`,
      'ERR_BPTT_VALUE',
      (state) => state.set('step.0', scalar(steps)),
    ]),
    ['a step in float32', 'ERR_BPTT_DTYPE', (state) => state.set('step.0', tensor(1, []))],
    ['a step of one dimension', 'ERR_BPTT_SHAPE', (state) => state.set('step.0', float64(1))],
    ['no step', 'ERR_BPTT_VALUE', (state) => state.delete('step.0')],
    ['a missing name', 'ERR_BPTT_VALUE', (state, name) => state.delete(name)],
    ['a name of no parameter', 'ERR_BPTT_VALUE', (state) => state.set('step.1', scalar(1))],
    ['a foreign name', 'ERR_BPTT_VALUE', (state) => state.set('__proto__', scalar(1))],
    [
      'a key that is a symbol',
      'ERR_BPTT_TYPE',
      (state) => (state as Map<unknown, Tensor>).set(Symbol('a'), leaf(1)),
    ],
    ['another shape', 'ERR_BPTT_SHAPE', (state, name) => state.set(name, float64(1, 2, 3))],
    ['another dtype', 'ERR_BPTT_DTYPE', (state, name) => state.set(name, zeros([2]))],
    ['no tensor', 'ERR_BPTT_TYPE', (state, name) => (state as Map<string, unknown>).set(name, [1, 2])],
    ['a disposed tensor', 'ERR_BPTT_DISPOSED', (state, name) => state.get(name)?.dispose()],
    ['a disposed step', 'ERR_BPTT_DISPOSED', (state) => state.get('step.0')?.dispose()],
    ['a tensor that failed', 'ERR_BPTT_INDEX', (state, name) => state.set(name, failing([2]))],
    ['a step that failed', 'ERR_BPTT_INDEX', (state) => state.set('step.0', failing([]))],
  ]
  it.each(edits)('%s: refused, and nothing has changed', (_name, code, edit) => {
    const { parameter, optimizer } = trained(1, 2)
    const same = trained(1, 2)
    const state: State = trained(3, 4).optimizer.stateDict()
    edit(state, [...state.keys()].at(-1) as string)
    expect(codeOf(() => optimizer.loadStateDict(state))).toBe(code)
    expect(values(optimizer.stateDict())).toEqual(values(same.optimizer.stateDict()))
    step(optimizer)
    step(same.optimizer)
    expect(list(parameter)).toEqual(list(same.parameter))
  })

  it.each([
    ['null', null],
    ['a list', []],
    ['a promise', Promise.resolve(new Map())],
    ['a set', new Set()],
    ['a date', new Date()],
    ['text', 'state'],
  ])('%s is no state', (_name, state) => {
    const { optimizer } = trained(1, 2)
    expect(codeOf(() => optimizer.loadStateDict(state as unknown as State))).toBe('ERR_BPTT_TYPE')
    expect(optimizer.stateDict().get('step.0')?.itemSync()).toBe(3)
  })

  it('goes back to the start with the state of one that has done no step', () => {
    const { optimizer } = trained(1, 2)
    optimizer.loadStateDict(make([leaf(1, 2)]).stateDict())
    expect(optimizer.stateDict().size).toBe(0)
    step(optimizer)
    expect(optimizer.stateDict().get('step.0')?.itemSync()).toBe(1)
  })

  it('refuses every use after dispose()', () => {
    const { optimizer } = trained(1, 2)
    optimizer.dispose()
    optimizer.dispose()
    for (const use of [
      () => optimizer.step(),
      () => optimizer.stateDict(),
      () => optimizer.loadStateDict(new Map()),
    ]) {
      expect(codeOf(use)).toBe('ERR_BPTT_DISPOSED')
    }
  })
})

describe('modules', () => {
  class Pair extends Module<Tensor, Tensor> {
    a = new Linear(2, 2, { bias: false })
    b = new Linear(2, 2, { bias: false })
    override forward(x: Tensor): Tensor {
      return this.b.forward(this.a.forward(x))
    }
  }

  it('take their own state, also under exchanged names', () => {
    const pair = new Pair()
    const [a, b] = [list(pair.a.weight), list(pair.b.weight)]
    pair.loadStateDict(pair.stateDict())
    expect([list(pair.a.weight), list(pair.b.weight)]).toEqual([a, b])
    pair.loadStateDict({ 'a.weight': pair.b.weight, 'b.weight': pair.a.weight.reshape([2, 2]) })
    expect([list(pair.a.weight), list(pair.b.weight)]).toEqual([b, a])
  })

  it('take a map of another realm', () => {
    const pair = new Pair()
    const foreign = runInNewContext('new Map()') as State
    const twos = tensor([
      [2, 2],
      [2, 2],
    ])
    for (const name of ['a.weight', 'b.weight']) foreign.set(name, twos)
    pair.loadStateDict(foreign)
    expect(list(pair.b.weight)).toEqual([2, 2, 2, 2])
  })

  const bad: [string, string, () => unknown][] = [
    ['another shape', 'ERR_BPTT_SHAPE', () => zeros([2, 3])],
    ['another dtype', 'ERR_BPTT_DTYPE', () => zeros([2, 2], { dtype: 'float64' })],
    [
      'a list',
      'ERR_BPTT_TYPE',
      () => [
        [1, 2],
        [3, 4],
      ],
    ],
    ['a tensor that failed', 'ERR_BPTT_INDEX', () => failing([2, 2], 'float32')],
    [
      'a disposed tensor',
      'ERR_BPTT_DISPOSED',
      () => {
        const gone = zeros([2, 2])
        gone.dispose()
        return gone
      },
    ],
  ]
  it.each(bad)('%s as the last value changes nothing', (_name, code, make) => {
    const pair = new Pair()
    const before = values(pair.stateDict())
    const state = { 'a.weight': zeros([2, 2]), 'b.weight': make() as Tensor }
    expect(codeOf(() => pair.loadStateDict(state))).toBe(code)
    expect(codeOf(() => pair.loadStateDict(state, { strict: false }))).toBe(code)
    expect(values(pair.stateDict())).toEqual(before)
  })

  it('refuse what is no state, and an option of the wrong type', () => {
    const pair = new Pair()
    for (const state of [null, [], 'x', Promise.resolve(), new WeakMap(), pair.a]) {
      expect(codeOf(() => pair.loadStateDict(state as unknown as State, { strict: false }))).toBe(
        'ERR_BPTT_TYPE',
      )
    }
    const options = { strict: 'no' } as unknown as { strict: boolean }
    expect(codeOf(() => pair.loadStateDict(new Map(), options))).toBe('ERR_BPTT_TYPE')
  })
})

describe('schedules', () => {
  const target = () => new SGD([leaf(1)], { lr: 0.5 })
  interface Schedule {
    step(metric: number): void
    stateDict(): ScheduleState
    loadStateDict(state: ScheduleState): void
  }
  const schedules: [string, (optimizer: Optimizer) => Schedule][] = [
    ['StepLR', (optimizer) => new StepLR(optimizer, { stepSize: 2, gamma: 0.3 })],
    ['CosineAnnealingLR', (optimizer) => new CosineAnnealingLR(optimizer, { tMax: 5, etaMin: 0.01 })],
    ['ReduceLROnPlateau', (optimizer) => new ReduceLROnPlateau(optimizer, { patience: 1, cooldown: 1 })],
    [
      'ReduceLROnPlateau of a maximum',
      (optimizer) => new ReduceLROnPlateau(optimizer, { mode: 'max', patience: 0, factor: 0.5 }),
    ],
    ['ExponentialLR', (optimizer) => new ExponentialLR(optimizer, { gamma: 0.9 })],
    ['LinearLR', (optimizer) => new LinearLR(optimizer, { startFactor: 0.2 })],
    ['LambdaLR', (optimizer) => new LambdaLR(optimizer, { lrLambda: (step) => 1 / (1 + step) })],
    [
      'CosineAnnealingWarmRestarts',
      (optimizer) => new CosineAnnealingWarmRestarts(optimizer, { t0: 3, tMult: 2 }),
    ],
    [
      'OneCycleLR',
      (optimizer) => new OneCycleLR(optimizer, { maxLr: 1, totalSteps: 11, cycleMomentum: false }),
    ],
  ]
  const sequential = (optimizer: Optimizer) =>
    new SequentialLR(optimizer, {
      schedulers: [
        new LinearLR(optimizer, { totalIters: 2 }),
        new OneCycleLR(optimizer, { maxLr: 1, totalSteps: 4 }),
        new StepLR(optimizer, { stepSize: 2 }),
      ],
      milestones: [2, 5],
    })
  const metrics = [1, Number.NaN, -0, Infinity, 3, -Infinity, 2.5, 0.1, 0.1, 0.1]

  it.each(schedules)('%s goes on from JSON, after any number of steps', (_name, make) => {
    for (let steps = 0; steps <= metrics.length; steps++) {
      const [first, second] = [target(), target()]
      const [whole, resumed] = [make(first), make(second)]
      for (const metric of metrics.slice(0, steps)) whole.step(metric)
      const state = whole.stateDict()
      const parsed = JSON.parse(JSON.stringify(state)) as ScheduleState
      expect(parsed).toEqual(state)
      resumed.loadStateDict(parsed)
      whole.loadStateDict(whole.stateDict())
      for (const metric of metrics.slice(steps)) {
        whole.step(metric)
        resumed.step(metric)
        expect(second.lr).toBe(first.lr)
      }
      expect(resumed.stateDict()).toEqual(whole.stateDict())
    }
  })

  it.each(schedules)('%s refuses bad states, and nothing has changed', (_name, make) => {
    const optimizer = target()
    const schedule = make(optimizer)
    for (const metric of metrics.slice(0, 4)) schedule.step(metric)
    const before = schedule.stateDict()
    const worse = { ...Object.fromEntries(Object.keys(before).map((name) => [name, 7])), lr: 0.25 }
    const refused = (state: unknown) => {
      expect(codeOf(() => schedule.loadStateDict(state as ScheduleState))).toMatch(/^ERR_BPTT_(TYPE|VALUE)$/)
      expect(schedule.stateDict()).toEqual(before)
      expect(optimizer.lr).toBe(before.lr)
    }
    for (const name of Object.keys(before)) {
      for (const value of [Number.NaN, Infinity, '1', undefined, 1n]) refused({ ...worse, [name]: value })
      if (name !== 'best') for (const value of [-1, null]) refused({ ...worse, [name]: value })
      if (name !== 'best' && name !== 'lr' && name !== 'base') refused({ ...worse, [name]: 1.5 })
      const { [name]: _, ...rest } = worse as Record<string, number>
      refused(rest)
    }
    for (const state of [null, [], 'x', { ...worse, more: 1 }]) refused(state)
  })

  it('SequentialLR of two groups goes on from JSON, with the momenta, or refuses it whole', () => {
    const target = () =>
      new SGD([{ params: [leaf(1)], lr: 0.5 }, { params: [leaf(2)] }], { lr: 0.2, momentum: 0.9 })
    const seen = (optimizer: Optimizer) => optimizer.paramGroups.map(({ lr, momentum }) => [lr, momentum])
    for (let steps = 0; steps <= 9; steps++) {
      const [first, second] = [target(), target()]
      const [whole, resumed] = [sequential(first), sequential(second)]
      for (let i = 0; i < steps; i++) whole.step()
      const state = whole.stateDict()
      const parsed = JSON.parse(JSON.stringify(state)) as ScheduleState
      expect(parsed).toEqual(state)
      for (const bad of [
        { ...parsed, lr: 0.5 },
        { ...parsed, lr: [0.5] },
        { ...parsed, base: [1, -1] },
        { ...parsed, schedulers: 7 },
        { ...parsed, schedulers: [] },
        { ...parsed, schedulers: [...(parsed.schedulers as ScheduleState[]).slice(0, 2), { step: 1 }] },
        { ...parsed, schedulers: [...(parsed.schedulers as ScheduleState[]).slice(0, 2), null] },
      ]) {
        const before = [seen(second), resumed.stateDict()]
        expect(codeOf(() => resumed.loadStateDict(bad as ScheduleState))).toMatch(/^ERR_BPTT_(TYPE|VALUE)$/)
        expect([seen(second), resumed.stateDict()]).toEqual(before)
      }
      resumed.loadStateDict(parsed)
      for (let i = steps; i < 9; i++) {
        whole.step()
        resumed.step()
        expect(seen(second)).toEqual(seen(first))
      }
      expect(resumed.stateDict()).toEqual(whole.stateDict())
    }
  })

  it('ReduceLROnPlateau takes no infinite metric for the best', () => {
    const optimizer = target()
    const schedule = new ReduceLROnPlateau(optimizer, { patience: 1, factor: 0.5 })
    for (const metric of [1, -Infinity, 0.5, 0.4]) schedule.step(metric)
    expect(optimizer.lr).toBe(0.5)
    expect(schedule.stateDict()).toMatchObject({ best: 0.4, bad: 0 })
  })

  it('StepLR does not count a step whose rate overflows', () => {
    const optimizer = new SGD([leaf(1)], { lr: 1e300 })
    const schedule = new StepLR(optimizer, { stepSize: 1, gamma: 1e10 })
    expect(codeOf(() => schedule.step())).toBe('ERR_BPTT_VALUE')
    expect(schedule.stateDict()).toEqual({ step: 0, lr: 1e300 })
  })
})

describe('averages', () => {
  const trained = (options = {}) => {
    const model = new Linear(2, 1, { dtype: 'float64' })
    const average = new AveragedModel(model, options)
    const train = (k: number) => {
      model.loadStateDict({ weight: float64(k, 1 - k).reshape([1, 2]), bias: float64(k * k) })
      average.update()
    }
    return { model, average, train }
  }

  it.each([{}, { decay: 0.9 }])('go on from a saved state, bit for bit (%o)', (options) => {
    const [one, other] = [trained(options), trained(options)]
    for (let k = 0; k < 3; k++) one.train(k / 3)
    other.average.loadStateDict(one.average.stateDict())
    one.average.loadStateDict(one.average.stateDict())
    for (let k = 3; k < 6; k++) for (const each of [one, other]) each.train(k / 3)
    expect(values(other.average.stateDict())).toEqual(values(one.average.stateDict()))
    expect([...one.average.stateDict().keys()]).toEqual(['n_averaged', 'module.weight', 'module.bias'])
    expect(one.average.stateDict().get('n_averaged')?.itemSync()).toBe(6)
  })

  const edits: [string, string, (state: State) => unknown][] = [
    ['a missing name', 'ERR_BPTT_VALUE', (state) => state.delete('module.bias')],
    ['a foreign name', 'ERR_BPTT_VALUE', (state) => state.set('module.more', scalar(1))],
    ['half an update', 'ERR_BPTT_VALUE', (state) => state.set('n_averaged', scalar(1.5))],
    ['a count in float32', 'ERR_BPTT_DTYPE', (state) => state.set('n_averaged', tensor(1, []))],
    ['another shape', 'ERR_BPTT_SHAPE', (state) => state.set('module.bias', float64(1, 2))],
    ['another dtype', 'ERR_BPTT_DTYPE', (state) => state.set('module.bias', zeros([1]))],
    ['a tensor that failed', 'ERR_BPTT_INDEX', (state) => state.set('module.bias', failing([1]))],
    ['a disposed tensor', 'ERR_BPTT_DISPOSED', (state) => state.get('module.bias')?.dispose()],
  ]
  it.each(edits)('%s: refused, and nothing has changed', (_name, code, edit) => {
    const [one, other] = [trained(), trained()]
    one.train(1)
    other.train(2)
    const before = values(other.average.stateDict())
    const state: State = one.average.stateDict()
    edit(state)
    expect(codeOf(() => other.average.loadStateDict(state))).toBe(code)
    expect(values(other.average.stateDict())).toEqual(before)
  })

  it('refuse every use after dispose()', () => {
    const { average, model } = trained()
    average.dispose()
    average.dispose()
    for (const use of [
      () => average.update(),
      () => average.copyTo(model),
      () => average.apply(() => 1),
      () => average.stateDict(),
      () => average.loadStateDict(new Map()),
    ]) {
      expect(codeOf(use)).toBe('ERR_BPTT_DISPOSED')
    }
  })
})

describe('the random generator and streams', () => {
  it('setRandomState takes what getRandomState gave, also from JSON, and refuses the rest whole', () => {
    manualSeed(5)
    zeros([1])
    const state = getRandomState()
    setRandomState(state)
    setRandomState(JSON.parse(JSON.stringify(state)))
    for (const bad of [
      { seed: 1 },
      { offset: 1 },
      { seed: 1, offset: -1 },
      { seed: 1, offset: 2 ** 53 },
      { seed: 0.5, offset: 1 },
      { seed: 1, offset: '1' },
      { seed: 1, offset: 1, more: 1 },
      [1, 1],
      null,
    ]) {
      expect(codeOf(() => setRandomState(bad as typeof state))).toMatch(/^ERR_BPTT_(TYPE|VALUE)$/)
      expect(getRandomState()).toEqual(state)
    }
  })

  it('stream.setState takes what getState gave, and refuses the rest whole', () => {
    const stream = new LSTM(2, 3).stream()
    stream.step(new Float32Array([1, -1]))
    const state = stream.getState()
    stream.setState(state)
    expect(stream.getState()).toEqual(state)
    const ones = () => new Float32Array(3).fill(1)
    for (const bad of [
      { h: ones() },
      { h: ones(), c: new Float32Array(2) },
      { h: ones(), c: new Float64Array(3) },
      { h: ones(), c: [1, 1, 1] },
      { h: ones(), c: ones(), more: 1 },
      null,
    ]) {
      expect(codeOf(() => stream.setState(bad as typeof state))).toMatch(/^ERR_BPTT_(TYPE|SHAPE)$/)
      expect(stream.getState()).toEqual(state)
    }
  })
})
