/** Options that are undefined are not given: in the types, and at run time. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as bptt from '../lib/index.ts'
import { expectFailure, wrong } from './support/failure.ts'

const {
  Adagrad,
  Adam,
  AdamW,
  BatchNorm1d,
  batchNorm,
  AveragedModel,
  bceWithLogits,
  Conv1d,
  CosineAnnealingLR,
  conv1d,
  crossEntropy,
  ctcLoss,
  dropout,
  Embedding,
  embedding,
  full,
  GELU,
  GRU,
  gradcheck,
  init,
  LayerNorm,
  Linear,
  LinearLR,
  LSTM,
  layerNorm,
  manualSeed,
  mseLoss,
  NAdam,
  ones,
  RAdam,
  RMSprop,
  RNN,
  rand,
  randn,
  ReduceLROnPlateau,
  SGD,
  sequenceMask,
  Softplus,
  StepLR,
  tensor,
  zeros,
} = bptt

const RECURRENT = 'numLayers bias batchFirst dropout bidirectional compute dtype device'
const optimizer = () => new SGD([ones([1], { requiresGrad: true })])
const target = () => zeros([2], { dtype: 'int32' })
// biome-ignore lint/suspicious/noExplicitAny: the table gives every option to every function
type Case = [name: string, options: string, call: (options: any) => any]

const CASES: Case[] = [
  ['tensor', 'dtype device requiresGrad', (o) => tensor([1], o)],
  ['tensor with a shape', 'dtype device requiresGrad', (o) => tensor([1], undefined, o)],
  ['zeros', 'dtype device requiresGrad', (o) => zeros([1], o)],
  ['full', 'dtype device requiresGrad', (o) => full([1], 2, o)],
  ['rand', 'dtype device requiresGrad', (o) => rand([1], o)],
  ['randn', 'dtype device requiresGrad', (o) => randn([1], o)],
  ['sum', 'keepDims', (o) => ones([2]).sum(0, o)],
  ['mean', 'keepDims', (o) => ones([2]).mean(undefined, o)],
  ['backward', 'retainGraph', (o) => ones([1], { requiresGrad: true }).neg().backward(undefined, o)],
  ['dropout', 'training', (o) => dropout(ones([4]), undefined, o)],
  ['embedding', 'paddingIdx', (o) => embedding(target(), ones([3, 2]), o)],
  ['layerNorm', 'weight bias eps', (o) => layerNorm(ones([2, 3]), 3, o)],
  ['conv1d', 'stride padding dilation groups', (o) => conv1d(ones([2, 3]), ones([1, 2, 2]), null, o)],
  [
    'batchNorm',
    'weight bias training momentum eps',
    (o) => batchNorm(ones([4, 2]), full([2], 3), ones([2]), o),
  ],
  ['crossEntropy', 'reduction ignoreIndex', (o) => crossEntropy(ones([2, 3]), target(), o)],
  [
    'ctcLoss',
    'blank reduction zeroInfinity',
    (o) => ctcLoss(ones([3, 2]), tensor([1], { dtype: 'int32' }), [3], [1], o),
  ],
  ['mseLoss', 'reduction', (o) => mseLoss(ones([2]), zeros([2]), o)],
  ['bceWithLogits', 'reduction', (o) => bceWithLogits(ones([2]), zeros([2]), o)],
  [
    'gradcheck',
    'eps atol rtol',
    (o) => gradcheck((x) => x.tanh(), [ones([1], { dtype: 'float64', requiresGrad: true })], o),
  ],
  ['Linear', 'bias dtype device', (o) => new Linear(2, 3, o)],
  ['Embedding', 'paddingIdx dtype device', (o) => new Embedding(2, 3, o)],
  ['LayerNorm', 'eps elementwiseAffine bias dtype device', (o) => new LayerNorm(2, o)],
  ['sequenceMask', 'device', (o) => sequenceMask([1], 2, o)],
  ['GELU', 'approximate', (o) => new GELU(o)],
  ['Softplus', 'beta threshold', (o) => new Softplus(o)],
  ['Conv1d', 'stride padding dilation groups bias dtype device', (o) => new Conv1d(2, 3, 4, o)],
  ['BatchNorm1d', 'eps momentum affine trackRunningStats dtype device', (o) => new BatchNorm1d(2, o)],
  ['RNN', `nonlinearity ${RECURRENT}`, (o) => new RNN(2, 3, o)],
  ['GRU', `resetAfter ${RECURRENT}`, (o) => new GRU(2, 3, o)],
  ['LSTM', `projSize peephole ${RECURRENT}`, (o) => new LSTM(2, 3, o)],
  ['RNN.forward', 'h0 lengths', (o) => new RNN(2, 3).forward(ones([1, 1, 2]), o).output],
  ['LSTM.forward', 'h0 c0 lengths', (o) => new LSTM(2, 3).forward(ones([1, 1, 2]), o).output],
  ['stream', 'batch weights', (o) => new LSTM(2, 3).stream(o)],
  ['loadStateDict', 'strict', (o) => new Linear(1, 1).loadStateDict(new Linear(1, 1).stateDict(), o)],
  ['SGD', 'lr momentum dampening weightDecay nesterov maximize', (o) => new SGD(optimizer().parameters, o)],
  ['Adam', 'lr betas eps weightDecay amsgrad maximize', (o) => new Adam(optimizer().parameters, o)],
  ['AdamW', 'lr betas eps weightDecay amsgrad maximize', (o) => new AdamW(optimizer().parameters, o)],
  [
    'RMSprop',
    'lr alpha eps weightDecay momentum centered maximize',
    (o) => new RMSprop(optimizer().parameters, o),
  ],
  [
    'Adagrad',
    'lr lrDecay weightDecay initialAccumulatorValue eps maximize',
    (o) => new Adagrad(optimizer().parameters, o),
  ],
  [
    'NAdam',
    'lr betas eps weightDecay momentumDecay decoupledWeightDecay maximize',
    (o) => new NAdam(optimizer().parameters, o),
  ],
  [
    'RAdam',
    'lr betas eps weightDecay decoupledWeightDecay maximize',
    (o) => new RAdam(optimizer().parameters, o),
  ],
  ['AveragedModel', 'decay', (o) => new AveragedModel(new Linear(1, 1), o)],
  ['init.kaimingNormal', 'a mode nonlinearity', (o) => init.kaimingNormal(ones([2, 2]), o)],
  ['LinearLR', 'startFactor endFactor totalIters', (o) => new LinearLR(optimizer(), o)],
  ['StepLR', 'gamma', (o) => new StepLR(optimizer(), { stepSize: 1, ...o })],
  ['CosineAnnealingLR', 'etaMin', (o) => new CosineAnnealingLR(optimizer(), { tMax: 1, ...o })],
  [
    'ReduceLROnPlateau',
    'mode factor patience threshold cooldown minLr',
    (o) => new ReduceLROnPlateau(optimizer(), o),
  ],
]

/** What a call made, as far as it can be told from outside. */
function seen(call: (options: unknown) => unknown, options: unknown): unknown {
  manualSeed(3)
  const made = call(options)
  if (made instanceof bptt.Tensor) return [`${made}`, [...made.dataSync()]]
  if (made instanceof bptt.Module) {
    const { training: _, uncloneable: __, ...fields } = made
    const state = [...made.stateDict()].map(([name, value]) => [name, [...value.dataSync()]])
    return [JSON.stringify(fields), state]
  }
  return made instanceof bptt.Optimizer ? made.lr : JSON.stringify(made)
}

