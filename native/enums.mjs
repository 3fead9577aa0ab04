/**
 * `node native/enums.mjs`: writes lib/enums.ts, the enums of backend.h as TypeScript knows them.
 * With --check it writes nothing, and exits 1 where the file is another.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const target = new URL('../lib/enums.ts', import.meta.url)
const header = readFileSync(new URL('backend.h', import.meta.url), 'utf8')

// A list of ENTRY(enumerator, name), whose lines end in backslashes but for the last.
const lists = [...header.matchAll(/^#define BPTT_(\w+)\(ENTRY\)((?:.*\\\n)*.*)$/gm)]
const constants = lists.map(([, name, body]) => {
  const names = [...body.matchAll(/ENTRY\(\w+, (\w+)\)/g)].map((entry) => entry[1])
  return `export const ${name} = {\n${names.map((each, i) => `  ${each}: ${i},\n`).join('')}} as const\n`
})
const text = `/** The enums of native/backend.h, by native/enums.mjs. */\n\n${constants.join('\n')}`

if (!process.argv.includes('--check')) writeFileSync(target, text)
else if (readFileSync(target, 'utf8') !== text) {
  console.error('lib/enums.ts is not what native/backend.h says: run node native/enums.mjs')
  process.exit(1)
}
