// Trains the same model in several workers and on the main thread at once and
// prints every last loss: they are the same.
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { tidy } from 'bptt'
import { makeModel } from './model.mjs'

async function train() {
  const model = makeModel()
  let loss = 0
  for (let i = 0; i < 100; ++i) loss = await tidy(() => model.train()).item()
  return loss
}

if (isMainThread) {
  const losses = Array.from({ length: 4 }, () => {
    const worker = new Worker(new URL(import.meta.url))
    return new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  })
  console.log(JSON.stringify(await Promise.all([train(), ...losses])))
} else {
  parentPort.postMessage(await train())
}
