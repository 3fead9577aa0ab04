// All that is to be true before a release; ends with the list of files to publish.
//
//   npm run release:check      Linux x64 with the registries in reach; about an hour on two cores at first
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { root } from './targets.mjs'

const STEPS = [
  ['build', 'npm', ['run', '--silent', 'build']],
  ['prebuilt binaries', 'node', ['release/prebuild.mjs', '--cuda']],
  ['prebuilt binaries, run', 'node', ['release/run.mjs']],
  ['NEON kernels, whole parity suite', 'node', ['release/neon.mjs']],
  ['bill of materials', 'node', ['release/sbom.mjs']],
  ['node-gyp and CMake build the same', 'node', ['release/builds.mjs']],
  ['package', 'node', ['release/package.mjs', '--complete']],
  ['package, installed', 'node', ['release/install.mjs']],
  ['package, in other programs than this Node', 'node', ['release/runtimes.mjs']],
  ['declarations', 'node', ['release/types.mjs']],
]

const failed = STEPS.filter(([name, program, parameters]) => {
  console.log(`\n=== ${name}`)
  const start = Date.now()
  const { status } = spawnSync(program, parameters, { cwd: root, stdio: 'inherit' })
  console.log(`=== ${name}: ${status === 0 ? 'ok' : 'FAILED'}, ${Math.round((Date.now() - start) / 1000)} s`)
  return status !== 0
})

const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))
const changes = readFileSync(`${root}CHANGELOG.md`, 'utf8')
const open = [
  ...failed.map(([name]) => `${name} failed`),
  ...(changes.includes(`## [${manifest.version}]`)
    ? []
    : [`CHANGELOG.md has no section for ${manifest.version}`]),
  ...(manifest.repository ? [] : ['package.json names no repository, which provenance compares with']),
]
console.log('\nFiles to publish:')
const [pack] = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  }),
)
for (const { path, size } of pack.files) console.log(`${String(size).padStart(9)} ${path}`)
console.log(`${pack.size} bytes packed, ${pack.unpackedSize} unpacked`)
for (const words of open) console.log(`not ready: ${words}`)
process.exitCode = open.length === 0 ? 0 : 1
