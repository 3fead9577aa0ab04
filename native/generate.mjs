// Makes TypeScript of what the headers list: lib/enums.ts of the enums in backend.h and the addon's number of the CPU,
// and the lists in lib/cells.ts of those in cells.h. `node native/generate.mjs` writes the files; with --check it writes
// none, and exits with 1 where a file is not what it would write.
import { readFileSync, writeFileSync } from 'node:fs'

/** The lists of a header: the arguments of every ENTRY(...) in what `#define BPTT_NAME(ENTRY)` makes. */
function listsOf(header) {
  const text = readFileSync(new URL(header, import.meta.url), 'utf8')
    .replaceAll('\\\n', '')
    .replace(/\/\*.*?\*\//g, '')
  return [...text.matchAll(/^#define BPTT_(\w+)\((\w+)\)(.*)$/gm)].map(([, name, entry, body]) => {
    const entries = body.matchAll(new RegExp(`\\b${entry}\\(((?:[^()]|\\([^()]*\\))*)\\)`, 'g'))
    return {
      name,
      entry,
      entries: [...entries].map(([, given]) => given.split(/,(?![^(]*\))/).map((one) => one.trim())),
    }
  })
}

function enums() {
  const constants = listsOf('backend.h')
    .filter(({ entry }) => entry === 'ENTRY')
    .map(({ name, entries }) => {
      const lines = entries.map(([, each], i) => `  ${each}: ${i},\n`)
      return `export const ${name} = {\n${lines.join('')}} as const\n`
    })
  return `/** The enums of native/backend.h and the addon's number of the CPU, by native/generate.mjs. */

${constants.join('\n')}
/** Device number of the CPU; \`cuda:n\` is n. */
export const CPU_DEVICE = ${cpuDevice()}
`
}

function cpuDevice() {
  const text = readFileSync(new URL('addon/environment.h', import.meta.url), 'utf8')
  return text.match(/^constexpr int kCpuDevice = (-?\d+);$/m)[1]
}

function cells() {
  const { CELLS, PARAMETERS } = Object.fromEntries(listsOf('cells.h').map((one) => [one.name, one.entries]))
  const names = new Map(CELLS.map(([enumerator, name]) => [enumerator, name]))
  const facts = CELLS.map(
    ([, name, , gates, states, cudnn], number) =>
      `  ${name}: { number: ${number}, gates: ${gates}, states: ${states}, cudnn: ${Number(cudnn) >= 0} },\n`,
  )
  const parameters = PARAMETERS.map(([name, present, ...shape]) => {
    const condition = present.replace(/BPTT_\w+/g, (one) => `'${names.get(one)}'`)
    return `  { name: '${name}', present: ${ofSizes(condition)}, shape: ${ofSizes(`[${shape.join(', ')}]`)} },\n`
  })
  return `export const CELLS = {
${facts.join('')}} as const satisfies Record<string, CellFacts>

const PARAMETERS: readonly Parameter[] = [
${parameters.join('')}]
`
}

/** An expression of cells.h as a function of the sizes that it names. */
function ofSizes(expression) {
  const sizes = new Set(expression.replace(/'\w*'/g, '').match(/\b(G|H|I|P|Hout|bias|is)\b/g))
  return `(${sizes.size > 0 ? `{ ${[...sizes].join(', ')} }` : ''}) => ${expression}`
}

/** `text` with what is generated in the place of what stands between the two marks. */
function filled(text, generated) {
  const [begin, end] = ['// from native/cells.h {\n', '// }\n']
  return text.slice(0, text.indexOf(begin) + begin.length) + generated + text.slice(text.indexOf(end))
}

for (const [name, generate] of [
  ['enums.ts', () => enums()],
  ['cells.ts', (text) => filled(text, cells())],
]) {
  const file = new URL(`../lib/${name}`, import.meta.url)
  const text = readFileSync(file, 'utf8')
  const wanted = generate(text)
  if (!process.argv.includes('--check')) {
    writeFileSync(file, wanted)
  } else if (text !== wanted) {
    console.error(`lib/${name} is not what the headers in native say: run node native/generate.mjs`)
    process.exitCode = 1
  }
}
