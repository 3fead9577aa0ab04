// Puts what the HTML page is made of beside the compiled html.js: its style and script, and the chart library with
// the licences of all that is in it.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const to = join(here, '../../../dist/bench/report/page')
mkdirSync(to, { recursive: true })
for (const name of ['page.css', 'page.js']) copyFileSync(join(here, name), join(to, name))

const chart = createRequire(import.meta.url).resolve('chart.js')
const color = createRequire(chart).resolve('@kurkle/color') // part of the minified file
const licences = [chart, color].map(
  (entry) => `/*!\n${readFileSync(join(dirname(entry), '../LICENSE.md'), 'utf8').trim()}\n*/\n`,
)
const library = readFileSync(join(dirname(chart), 'chart.umd.min.js'), 'utf8')
if (/<\/script/i.test(library)) throw new Error('the chart library cannot be put into a page as it is')
writeFileSync(join(to, 'chart.js'), licences.join('') + library)
