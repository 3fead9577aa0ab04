// Runs the prebuilt binaries: each under the Nodes that release/targets.json names, on this machine, by qemu-user, by
// Wine or by musl's loader. Every one must give the bits that the build in build/Release gives: of a training run
// (training.mjs) and of more than a thousand results and gradients (test/support/bits.mjs).
//
//   node release/run.mjs [NAME...]      needs `npm run build` and `npm run prebuilds`
//
// A target that cannot be run here is no failure; the last lines say which were run, and how.
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CannotRun, host } from './hosts.mjs'
import { prebuildFile, root, targetsNamed } from './targets.mjs'

const PROGRAMS = ['release/training.mjs', 'test/support/bits.mjs']

const targets = targetsNamed(process.argv.slice(2))
const folder = mkdtempSync(join(tmpdir(), 'bptt-run-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

// AVX2, AVX-512 and NEON agree in every bit; a machine without them has nothing to compare with.
const expected = PROGRAMS.map((program) => results([process.execPath], program, {}))
if (expected[0].isa === 'baseline') throw new Error('needs a machine with AVX2')
const lines = targets.map((target) => `${target.name.padEnd(18)} ${verdict(target)}`)
console.log(lines.join('\n'))

function verdict(target) {
  if (!existsSync(prebuildFile(target))) return fail('not built: npm run prebuilds')
  if (!target.run) return 'built, not run'
  const words = []
  for (const node of target.run.nodes) {
    try {
      words.push(runUnder(target, node))
    } catch (error) {
      if (!(error instanceof CannotRun)) return fail(`FAILED under ${node}: ${error.message}`)
      words.push(`built, not run under ${node}: ${error.message}`)
    }
  }
  return words.join(', ')
}

function fail(words) {
  process.exitCode = 1
  return words
}

function runUnder(target, node) {
  const { command, env } = host(target, node, folder)
  let isa
  for (const [i, program] of PROGRAMS.entries()) {
    const found = results(command, program, { ...env, PREBUILDS_ONLY: '1' })
    isa = found.isa
    const { isa: _, compiler: __, ...bits } = expected[i]
    for (const [name, value] of Object.entries(bits))
      if (JSON.stringify(found[name]) !== JSON.stringify(value))
        throw new Error(`${program}: ${name} differs from that of ${expected[i].isa} in build/Release`)
  }
  const by = target.run.by ? ` by ${target.run.by.join(' and ')}` : ''
  console.log(`run: ${target.name}: ${node}${by}: ${isa}: the same bits`)
  return `run under ${node}${by} (${isa})`
}

function results([program, ...parameters], script, env) {
  // By a file: Node under Wine cannot write to a pipe.
  const path = join(folder, 'output')
  const file = openSync(path, 'w')
  const { status, signal, stderr, error } = spawnSync(program, [...parameters, script], {
    cwd: root,
    env: { ...process.env, BPTT_ISA: '', ...env },
    stdio: ['ignore', file, 'pipe'],
    encoding: 'utf8',
    timeout: 600_000,
  })
  closeSync(file)
  if (status !== 0) throw new Error(`${script}: ${error?.message ?? (stderr.trim() || signal)}`)
  return JSON.parse(readFileSync(path, 'utf8'))
}
