/** The library against PyTorch: recurrent layers, losses and other functions, optimizers, files. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { CELL_NAMES } from '../lib/cells.ts'
import {
  Adagrad,
  Adam,
  AdamW,
  AveragedModel,
  BatchNorm1d,
  batchNorm,
  bceWithLogits,
  Conv1d,
  CosineAnnealingLR,
  CosineAnnealingWarmRestarts,
  clipGradNorm,
  conv1d,
  crossEntropy,
  ExponentialLR,
  embedding,
  GRU,
  LambdaLR,
  LinearLR,
  LSTM,
  layerNorm,
  loadSafetensors,
  logSoftmax,
  Module,
  mseLoss,
  NAdam,
  OneCycleLR,
  type Optimizer,
  Parameter,
  RAdam,
  ReLU,
  RMSprop,
  RNN,
  type Schedule,
  Sequential,
  SequentialLR,
  SGD,
  StepLR,
  saveSafetensors,
  softmax,
  type Tensor,
  tensor,
  zeros,
} from '../lib/index.ts'
import { type Case, readCases, readSafetensors } from './fixtures/read.ts'
import { runLibrary } from './support/library.ts'
import { fromFixture } from './support/recurrent.ts'
import { type DType, expectClose, type Results } from './support/tolerance.ts'

const dtypes: DType[] = ['float32', 'float64']
const named = (name: string) => readCases(name).map((fixture): [string, Case] => [fixture.name, fixture])

describe.each(dtypes)('PyTorch: recurrent layers, %s', (dtype) => {
  for (const cell of CELL_NAMES)
    it.each(named(cell))(`${cell} %s`, async (_, fixture) => {
      const { case: given, expected } = fromFixture(fixture)
      expectClose(await runLibrary(given, dtype), expected, dtype, { torchErrors: fixture.error })
    })
})

/** The tensor NAME of a fixture; floating point ones in the given type. */
function input(fixture: Case, name: string, dtype: DType, requiresGrad = false): Tensor {
  const entry = fixture.tensors.get(name)
  if (!entry) throw new Error(`${fixture.name} lacks ${name}`)
  const integer = entry.dtype === 'I32'
  return tensor(Array.from(entry.data), entry.shape, { dtype: integer ? 'int32' : dtype, requiresGrad })
}

async function read(tensors: Record<string, Tensor | null>): Promise<Results> {
  const results = new Map<string, Float64Array>()
  for (const [name, value] of Object.entries(tensors))
    if (value) results.set(name, Float64Array.from(await value.data()))
  return results
}

function expectFixture(actual: Results, fixture: Case, dtype: DType): void {
  const names = Object.keys(fixture.error)
  const expected = new Map(names.map((name) => [name, fixture.tensors.get(name)?.data as Float64Array]))
  expectClose(actual, expected, dtype, { torchErrors: fixture.error })
}

type Values = Record<'x' | 'target' | 'weight' | 'bias' | 'index', Tensor>

const FUNCTIONS: Record<string, (values: Values, fixture: Case) => Tensor> = {
  crossEntropy: ({ x, target }, { reduction, ignoreIndex }) =>
    crossEntropy(x, target as Tensor<'int32'>, { reduction, ignoreIndex }),
  mseLoss: ({ x, target }, { reduction }) => mseLoss(x, target, { reduction }),
  bceWithLogits: ({ x, target }, { reduction }) => bceWithLogits(x, target, { reduction }),
  softmax: ({ x }, { axis }) => softmax(x, axis),
  logSoftmax: ({ x }, { axis }) => logSoftmax(x, axis),
  layerNorm: ({ x, weight, bias }, { eps }) => layerNorm(x, x.shape.at(-1) as number, { weight, bias, eps }),
  embedding: ({ index, weight }, { paddingIdx }) =>
    embedding(index as Tensor<'int32'>, weight, paddingIdx === null ? {} : { paddingIdx }),
}

describe.each(dtypes)('PyTorch: functions, %s', (dtype) => {
  it.each(named('functions'))('%s', async (_, fixture) => {
    const values = {} as Values
    for (const name of ['x', 'target', 'weight', 'bias', 'index'] as const)
      if (fixture.tensors.has(name))
        values[name] = input(fixture, name, dtype, `grad.${name}` in fixture.error)
    const out = FUNCTIONS[fixture.op]?.(values, fixture) as Tensor
    expect(out.shape).toEqual(fixture.tensors.get('out')?.shape)
    out.backward(input(fixture, 'd_out', dtype))
    const gradients = Object.entries(values).map(([name, value]) => [`grad.${name}`, value.grad])
    expectFixture(await read({ out, ...Object.fromEntries(gradients) }), fixture, dtype)
  })
})

