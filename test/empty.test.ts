/** Tensors without elements, in every op: values, shapes and gradients are what PyTorch gives. */
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  Adam,
  batchNorm,
  bceWithLogits,
  clipGradNorm,
  concat,
  conv1d,
  crossEntropy,
  dropout,
  embedding,
  full,
  GRU,
  gradcheck,
  LayerNorm,
  LSTM,
  layerNorm,
  linear,
  loadSafetensors,
  logSoftmax,
  mseLoss,
  ones,
  Parameter,
  RMSprop,
  RNN,
  rand,
  randn,
  SGD,
  saveSafetensors,
  softmax,
  stack,
  type Tensor,
  tensor,
  zeros,
} from '../lib/index.ts'
import { expectFailure } from './support/failure.ts'

type Shape = number[]
type Case = [name: string, inputs: Shape[], op: (...inputs: Tensor[]) => Tensor, shape: Shape, value?: number]

const unary = [
  ...(['neg', 'tanh', 'sigmoid', 'relu', 'exp', 'log', 'sqrt', 'abs', 'sign', 'square'] as const),
  ...([
    'floor',
    'round',
    'ceil',
    'sin',
    'cos',
    'erf',
    'gelu',
    'silu',
    'softplus',
    'leakyRelu',
    'elu',
  ] as const),
]
const binary = ['add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum'] as const
const labels = (shape: Shape) => zeros(shape, { dtype: 'int32' })

