/**
 * `npm run test:cuda` itself, over the fakes of test/cuda: that its first run on a GPU fails by what it finds there and
 * not by its own mistakes. `.ci/cuda.sh` builds the fakes.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Result, watch } from './support/command.ts'

const root = join(import.meta.dirname, '..')
const check = join(root, 'build', 'cuda', 'check')
const fakes = join(check, 'fakes')
const library = join(fakes, 'bptt_cuda.so')
const there = existsSync(library)
const compiled = there && existsSync(join(check, 'test', 'cuda', 'cuda_recurrent_test_on_device'))
if (!there) console.log(`skipped: the CUDA backend over fakes is not built (${library}); .ci/cuda.sh does`)

const folder = mkdtempSync(join(tmpdir(), 'bptt-hardware-'))
afterAll(() => rmSync(folder, { recursive: true }))
const report = join(folder, 'report.md')

function testOnDevice(parts: string, environment: Record<string, string> = {}): Promise<Result> {
  const script = join(root, 'test', 'cuda', 'hardware', 'run.mjs')
  const env = { ...process.env, BPTT_CUDA_LIBRARY: library, BPTT_CUDA_PATH: fakes, ...environment }
  const args = [script, '--quick', '--report', report, '--parts', parts]
  return watch(spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })).done
}

/** The cells of the row that begins with this one. */
function row(text: string, first: string): string[] {
  const line = text.split('\n').find((one) => one.startsWith(`| ${first}`))
  return (line ?? '')
    .split('|')
    .map((cell) => cell.trim())
    .slice(1, -1)
}

describe.runIf(there)('over the fakes', () => {
  it('goes through the parts, and prints the table', { timeout: 600_000 }, async () => {
    const { code, stdout, stderr } = await testOnDevice('suite,training,bench')
    expect(code, stdout + stderr).toBe(0)
    const text = readFileSync(report, 'utf8')
    expect(stdout).toContain(text)
    expect(row(text, 'devices')[1]).toBe('cuda:0 Fake CUDA device')
    expect(row(text, 'versions')[1]).toMatch(/^driver of CUDA 13\.\d+, cuBLASLt .*, cuDNN 9\./)
    expect(row(text, 'command')[1]).toContain('npm run test:cuda -- --quick')
    const [, passed, failed, left] = row(text, 'test/cuda*.test.ts')
    expect([Number(passed) > 10, failed, Number(left) > 0]).toEqual([true, '0', true])
    for (const name of [
      'bptt train --device cpu',
      'bptt train --device cuda',
      'bptt train: losses',
      'bptt sample',
    ])
      expect(row(text, name).slice(1, 4)).toEqual(['1', '0', '0'])
    expect(row(text, 'bptt bench --device cuda').slice(1, 4)).toEqual(['4', '0', '0'])
    expect(row(text, '2, 3, 4, 5 | gru train')[2]).toMatch(/^\S+ ms$/)
  })

  it('names what fails, goes on, and exits with 1', async () => {
    const environment = { BPTT_FAKE_CUDA_FAIL: 'cudnnRNNForward:1:5000' }
    const { code, stdout, stderr } = await testOnDevice('training,bench', environment)
    expect(code, stdout + stderr).toBe(1)
    const text = readFileSync(report, 'utf8')
    expect(row(text, 'bptt train --device cpu').slice(1, 3)).toEqual(['1', '0'])
    expect(row(text, 'bptt train --device cuda').slice(1, 3)).toEqual(['0', '1'])
    expect(text).toMatch(/^FAILED: bptt train --device cuda\n\n {4}.*recurrent forward: cuDNN/m)
    expect(row(text, 'bptt bench --device cuda').slice(1, 3)).toEqual(['0', '4'])
    expect(text).toMatch(/^FAILED: bptt, lstm forward 2,3,4,5\n\n {4}.*cuDNN/m)
    expect(row(text, '2, 3, 4, 5 | lstm forward')[2]).toBe('failed')
  })

  it.runIf(compiled)('says what compute-sanitizer finds', { timeout: 600_000 }, async () => {
    const tools = join(folder, 'tools')
    mkdirSync(tools)
    // Stands for NVIDIA's: hazards in ops_test, else what the program itself says.
    const found =
      'echo "========= Error: Race reported\n=========     in a kernel\n========= RACECHECK SUMMARY"; exit 99'
    const script = `#!/bin/sh
case "$1 $2 $3 $4 $5" in
  --version*) exit 0 ;;
  "--tool racecheck --error-exitcode 99 "*/cuda_ops_test_on_device) ${found} ;;
esac
test "$1 $3 $4" = "--tool --error-exitcode 99" && test -x "$5"`
    writeFileSync(join(tools, 'compute-sanitizer'), script, { mode: 0o755 })
    const { code, stdout, stderr } = await testOnDevice('sanitizer', { PATH: `${tools}:${process.env.PATH}` })
    expect(code, stdout + stderr).toBe(1)
    const text = readFileSync(report, 'utf8')
    expect(text).toContain(
      'FAILED: racecheck of cuda_ops_test_on_device\n\n' +
        '    ended with exit code 99: ========= Error: Race reported\n    =========     in a kernel\n',
    )
    expect(text.match(/^\| (mem|race|sync)check of [^|]* \| 1 \| 0 \| 0 \|/gm)?.length).toBe(5)
  })

  it('names a failed check and a failed test', { timeout: 600_000 }, async () => {
    const environment = { BPTT_FAKE_CUDNN_SWAP_GATES: '1' }
    const { code, stdout, stderr } = await testOnDevice('programs,suite', environment)
    expect(code, stdout + stderr).toBe(1)
    const text = readFileSync(report, 'utf8')
    expect(text).toMatch(/^FAILED: device: cuda lstm .*\n\n {4}\S/m)
    // Linked with kernels by nvcc, where there is one.
    for (const name of ['ops_test', 'ops_lines_test', 'ops_train_test', 'recurrent_test']) {
      const program = `cuda_${name}_on_device`
      const [, passed, failed, left] = row(text, program)
      expect([passed === '0', left]).toEqual(compiled ? [false, '0'] : [true, '1'])
      expect(failed === '0').toBe(name !== 'recurrent_test' || !compiled)
    }
    if (compiled)
      expect(text).toMatch(
        /^FAILED: cuda_recurrent_test_on_device\n\n {4}\d+ checks, first: .*recurrent_cases\.h:\d+: failed: /m,
      )
  })
})

describe.skipIf(process.platform !== 'linux')('without a GPU', () => {
  it('says at once what is missing', async () => {
    const { code, stdout, stderr } = await testOnDevice('bench', { BPTT_CUDA_LIBRARY: 'none' })
    if (there) {
      expect(stderr).toMatch(/^test:cuda: there is no CUDA device to test: .*no CUDA backend/)
    } else {
      expect(stderr).toMatch(/^test:cuda: there is no CUDA device to test: /)
    }
    expect([code, stdout]).toEqual([1, ''])
  })

  it('knows no other part', async () => {
    const { code, stderr } = await testOnDevice('fly')
    expect([code, stderr]).toEqual([1, expect.stringMatching(/no part fly; there are programs, suite/)])
  })
})