describe.each(dtypes)('PyTorch: shapes, %s', (dtype) => {
  it.each(named('shapes'))('%s', async (_, fixture) => {
    const x = input(fixture, 'x', dtype, true)
    const made = (x[fixture.op as 'permute'] as (...args: unknown[]) => Tensor | Tensor[])(...fixture.args)
    const outs = [made].flat()
    const names = fixture.outs as string[]
    expect(outs.map((out) => out.shape)).toEqual(names.map((name) => fixture.tensors.get(name)?.shape))
    for (const [i, out] of outs.entries())
      out.backward(input(fixture, `d_${names[i]}`, dtype), { retainGraph: true })
    const results = outs.map((out, i) => [names[i], out])
    expectFixture(await read({ ...Object.fromEntries(results), 'grad.x': x.grad }), fixture, dtype)
  })
})

describe.each(dtypes)('PyTorch: layers of front ends, %s', (dtype) => {
  const fixtures = named('front_ends')
  const given = (fixture: Case, names: readonly string[]) =>
    names.map((name) =>
      fixture.tensors.has(name) ? input(fixture, name, dtype, `grad.${name}` in fixture.error) : null,
    )

  it.each(fixtures.filter(([, { op }]) => op !== 'model'))('%s', async (_, fixture) => {
    const [x, weight = null, bias = null] = given(fixture, ['x', 'weight', 'bias'])
    const [mean = null, variance = null] = given(fixture, ['mean', 'variance'])
    const out =
      fixture.op === 'conv1d'
        ? conv1d(x as Tensor, weight as Tensor, bias, fixture.options)
        : batchNorm(x as Tensor, mean, variance, { weight, bias, ...fixture.options })
    expect(out.shape).toEqual(fixture.tensors.get('out')?.shape)
    out.backward(input(fixture, 'd_out', dtype))
    const gradients = Object.entries({ x, weight, bias }).map(([name, one]) => [`grad.${name}`, one?.grad])
    const running = { 'running.mean': mean, 'running.variance': variance }
    expectFixture(await read({ out, ...running, ...Object.fromEntries(gradients) }), fixture, dtype)
  })

  it("a model goes on from torch's state, in training and in evaluation", async () => {
    const [, fixture] = fixtures.find(([name]) => name === 'model') as [string, Case]
    const model = new Sequential(
      new Conv1d(3, 4, 5, { stride: 2, padding: 2, dtype }),
      new BatchNorm1d(4, { dtype }),
      new ReLU(),
      new Conv1d(4, 6, 3, { groups: 2, bias: false, dtype }),
      new BatchNorm1d(6, { momentum: null, affine: false, dtype }),
    )
    const file = new URL('fixtures/torch_front_end.safetensors', import.meta.url)
    const { tensors } = await loadSafetensors(file)
    const state = new Map(
      Array.from(tensors, ([name, one]) => [
        name,
        one.dtype === 'int32' ? one : tensor(Array.from(one.dataSync()), [...one.shape], { dtype }),
      ]),
    )
    expect(model.loadStateDict(state)).toEqual({ missing: [], unexpected: [] })
    expect([...model.stateDict().keys()]).toEqual([
      ...['0.weight', '0.bias', '1.weight', '1.bias'],
      ...['1.running_mean', '1.running_var', '1.num_batches_tracked'],
      ...['3.weight', '4.running_mean', '4.running_var', '4.num_batches_tracked'],
    ])
    model.forward(input(fixture, 'x', dtype))
    const out = model.forward(input(fixture, 'y', dtype))
    const evaluated = model.eval().forward(input(fixture, 'x', dtype))
    const after = model.namedBuffers().filter(([name]) => name.includes('running'))
    const results = Object.fromEntries(after.map(([name, one]) => [`after.${name}`, one]))
    expectFixture(await read({ out, evaluated, ...results }), fixture, dtype)
    expect(model.stateDict().get('4.num_batches_tracked')?.dataSync()).toEqual(Int32Array.of(5))
  })
})

const KINDS = { SGD, Adam, AdamW, RMSprop, NAdam, RAdam, Adagrad }
const STEPS = 6

/** Options as they are called here: tMax for T_max and t_max. */
function camelCase(options: Record<string, unknown>): Record<string, unknown> {
  const name = (key: string) =>
    key.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [name(key), value]))
}

