/** The page of a report: what it says, and that it shows in a real browser without asking for anything. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Outcome, Report } from '../../bench/report/report.ts'
import { findChromium, visit } from '../support/chromium.ts'
import { HOSTILE, madeUpReport, madeUpResult } from '../support/report.ts'

// As built, with the chart library beside it.
const built = fileURLToPath(new URL('../../dist/bench/report/html.js', import.meta.url))
const { prepareHtml } = (await import(built)) as typeof import('../../bench/report/html.ts')

const folder = mkdtempSync(join(tmpdir(), 'bptt-html-'))
afterAll(() => rmSync(folder, { recursive: true }))

function awkwardReport(): Report {
  const report = madeUpReport()
  const [first, second, third] = report.results
  if (!first || !second || !third) throw new Error('a report without results')
  first.outcomes.torch = { status: 'failed', reason: `output differs: ${HOSTILE}` }
  delete first.ratios.torch
  second.outcomes.onnxruntime = { status: 'unsupported', reason: 'no such cell' }
  delete second.ratios.onnxruntime
  third.outcomes.bptt = { status: 'failed', reason: 'ended by SIGSEGV' }
  third.ratios = {}
  report.command = `bptt bench ${HOSTILE}`
  report.machine.cpu = HOSTILE
  report.versions[HOSTILE] = HOSTILE
  report.missing.push({ peer: HOSTILE, reason: HOSTILE, install: HOSTILE })
  report.results.push(
    madeUpResult({ layers: 2, bidirectional: true, lengths: 'ragged' }, 0.6, 0.8),
    madeUpResult({ cell: 'rnn', dtype: 'float64', H: 64, projSize: 0 }, 0.4, 3),
    // More than bars can show: points.
    ...Array.from({ length: 60 }, (_, i) =>
      madeUpResult({ cell: 'gru', dtype: 'float64', T: 1 + i * i, B: 1 + i }, 0.2 + i / 100, 1 + i / 30),
    ),
  )
  report.results.push({
    ...madeUpResult({ pass: 'ops' }, 1, 1),
    outcomes: {
      bptt: {
        status: 'timed',
        seconds: { median: 4e-5, p10: 3e-5, p90: 5e-5 },
        samples: [3e-5, 4e-5, 5e-5],
        gigaflops: null,
        shareOfLimit: null,
        peakBytes: 3 * 2 ** 20,
      },
      native: {
        status: 'timed',
        seconds: { median: 2e-5, p10: 2e-5, p90: 3e-5 },
        samples: [2e-5, 1.9e-5, 2e-5],
        gigaflops: null,
        shareOfLimit: null,
      },
    },
    ratios: {},
  })
  return report
}

let page = ''
beforeAll(async () => {
  page = (await prepareHtml())(awkwardReport(), madeUpReport(0.8))
})

describe('the page', () => {
  // Without the scripts, whose texts are not markup.
  const markup = () => page.replace(/(<script[^>]*>)[\s\S]*?<\/script>/g, '$1</script>')

  it('names nothing outside it', () => {
    expect(page.match(/<script/g)?.length).toBe(3)
    for (const [, url] of markup().matchAll(/<[^>]*\b(?:src|href)\s*=\s*"?([^\s">]*)/g))
      expect(url).toMatch(/^data:/)
    expect(page).not.toMatch(/@import|url\(/)
    expect(page).toContain(`content="default-src &#39;none&#39;;`)
  })

  it('escapes what the report says', () => {
    expect(page).not.toContain(HOSTILE)
    expect(markup()).not.toContain('<img')
    expect(markup().split('&lt;img src=&quot;http://evil.invalid').length).toBeGreaterThan(6)
  })

  it('carries the licences of the chart library', () => {
    for (const holder of ['Chart.js Contributors', 'Jukka Kurkela']) {
      const at = page.indexOf(holder)
      expect(page.slice(at, at + 1200)).toContain(
        'The above copyright notice and this permission notice shall',
      )
    }
  })

  it('says what ran where, what is missing and what failed', () => {
    for (const text of ['avx2', 'v20.20.2', 'torch 2.13.0', '2 threads: 150 GF/s', '14.3 GB/s'])
      expect(markup()).toContain(text)
    expect(markup()).toMatch(/tfjs<td class="text">not installed<td class="text"><code>cd bench\/compare/)
    expect(markup()).toMatch(
      /1, 100, 512, 512<td>onnxruntime<td class="text unsupported">unsupported: no such cell/,
    )
    expect(markup()).toMatch(/16, 50, 128, 128<td>bptt<td class="text failed">failed: ended by SIGSEGV/)
    expect(markup()).toContain('1, 100, 128, 128 2 layers bidirectional ragged')
  })

  it('has the numbers in its tables', () => {
    // LSTM training: ratios 1.3, 1.5 .. 2.3 and 0.8.
    const mean = (1.3 * 1.5 * 1.7 * 1.9 * 2.1 * 2.3 * 0.8) ** (1 / 7)
    expect(markup()).toMatch(
      new RegExp(
        `LSTM training step, 2 threads<td>torch<td class="number">${mean.toFixed(2)}x<td class="number">0.80x`,
      ),
    )
    expect(markup()).toContain('<td class="number">1.40 to 1.58<td class="number">11') // 1.5
    expect(markup()).toContain(
      '<td class="number">40.0 us<td class="number">30.0 us<td class="number">50.0 us',
    )
    expect(markup()).toContain('3.0 MiB')
    expect(markup()).toContain('the API takes 21.0 us at 1, 100, 128, 128')
    expect(markup()).toMatch(/torch: 1\.\d\dx then, \d\.\d\dx now/)
  })

  it('draws no failed trial', () => {
    const json = /<script type="application\/json" id="charts">(.*?)<\/script>/.exec(page)?.[1] as string
    const [ratio, gigaflops] = JSON.parse(json)
    expect(ratio.rows[0]).toEqual(['1, 100, 128, 128', 'torch: failed'])
    const torch = ratio.series.find(({ name }: { name: string }) => name === 'torch')
    expect(torch.marks[0]).toBeNull()
    expect(torch.marks[1].value).toBe(1.5)
    expect(gigaflops.full).toBeCloseTo(150)
    expect(gigaflops.series[0].marks.map((mark: object | null) => mark !== null)).toEqual([
      true,
      true,
      false,
      true,
      true,
      true,
    ])
  })

  it('has no column that would be empty', async () => {
    const alone = madeUpReport().results.map((result) => ({
      ...result,
      outcomes: { bptt: result.outcomes.bptt as Outcome },
      ratios: {},
    }))
    const heads = (html: string) => html.match(/<thead>.*?<\/thead>/g)?.join('') ?? ''
    const absent = ['Ratio', '95 % interval', 'Pairs', 'Peak memory']
    const without = (await prepareHtml())({ ...madeUpReport(), results: alone, missing: [] })
    for (const title of absent) {
      expect(heads(page)).toContain(`>${title}`)
      expect(heads(without)).not.toContain(`>${title}`)
    }
    expect(heads(without)).toContain('>of limit')
    expect(without).not.toContain('<td class="number"><')
  })

  it('shows control characters instead of obeying them', async () => {
    const report = { ...madeUpReport(), command: 'a\u202eb\u001b' }
    expect((await prepareHtml())(report)).toContain('a\\u{202e}b\\u{1b}')
  })

  it('of an empty report says so much', async () => {
    const empty = (await prepareHtml())({ ...madeUpReport(), results: [], limits: [] })
    expect(empty).toContain('not measured')
  })
})

const chromium = findChromium()
if (!chromium) console.warn('bench/html: no chromium on PATH, so the page is not looked at in a browser')

describe.skipIf(!chromium)('in a browser', () => {
  const file = join(folder, 'report.html')
  const url = pathToFileURL(file).href
  beforeAll(() => writeFileSync(file, page))
  const look = (expression: string, options = {}) => visit(chromium as string, url, expression, options)

  // How many pixels of each canvas are not left as they were, and of how many colours.
  const painted = `[...document.querySelectorAll('canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const pixels = new Uint32Array(data.buffer)
    return { drawn: pixels.filter((p) => p >>> 24).length, shown: canvas.getBoundingClientRect().height > 100 }
  })`

  it.each([{ dark: false }, { dark: true }])('paints every chart, %j', async ({ dark }) => {
    const { value, problems, requests } = await look(
      `{ title: document.title, background: getComputedStyle(document.body).backgroundColor, charts: ${painted},
         overflow: document.documentElement.scrollWidth - innerWidth }`
        .replace(/^/, '(')
        .concat(')'),
      { dark },
    )
    const { title, background, charts, overflow } = value as {
      title: string
      background: string
      charts: { drawn: number; shown: boolean }[]
      overflow: number
    }
    expect(problems).toEqual([])
    expect(requests.filter((request) => !/^(file|data):/.test(request))).toEqual([])
    expect(requests).toContain(url)
    expect(title).toMatch(/^bptt benchmark, 2026/)
    expect(background).toBe(dark ? 'rgb(20, 23, 26)' : 'rgb(255, 255, 255)')
    expect(overflow).toBeLessThanOrEqual(0)
    expect(charts.length).toBeGreaterThan(15)
    for (const { drawn, shown } of charts) {
      expect(drawn).toBeGreaterThan(2000)
      expect(shown).toBe(true)
    }
  })

  it('can be read without scripts', async () => {
    const { value, problems } = await look(
      `({ text: document.body.innerText, figures: [...document.querySelectorAll('figure')].filter((f) => f.checkVisibility()).length })`,
      { scripts: false },
    )
    const { text, figures } = value as { text: string; figures: number }
    expect(problems).toEqual([])
    expect(figures).toBe(0)
    expect(text).toContain(HOSTILE)
    expect(text).toContain('1.40 to 1.58')
  })

  it('would notice a request and an error', async () => {
    const bad = join(folder, 'bad.html')
    writeFileSync(bad, '<img src="http://127.0.0.1:9/x.png"><script>console.error("oh")</script>')
    const { problems, requests } = await visit(chromium as string, pathToFileURL(bad).href, '0')
    expect(problems.join()).toContain('oh')
    expect(requests).toContain('http://127.0.0.1:9/x.png')
  })
})
