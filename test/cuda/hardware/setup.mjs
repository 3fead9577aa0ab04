// What `npm run test:cuda` needs before it can test: looked for first, then fetched and built.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, constants } from 'node:os'
import { delimiter, join } from 'node:path'

export const root = join(import.meta.dirname, '..', '..', '..')
export const check = join(root, 'build', 'cuda', 'check')
const fetched = join(root, 'build', 'cuda', 'lib')

/** There is nothing to test; the message says why. */
export class Refusal extends Error {}

const children = new Set()
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
])
  process.on(signal, () => {
    for (const child of children) endGroup(child)
    process.exit(code)
  })

function endGroup(child) {
  try {
    process.kill(-child.pid, 'SIGKILL') // a process group of its own, with what it started
  } catch {} // it ended
}

/**
 * Runs a program, whose output is shown and kept.
 *
 * @param seconds after which it is ended: what runs on a device may never come back
 * @returns {Promise<{ ok: boolean, ended: string, output: string, seconds: number }>}
 */
export function run(command, args, { env = {}, seconds = 3600, quiet = false } = {}) {
  if (!quiet) console.log(`test:cuda: ${[command, ...args].join(' ')}`)
  const begin = performance.now()
  const variables = Object.entries({ ...process.env, ...env }).filter(([, value]) => value !== undefined)
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: Object.fromEntries(variables),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    children.add(child)
    let output = ''
    let late = false
    const timer = setTimeout(() => {
      late = true
      endGroup(child)
    }, seconds * 1000)
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => {
        output += text
        if (!quiet) process[name].write(text)
      })
    }
    const finish = (ok, ended) => {
      clearTimeout(timer)
      children.delete(child)
      resolve({ ok, ended, output, seconds: (performance.now() - begin) / 1000 })
    }
    child.on('error', (error) => finish(false, error.message))
    child.on('close', (code, signal) => {
      const ended = late
        ? `did not end within ${seconds} seconds`
        : `ended with ${signal ?? `exit code ${code}`}`
      finish(code === 0, ended)
    })
  })
}

/** @throws Refusal where there is nothing to test, before anything long is done if possible */
export async function setUp() {
  const given = process.env.BPTT_CUDA_LIBRARY
  if (process.platform !== 'linux') throw new Refusal('the CUDA backend is for Linux')
  requirePackages()
  requireDriver()
  const built = given ? { library: given, nvcc: null, path: process.env.BPTT_CUDA_PATH } : await build()
  const env = { BPTT_CUDA_LIBRARY: built.library, BPTT_CUDA_PATH: built.path }
  if (!existsSync(join(root, 'dist', 'index.js')))
    throw new Refusal('there is no dist: run `npm run build` first')
  const words = await askLibrary(env)
  return { ...built, env, words, ownBackend: Boolean(given), programs: given ? null : await buildTests() }
}

function requirePackages() {
  if (!existsSync(join(root, 'node_modules', 'vitest')))
    throw new Refusal('the packages that build and test are not installed: run `npm ci` first')
}

/** The driver's library is opened as the backend would; Node, too, says then that it is no addon. */
function requireDriver() {
  const folders = (process.env.BPTT_CUDA_PATH ?? '').split(delimiter).filter(Boolean)
  const named = folders.map((folder) => join(folder, 'libcuda.so.1')).filter((path) => existsSync(path))
  const [path] = [...named, 'libcuda.so.1']
  const open = `process.dlopen({ exports: {} }, ${JSON.stringify(path)}, ${constants.dlopen.RTLD_LAZY})`
  const { stderr } = spawnSync(process.execPath, ['-e', open], { cwd: root, encoding: 'utf8' })
  const error = /^Error: (.*)$/m.exec(stderr)?.[1] ?? stderr.trim()
  if (!/did not self-register/.test(error))
    throw new Refusal(`there is no CUDA device to test: no CUDA driver: ${error}`)
}

