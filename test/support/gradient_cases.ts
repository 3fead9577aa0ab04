/** Functions whose gradients are checked against differences: first and second derivatives. */
import {
  batchNorm,
  bceWithLogits,
  concat,
  conv1d,
  crossEntropy,
  embedding,
  gaussianNllLoss,
  huberLoss,
  klDiv,
  l1Loss,
  layerNorm,
  linear,
  logSoftmax,
  manualSeed,
  mseLoss,
  nllLoss,
  poissonNllLoss,
  quantileLoss,
  randn,
  softmax,
  stack,
  studentTNllLoss,
  type Tensor,
  tensor,
} from 'bptt'

export type F64 = Tensor<'float64'>

manualSeed(11)
export const x = (...shape: number[]): F64 => randn(shape, { dtype: 'float64', requiresGrad: true })
/** Away from zero, where relu has no derivative and log no value. */
export const positive = (...shape: number[]): F64 => {
  const made = randn(shape, { dtype: 'float64' }).exp().add(0.5)
  made.requiresGrad = true
  return made
}
/** Away from multiples of a half, where steps and bends are. */
export const between = (...shape: number[]): F64 => {
  const made = randn(shape, { dtype: 'float64' }).mul(4).floor().add(0.5).mul(0.5)
  made.requiresGrad = true
  return made
}
export const int = (values: number[], shape?: number[]) => tensor(values, shape, { dtype: 'int32' })

const constant = (...values: number[]) => tensor(values, { dtype: 'float64' })

export type Case = [name: string, fn: (p: F64, q: F64, r: F64) => Tensor | Tensor[], inputs: F64[]]

const pairs: [string, number[], number[]][] = [
  ['equal shapes', [2, 3], [2, 3]],
  ['a row', [2, 3], [3]],
  ['a column', [2, 3], [2, 1]],
  ['both', [2, 1], [1, 3]],
  ['a scalar', [2, 3], []],
  ['more dimensions', [3], [2, 4, 3]],
  ['nothing', [0, 3], [3]],
]

