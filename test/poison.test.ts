/** Bad data that only the stream finds: reported by whatever reads the result, and no weight changes. */
import { describe, expect, it } from 'vitest'
import {
  Adam,
  AdamW,
  clipGradNorm,
  crossEntropy,
  Embedding,
  Linear,
  LSTM,
  manualSeed,
  ones,
  RMSprop,
  randn,
  SGD,
  synchronize,
  type Tensor,
  tensor,
} from '../lib/index.ts'
import { expectFailure, snapshot } from './support/failure.ts'

describe('bad data inside the stream', () => {
  const bad = [
    [
      'an index past the table',
      () => new Embedding(3, 2).forward(tensor([0, 3], [2], { dtype: 'int32' })),
      /embedding/i,
    ],
    [
      'a negative index',
      () => new Embedding(3, 2).forward(tensor([-1], [1], { dtype: 'int32' })),
      /embedding/i,
    ],
    [
      'a class past the logits',
      () => crossEntropy(randn([2, 3], { requiresGrad: true }), tensor([0, 3], [2], { dtype: 'int32' })),
      /cross/i,
    ],
    [
      'a negative class',
      () => crossEntropy(randn([1, 3], { requiresGrad: true }), tensor([-1], [1], { dtype: 'int32' })),
      /cross/i,
    ],
  ] as const

  it.each(bad)('%s is reported by whatever reads the result', async (_, run, op) => {
    const result = run()
    const error = await expectFailure('INDEX', () => result.data())
    expect(error.message).toMatch(op)
    const later = result.mul(2).sum().add(ones([]))
    expect((await expectFailure('INDEX', () => later.data())).message).toBe(error.message)
    await expectFailure('INDEX', () => later.itemSync())
    expect(await ones([2]).data()).toEqual(new Float32Array([1, 1]))
    await expectFailure('INDEX', () => synchronize())
    await synchronize() // once reported, it is over
  })

  it.each([
    ['SGD', (parameters: Tensor[]) => new SGD(parameters, { lr: 0.1, momentum: 0.9 })],
    ['Adam', (parameters: Tensor[]) => new Adam(parameters, { lr: 0.1 })],
    ['AdamW', (parameters: Tensor[]) => new AdamW(parameters, { lr: 0.1 })],
    ['RMSprop', (parameters: Tensor[]) => new RMSprop(parameters, { lr: 0.1 })],
  ])('%s with a poisoned gradient changes neither weights nor its state', async (_, make) => {
    const run = async (poisoned: boolean) => {
      manualSeed(7)
      const [lstm, head] = [new LSTM(3, 4), new Linear(4, 5)]
      const optimizer = make([...lstm.parameters(), ...head.parameters()])
      const x = randn([6, 2, 3])
      const step = (classes: number[]) => {
        optimizer.zeroGrad()
        const { output } = lstm.forward(x)
        const target = tensor(classes, [classes.length], { dtype: 'int32' })
        crossEntropy(head.forward(output).reshape([12, 5]), target).backward()
        optimizer.step()
      }
      const good = Array.from({ length: 12 }, (_, i) => i % 5)
      step(good)
      const before = [...(await snapshot(lstm)), ...(await snapshot(head))]
      if (poisoned) {
        step([...good.slice(1), 5])
        expect([...(await snapshot(lstm)), ...(await snapshot(head))]).toEqual(before)
        await expectFailure('INDEX', () => synchronize())
      }
      step(good)
      return [...(await snapshot(lstm)), ...(await snapshot(head))]
    }
    const [clean, after] = [await run(false), await run(true)]
    expect(after).toEqual(clean)
  })

  it('one poisoned gradient stops the update of parameters of every type', async () => {
    const [single, double] = [
      ones([2, 3], { requiresGrad: true }),
      ones([2], { dtype: 'float64', requiresGrad: true }),
    ]
    crossEntropy(single, tensor([0, 9], [2], { dtype: 'int32' })).backward()
    double.mul(double).sum().backward()
    new SGD([single, double], { lr: 0.5 }).step()
    expect([...(await double.data())]).toEqual([1, 1])
    expect([...(await single.data())]).toEqual([1, 1, 1, 1, 1, 1])
    await expectFailure('INDEX', () => synchronize())
  })

  it('a poisoned gradient poisons the norm and is not clipped', async () => {
    const [good, other] = [ones([2], { requiresGrad: true }), ones([2, 3], { requiresGrad: true })]
    const loss = crossEntropy(other, tensor([0, 9], [2], { dtype: 'int32' })).add(good.mul(good).sum())
    loss.backward()
    await expectFailure('INDEX', () => clipGradNorm([good, other], 0.1).data())
    await expectFailure('INDEX', () => (other.grad as Tensor).data())
    await expectFailure('INDEX', () => synchronize())
  })
})
