/** ONNX Runtime as a contender of `bptt bench`: forward and step. README.md has the protocol. */
import onnx from 'onnx-proto'
import ort from 'onnxruntime-node'
import { serve, Unsupported } from './protocol.mjs'

const { AttributeProto, ModelProto, TensorProto } = onnx.onnx

/** Where in PyTorch's order ONNX's gates are: of i,f,g,o the order i,o,f,g; of r,z,n the order z,r,n. */
const CELLS = {
  lstm: { op: 'LSTM', gates: [0, 3, 1, 2], states: ['h', 'c'], attributes: [] },
  gru: { op: 'GRU', gates: [1, 0, 2], states: ['h'], attributes: [integer('linear_before_reset', 1)] },
  rnn: { op: 'RNN', gates: [0], states: ['h'], attributes: [] },
}
const { FLOAT, INT32, INT64 } = TensorProto.DataType
const OPSET = 14

await serve('onnxruntime', async ({ case: given, threads, tensor }) => {
  const reason = missing(given)
  if (reason) throw new Unsupported(reason)
  const session = await ort.InferenceSession.create(buildModel(given, tensor), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
  })
  const version = ort.env.versions.node ?? ort.env.versions.common
  const runs = given.pass === 'step' ? steps(session, given, tensor) : forward(session, given, tensor)
  return { version, threads, ...runs }
})

function missing({ pass, projSize, bidirectional, lengths, dtype }) {
  if (pass !== 'forward' && pass !== 'step') return 'onnxruntime-node has no training'
  if (dtype !== 'float32') return "onnxruntime's recurrent operators compute in float32"
  if (projSize) return "ONNX's LSTM has no projection"
  if (pass === 'step' && (bidirectional || lengths !== 'full'))
    return 'a step goes forward in time, in all rows at once'
}

function forward(session, given, tensor) {
  const { T, B, lengths, rows } = given
  const { shape, data } = tensor('x')
  const feeds = { x: new ort.Tensor('float32', data, shape) }
  if (lengths !== 'full') feeds.lengths = new ort.Tensor('int32', Int32Array.from(rows), [B])
  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) await session.run(feeds)
    },
    async check() {
      const { y } = await session.run(feeds)
      return { output: { shape: outputShape(given, T), data: y.data } }
    },
  }
}

/** A session run per step, or per block of steps. It reads its states from one set of tensors and writes them to the other. */
function steps(session, given, tensor) {
  const { B, T, I, H, layers, steps: block = 1 } = given
  const { data } = tensor('x')
  const zeros = (n) => new ort.Tensor('float32', new Float32Array(n * B * H), [n, B, H])
  const size = block * B * I
  const inputs = Array.from(
    { length: T / block },
    (_, at) => new ort.Tensor('float32', data.slice(at * size, (at + 1) * size), [block, B, I]),
  )
  const pairs = stateNames(given, layers).map((name) => ({ name, states: [zeros(1), zeros(1)] }))
  const y = zeros(block)
  const turns = [0, 1].map((turn) => ({
    feeds: Object.fromEntries(pairs.map(({ name, states }) => [`${name}_0`, states[turn]])),
    fetches: { y, ...Object.fromEntries(pairs.map(({ name, states }) => [`${name}_n`, states[1 - turn]])) },
  }))
  let done = 0
  const step = () => {
    const { feeds, fetches } = turns[done % 2]
    feeds.x = inputs[done++ % inputs.length]
    return session.run(feeds, fetches)
  }
  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) await step()
    },
    async check() {
      const output = new Float32Array(T * B * H)
      for (let at = 0; at < inputs.length; at++) {
        await step()
        output.set(y.data, at * block * B * H)
      }
      return { output: { shape: outputShape(given, T), data: output } }
    },
  }
}

function outputShape({ B, H, bidirectional }, T) {
  return [T, B, bidirectional ? 2 * H : H]
}

function stateNames({ cell }, layers) {
  return Array.from({ length: layers }, (_, l) => CELLS[cell].states.map((name) => `${name}${l}`)).flat()
}

