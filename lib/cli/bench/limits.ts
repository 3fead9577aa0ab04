/** What the machine can do, measured by bptt's own process. */
import { Child, type ContenderCommand } from './child.ts'
import type { MeasuredLimits } from './protocol.ts'
import type { Limit } from './report.ts'

const SECONDS = 0.1

/** @throws ContenderError if our own process fails, e.g. for lack of a native binary */
export async function measureLimits(
  contender: ContenderCommand,
  threads: readonly number[],
  signal: AbortSignal,
): Promise<{ limits: Limit[]; isa: string }> {
  const child = new Child(contender, 60)
  const abort = (): void => child.kill('interrupted')
  signal.addEventListener('abort', abort)
  const limits: Limit[] = []
  let isa = ''
  try {
    for (const count of threads) {
      const measured = await child.ask<MeasuredLimits>({ do: 'limits', threads: count, seconds: SECONDS })
      isa = measured.isa
      limits.push({
        threads: count,
        gigaflops: measured.operations / 1e9,
        gigabytesPerSecond: measured.bytes / 1e9,
      })
    }
    return { limits, isa }
  } finally {
    signal.removeEventListener('abort', abort)
    await child.stop()
  }
}