/** `value` is what every element of the result is; default: it has none. */
const CASES: Case[] = [
  ...unary.map((op): Case => [op, [[0, 3]], (x) => (x as Tensor)[op](), [0, 3]]),
  ...binary.flatMap((op): Case[] => [
    [
      op,
      [
        [0, 3],
        [0, 3],
      ],
      (x, y) => (x as Tensor)[op](y as Tensor),
      [0, 3],
    ],
    [`${op} broadcast`, [[0, 3], [3]], (x, y) => (x as Tensor)[op](y as Tensor), [0, 3]],
    [
      `${op} broadcast 1 to 0`,
      [
        [1, 3],
        [0, 1],
      ],
      (x, y) => (x as Tensor)[op](y as Tensor),
      [0, 3],
    ],
    [`${op} scalar`, [[2, 0], []], (x, y) => (x as Tensor)[op](y as Tensor), [2, 0]],
    [`${op} number`, [[0, 3]], (x) => (x as Tensor)[op](2), [0, 3]],
  ]),
  ['clamp', [[0, 3]], (x) => (x as Tensor).clamp(0, 1), [0, 3]],
  ['sum', [[0, 3]], (x) => (x as Tensor).sum(), [], 0],
  ['sum over none', [[0, 3]], (x) => (x as Tensor).sum(0), [3], 0],
  ['sum to none', [[0, 3]], (x) => (x as Tensor).sum(1), [0]],
  ['sum in the middle', [[2, 0, 4]], (x) => (x as Tensor).sum(1, { keepDims: true }), [2, 1, 4], 0],
  ['mean', [[0]], (x) => (x as Tensor).mean(), [], Number.NaN],
  ['mean over none', [[3, 0]], (x) => (x as Tensor).mean(-1), [3], Number.NaN],
  ['mean to none', [[3, 0]], (x) => (x as Tensor).mean(0), [0]],
  ['max to none', [[0, 3]], (x) => (x as Tensor).max(1).values, [0]],
  ['min to none', [[0, 3]], (x) => (x as Tensor).min(1, { keepDims: true }).values, [0, 1]],
  ['argmax to none', [[0, 3]], (x) => (x as Tensor).add((x as Tensor).argmax(1).shape.length), [0, 3]],
  ['sort', [[3, 0]], (x) => (x as Tensor).sort().values, [3, 0]],
  ['sort along 0', [[3, 0]], (x) => (x as Tensor).sort(0).values, [3, 0]],
  ['topk of none', [[3, 2]], (x) => (x as Tensor).topk(0).values, [3, 0]],
  ['cumsum', [[3, 0]], (x) => (x as Tensor).cumsum(1), [3, 0]],
  ['cumsum along 0', [[3, 0]], (x) => (x as Tensor).cumsum(0), [3, 0]],
  ['prod', [[0]], (x) => (x as Tensor).prod(), [], 1],
  ['prod over none', [[0, 3]], (x) => (x as Tensor).prod(0), [3], 1],
  ['prod to none', [[0, 3]], (x) => (x as Tensor).prod(1), [0]],
  ['variance', [[0]], (x) => (x as Tensor).variance(), [], Number.NaN],
  ['std over none', [[0, 3]], (x) => (x as Tensor).std(0), [3], Number.NaN],
  ['norm', [[2, 0, 3]], (x) => (x as Tensor).norm(2, [0, 2]), [0]],
  ['norm over none', [[2, 0, 3]], (x) => (x as Tensor).norm(2, 1), [2, 3], 0],
  ['norm of magnitudes', [[2, 0]], (x) => (x as Tensor).norm(1, 1), [2], 0],
  ['logSumExp', [[0]], (x) => (x as Tensor).logSumExp(), [], Number.NEGATIVE_INFINITY],
  ['logSumExp to none', [[0, 3]], (x) => (x as Tensor).logSumExp(1), [0]],
  ['gather', [[0, 3]], (x) => (x as Tensor).gather(1, labels([0, 2])), [0, 2]],
  ['gather none', [[2, 3]], (x) => (x as Tensor).gather(1, labels([2, 0])), [2, 0]],
  ['takeAlongAxis', [[0, 3]], (x) => (x as Tensor).takeAlongAxis(1, labels([1, 2])), [0, 2]],
  ['indexSelect', [[3, 0]], (x) => (x as Tensor).indexSelect(0, labels([2])), [2, 0]],
  ['indexSelect none', [[3, 2]], (x) => (x as Tensor).indexSelect(1, labels([0])), [3, 0]],
  [
    'scatterAdd',
    [
      [0, 3],
      [0, 2],
    ],
    (x, y) => (x as Tensor).scatterAdd(1, labels([0, 2]), y as Tensor),
    [0, 3],
  ],
  [
    'scatterAdd none',
    [
      [2, 3],
      [2, 0],
    ],
    (x, y) => (x as Tensor).scatterAdd(1, labels([2, 0]), y as Tensor),
    [2, 3],
    1,
  ],
  ['softmax', [[0, 3]], (x) => softmax(x as Tensor), [0, 3]],
  ['softmax of none', [[3, 0]], (x) => softmax(x as Tensor), [3, 0]],
  ['logSoftmax', [[0]], (x) => logSoftmax(x as Tensor), [0]],
  ['logSoftmax along 0', [[0, 3]], (x) => logSoftmax(x as Tensor, 0), [0, 3]],
  [
    'matmul of k = 0',
    [
      [2, 0],
      [0, 3],
    ],
    (x, y) => (x as Tensor).matmul(y as Tensor),
    [2, 3],
    0,
  ],
  [
    'matmul of m = 0',
    [
      [0, 2],
      [2, 3],
    ],
    (x, y) => (x as Tensor).matmul(y as Tensor),
    [0, 3],
  ],
  [
    'matmul of n = 0',
    [
      [2, 3],
      [3, 0],
    ],
    (x, y) => (x as Tensor).matmul(y as Tensor),
    [2, 0],
  ],
  ['matmul of vectors', [[0], [0]], (x, y) => (x as Tensor).matmul(y as Tensor), [], 0],
  ['matmul to a vector', [[2, 0], [0]], (x, y) => (x as Tensor).matmul(y as Tensor), [2], 0],
  [
    'matmul in no batches',
    [
      [0, 2, 3],
      [1, 3, 4],
    ],
    (x, y) => (x as Tensor).matmul(y as Tensor),
    [0, 2, 4],
  ],
  [
    'matmul in batches',
    [
      [5, 2, 0],
      [5, 0, 4],
    ],
    (x, y) => (x as Tensor).matmul(y as Tensor),
    [5, 2, 4],
    0,
  ],
  ['linear of no rows', [[0, 3], [2, 3], [2]], (x, w, b) => linear(x as Tensor, w as Tensor, b), [0, 2]],
  ['linear of no inputs', [[4, 0], [2, 0], [2]], (x, w, b) => linear(x as Tensor, w as Tensor, b), [4, 2], 1],
  ['linear to nothing', [[4, 3], [0, 3], [0]], (x, w, b) => linear(x as Tensor, w as Tensor, b), [4, 0]],
  ['reshape', [[0, 3]], (x) => (x as Tensor).reshape([3, 0]), [3, 0]],
  ['reshape, inferred', [[0, 3]], (x) => (x as Tensor).reshape([-1, 3]), [0, 3]],
  ['transpose', [[5, 0, 8]], (x) => (x as Tensor).transpose(0, 2), [8, 0, 5]],
  ['expand', [[1, 3]], (x) => (x as Tensor).expand([0, 3]), [0, 3]],
  ['expand, leading', [[3]], (x) => (x as Tensor).expand([0, 3]), [0, 3]],
  ['slice of none', [[5, 0, 8]], (x) => (x as Tensor).slice(1, 3), [2, 0, 8]],
  ['slice of none, last axis', [[5, 0, 8]], (x) => (x as Tensor).slice(2, 4, 2), [5, 0, 2]],
  ['slice of none, empty axis', [[5, 0, 8]], (x) => (x as Tensor).slice(0, 2, 1), [5, 0, 8]],
  ['slice to none', [[5, 2]], (x) => (x as Tensor).slice(5), [0, 2]],
  ['slice to none, last axis', [[5, 2]], (x) => (x as Tensor).slice(2, 9, -1), [5, 0]],
  ['permute', [[5, 0, 8]], (x) => (x as Tensor).permute([2, 0, 1]), [8, 5, 0]],
  ['flip', [[5, 0]], (x) => (x as Tensor).flip([0, 1]), [5, 0]],
  ['squeeze', [[1, 0]], (x) => (x as Tensor).squeeze(), [0]],
  ['unsqueeze', [[0]], (x) => (x as Tensor).unsqueeze(0), [1, 0]],
  ['flatten', [[2, 0, 3]], (x) => (x as Tensor).flatten(1), [2, 0]],
  ['split of none', [[0, 3]], (x) => (x as Tensor).split(2)[0] as Tensor, [0, 3]],
  ['split to none', [[2, 3]], (x) => (x as Tensor).split([0, 2])[0] as Tensor, [0, 3]],
  ['chunk of none', [[0, 3]], (x) => (x as Tensor).chunk(3)[2] as Tensor, [0, 3]],
  [
    'pad',
    [[0, 3]],
    (x) =>
      (x as Tensor).pad(
        [
          [1, 1],
          [0, 0],
        ],
        { value: 2 },
      ),
    [2, 3],
    2,
  ],
  ['repeat', [[0, 3]], (x) => (x as Tensor).repeat([2, 2]), [0, 6]],
  ['repeat to none', [[2, 3]], (x) => (x as Tensor).repeat([1, 0, 2]), [1, 0, 6]],
  ['tril of no rows', [[2, 0, 3]], (x) => (x as Tensor).tril(1), [2, 0, 3]],
  ['triu of no columns', [[3, 0]], (x) => (x as Tensor).triu(-1), [3, 0]],
  ['triu of no matrices', [[0, 2, 2]], (x) => (x as Tensor).triu(), [0, 2, 2]],
  ['clone', [[0, 3]], (x) => (x as Tensor).clone(), [0, 3]],
  ['concat', [[0], [0]], (...xs) => concat(xs), [0]],
  [
    'concat with some',
    [
      [0, 3],
      [2, 3],
    ],
    (...xs) => concat(xs),
    [2, 3],
    1,
  ],
  [
    'concat along the axis',
    [
      [2, 3],
      [2, 0],
    ],
    (...xs) => concat(xs, 1),
    [2, 3],
    1,
  ],
  ['stack', [[0], [0]], (...xs) => stack(xs), [2, 0]],
  ['stack behind', [[0], [0]], (...xs) => stack(xs, 1), [0, 2]],
  [
    'stack between',
    [
      [2, 0],
      [2, 0],
    ],
    (...xs) => stack(xs, 1),
    [2, 2, 0],
  ],
  ['layerNorm', [[0, 3], [3], [3]], (x, weight, bias) => layerNorm(x as Tensor, 3, { weight, bias }), [0, 3]],
  ['layerNorm of none', [[3, 0], [0]], (x, weight) => layerNorm(x as Tensor, 0, { weight }), [3, 0]],
  [
    'conv1d of no sequences',
    [[0, 3, 5], [4, 3, 2], [4]],
    (x, w, b) => conv1d(x as Tensor, w as Tensor, b, { stride: 2 }),
    [0, 4, 2],
  ],
  [
    'conv1d of no channels',
    [[2, 0, 5], [4, 0, 2], [4]],
    (x, w, b) => conv1d(x as Tensor, w as Tensor, b),
    [2, 4, 4],
    1,
  ],
  [
    'conv1d to no channels',
    [[2, 3, 5], [0, 3, 2], [0]],
    (x, w, b) => conv1d(x as Tensor, w as Tensor, b),
    [2, 0, 4],
  ],
  [
    'conv1d of no steps',
    [[2, 3, 0], [4, 3, 2], [4]],
    (x, w, b) => conv1d(x as Tensor, w as Tensor, b, { padding: 1 }),
    [2, 4, 1],
    1,
  ],
  ...[true, false].flatMap((training): Case[] =>
    (
      [
        ['no rows', [0, 3]],
        ['no channels', [4, 0]],
        ['one row of no channels', [1, 0]],
        ['no steps', [2, 3, 0]],
      ] as const
    ).map(([name, shape]) => [
      `batchNorm of ${name}, ${training ? 'training' : 'evaluation'}`,
      [[...shape], [shape[1]], [shape[1]]],
      (x, weight, bias) => {
        const [mean, variance] = [
          zeros([shape[1]], { dtype: (x as Tensor).dtype }),
          ones([shape[1]], { dtype: (x as Tensor).dtype }),
        ]
        const y = batchNorm(x as Tensor, mean, variance, { weight, bias, training })
        expect([...mean.dataSync(), ...variance.dataSync()]).toEqual(mean.size > 0 ? [0, 0, 0, 1, 1, 1] : [])
        return y
      },
      [...shape],
    ]),
  ),
  ['dropout', [[0, 3]], (x) => dropout(x as Tensor), [0, 3]],
  ['embedding', [[4, 3]], (table) => embedding(labels([2, 0]), table as Tensor), [2, 0, 3]],
  ['embedding of no columns', [[4, 0]], (table) => embedding(labels([2]), table as Tensor), [2, 0]],
  ['embedding of no rows', [[0, 3]], (table) => embedding(labels([0]), table as Tensor), [0, 3]],
  ['crossEntropy', [[0, 3]], (x) => crossEntropy(x as Tensor, labels([0])), [], Number.NaN],
  ['crossEntropy, sum', [[0, 3]], (x) => crossEntropy(x as Tensor, labels([0]), { reduction: 'sum' }), [], 0],
  [
    'crossEntropy, none',
    [[2, 3, 0]],
    (x) => crossEntropy(x as Tensor, labels([2, 0]), { reduction: 'none' }),
    [2, 0],
  ],
  ...[mseLoss, bceWithLogits].flatMap((loss): Case[] => [
    [
      loss.name,
      [
        [0, 3],
        [0, 3],
      ],
      (x, y) => loss(x as Tensor, y as Tensor),
      [],
      Number.NaN,
    ],
    [
      `${loss.name}, sum`,
      [
        [0, 3],
        [0, 3],
      ],
      (x, y) => loss(x as Tensor, y as Tensor, { reduction: 'sum' }),
      [],
      0,
    ],
    [`${loss.name}, none`, [[0], [0]], (x, y) => loss(x as Tensor, y as Tensor, { reduction: 'none' }), [0]],
  ]),
]

