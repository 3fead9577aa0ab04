/** How a report's cases and numbers are named, the same in the HTML page and in the README's table. */
import { variantOf } from '../cases.ts'
import { geometricMean, median } from '../measure/statistics.ts'
import type { Case, Limit, Outcome, Ratio, Report, Result } from './report.ts'

const CELL_NAMES = { lstm: 'LSTM', gru: 'GRU', rnn: 'RNN' }
const PASS_NAMES = {
  forward: 'inference',
  train: 'training step',
  step: 'single steps',
  ops: 'cost of the API',
  demo: 'whole training step of the demo',
  decoder: 'training step of a decoder with attention',
}

/** Results that can stand in one chart: the same question at different shapes. */
export interface Group {
  title: string
  results: Result[]
}

/** By pass, cell, threads or device, and dtype, in the order of the report. */
export function groupResults(results: Result[]): Group[] {
  const groups = new Map<string, Group>()
  for (const result of results) {
    const title = groupTitle(result)
    const group = groups.get(title) ?? { title, results: [] }
    groups.set(title, group)
    group.results.push(result)
  }
  return [...groups.values()]
}

function groupTitle(result: Result): string {
  const { pass, cell, dtype } = result.case
  const extra = dtype === 'float32' ? '' : `, ${dtype}`
  return `${cellName(cell)} ${passName(pass)}, ${whereOf(result)}${extra}`
}

/** What computed: '2 threads' of the CPU, or a device. */
export const whereOf = ({ threads, device = 'cpu' }: Pick<Result, 'threads' | 'device'>): string =>
  threads === null ? device : countOf(threads, 'thread')

export const deviceOf = ({ device = 'cpu' }: Pick<Report, 'device'>): string => device

// A later version may know more passes and cells than this one.
export const cellName = (cell: Case['cell']): string => CELL_NAMES[cell] ?? cell
export const passName = (pass: Case['pass']): string => PASS_NAMES[pass] ?? pass

/** B, T, I, H, and what sets the case apart from one plain layer. */
export function caseLabel(one: Case): string {
  const { B, T, I, H } = one
  return [`${B}, ${T}, ${I}, ${H}`, ...variantOf(one)].join(' ')
}

/** bptt, then the others in the order in which the report names them. */
export function contendersOf(report: Report): string[] {
  const names = report.results.flatMap(({ outcomes }) => Object.keys(outcomes))
  return [...new Set(['bptt', ...names])]
}

/** Those that could be asked: not the ones to which all of these are unsupported. */
export const takingPart = (contenders: string[], results: Result[]): string[] =>
  contenders.filter((name) =>
    results.some(({ outcomes }) => outcomes[name] && outcomes[name].status !== 'unsupported'),
  )

/** Those that bptt is faster or slower than; in pass ops it is beside the native calls beneath it instead. */
export const peersAmong = (contenders: string[]): string[] =>
  contenders.filter((name) => name !== 'bptt' && name !== 'native')

/** Seconds that the API takes beyond its native calls, as the median of the pairs; null but in pass ops. */
export function apiCost({ outcomes: { bptt, native } }: Result): number | null {
  if (bptt?.status !== 'timed' || native?.status !== 'timed') return null
  return median(bptt.samples.map((seconds, i) => seconds - (native.samples[i] as number)))
}

export interface RatioSummary {
  geometricMean: number
  lowest: number
  lowestCase: string
  count: number
  /** Of all results; those without a ratio were not timed on both sides. */
  total: number
}

/** Null where no result has a ratio to that peer. */
export function summarizeRatios(results: Result[], peer: string): RatioSummary | null {
  const known = results.flatMap((result) => {
    const ratio = result.ratios[peer]
    return ratio ? [{ ratio, result }] : []
  })
  if (known.length === 0) return null
  const lowest = known.reduce((a, b) => (b.ratio.median < a.ratio.median ? b : a))
  return {
    geometricMean: geometricMean(known.map(({ ratio }) => ratio.median)),
    lowest: lowest.ratio.median,
    lowestCase: caseLabel(lowest.result.case),
    count: known.length,
    total: results.length,
  }
}

export const formatFactor = (factor: number): string => `${factor.toFixed(2)}x`
export const formatInterval = ({ low, high }: Ratio): string => `${low.toFixed(2)} to ${high.toFixed(2)}`
export const formatShare = (share: number): string => `${(100 * share).toFixed(0)} %`
export const formatGigaflops = (value: number): string => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)

export function formatBytes(bytes: number): string {
  return bytes < 2 ** 20 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`
}

/** e.g. '150 GF/s of multiply-adds, 14.3 GB/s read', or what was done on a device. */
export function describeSpeeds({ gigaflops, gigabytesPerSecond, dtype, matrix, bytes }: Limit): string {
  const [flops, reads] = [`${formatGigaflops(gigaflops)} GF/s`, `${gigabytesPerSecond.toFixed(1)} GB/s`]
  if (!dtype) return `${flops} of multiply-adds, ${reads} read`
  const buffer = bytes === undefined ? '' : ` of ${formatBytes(bytes)}`
  return `${flops} in products of ${matrix} x ${matrix} ${dtype}, ${reads} read and written in additions to a buffer${buffer}`
}

export const countOf = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** Null where it was timed. */
export function whyNotTimed(outcome: Outcome): string | null {
  return outcome.status === 'timed' ? null : `${outcome.status}: ${outcome.reason}`
}