describe.each(dtypes)('PyTorch: optimizers, %s', (dtype) => {
  const fixtures = named('optimizers')

  it.each(fixtures.filter(([, fixture]) => fixture.kind in KINDS))('%s', async (_, fixture) => {
    const parameters = [input(fixture, 'a', dtype, true), input(fixture, 'b', dtype, true)]
    const kind = KINDS[fixture.kind as 'SGD'] // the options of the others differ, and come from the fixture
    const optimizer = new kind(parameters, { lr: 0.05, ...camelCase(fixture.options) })
    const results: Results = new Map()
    for (let step = 0; step < STEPS; step++) {
      if (step === STEPS - 2) optimizer.lr = 0.02
      optimizer.zeroGrad()
      for (const [i, key] of ['a', 'b'].entries()) {
        // The gradient of sum(p * g) is g, exactly.
        const parameter = parameters[i] as Tensor
        parameter
          .mul(input(fixture, `grad.${key}.${step}`, dtype))
          .sum()
          .backward()
      }
      optimizer.step()
      results.set(`a.${step}`, await (parameters[0] as Tensor).data())
      results.set(`b.${step}`, await (parameters[1] as Tensor).data())
    }
    expectFixture(results, fixture, dtype)
  })

  it.each(
    fixtures.filter(([, fixture]) => fixture.kind === 'clip'),
  )('clipGradNorm: %s', async (_, fixture) => {
    const parameters = ['a', 'b'].map((key) => {
      const gradient = input(fixture, `grad.${key}`, dtype)
      const parameter: Tensor = zeros(gradient.shape, { dtype, requiresGrad: true })
      parameter.mul(gradient).sum().backward()
      return parameter
    })
    const norm = clipGradNorm(parameters, fixture.maxNorm)
    const [a, b] = parameters.map((parameter) => parameter.grad)
    expectFixture(await read({ norm, 'clipped.a': a ?? null, 'clipped.b': b ?? null }), fixture, dtype)
  })

  it.each(fixtures.filter(([, fixture]) => fixture.kind === 'average'))('AveragedModel: %s', (_, fixture) => {
    class Model extends Module {
      a = new Parameter(zeros([3, 5], { dtype }))
      override forward(x: Tensor): Tensor {
        return x
      }
    }
    const [model, other] = [new Model(), new Model()]
    const average = new AveragedModel(model, fixture.options)
    const results: Results = new Map()
    for (let step = 0; step < STEPS; step++) {
      model.loadStateDict({ a: input(fixture, `a.${step}`, dtype) })
      average.update()
      average.copyTo(other)
      results.set(`average.${step}`, other.a.dataSync())
    }
    expectFixture(results, fixture, dtype)
  })
})

describe('PyTorch: schedules', () => {
  const make: Record<string, (optimizer: Optimizer, options: Record<string, unknown>) => Schedule> = {
    StepLR: (optimizer, options) => new StepLR(optimizer, options as never),
    ExponentialLR: (optimizer, options) => new ExponentialLR(optimizer, options as never),
    LinearLR: (optimizer, options) => new LinearLR(optimizer, options),
    CosineAnnealingLR: (optimizer, options) => new CosineAnnealingLR(optimizer, options as never),
    CosineAnnealingWarmRestarts: (optimizer, options) =>
      new CosineAnnealingWarmRestarts(optimizer, options as never),
    OneCycleLR: (optimizer, options) => new OneCycleLR(optimizer, options as never),
    LambdaLR: (optimizer) => new LambdaLR(optimizer, { lrLambda: [(t) => 1 / (1 + t), (t) => 0.9 ** t] }),
    SequentialLR: (optimizer, options) =>
      new SequentialLR(optimizer, {
        schedulers: [
          new LinearLR(optimizer, { startFactor: 0.1, totalIters: 3 }),
          new ExponentialLR(optimizer, { gamma: 0.5 }),
          new CosineAnnealingLR(optimizer, { tMax: 4 }),
        ],
        milestones: options.milestones as number[],
      }),
  }

  it.each(named('schedules'))('%s', (_, fixture) => {
    const [a, b] = [zeros([1], { requiresGrad: true }), zeros([1], { requiresGrad: true })]
    const groups = [{ params: [a] }, { params: [b], lr: 0.2 }]
    const optimizer =
      fixture.optimizer === 'SGD'
        ? new SGD(groups, { lr: 0.5, momentum: 0.9 })
        : new Adam(groups, { lr: 0.5 })
    const schedule = make[fixture.kind]?.(optimizer, camelCase(fixture.options)) as Schedule
    const now = () => [
      ...optimizer.paramGroups.map(({ lr }) => lr),
      ...optimizer.paramGroups.map(({ momentum, betas }) => momentum ?? betas?.[0]),
    ]
    const { data, shape } = fixture.tensors.get('values') as { data: Float64Array; shape: number[] }
    const values = now()
    for (let step = 1; step < (shape[0] as number); step++) {
      schedule.step()
      values.push(...now())
    }
    expect(values).toHaveLength(data.length)
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo(data[i] as number, 13)
  })
})