describe.each(['float32', 'float64'] as const)('empty tensors, %s', (dtype) => {
  it.each(CASES)('%s', async (_, inputs, op, shape, value) => {
    const given = inputs.map((dims) => ones(dims, { dtype, requiresGrad: true }))
    const result = op(...given)
    expect(result.shape).toEqual(shape)
    expect([...(await result.data())]).toEqual(new Array(result.size).fill(value ?? 0))
    result.sum().backward()
    for (const x of given) {
      expect(x.grad?.shape).toEqual(x.shape)
      // What reaches no element of the result has a gradient of zeros.
      if (result.size === 0)
        expect([...(x.grad as Tensor).dataSync()].map(Math.abs)).toEqual(new Array(x.size).fill(0))
    }
  })

  it.each([RNN, GRU, LSTM])('%o', (Layer) => {
    for (const [T, B] of [
      [0, 2],
      [3, 0],
      [0, 0],
    ] as const) {
      for (const options of [{}, { batchFirst: true }, { bidirectional: true, numLayers: 2 }]) {
        const layer = new Layer(3, 4, { dtype, ...options })
        const { batchFirst = false, bidirectional = false } = options as Record<string, boolean>
        const directions = bidirectional ? 2 : 1
        const states = bidirectional ? 4 : 1
        const x = ones(batchFirst ? [B, T, 3] : [T, B, 3], { dtype, requiresGrad: true })
        const h0 = ones([states, B, 4], { dtype, requiresGrad: true })
        const { output, hn } = layer.forward(x, { h0, lengths: new Array(B).fill(T) })
        expect(output.shape).toEqual(batchFirst ? [B, T, 4 * directions] : [T, B, 4 * directions])
        expect([...hn.dataSync()]).toEqual(new Array(states * B * 4).fill(1))
        output.sum().add(hn.sum()).backward()
        expect([...(h0.grad as Tensor).dataSync()]).toEqual(new Array(states * B * 4).fill(1))
        expect(x.grad?.shape).toEqual(x.shape)
        for (const weight of layer.parameters()) {
          expect([...(weight.grad as Tensor).dataSync()]).toEqual(new Array(weight.size).fill(0))
        }
      }
    }
  })

  it.each([SGD, Adam, RMSprop])('%o', (Kind) => {
    const none = new Parameter(zeros([0, 3], { dtype }))
    const some = new Parameter(ones([2], { dtype }))
    const both = new Kind([none, some], { lr: 0.1 })
    none.sum().add(some.sum()).backward()
    expect(clipGradNorm([none], 1).itemSync()).toBe(0)
    expect(clipGradNorm([none, some], 9).itemSync()).toBeCloseTo(Math.SQRT2, 6)
    both.step()
    expect(some.dataSync()[0]).toBeLessThan(1)
    new Kind([none]).step()
    const other = new Kind([new Parameter(zeros([0, 3], { dtype })), new Parameter(ones([2], { dtype }))])
    other.loadStateDict(both.stateDict())
    expect([...other.stateDict().keys()]).toEqual([...both.stateDict().keys()])
  })
})

