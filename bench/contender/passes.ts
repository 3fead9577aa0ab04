/** The passes as a user of bptt writes them. */
import { setImmediate } from 'node:timers/promises'
import {
  Adam,
  concat,
  crossEntropy,
  type Device,
  DotAttention,
  Embedding,
  GRU,
  GRUCell,
  Linear,
  LSTM,
  LSTMCell,
  type Module,
  noGrad,
  RNN,
  RNNCell,
  stack,
  synchronize,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from 'bptt'
import { directions, outputSize } from '#internals'
import { stepsOf } from '../cases.ts'
import type { Named, Numbers } from '../measure/data.ts'
import type { PreparedCase } from '../measure/protocol.ts'

type Layer = LSTM<'float32' | 'float64'> | GRU<'float32' | 'float64'> | RNN<'float32' | 'float64'>

/** A case and the numbers to compute it with. */
export interface Given {
  one: PreparedCase
  device: Device
  read(name: string): Named
}

export interface Prepared {
  /** The timed call, so many times; resolves when the last is done. */
  run(iterations: number): Promise<void>
  /** The pass once, for the check: its results by the protocol's names. */
  check(): Promise<Map<string, Named>>
  dispose(): void
}

export function preparePass(given: Given): Prepared {
  const { pass } = given.one
  if (pass === 'step') return stepPass(given)
  if (pass === 'demo') return demoPass(given)
  if (pass === 'decoder') return decoderPass(given)
  return pass === 'forward' ? forwardPass(given) : trainPass(given)
}

export function load({ read, device }: Given, name: string, requiresGrad = false): Tensor {
  const { shape, values } = read(name)
  const dtype =
    values instanceof Int32Array ? 'int32' : values instanceof Float64Array ? 'float64' : 'float32'
  return tensor(values, shape, { dtype, device, requiresGrad }) as Tensor
}

function loadParameters(given: Given, module: Module<never, unknown>, prefix = ''): void {
  tidy(() => {
    module.loadStateDict(
      new Map([...module.stateDict().keys()].map((name) => [name, load(given, prefix + name)])),
    )
  })
}

export function makeLayer(given: Given, prefix = ''): Layer {
  const { cell, I, H, layers, bidirectional, projSize, dtype } = given.one
  const options = { numLayers: layers, bidirectional, dtype, device: given.device }
  const layer: Layer =
    cell === 'lstm'
      ? new LSTM(I, H, { ...options, projSize })
      : cell === 'gru'
        ? new GRU(I, H, options)
        : new RNN(I, H, options)
  loadParameters(given, layer as Module<never, unknown>, prefix)
  return layer
}

const BUSY_MS = 0.2

/** Waits for the work enqueued so far; where the case is busy, computing all the while. */
async function finished({ one, device }: Given): Promise<void> {
  let pending: boolean = one.busy === true
  const done = synchronize(device).finally(() => {
    pending = false
  })
  while (pending) {
    for (const end = performance.now() + BUSY_MS; performance.now() < end; );
    await setImmediate()
  }
  return done
}

/** Results as the protocol wants them. Reading waits for the work. */
async function collect(tensors: Map<string, Tensor>): Promise<Map<string, Named>> {
  const results = new Map<string, Named>()
  for (const [name, value] of tensors) {
    results.set(name, { shape: [...value.shape], values: (await value.data()) as Numbers })
    value.dispose()
  }
  return results
}

function forwardPass(given: Given): Prepared {
  const layer = makeLayer(given)
  const x = load(given, 'x')
  const { rows } = given.one
  const forward = (): Tensor =>
    tidy(() => noGrad(() => layer.forward(x, rows ? { lengths: rows } : {}).output as Tensor))
  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) {
        forward().dispose()
        await finished(given)
      }
    },
    check: () => collect(new Map([['output', forward()]])),
    dispose() {
      layer.dispose()
      x.dispose()
    },
  }
}

function trainPass(given: Given): Prepared {
  const layer = makeLayer(given)
  const x = load(given, 'x', true)
  const { rows } = given.one
  const forward = (): Tensor => layer.forward(x, rows ? { lengths: rows } : {}).output as Tensor
  return training(given, layer, { x }, (name) => name, forward)
}

/** Forward, sum and backward, for the gradients of a module's parameters and of the leaves, which it disposes of. */
function training(
  given: Given,
  module: Module,
  leaves: Record<string, Tensor>,
  nameOf: (parameter: string) => string,
  forward: () => Tensor,
): Prepared {
  const dropGradients = (): void => {
    module.zeroGrad()
    for (const leaf of Object.values(leaves)) {
      leaf.grad?.dispose()
      leaf.grad = null
    }
  }
  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) {
        tidy(() => forward().sum().backward())
        await finished(given)
        dropGradients()
      }
    },
    async check() {
      const output = tidy(() => {
        const output = forward()
        output.backward(load(given, 'dy'))
        return output
      })
      const results = new Map<string, Tensor>([['output', output]])
      for (const [name, leaf] of Object.entries(leaves)) results.set(`d${name}`, leaf.grad as Tensor)
      for (const [name, parameter] of module.namedParameters())
        results.set(`d.${nameOf(name)}`, parameter.grad as Tensor)
      const collected = await collect(results)
      dropGradients()
      return collected
    },
    dispose() {
      for (const one of [module, ...Object.values(leaves)]) one.dispose()
    },
  }
}

