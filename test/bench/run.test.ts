/** `bptt bench` as its users run it, and its dealings with contenders that misbehave. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { ContenderCommand } from '../../bench/measure/child.ts'
import { Interrupted, Runner } from '../../bench/measure/runner.ts'
import type { Case, Report, Result } from '../../bench/report/report.ts'
import { DEFAULTS, type Settings } from '../../bench/settings.ts'
import { bptt, start } from '../support/command.ts'
import { PLAIN } from '../support/report.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0
const newFile = (): string => join(folder, `file-${++files}`)
const readReport = (path: string): Report => JSON.parse(readFileSync(path, 'utf8')) as Report

describe('a run', () => {
  const ALONE = ['bench', '--peers', 'none', '--pairs', '2', '--shapes', '2,3,4,5', '--threads', '1']

  it('reports machine, limits, versions and results as JSON and as a table', async () => {
    const json = newFile()
    const args = [...ALONE, '--pass', 'train,forward,step,ops,demo,decoder', '--json', json]
    const { code, stdout, stderr } = await bptt(...args)
    expect(code, stderr).toBe(0)
    const report = readReport(json)
    const { version } = JSON.parse(
      readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
    ) as Report
    expect(report).toMatchObject({
      format: 1,
      version,
      command: `bptt ${args.join(' ')}`,
      machine: { isa: expect.stringMatching(/^(baseline|avx2|avx512|neon)$/), node: process.version },
      versions: { bptt: version },
      missing: [],
    })
    expect(Date.now() - Date.parse(report.date)).toBeLessThan(300_000)
    for (const { threads, gigaflops, gigabytesPerSecond } of report.limits) {
      expect(threads).toBeGreaterThan(0)
      expect(gigaflops).toBeGreaterThan(0)
      expect(gigabytesPerSecond).toBeGreaterThan(0)
    }
    expect(report.results.map((result) => result.case.pass)).toEqual([
      'train',
      'forward',
      'step',
      'ops',
      'demo',
      'decoder',
    ])
    for (const { case: one, threads, outcomes, ratios } of report.results) {
      expect(one).toMatchObject({ cell: 'lstm', B: 2, T: 3, I: 4, H: 5, layers: 1, dtype: 'float32' })
      expect(threads).toBe(1)
      expect(outcomes.bptt).toMatchObject({
        status: 'timed',
        samples: [expect.any(Number), expect.any(Number)],
      })
      expect(Object.keys(ratios)).toEqual(one.pass === 'ops' ? ['native'] : [])
    }
    const lines = stdout.trimEnd().split('\n')
    const rows = lines.filter((line) => /^lstm \w+ 2,3,4,5 +1 thread +bptt \S+ (us|ms) \[/.test(line))
    expect(rows.length, stdout).toBe(6)
    expect(stdout).toMatch(/^limit with 1 thread: \S+ GF\/s, reads \S+ GB\/s$/m)
    expect(stdout).toMatch(/the API takes -?\S+ [um]s more/)
    expect(stderr).toContain('1/6 lstm train 2,3,4,5')
  })

  it.each([
    [['--cells', 'lstm,gru,rnn', '--layers', '2', '--bidirectional', '--ragged'], 6],
    [['--dtype', 'float64', '--proj', '3'], 2],
    [['--cells', 'gru,rnn', '--pass', 'step,ops,decoder'], 6],
  ])('checks %j', async (options, results) => {
    const json = newFile()
    const { code, stderr, stdout } = await bptt(...ALONE, '--json', json, ...options)
    expect(code, stdout + stderr).toBe(0)
    expect(readReport(json).results.length).toBe(results)
  })

  it('measures memory in a process of its own', async () => {
    const json = newFile()
    // The output alone, 8 MiB.
    const shape = ['--shapes', '64,1024,8,32', '--pass', 'forward', '--cells', 'rnn']
    const { code, stdout } = await bptt(...ALONE, ...shape, '--memory', '--json', json)
    expect(code).toBe(0)
    expect(stdout).toMatch(/peak \S+ MiB/)
    const { peakBytes } = readReport(json).results[0]?.outcomes.bptt as { peakBytes: number }
    expect(peakBytes).toBeGreaterThan(8 * 2 ** 20)
    expect(peakBytes).toBeLessThan(64 * 2 ** 20)
  })

  it('compares with itself on one thread while the JavaScript thread is busy', async () => {
    const json = newFile()
    const options = [
      '--busy',
      '--pairs',
      '2',
      '--shapes',
      '2,3,4,5',
      '--pass',
      'train,demo',
      '--threads',
      '2',
    ]
    const { code, stdout, stderr } = await bptt('bench', ...options, '--json', json)
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(/^lstm train 2,3,4,5 busy +2 threads +bptt .* one thread \d+\.\d\dx/m)
    for (const { case: one, outcomes, ratios } of readReport(json).results) {
      expect(one.busy).toBe(true)
      expect(Object.keys(outcomes)).toEqual(['bptt', 'one thread'])
      expect(Object.keys(ratios)).toEqual(['one thread'])
    }
    expect((await bptt('bench', '--busy', '--peers', 'torch')).code).toBe(2)
  })

  it('uses the kernels that are asked for', async () => {
    const json = newFile()
    const { code } = await bptt(...ALONE, '--pass', 'forward', '--isa', 'baseline', '--json', json)
    expect([code, readReport(json).machine.isa]).toEqual([0, 'baseline'])
  })

  it('compares with an older report and draws a page', async () => {
    const [json, html] = [newFile(), newFile()]
    const first = await bptt(...ALONE, '--pass', 'forward', '--json', json)
    expect([first.code, first.stdout.includes('as before')]).toEqual([0, false])
    const second = await bptt(...ALONE, '--pass', 'forward', '--compare', json, '--html', html)
    expect(second.code, second.stderr).toBe(0)
    expect(second.stdout).toMatch(/\d\.\d\dx as fast as before/)
    expect(readFileSync(html, 'utf8')).toMatch(/^<!doctype html>/i)
  })

  it('names a peer that is missing, with the command that installs it', async () => {
    const json = newFile()
    const python = join(folder, 'no-python')
    const { code, stderr } = await bptt(...ALONE, '--peers', 'torch', '--python', python, '--json', json)
    expect(code, stderr).toBe(0)
    expect(stderr).toContain(`without torch: there is no ${python}`)
    expect(readReport(json).missing).toEqual([
      {
        peer: 'torch',
        reason: `there is no ${python}`,
        install: expect.stringContaining('pip install torch'),
      },
    ])
  })

  it('stops at Ctrl-C and writes what it has', async () => {
    const json = newFile()
    const args = [...ALONE, '--shapes', '2,3,4,5;3,3,3,3', '--pass', 'forward', '--json', json]
    const running = start([...args, '--pairs', '100000'])
    await running.seen(/1\/2 lstm/)
    running.child.kill('SIGINT')
    const { code, stderr } = await running.done
    expect(code, stderr).toBe(130)
    expect(readReport(json).results).toEqual([])
  })
})

describe('wrong usage exits with 2 and says why', () => {
  const notReport = newFile()
  writeFileSync(notReport, '{"format":7}')
  const brokenReport = newFile()
  writeFileSync(brokenReport, '{"format":1,"results":[{"case":{},"outcomes":{"bptt":{"status":"timed"}}}]}')
  it.each([
    ['an unknown suite', ['--suite', 'fly'], /no suite fly; there are .*readme/],
    ['an unknown pass', ['--pass', 'fly'], /--pass.*forward, train/],
    ['an unknown cell', ['--cells', 'lstm,fly'], /--cells.*lstm, gru, rnn/],
    ['an unknown peer', ['--peers', 'jax'], /--peers.*torch/],
    ['an unknown shape', ['--shapes', '1,2,3'], /1,2,3 is no shape.*readme/],
    ['no shape', ['--shapes', ';'], /nothing to measure/],
    ['no threads', ['--threads', '1,0'], /--threads/],
    ['too many threads', ['--threads', '257'], /at most 256/],
    ['a projection of a GRU', ['--cells', 'gru', '--proj', '2'], /projection/],
    ['a stream of two directions', ['--pass', 'step', '--bidirectional'], /one direction/],
    ['several steps of a whole sequence', ['--steps', '2'], /steps in one call are of pass step/],
    [
      'steps that are no part of T',
      ['--pass', 'step', '--shapes', '1,7,2,2', '--steps', '2'],
      /T = 7 is no multiple of 2/,
    ],
    ['a suite and shapes', ['--suite', 'readme', '--shapes', 'tiny'], /--shapes/],
    ['a suite and layers', ['--suite', 'readme', '--layers', '2'], /--layers/],
    ['a pass that the suite lacks', ['--suite', 'readme', '--pass', 'demo'], /no case/],
    ['kernels that are none', ['--isa', 'fly'], /--isa fly: this machine has .*baseline/],
    ['no pairs', ['--pairs', '0'], /--pairs/],
    ['an older report that is missing', ['--compare', join(folder, 'none')], /cannot read .*none.*ENOENT/],
    ['an older report that is none', ['--compare', notReport], /not a report/],
    ['an older report that is broken inside', ['--compare', brokenReport], /not a report/],
    ['a page that cannot be written', ['--html', folder], /cannot write/],
    ['two reports in one file', ['--json', join(folder, 'x'), '--html', join(folder, 'x')], /same file/],
    ['a shape beyond memory', ['--shapes', '1,1,1,2000000000'], /GB at least/],
    ['a report that cannot be written', ['--json', join(folder, 'none', 'x')], /cannot write/],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await bptt('bench', '--peers', 'none', ...args)
    expect(stderr).toMatch(message)
    expect(stderr).not.toContain('    at ')
    expect([code, stdout]).toEqual([2, ''])
  })

  it('leaves a device that is not there to the backend', async () => {
    const { code, stdout, stderr } = await bptt('bench', '--peers', 'none', '--device', 'cuda')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain('is not available')
  })
})

describe('contenders', () => {
  const FAKE = fileURLToPath(new URL('contenders/fake.mjs', import.meta.url))
  const CASE: Case = { pass: 'train', cell: 'lstm', B: 2, T: 3, I: 4, H: 5, ...PLAIN }

  function fake(name: string, behaviour: string, seconds: number, log?: string): ContenderCommand {
    const args = [FAKE, name, behaviour, String(seconds)]
    return { name, command: process.execPath, args, ...(log && { env: { BENCH_LOG: log } }) }
  }

  async function compete(
    contenders: ContenderCommand[],
    settings: Partial<Settings> = {},
    cases = [CASE],
  ): Promise<Result[]> {
    const signal = new AbortController().signal
    const limits = [{ threads: 2, gigaflops: 1, gigabytesPerSecond: 1 }]
    const runner = new Runner(contenders, { ...DEFAULTS, pairs: 6, ...settings }, limits, signal)
    const results: Result[] = []
    try {
      for (const one of cases) for await (const result of runner.run(one, [2])) results.push(result)
    } finally {
      await runner.close()
    }
    return results
  }

  it('take turns, after all were checked and warmed up', async () => {
    const log = newFile()
    const two = [fake('bptt', '', 0.1, log), fake('torch', '', 0.25, log)]
    const [result] = (await compete(two)) as [Result]
    expect(result.ratios.torch).toEqual({ median: 2.5, low: 2.5, high: 2.5, pairs: 6 })
    const { bptt, torch } = result.outcomes
    expect(bptt).toMatchObject({ status: 'timed', seconds: { median: 0.1 }, samples: new Array(6).fill(0.1) })
    expect(torch).toMatchObject({ status: 'timed', seconds: { median: 0.25 } })
    const gigaflops = result.operations / 0.1 / 1e9
    expect(bptt).toMatchObject({ gigaflops, shareOfLimit: gigaflops })
    const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
    const turns = ['bptt time', 'torch time']
    expect(lines.slice(0, 4)).toEqual(['bptt prepare', 'torch prepare', 'bptt warm', 'torch warm'])
    expect(lines.slice(4, 16)).toEqual(new Array(6).fill(turns).flat())
    expect(lines.slice(16).sort()).toEqual(['bptt stop', 'torch stop'])
  })

  it.each([
    ['wrong', /^wrong results: d\.bias_hh_l0: error 1\.0e-2 of the largest magnitude, allowed 1\.0e-4$/],
    ['misses one', /^wrong results: dx is missing$/],
    ['error', /^out of luck$/],
    ['dies in prepare', /^ended with exit code 1: [\s\S]*cannot go on/],
    ['dies in time', /^ended with exit code 3: gone with the wind$/],
    ['babbles', /^said what is no JSON object: hello$/],
    ['silent', /^gave no answer within 2 seconds$/],
  ])('one that is %s has failed; the other is timed', async (behaviour, reason) => {
    const log = newFile()
    const settings = { answerSeconds: 2 }
    const [result] = (await compete(
      [fake('bptt', '', 0.1), fake('torch', behaviour, 0.1, log)],
      settings,
    )) as [Result]
    expect(result.outcomes.bptt).toMatchObject({ status: 'timed', samples: new Array(6).fill(0.1) })
    expect(result.outcomes.torch).toEqual({ status: 'failed', reason: expect.stringMatching(reason) })
    expect(result.ratios).toEqual({})
    if (behaviour !== 'dies in time') expect(readFileSync(log, 'utf8')).not.toMatch(/warm|time/)
  })

  it('may be unable to take part, which is no failure', async () => {
    const [result] = (await compete([fake('bptt', '', 0.1), fake('torch', 'unsupported', 0.1)])) as [Result]
    expect(result.outcomes.torch).toEqual({ status: 'unsupported', reason: 'not today' })
  })

  it('that cannot be started have failed', async () => {
    const nobody = { name: 'torch', command: join(folder, 'nobody'), args: [] }
    const [result] = (await compete([fake('bptt', '', 0.1), nobody])) as [Result]
    expect(result.outcomes.torch).toEqual({
      status: 'failed',
      reason: expect.stringMatching(/could not be started/),
    })
  })

  it('get a new process for every case, or one for all', async () => {
    const cases = [CASE, { ...CASE, B: 3 }]
    for (const shareProcesses of [false, true]) {
      const log = newFile()
      const results = await compete([fake('bptt', '', 0.1, log)], { shareProcesses }, cases)
      expect(results.map(({ outcomes }) => outcomes.bptt?.status)).toEqual(['timed', 'timed'])
      const stops = readFileSync(log, 'utf8').match(/stop/g)
      expect(stops?.length).toBe(shareProcesses ? 1 : 2)
    }
  })

  it('repeat short calls, and are timed in fewer rounds where time is short', async () => {
    const [short] = await compete([fake('bptt', '', 1e-3)], { sampleSeconds: 0.05 })
    expect(short?.outcomes.bptt).toMatchObject({ seconds: { median: 1e-3 } })
    const [long] = await compete([fake('bptt', '', 10), fake('torch', '', 10)], { budgetSeconds: 90 })
    expect(long?.ratios.torch?.pairs).toBe(4)
    const [longer] = await compete([fake('bptt', '', 1000)], { budgetSeconds: 90 })
    expect((longer?.outcomes.bptt as { samples: number[] }).samples.length).toBe(3)
  })

  it('end at once when the run is interrupted', async () => {
    const controller = new AbortController()
    const runner = new Runner([fake('bptt', 'silent', 1)], DEFAULTS, [], controller.signal, () => {
      setTimeout(() => controller.abort(), 200)
    })
    await expect(runner.run(CASE, [1]).next()).rejects.toThrow(Interrupted)
    await runner.close()
  })

  it.skipIf(process.platform === 'win32')(
    'that fail make the exit code 1, and are in the table',
    async () => {
      const python = fileURLToPath(new URL('contenders/python.mjs', import.meta.url))
      const json = newFile()
      const args = ['bench', '--shapes', '2,3,4,5', '--pass', 'train', '--threads', '1', '--pairs', '2']
      const options = { env: { ...process.env, BENCH_FAKE: 'wrong' } }
      const more = ['--peers', 'torch', '--python', python, '--json', json]
      const { code, stdout, stderr } = await start([...args, ...more], options).done
      expect(code, stderr).toBe(1)
      expect(stdout).toMatch(/^lstm train .* bptt .* torch failed: wrong results: d\.bias_hh_l0/m)
      expect(readReport(json).results[0]?.outcomes.torch?.status).toBe('failed')
      const right = await start([...args, ...more], { env: { ...process.env, BENCH_FAKE: '' } }).done
      expect(right.code, right.stderr).toBe(0)
      expect(right.stdout).toMatch(/torch \d+\.\d\dx \[/)
    },
  )
})
