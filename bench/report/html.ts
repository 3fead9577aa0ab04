/**
 * A report as one HTML page that needs nothing else: style, chart library and numbers are in it, and its own
 * security policy forbids it every request. All numbers are in tables, so it can be read without scripts.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { geometricMean } from '../measure/statistics.ts'
import { type Chart, chartsOf } from './charts.ts'
import {
  apiCost,
  caseLabel,
  contendersOf,
  describeSpeeds,
  deviceOf,
  formatBytes,
  formatFactor,
  formatGigaflops,
  formatInterval,
  formatShare,
  type Group,
  groupResults,
  peersAmong,
  summarizeRatios,
  takingPart,
  whereOf,
  whyNotTimed,
} from './format.ts'
import { html, jsonIn, Markup } from './markup.ts'
import type { Outcome, Ratio, Report, Result } from './report.ts'
import { findResult, formatSeconds } from './table.ts'

/** The page of a report; with `older`, also how every case that both have has changed since. */
export type PageOf = (report: Report, older?: Report) => string

/**
 * Reads the page's style and scripts.
 *
 * @throws if they are not beside this file: the build puts them there
 */
export async function prepareHtml(): Promise<PageOf> {
  const parts = await Promise.all(['page.css', 'chart.js', 'page.js'].map(readPart))
  return (report, older) => renderHtml(parts as [string, string, string], report, older)
}