describe('options', () => {
  it.each(CASES)('%s: undefined is not given', async (_, names, call) => {
    const expected = seen(call, {})
    const all = Object.fromEntries(names.split(' ').map((name) => [name, undefined]))
    expect(seen(call, all)).toEqual(expected)
    for (const name of names.split(' ')) expect(seen(call, { [name]: undefined })).toEqual(expected)
    expect(seen(call, undefined)).toEqual(expected)
    await expectFailure('TYPE', () => call({ ...all, typo: undefined }))
    if (!['tensor', 'StepLR', 'CosineAnnealingLR'].includes(_)) {
      for (const none of [null, 1, [zeros([1])], zeros([1])])
        await expectFailure('TYPE', () => call(wrong(none)))
    }
  })

  it('say so in their types, for exactOptionalPropertyTypes', () => {
    const lib = new URL('../lib/', import.meta.url)
    const files = (readdirSync(lib, { recursive: true }) as string[]).filter(
      (file) => file.endsWith('.ts') && !/^(cli|reference)\b/.test(file),
    )
    const lines = files.flatMap((file) => readFileSync(new URL(file, lib), 'utf8').split('\n'))
    const optional = lines.filter((line) => /^ {2}(readonly )?\w+\?: [^(]*[^,({]$/.test(line))
    expect(optional.length).toBeGreaterThan(50)
    expect(optional.filter((line) => !line.endsWith('| undefined'))).toEqual([])
  })
})
