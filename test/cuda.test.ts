/**
 * device: 'cuda' through the whole library, against the CPU: over fakes of the driver, cuBLASLt and cuDNN
 * and an emulation of the kernels (test/cuda), which `.ci/cuda.sh` builds; or, where BPTT_TEST_CUDA is
 * "hardware", on a GPU (`npm run test:cuda`).
 */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const build = join(import.meta.dirname, '..', 'build', 'cuda', 'check')
const library = join(build, 'fakes', 'bptt_cuda.so')
const hardware = process.env.BPTT_TEST_CUDA === 'hardware'
if (!hardware) {
  process.env.BPTT_CUDA_LIBRARY = library
  process.env.BPTT_CUDA_PATH = join(build, 'fakes')
}

const bptt = await import('../lib/index.ts')
const { describeConfig, runLibrary } = await import('./support/library.ts')
const { makeCase } = await import('./support/recurrent.ts')
const { expectClose } = await import('./support/tolerance.ts')
type Config = import('./support/recurrent.ts').Config
type Compute = import('../lib/index.ts').Compute

const there = hardware || existsSync(library)
if (!there) console.log(`skipped: the CUDA backend over fakes is not built (${library}); .ci/cuda.sh does`)

describe.runIf(!there)('without the backend', () => {
  it('says what is missing', () => {
    expect(bptt.cuda.isAvailable()).toBe(false)
    expect(bptt.cuda.unavailableReason()).toContain('no CUDA backend')
  })
})

