/**
 * `bptt bench --device cuda`: what it says is the device's, and what is of the CPU alone it refuses. Over the fakes of
 * test/cuda, which `.ci/cuda.sh` builds; `npm run test:cuda` runs it on a GPU.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { boundsFor } from '../../bench/measure/check.ts'
import { describeSpeeds, groupResults } from '../../bench/report/format.ts'
import type { Report } from '../../bench/report/report.ts'
import { describeOtherDevice, findResult } from '../../bench/report/table.ts'
import { type Result as Run, start } from '../support/command.ts'
import { madeUpReport } from '../support/report.ts'

const fakes = fileURLToPath(new URL('../../build/cuda/check/fakes', import.meta.url))
const library = join(fakes, 'bptt_cuda.so')
const there = existsSync(library)
if (!there) console.log(`skipped: the CUDA backend over fakes is not built (${library}); .ci/cuda.sh does`)

const folder = mkdtempSync(join(tmpdir(), 'bptt-bench-cuda-'))
afterAll(() => rmSync(folder, { recursive: true }))
const python = fileURLToPath(new URL('contenders/python.mjs', import.meta.url))

function bench(args: string[], environment: Record<string, string> = {}): Promise<Run> {
  const env = { ...process.env, BPTT_CUDA_LIBRARY: library, BPTT_CUDA_PATH: fakes, ...environment }
  return start(['bench', '--device', 'cuda', ...args], { env }).done
}

describe('what is of the CPU alone cannot be measured on a device', () => {
  it.each([
    ['a stream', ['--pass', 'train,step'], /pass step .*--device cuda: streams run on the CPU/],
    ['native calls', ['--pass', 'ops'], /pass ops .*--device cuda: .*CPU/],
    ['a suite of streams', ['--suite', 'stream'], /pass step/],
    ['kernels of the CPU', ['--isa', 'baseline'], /--isa .*--device cuda: .*CPU/],
    ['its threads', ['--threads', '2'], /--threads .*--device cuda: .*CPU/],
    ['memory of the host', ['--memory'], /--memory .*--device cuda: .*host/],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await bench(args)
    expect(stderr).toMatch(message)
    expect([code, stdout]).toEqual([2, ''])
  })
})

describe('a report of a device', () => {
  const onDevice = (report: Report, device: string, words = 'a GPU'): Report => ({
    ...report,
    device,
    machine: { ...report.machine, cuda: words },
    results: report.results.map((result) => ({ ...result, threads: null, device })),
  })
  const cpu = madeUpReport()
  const [first] = onDevice(cpu, 'cuda:0').results
  if (!first) throw new Error('a report without results')

  it('is not compared with one of the CPU or of another device', () => {
    const gpu = onDevice(cpu, 'cuda:0')
    expect(findResult(cpu, first)).toBeUndefined()
    expect(findResult(onDevice(cpu, 'cuda:1'), first)).toBeUndefined()
    expect(findResult(gpu, first)).toBe(gpu.results[0])
    expect(describeOtherDevice(gpu, cpu)).toContain('is of cpu, this one of cuda:0')
    expect(describeOtherDevice(gpu, onDevice(cpu, 'cuda:0', 'an older GPU'))).toContain('an older GPU')
    expect(describeOtherDevice(gpu, gpu)).toBeNull()
    expect(describeOtherDevice(cpu, madeUpReport())).toBeNull()
  })

  it('is grouped by device', () => {
    expect(groupResults([first])[0]?.title).toBe('LSTM inference, cuda:0')
  })

  it('says what its limits are of', () => {
    const speeds = { threads: null, gigaflops: 5e4, gigabytesPerSecond: 3300, dtype: 'float32' } as const
    expect(describeSpeeds({ ...speeds, matrix: 4096, bytes: 2 ** 28 })).toBe(
      '50000 GF/s in products of 4096 x 4096 float32, 3300.0 GB/s read and written in additions to a buffer of 256.0 MiB',
    )
  })

  it('allows another order of sums', () => {
    const [here, away] = [boundsFor('bptt', first.case), boundsFor('bptt', first.case, 'cuda:0')]
    expect(away.result).toBeCloseTo(10 * here.result)
    expect(boundsFor('torch', first.case, 'cuda:0')).toEqual(boundsFor('torch', first.case))
  })
})

describe.runIf(there)('a run', () => {
  const QUICK = ['--shapes', '2,3,4,5', '--pairs', '2']
  const json = join(folder, 'report.json')
  const html = join(folder, 'report.html')
  let run: Run
  let report: Report
  beforeAll(async () => {
    const passes = ['--pass', 'forward,train,demo', '--dtype', 'float64']
    run = await bench([...QUICK, ...passes, '--peers', 'none', '--json', json, '--html', html])
    report = JSON.parse(readFileSync(json, 'utf8')) as Report
  })

  it('names the device and claims nothing of the CPU', () => {
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toMatch(
      /^bptt \S+ on cuda:0: driver of CUDA 13\.\d+, cuBLASLt .*, cuDNN 9\..*; cuda:0 /,
    )
    expect(run.stdout).toMatch(/^limit of cuda:0: \S+ GF\/s in products of \d+ x \d+ float64, \S+ GB\/s/m)
    expect(
      run.stdout.match(/^lstm \w+ 2,3,4,5 float64 +cuda:0 +bptt \S+ \S+ \[.* GF\/s +\d+ %$/gm)?.length,
    ).toBe(3)
    expect(run.stdout).not.toMatch(/thread|limit with|avx|baseline/)
  })

  it('has it in the report, with limits measured on it', () => {
    expect(report).toMatchObject({ device: 'cuda:0', machine: { cuda: expect.stringContaining('cuda:0 ') } })
    expect(report.limits).toEqual([
      {
        threads: null,
        dtype: 'float64',
        gigaflops: expect.any(Number),
        gigabytesPerSecond: expect.any(Number),
        matrix: expect.any(Number),
        bytes: expect.any(Number),
      },
    ])
    const limit = report.limits[0]?.gigaflops as number
    expect(limit).toBeGreaterThan(0)
    for (const { threads, device, outcomes } of report.results) {
      expect([threads, device]).toEqual([null, 'cuda:0'])
      if (outcomes.bptt?.status !== 'timed') throw new Error(JSON.stringify(outcomes))
      expect(outcomes.bptt.shareOfLimit).toBeCloseTo((outcomes.bptt.gigaflops as number) / limit)
    }
  })

  it('has it in the page', () => {
    const page = readFileSync(html, 'utf8')
    expect(page).toContain('<dt>Device</dt><dd>cuda:0; driver of CUDA')
    expect(page).toContain('LSTM training step, cuda:0, float64')
    expect(page).toMatch(/cuda:0: \S+ GF\/s in products of/)
    expect(page).not.toContain('<dt>Kernels')
  })

  it('says of an older report that it is of another device', async () => {
    const cpu = join(folder, 'cpu.json')
    const quick = [...QUICK, '--pass', 'forward', '--peers', 'none']
    expect((await start(['bench', ...quick, '--json', cpu]).done).code).toBe(0)
    const { code, stdout } = await bench([...quick, '--compare', cpu, '--html', html])
    expect(code).toBe(0)
    expect(stdout).toContain('the older report is of cpu, this one of cuda:0')
    expect(stdout).not.toContain('as before')
    expect(readFileSync(html, 'utf8')).toContain('device then cpu, now cuda:0')
  })

  it.skipIf(process.platform === 'win32')('is beside a PyTorch that sees the device', async () => {
    const quick = [...QUICK, '--pass', 'forward', '--python', python]
    const { code, stdout, stderr } = await bench(quick, { BENCH_FAKE: '' })
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(/^lstm forward 2,3,4,5 +cuda:0 .* torch \d+\.\d\dx \[/m)
    for (const peer of ['onnxruntime', 'tfjs'])
      expect(stderr).toContain(
        `without ${peer}: bptt bench runs it on the CPU alone, which has no part in cuda:0\n`,
      )
  })

  it.skipIf(process.platform === 'win32')('names a PyTorch that sees none, and what to install', async () => {
    const quick = [...QUICK, '--pass', 'forward', '--peers', 'torch', '--python', python]
    const { code, stdout, stderr } = await bench(quick, { BENCH_FAKE: 'no device' })
    expect(code, stderr).toBe(0)
    expect(stderr).toMatch(
      /without torch: PyTorch 1\.2\.3 of .* sees no CUDA device; .*pip install --upgrade torch .*\/cu/,
    )
    expect(stdout).not.toContain('torch')
  })

  it('fails with a layer that fails, and says how', async () => {
    const environment = { BPTT_FAKE_CUDA_FAIL: 'cudnnRNNForward:1:5000' }
    const { code, stdout } = await bench([...QUICK, '--pass', 'forward', '--peers', 'none'], environment)
    expect(code).toBe(1)
    expect(stdout).toMatch(/^lstm forward .* bptt failed: \[.*cuDNN/m)
  })
})
