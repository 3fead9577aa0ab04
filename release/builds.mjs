// The two ways to build the addon, binding.gyp by node-gyp and CMakeLists.txt by cmake-js, are one truth: a training
// run (training.mjs) and the results of test/support/bits.mjs are the same bits on every instruction set of this machine.
//
//   node release/builds.mjs [baseline]     needs `npm run build`, python3 and Node's headers; builds with node-gyp.
//                                          With `baseline` its kernels alone, in a third of the time
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { root } from './targets.mjs'

const [only] = process.argv.slice(2)
if (only !== undefined && only !== 'baseline') throw new Error(`unknown argument ${only}; expected baseline`)
const PROGRAMS = ['release/training.mjs', 'test/support/bits.mjs']

const headers = dirname(dirname(process.execPath))
if (!existsSync(`${headers}/include/node/node_api.h`))
  throw new Error(`Node's headers are not at ${headers}/include/node`)

// node-gyp owns build/ of the folder that it runs in.
const folder = mkdtempSync(join(tmpdir(), 'bptt-builds-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
mkdirSync(join(folder, 'gyp'))
for (const name of ['native', 'binding.gyp', 'package.json'])
  cpSync(root + name, join(folder, 'gyp', name), { recursive: true })
symlinkSync(`${root}node_modules`, join(folder, 'gyp/node_modules'))
execFileSync(
  `${root}node_modules/.bin/node-gyp`,
  [
    'rebuild',
    '--silent',
    `--nodedir=${headers}`,
    '-j',
    process.env.BPTT_JOBS ?? String(availableParallelism()),
  ],
  {
    cwd: join(folder, 'gyp'),
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...(only && { CXXFLAGS: '-DBPTT_WITHOUT_AVX2 -DBPTT_WITHOUT_AVX512' }) },
  },
)

const run = (program, isa, prebuild) =>
  execFileSync(process.execPath, [program], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, BPTT_ISA: isa, BPTT_PREBUILD: prebuild },
  })

const { info } = await import('bptt')
const isas = only ? [only] : info().isas
for (const isa of isas)
  for (const program of PROGRAMS)
    if (run(program, isa, root) !== run(program, isa, join(folder, 'gyp')))
      throw new Error(`${program} on ${isa}: node-gyp's build and cmake-js' differ`)
console.log(`node-gyp's build and cmake-js' give the same bits on ${isas.join(', ')}`)
