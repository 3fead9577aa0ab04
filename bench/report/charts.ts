/** A report as charts: which there are and every number in them; the page's script only paints. */
import {
  caseLabel,
  contendersOf,
  formatFactor,
  formatGigaflops,
  formatInterval,
  formatShare,
  type Group,
  peersAmong,
  takingPart,
} from './format.ts'
import type { Ratio, Report, Result } from './report.ts'
import { findResult, formatSeconds } from './table.ts'

/** One number: a bar, or a point of a crowded chart; low and high are the ends of its whisker. */
export interface Mark {
  value: number
  low: number
  high: number
  text: string
}

export interface Series {
  name: string
  /** Which of the page's colours; the same for a contender in every chart. */
  color: number
  marks: (Mark | null)[] // by row; null where nothing was timed
}

export interface Chart {
  title: string
  axis: string
  scale: 'linear' | 'log'
  /** A line across the chart. Bars of a chart with a log scale start from it. */
  line?: number
  /** The value that is 100 % on a second axis. */
  full?: number
  /** By row: the case, then a line for each contender that is not drawn there. */
  rows: string[][]
  /** By row. Given where there are too many rows for bars: each is a point at this number of operations. */
  operations?: number[]
  series: Series[]
}

const MOST_BARS = 32
/** The page's last colour, which no contender has. */
const OLDER_COLOR = 7

type MarkOf = (result: Result, name: string) => Mark | null

export function chartsOf(group: Group, report: Report, older?: Report): Chart[] {
  const { results } = group
  const colors = contendersOf(report)
  const contenders = takingPart(colors, results)
  const peers = peersAmong(contenders)
  const make = (names: string[], markOf: MarkOf, chart: Omit<Chart, 'rows' | 'series'>): Chart[] => {
    const series = names
      .map((name) => ({
        name,
        color: colors.indexOf(name) % OLDER_COLOR,
        marks: results.map((result) => markOf(result, name)),
      }))
      .filter(({ marks }) => marks.some((mark) => mark !== null))
    return series.length === 0 ? [] : [withRows({ ...chart, rows: [], series }, results)]
  }

  const limit = limitOf(results)
  const flops = make(contenders, gigaflopsMark, {
    title: limit ? 'GF/s, and share of the limit' : 'GF/s',
    axis: 'GF/s',
    scale: 'linear',
    ...(limit && { full: limit, line: limit }),
  })
  return [
    ...make(peers, (result, peer) => ratioMark(result.ratios[peer]), {
      title: "Ratio: the peer's time over bptt's",
      axis: 'times as fast as the peer, log scale',
      scale: 'log',
      line: 1,
    }),
    ...flops,
    ...(flops.length > 0
      ? []
      : make(contenders, timeMark, { title: 'Time of one call', axis: 'milliseconds', scale: 'linear' })),
    ...historyCharts(results, peers, older),
  ]
}

function historyCharts(results: Result[], peers: string[], older?: Report): Chart[] {
  const known = results.filter((result) => findResult(older, result))
  const before = (result: Result): Result => findResult(older, result) as Result
  const ratios = peers.flatMap((peer) => {
    const now = known.map((result) => ratioMark(result.ratios[peer]))
    const then = known.map((result) => ratioMark(before(result).ratios[peer]))
    if (!now.some((mark, row) => mark && then[row])) return []
    const chart: Chart = {
      title: `History: ratio to ${peer}`,
      axis: `times as fast as ${peer}, log scale`,
      scale: 'log',
      line: 1,
      rows: [],
      series: [
        { name: 'older report', color: OLDER_COLOR, marks: then },
        { name: 'this report', color: 0, marks: now },
      ],
    }
    return [withRows(chart, known)]
  })
  const marks = known.map((result) => speedupMark(before(result), result))
  if (!marks.some((mark) => mark !== null)) return ratios
  const speedup: Chart = {
    title: "History: bptt's older time over this one",
    axis: 'times as fast as before, log scale',
    scale: 'log',
    line: 1,
    rows: [],
    series: [{ name: 'bptt', color: 0, marks }],
  }
  return [...ratios, withRows(speedup, known)]
}

function withRows(chart: Chart, results: Result[]): Chart {
  const names = takingPart([...new Set(results.flatMap(({ outcomes }) => Object.keys(outcomes)))], results)
  const rows = results.map(({ case: c, outcomes }) => [
    caseLabel(c),
    ...names
      .filter((name) => outcomes[name] && outcomes[name].status !== 'timed')
      .map((name) => `${name}: ${outcomes[name]?.status}`),
  ])
  if (rows.length <= MOST_BARS) return { ...chart, rows }
  return { ...chart, rows, operations: results.map(({ operations }) => operations) }
}

/** In GF/s: the outcomes say which share of it they reached. */
function limitOf(results: Result[]): number | null {
  for (const { outcomes } of results) {
    for (const outcome of Object.values(outcomes)) {
      if (outcome.status === 'timed' && outcome.gigaflops && outcome.shareOfLimit)
        return outcome.gigaflops / outcome.shareOfLimit
    }
  }
  return null
}

function ratioMark(ratio: Ratio | undefined): Mark | null {
  if (!ratio) return null
  const { median, low, high, pairs } = ratio
  const text = `${formatFactor(median)} (95 %: ${formatInterval(ratio)}, ${pairs} pairs)`
  return { value: median, low, high, text }
}

function gigaflopsMark({ outcomes }: Result, name: string): Mark | null {
  const outcome = outcomes[name]
  if (outcome?.status !== 'timed' || outcome.gigaflops === null) return null
  const { gigaflops: value, shareOfLimit, seconds } = outcome
  const share = shareOfLimit === null ? '' : `, ${formatShare(shareOfLimit)} of the limit`
  return {
    value,
    low: (value * seconds.median) / seconds.p90,
    high: (value * seconds.median) / seconds.p10,
    text: `${formatGigaflops(value)} GF/s${share}`,
  }
}

function timeMark({ outcomes }: Result, name: string): Mark | null {
  const outcome = outcomes[name]
  if (outcome?.status !== 'timed') return null
  const { median, p10, p90 } = outcome.seconds
  return { value: 1e3 * median, low: 1e3 * p10, high: 1e3 * p90, text: formatSeconds(median) }
}

function speedupMark(older: Result, newer: Result): Mark | null {
  const [then, now] = [older.outcomes.bptt, newer.outcomes.bptt]
  if (then?.status !== 'timed' || now?.status !== 'timed') return null
  const value = then.seconds.median / now.seconds.median
  const text = `${formatFactor(value)}: ${formatSeconds(then.seconds.median)}, now ${formatSeconds(now.seconds.median)}`
  return { value, low: value, high: value, text }
}
