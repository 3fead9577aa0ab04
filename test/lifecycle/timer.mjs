// Keeps a timer of 1 ms going while it trains for over a second.
import { tidy } from 'bptt'
import { makeModel } from './model.mjs'

const model = makeModel({ input: 64, hidden: 128, steps: 50, batch: 32 })
let ticks = 0
let last = performance.now()
let worst = 0
const timer = setInterval(() => {
  const now = performance.now()
  worst = Math.max(worst, now - last - 1)
  last = now
  ++ticks
}, 1)

const start = performance.now()
let steps = 0
last = start
while (performance.now() - start < 1500) {
  await tidy(() => model.train()).item()
  ++steps
}
clearInterval(timer)
const seconds = (performance.now() - start) / 1000
console.log(JSON.stringify({ steps, seconds, ticks, worst: Math.round(worst * 10) / 10 }))
