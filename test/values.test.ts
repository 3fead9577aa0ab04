/** What users can reach of a tensor: it does not change under the library, and shows no internals. */
import assert from 'node:assert'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  BatchNorm1d,
  Conv1d,
  cuda,
  dropout,
  GRU,
  getRandomState,
  gradcheck,
  LayerNorm,
  Linear,
  LSTM,
  layerNorm,
  noGrad,
  ones,
  randn,
  Sequential,
  SGD,
  setRandomState,
  stack,
  Tensor,
  tensor,
  tidy,
  zeros,
} from '../lib/index.ts'
import { expectFailure, wrong } from './support/failure.ts'

describe('what users hold does not change under the library', () => {
  it('shapes are frozen, and copied from the user', () => {
    const x = tensor([[1, 2, 3]])
    const given = [3, 1]
    const made = [x, x.neg(), x.reshape(given), x.transpose(), x.sum(0), x.expand([2, 3]), zeros(given)]
    given[0] = 9
    for (const y of made) {
      expect(() => {
        ;(y.shape as number[])[0] = 7
      }).toThrow(TypeError)
      expect(() => {
        wrong(y).shape = [7]
      }).toThrow(TypeError)
      expect(y.shape.reduce((a, b) => a * b, 1)).toBe(y.size)
    }
    expect(x.shape).toEqual([1, 3])
    const sizes = [3]
    const norm = new LayerNorm(sizes)
    sizes[0] = 4
    expect(() => (norm.normalizedShape as number[]).push(1)).toThrow(TypeError)
    expect(norm.forward(zeros([2, 3])).shape).toEqual([2, 3])
    expect(() => (new SGD([x.detach(), ...norm.parameters()]).parameters as Tensor[]).pop()).toThrow(
      TypeError,
    )
  })

  it('what says how a layer, stream or optimizer was made is read-only', () => {
    const lstm = new LSTM(2, 3)
    for (const [object, name] of [
      [lstm, 'dropout'],
      [lstm, 'batchFirst'],
      [lstm, 'projSize'],
      [new Linear(2, 3), 'inFeatures'],
      [new LayerNorm(2), 'normalizedShape'],
      [new Conv1d(2, 3, 4), 'stride'],
      [new BatchNorm1d(2), 'running_mean'],
      [lstm.stream(), 'batch'],
      [new SGD(lstm.parameters()), 'parameters'],
      [cuda, 'isAvailable'],
    ] as [object, string][]) {
      expect(() => Object.assign(object, { [name]: 1 }), name).toThrow(TypeError)
    }
    lstm.eval()
    expect(lstm.training).toBe(false)
    expect(inspect(lstm.stream())).toBe('RecurrentStream(batch 1, 2 -> 3, float32)')
    expect(() => structuredClone(lstm.stream())).toThrow(/native memory/)
  })

  it('lengths, states, options and lists are read once', () => {
    const layer = new GRU(2, 3)
    const lengths = [2, 1]
    const x = ones([2, 2, 2], { requiresGrad: true })
    const { output } = layer.forward(x, { lengths })
    lengths.fill(0)
    output.sum().backward()
    expect([...(x.grad as Tensor).dataSync()].map((value) => value === 0)).toEqual([
      ...[false, false, false, false],
      ...[false, false, true, true],
    ])
    let reads = 0
    const options = {
      get dtype() {
        return reads++ === 0 ? 'float32' : 'float16'
      },
      get requiresGrad() {
        return reads++ < 2 ? true : 'yes'
      },
    }
    expect(tensor([1], wrong(options))).toMatchObject({ dtype: 'float32', requiresGrad: true })
    const layers = [new Linear(2, 2)]
    const model = new Sequential(...layers)
    layers.pop()
    expect(model.parameters()).toHaveLength(2)
    const state = layer.stateDict()
    state.clear()
    layer.parameters().pop()
    expect(layer.stateDict().size).toBe(4)
  })

  it('refuses what only looks like a tensor', async () => {
    const x = ones([2], { requiresGrad: true })
    for (const fake of [Object.create(x), new Proxy(x, {}), Object.create(Tensor.prototype), { ...x }]) {
      for (const run of [
        () => x.add(fake),
        () => stack([x, fake]),
        () => layerNorm(x, 2, { weight: fake }),
        () => x.backward(fake),
        () => new SGD([fake]),
        () => new Linear(2, 2).forward(fake),
        () => new Linear(2, 2).loadStateDict({ weight: fake, bias: fake }),
        () => {
          x.grad = fake
        },
        () =>
          gradcheck(
            wrong(() => fake),
            [zeros([1], { dtype: 'float64', requiresGrad: true })],
          ),
      ]) {
        await expectFailure('TYPE', run)
      }
      if (!(fake instanceof Tensor)) continue
      for (const run of [
        () => fake.neg(),
        () => fake.shape,
        () => fake.dataSync(),
        () => fake.data(),
        () => fake.detach(),
        () => fake.item(),
        () => fake.itemSync(),
        () => fake.grad,
        () => fake.zeroGrad(),
        () => fake.reshape([2]),
        () => fake.dispose(),
        () => fake.requiresGrad,
        () => fake.backward(),
        () => `${fake}`,
      ]) {
        await expectFailure('TYPE', run)
      }
      expect(inspect(fake)).toBeTypeOf('string')
    }
    expect(x.disposed).toBe(false)
  })

  it('refuses lists that lie, and numbers past 2^53', async () => {
    const layer = new LSTM(2, 3)
    const stream = layer.stream({ batch: 2 })
    for (const length of [-1, 1.5, 2 ** 53, Number.NaN, '2', 2]) {
      await expectFailure(['TYPE', 'VALUE', 'SHAPE'], () =>
        layer.forward(zeros([1, 2, 2]), { lengths: wrong({ length }) }),
      )
      await expectFailure(['TYPE', 'VALUE'], () => stream.reset(wrong({ length })))
      await expectFailure('TYPE', () => zeros(wrong({ length })))
      await expectFailure('TYPE', () => tensor(wrong({ length })))
    }
    await expectFailure('SHAPE', () => zeros(new Array(2 ** 32 - 1)))
    await expectFailure('TYPE', () => stack(new Array(2 ** 32 - 1)))
    const liar = class extends Float32Array {
      override get length() {
        return 2 ** 40
      }
    }
    expect(tensor(new liar(3) as Float32Array).shape).toEqual([3])
    const before = getRandomState()
    try {
      await expectFailure('VALUE', () => setRandomState({ seed: 1, offset: 2 ** 53 }))
      setRandomState({ seed: 1, offset: Number.MAX_SAFE_INTEGER - 1 })
      await expectFailure('VALUE', () => randn([100]))
      await expectFailure('VALUE', () => dropout(ones([100])))
      expect(getRandomState().offset).toBe(Number.MAX_SAFE_INTEGER - 1)
    } finally {
      setRandomState(before)
    }
  })
})

