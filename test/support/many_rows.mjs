/**
 * `node test/support/many_rows.mjs [T] [B] [CELL...]`: how far the float32 gradients of weights and biases over T x B
 * rows are from those of the float64 layer, of the largest of each tensor. Exits 1 where one is more than 1e-6 off.
 * 100,000 steps of 32 rows, the default, take a GB and some seconds per cell.
 */
import { GRU, LSTM, RNN, tensor, tidy } from 'bptt'
import { generator } from '../../dist/reference/uniform.js'

const [I, H] = [2, 4]
const CELLS = {
  lstm: (options) => new LSTM(I, H, { projSize: 3, ...options }),
  gru: (options) => new GRU(I, H, options),
  gruResetBefore: (options) => new GRU(I, H, { resetAfter: false, ...options }),
  rnnTanh: (options) => new RNN(I, H, options),
  rnnRelu: (options) => new RNN(I, H, { nonlinearity: 'relu', ...options }),
}
const MOST = 1e-6

const [steps = '100000', rows = '32', ...named] = process.argv.slice(2)
const [T, B] = [Number(steps), Number(rows)]
// Over more rows some relu's argument is so near 0 that float32 decides otherwise.
const cells = named.length > 0 ? named : Object.keys(CELLS).filter((cell) => cell !== 'rnnRelu' || T <= 2000)

const random = (size, seed) => {
  const uniform = generator(seed)
  return Float32Array.from({ length: size }, () => 2 * uniform() - 1)
}

/** Gradients by name, of a sum of the outputs with random weights. */
function gradients(cell, dtype, weights) {
  const layer = CELLS[cell]({ dtype })
  const convert = (values, shape) =>
    tensor(dtype === 'float64' ? Float64Array.from(values) : values, shape, { dtype })
  tidy(() => {
    const state = new Map()
    for (const [name, parameter] of layer.stateDict())
      state.set(name, convert(weights[name], parameter.shape))
    layer.loadStateDict(state)
    const { output } = layer.forward(convert(random(T * B * I, 1), [T, B, I]))
    const size = output.shape.at(-1)
    output.backward(convert(random(T * B * size, 2), [T, B, size]))
  })
  const found = layer.namedParameters().map(([name, { grad }]) => [name, grad.dataSync()])
  layer.dispose()
  return new Map(found)
}

for (const cell of cells) {
  const layer = CELLS[cell]({})
  const weights = Object.fromEntries(
    layer
      .namedParameters()
      .map(([name, { size }], i) => [name, random(size, 3 + i).map((x) => x / Math.sqrt(H))]),
  )
  layer.dispose()
  const actual = gradients(cell, 'float32', weights)
  let worst = 0
  let where = ''
  for (const [name, expected] of gradients(cell, 'float64', weights)) {
    const values = actual.get(name)
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
    const error = expected.reduce((most, x, i) => Math.max(most, Math.abs(values[i] - x)), 0) / largest
    if (!(error <= worst)) [worst, where] = [error, name]
  }
  console.log(`${cell} T=${T} B=${B} I=${I} H=${H}: ${worst.toExponential(1)} (${where})`)
  if (!(worst <= MOST)) process.exitCode = 1
}
