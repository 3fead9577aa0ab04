// What `npm publish` would send, checked: no build file, no scripts that npm
// runs at install, everything the exports name, and the sizes within budget.
//
//   node release/package.mjs [--complete]      --complete: a binary for every target must be there
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cudaFile, prebuildFile, root, table } from './targets.mjs'

const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
const [pack] = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8' }),
)
const files = pack.files.map((file) => file.path)

const problems = []
const require = (condition, problem) => condition || problems.push(problem)

for (const script of ['preinstall', 'install', 'postinstall', 'prepare'])
  require(!manifest.scripts[script], `package.json has a ${script} script: npm blocks those of dependencies`)
require(manifest.gypfile === false, 'package.json needs "gypfile": false')
require(!files.includes('binding.gyp'), 'binding.gyp is in the package: npm would run node-gyp at install')
for (const file of [
  ...Object.values(manifest.exports['.']).flatMap(Object.values),
  manifest.bin.bptt,
  ...['page.css', 'page.js', 'chart.js'].map((name) => `dist/bench/report/page/${name}`),
  'LICENSE',
  'README.md',
])
  require(files.includes(file.replace(/^\.\//, '')), `${file} is missing from the package`)
require(!files.some((file) =>
  /^dist\/(cli|bench)\/.*\.(d\.ts|map)$/.test(file),
), 'the package holds types or source maps of the command line')
require(!files.some((file) => file.includes('node_modules')), 'the package holds node_modules')
require(files.every((file) =>
  /^(dist|lib|prebuilds|bench)\/|^[A-Z]+(\.md)?$|^package\.json$/.test(file),
), 'the package holds files outside dist, lib, bench and prebuilds')
if (process.argv.includes('--complete')) {
  require(files.includes('dist/sbom.cdx.json'), 'dist/sbom.cdx.json is missing: node release/sbom.mjs')
  for (const target of table.targets)
    for (const path of [prebuildFile(target), ...(target.cuda ? [cudaFile(target)] : [])]) {
      const file = path.slice(root.length)
      require(files.includes(file), `${file} is missing: npm run prebuilds -- --cuda`)
    }
}

// Scripts, types and documents; then so much for each binary.
const { addonBytes } = table
const binaries = files.filter((file) => /^prebuilds\/.*\.(node|so)$/.test(file))
const budget = 4_000_000 + addonBytes * binaries.length
require(pack.unpackedSize < budget, `${pack.unpackedSize} bytes unpacked, budget ${budget}`)
const packedBudget = 1_000_000 + 0.3 * addonBytes * binaries.length
require(pack.size < packedBudget, `${pack.size} bytes packed, budget ${packedBudget}`)

console.log(
  `${files.length} files, ${pack.size} bytes packed, ${pack.unpackedSize} unpacked, ${binaries.length} binaries`,
)
for (const problem of problems) console.error(`package: ${problem}`)
process.exit(problems.length === 0 ? 0 : 1)
