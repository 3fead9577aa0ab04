/** What the machine can do, measured by bptt's own process. */

import type { Case, Limit } from '../report/report.ts'
import { Child, type ContenderCommand } from './child.ts'
import type { MeasuredLimits } from './protocol.ts'

const SECONDS = 0.1
const MOST_TRIES = 5

/**
 * One limit for each number of CPU threads; on a device, whose own limits they then are, one for each dtype.
 *
 * @throws ContenderError if our own process fails, e.g. for lack of a native binary
 */
export async function measureLimits(
  contender: ContenderCommand,
  device: string,
  threads: readonly number[],
  dtypes: readonly Case['dtype'][],
  pairs: number,
  signal: AbortSignal,
): Promise<Limit[]> {
  // The first call on a device waits until NVIDIA's libraries are read from disk.
  const child = new Child(contender, device === 'cpu' ? 60 : 600)
  const abort = (): void => child.kill('interrupted')
  signal.addEventListener('abort', abort)
  const measure = async (count: number, dtype: Case['dtype']): Promise<MeasuredLimits> =>
    child.ask({ do: 'limits', threads: count, tries, seconds: SECONDS, device, dtype })
  // Who times little does not wait for the machine's best either.
  const tries = Math.min(pairs, MOST_TRIES)
  const limits: Limit[] = []
  try {
    for (const count of device === 'cpu' ? threads : []) {
      const { operations, bytes } = await measure(count, 'float32')
      limits.push({ threads: count, gigaflops: operations / 1e9, gigabytesPerSecond: bytes / 1e9 })
    }
    for (const dtype of device === 'cpu' ? [] : dtypes) {
      const { operations, bytes, matrix = 0, buffer = 0 } = await measure(1, dtype)
      const speeds = { gigaflops: operations / 1e9, gigabytesPerSecond: bytes / 1e9 }
      limits.push({ threads: null, ...speeds, dtype, matrix, bytes: buffer })
    }
    return limits
  } finally {
    signal.removeEventListener('abort', abort)
    await child.stop()
  }
}