describe.runIf(there)('device: cuda', () => {
  const { Adam, Embedding, Linear, LSTM, clipGradNorm, crossEntropy, manualSeed, tensor, tidy } = bptt

  it('is available', () => {
    expect(bptt.cuda.unavailableReason()).toBeNull()
    expect(bptt.cuda.description()).toMatch(/driver of CUDA \d+\.\d+, cuBLASLt .*, cuDNN 9\..*; cuda:0 /)
    expect(bptt.zeros([2], { device: 'cuda' }).device).toBe('cuda:0')
    expect(() => bptt.zeros([2], { device: 'cuda:63' })).toThrow(/no CUDA device 63/)
  })

  const configs: Config[] = [
    { cell: 'lstm', T: 5, B: 3, I: 4, H: 6, L: 2, bidirectional: true, lengths: [5, 0, 2] },
    { cell: 'lstm', T: 4, B: 2, I: 3, H: 5, P: 2, batchFirst: true },
    { cell: 'gru', T: 6, B: 4, I: 5, H: 7, L: 3, dropout: 0.4 },
    { cell: 'rnnTanh', T: 3, B: 3, I: 2, H: 4, batchFirst: true, lengths: [1, 3, 2], dropout: 0.3, L: 2 },
    {
      cell: 'gruResetBefore',
      T: 4,
      B: 3,
      I: 3,
      H: 5,
      L: 2,
      bidirectional: true,
      lengths: [0, 4, 2],
      dropout: 0.3,
    },
    { cell: 'rnnRelu', T: 3, B: 2, I: 2, H: 4, bias: false, states: false },
  ]
  it.each(
    configs.map((config): [string, Config] => [describeConfig(config), config]),
  )('%s', async (_, config) => {
    const given = makeCase(config, 5)
    for (const dtype of ['float32', 'float64'] as const) {
      const expected = await runLibrary(given, dtype, { seed: 9 })
      expectClose(await runLibrary(given, dtype, { seed: 9, device: 'cuda' }), expected, dtype, {
        group: true,
      })
    }
  })

  const computes = ['tf32', 'float16', 'bfloat16'] as const
  it.each(computes)('compute: %s', async (compute) => {
    for (const config of configs) {
      if (config.cell === 'gruResetBefore') continue
      const given = makeCase(config, 5)
      const expected = await runLibrary(given, 'float32', { seed: 9 })
      const actual = await runLibrary(given, 'float32', { seed: 9, device: 'cuda', compute })
      expectClose(actual, expected, compute, { group: true })
      // It does compute in it: float32 alone is nearer.
      expect(() => expectClose(actual, expected, 'float32', { group: true })).toThrow()
    }
  })

  it('goes backward twice in half the precision, to the same gradients', () => {
    const gru = new bptt.GRU(3, 4, { numLayers: 2, device: 'cuda', compute: 'float16' })
    const sum = gru.forward(bptt.ones([4, 2, 3], { device: 'cuda' })).output.sum()
    const gradients = () => gru.parameters().map((parameter) => parameter.grad?.dataSync() as Float32Array)
    sum.backward(undefined, { retainGraph: true })
    const once = gradients()
    gru.zeroGrad()
    sum.backward()
    expect(gradients()).toEqual(once)
    expect(once.flatMap((one) => [...one]).some((one) => one !== 0)).toBe(true)
  })

  it('loses gradients beyond the range of float16, not of bfloat16', () => {
    const finite = (compute: Compute) => {
      const rnn = new bptt.RNN(2, 3, { device: 'cuda', compute })
      const { output } = rnn.forward(bptt.ones([4, 2, 2], { device: 'cuda' }))
      output.sum().mul(1e6).backward()
      return rnn.parameters().every(({ grad }) => grad?.dataSync().every(Number.isFinite))
    }
    expect([finite('float16'), finite('bfloat16')]).toEqual([false, true])
  })

  it('refuses to compute in half the precision where a layer is on the CPU', () => {
    const lstm = new LSTM(2, 3, { device: 'cuda', compute: 'float16' })
    expect(lstm.forward(bptt.ones([4, 1, 2], { device: 'cuda' })).output.dtype).toBe('float32')
    expect(() => lstm.to('cpu').forward(bptt.ones([4, 1, 2]))).toThrow(
      expect.objectContaining({ code: 'ERR_BPTT_DEVICE' }),
    )
  })

  function train(device: 'cpu' | 'cuda', compute: Compute | null = null, steps = 6): number[] {
    manualSeed(4)
    const [embedding, lstm, head] = [
      new Embedding(11, 5),
      new LSTM(5, 8, { numLayers: 2, dropout: 0.2, compute }),
      new Linear(8, 11),
    ]
    for (const module of [embedding, lstm, head]) module.to(device)
    const parameters = [...embedding.parameters(), ...lstm.parameters(), ...head.parameters()]
    const optimizer = new Adam(parameters, { lr: 0.01 })
    const ids = Int32Array.from({ length: 7 * 3 }, (_, i) => (i * 5) % 11)
    const losses = Array.from({ length: steps }, () =>
      tidy(() => {
        const input = tensor(ids, [7, 3], { device })
        const target = tensor(ids.toReversed(), [21], { device })
        const { output } = lstm.forward(embedding.forward(input))
        const loss = crossEntropy(head.forward(output).reshape([21, 11]), target)
        loss.backward()
        clipGradNorm(parameters, 1)
        optimizer.step()
        optimizer.zeroGrad()
        return loss.itemSync()
      }),
    )
    for (const module of [embedding, lstm, head, optimizer]) module.dispose()
    return losses
  }

  it('trains as the CPU does, dropout included', () => {
    const [cpu, cuda] = [train('cpu'), train('cuda')]
    expect(cpu[5]).toBeLessThan(cpu[0] as number)
    for (const [i, loss] of cuda.entries()) expect(Math.abs(loss - (cpu[i] as number))).toBeLessThan(1e-5)
  })

  it.each([
    ['tf32', 2e-3],
    ['float16', 2e-3],
    ['bfloat16', 2e-2],
  ] as const)('trains with compute: %s about as the CPU does in float32', (compute, limit) => {
    const [cpu, cuda] = [train('cpu', null, 20), train('cuda', compute, 20)]
    expect(cuda[19]).toBeLessThan(0.95 * (cuda[0] as number))
    const differences = cuda.map((loss, i) => Math.abs(loss - (cpu[i] as number)))
    expect(Math.max(...differences)).toBeLessThan(limit)
    expect(Math.max(...differences)).toBeGreaterThan(1e-6)
  })

  it('reports an index out of range at the next read, and trains on', async () => {
    const table = bptt.randn([3, 2], { device: 'cuda' })
    const index = tensor([0, 7], { dtype: 'int32', device: 'cuda' })
    await expect(bptt.embedding(index, table).data()).rejects.toMatchObject({ code: 'ERR_BPTT_INDEX' })
    expect(await table.mul(0).sum().item()).toBe(0)
  })

  it('refuses operands on two devices', () => {
    const [a, b] = [bptt.ones([2]), bptt.ones([2], { device: 'cuda' })]
    expect(() => a.add(b)).toThrow(expect.objectContaining({ code: 'ERR_BPTT_DEVICE' }))
  })

  it('refuses an optimizer that was made before its parameters moved', () => {
    const linear = new Linear(2, 1)
    const optimizer = new Adam(linear.parameters())
    linear.to('cuda')
    linear
      .forward(bptt.ones([1, 2], { device: 'cuda' }))
      .sum()
      .backward()
    expect(() => optimizer.step()).toThrow(/\[Adam.step\] expected parameter 0 on cpu, got cuda:0/)
  })

  it('updates parameters on two devices', async () => {
    const [here, away] = [
      new Linear(1, 1, { bias: false }),
      new Linear(1, 1, { bias: false, device: 'cuda' }),
    ]
    away.loadStateDict(here.stateDict())
    const optimizer = new Adam([...here.parameters(), ...away.parameters()])
    here
      .forward(bptt.ones([1, 1]))
      .sum()
      .backward()
    away
      .forward(bptt.ones([1, 1], { device: 'cuda' }))
      .sum()
      .backward()
    optimizer.step()
    const [a, b] = [await here.weight.item(), await away.weight.item()]
    expect(Math.abs(a - b)).toBeLessThan(1e-6)
  })

  it('streams on the CPU with the weights of a layer on the device', () => {
    const lstm = new LSTM(3, 4)
    const x = Float32Array.of(1, -2, 0.5)
    const expected = lstm.stream().step(x)
    expect(lstm.to('cuda').stream().step(x)).toEqual(expected)
  })

  it('saves and loads across devices', async () => {
    const path = join(tmpdir(), `bptt-cuda-${process.pid}.safetensors`)
    try {
      const [source, target] = [new Linear(3, 2).to('cuda'), new Linear(3, 2, { device: 'cuda' })]
      await bptt.saveSafetensors(path, source.stateDict())
      target.loadStateDict((await bptt.loadSafetensors(path)).tensors)
      expect(await target.weight.data()).toEqual(await source.weight.data())
    } finally {
      rmSync(path, { force: true })
    }
  })
})