/** The version of nvcc, which CMake then finds in the same places. */
function requireCompiler() {
  if (spawnSync('cmake', ['--version']).status !== 0) throw new Refusal('cmake is not installed, and must be')
  const nvcc = findTool('nvcc')
  if (nvcc !== null) {
    const { stdout } = spawnSync(nvcc, ['--version'], { encoding: 'utf8' })
    return /V([\d.]+)/.exec(stdout)?.[1] ?? 'of unknown version'
  }
  throw new Refusal(
    'no nvcc on the PATH, in CUDA_HOME, CUDA_PATH or /usr/local/cuda: install the CUDA toolkit, 13.0 or later',
  )
}

/** A program of the CUDA toolkit, or null. */
export function findTool(name) {
  const homes = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].filter(Boolean)
  const paths = [name, ...homes.map((home) => join(home, 'bin', name))]
  return paths.find((path) => spawnSync(path, ['--version']).status === 0) ?? null
}

async function build() {
  const nvcc = requireCompiler()
  // Where PyPI cannot be reached, the machine's own headers and libraries serve.
  const fetching = await run(process.execPath, ['native/cuda/fetch.mjs', '--libraries'])
  if (!fetching.ok) console.log('test:cuda: goes on with what this machine has')
  const configured = await must(
    'npx',
    '--no-install',
    'cmake-js',
    'configure',
    '--CDBPTT_CUDA=ON',
    '--CDBPTT_TESTS=ON',
  )
  const refused = /^-- CUDA: n.*$/m.exec(configured.output)
  if (refused) throw new Refusal(refused[0].slice(3))
  await must('npm', 'run', 'build')
  const folders = [process.env.BPTT_CUDA_PATH, fetching.ok ? fetched : ''].filter(Boolean)
  return {
    nvcc,
    library: join(root, 'build', 'Release', 'bptt_cuda.so'),
    path: folders.length > 0 ? folders.join(delimiter) : undefined,
  }
}

async function must(command, ...args) {
  const result = await run(command, args)
  if (!result.ok)
    throw new Refusal(`${[command, ...args].join(' ')} ${result.ended}: ${lastLine(result.output)}`)
  return result
}

/** Null, or why the tests in C++ could not be built: the other parts do without. */
async function buildTests() {
  const { BPTT_CUDA_ARCHITECTURES: architectures } = cacheOf(join(root, 'build'))
  const options = ['-DBPTT_CUDA=ON', '-DBPTT_CUDA_TESTS=ON', `-DBPTT_CUDA_ARCHITECTURES=${architectures}`]
  for (const args of [
    ['-S', '.', '-B', check, ...options],
    ['--build', check, '-j', String(availableParallelism())],
  ]) {
    const result = await run('cmake', args)
    if (!result.ok) return `cmake ${args.join(' ')} ${result.ended}: ${lastLine(result.output)}`
  }
  return null
}

function cacheOf(folder) {
  const text = readFileSync(join(folder, 'CMakeCache.txt'), 'utf8')
  return Object.fromEntries([...text.matchAll(/^(\w+):\w+=(.*)$/gm)].map(([, name, value]) => [name, value]))
}

/** The library's own words about driver, libraries and devices. A process of its own, which may break. */
async function askLibrary(env) {
  const question = `
    const { cuda } = await import('./dist/index.js')
    console.log(JSON.stringify({ reason: cuda.unavailableReason(), words: cuda.description() }))`
  const args = ['--input-type=module', '-e', question]
  const { ok, ended, output } = await run(process.execPath, args, { env, quiet: true, seconds: 300 })
  if (!ok) throw new Refusal(`the CUDA backend cannot be opened: ${ended}: ${lastLine(output)}`)
  const { reason, words } = JSON.parse(lastLine(output))
  if (reason !== null) throw new Refusal(`there is no CUDA device to test: ${reason}`)
  return words
}

export const lastLine = (text) => text.trimEnd().split('\n').at(-1)
