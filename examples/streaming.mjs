// Streaming: inputs come one at a time, the layer carries the state; the result has the bits of the whole sequence.
//   cd examples && npm install && node streaming.mjs
import { LSTM, manualSeed, noGrad, randn, tidy } from 'bptt'

const [T, I, H] = [2000, 32, 128]
manualSeed(1)
const lstm = new LSTM(I, H)
const input = randn([T, 1, I])

// All at once, as in training.
const output = tidy(() => noGrad(() => lstm.forward(input).output))
const whole = await output.data()

// One step per event. step() writes into `y` and allocates nothing.
const values = await input.data()
const stream = lstm.stream()
const y = new Float32Array(H)
let same = true
const started = performance.now()
for (let t = 0; t < T; t++) {
  stream.step(values.subarray(t * I, (t + 1) * I), y)
  same &&= y.every((value, k) => Object.is(value, whole[t * H + k]))
}
const micros = ((performance.now() - started) / T) * 1000
console.log(
  `${T} steps, ${micros.toFixed(1)} us each with the check; same bits as the whole sequence: ${same}`,
)

// The state can be taken out and put back: to serve many users by one stream, or to go on after a restart.
const saved = stream.getState()
const first = stream.step(values.subarray(0, I))
stream.setState(saved)
const again = stream.step(values.subarray(0, I))
console.log(`the same after setState: ${first.every((value, k) => value === again[k])}`)
stream.dispose()
