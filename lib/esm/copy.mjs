// Puts what makes dist/esm a folder of ES modules beside the compiled ones.
import { copyFileSync } from 'node:fs'

for (const name of ['package.json', 'root.js'])
  copyFileSync(new URL(name, import.meta.url), new URL(`../../dist/esm/${name}`, import.meta.url))
