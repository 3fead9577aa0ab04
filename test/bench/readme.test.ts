/** `npm run bench` rewrites the README's table from a report, and leaves it alone where it has none. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import type { Report } from '../../bench/report/report.ts'
import { madeUpReport } from '../support/report.ts'

const script = fileURLToPath(new URL('../../bench/readme.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'bptt-bench-readme-'))
afterAll(() => rmSync(folder, { recursive: true }))

const OLD = `# Title
<!-- bench:begin -->
old figures
<!-- bench:end -->
the rest`

function rewrite(report: Report | null, before = OLD, ...options: string[]) {
  const [readme, from] = [join(folder, 'README.md'), join(folder, 'report.json')]
  writeFileSync(readme, before)
  writeFileSync(from, JSON.stringify(report))
  const source = report ? ['--from', from] : []
  const args = [script, '--readme', readme, ...source, ...options]
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  return { status, stderr, after: readFileSync(readme, 'utf8') }
}

it('writes a table for each pass', () => {
  const { status, stderr, after } = rewrite({ ...madeUpReport(), command: "bptt bench $& $'" })
  expect([status, stderr]).toEqual([0, ''])
  expect(after).toMatch(/^# Title\n<!-- bench:begin -->\n[\s\S]*\n<!-- bench:end -->\nthe rest$/)
  expect(after).not.toContain('old figures')
  const lines = after.split('\n')
  const at = lines.indexOf('| Training step, 2 threads | LSTM | GRU | RNN |')
  expect(lines[at + 1]).toBe('| --- | --- | --- | --- |')
  // LSTM: 1.3 at 0.35 of 150 GF/s; GRU twice, RNN three times that ratio.
  expect(lines[at + 2]).toBe(
    '| 1, 100, 128, 128 | **1.30x** [1.21, 1.37]<br>52.5 GF/s, 35 % | **2.60x** [2.42, 2.73]<br>52.5 GF/s, 35 % | **3.90x** [3.63, 4.10]<br>52.5 GF/s, 35 % |',
  )
  const mean = (1.3 * 1.5 * 1.7 * 1.9 * 2.1 * 2.3) ** (1 / 6)
  expect(lines[at + 8]).toBe(
    `| geometric mean | **${mean.toFixed(2)}x** | **${(2 * mean).toFixed(2)}x** | **${(3 * mean).toFixed(2)}x** |`,
  )
  expect(after).toContain('| Inference, 2 threads | LSTM | GRU | RNN |')
  for (const text of [
    '2026-11-22, Made-up CPU 3000, 2 cores, avx2 kernels',
    'Node v20.20.2, PyTorch 2.13.0',
    "`bptt bench $& $'`",
    '150 GF/s on 2 threads',
    'the median of 11 or more pairs',
  ])
    expect(after).toContain(text)
})

it('names what failed, and leaves it out of the mean', () => {
  const report = madeUpReport()
  const [first] = report.results
  if (!first) throw new Error('a report without results')
  first.outcomes.torch = { status: 'failed', reason: 'wrong results' }
  first.ratios = {}
  const { status, after } = rewrite(report)
  expect(status).toBe(0)
  expect(after).toContain('| 1, 100, 128, 128 | torch failed | **2.60x**')
  expect(after).toMatch(/\| geometric mean \| \*\*1\.88x\*\* \(5 of 6\) \|/)
})

it('leaves the table alone without figures', () => {
  const report = madeUpReport()
  for (const result of report.results) result.ratios = {}
  const cases = [
    [rewrite(report), /no ratio to torch/],
    [rewrite({ ...madeUpReport(), versions: {} }), /no ratio to torch/],
    [rewrite(null, OLD, '--python', join(folder, 'no-python')), /without torch.*there is no .*no-python/],
  ] as const
  for (const [{ status, stderr, after }, message] of cases) {
    expect(status).toBe(1)
    expect(stderr).toMatch(message)
    expect(stderr).toContain('left as it was')
    expect(after).toBe(OLD)
  }
})

it.each([
  'no markers',
  `${OLD}\n${OLD}`,
  '<!-- bench:end --><!-- bench:begin -->',
])('wants one pair of markers: %j', (before) => {
  const { status, stderr, after } = rewrite(madeUpReport(), before)
  expect([status, after]).toEqual([1, before])
  expect(stderr).toContain('there must be one')
})

it('finds the markers of the README', () => {
  const readme = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8')
  expect(rewrite(madeUpReport(), readme).status).toBe(0)
})