describe('PyTorch: files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bptt-fixtures-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const path = (name: string) => fileURLToPath(new URL(`fixtures/${name}.safetensors`, import.meta.url))
  const make = {
    lstm: () => new LSTM(3, 5, { numLayers: 2, bidirectional: true, projSize: 2 }),
    gru: () => new GRU(3, 5, { numLayers: 2 }),
    rnn: () => new RNN(3, 5, { bidirectional: true, bias: false }),
  }
  const fixtures = new Map(named('state_dicts'))

  it.each(['lstm', 'gru', 'rnn'] as const)('nn.%s loads unchanged', async (name) => {
    const layer = make[name]()
    const { tensors } = await loadSafetensors(path(`torch_${name}`))
    expect(layer.loadStateDict(tensors)).toEqual({ missing: [], unexpected: [] })
    const fixture = fixtures.get(name) as Case
    const { output } = layer.forward(input(fixture, 'input', 'float32'))
    expectFixture(await read({ output }), fixture, 'float32')
  })

  it.each(['lstm', 'gru', 'rnn'] as const)('what we write of %s is what PyTorch wrote', async (name) => {
    const layer = make[name]()
    layer.loadStateDict((await loadSafetensors(path(`torch_${name}`))).tensors)
    const written = join(folder, `${name}.safetensors`)
    await saveSafetensors(written, layer.stateDict(), { note: 'a test' })
    const [ours, theirs] = [readSafetensors(written), readSafetensors(path(`torch_${name}`))]
    expect(ours.metadata).toEqual({ note: 'a test' })
    expect(new Map([...ours.tensors].sort())).toEqual(new Map([...theirs.tensors].sort()))
  })

  it('half, bfloat16 and int64 become float32 and int32', async () => {
    const { tensors } = await loadSafetensors(path('torch_dtypes'))
    const values = async (name: string) => Array.from((await tensors.get(name)?.data()) ?? [])
    expect(await values('half')).toEqual([0, -1.5, 0.300048828125, 65504, 2 ** -24, Infinity, NaN])
    expect(await values('bfloat16')).toEqual([
      0,
      -1.5,
      0.30078125,
      65536,
      6.007030606269836e-8,
      Infinity,
      NaN,
    ])
    expect(await values('long')).toEqual([-5, 7, 2 ** 31 - 1, -(2 ** 31)])
    expect(tensors.get('long')?.dtype).toBe('int32')
    expect(tensors.get('scalar')?.shape).toEqual([])
    expect(await values('scalar')).toEqual([2.5])
    expect(tensors.get('empty')?.shape).toEqual([0, 3])
  })

  const python = findPython()
  it.skipIf(!python)(
    `PyTorch loads what we write${python ? '' : ' (skipped: no Python with torch and safetensors; set BPTT_PYTHON)'}`,
    async () => {
      const layer = make.lstm()
      const file = join(folder, 'ours.safetensors')
      await saveSafetensors(file, layer.stateDict())
      const x = input(fixtures.get('lstm') as Case, 'input', 'float32')
      const { output } = layer.forward(x)
      const script = `
import json, sys, torch
from safetensors.torch import load_file
layer = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
layer.load_state_dict(load_file(sys.argv[1]))
x = torch.tensor(json.loads(sys.argv[2])).reshape(json.loads(sys.argv[3]))
print(json.dumps(layer(x)[0].flatten().tolist()))`
      const printed = execFileSync(
        python as string,
        ['-c', script, file, JSON.stringify([...(await x.data())]), JSON.stringify(x.shape)],
        {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      )
      expectClose(await read({ output }), new Map([['output', JSON.parse(printed) as number[]]]), 'float32')
    },
  )
})

/** As for the peers (bench/peers.test.ts); undefined without what the test imports. */
function findPython(): string | undefined {
  const python = process.env.BPTT_PYTHON ?? 'python3'
  try {
    execFileSync(
      python,
      ['-c', 'import importlib.util as u; assert u.find_spec("torch") and u.find_spec("safetensors")'],
      { stdio: 'ignore' },
    )
    return python
  } catch {
    return undefined
  }
}