/** A loop of a decoder with attention in training: what it looked at, by its state before, is part of its input. */
function decoderPass(given: Given): Prepared {
  const { cell: name, B, T, I, H, dtype } = given.one
  const options = { dtype, device: given.device }
  const cell = new { lstm: LSTMCell, gru: GRUCell, rnn: RNNCell }[name](I + H, H, options)
  tidy(() => {
    const weights = [...cell.stateDict().keys()].map((key) => [key, load(given, `${key}_l0`)] as const)
    cell.loadStateDict(new Map(weights))
  })
  const attention = new DotAttention<'float32' | 'float64'>(options)
  const x = load(given, 'x', true)
  const memory = load(given, 'memory', true)
  const forward = (): Tensor => {
    const keys = memory.transpose(0, 1) // [B,T,H]
    let state: { h: Tensor<'float32' | 'float64'> } = { h: zeros([B, H], options) }
    const outputs = x.chunk(T, 0).map((input) => {
      const context = attention.forward(state.h, keys).output
      state = cell.forward(concat([input.squeeze(0), context], 1), state)
      return state.h
    })
    return stack(outputs)
  }
  return training(given, cell, { x, memory }, (name) => `${name}_l0`, forward)
}

/** Steps of a stream, one or several in a call, over the T inputs again and again. */
function stepPass(given: Given): Prepared {
  const { B, T, I, dtype } = given.one
  const layer = makeLayer(given)
  const stream = layer.stream({ batch: B })
  const { values } = given.read('x')
  const Kind = dtype === 'float32' ? Float32Array : Float64Array
  const steps = stepsOf(given.one)
  const size = steps * B * I
  const inputs = Array.from(
    { length: T / steps },
    (_, at) => values.slice(at * size, (at + 1) * size) as Float32Array,
  )
  const width = directions(given.one) * outputSize(given.one)
  const out = new Kind(steps * B * width) as Float32Array
  const step = (given.one.steps === undefined ? stream.step : stream.stepMany).bind(stream) as (
    x: Float32Array,
    out: Float32Array,
  ) => Float32Array
  let next = 0
  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) {
        step(inputs[next] as Float32Array, out)
        next = next + 1 === inputs.length ? 0 : next + 1
      }
    },
    async check() {
      stream.reset()
      const output = new Kind(T * B * width)
      inputs.forEach((x, at) => {
        output.set(step(x, out), at * out.length)
      })
      return new Map([['output', { shape: [T, B, width], values: output }]])
    },
    dispose() {
      stream.dispose()
      layer.dispose()
    },
  }
}

/** A training step of the demo's model: embedding, LSTM, linear, cross-entropy, Adam. */
function demoPass(given: Given): Prepared {
  const { B, T, I, H, V = 0, dtype } = given.one
  const options = { dtype, device: given.device }
  const embedding = new Embedding(V, I, options)
  const lstm = makeLayer(given, 'lstm.')
  const linear = new Linear(H, V, options)
  loadParameters(given, embedding as Module<never, unknown>, 'embedding.')
  loadParameters(given, linear as Module<never, unknown>, 'linear.')
  const modules = [embedding, lstm, linear]
  const optimizer = new Adam(
    modules.flatMap((module) => module.parameters()),
    { lr: 0.002 },
  )
  const [ids, targets] = [load(given, 'ids'), load(given, 'targets')] as [Tensor<'int32'>, Tensor<'int32'>]
  const flat = targets.reshape([T * B])
  const step = (): Tensor =>
    tidy(() => {
      const { output } = lstm.forward(embedding.forward(ids) as Tensor<'float32'>)
      const logits = linear.forward(output as Tensor<'float32'>).reshape([T * B, V])
      const loss = crossEntropy(logits, flat)
      optimizer.zeroGrad()
      loss.backward()
      optimizer.step()
      return loss as Tensor
    })
  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) {
        step().dispose()
        await finished(given)
      }
    },
    async check() {
      const losses = dtype === 'float32' ? new Float32Array(3) : new Float64Array(3)
      for (let i = 0; i < losses.length; i++) {
        const loss = step()
        losses[i] = (await loss.item()) as number
        loss.dispose()
      }
      return new Map([['losses', { shape: [losses.length], values: losses }]])
    },
    dispose() {
      for (const module of modules) module.dispose()
      for (const value of [ids, targets, flat]) value.dispose()
    },
  }
}
