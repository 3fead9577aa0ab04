// Terminates a worker in the middle of a training step, 100 times, then trains on
// the main thread. Some workers wait for their reads, some block, some never read.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { synchronize, tidy } from 'bptt'
import { makeModel } from './model.mjs'

const COUNT = 100

if (isMainThread) {
  const seconds = []
  let next = 0
  const lane = async () => {
    while (next < COUNT) {
      const number = next++
      const worker = new Worker(new URL(import.meta.url), { workerData: number })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await new Promise((resolve) => setTimeout(resolve, number % 7))
      const start = performance.now()
      await worker.terminate()
      seconds.push((performance.now() - start) / 1000)
    }
  }
  await Promise.all([lane(), lane()])
  const model = makeModel()
  const loss = await tidy(() => model.train()).item()
  console.log(JSON.stringify({ terminated: seconds.length, slowest: Math.max(...seconds), loss }))
} else {
  // A step takes several milliseconds, nearly all of it in kernels.
  const model = makeModel({ input: 64, hidden: 128, steps: 60, batch: 16 })
  const enqueue = () => tidy(() => model.train())
  enqueue()
  parentPort.postMessage('stepping')
  for (;;) {
    if (workerData % 3 === 0) await enqueue().item()
    else if (workerData % 3 === 1) enqueue().itemSync()
    else for (let i = 0; i < 20; ++i) enqueue()
    if (workerData % 5 === 0) await synchronize()
  }
}