function renderHtml(
  [style, library, script]: [string, string, string],
  report: Report,
  older?: Report,
): string {
  const groups = groupResults(report.results)
  const charts: Chart[] = []
  const sections = groups.map((group) => {
    const mine = chartsOf(group, report, older)
    charts.push(...mine)
    return renderGroup(group, report, mine, charts.length - mine.length, older)
  })
  const policy = [
    "default-src 'none'",
    'img-src data:',
    `style-src ${hash(style)}`,
    `script-src ${hash(library)} ${hash(script)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>bptt benchmark, ${report.date}</title>
<style>${new Markup(style)}</style>
</head>
<body>
<h1>bptt benchmark</h1>
${renderRun(report)}
${older && renderOlder(report, older)}
${renderSummary(groups, report)}
${renderNotTimed(report)}
${sections}
<script type="application/json" id="charts">${jsonIn(charts)}</script>
<script>${new Markup(library)}</script>
<script>${new Markup(script)}</script>
</body>
</html>
`
  return page.text
}

// A checkout may have made the lines end otherwise, and a browser hashes them as it parsed them.
const readPart = async (name: string): Promise<string> =>
  (await readFile(join(__dirname, 'page', name), 'utf8')).replaceAll('\r\n', '\n')

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

function renderRun(report: Report): Markup {
  const { date, command, version, machine, versions, limits, missing } = report
  const device = deviceOf(report)
  const compared = report.results.some(({ ratios }) => Object.keys(ratios).length > 0)
  const others = Object.entries(versions).filter(([name]) => name !== 'bptt')
  return html`
<p>${
    compared &&
    "A ratio is the peer's time over bptt's, taken pair by pair in the same run: above 1x bptt is faster. Whiskers of a median ratio are its 95 % interval. "
  }Shapes are
B, T, I, H: rows, time steps, inputs, hidden units. Bars and tables show medians; whiskers of times go from the 10th to
the 90th percentile.</p>
<dl>
<dt>Date</dt><dd>${date}</dd>
<dt>Machine</dt><dd>${machine.cpu}, ${machine.cores} cores, ${machine.platform}; load average ${machine.loadAverage.toFixed(2)} at the start</dd>
${device === 'cpu' ? html`<dt>Kernels</dt><dd>${machine.isa}</dd>` : html`<dt>Device</dt><dd>${device}; ${machine.cuda}</dd>`}
<dt>Versions</dt><dd>bptt ${version}, Node ${machine.node}${others.map(([name, text]) => `, ${name} ${text}`)}</dd>
<dt>Command</dt><dd><code>${command}</code></dd>
<dt>Limits</dt><dd>${
    limits.length === 0
      ? 'not measured'
      : limits.map(
          (limit) =>
            html`<span class="limit">${whereOf({ ...limit, device })}: ${describeSpeeds(limit)}</span>`,
        )
  }</dd>
</dl>
${
  missing.length > 0 &&
  html`<h2>Missing peers</h2>
<div class="scroll"><table><thead><tr><th>Peer<th>Why<th>To install it</thead><tbody>
${missing.map(({ peer, reason, install }) => html`<tr><td>${peer}<td class="text">${reason}<td class="text">${install !== null && html`<code>${install}</code>`}`)}
</tbody></table></div>`
}`
}

function renderOlder(report: Report, older: Report): Markup {
  const both = report.results.filter((result) => findResult(older, result)).length
  const differences = (
    [
      ['device', deviceOf(older), deviceOf(report)],
      ['CUDA', older.machine.cuda ?? 'not used', report.machine.cuda ?? 'not used'],
      ['CPU', older.machine.cpu, report.machine.cpu],
      ['cores', older.machine.cores, report.machine.cores],
      ['kernels', older.machine.isa, report.machine.isa],
      ['Node', older.machine.node, report.machine.node],
      ...Object.keys(report.versions)
        .filter((name) => name !== 'bptt')
        .map((name) => [name, older.versions[name] ?? 'absent', report.versions[name]]),
    ] as [string, string | number, string | number][]
  ).filter(([, then, now]) => then !== now)
  return html`<h2>Older report</h2>
<p>bptt ${older.version} of ${older.date}: <code>${older.command}</code>. It has ${both} of the ${report.results.length}
cases below. Ratios to a peer of the same version can be compared; times only on the same, equally quiet machine.</p>
${differences.length > 0 && html`<p class="warning">Not the same: ${differences.map(([what, then, now], i) => `${i > 0 ? '; ' : ''}${what} then ${then}, now ${now}`)}.</p>`}`
}

function renderSummary(groups: Group[], report: Report): Markup | false {
  const peers = peersAmong(contendersOf(report))
  const rows = groups.flatMap(({ title, results }) =>
    peers.flatMap((peer) => {
      const summary = summarizeRatios(results, peer)
      return summary ? [{ title, peer, summary }] : []
    }),
  )
  return (
    rows.length > 0 &&
    html`<h2>Summary</h2>
<div class="scroll"><table><thead><tr><th>Pass<th>Peer<th class="number">Geometric mean<th class="number">Lowest<th>at<th class="number">Shapes</thead><tbody>
${rows.map(
  ({ title, peer, summary: { geometricMean, lowest, lowestCase, count, total } }) =>
    html`<tr><td>${title}<td>${peer}<td class="number">${formatFactor(geometricMean)}<td class="number">${formatFactor(lowest)}<td>${lowestCase}<td class="number">${count} of ${total}
`,
)}</tbody></table></div>`
  )
}

/** What is in no chart, and why. */
function renderNotTimed({ results }: Report): Markup | false {
  const rows = groupResults(results).flatMap(({ title, results }) => {
    const shapes = new Map<string, string[]>()
    const cells = new Map<string, Markup>()
    for (const { case: c, outcomes } of results) {
      for (const [name, outcome] of Object.entries(outcomes)) {
        const why = whyNotTimed(outcome)
        if (!why) continue
        const key = JSON.stringify([name, why])
        shapes.set(key, [...(shapes.get(key) ?? []), caseLabel(c)])
        cells.set(key, html`<td>${name}<td class="text ${outcome.status}">${why}`)
      }
    }
    return [...shapes].map(
      ([key, labels]) =>
        html`<tr><td>${title}<td class="text">${labels.length === results.length ? 'every shape' : labels.join('; ')}${cells.get(key)}
`,
    )
  })
  return (
    rows.length > 0 &&
    html`<h2>Not timed</h2>
<p>A trial whose result was wrong, or that ended, has failed; its time would mean nothing.</p>
<div class="scroll"><table><thead><tr><th>Pass<th>Shape<th>Contender<th>Why</thead><tbody>
${rows}</tbody></table></div>`
  )
}

function renderGroup(
  { title, results }: Group,
  report: Report,
  charts: Chart[],
  firstChart: number,
  older?: Report,
): Markup {
  const contenders = takingPart(contendersOf(report), results)
  const peers = peersAmong(contenders)
  const rows = results.flatMap(({ outcomes, ratios }) =>
    timed(outcomes).map(([name, outcome]) => ({ outcome, ratio: ratios[name] })),
  )
  const columns = COLUMNS.filter(({ text }) => rows.some((row) => text(row) !== undefined))
  return html`<section>
<h2>${title}</h2>
<div class="charts">
${charts.map(
  (chart, i) =>
    html`<figure hidden><figcaption>${chart.title}</figcaption><div class="canvas"><canvas role="img" data-chart="${firstChart + i}" aria-label="${title}. ${chart.title}. Every number is in the table below."></canvas></div></figure>
`,
)}</div>
<div class="scroll"><table><thead><tr><th>Shape<th>Contender${columns.map(({ title }) => html`<th class="number">${title}`)}</thead>
${results.map((result) => renderResult(result, contenders, columns))}</table></div>
${renderApiCosts(results)}
${renderHistory(results, peers, older)}
<details><summary>Every sample</summary>
<div class="scroll"><table><thead><tr><th>Shape<th class="number">Operations<th>Contender<th>Milliseconds per call, in the order taken</thead><tbody>
${results.map(({ case: c, operations, outcomes }) =>
  timed(outcomes).map(
    ([name, { samples }]) =>
      html`<tr><td>${caseLabel(c)}<td class="number">${operations.toExponential(3)}<td>${name}<td class="text">${samples.map((seconds) => (1e3 * seconds).toPrecision(5)).join(' ')}
`,
  ),
)}</tbody></table></div></details>
</section>
`
}

type Timed = Extract<Outcome, { status: 'timed' }>

const timed = (outcomes: Result['outcomes']): [string, Timed][] =>
  Object.entries(outcomes).filter((entry): entry is [string, Timed] => entry[1].status === 'timed')

interface Row {
  outcome: Timed
  ratio: Ratio | undefined
}

/** The table's columns of numbers; one that would be empty is left out. */
const COLUMNS: { title: string; text(row: Row): string | number | undefined }[] = [
  { title: 'Time', text: ({ outcome }) => formatSeconds(outcome.seconds.median) },
  { title: 'p10', text: ({ outcome }) => formatSeconds(outcome.seconds.p10) },
  { title: 'p90', text: ({ outcome }) => formatSeconds(outcome.seconds.p90) },
  { title: 'GF/s', text: ({ outcome }) => perhaps(outcome.gigaflops, formatGigaflops) },
  { title: 'of limit', text: ({ outcome }) => perhaps(outcome.shareOfLimit, formatShare) },
  { title: 'Ratio', text: ({ ratio }) => ratio && formatFactor(ratio.median) },
  { title: '95 % interval', text: ({ ratio }) => ratio && formatInterval(ratio) },
  { title: 'Pairs', text: ({ ratio }) => ratio?.pairs },
  { title: 'Peak memory', text: ({ outcome }) => perhaps(outcome.peakBytes ?? null, formatBytes) },
]

const perhaps = (value: number | null, format: (value: number) => string): string | undefined =>
  value === null ? undefined : format(value)

function renderResult(
  { case: c, outcomes, ratios }: Result,
  contenders: string[],
  columns: typeof COLUMNS,
): Markup {
  const present = contenders.filter((name) => outcomes[name])
  return html`<tbody>${present.map((name, i) => {
    const outcome = outcomes[name] as Outcome
    const first = i === 0 && html`<th scope="rowgroup" rowspan="${present.length}">${caseLabel(c)}`
    if (outcome.status !== 'timed')
      return html`<tr>${first}<td>${name}<td colspan="${columns.length}" class="text ${outcome.status}">${whyNotTimed(outcome)}`
    const row = { outcome, ratio: ratios[name] }
    return html`<tr>${first}<td>${name}${columns.map(({ text }) => html`<td class="number">${text(row)}`)}`
  })}
</tbody>`
}

function renderApiCosts(results: Result[]): Markup | false {
  const costs = results.flatMap((result) => {
    const seconds = apiCost(result)
    return seconds === null ? [] : [`${formatSeconds(seconds)} at ${caseLabel(result.case)}`]
  })
  return (
    costs.length > 0 &&
    html`<p>Beyond the same native calls the API takes ${costs.join('; ')} (medians of the pairs).</p>`
  )
}

function renderHistory(results: Result[], peers: string[], older?: Report): Markup | false {
  const pairs = results.flatMap((now) => {
    const then = findResult(older, now)
    return then ? [{ then, now }] : []
  })
  if (pairs.length === 0) return false
  const means = peers.flatMap((peer) => {
    const both = pairs.filter(({ then, now }) => then.ratios[peer] && now.ratios[peer])
    if (both.length === 0) return []
    const mean = (of: 'then' | 'now') =>
      formatFactor(geometricMean(both.map((pair) => pair[of].ratios[peer]?.median as number)))
    return [`${peer}: ${mean('then')} then, ${mean('now')} now, over ${both.length}`]
  })
  const factor = (result: Result, peer: string) => {
    const ratio = result.ratios[peer]
    return ratio && `${formatFactor(ratio.median)} (${formatInterval(ratio)})`
  }
  const time = ({ outcomes: { bptt } }: Result) =>
    bptt?.status === 'timed' ? formatSeconds(bptt.seconds.median) : bptt?.status
  return html`<details open><summary>History</summary>
<p>${means.length > 0 && `Geometric means of the shapes in both reports. ${means.join('; ')}.`}</p>
<div class="scroll"><table><thead><tr><th>Shape<th class="number">bptt then<th class="number">bptt now${peers.map((peer) => html`<th class="number">to ${peer} then<th class="number">to ${peer} now`)}</thead><tbody>
${pairs.map(
  ({ then, now }) =>
    html`<tr><td>${caseLabel(now.case)}<td class="number">${time(then)}<td class="number">${time(now)}${peers.map((peer) => html`<td class="number">${factor(then, peer)}<td class="number">${factor(now, peer)}`)}
`,
)}</tbody></table></div></details>`
}
