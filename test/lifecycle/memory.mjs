// Runs 2,000 steps of a loop and prints how memory went: resident MiB every 100
// steps, and the storages that were live after a fifth of the steps and at the end.
import { setImmediate } from 'node:timers/promises'
import { GRU, info, noGrad, tidy } from 'bptt'
import { makeModel } from './model.mjs'

const STEPS = 2000
const model = makeModel({ input: 8, hidden: 16, steps: 6, batch: 4 })
const layer = new GRU(8, 16)
const frame = new Float32Array(8)

const loops = {
  tidy: async () => await tidyLoss().item(),
  untidy: async () => await model.train().item(),
  synchronous: () => tidy(() => model.train().itemSync()),
  noGrad: () => noGrad(() => tidy(() => model.logits().dataSync())),
  streams: openStreams,
}

function tidyLoss() {
  const loss = tidy(() => model.train())
  queueMicrotask(() => loss.dispose()) // item() has enqueued its read by then
  return loss
}

// 100,000 streams in all, every tenth of them forgotten instead of disposed of.
async function openStreams() {
  for (let k = 0; k < 50; ++k) {
    const stream = layer.stream()
    stream.step(frame)
    if (k % 10 !== 0) stream.dispose()
  }
  await setImmediate() // finalizers run in turns of the event loop
}

const step = loops[process.argv[2]]
const resident = []
let storages = 0
let value
for (let i = 1; i <= STEPS; ++i) {
  const result = step()
  value = result instanceof Promise ? await result : result
  if (i === STEPS / 5) storages = info().memory.liveStorages
  if (i % 100 === 0) resident.push(Math.round(process.memoryUsage.rss() / 2 ** 20))
}
if (typeof value === 'number' && !(value > 0 && value < 2)) throw new Error(`the loss is ${value}`)
console.log(JSON.stringify({ resident, storages: [storages, info().memory.liveStorages] }))
