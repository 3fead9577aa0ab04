/**
 * The CUDA backend as nvcc built it, on a machine that lacks something: the refusal names what is missing
 * and where it was looked for, and the CPU works as if nothing had been there.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const build = join(root, 'build', 'cuda')
const backend = join(build, 'check', 'bptt_cuda.so')
const fakes = join(build, 'check', 'fakes')
const fetched = join(build, 'lib')

const script = `
import { cuda, LSTM, manualSeed, randn, zeros } from 'bptt'
const attempt = (make) => { try { make(); return null } catch ({ code, message }) { return { code, message } } }
manualSeed(3)
const lstm = new LSTM(3, 4)
const { output } = lstm.forward(randn([5, 2, 3]))
output.sum().backward()
console.log(JSON.stringify({
  available: cuda.isAvailable(),
  reason: cuda.unavailableReason(),
  tensor: attempt(() => zeros([2], { device: 'cuda' })),
  layer: attempt(() => lstm.to('cuda')),
  gradient: Array.from(await lstm.parameters()[0].grad.data()),
}))`

interface Said {
  available: boolean
  reason: string
  tensor: { code: string; message: string }
  layer: { code: string; message: string }
  gradient: number[]
}

function run(environment: Record<string, string>): Said {
  const env = { ...process.env, VIRTUAL_ENV: '', CONDA_PREFIX: '', ...environment }
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root, env })
  return JSON.parse(out.toString())
}

const scratch = mkdtempSync(join(tmpdir(), 'bptt-refusal-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const built = existsSync(backend)
const driver = built && !run({ BPTT_CUDA_LIBRARY: backend }).reason?.includes('libcuda.so.1')
if (!built) console.log(`skipped: the CUDA backend is not built (${backend}); .ci/cuda.sh does, with nvcc`)
else if (driver) console.log('skipped: this machine has a CUDA driver')

describe.runIf(built && !driver)('without a driver', () => {
  function expectRefusal(environment: Record<string, string>, words: (string | RegExp)[]): void {
    const said = run({ BPTT_CUDA_LIBRARY: backend, ...environment })
    expect(said.available).toBe(false)
    for (const word of words) expect(said.reason).toMatch(word)
    for (const refused of [said.tensor, said.layer]) {
      expect(refused.code).toBe('ERR_BPTT_DEVICE')
      expect(refused.message).toContain(said.reason)
    }
    expect(said.gradient).toEqual(run({ BPTT_CUDA_LIBRARY: join(scratch, 'none.so') }).gradient)
  }

  it('names the driver', () => {
    expectRefusal({}, ['no CUDA driver: libcuda.so.1 cannot be opened', 'cannot open shared object file'])
  })

  const real = existsSync(join(fetched, 'libcudnn.so.9'))
  if (!real) console.log(`skipped: NVIDIA's own libraries: not fetched (native/cuda/fetch.mjs --libraries)`)
  it.runIf(real)("names the driver beside NVIDIA's own libraries", () => {
    expectRefusal({ BPTT_CUDA_PATH: fetched }, ['no CUDA driver: libcuda.so.1', fetched])
  })

  const libraries = ['libcuda.so.1', 'libcublasLt.so.13', 'libcudnn.so.9'] as const
  it.each([1, 2] as const)('names what is missing behind %i of its libraries', (count) => {
    const folder = join(mkdtempSync(join(scratch, 'part-')))
    for (const name of libraries.slice(0, count)) symlinkSync(join(fakes, name), join(folder, name))
    expectRefusal({ BPTT_CUDA_PATH: folder }, [libraries[count], folder])
  })

  it('says that what it opened is no backend', () => {
    const said = run({ BPTT_CUDA_LIBRARY: join(fakes, 'libcudnn.so.9') })
    expect(said.available).toBe(false)
    expect(said.reason).toContain("is not bptt's CUDA backend")
  })
})
