/** What `bptt bench` is made of: statistics, cases, suites, the check. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { parameterShapes, UsageError } from '#internals'
import { makePlan } from '../../bench/bench.ts'
import { describeCase, impossible, operations, rowLengths } from '../../bench/cases.ts'
import { boundsFor, expected, findErrors } from '../../bench/measure/check.ts'
import {
  type CaseData,
  chooseSample,
  makeData,
  type Named,
  readTensor,
  type Sample,
  writeTensors,
} from '../../bench/measure/data.ts'
import { median, medianRanks, pairedRatio, quantile, spread } from '../../bench/measure/statistics.ts'
import type { Case, Result } from '../../bench/report/report.ts'
import { describeResult, describeSummary, findResult } from '../../bench/report/table.ts'
import { expand, findShapes, findSuite, readShapes, readSuites } from '../../bench/suites.ts'
import { PLAIN } from '../support/report.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-bench-parts-'))
afterAll(() => rmSync(folder, { recursive: true }))

const LAYER: Case = { pass: 'train', cell: 'lstm', B: 5, T: 6, I: 3, H: 4, ...PLAIN, dtype: 'float64' }

describe('statistics', () => {
  it('takes the ranks of a 95 % interval of the median from the binomial distribution', () => {
    // Ranks from 1, as printed in tables of the sign test.
    const table: [number, number, number][] = [
      [6, 1, 6],
      [8, 1, 8],
      [9, 2, 8],
      [10, 2, 9],
      [11, 2, 10],
      [12, 3, 10],
      [15, 4, 12],
      [20, 6, 15],
      [25, 8, 18],
      [50, 18, 33],
      [100, 40, 61],
    ]
    for (const [n, low, high] of table) expect(medianRanks(n), `n = ${n}`).toEqual([low - 1, high - 1])
  })

  it('covers the median as often as it says, and not more than it must', () => {
    const choose = (n: number, k: number): number => (k === 0 ? 1 : (choose(n, k - 1) * (n - k + 1)) / k)
    for (let n = 6; n <= 60; n++) {
      const [low] = medianRanks(n)
      const outside = (rank: number): number => {
        let sum = 0
        for (let k = 0; k <= rank; k++) sum += (2 * choose(n, k)) / 2 ** n
        return sum
      }
      expect(outside(low)).toBeLessThanOrEqual(0.05)
      expect(outside(low + 1)).toBeGreaterThan(0.05)
    }
  })

  it('takes the range where there are too few for an interval', () => {
    for (let n = 1; n < 6; n++) expect(medianRanks(n)).toEqual([0, n - 1])
  })

  it('interpolates quantiles', () => {
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5)
    expect(quantile([7], 0.9)).toBe(7)
    expect(median([3, 1, 2])).toBe(2)
    expect(spread([11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])).toEqual({ median: 6, p10: 2, p90: 10 })
  })

  it('divides pair by pair, not median by median', () => {
    const ours = [1, 2, 4, 1, 2, 4, 1]
    expect(
      pairedRatio(
        ours,
        ours.map((seconds) => 3 * seconds),
      ),
    ).toEqual({ median: 3, low: 3, high: 3, pairs: 7 })
    expect(pairedRatio([1, 1, 1, 1, 1, 1], [6, 2, 3, 5, 4, 1])).toEqual({
      median: 3.5,
      low: 1,
      high: 6,
      pairs: 6,
    })
  })
})

describe('cases', () => {
  it('counts the operations of the products', () => {
    const forward: Case = { ...LAYER, pass: 'forward' }
    const plain = 2 * 4 * 4 * (3 + 4) * 6 * 5
    expect(operations(forward)).toBe(plain)
    expect(operations(LAYER)).toBe(3 * plain)
    expect(operations({ ...forward, cell: 'gru' })).toBe((plain * 3) / 4)
    expect(operations({ ...forward, cell: 'rnn' })).toBe(plain / 4)
    expect(operations({ ...LAYER, pass: 'step' })).toBe(plain / 6)
    expect(operations({ ...forward, bidirectional: true })).toBe(2 * plain)
    expect(operations({ ...forward, layers: 2 })).toBe(plain + 2 * 4 * 4 * (4 + 4) * 6 * 5)
    expect(operations({ ...forward, projSize: 2 })).toBe(2 * (4 * 4 * (3 + 2) + 2 * 4) * 6 * 5)
    const lengths = rowLengths({ ...forward, lengths: 'ragged' }) as number[]
    const steps = lengths.reduce((sum, length) => sum + length)
    expect(steps).toBeLessThan(30)
    expect(operations({ ...forward, lengths: 'ragged' })).toBe((plain / 30) * steps)
  })

  it('draws the lengths of ragged rows from 1 to T', () => {
    const lengths = rowLengths({ ...LAYER, B: 2000, lengths: 'ragged' }) as number[]
    expect(new Set(lengths)).toEqual(new Set([1, 2, 3, 4, 5, 6]))
    expect(rowLengths(LAYER)).toBeNull()
  })

  it("names parameters as PyTorch's", () => {
    const shapes = parameterShapes({ ...LAYER, layers: 2, bidirectional: true, projSize: 2 })
    expect(shapes.get('weight_ih_l0')).toEqual([16, 3])
    expect(shapes.get('weight_ih_l1_reverse')).toEqual([16, 4])
    expect(shapes.get('weight_hr_l1')).toEqual([2, 4])
    expect(shapes.size).toBe(20)
  })

  it.each([
    [{ cell: 'gru', projSize: 2 }, /projection/],
    [{ projSize: 4 }, /not smaller/],
    [{ pass: 'step', bidirectional: true }, /one direction/],
    [{ pass: 'step', lengths: 'ragged' }, /one length/],
    [{ pass: 'demo', cell: 'gru' }, /LSTM/],
    [{ pass: 'ops', layers: 2 }, /one plain layer/],
    [{ pass: 'decoder', bidirectional: true }, /one plain cell/],
    [{ pass: 'step', busy: true }, /JavaScript thread/],
  ] as [Partial<Case>, RegExp][])('refuses %j', (change, reason) => {
    expect(impossible(LAYER)).toBeNull()
    expect(impossible({ ...LAYER, ...change })).toMatch(reason)
  })
})

describe('suites', () => {
  it.each(Object.keys(readSuites()))('%s has cases that make sense', (name) => {
    const { cases: groups, description } = findSuite(name)
    const cases = expand(groups)
    expect(description).not.toBe('')
    expect(cases.length).toBeGreaterThan(0)
    for (const one of cases) for (const size of [one.B, one.T, one.I, one.H]) expect(size).toBeGreaterThan(0)
    // No case twice.
    expect(new Set(cases.map(describeCase)).size).toBe(cases.length)
    expect(makePlan({ suite: name, device: 'cpu', python: 'python3' }).cases).toEqual(cases)
  })

  it('has the table of the README: six shapes, three cells, two passes, two threads', () => {
    const plan = makePlan({ suite: 'readme', device: 'cpu', python: 'python3' })
    expect(plan.threads).toEqual([2])
    expect(plan.settings.pairs).toBeGreaterThanOrEqual(11)
    expect(plan.cases.length).toBe(6 * 3 * 2)
  })

  it('sweeps every proportion up to a limit of operations', () => {
    const { cases } = makePlan({ suite: 'sweep', device: 'cpu', python: 'python3' })
    for (const one of cases) expect(operations(one)).toBeLessThanOrEqual(2e11)
    const values = (of: (one: Case) => unknown): unknown[] => [...new Set(cases.map(of))].sort()
    expect(values(({ B }) => B).length).toBe(8)
    expect(values(({ H }) => H).length).toBe(8)
    expect(values(({ T }) => T).length).toBe(4)
    expect(values(({ cell, pass }) => `${cell} ${pass}`).length).toBe(6)
    // The largest that fits is there, the next is not.
    const has = (one: Partial<Case>): boolean =>
      cases.some((other) => Object.entries(one).every(([key, value]) => other[key as keyof Case] === value))
    expect(has({ cell: 'lstm', pass: 'forward', B: 128, T: 1000, H: 256 })).toBe(true)
    expect(has({ cell: 'lstm', pass: 'forward', B: 128, T: 1000, H: 512 })).toBe(false)
    expect(has({ cell: 'lstm', pass: 'train', B: 1, T: 1000, H: 2048 })).toBe(false)
    expect(has({ cell: 'lstm', pass: 'forward', B: 1, T: 1000, H: 2048 })).toBe(true)
  })

  it('finds shapes by numbers, name and group', () => {
    const shape = { B: 2, T: 3, I: 4, H: 5 }
    expect(findShapes(['2,3,4,5', 'tiny'])).toEqual([shape, shape])
    expect(findShapes(['readme']).length).toBe(6)
    for (const group of Object.keys(readShapes().groups))
      expect(findShapes([group]).length).toBeGreaterThan(0)
  })

  it.each([
    '2,3,4',
    '2,3,4,0',
    '2,3,4,5,6',
    'a,b,c,d',
    'fly',
    '',
    'toString',
    '1,1,1,1e3',
  ])('refuses %j as a shape', (name) => expect(() => findShapes([name])).toThrow(UsageError))

  it('lets options choose among the cases of a suite', () => {
    const options = { suite: 'readme', device: 'cpu', python: 'python3' }
    const { cases, settings, threads } = makePlan({
      ...options,
      pass: ['train'],
      cells: ['gru'],
      pairs: 4,
      threads: [1],
    })
    expect([cases.length, settings.pairs, threads]).toEqual([6, 4, [1]])
    expect(new Set(cases.map(({ pass, cell }) => `${pass} ${cell}`))).toEqual(new Set(['train gru']))
    expect(() => makePlan({ ...options, pass: ['demo'] })).toThrow(UsageError)
    expect(() => findSuite('toString')).toThrow(UsageError)
  })
})

describe('the check', () => {
  /** What a contender would write that computes the case without fault. */
  function perfect(one: Case, sample: Sample): { data: CaseData; results: Map<string, Named> } {
    const data = makeData(one, sample)
    const whole = { rows: Array.from({ length: one.B }, (_, b) => b), steps: one.T }
    const results = new Map<string, Named>()
    for (const [name, values] of expected(one, { ...data, sample: whole }))
      results.set(name, { shape: [values.length], values })
    return { data, results }
  }
  function problems(one: Case, sample: Sample, change: (results: Map<string, Named>) => void): string[] {
    const { data, results } = perfect(one, sample)
    change(results)
    const out = join(folder, 'out.bin')
    const places = writeTensors(out, results)
    return findErrors(one, sample, expected(one, data), places, out, boundsFor('bptt', one))
  }
  const SAMPLE: Sample = { rows: [1, 4], steps: 3 }
  const at = (t: number, b: number, width: number): number => (t * LAYER.B + b) * width
  const edit =
    (name: string, index: number, value: (before: number) => number) => (results: Map<string, Named>) => {
      const { values } = results.get(name) as Named
      values[index] = value(values[index] as number)
    }

  it.each([
    ['plain', {}],
    ['ragged', { lengths: 'ragged' }],
    ['two layers', { layers: 2, projSize: 2 }],
    ['gru', { cell: 'gru' }],
    ['rnn', { cell: 'rnn', layers: 3 }],
    ['forward', { pass: 'forward' }],
  ] as [
    string,
    Partial<Case>,
  ][])('of a part of the rows and steps agrees with the whole: %s', (_, change) => {
    expect(problems({ ...LAYER, ...change }, SAMPLE, () => {})).toEqual([])
  })

  it.each([
    ['an output of a sampled row', edit('output', at(2, 4, 4), (v) => v + 1e-9), /^output: error/],
    ['NaN in any other row', edit('output', at(5, 0, 4), () => Number.NaN), /^output: element .* NaN/],
    ['a gradient of a parameter', edit('d.weight_hh_l0', 7, (v) => v + 1e-9), /^d\.weight_hh_l0: error/],
    ['a gradient where none came in', edit('dx', at(1, 0, 3), () => 1e-30), /^dx: not zero/],
    ['a missing tensor', (results) => results.delete('d.bias_ih_l0'), /^d\.bias_ih_l0 is missing/],
    [
      'a tensor of another size',
      (results) => results.set('dx', { shape: [3], values: new Float64Array(3) }),
      /^dx: 3 elements, not 90/,
    ],
  ] as [string, (results: Map<string, Named>) => void, RegExp][])('finds %s', (_, change, message) => {
    const found = problems(LAYER, SAMPLE, change)
    expect(found.length).toBe(1)
    expect(found[0]).toMatch(message)
  })

  it('does not see what it does not look at', () => {
    expect(
      problems(
        LAYER,
        SAMPLE,
        edit('output', at(4, 4, 4), (v) => v + 0.1),
      ),
    ).toEqual([])
  })

  it('chooses rows and steps by their cost', () => {
    const big: Case = { ...LAYER, B: 64, T: 100, I: 1024, H: 1024 }
    const cost = ({ rows, steps }: Sample): number => (operations(big) / 6400) * rows.length * steps
    const sample = chooseSample(big, 2e9)
    expect(cost(sample)).toBeLessThanOrEqual(2.1e9)
    expect(cost(sample)).toBeGreaterThan(1e9)
    expect(sample.rows.at(-1)).toBe(63)
    // Everything of a small shape, at least one row of the largest, all steps where each depends on all.
    expect(chooseSample(LAYER, 1e9)).toEqual({ rows: [0, 1, 2, 3, 4], steps: 6 })
    expect(chooseSample({ ...big, H: 2048, T: 1 }, 1).rows.length).toBeGreaterThan(0)
    expect(chooseSample({ ...big, bidirectional: true }, 1)).toEqual({ rows: [63], steps: 100 })
    const many = chooseSample({ ...LAYER, B: 20 }, 1e9).rows
    expect([many.length, many.at(-1), new Set(many).size]).toEqual([8, 19, 8])
  })

  it('gives the gradient of the output only to the sample', () => {
    const { tensors } = makeData(LAYER, SAMPLE)
    const { values } = tensors.get('dy') as Named
    values.forEach((value, i) => {
      const [t, b] = [Math.floor(i / 20), Math.floor(i / 4) % 5]
      expect(value !== 0).toBe(t < 3 && SAMPLE.rows.includes(b))
    })
  })

  it('writes data that can be read back', () => {
    const { tensors } = makeData({ ...LAYER, pass: 'demo', dtype: 'float32' }, SAMPLE)
    const path = join(folder, 'demo.bin')
    const places = writeTensors(path, tensors)
    for (const [name, { values }] of tensors) {
      expect(readTensor(path, places[name] as never, 'float32')).toEqual(values)
    }
    expect(places.ids).toMatchObject({ dtype: 'int32', shape: [6, 5] })
    expect(() => readTensor(path, { shape: [1000000], offset: 0 }, 'float32')).toThrow(/ends .* early/)
  })
})

