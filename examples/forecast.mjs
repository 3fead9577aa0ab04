// Forecasting: a GRU learns a noisy wave and predicts the next day. cd examples && npm install && node forecast.mjs
import { Adam, clipGradNorm, GRU, Linear, manualSeed, mseLoss, tensor, tidy } from 'bptt'

const [HOURS, WINDOW, HORIZON] = [24 * 60, 72, 24]
// Noise that is the same in every run.
let seed = 1
const noise = () => {
  seed = (seed * 48271) % 2147483647
  return seed / 2147483647 - 0.5
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

// Windows side by side: x[t,b] is hour t of window b, which starts at hour 12 b; y is the hour after it.
const windows = 96
const shifted = (by) =>
  Float32Array.from(
    { length: WINDOW * windows },
    (_, i) => series[Math.floor(i / windows) + 12 * (i % windows) + by],
  )
const x = tensor(shifted(0), [WINDOW, windows, 1])
const y = tensor(shifted(1), [WINDOW, windows, 1])

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
const [weight, bias] = [await head.weight.data(), await head.bias.data()]
const stream = gru.stream()
const predict = (value) =>
  stream.step(Float32Array.of(value)).reduce((sum, h, k) => sum + h * weight[k], bias[0])
const now = HOURS - HORIZON
let next = 0
for (let t = now - WINDOW; t < now; t++) next = predict(series[t])
let [error, naive] = [0, 0]
for (let t = now; t < HOURS; t++, next = predict(next)) {
  error += (next - series[t]) ** 2 / HORIZON
  naive += (series[now - 1] - series[t]) ** 2 / HORIZON
}
console.log(
  `next ${HORIZON} hours: error ${error.toFixed(4)}, of the last value repeated ${naive.toFixed(4)}`,
)