/** x [T,B,I] -> y [T,B,Dir*H], as the bytes of an ONNX file: one recurrent node per layer. */
function buildModel(given, tensor) {
  const { pass, cell, B, T, I, H, layers, bidirectional, lengths } = given
  const { op, states, attributes } = CELLS[cell]
  const step = pass === 'step'
  const directions = bidirectional ? 2 : 1
  const node = []
  const initializer = [constant('joined', [3], BigInt64Array.of(0n, 0n, -1n), INT64)]
  let x = 'x'
  for (let l = 0; l < layers; l++) {
    const parameters = layerParameters(given, l, tensor)
    for (const [name, { shape, data }] of Object.entries(parameters))
      initializer.push(constant(`${name}${l}`, shape, data, FLOAT))
    const own = states.map((name) => `${name}${l}`)
    const input = [x, `W${l}`, `R${l}`, `B${l}`, lengths === 'full' ? '' : 'lengths']
    const output = [`Y${l}`]
    if (step) input.push(...own.map((name) => `${name}_0`))
    if (step) output.push(...own.map((name) => `${name}_n`))
    const direction = { name: 'direction', type: AttributeProto.AttributeType.STRING }
    direction.s = Buffer.from(bidirectional ? 'bidirectional' : 'forward')
    node.push({ opType: op, input, output, attribute: [integer('hidden_size', H), direction, ...attributes] })
    // Y is [T,Dir,B,H].
    const perm = { name: 'perm', type: AttributeProto.AttributeType.INTS, ints: [0, 2, 1, 3] }
    node.push({ opType: 'Transpose', input: [`Y${l}`], output: [`rows${l}`], attribute: [perm] })
    x = l === layers - 1 ? 'y' : `x${l + 1}`
    node.push({ opType: 'Reshape', input: [`rows${l}`, 'joined'], output: [x] })
  }
  const steps = step ? (given.steps ?? 1) : T
  const names = step ? stateNames(given, layers) : []
  const graph = {
    name: 'recurrent',
    node,
    initializer,
    input: [
      describe('x', [steps, B, I], FLOAT),
      ...names.map((name) => describe(`${name}_0`, [1, B, H], FLOAT)),
    ],
    output: [
      describe('y', [steps, B, directions * H], FLOAT),
      ...names.map((name) => describe(`${name}_n`, [1, B, H], FLOAT)),
    ],
  }
  if (lengths !== 'full') graph.input.push(describe('lengths', [B], INT32))
  const model = { irVersion: 8, opsetImport: [{ domain: '', version: OPSET }], graph }
  return ModelProto.encode(ModelProto.fromObject(model)).finish()
}

/** W [Dir,G*H,Iin], R [Dir,G*H,H], B [Dir,2*G*H] with ONNX's order of gates. */
function layerParameters({ cell, H, bidirectional }, layer, tensor) {
  const { gates } = CELLS[cell]
  const suffixes = bidirectional ? ['', '_reverse'] : ['']
  const read = (name) => suffixes.map((suffix) => reorder(tensor(`${name}_l${layer}${suffix}`), gates, H))
  const [ih, hh, biasIh, biasHh] = ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'].map(read)
  const join = (arrays) => {
    const joined = new Float32Array(arrays.reduce((length, array) => length + array.length, 0))
    let end = 0
    for (const array of arrays) {
      joined.set(array, end)
      end += array.length
    }
    return joined
  }
  const directions = suffixes.length
  const rows = gates.length * H
  const W = join(ih)
  return {
    W: { shape: [directions, rows, W.length / directions / rows], data: W },
    R: { shape: [directions, rows, H], data: join(hh) },
    B: { shape: [directions, 2 * rows], data: join(biasIh.flatMap((bias, d) => [bias, biasHh[d]])) },
  }
}

function reorder({ data }, gates, H) {
  const block = data.length / gates.length
  if (!Number.isInteger(block / H))
    throw new Error(`${data.length} elements are not ${gates.length} gates of ${H}`)
  const result = new data.constructor(data.length)
  gates.forEach((gate, i) => {
    result.set(data.subarray(gate * block, (gate + 1) * block), i * block)
  })
  return result
}

function constant(name, dims, data, dataType) {
  return { name, dims, dataType, rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}

function describe(name, shape, elemType) {
  return { name, type: { tensorType: { elemType, shape: { dim: shape.map((dimValue) => ({ dimValue })) } } } }
}

function integer(name, i) {
  return { name, type: AttributeProto.AttributeType.INT, i }
}
