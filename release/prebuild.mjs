// Makes the prebuilt binaries of the package, prebuilds/<platform>-<arch>/bptt[.<libc>].node, on one Linux x64
// machine, and checks what each needs and exports.
//
//   npm run prebuilds [-- [--cuda] [NAME...]]      all targets of release/targets.json, or those named
//
// --cuda adds build/Release/bptt_cuda.so, which `npm run build:cuda` made, to linux-x64-glibc. The command is not
// called `prebuild`, because npm runs a script of that name before every `npm run build`.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { problemsOf } from './inspect.mjs'
import { prebuildFile, prebuildFolder, root, table, targetsNamed, workingFolder } from './targets.mjs'
import { zig } from './zig.mjs'

const CUDA_LIBRARY = `${root}build/Release/bptt_cuda.so`

const { values, positionals } = parseArgs({ options: { cuda: { type: 'boolean' } }, allowPositionals: true })
const targets = targetsNamed(positionals)
if (values.cuda && !existsSync(CUDA_LIBRARY))
  throw new Error(`--cuda: ${CUDA_LIBRARY} is not there; npm run build:cuda makes it`)
zig()

let failed = 0
for (const target of targets) {
  make(target, values.cuda && target.name === 'linux-x64-glibc')
  const problems = problemsOf(target, table)
  const { size } = statSync(prebuildFile(target))
  console.log(`${target.name}: ${size} bytes, ${problems.length === 0 ? 'ok' : 'NOT FIT TO SHIP'}`)
  for (const problem of problems) console.error(`${target.name}: ${problem}`)
  failed += problems.length
}
process.exitCode = failed === 0 ? 0 : 1

function make(target, withCuda) {
  rmSync(prebuildFile(target), { force: true })
  if (target.name === 'linux-x64-glibc') rmSync(`${prebuildFolder(target)}/bptt_cuda.so`, { force: true })
  const folder = workingFolder(target)
  mkdirSync(folder, { recursive: true })
  // prebuildify names the file after the package.
  writeFileSync(`${folder}/package.json`, '{ "name": "bptt" }\n')
  execFileSync(
    `${root}node_modules/.bin/prebuildify`,
    [
      ...['--napi', '--cwd', folder, '--out', root, '--node-gyp', `${root}release/compile.mjs`],
      ...['--platform', target.platform, '--arch', target.arch],
      ...(target.libc ? ['--libc', target.libc, '--tag-libc', target.libc] : []),
    ],
    {
      stdio: 'inherit',
      env: { ...process.env, BPTT_CUDA_LIBRARY_TO_SHIP: withCuda ? CUDA_LIBRARY : '' },
    },
  )
}