describe.runIf(there && !hardware)('a process that trains on the device', () => {
  async function train(environment: Record<string, string>): Promise<unknown> {
    const script = join(import.meta.dirname, 'cuda', 'backend', 'train.mjs')
    const env = { ...process.env, ...environment }
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script], { env })
    expect(stderr).toBe('')
    return JSON.parse(stdout)
  }

  it.each([
    [
      'a GPU of before Ampere',
      'bfloat16',
      { BPTT_FAKE_CUDA_DEVICE: '75:40' },
      /capability 8.0 .* got one of 7.5/,
    ],
    ['a GPU of before Ampere', 'tf32', { BPTT_FAKE_CUDA_DEVICE: '75:40' }, /capability 8.0 .* 'tf32'/],
    [
      'an older cuDNN',
      'bfloat16',
      { BPTT_FAKE_CUDNN_VERSION: '91202' },
      /cuDNN 9.13 .* got 9.12; .* 'float16'/,
    ],
  ])('refuses what it lacks: %s, %s', async (_, compute, environment, message) => {
    expect(
      await train({ ...(environment as Record<string, string>), BPTT_TRAIN_COMPUTE: compute }),
    ).toMatchObject({ code: 'ERR_BPTT_DEVICE', message: expect.stringMatching(message) })
  })

  it('trains with float16 on a GPU of before Ampere', async () => {
    expect(await train({ BPTT_FAKE_CUDA_DEVICE: '75:40', BPTT_TRAIN_COMPUTE: 'float16' })).toEqual({
      loss: true,
    })
  })

  it.each(['', 'float16'])('leaves nothing behind (compute: %j)', async (compute) => {
    const report = join(tmpdir(), `bptt-cuda-${process.pid}.report`)
    try {
      const environment = { BPTT_FAKE_CUDA_REPORT: report, BPTT_TRAIN_COMPUTE: compute }
      expect(await train(environment)).toEqual({ loss: true })
      expect(readFileSync(report, 'utf8')).toBe('')
    } finally {
      rmSync(report, { force: true })
    }
  })

  it('goes on after an allocation that fails once: the cache is given back first', async () => {
    expect(await train({ BPTT_FAKE_CUDA_FAIL: 'cuMemAlloc_v2:9:2' })).toEqual({ loss: true })
  })

  it.each([
    ['memory that is too small', { BPTT_FAKE_CUDA_MEMORY: '4000' }, 'ERR_BPTT_OOM', /out of memory/],
    [
      'a layer',
      { BPTT_FAKE_CUDA_FAIL: 'cudnnRNNForward:2:5000' },
      'ERR_BPTT_CUDA',
      /recurrent forward: cuDNN/,
    ],
    [
      'a kernel that breaks the context',
      { BPTT_FAKE_CUDA_FAIL: 'cuLaunchKernel:9:700' },
      'ERR_BPTT_CUDA',
      /ILLEGAL/,
    ],
    [
      'the handle of cuDNN',
      { BPTT_FAKE_CUDA_FAIL: 'cudnnCreate:1:1001' },
      'ERR_BPTT_CUDA',
      /NOT_INITIALIZED/,
    ],
    [
      'kernels of another device',
      { BPTT_FAKE_CUDA_FAIL: 'cuModuleLoadData:1:209' },
      'ERR_BPTT_CUDA',
      /kernels/,
    ],
  ])('says what failed: %s', async (_, environment, code, message) => {
    expect(await train(environment as Record<string, string>)).toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })
})
