// The tests of kernels, layers, gradients and optimizers on the NEON kernels: the linux-arm64 prebuild under
// qemu-user, in Node for arm64, against the float64 references and the PyTorch fixtures. Left out are the tests that
// start other processes, which qemu-user does not.
//
//   node release/neon.mjs [NAME...]      tests of these names, or all of SUITE; needs qemu-user, the npm registry and
//                                        `npm run prebuilds -- linux-arm64-glibc`
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CannotRun, host } from './hosts.mjs'
import { prebuildFile, root, targetsNamed } from './targets.mjs'

const SUITE = [
  'autograd',
  'fixtures',
  'gradients',
  'layers',
  'modules',
  'optim',
  'parity',
  'properties',
  'stream',
  'tensor',
]
// Vitest's own native parts, for the architecture that it runs on here.
const NATIVE = [
  ['rolldown', '@rolldown/binding-linux-arm64-gnu'],
  ['lightningcss', 'lightningcss-linux-arm64-gnu'],
]

const chosen = process.argv.length > 2 ? process.argv.slice(2) : SUITE
const [target] = targetsNamed(['linux-arm64-glibc'])
const folder = mkdtempSync(join(tmpdir(), 'bptt-neon-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
if (!existsSync(prebuildFile(target))) throw new Error('needs npm run prebuilds -- linux-arm64-glibc')
try {
  test(host(target, target.run.nodes[0], folder))
} catch (error) {
  if (!(error instanceof CannotRun)) throw error
  console.log(`neon: built, not run: ${error.message}`)
}

function test({ command: [program, ...parameters], env }) {
  const report = join(folder, 'report.json')
  const { status } = spawnSync(
    program,
    [
      ...[
        ...parameters,
        'node_modules/vitest/vitest.mjs',
        'run',
        ...chosen.map((name) => `test/${name}.test.ts`),
      ],
      // Threads, because qemu-user runs one process; they take no --expose-gc.
      ...[
        '--pool=threads',
        '--maxWorkers=1',
        '--execArgv=',
        '--testTimeout=1200000',
        '--hookTimeout=1200000',
      ],
      ...['--reporter=json', `--outputFile=${report}`],
    ],
    {
      cwd: root,
      env: { ...process.env, ...env, NODE_PATH: nativeParts(), PREBUILDS_ONLY: '1' },
      stdio: 'ignore',
    },
  )
  if (!existsSync(report)) throw new Error(`vitest under qemu-user ended with ${status} and no report`)
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(
    readFileSync(report, 'utf8'),
  )
  for (const { name, message, assertionResults } of testResults) {
    if (message) console.error(`${name}: ${message}`)
    for (const { status, fullName, failureMessages } of assertionResults)
      if (status === 'failed') console.error(`${fullName}: ${failureMessages.join('\n')}`)
  }
  console.log(`neon: ${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests} skipped`)
  if (status !== 0 || numPassedTests === 0) process.exitCode = 1
}

/** A folder for NODE_PATH. */
function nativeParts() {
  for (const [owner, name] of NATIVE) {
    const { version } = JSON.parse(readFileSync(`${root}node_modules/${owner}/package.json`, 'utf8'))
    const at = join(folder, 'native', name)
    mkdirSync(at, { recursive: true })
    execFileSync('npm', ['pack', '--silent', `${name}@${version}`], { cwd: at, stdio: 'pipe' })
    execFileSync('tar', ['xzf', readdirSync(at)[0], '--strip-components=1'], { cwd: at })
  }
  return join(folder, 'native')
}
