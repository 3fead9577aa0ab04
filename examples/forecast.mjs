// Forecasting: a GRU learns a noisy wave with two periods and predicts the next day, hour by hour.
//   cd examples && npm install && node forecast.mjs
import { Adam, clipGradNorm, GRU, Linear, manualSeed, mseLoss, tensor, tidy } from 'bptt'

const HOURS = 24 * 60
const WINDOW = 72
const HORIZON = 24

// Deterministic noise, so that every run prints the same.
let state = 1
const noise = () => {
  state = (state * 48271) % 2147483647
  return state / 2147483647 - 0.5
}
const series = Float32Array.from(
  { length: HOURS },
  (_, t) => Math.sin((2 * Math.PI * t) / 24) + 0.5 * Math.sin((2 * Math.PI * t) / 168) + 0.2 * noise(),
)

manualSeed(1)
const gru = new GRU(1, 32)
const head = new Linear(32, 1)
const parameters = [...gru.parameters(), ...head.parameters()]
const optimizer = new Adam(parameters, { lr: 0.01 })

// Windows of the first days, side by side: x[t,b] is hour t of window b, y the hour after it.
const starts = Array.from({ length: 96 }, (_, b) => b * 12)
const window = (offset) =>
  Float32Array.from({ length: WINDOW * starts.length }, (_, i) => {
    const [t, b] = [Math.floor(i / starts.length), i % starts.length]
    return series[starts[b] + t + offset]
  })
const x = tensor(window(0), [WINDOW, starts.length, 1])
const y = tensor(window(1), [WINDOW, starts.length, 1])

for (let step = 1; step <= 150; step++) {
  const loss = tidy(() => {
    const loss = mseLoss(head.forward(gru.forward(x).output), y)
    optimizer.zeroGrad()
    loss.backward()
    clipGradNorm(parameters, 1)
    optimizer.step()
    return loss
  })
  if (step % 50 === 0) console.log(`step ${step}: mean squared error ${(await loss.item()).toFixed(4)}`)
  loss.dispose()
}

// Read three days that were never trained on, then let the model feed on its own predictions.
const begin = HOURS - WINDOW - HORIZON
const stream = gru.stream()
const [weight, bias] = [await head.weight.data(), await head.bias.data()]
const predict = (value) =>
  stream.step(Float32Array.of(value)).reduce((sum, h, k) => sum + h * weight[k], bias[0])
let next = 0
for (let t = 0; t < WINDOW; t++) next = predict(series[begin + t])
let [error, naive] = [0, 0]
for (let t = 0; t < HORIZON; t++) {
  const actual = series[begin + WINDOW + t]
  error += (next - actual) ** 2 / HORIZON
  naive += (series[begin + WINDOW - 1] - actual) ** 2 / HORIZON
  next = predict(next)
}
console.log(
  `next ${HORIZON} hours: error ${error.toFixed(4)}, of the last value repeated ${naive.toFixed(4)}`,
)
