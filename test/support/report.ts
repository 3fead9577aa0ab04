/** A made-up benchmark report, with what a report may hold that is awkward to show. */
import type { Case, Outcome, Ratio, Report, Result } from '../../bench/report/report.ts'

export const HOSTILE = `</script><script>document.title='owned'</script><img src="http://evil.invalid/x" onerror='alert(1)'>&amp;`

const SHAPES = [
  [1, 100, 128, 128],
  [1, 100, 512, 512],
  [16, 50, 128, 128],
  [64, 50, 256, 256],
  [32, 128, 512, 512],
  [64, 100, 1024, 1024],
] as const
const LIMIT = 150
const GATES = { lstm: 4, gru: 3, rnn: 1 }

const timed = (operations: number, share: number): Outcome => {
  const gigaflops = share * LIMIT
  const median = operations / gigaflops / 1e9
  const samples = [1, 0.95, 1.1, 0.99, 1.02, 1.3].map((factor) => factor * median)
  const seconds = { median, p10: 0.95 * median, p90: 1.3 * median }
  return { status: 'timed', seconds, samples, gigaflops, shareOfLimit: share }
}
const around = (median: number): Ratio => ({ median, low: 0.93 * median, high: 1.05 * median, pairs: 11 })

/** What a case of one plain layer has besides its pass, cell and shape. */
export const PLAIN = {
  layers: 1,
  bidirectional: false,
  projSize: 0,
  lengths: 'full',
  dtype: 'float32',
} as const

/** One case against torch and onnxruntime; `speed` is the share of the limit that bptt reaches. */
export function madeUpResult(given: Partial<Case>, speed: number, ratio: number): Result {
  const c: Case = { pass: 'train', cell: 'lstm', B: 1, T: 100, I: 128, H: 128, ...PLAIN, ...given }
  const operations = 2 * GATES[c.cell] * c.H * (c.I + c.H) * c.T * c.B * (c.pass === 'train' ? 3 : 1)
  const others =
    c.pass === 'forward'
      ? { onnxruntime: timed(operations, speed / ratio / 1.4) }
      : ({} as Record<string, Outcome>)
  return {
    case: c,
    threads: 2,
    operations,
    outcomes: { bptt: timed(operations, speed), torch: timed(operations, speed / ratio), ...others },
    ratios: { torch: around(ratio), ...(others.onnxruntime && { onnxruntime: around(1.4 * ratio) }) },
  }
}

/** Inference and training of the three cells at the six shapes of the README's table. */
export function madeUpReport(scale = 1): Report {
  const results = (['forward', 'train'] as const).flatMap((pass) =>
    (['lstm', 'gru', 'rnn'] as const).flatMap((cell, j) =>
      SHAPES.map(([B, T, I, H], i) =>
        madeUpResult(
          { pass, cell, B, T, I, H },
          scale * (0.35 + 0.08 * i),
          scale * (1.3 + 0.2 * i) * (j + 1),
        ),
      ),
    ),
  )
  return {
    format: 1,
    version: '0.1.0',
    date: '2026-11-22T10:00:00.000Z',
    command: 'bptt bench --suite readme --json build/bench.json',
    machine: {
      cpu: 'Made-up CPU 3000',
      cores: 2,
      isa: 'avx2',
      node: 'v20.20.2',
      platform: 'linux-x64',
      loadAverage: 0.12,
    },
    versions: { bptt: '0.1.0', torch: '2.13.0', onnxruntime: '1.23.0' },
    missing: [{ peer: 'tfjs', reason: 'not installed', install: 'cd bench/compare && npm install' }],
    limits: [
      { threads: 1, gigaflops: LIMIT / 2, gigabytesPerSecond: 11.5 },
      { threads: 2, gigaflops: LIMIT, gigabytesPerSecond: 14.25 },
    ],
    results,
  }
}
