// Prints, as JSON, a hash of the bits of many results on the kernel table that BPTT_ISA forces. A program of its
// own, because a process keeps the table it started with.
import { createHash } from 'node:crypto'
import {
  Adam,
  batchNorm,
  bceWithLogits,
  Conv1d,
  clipGradNorm,
  conv1d,
  crossEntropy,
  GRU,
  info,
  LayerNorm,
  LSTM,
  manualSeed,
  RNN,
  rand,
  randn,
  tensor,
} from 'bptt'

const hashes = {}
const hash = (values) => createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex').slice(0, 16)
const record = async (name, tensors) => {
  for (const [part, value] of Object.entries(tensors)) hashes[`${name} ${part}`] = hash(await value.data())
}

const CELLS = {
  rnnTanh: (I, H, options) => new RNN(I, H, options),
  rnnRelu: (I, H, options) => new RNN(I, H, { ...options, nonlinearity: 'relu' }),
  lstm: (I, H, options) => new LSTM(I, H, options),
  lstmProjected: (I, H, options) => new LSTM(I, H, { ...options, projSize: Math.ceil(H / 2) }),
  gru: (I, H, options) => new GRU(I, H, options),
  gruResetBefore: (I, H, options) => new GRU(I, H, { ...options, resetAfter: false }),
  lstmPeephole: (I, H, options) => new LSTM(I, H, { ...options, peephole: true }),
}

manualSeed(1234)
for (const [cell, make] of Object.entries(CELLS))
  for (const [T, B, I, H] of [
    [1, 1, 1, 3],
    [5, 3, 7, 9],
    [4, 9, 8, 17],
    [3, 17, 129, 64],
    [2, 5, 3, 129],
    [33, 2, 17, 8],
  ])
    for (const options of [{}, { numLayers: 2, bidirectional: true, dropout: 0.3 }]) {
      const layer = make(I, H, options)
      const input = randn([T, B, I], { requiresGrad: true })
      const lengths = Array.from({ length: B }, (_, b) => (b * 7 + T) % (T + 1))
      const { output, hn, cn } = layer.forward(input, options.numLayers ? { lengths } : {})
      output
        .mul(randn(output.shape))
        .sum()
        .add(hn.mul(randn(hn.shape)).sum())
        .backward()
      const gradients = layer.namedParameters().map(([name, parameter]) => [name, parameter.grad])
      const name = `${cell} T${T} B${B} I${I} H${H} ${options.numLayers ? 'stack' : 'single'}`
      await record(name, {
        output,
        hn,
        ...(cn && { cn }),
        input: input.grad,
        ...Object.fromEntries(gradients),
      })
    }

for (const size of [1, 9, 129]) {
  const leaf = () => rand([7, size], { requiresGrad: true })
  const [a, b] = [leaf(), leaf()]
  const values = {
    exp: a.exp(),
    log: a.log(),
    tanh: a.tanh(),
    sigmoid: a.sigmoid(),
    relu: a.relu(),
    div: a.div(b),
    sum: a.sum(),
    mean: a.mean(0),
    softmax: a.softmax(-1),
    logSoftmax: a.logSoftmax(-1),
    matmul: a.matmul(b.transpose(0, 1)),
    layerNorm: new LayerNorm(size).forward(a),
    batchNorm: batchNorm(a, null, null, { training: true }),
    conv1d: conv1d(a, new Conv1d(7, 5, 3).weight.detach(), null, { padding: 2, stride: 2 }),
    bce: bceWithLogits(a, b.detach()),
    crossEntropy: crossEntropy(a, tensor([0, 0, 0, 0, 0, 0, size - 1], [7], { dtype: 'int32' })),
  }
  await record(`ops ${size}`, values)
  for (const value of Object.values(values)) value.sum().backward()
  await record(`gradients ${size}`, { a: a.grad, b: b.grad })
  const norm = clipGradNorm([a, b], 0.5)
  const adam = new Adam([a, b], { lr: 0.1 })
  for (let step = 0; step < 3; step++) adam.step()
  await record(`adam ${size}`, { norm, a, b })
}

console.log(JSON.stringify({ isa: info().isa, hashes }))
