/** What a device can do, as a program of a user can see it: products of square matrices, and additions to a buffer. */
import { type Device, randn, synchronize, type Tensor, tidy, zeros } from 'bptt'
import type { MeasuredLimits } from '../measure/protocol.ts'
import type { Case } from '../report/report.ts'

const SMALLEST_MATRIX = 64
const LARGEST_MATRIX = 4096
const SMALLEST_BUFFER = 2 ** 14 // bytes
const LARGEST_BUFFER = 2 ** 28
/** A call that takes longer is long enough to hide what it costs to start it. */
const LONG_SECONDS = 0.01
const ROUNDS = 5

/** The best of several rounds: a limit is what can be reached. */
export async function measureDevice(
  device: Device,
  dtype: Case['dtype'],
  seconds: number,
): Promise<MeasuredLimits> {
  const options = { device, dtype }
  const element = dtype === 'float32' ? 4 : 8
  const products = await measure(SMALLEST_MATRIX, LARGEST_MATRIX, 2, seconds, device, (n) => {
    const x = tidy(() => randn([n, n], options).div(n))
    return { x, call: () => x.matmul(x) }
  })
  const additions = await measure(SMALLEST_BUFFER, LARGEST_BUFFER, 4, seconds, device, (bytes) => {
    const x = zeros([bytes / element], options)
    return { x, call: () => x.add(1) }
  })
  return {
    operations: (2 * products.size ** 3) / products.seconds,
    bytes: (2 * additions.size) / additions.seconds, // every element is read and written
    matrix: products.size,
    buffer: additions.size,
  }
}

interface Work {
  x: Tensor
  call(): Tensor
}

/** Finds a size at which a call is long, and then the least seconds per call. */
async function measure(
  from: number,
  to: number,
  factor: number,
  seconds: number,
  device: Device,
  make: (size: number) => Work,
): Promise<{ size: number; seconds: number }> {
  for (let size = from; ; size *= factor) {
    const { x, call } = make(size)
    try {
      await timeCalls(call, 1, device)
      const once = await timeCalls(call, 1, device)
      if (size < to && once < LONG_SECONDS) continue
      const calls = Math.max(1, Math.ceil(seconds / once))
      let best = once
      for (let round = 0; round < ROUNDS; round++)
        best = Math.min(best, (await timeCalls(call, calls, device)) / calls)
      return { size, seconds: best }
    } finally {
      x.dispose()
    }
  }
}

/** Seconds of so many calls, queued one after the other, until the device has done the last. */
async function timeCalls(call: () => Tensor, calls: number, device: Device): Promise<number> {
  await synchronize(device)
  const start = performance.now()
  for (let i = 0; i < calls; i++) call().dispose()
  await synchronize(device)
  return (performance.now() - start) / 1000
}
