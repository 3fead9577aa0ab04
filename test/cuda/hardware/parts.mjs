// The parts of `npm run test:cuda`. Each yields outcomes: how many tests of what passed, failed and were left out.
//
//   { name, passed, failed: [{ name, words }], skipped: [{ name, why }], seconds, bench? }
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { check, findTool, lastLine, root, run } from './setup.mjs'

const HOUR = 3600

/** A new folder, until this process ends. */
function scratch() {
  const folder = mkdtempSync(join(tmpdir(), 'bptt-test-cuda-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export const PARTS = {
  programs: { title: 'ops and recurrent layers on the device, in C++', run: runPrograms },
  suite: { title: "the suite of device 'cuda', on the device", run: runSuite },
  training: { title: 'bptt train and sample, beside the CPU', run: runTraining },
  bench: { title: 'bptt bench --device cuda', run: runBench },
  sanitizer: { title: 'the same programs under compute-sanitizer', run: runSanitizer },
  rest: { title: 'everything else, which needs no GPU, on this machine', run: runRest },
}

export function runPart(name, setup) {
  return PARTS[name].run(setup)
}

const one = (name, seconds, failure) => ({
  name,
  passed: failure === null ? 1 : 0,
  failed: failure === null ? [] : [{ name, words: failure }],
  skipped: [],
  seconds,
})
const leftOut = (name, why) => ({ name, passed: 0, failed: [], skipped: [{ name, why }], seconds: 0 })

// -- programs ----------------------------------------------------------------------

/** The programs that ctest runs over the fakes, linked with nvcc's kernels. */
async function* runPrograms({ env, programs }) {
  for (const test of ['ops_test', 'ops_lines_test', 'ops_train_test', 'recurrent_test']) {
    const name = `cuda_${test}_on_device`
    const program = join(check, 'test', 'cuda', name)
    if (programs !== null) yield one(name, 0, programs)
    else if (!existsSync(program)) yield leftOut(name, 'not built in build/cuda/check: that takes nvcc')
    else yield readChecks(name, await run(program, [], { env, seconds: HOUR / 2 }))
  }
}

// Not every tool for every program: the kernels of cuDNN are not ours to clear of hazards.
const TOOLS = [
  ['memcheck', 'cuda_ops_test_on_device'],
  ['memcheck', 'cuda_ops_train_test_on_device'],
  ['memcheck', 'cuda_recurrent_test_on_device'],
  ['racecheck', 'cuda_ops_test_on_device'],
  ['racecheck', 'cuda_ops_train_test_on_device'],
  ['synccheck', 'cuda_ops_test_on_device'],
]
const SANITIZER_FOUND = 99

/** What no emulation shows: the accesses of nvcc's code, and threads that run at once. */
async function* runSanitizer({ env }) {
  const sanitizer = findTool('compute-sanitizer')
  for (const [tool, test] of TOOLS) {
    const name = `${tool} of ${test}`
    const program = join(check, 'test', 'cuda', test)
    if (sanitizer === null) yield leftOut(name, 'no compute-sanitizer on the PATH or in the CUDA toolkit')
    else if (!existsSync(program)) yield leftOut(name, 'not built in build/cuda/check: that takes nvcc')
    else {
      const args = ['--tool', tool, '--error-exitcode', String(SANITIZER_FOUND), program]
      const { ok, ended, output, seconds } = await run(sanitizer, args, { env, seconds: HOUR / 2 })
      const first = /^={9} (?!COMPUTE-SANITIZER).*(?:\n={9} {2,}.*)*/m.exec(output)?.[0]
      yield one(name, seconds, ok ? null : `${ended}: ${first ?? lastLine(output)}`)
    }
  }
}

/** Of test/native/check.h. */
function readChecks(name, { ok, ended, output, seconds }) {
  const counts = /^(\d+) checks, (\d+) failed$/m.exec(output)
  const first = /^.*: failed: .*(?:\n {4}.*)*/m.exec(output)?.[0]
  if (!counts) return one(name, seconds, `${ended}: ${first ?? lastLine(output)}`)
  const [checks, failures] = [Number(counts[1]), Number(counts[2])]
  const words = failures > 0 ? `${failures} checks, first: ${first}` : ok ? null : ended
  const result = one(name, seconds, words)
  return {
    ...result,
    name: `${name} (checks)`,
    passed: checks - failures,
    failures: Math.max(failures, ok ? 0 : 1),
  }
}

// -- vitest ------------------------------------------------------------------------

async function* runSuite({ env }) {
  const files = readdirSync(join(root, 'test')).filter((file) => /^cuda.*\.test\.ts$/.test(file))
  const on = { ...env, BPTT_TEST_CUDA: 'hardware' }
  yield await vitest(
    'test/cuda*.test.ts on the device',
    files.map((file) => `test/${file}`),
    on,
  )
}

async function vitest(name, files, env) {
  const json = join(scratch(), 'vitest.json')
  const program = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${json}`]
  const args = [program, 'run', ...reporters, ...files]
  const { ok, ended, seconds, output } = await run(process.execPath, args, { env, seconds: HOUR })
  if (!existsSync(json)) return one(name, seconds, `vitest ${ended}: ${lastLine(output)}`)
  const report = JSON.parse(readFileSync(json, 'utf8'))
  const tests = report.testResults.flatMap((file) => file.assertionResults)
  const failed = [
    // A file that cannot be read has a message and no tests.
    ...report.testResults
      .filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0)
      .map((file) => ({ name: file.name, words: file.message })),
    ...tests
      .filter(({ status }) => status === 'failed')
      .map(({ fullName, failureMessages }) => ({ name: fullName, words: failureMessages[0] })),
  ]
  const passed = tests.filter(({ status }) => status === 'passed').length
  if (failed.length === 0 && !ok) failed.push({ name, words: `vitest ${ended}` })
  if (failed.length === 0 && passed === 0) failed.push({ name, words: 'no test ran' })
  const skipped = tests
    .filter(({ status }) => status !== 'passed' && status !== 'failed')
    .map(({ fullName }) => ({ name: fullName, why: 'by its own condition' }))
  return { name, passed, failed, skipped, seconds }
}

// -- training ----------------------------------------------------------------------

/** Losses by a device and by the CPU. The first are of the same parameters; within 60 steps, those of a CPU with and
 * without fused multiply-adds came 3e-6 apart. */
const CLOSE = 1e-5
const STILL_CLOSE = 1e-3

/** The command line trains the same model on the device and on the CPU. */
async function* runTraining({ env, quick }) {
  const folder = scratch()
  const text = join(folder, 'text.txt')
  const words = 'the cat sat on the mat and the dog lay by the door until the sun went down over the hills. '
  writeFileSync(text, words.repeat(quick ? 4 : 400))
  const sizes = quick
    ? ['--hidden', '6', '--embedding', '4', '--batch', '2', '--seq-len', '4', '--steps', '3']
    : ['--hidden', '256', '--layers', '2', '--dropout', '0.2', '--steps', '60']
  const losses = {}
  for (const device of ['cpu', 'cuda']) {
    const name = `bptt train --device ${device}`
    const args = ['train', text, '--device', device, '--out', join(folder, device), '--json', ...sizes]
    const result = await bptt([...args, '--sample-length', '0'], env)
    losses[device] = [...result.output.matchAll(/"loss":([\d.e+-]+)/g)].map(([, loss]) => Number(loss))
    yield one(name, result.seconds, result.ok ? null : `${result.ended}: ${lastLine(result.output)}`)
  }
  yield one('bptt train: losses of both', 0, compareLosses(losses.cpu, losses.cuda))
  const sample = await bptt(['sample', join(folder, 'cuda'), '--length', '20', '--json'], env)
  yield one('bptt sample', sample.seconds, sample.ok ? null : `${sample.ended}: ${lastLine(sample.output)}`)
}

function bptt(args, env, seconds = HOUR / 2) {
  return run(process.execPath, ['dist/cli/main.js', ...args], { env, seconds })
}

/** Null, or how they differ. */
function compareLosses(cpu, cuda) {
  if (cpu.length < 2 || cpu.length !== cuda.length)
    return `${cpu.length} losses by the CPU, ${cuda.length} by the device`
  for (const [i, loss] of cuda.entries()) {
    const allowed = (i === 0 ? CLOSE : STILL_CLOSE) * cpu[i]
    if (!(Math.abs(loss - cpu[i]) <= allowed))
      return `loss ${i + 1} of ${cuda.length}: ${loss}, by the CPU ${cpu[i]}`
  }
  return null
}

// -- bench -------------------------------------------------------------------------

const SUITES = ['readme', 'variants', 'demo']

/** Every case is checked against the float64 reference before it is timed, in sizes that the tests have not. */
async function* runBench({ env, python, quick, report }) {
  const quickly = ['--shapes', '2,3,4,5', '--cells', 'lstm,gru', '--pairs', '2', '--peers', 'none']
  const full = (suite) => ['--suite', suite, '--peers', 'torch', '--python', python]
  const runs = quick ? { quick: quickly } : Object.fromEntries(SUITES.map((suite) => [suite, full(suite)]))
  for (const [suite, options] of Object.entries(runs)) {
    // For `bptt bench --compare`.
    const json = `${report.replace(/\.md$/, '')}-${suite}.json`
    rmSync(resolve(root, json), { force: true }) // never the figures of an older run
    const shown = ['bench', '--device', 'cuda', ...options]
    const name = `bptt ${shown.join(' ')}`
    const { ok, ended, output, seconds } = await bptt([...shown, '--json', json], env, 3 * HOUR)
    const bench = readJson(resolve(root, json))
    if (bench === null) {
      yield one(name, seconds, `${ended}: ${lastLine(output)}`)
      continue
    }
    const all = bench.results.flatMap(({ case: { pass, cell, B, T, I, H }, outcomes }) =>
      Object.entries(outcomes).map(([who, outcome]) => ({
        name: `${who}, ${cell} ${pass} ${[B, T, I, H]}`,
        ...outcome,
      })),
    )
    const failed = all
      .filter(({ status }) => status === 'failed')
      .map((o) => ({ name: o.name, words: o.reason }))
    if (failed.length === 0 && !ok) failed.push({ name, words: `${ended}: ${lastLine(output)}` })
    const skipped = [
      ...bench.missing.map(({ peer, reason }) => ({ name: peer, why: reason })),
      ...all.filter(({ status }) => status === 'unsupported').map((o) => ({ name: o.name, why: o.reason })),
    ]
    const passed = all.filter(({ status }) => status === 'timed').length
    yield { name: `${name} (cases)`, passed, failed, skipped, seconds, bench }
  }
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null // absent, or empty since nothing was measured
  }
}

// -- the rest ----------------------------------------------------------------------

/** What fails here too is not the GPU's. */
async function* runRest({ programs, env }) {
  const hidden = Object.fromEntries(Object.keys(env).map((name) => [name, undefined]))
  yield await ctest('C++ tests of the CPU', join(root, 'build'), hidden)
  if (programs === null) {
    const contract = 'cuda_cudnn_contract_test'
    const fakes = await ctest('C++ tests over the fakes', check, hidden, ['-E', contract])
    fakes.skipped.push({ name: contract, why: 'asks what cuDNN answers where there is no driver' })
    yield fakes
  } else yield one('C++ tests over the fakes', 0, programs)
  yield await vitest('every other test in TypeScript, and those of CUDA over the fakes', [], hidden)
}

async function ctest(name, folder, env, options = []) {
  const args = [
    '--test-dir',
    folder,
    '--no-tests=error',
    '--output-on-failure',
    '-j',
    String(availableParallelism()),
  ]
  const { ok, ended, output, seconds } = await run('ctest', [...args, ...options], { env, seconds: HOUR })
  const lines = [...output.matchAll(/^ *\d+\/\d+ Test +#\d+: (\S+) [ .]*(.*?) +[\d.]+ sec$/gm)]
  const failed = lines
    .filter(([, , said]) => !/^(Passed|\*\*\*(Skipped|Not Run))/.test(said))
    .map(([, test, said]) => ({ name: test, words: `${said}: ${firstFailure(output, test)}` }))
  if (failed.length === 0 && !ok) failed.push({ name, words: `ctest ${ended}: ${lastLine(output)}` })
  const skipped = lines
    .filter(([, , said]) => /^\*\*\*(Skipped|Not Run)/.test(said))
    .map(([, test, said]) => ({ name: test, why: said }))
  return { name, passed: lines.length - failed.length - skipped.length, failed, skipped, seconds }
}

/** The first failed check after the test's name. */
function firstFailure(output, test) {
  const after = output.slice(output.search(new RegExp(`Test +#\\d+: ${test} .*\\*\\*\\*`)))
  return /^.*: failed: .*(?:\n {4}.*)*/m.exec(after)?.[0] ?? after.split('\n')[1] ?? ''
}
