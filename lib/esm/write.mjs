// Writes what tsc does not: the entry of import to the compiled library, and what makes dist/esm a folder of ES modules.
import { copyFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const dist = new URL('../../dist/', import.meta.url)

// By name: export * would pass on __esModule, which is no name of the library.
const names = Object.keys(createRequire(dist)(fileURLToPath(new URL('index.js', dist)))).sort()
writeFileSync(new URL('index.mjs', dist), `export {\n  ${names.join(',\n  ')},\n} from './index.js'\n`)
writeFileSync(new URL('index.d.mts', dist), "export * from './index.js'\n")

for (const name of ['package.json', 'root.js'])
  copyFileSync(new URL(name, import.meta.url), new URL(`esm/${name}`, dist))