describe('empty tensors', () => {
  it('come from data', () => {
    expect(tensor([]).shape).toEqual([0])
    expect(tensor([[], []]).shape).toEqual([2, 0])
    expect(tensor([], [2, 0]).shape).toEqual([2, 0])
    expect(tensor(new Float64Array(0), [0, 4]).dtype).toBe('float64')
    for (const made of [rand([0, 2]), randn([0, 2]), full([0, 2], 3)]) expect(made.dataSync()).toHaveLength(0)
    expect(new LayerNorm([2, 0]).forward(zeros([3, 2, 0])).shape).toEqual([3, 2, 0])
  })

  it('of integers move', () => {
    const x = zeros([5, 0, 8], { dtype: 'int32' })
    expect(x.slice(1, 3).shape).toEqual([2, 0, 8])
    expect(stack([x, x], -1).shape).toEqual([5, 0, 8, 2])
    expect(concat([x, x], 1).transpose().shape).toEqual([5, 8, 0])
  })

  it('are refused where PyTorch refuses them', async () => {
    await expectFailure('SHAPE', () => zeros([0, 3]).reshape([-1, 0]))
    await expectFailure('SHAPE', () => zeros([0]).add(zeros([2])))
    await expectFailure('SHAPE', () => zeros([0]).itemSync())
    await expectFailure('SHAPE', () => zeros([0], { requiresGrad: true }).neg().backward())
    await expectFailure('VALUE', () => stack([]))
    await expectFailure('INDEX', () => crossEntropy(zeros([2, 0]), labels([2])).dataSync())
    await expectFailure('INDEX', () => embedding(labels([2]), zeros([0, 3])).dataSync())
  })

  it('accumulate gradients and pass gradcheck', () => {
    const x = zeros([0, 2], { dtype: 'float64', requiresGrad: true })
    x.sum().backward()
    x.neg().backward(zeros([0, 2], { dtype: 'float64' }))
    expect(x.grad?.shape).toEqual([0, 2])
    expect(gradcheck((y) => y.tanh(), [x])).toBe(true)
  })

  it('take no time, however many lines there are of them', () => {
    const x = zeros([2 ** 40, 0])
    const index = labels([2 ** 40, 0])
    const results = [
      x.cumsum(1),
      x.sort(1).values,
      softmax(x, 1),
      x.takeAlongAxis(1, index),
      x.scatterAdd(1, index, x),
      x.flip(1),
      x.add(1),
    ]
    for (const result of results) {
      expect(result.shape).toEqual([2 ** 40, 0])
      expect(result.dataSync().length).toBe(0)
    }
  })

  it('are kept by files', async () => {
    const path = join(tmpdir(), `bptt-empty-${process.pid}.safetensors`)
    try {
      const shapes: Record<string, Tensor> = {
        a: zeros([0, 3]),
        b: ones([2]),
        c: zeros([2, 0], { dtype: 'float64' }),
        d: zeros([0], { dtype: 'int32' }),
      }
      for (const given of [shapes, { a: zeros([0]) }]) {
        await saveSafetensors(path, given as Record<string, Tensor>)
        const { tensors } = await loadSafetensors(path)
        for (const [name, value] of Object.entries(given)) {
          expect(tensors.get(name)).toMatchObject({ shape: value.shape, dtype: value.dtype })
        }
      }
    } finally {
      rmSync(path, { force: true })
    }
  })
})
