// A user's program, for the declarations to be compiled with: by test/types.test.ts, and by release/types.mjs with
// other compilers. Nobody runs it.
import {
  Adam,
  BatchNorm1d,
  BpttError,
  type Buffer,
  Conv1d,
  clipGradNorm,
  crossEntropy,
  type DataOf,
  Embedding,
  type ErrorCode,
  type GRU,
  Linear,
  LSTM,
  loadSafetensors,
  Module,
  type Parameter,
  ReLU,
  type RNN,
  Sequential,
  StepLR,
  saveSafetensors,
  type Tensor,
  tensor,
  tidy,
} from 'bptt'

class Model extends Module<Tensor, Tensor> {
  readonly embedding = new Embedding(10, 8)
  readonly lstm = new LSTM(8, 16, { numLayers: 2, bidirectional: true })
  readonly head = new Sequential(new Linear(32, 16), new Linear(16, 10))

  override forward(x: Tensor): Tensor {
    const { output, hn, cn } = this.lstm.forward(this.embedding.forward(x), { lengths: [3, 1] })
    const shapes: readonly number[][] = [[...hn.shape], [...cn.shape]]
    return this.head.forward(output.reshape([-1, shapes.length * 16]))
  }
}

export async function train(): Promise<number> {
  const model = new Model()
  const optimizer = new Adam(model.parameters(), { lr: 1e-3 })
  const schedule = new StepLR(optimizer, { stepSize: 2 })
  const x = tensor(
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    [3, 2],
    { dtype: 'int32' },
  )
  const loss = tidy(() => {
    const loss = crossEntropy(model.forward(x), x.reshape([6]))
    loss.backward()
    clipGradNorm(model.parameters(), 1)
    optimizer.step()
    return loss
  })
  schedule.step()
  await saveSafetensors('model.safetensors', model.stateDict(), { epoch: '1' })
  model.loadStateDict((await loadSafetensors('model.safetensors')).tensors)
  return loss.item()
}

// Parameters by name, under noUncheckedIndexedAccess and noPropertyAccessFromIndexSignature.
export function weights(gru: GRU, rnn: RNN<'float64'>, lstm: LSTM): number {
  const first: Parameter<'float32'> = gru.weight_ih_l0
  const exact: Float64Array = rnn.weight_hh_l0.dataSync()
  const bias: Tensor<'float32'> | null = lstm.bias_ih_l0.grad
  const deeper: Parameter = lstm.getParameter('weight_hh_l1_reverse')
  return first.size + exact.length + (bias?.size ?? 0) + deeper.size
}

// State that is saved and not trained.
export function frontEnd(x: Tensor): [Tensor, Int32Array | undefined] {
  const norm = new BatchNorm1d(16, { momentum: null })
  const model = new Sequential(new Conv1d(8, 16, 3, { padding: 'same' }), norm, new ReLU())
  const mean: Buffer<'float32'> | null = norm.running_mean
  const names: [string, Buffer][] = model.namedBuffers()
  const state: Map<string, Parameter | Buffer> = model.stateDict()
  // @ts-expect-error: no such padding
  new Conv1d(8, 16, 3, { padding: 'full' })
  return [
    model.forward(x).add(names.length + state.size + (mean?.size ?? 0)),
    norm.num_batches_tracked?.dataSync(),
  ]
}

// Methods of tensors, which a file of its own attaches.
export function energy(x: Tensor<'float64'>, layer: Parameter<'float64'>): Promise<number> {
  const y: Tensor<'float64'> = x.matmul(layer.transpose()).add(1).tanh().slice(0, 2).reshape([-1])
  const total = y.mul(y).mean(null, { keepDims: false })
  total.backward(null, { retainGraph: true })
  // @ts-expect-error: of another dtype
  y.add(tensor([1]))
  return total.item()
}

// Options that may be undefined, under exactOptionalPropertyTypes.
export function carry(lstm: LSTM, x: Tensor, state: { hn: Tensor; cn: Tensor } | undefined): Tensor {
  return state === undefined ? lstm.forward(x).output : lstm.forward(x, { h0: state.hn, c0: state.cn }).output
}

export function stream(lstm: LSTM): DataOf<'float32'> {
  const steps = lstm.stream({ batch: 1 })
  const out: Float32Array = steps.step(new Float32Array(8))
  steps.setState(steps.getState())
  steps.dispose()
  return out
}

export function codeOf(error: unknown): ErrorCode | undefined {
  return error instanceof BpttError ? error.code : undefined
}
