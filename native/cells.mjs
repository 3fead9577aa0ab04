// The lists of cells.h in lib/cells.ts: `node native/cells.mjs` writes them there, with --check it only
// says whether they are the same.
import { readFileSync, writeFileSync } from 'node:fs'

const header = readFileSync(new URL('cells.h', import.meta.url), 'utf8').replaceAll('\\\n', '')
const target = new URL('../lib/cells.ts', import.meta.url)
const [BEGIN, END] = ['// from native/cells.h {\n', '// }\n']

/** The arguments of every ENTRY(...) in the list that #define NAME(ENTRY) makes. */
function list(name) {
  const [, entry, body] = header.match(new RegExp(`#define ${name}\\((\\w+)\\)(.*)`))
  return [...body.matchAll(new RegExp(`${entry}\\(((?:[^()]|\\([^()]*\\))*)\\)`, 'g'))].map(([, given]) =>
    given.split(/,(?![^(]*\))/).map((one) => one.trim()),
  )
}

const names = new Map(list('BPTT_CELLS').map(([enumerator, name]) => [enumerator, name]))

const cells = list('BPTT_CELLS').map(
  ([, name, , gates, states, cudnn], number) =>
    `  ${name}: { number: ${number}, gates: ${gates}, states: ${states}, cudnn: ${Number(cudnn) >= 0} },\n`,
)

const parameters = list('BPTT_PARAMETERS').map(([name, present, ...shape]) => {
  const expressions = [present.replace(/BPTT_\w+/g, (one) => `'${names.get(one)}'`), `[${shape.join(', ')}]`]
  const [condition, sizes] = expressions.map((one) => {
    const words = [...new Set(one.replace(/'\w*'/g, '').match(/\b(G|H|I|P|Hout|bias|is)\b/g))]
    return `(${words.length > 0 ? `{ ${words.join(', ')} }` : ''}) => ${one}`
  })
  return `  { name: '${name}', present: ${condition}, shape: ${sizes} },\n`
})

const generated = `export const CELLS = {
${cells.join('')}} as const satisfies Record<string, CellFacts>

const PARAMETERS: readonly Parameter[] = [
${parameters.join('')}]
`

const text = readFileSync(target, 'utf8')
const [begin, end] = [text.indexOf(BEGIN) + BEGIN.length, text.indexOf(END)]
const wanted = text.slice(0, begin) + generated + text.slice(end)
if (!process.argv.includes('--check')) {
  writeFileSync(target, wanted)
} else if (text !== wanted) {
  console.error('lib/cells.ts differs from native/cells.h: run `node native/cells.mjs`')
  process.exit(1)
}
