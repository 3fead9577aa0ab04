// `npm run test:cuda`, on a machine with a GPU: the tests of device 'cuda' on the real libraries, then
// its speed. Ends with a table for docs/cuda.md.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..', '..')
const report = join(root, 'build', 'cuda.json')
const fetched = join(root, 'build', 'cuda', 'lib')
// What was fetched serves where the machine has no libraries of its own.
const libraries = process.env.BPTT_CUDA_PATH ?? (existsSync(fetched) ? fetched : '')
const env = { ...process.env, BPTT_CUDA_PATH: libraries, BPTT_TEST_CUDA: 'hardware' }

const run = (command, ...args) => spawnSync(command, args, { cwd: root, env, stdio: 'inherit' }).status === 0
const bptt = (...args) => run(process.execPath, 'dist/cli/main.js', ...args)

process.env.BPTT_CUDA_PATH = libraries
const { cuda } = await import('../../dist/index.js')
const reason = cuda.unavailableReason()
if (reason !== null) {
  console.error(`There is no CUDA device to test: ${reason}`)
  process.exit(1)
}
const passed = run('npx', '--no-install', 'vitest', 'run', 'test/cuda.test.ts')
const timed = bptt('bench', '--suite', 'readme', '--device', 'cuda', '--peers', 'none', '--json', report)

console.log(`\n| ${new Date().toISOString().slice(0, 10)} | |\n| --- | --- |`)
console.log(`| tests of device 'cuda' | ${passed ? 'passed' : 'FAILED'} |`)
if (existsSync(report) && timed) {
  const { machine, results } = JSON.parse(readFileSync(report, 'utf8'))
  console.log(`| machine | ${machine.cpu}, Node ${machine.node} |`)
  for (const { case: one, outcomes } of results) {
    const { pass, cell, B, T, I, H } = one
    const { status, seconds, gigaflops, reason: why } = outcomes.bptt
    const said =
      status === 'timed' ? `${(seconds.median * 1e3).toFixed(3)} ms, ${gigaflops.toFixed(0)} GF/s` : why
    console.log(`| ${cell} ${pass} ${B},${T},${I},${H} | ${said} |`)
  }
}
process.exit(passed && timed ? 0 : 1)
