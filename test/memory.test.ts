/** Who owns what: dispose(), tidy(), the tape, gradients, layers. Counted in live native storages. */
import {
  Adam,
  BatchNorm1d,
  Conv1d,
  clipGradNorm,
  concat,
  crossEntropy,
  Embedding,
  emptyCache,
  GRU,
  info,
  LayerNorm,
  Linear,
  LSTM,
  noGrad,
  ones,
  randn,
  Sequential,
  SGD,
  synchronize,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from 'bptt'
import { beforeEach, describe, expect, it } from 'vitest'
import { collect } from './support/collect.ts'
import { codeOf } from './support/failure.ts'

/** Collects what earlier tests forgot: in the middle of a count it would be missed. */
beforeEach(collect)

async function live(): Promise<number> {
  await synchronize()
  return info().memory.liveStorages
}

/** How many storages `fn` leaves behind. */
async function left(fn: () => unknown): Promise<number> {
  const before = await live()
  await fn()
  return (await live()) - before
}

describe('dispose', () => {
  it('frees at once', async () => {
    const before = await live()
    const x = zeros([1000])
    expect(info().memory.liveStorages).toBe(before + 1)
    x.dispose()
    x.dispose()
    expect(await live()).toBe(before)
    expect(x.disposed).toBe(true)
    expect(codeOf(() => x.data())).toBe('ERR_BPTT_DISPOSED')
    expect(codeOf(() => x.add(1))).toBe('ERR_BPTT_DISPOSED')
  })

  it('leaves those that share the memory', async () => {
    expect(
      await left(() => {
        const x = tensor([1, 2, 3, 4])
        const y = x.reshape([2, 2])
        const z = y.detach()
        x.dispose()
        y.dispose()
        expect([...z.dataSync()]).toEqual([1, 2, 3, 4])
        z.dispose()
      }),
    ).toBe(0)
  })

  it('does not disturb pending work', async () => {
    const x = ones([64, 64])
    const y = x.matmul(x).matmul(x)
    const data = y.data()
    x.dispose()
    y.dispose()
    expect((await data)[0]).toBe(4096)
  })

  it('of a result frees the whole graph, though backward never ran', async () => {
    const x = randn([8], { requiresGrad: true })
    const w = randn([8, 8], { requiresGrad: true })
    const layer = new LSTM(8, 8, { numLayers: 2 })
    tidy(() => layer.forward(ones([1, 1, 8])))
    const before = await live()
    const loss = tidy(() => {
      let y: Tensor<'float32'> = x
      for (let i = 0; i < 10; i++) y = y.matmul(w).tanh()
      const { output, hn } = layer.forward(y.reshape([1, 1, 8]))
      return output.sum().add(hn.sum())
    })
    expect(await live()).toBeGreaterThan(before + 10)
    loss.dispose()
    expect(await live()).toBe(before)
    for (const one of [x, w, layer]) one.dispose()
  })
})

describe('tidy', () => {
  it('disposes all but what is returned', async () => {
    const x = randn([4])
    let inner: Tensor | undefined
    let kept: Tensor | undefined
    const before = await live()
    const result = tidy(() => {
      inner = x.add(1)
      kept = inner.mul(2)
      return { list: [kept, 5], map: new Map([['sum', kept.sum()]]), text: 'x' }
    })
    expect(inner?.disposed).toBe(true)
    expect(kept?.disposed).toBe(false)
    expect(result.list[0]).toBe(kept)
    expect(result.map.get('sum')?.disposed).toBe(false)
    expect(await live()).toBe(before + 2)
    kept?.dispose()
    result.map.get('sum')?.dispose()
    x.dispose()
  })

  it('leaves tensors from outside', () => {
    const x = zeros([1])
    tidy(() => x)
    tidy(() => {
      x.add(1)
    })
    expect(x.disposed).toBe(false)
    x.dispose()
  })

  it('nests: what the inner one returns belongs to the outer one', async () => {
    let passed: Tensor | undefined
    expect(
      await left(() => {
        tidy(() => {
          passed = tidy(() => zeros([2]).add(1))
          expect(passed.disposed).toBe(false)
        })
      }),
    ).toBe(0)
    expect(passed?.disposed).toBe(true)
  })

  it('disposes and restores when the function throws', async () => {
    expect(
      await left(() => {
        expect(() =>
          tidy(() => {
            zeros([2])
            throw new Error('mine')
          }),
        ).toThrow('mine')
        const outside = zeros([1])
        expect(outside.disposed).toBe(false)
        outside.dispose()
      }),
    ).toBe(0)
  })

  it('refuses promises, and disposes', async () => {
    expect(
      await left(() => {
        expect(codeOf(() => tidy(async () => zeros([2])))).toBe('ERR_BPTT_TYPE')
        expect(codeOf(() => noGrad(async () => zeros([2])))).toBe('ERR_BPTT_TYPE')
      }),
    ).toBe(1) // noGrad does not own what is made inside
  })

  it('does not touch parameters, gradients or optimizer state made inside', async () => {
    const { model, optimizer } = tidy(() => {
      const model = new Sequential(new Linear(3, 4), new LayerNorm(4), new GRU(4, 2, { numLayers: 2 }))
      const optimizer = new Adam(model.parameters())
      model
        .forward(ones([2, 1, 3]))
        .sum()
        .backward()
      optimizer.step()
      return { model, optimizer }
    })
    for (const parameter of model.parameters()) {
      expect(parameter.disposed).toBe(false)
      expect(parameter.grad?.disposed).toBe(false)
    }
    for (const value of optimizer.stateDict().values()) expect(value.disposed).toBe(false)
    model.dispose()
    optimizer.dispose()
  })

  it('a returned loss still has its graph', () => {
    const x = tensor([1, 2], { requiresGrad: true })
    const loss = tidy(() => x.mul(x).sum())
    loss.backward()
    expect([...(x.grad as Tensor).dataSync()]).toEqual([2, 4])
    x.dispose()
    loss.dispose()
  })
})

describe('a training step', () => {
  it('leaves nothing behind', async () => {
    const embedding = new Embedding(10, 8)
    const lstm = new LSTM(8, 16, { numLayers: 2, bidirectional: true, dropout: 0.3 })
    const norm = new LayerNorm(32)
    const head = new Linear(32, 10)
    const modules = [embedding, lstm, norm, head]
    const parameters = modules.flatMap((module) => module.parameters())
    const optimizer = new Adam(parameters)
    const step = () =>
      tidy(() => {
        const index = tensor([1, 2, 3, 4, 5, 6], [3, 2], { dtype: 'int32' })
        const { output, hn } = lstm.forward(embedding.forward(index), { lengths: [3, 2] })
        const logits = head.forward(norm.forward(output)).reshape([6, 10])
        const loss = crossEntropy(logits, index.reshape([6])).add(hn.mean())
        optimizer.zeroGrad()
        loss.backward()
        clipGradNorm(parameters, 1)
        optimizer.step()
      })
    step()
    const before = await live()
    for (let i = 0; i < 5; i++) step()
    expect(await live()).toBe(before)

    // Each parameter has a gradient and two moments; one packed buffer, one step counter.
    optimizer.zeroGrad()
    expect(await live()).toBe(before - parameters.length)
    optimizer.dispose()
    expect(await live()).toBe(before - 3 * parameters.length - 1)
    for (const module of modules) module.dispose()
    expect(await live()).toBe(before - 4 * parameters.length - 2)
  })

  it('of convolution and batch normalization leaves nothing behind', async () => {
    const model = new Sequential(
      new Conv1d(3, 4, 3, { stride: 2, padding: 2 }),
      new BatchNorm1d(4),
      new Conv1d(4, 4, 2, { dilation: 2, groups: 2 }),
    )
    const x = randn([2, 3, 12], { requiresGrad: true })
    const step = () => {
      tidy(() => model.forward(x))
        .sum()
        .backward()
      noGrad(() => model.eval().forward(x)).dispose()
      model.train()
    }
    tidy(step)
    expect(await left(() => tidy(step))).toBe(0)
    const kept: Tensor[] = []
    for (const layer of [new Conv1d(3, 4, 2), new BatchNorm1d(3), new BatchNorm1d(3).eval()]) {
      expect(await left(() => noGrad(() => kept.push(layer.forward(x))))).toBe(1)
    }
    for (const y of kept) y.dispose()
  })

  it('frees saved tensors as backward goes, though the program holds the loss', async () => {
    const x = randn([4], { requiresGrad: true })
    const loss = tidy(() => x.tanh().exp().mul(2).sum())
    const held = await live()
    loss.backward()
    // tanh and exp had saved their results; the gradient of x is new.
    expect(await live()).toBe(held - 2 + 1)
    x.dispose()
    loss.dispose()
  })

  it('keeps them with retainGraph, until the loss is disposed', async () => {
    const x = randn([4], { requiresGrad: true })
    const before = await live()
    const loss = tidy(() => x.tanh().exp().mul(2).sum())
    loss.backward(null, { retainGraph: true })
    expect(await live()).toBe(before + 4)
    loss.dispose()
    expect(await live()).toBe(before + 1)
    x.dispose()
  })

  it('leaves nothing behind when backward refuses', async () => {
    const x = randn([4], { requiresGrad: true })
    const optimizer = new SGD([x], { lr: 0.1 })
    x.sum().backward()
    const before = await live()
    const loss = tidy(() => x.mul(x).sum())
    optimizer.step()
    expect(codeOf(() => loss.backward())).toBe('ERR_BPTT_MODIFIED')
    loss.dispose()
    expect(await live()).toBe(before)
    for (const one of [x, optimizer]) one.dispose()
  })

  it('under noGrad saves nothing', async () => {
    const layer = new LSTM(4, 8, { numLayers: 2 })
    const input = randn([5, 2, 4])
    tidy(() => layer.forward(input))
    expect(
      await left(() => {
        const { output, hn, cn } = noGrad(() => layer.forward(input))
        expect(info().memory.liveStorages).toBeGreaterThan(0)
        for (const one of [output, hn, cn]) one.dispose()
      }),
    ).toBe(0)
    const held = await live()
    const { output } = noGrad(() => tidy(() => layer.forward(input)))
    expect(output.requiresGrad).toBe(false)
    expect(await live()).toBe(held + 3)
    layer.dispose()
    input.dispose()
  })
})

describe('gradients', () => {
  it('of concat, slices and views are freed with the leaf', async () => {
    expect(
      await left(() => {
        const x = randn([4, 2], { requiresGrad: true })
        tidy(() => {
          const parts = [x.slice(0, 2), x.slice(2), x.transpose().reshape([4, 2])]
          concat(parts).expand([3, 8, 2]).mean().backward()
        })
        expect(x.grad?.shape).toEqual([4, 2])
        x.dispose()
      }),
    ).toBe(0)
  })
})

describe('memory of the machine', () => {
  it('that no machine has is refused before it is touched', () => {
    const lstm = new LSTM(8, 8)
    const before = process.memoryUsage.rss()
    for (const ask of [
      () => lstm.stream({ batch: 2 ** 31 - 1 }),
      () => zeros([2 ** 44]),
      () => randn([2 ** 44]),
      () => new Embedding(2 ** 24, 2 ** 20),
      () => new LSTM(2 ** 20, 2 ** 20),
      () => new LSTM(2 ** 14, 2 ** 14, { numLayers: 1024 }),
      () => zeros([1]).expand([2 ** 44]),
      () => zeros([2 ** 22, 1]).matmul(zeros([1, 2 ** 22])),
      () => lstm.forward(zeros([2 ** 40, 0, 8])),
    ]) {
      expect(codeOf(ask)).toBe('ERR_BPTT_OOM')
    }
    expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 28)
    lstm.dispose()
  })

  it('goes back by emptyCache()', async () => {
    const x = zeros([2 ** 20])
    await synchronize()
    x.dispose()
    expect(info().memory.cachedBytes).toBeGreaterThanOrEqual(2 ** 22)
    emptyCache()
    await synchronize()
    expect(info().memory.cachedBytes).toBe(0)
    expect(codeOf(() => emptyCache('tpu' as 'cpu'))).toBe('ERR_BPTT_DEVICE')
  })

  it('that is forgotten comes back without a turn of the event loop', () => {
    for (let i = 0; i < 400; i++)
      zeros([2 ** 18])
        .sum()
        .itemSync()
    expect(info().memory.allocatedBytes).toBeLessThan(2 ** 28)
  })

  it('of forgotten streams, too', () => {
    const lstm = new LSTM(64, 128)
    const kept = lstm.stream()
    const x = new Float32Array(64).fill(0.5)
    const first = kept.step(x)
    for (let i = 0; i < 600; i++) lstm.stream().step(x)
    expect(info().memory.allocatedBytes).toBeLessThan(2 ** 28)
    kept.reset()
    expect(kept.step(x)).toEqual(first)
    kept.dispose()
    lstm.dispose()
  })
})
