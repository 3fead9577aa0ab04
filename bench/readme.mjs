// `npm run bench`: measures the shapes of the README's table beside PyTorch and rewrites the table, between two
// markers. `--from FILE` takes an older report instead of measuring, `--python PATH` another Python, `--readme FILE`
// another file to rewrite. Leaves it as it was, and exits with 1, where there is nothing honest to put in.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const built = (path) => new URL(`../dist/${path}`, import.meta.url)
const { findPeers } = await import(built('bench/measure/contenders.js'))
const {
  caseLabel,
  cellName,
  formatFactor,
  formatGigaflops,
  formatShare,
  passName,
  summarizeRatios,
  whereOf,
} = await import(built('bench/report/format.js'))

const BEGIN = '<!-- bench:begin -->'
const END = '<!-- bench:end -->'
const PEER = 'torch'

class Refusal extends Error {}

try {
  await main()
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(`bench: ${error.message}; the table is left as it was`)
  process.exitCode = 1
}

async function main() {
  const root = fileURLToPath(new URL('..', import.meta.url))
  process.chdir(root)
  const { values } = parseArgs({
    options: {
      from: { type: 'string' },
      python: { type: 'string', default: 'python3' },
      readme: { type: 'string', default: 'README.md' },
    },
  })
  const readme = readFileSync(values.readme, 'utf8')
  const place = findPlace(readme)
  const report = JSON.parse(readFileSync(values.from ?? (await measure(values.python)), 'utf8'))
  const table = makeTable(report)
  writeFileSync(values.readme, `${readme.slice(0, place.start)}\n${table}\n${readme.slice(place.end)}`)
  console.log(`${values.readme} has the figures of ${report.date}`)
}

/** Between the markers. */
function findPlace(readme) {
  const [start, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (start < 0 || end < start || readme.lastIndexOf(BEGIN) !== start || readme.lastIndexOf(END) !== end)
    throw new Refusal(`there must be one ${BEGIN} and one ${END} behind it`)
  return { start: start + BEGIN.length, end }
}

/** Resolves to the path of the report. */
async function measure(python) {
  const { missing } = await findPeers([PEER], python)
  for (const { peer, reason, install } of missing)
    throw new Refusal(`without ${peer} there is nothing to compare with: ${reason} (${install})`)
  const path = 'build/bench.json'
  mkdirSync(dirname(path), { recursive: true })
  const options = ['--suite', 'readme', '--peers', PEER, '--json', path]
  if (python !== 'python3') options.push('--python', python)
  const main = fileURLToPath(built('cli/main.js'))
  const { status } = spawnSync(process.execPath, [main, 'bench', ...options], { stdio: 'inherit' })
  if (status !== 0) throw new Refusal(`bptt bench ended with ${status}`)
  return path
}

/** One table per pass and number of threads: shapes down, cells across. */
function makeTable(report) {
  const version = report.versions[PEER]
  if (!version || !report.results.some(({ ratios }) => ratios[PEER]))
    throw new Refusal(`the report has no ratio to ${PEER}`)
  const results = report.results.filter(
    ({ outcomes }) => outcomes[PEER] && outcomes[PEER].status !== 'unsupported',
  )
  const titles = [...new Set(results.map(titleOf))]
  const pairs = Math.min(
    ...report.results.flatMap(({ ratios }) => (ratios[PEER] ? [ratios[PEER].pairs] : [])),
  )
  const { machine, limits } = report
  const measured = limits.map((limit) => `${formatGigaflops(limit.gigaflops)} GF/s on ${whereOf(limit)}`)
  return [
    `How many times as fast as PyTorch ${version}: the median of ${pairs} or more pairs of timings, with its 95 %`,
    "interval; below it bptt's GF/s and their share of what the machine can do, measured in the same run",
    `(multiply-adds: ${measured.join(', ')}). Shapes are B, T, I, H: rows, time steps, inputs, hidden units.`,
    ...titles.flatMap((title) => [
      '',
      ...tableOf(
        title,
        results.filter((result) => titleOf(result) === title),
      ),
    ]),
    '',
    `${report.date.slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores, ${machine.isa} kernels, ${machine.platform};`,
    `bptt ${report.version}, Node ${machine.node}, PyTorch ${version}; \`${report.command}\`.`,
  ].join('\n')
}

function titleOf(result) {
  return `${passName(result.case.pass)}, ${whereOf(result)}`
}

function tableOf(title, results) {
  const cells = [...new Set(results.map((result) => result.case.cell))]
  const shapes = [...new Set(results.map((result) => caseLabel(result.case)))]
  const row = (values) => `| ${values.join(' | ')} |`
  return [
    row([title[0].toUpperCase() + title.slice(1), ...cells.map((cell) => cellName(cell))]),
    row(['---', ...cells.map(() => '---')]),
    ...shapes.map((shape) =>
      row([
        shape,
        ...cells.map((cell) =>
          describe(results.find((one) => one.case.cell === cell && caseLabel(one.case) === shape)),
        ),
      ]),
    ),
    row([
      'geometric mean',
      ...cells.map((cell) => {
        const summary = summarizeRatios(
          results.filter((one) => one.case.cell === cell),
          PEER,
        )
        if (!summary) return ''
        const { geometricMean, count, total } = summary
        return `**${formatFactor(geometricMean)}**${count < total ? ` (${count} of ${total})` : ''}`
      }),
    ]),
  ]
}

function describe(result) {
  if (!result) return ''
  const { outcomes, ratios } = result
  const ratio = ratios[PEER]
  if (!ratio) {
    const untimed = Object.entries(outcomes).filter(([, { status }]) => status !== 'timed')
    return untimed.map(([name, { status }]) => `${name} ${status}`).join(', ')
  }
  const { gigaflops, shareOfLimit } = outcomes.bptt
  const interval = `[${ratio.low.toFixed(2)}, ${ratio.high.toFixed(2)}]`
  const speed = [
    gigaflops !== null && `${formatGigaflops(gigaflops)} GF/s`,
    shareOfLimit !== null && formatShare(shareOfLimit),
  ].filter(Boolean)
  return [`**${formatFactor(ratio.median)}** ${interval}`, ...(speed.length ? [speed.join(', ')] : [])].join(
    '<br>',
  )
}
