// Gets NVIDIA's headers, which the CUDA backend is compiled against, into build/cuda/include
// and with --libraries its libraries, which the checks open, into build/cuda/lib: from the
// wheels on PyPI, by pip. What is there already stays; after an interruption it goes on.
//
//   node native/cuda/fetch.mjs [--libraries]
//
// Exits with 0 when all is there, or with 1 and one line that says why not.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

// Wheels for Linux on x64; `headers` and `libraries` are [folder in the wheel, names taken from it].
const WHEELS = [
  {
    name: 'nvidia-cudnn-cu13',
    version: '9.24.0.43',
    sha256: '71f181cd810e90f9b6023b01186fe82d13d65f0ec098581ee201d39fad769e4b',
    headers: ['nvidia/cudnn/include/', 'cudnn*.h'],
    libraries: ['nvidia/cudnn/lib/', 'libcudnn.so.9', 'libcudnn_adv.*', 'libcudnn_graph.*', 'libcudnn_ops.*'],
  },
  {
    name: 'nvidia-cublas',
    version: '13.1.1.3',
    sha256: '37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436',
    headers: ['nvidia/cu13/include/', 'cublas*.h'],
    libraries: ['nvidia/cu13/lib/', 'libcublasLt.so.13'],
  },
  // For machines without the toolkit, so that the tests by emulation can be built there too.
  {
    name: 'nvidia-cuda-runtime',
    version: '13.0.96',
    sha256: '7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548',
    headers: ['nvidia/cu13/include/', '*.h', '*.hpp'],
  },
  {
    name: 'nvidia-cuda-crt',
    version: '13.0.88',
    sha256: '2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4',
    headers: ['nvidia/cu13/include/', 'crt/*'],
  },
  {
    name: 'nvidia-cuda-cccl',
    version: '13.0.85',
    sha256: 'e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649',
    headers: ['nvidia/cu13/include/', 'nv/*'],
  },
]

// python3 -c UNPACK wheel target folder pattern...
const UNPACK = `
import fnmatch, os, shutil, sys, zipfile
wheel, target, folder, *patterns = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for item in archive.infolist():
        name = item.filename[len(folder):]
        if not item.filename.startswith(folder) or not any(fnmatch.fnmatchcase(name, p) for p in patterns):
            continue
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(item) as source, open(path, 'wb') as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
`

class Refusal extends Error {}

const directory = fileURLToPath(new URL('../../build/cuda/', import.meta.url))
const at = (name) => directory + name

try {
  const { values } = parseArgs({ options: { libraries: { type: 'boolean', default: false } } })
  fetchAll(values.libraries)
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(`fetch: ${error.message}`)
  process.exitCode = 1
}

function fetchAll(libraries) {
  const wanted = libraries ? ['headers', 'libraries'] : ['headers']
  const done = readDone()
  for (const wheel of WHEELS) {
    const missing = wanted.filter((part) => wheel[part] && done[`${wheel.name} ${part}`] !== wheel.sha256)
    if (missing.length === 0) continue
    const file = download(wheel)
    for (const part of missing) {
      unpack(file, at(part === 'headers' ? 'include' : 'lib'), wheel[part])
      done[`${wheel.name} ${part}`] = wheel.sha256
    }
    writeDone(done)
    rmSync(at('wheels'), { recursive: true, force: true })
  }
  const versions = WHEELS.map(({ name, version }) => `${name} ${version}`).join(', ')
  console.log(`fetch: ${wanted.join(' and ')} of ${versions} are in ${directory}`)
}

/** By part of a wheel ("nvidia-cublas headers"): the hash of the wheel that it was unpacked from. */
function readDone() {
  try {
    return JSON.parse(readFileSync(at('fetched.json'), 'utf8'))
  } catch {
    return {}
  }
}

function writeDone(done) {
  writeFileSync(at('fetched.json.new'), `${JSON.stringify(done, null, 2)}\n`)
  renameSync(at('fetched.json.new'), at('fetched.json'))
}

/** The path of the wheel, whose hash pip has checked. */
function download({ name, version, sha256 }) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Refusal(
      `the pinned wheels are for Linux on x64, not for ${process.platform} on ${process.arch}`,
    )
  if (python(['-m', 'pip', '--version']).status !== 0)
    throw new Refusal('needs python3 with pip, which are not both here')
  mkdirSync(at('wheels'), { recursive: true })
  writeFileSync(at('wheels/requirements.txt'), `${name}==${version} --hash=sha256:${sha256}\n`)
  console.log(`fetch: ${name} ${version} ...`)
  const options = ['--no-deps', '--only-binary=:all:', '--progress-bar=off', '--disable-pip-version-check']
  const pip = python([
    ...['-m', 'pip', 'download', '--quiet', '--require-hashes', ...options],
    ...['--requirement', at('wheels/requirements.txt'), '--dest', at('wheels')],
  ])
  if (pip.status !== 0) throw new Refusal(`pip could not download ${name} ${version}: ${lastLine(pip)}`)
  const start = `${name.replaceAll('-', '_')}-${version}-`
  return at(`wheels/${readdirSync(at('wheels')).find((file) => file.startsWith(start))}`)
}

function unpack(file, target, [folder, ...patterns]) {
  const result = python(['-c', UNPACK, file, target, folder, ...patterns])
  if (result.status !== 0) throw new Refusal(`${file} could not be unpacked: ${lastLine(result)}`)
}

function python(parameters) {
  return spawnSync('python3', parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function lastLine({ error, stderr }) {
  return error?.message ?? stderr.trim().split('\n').pop()
}