describe('functions that must be synchronous', () => {
  it.each([
    ['tidy', (fn: () => unknown) => tidy(fn)],
    ['noGrad', (fn: () => unknown) => noGrad(fn)],
    [
      'gradcheck',
      (fn: () => unknown) => gradcheck(wrong(fn), [ones([1], { dtype: 'float64', requiresGrad: true })]),
    ],
    [
      'Sequential',
      (fn: () => unknown) => {
        const layer = new Linear(1, 1)
        layer.forward = wrong(fn)
        new Sequential(layer).forward(zeros([1]))
      },
    ],
  ])('%s', async (_, call) => {
    let unhandled = 0
    const count = () => unhandled++
    process.on('unhandledRejection', count)
    try {
      const then = { ['th' + 'en']: () => {} }
      for (const fn of [
        async () => {
          await null
          throw new Error('late')
        },
        () => Promise.reject(new Error('at once')),
        () => then,
        () => Object.assign(() => {}, then),
        function* () {
          yield 1
        },
      ]) {
        await expectFailure('TYPE', () => call(fn))
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(unhandled).toBe(0)
    } finally {
      process.off('unhandledRejection', count)
    }
    // Neither scope nor recording is left behind.
    const x = ones([1], { requiresGrad: true })
    expect(x.neg().requiresGrad).toBe(true)
  })
})

describe('a tensor among values', () => {
  it('describes itself to console.log() and JSON', async () => {
    const x = tensor(
      [
        [0.1, 2],
        [3, -4e-9],
      ],
      { requiresGrad: true },
    )
    // What is computed may count as queued for a moment yet.
    await expect.poll(() => inspect(x)).toBe('Tensor(float32, [2,2], requiresGrad) [0.1, 2, 3, -4e-9]')
    const count = tensor(Int32Array.from({ length: 20 }, (_, i) => i))
    expect(inspect(randn([300, 300]).matmul(randn([300, 300])))).toMatch(/ (not computed yet|\[.*, \.\.\])$/)
    expect(inspect({ x: zeros([0]) })).toContain('Tensor(float32, [0]) []')
    await expect.poll(() => inspect(count)).toContain('[0, 1, 2, 3, 4, 5, 6, 7, ..]')
    x.dispose()
    expect(inspect(x)).toBe('Tensor(float32, [2,2], requiresGrad, disposed)')
    expect(JSON.parse(JSON.stringify({ x: ones([2], { dtype: 'float64' }) }))).toEqual({
      x: { dtype: 'float64', shape: [2], device: 'cpu', requiresGrad: false },
    })
    expect(`${zeros([2])} ${String(zeros([]))}`).toBe('Tensor(float32, [2]) Tensor(float32, [])')
  })

  it('is no number', async () => {
    const x = wrong(tensor(3))
    // biome-ignore lint/suspicious/noDoubleEquals: it is what is tried
    for (const run of [() => x + 1, () => x == 3, () => +x, () => x > 2, () => x * x, () => `a${x + x}`]) {
      expect((await expectFailure('TYPE', run)).message).toContain('item()')
    }
    expect(x == null).toBe(false)
  })

  it('is never cloned, compared or spread by its internals', async () => {
    const x = ones([2])
    for (const value of [
      x,
      { x },
      [x],
      new Map([['x', x]]),
      new Linear(2, 2),
      new SGD([x.detach(), ...new Linear(1, 1).parameters()]),
    ]) {
      expect(() => structuredClone(value)).toThrow(/native memory/)
    }
    expect(
      Object.keys(x)
        .concat(Object.keys({ ...x }))
        .filter((name) => !['id', 'uncloneable'].includes(name)),
    ).toEqual([])
    assert.deepEqual(x, x)
    assert.notDeepEqual(x, ones([2]))
    assert.notDeepStrictEqual(x, x.detach())
    expect(ones([2])).not.toEqual(ones([2]))
    expect(await x).toBe(x)
    expect(await Promise.resolve(x)).toBe(x)
  })
})