describe('the table', () => {
  const timed = (seconds: number) => ({
    status: 'timed' as const,
    seconds: { median: seconds, p10: seconds / 2, p90: 2 * seconds },
    samples: [seconds],
    gigaflops: 12.34,
    shareOfLimit: 0.56,
  })
  const result: Result = {
    case: LAYER,
    threads: 2,
    operations: 1,
    outcomes: {
      bptt: timed(0.002),
      torch: timed(0.005),
      tfjs: { status: 'failed', reason: 'wrong results' },
    },
    ratios: { torch: { median: 2.5, low: 2.4, high: 2.6, pairs: 11 } },
  }

  it('says time, speed, share and ratio, and what failed', () => {
    expect(describeResult(result, 0)).toBe(
      'lstm train 5,6,3,4 float64  2 threads  bptt 2.00 ms [1.00 ms, 4.00 ms]    12.3 GF/s  56 %  ' +
        'torch 2.50x [2.40, 2.60]  tfjs failed: wrong results',
    )
  })

  it('sums up what was asked at several shapes', () => {
    const faster = {
      ...result,
      case: { ...LAYER, B: 7 },
      ratios: { torch: { median: 10, low: 1, high: 1, pairs: 1 } },
    }
    const other = { ...result, case: { ...LAYER, pass: 'forward' as const } }
    expect(describeSummary({ results: [result, faster, other] } as never)).toEqual([
      'LSTM training step, 2 threads, float64: torch 5.00x in the geometric mean of 2, lowest 2.50x at 5, 6, 3, 4',
    ])
  })

  it('compares with the same case of an older report', () => {
    const older = { ...result, case: { ...LAYER }, outcomes: { bptt: timed(0.003) } }
    const report = {
      results: [{ ...older, threads: 1 }, { ...older, case: { ...LAYER, H: 5 } }, older],
    } as never
    expect(findResult(report, result)).toBe(older)
    expect(describeResult(result, 0, older)).toContain('1.50x as fast as before')
  })
})

describe('the references', () => {
  const root = fileURLToPath(new URL('../../lib', import.meta.url))
  const imports = (file: string): string[] =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/from '(\..*?)'/g)].map(([, path]) => path as string)
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  )

  it('import nothing of the library but what the cells are, and bptt bench alone imports them', () => {
    expect(files.some((file) => file.startsWith('reference'))).toBe(true)
    expect(imports('cells.ts')).toEqual([])
    for (const file of files) {
      const paths = imports(file)
      if (file.startsWith('reference'))
        for (const path of paths) expect(path).toMatch(/^(\.\/\w+|\.\.\/cells)\.ts$/)
      else if (file !== join('cli', 'internals.ts'))
        for (const path of paths) expect(path, file).not.toContain('reference/')
    }
  })
})
