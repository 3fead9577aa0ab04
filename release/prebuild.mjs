// Makes the prebuilt binaries of the package, prebuilds/<platform>-<arch>/bptt[.<libc>].node, on one Linux x64
// machine, and checks what each needs and shows.
//
//   npm run prebuilds [-- [--cuda] [NAME...]]      all targets of release/targets.json, or those named
//
// --cuda puts build/Release/bptt_cuda.so, which `npm run build:cuda` made, beside linux-x64-glibc. BPTT_JOBS is how
// many compilers run at once. The command is not called `prebuild`, because npm runs a script of that name before
// every `npm run build`.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { problemsOf } from './inspect.mjs'
import { prebuildFile, prebuildFolder, root, table, targetsNamed, workingFolder } from './targets.mjs'
import { zig } from './zig.mjs'

const CUDA = { target: 'linux-x64-glibc', library: `${root}build/Release/bptt_cuda.so` }

try {
  main()
} catch (error) {
  console.error(`prebuilds: ${error.message}`)
  process.exitCode = 1
}

function main() {
  const { values, positionals } = parseArgs({
    options: { cuda: { type: 'boolean' } },
    allowPositionals: true,
  })
  const targets = targetsNamed(positionals)
  if (values.cuda && !existsSync(CUDA.library))
    throw new Error(`--cuda: there is no ${CUDA.library}; npm run build:cuda makes it`)
  zig()
  for (const target of targets) {
    const files = make(target, values.cuda && target.name === CUDA.target)
    const problems = [...problemsOf(target, table), ...files.flatMap(tooLarge)]
    const sizes = files.map((file) => `${file.slice(root.length)} ${statSync(file).size} bytes`)
    console.log(`${target.name}: ${sizes.join(', ')}: ${problems.length === 0 ? 'ok' : 'NOT FIT TO SHIP'}`)
    for (const problem of problems) console.error(`${target.name}: ${problem}`)
    if (problems.length > 0) process.exitCode = 1
  }
}

function tooLarge(file) {
  const { size } = statSync(file)
  return size > table.addonBytes ? [`${file} has ${size} bytes, more than ${table.addonBytes}`] : []
}

/** The files made. */
function make(target, withCuda) {
  const addon = prebuildFile(target)
  const library = `${prebuildFolder(target)}/bptt_cuda.so`
  rmSync(addon, { force: true })
  if (target.name === CUDA.target) rmSync(library, { force: true })
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
      // By this machine's strip; the addon is stripped by zig.
      ...(withCuda ? ['--strip'] : []),
    ],
    { stdio: 'inherit', env: { ...process.env, BPTT_CUDA_LIBRARY_TO_SHIP: withCuda ? CUDA.library : '' } },
  )
  return withCuda ? [addon, library] : [addon]
}
