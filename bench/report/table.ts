/** A report as lines of text. */
import { describeCase } from '../cases.ts'
import { median } from '../measure/statistics.ts'
import {
  contendersOf,
  countOf,
  describeSpeeds,
  deviceOf,
  formatBytes,
  formatFactor,
  groupResults,
  summarizeRatios,
  whereOf,
} from './format.ts'
import type { Limit, Machine, Outcome, Report, Result } from './report.ts'

/** The first lines of a run: bptt, what computes, and what that can do. */
export function describeRun(report: Report): string[] {
  const { version, machine, limits } = report
  const device = deviceOf(report)
  const host = describeMachine(machine)
  const head =
    device === 'cpu' ? [`bptt ${version}, ${host}`] : [`bptt ${version} on ${device}: ${machine.cuda}`, host]
  return [...head, ...limits.map((limit) => describeLimit(limit, device))]
}

/** The instruction set is that of the CPU's kernels: it says nothing of a device. */
function describeMachine({ cpu, cores, isa, node, platform, loadAverage, cuda }: Machine): string {
  const host = `${cuda ? 'host: ' : ''}${cpu || 'unknown CPU'}, ${cores} cores${cuda ? '' : `, ${isa}`}`
  return `${host}; Node ${node}, ${platform}; load ${loadAverage.toFixed(2)}`
}

function describeLimit(limit: Limit, device: string): string {
  const { threads, gigaflops, gigabytesPerSecond } = limit
  if (threads === null) return `limit of ${device}: ${describeSpeeds(limit)}`
  return `limit with ${countOf(threads, 'thread')}: ${gigaflops.toFixed(1)} GF/s, reads ${gigabytesPerSecond.toFixed(1)} GB/s`
}

/** Null, or how the machine of an older report is another one where times are compared. */
export function describeOtherDevice(report: Report, older: Report): string | null {
  const [now, then] = [deviceOf(report), deviceOf(older)]
  if (now !== then) return `the older report is of ${then}, this one of ${now}: their times are not compared`
  const [gpu, before] = [report.machine.cuda, older.machine.cuda]
  return gpu === before ? null : `the older report is of another device or driver: ${before}`
}

/**
 * e.g. `lstm train 16,50,128,128  2 threads  bptt 1.23 ms [1.20, 1.31]  95.1 GF/s 62 %  torch 2.31x [2.20, 2.41]`:
 * median with 10th and 90th percentile; share of the limit; ratio with the 95 % interval of its median.
 *
 * @param width of the case's name
 * @param older what the same case took in an earlier run
 */
export function describeResult(result: Result, width: number, older?: Result): string {
  const { case: one, threads, outcomes, ratios } = result
  const cells = [`${describeCase(one).padEnd(width)}  ${whereOf(result)}${threads === 1 ? ' ' : ''}`]
  for (const [name, outcome] of Object.entries(outcomes)) {
    const ratio = ratios[name]
    const bytes =
      outcome.status === 'timed' && outcome.peakBytes !== undefined
        ? `  peak ${formatBytes(outcome.peakBytes)}`
        : ''
    if (outcome.status !== 'timed') cells.push(`${name} ${outcome.status}: ${outcome.reason}`)
    else if (ratio && one.pass !== 'ops') {
      cells.push(
        `${name} ${ratio.median.toFixed(2)}x [${ratio.low.toFixed(2)}, ${ratio.high.toFixed(2)}]${bytes}`,
      )
    } else cells.push(`${name} ${describeTimes(outcome)}${bytes}`)
  }
  const { bptt: api, native } = outcomes
  if (api?.status === 'timed' && native?.status === 'timed') {
    const more = median(api.samples.map((seconds, i) => seconds - (native.samples[i] as number)))
    cells.push(`the API takes ${formatSeconds(more)} more`)
  }
  const before = older?.outcomes.bptt
  if (api?.status === 'timed' && before?.status === 'timed') {
    cells.push(`${(before.seconds.median / api.seconds.median).toFixed(2)}x as fast as before`)
  }
  return cells.join('  ')
}

/**
 * A line for every peer in every question that was put at several shapes, e.g.
 * `LSTM training step, 2 threads: torch 1.93x in the geometric mean of 6, lowest 1.31x at 1, 100, 128, 128`.
 */
export function describeSummary(report: Report): string[] {
  return groupResults(report.results).flatMap(({ title, results }) =>
    contendersOf(report).flatMap((peer) => {
      const summary = summarizeRatios(results, peer)
      if (peer === 'native' || !summary || summary.count < 2) return []
      const { geometricMean, lowest, lowestCase, count } = summary
      const mean = `${formatFactor(geometricMean)} in the geometric mean of ${count}`
      return [`${title}: ${peer} ${mean}, lowest ${formatFactor(lowest)} at ${lowestCase}`]
    }),
  )
}

function describeTimes({ seconds, gigaflops, shareOfLimit }: Extract<Outcome, { status: 'timed' }>): string {
  const times = `${formatSeconds(seconds.median)} [${formatSeconds(seconds.p10)}, ${formatSeconds(seconds.p90)}]`
  const speed = gigaflops === null ? '' : `  ${gigaflops.toFixed(1).padStart(6)} GF/s`
  const share = shareOfLimit === null ? '' : ` ${(100 * shareOfLimit).toFixed(0).padStart(3)} %`
  return times + speed + share
}

export function formatSeconds(seconds: number): string {
  const size = Math.abs(seconds)
  const [factor, unit] = size < 1e-3 ? [1e6, 'us'] : size < 1 ? [1e3, 'ms'] : [1, 's']
  return `${(seconds * factor).toFixed(size * factor < 10 ? 2 : 1)} ${unit}`
}

/** The result of the same case in another report, by as many threads or on the same device. */
export function findResult(report: Report | undefined, result: Result): Result | undefined {
  return report?.results.find(
    (other) => whereOf(other) === whereOf(result) && sameCase(other.case, result.case),
  )
}

const sameCase = (a: Result['case'], b: Result['case']): boolean =>
  (Object.keys({ ...a, ...b }) as (keyof Result['case'])[]).every((key) => a[key] === b[key])