export const cases: Case[] = [
  ...pairs.flatMap(([name, a, b]): Case[] => [
    [`add: ${name}`, (p, q) => p.add(q), [x(...a), x(...b)]],
    [`sub: ${name}`, (p, q) => p.sub(q), [x(...a), x(...b)]],
    [`mul: ${name}`, (p, q) => p.mul(q), [x(...a), x(...b)]],
    [`div: ${name}`, (p, q) => p.div(q), [x(...a), positive(...b)]],
  ]),
  ['numbers', (p) => p.add(2).mul(3).sub(1).div(7), [x(2, 3)]],
  ['neg', (p) => p.neg(), [x(3)]],
  ['tanh', (p) => p.tanh(), [x(2, 3)]],
  ['sigmoid', (p) => p.sigmoid(), [x(2, 3)]],
  ['relu', (p) => p.relu().add(p.neg().relu()), [positive(2, 3)]],
  ['exp', (p) => p.exp(), [x(2, 3)]],
  ['log', (p) => p.log(), [positive(2, 3)]],
  ['sqrt', (p) => p.sqrt(), [positive(2, 3)]],
  ['abs', (p) => p.abs().add(p.neg().abs().mul(2)), [positive(2, 3)]],
  ['square', (p) => p.square(), [x(2, 3)]],
  [
    'floor, round, ceil and sign',
    (p) => p.floor().add(p.round()).add(p.ceil()).add(p.sign()).mul(p),
    [between(2, 3)],
  ],
  ['sin and cos', (p) => [p.sin(), p.cos()], [x(2, 3)]],
  ['erf', (p) => p.erf(), [x(2, 3)]],
  ['gelu', (p) => [p.gelu(), p.gelu({ approximate: 'tanh' })], [x(2, 3)]],
  ['silu', (p) => p.silu(), [x(2, 3)]],
  ['softplus', (p) => [p.softplus(), p.softplus({ beta: 2, threshold: 0.9 })], [between(2, 3)]],
  ['leakyRelu', (p) => [p.leakyRelu(), p.leakyRelu(0.3)], [between(2, 3)]],
  ['elu', (p) => [p.elu(), p.elu(1.7)], [between(2, 3)]],
  ['clamp', (p) => [p.clamp(-0.5, 0.5), p.clamp({ max: 0.5 }).mul(p)], [between(2, 3)]],
  ['pow of whole numbers', (p) => [p.pow(3), p.pow(-2), p.pow(1), p.pow(0)], [between(2, 3)]],
  ['pow of numbers', (p) => [p.pow(2.5), p.pow(0.5), p.pow(-0.7)], [positive(2, 3)]],
  ['pow', (p, q) => p.pow(q), [positive(2, 3), x(3)]],
  ['maximum and minimum', (p, q) => [p.maximum(q), p.minimum(q.neg())], [positive(2, 3), between(3)]],
  ['max and min of all', (p) => p.max().add(p.min().mul(2)), [x(2, 3)]],
  ['max and min along axes', (p) => [p.max(1).values, p.min(-1, { keepDims: true }).values], [x(2, 3, 4)]],
  ['sort and topk', (p) => [p.sort(1).values, p.topk(2, { axis: 0 }).values], [x(3, 4)]],
  ['cumsum', (p) => p.cumsum(1), [x(2, 4, 3)]],
  ['prod', (p) => [p.prod(), p.prod(1), p.prod(0, { keepDims: true })], [x(2, 5, 2)]],
  ['variance', (p) => [p.variance(), p.variance([0, 2], { correction: 0 })], [x(3, 4, 2)]],
  ['std', (p) => [p.std(), p.std(1, { keepDims: true })], [x(3, 4, 2)]],
  [
    'norm',
    (p) => [p.norm(), p.norm(2, [0, 2]), p.norm(1, 0), p.norm(Number.POSITIVE_INFINITY, 1)],
    [x(3, 4, 2)],
  ],
  [
    'logSumExp',
    (p) => [p.logSumExp(), p.logSumExp([0, 2]), p.logSumExp(1, { keepDims: true })],
    [x(3, 4, 2)],
  ],
  ['gather', (p) => p.gather(1, int([0, 2, 1, 1], [2, 2])), [x(3, 4)]],
  ['takeAlongAxis', (p) => p.takeAlongAxis(1, int([0, 3, 3], [1, 3])), [x(3, 4)]],
  ['indexSelect', (p) => p.indexSelect(1, int([2, 0, 2])), [x(2, 3, 2)]],
  ['scatterAdd', (p, q) => p.scatterAdd(1, int([0, 2, 1, 1], [2, 2]), q), [x(3, 4), x(2, 3)]],
  ['sum of all', (p) => p.sum(), [x(2, 3)]],
  ['sum over an axis', (p) => p.sum(-1), [x(2, 3, 4)]],
  ['sum over axes', (p) => p.sum([0, 2], { keepDims: true }), [x(2, 3, 4)]],
  ['mean of all', (p) => p.mean(), [x(2, 3)]],
  ['mean over an axis', (p) => p.mean(1, { keepDims: true }), [x(2, 3, 4)]],
  ['softmax', (p) => p.softmax(), [x(3, 4)]],
  ['softmax over the first axis', (p) => softmax(p, 0), [x(3, 4)]],
  ['logSoftmax', (p) => logSoftmax(p, 1), [x(2, 3, 2)]],
  ['reshape', (p) => p.reshape([3, -1]).mul(p.reshape([3, 2])), [x(2, 3)]],
  ['transpose', (p) => p.transpose().mul(p.reshape([2, 4, 3])), [x(2, 3, 4)]],
  ['transpose of outer axes', (p) => p.transpose(0, 2).exp(), [x(2, 3, 4)]],
  ['slice', (p) => p.slice(1, 3, 1).exp(), [x(2, 4, 2)]],
  ['slice from the end', (p) => p.slice(-1), [x(3, 2)]],
  ['expand', (p) => p.expand([2, 3, 4]).mul(p), [x(3, 1)]],
  ['concat', (p, q) => concat([p, q, p], 1).exp(), [x(2, 1, 2), x(2, 3, 2)]],
  ['stack', (p, q) => stack([p, q], -1).exp(), [x(2, 3), x(2, 3)]],
  ['permute', (p) => p.permute([2, 0, 1]).exp(), [x(2, 3, 4)]],
  ['flip', (p) => p.flip([0, -1]).mul(p), [x(2, 3, 4)]],
  ['squeeze', (p) => p.squeeze(1).exp(), [x(2, 1, 3)]],
  ['unsqueeze', (p) => p.unsqueeze(1).mul(p), [x(2, 3)]],
  ['flatten', (p) => p.flatten(1).exp(), [x(2, 3, 2)]],
  ['split', (p) => concat(p.split(2, 1).reverse(), 1).exp(), [x(2, 5)]],
  ['split: one part of many', (p) => p.split([1, 3, 0, 1])[1]?.exp() as F64, [x(5, 2)]],
  ['chunk', (p) => p.chunk(3).reduce((product, part) => product.mul(part)), [x(3, 2)]],
  [
    'pad',
    (p) =>
      p
        .pad(
          [
            [1, 0],
            [0, 2],
          ],
          { value: 3 },
        )
        .exp(),
    [x(2, 3)],
  ],
  ['repeat', (p) => p.repeat([2, 1, 3]).exp(), [x(3, 2)]],
  ['tril', (p) => p.tril(-1).exp(), [x(2, 3, 3)]],
  ['triu', (p) => p.triu(1).mul(p), [x(3, 4)]],
  ['clone', (p) => p.clone().mul(p), [x(2, 3)]],
  ['matmul', (p, q) => p.matmul(q), [x(2, 3), x(3, 4)]],
  ['matmul: batches', (p, q) => p.matmul(q), [x(2, 2, 3), x(2, 3, 4)]],
  ['matmul: broadcast batches', (p, q) => p.matmul(q), [x(2, 1, 2, 3), x(3, 3, 2)]],
  ['matmul: a matrix on the right', (p, q) => p.matmul(q), [x(2, 2, 2, 3), x(3, 2)]],
  ['matmul: a matrix on the left', (p, q) => p.matmul(q), [x(2, 3), x(2, 2, 3, 2)]],
  ['matmul: vectors', (p, q) => p.matmul(q), [x(3), x(3)]],
  ['matmul: a vector on the right', (p, q) => p.matmul(q), [x(2, 2, 3), x(3)]],
  ['matmul: a vector on the left', (p, q) => p.matmul(q), [x(3), x(2, 3, 2)]],
  ['linear', (p, w, b) => linear(p, w, b), [x(2, 2, 3), x(4, 3), x(4)]],
  ['linear: a vector', (p, w) => linear(p, w), [x(3), x(4, 3)]],
  ['embedding', (w) => embedding(int([2, 0, 2, 1], [2, 2]), w), [x(3, 2)]],
  ['layerNorm', (p, w, b) => layerNorm(p, 4, { weight: w, bias: b }), [x(3, 4), x(4), x(4)]],
  ['layerNorm over two axes', (p) => layerNorm(p, [3, 2]), [x(2, 3, 2)]],
  ['conv1d', (p, w, b) => conv1d(p, w, b, { padding: 1 }), [x(2, 3, 5), x(2, 3, 3), x(2)]],
  ['conv1d: one sequence', (p, w) => conv1d(p, w), [x(2, 5), x(3, 2, 2)]],
  [
    'conv1d: strides and groups',
    (p, w, b) => conv1d(p, w, b, { stride: 2, padding: 2, groups: 2 }),
    [x(2, 4, 6), x(4, 2, 3), x(4)],
  ],
  [
    'conv1d: strides and dilation',
    (p, w) => conv1d(p, w, null, { stride: 3, padding: 1, dilation: 2 }),
    [x(2, 2, 9), x(2, 2, 3)],
  ],
  [
    'conv1d: dilation',
    (p, w) => conv1d(p, w, null, { padding: 'same', dilation: 2 }),
    [x(2, 2, 5), x(2, 2, 3)],
  ],
  ['conv1d: depthwise', (p, w) => conv1d(p, w, null, { groups: 3 }), [x(2, 3, 4), x(3, 1, 2)]],
  [
    'batchNorm',
    (p, w, b) => batchNorm(p, null, null, { weight: w, bias: b, training: true }),
    [x(4, 2), x(2), x(2)],
  ],
  ['batchNorm: positions', (p) => batchNorm(p, null, null, { training: true }), [x(2, 2, 3)]],
  [
    'batchNorm: evaluation',
    (p, w, b) => batchNorm(p, constant(0.5, 2), constant(2, 3), { weight: w, bias: b }),
    [x(2, 2, 3), x(2), x(2)],
  ],
  ['crossEntropy', (p) => crossEntropy(p, int([2, -100, 0])), [x(3, 4)]],
  [
    'crossEntropy: sum',
    (p) => crossEntropy(p, int([2, 1, 0]), { reduction: 'sum', ignoreIndex: 1 }),
    [x(3, 4)],
  ],
  ['crossEntropy: none', (p) => crossEntropy(p, int([2, 1, 0]), { reduction: 'none' }), [x(3, 4)]],
  ['crossEntropy: one', (p) => crossEntropy(p, int([2], [])), [x(4)]],
  ['crossEntropy: positions', (p) => crossEntropy(p, int([0, 1, 2, 0, 1, 2], [2, 3])), [x(2, 4, 3)]],
  ['mseLoss', (p, q) => mseLoss(p, q), [x(2, 3), x(2, 3)]],
  ['mseLoss: none', (p, q) => mseLoss(p, q, { reduction: 'none' }), [x(2, 3), x(2, 3)]],
  ['bceWithLogits', (p, q) => bceWithLogits(p, q), [x(2, 3), x(2, 3)]],
  ['bceWithLogits: sum', (p, q) => bceWithLogits(p, q, { reduction: 'sum' }), [x(2, 3), x(2, 3)]],
  [
    'crossEntropy: weights and smoothing',
    (p, w) => crossEntropy(p, int([2, -100, 0]), { weight: w.exp(), labelSmoothing: 0.2 }),
    [x(3, 4), x(4)],
  ],
  ['nllLoss', (p) => nllLoss(p, int([2, 1, 0]), { reduction: 'sum' }), [x(3, 4)]],
  ['l1Loss', (p, q) => l1Loss(p, q), [x(2, 3), x(2, 3)]],
  ['huberLoss', (p, q) => huberLoss(p, q, { delta: 0.6, lengths: [1, 2, 0] }), [x(2, 3), x(2, 3)]],
  ['gaussianNllLoss', (p, q, v) => gaussianNllLoss(p, q, v, { full: true }), [x(2, 3), x(2, 3), positive(3)]],
  [
    'studentTNllLoss',
    (p, s, n) => studentTNllLoss(p, p.mul(0.5), s, n),
    [x(2, 3), positive(2, 1), positive(3)],
  ],
  ['poissonNllLoss', (p, q) => poissonNllLoss(p, q.add(1), { full: true }), [x(2, 3), positive(2, 3)]],
  ['quantileLoss', (p, q) => quantileLoss(p, q, [0.1, 0.5, 0.9]), [x(2, 3), x(2)]],
  ['klDiv', (p, q) => klDiv(p, q, { reduction: 'batchmean' }), [x(2, 3), positive(2, 3)]],
  [
    'bceWithLogits: weights',
    (p, q, w) => bceWithLogits(p, q, { posWeight: w, weight: w }),
    [x(2, 3), x(2, 3), positive(3)],
  ],
]
