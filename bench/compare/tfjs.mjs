/** TensorFlow.js as a contender of `bptt bench`: forward, train and step. README.md has the protocol. */
import tfjs from '@tensorflow/tfjs'
import '@tensorflow/tfjs-backend-wasm'
import { serve, Unsupported } from './protocol.mjs'

let library // { tf, version, threads }

await serve('tfjs', async ({ case: given, threads, tensor }) => {
  const reason = missing(given)
  if (reason) throw new Unsupported(reason)
  library ??= await load(threads)
  const { tf } = library
  tf.disposeVariables()
  const layers = makeLayers(tf, given, tensor)
  const pass = { forward, train, step }[given.pass]
  return { version: library.version, threads: library.threads, ...pass(tf, layers, given, tensor) }
})

function missing({ pass, cell, T, steps, projSize, lengths, bidirectional, dtype }) {
  if (!['forward', 'train', 'step'].includes(pass)) return `no pass ${pass} is written for tfjs`
  if (cell === 'gru') return "tfjs's GRU applies the reset gate before the product: another function"
  if (projSize) return "tfjs's LSTM has no projection"
  if (lengths !== 'full') return 'tfjs takes a mask, no lengths'
  if (dtype !== 'float32') return 'tfjs computes in float32'
  if (pass === 'train' && T === 1) return 'tfjs fails on the gradient of a single time step'
  if (steps) return 'several steps in one call are not written for tfjs'
  if (pass === 'step' && bidirectional) return 'a step goes forward in time'
}

/** tfjs-node where it could be installed, else WebAssembly, which has one thread in Node.js. */
async function load(threads) {
  try {
    process.env.TF_NUM_INTRAOP_THREADS = String(threads) // libtensorflow reads it once, as it starts
    const { default: tf } = await import('@tensorflow/tfjs-node')
    return { tf, threads, version: `${tf.version_core} (node)` }
  } catch (error) {
    console.error(`tfjs runs on WebAssembly: ${error.message}`)
    await tfjs.setBackend('wasm')
    return { tf: tfjs, threads: 1, version: `${tfjs.version_core} (wasm)` }
  }
}

/** A stack of {layer, cells, names}: of each direction the layer itself, and PyTorch's suffix of its parameters. */
function makeLayers(tf, { cell, layers, bidirectional, I, H }, tensor) {
  return Array.from({ length: layers }, (_, l) => {
    const one = (cell === 'lstm' ? tf.layers.lstm : tf.layers.simpleRNN)({
      units: H,
      returnSequences: true,
      recurrentActivation: 'sigmoid',
      kernelInitializer: 'zeros',
      recurrentInitializer: 'zeros',
    })
    const layer = bidirectional ? tf.layers.bidirectional({ layer: one, mergeMode: 'concat' }) : one
    const inputs = l === 0 ? I : bidirectional ? 2 * H : H
    tf.tidy(() => void layer.apply(tf.zeros([1, 1, inputs]))) // the first call makes the weights
    const directions = bidirectional
      ? [
          { layer: layer.forwardLayer, suffix: `l${l}` },
          { layer: layer.backwardLayer, suffix: `l${l}_reverse` },
        ]
      : [{ layer, suffix: `l${l}` }]
    for (const { layer, suffix } of directions) {
      tf.tidy(() => {
        const read = (name) => toTensor(tf, tensor(`${name}_${suffix}`))
        const bias = read('bias_ih').add(read('bias_hh'))
        layer.setWeights([read('weight_ih').transpose(), read('weight_hh').transpose(), bias])
      })
    }
    return { layer, directions }
  })
}

function toTensor(tf, { shape, data }) {
  return tf.tensor(data, shape)
}

/** Between [T,B,..] of the files and [B,T,..] of tfjs. */
function swapTime(tensor) {
  return tensor.transpose([1, 0, 2])
}

/** What is written to the file. */
function result(tensor) {
  return { shape: tensor.shape, data: tensor.dataSync() }
}

function call(layers, x) {
  return layers.reduce((y, { layer }) => layer.apply(y), x)
}

function forward(tf, layers, _, tensor) {
  const x = tf.variable(tf.tidy(() => swapTime(toTensor(tf, tensor('x')))))
  return {
    run(iterations) {
      for (let i = 0; i < iterations; i++) tf.tidy(() => void call(layers, x))
    },
    check: () => tf.tidy(() => ({ output: result(swapTime(call(layers, x))) })),
  }
}

function train(tf, layers, _, tensor) {
  const x = tf.variable(
    tf.tidy(() => swapTime(toTensor(tf, tensor('x')))),
    true,
    'x',
  )
  return {
    run(iterations) {
      for (let i = 0; i < iterations; i++) tf.tidy(() => void tf.variableGrads(() => call(layers, x).sum()))
    },
    check: () =>
      tf.tidy(() => {
        const dy = swapTime(toTensor(tf, tensor('dy')))
        const { grads } = tf.variableGrads(() => call(layers, x).mul(dy).sum())
        const results = { output: result(swapTime(call(layers, x))), dx: result(swapTime(grads[x.name])) }
        for (const { layer, suffix } of layers.flatMap(({ directions }) => directions)) {
          const [kernel, recurrent, bias] = layer.weights.map(({ name }) => grads[name])
          results[`d.weight_ih_${suffix}`] = result(kernel.transpose())
          results[`d.weight_hh_${suffix}`] = result(recurrent.transpose())
          // One bias is the sum of PyTorch's two: each has its gradient.
          results[`d.bias_ih_${suffix}`] = results[`d.bias_hh_${suffix}`] = result(bias)
        }
        return results
      }),
  }
}

/** The cells of the layers, one call each; the states of one step are the tensors that the next is given. */
function step(tf, layers, { cell, B, T, H }, tensor) {
  const inputs = tf.tidy(() => toTensor(tf, tensor('x')).unstack())
  const zeros = () =>
    layers.map(() => Array.from({ length: cell === 'lstm' ? 2 : 1 }, () => tf.zeros([B, H])))
  const after = (x, states) =>
    tf.tidy(() => {
      const next = layers.map(({ layer }, l) => {
        const [y, ...own] = layer.cell.call([x, ...states[l]], {})
        x = y
        return own
      })
      tf.dispose(states)
      return next
    })
  let carried = zeros()
  let t = 0
  return {
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        carried = after(inputs[t], carried)
        t = (t + 1) % T
      }
    },
    check: () =>
      tf.tidy(() => {
        let states = zeros()
        const outputs = inputs.map((x) => {
          states = after(x, states)
          return states.at(-1)[0].clone()
        })
        return { output: result(tf.stack(outputs)) }
      }),
  }
}
