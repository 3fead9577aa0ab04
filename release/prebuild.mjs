// Makes the prebuilt binaries of the package, prebuilds/<platform>-<arch>/bptt[.<libc>].node, on one Linux x64
// machine, and checks what each needs and shows.
//
//   npm run prebuilds [-- [--cuda] [NAME...]]      all targets of release/targets.json, or those named
//
// --cuda makes bptt_cuda.so, too, for the target that has it: that takes nvcc 13 and NVIDIA's headers from PyPI.
// BPTT_JOBS is how many compilers run at once. The command is not called `prebuild`, because npm runs a script of
// that name before every `npm run build`.
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { problemsOf, problemsOfCuda } from './inspect.mjs'
import { cudaFile, prebuildFile, root, table, targetsNamed, workingFolder } from './targets.mjs'
import { zig } from './zig.mjs'

try {
  main()
} catch (error) {
  console.error(`prebuilds: ${error.message}`)
  process.exitCode = 1
}

function main() {
  const { values, positionals } = parseArgs({
    options: { cuda: { type: 'boolean', default: false } },
    allowPositionals: true,
  })
  const targets = targetsNamed(positionals)
  if (values.cuda && !targets.some(({ cuda }) => cuda))
    throw new Error('--cuda: none of these targets has the CUDA backend')
  zig()
  if (values.cuda) execFileSync('node', [`${root}native/cuda/fetch.mjs`], { stdio: 'inherit' })
  for (const target of targets) {
    const withCuda = values.cuda && target.cuda === true
    const files = make(target, withCuda)
    const problems = [
      ...problemsOf(target, table),
      ...(withCuda ? problemsOfCuda(target, table) : []),
      ...files.flatMap(tooLarge),
    ]
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
  const library = cudaFile(target)
  rmSync(addon, { force: true })
  if (target.cuda) rmSync(library, { force: true })
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
    { stdio: 'inherit', env: { ...process.env, BPTT_PREBUILD_CUDA: withCuda ? '1' : '' } },
  )
  return withCuda ? [addon, library] : [addon]
}
