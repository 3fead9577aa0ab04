/** ctcLoss: against PyTorch and a sum over every alignment, what it leaves out, and what it refuses. */
import {
  ctcLoss,
  grad,
  gradcheck,
  info,
  logSoftmax,
  randn,
  setNumThreads,
  type Tensor,
  tensor,
  zeros,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { type Case, readCases } from './fixtures/read.ts'
import { codeOf, type Short, wrong } from './support/failure.ts'
import { int, x } from './support/gradient_cases.ts'
import { type DType, expectClose } from './support/tolerance.ts'

const dtypes: DType[] = ['float32', 'float64']
const valuesOf = (x: Tensor | null | undefined) => [...(x as Tensor).dataSync()]
const named = readCases('ctc').map((fixture): [string, Case] => [fixture.name, fixture])

describe.each(dtypes)('PyTorch: ctcLoss, %s', (dtype) => {
  it.each(named)('%s', (_, { tensors, error, inputLengths, targetLengths, options }) => {
    const given = (name: string, requiresGrad = false) => {
      const { data, shape, dtype: stored } = tensors.get(name) as NonNullable<ReturnType<typeof tensors.get>>
      return tensor(Array.from(data), shape, { dtype: stored === 'I32' ? 'int32' : dtype, requiresGrad })
    }
    const logProbs = given('logProbs', true)
    const out = ctcLoss(logProbs, given('targets'), inputLengths, Int32Array.from(targetLengths), options)
    expect(out.shape).toEqual(tensors.get('out')?.shape)
    out.backward(given('d_out'))
    const found = new Map([
      ['out', valuesOf(out)],
      ['grad.logProbs', valuesOf(logProbs.grad)],
    ])
    const expected = new Map([...found.keys()].map((name) => [name, tensors.get(name)?.data as Float64Array]))
    expectClose(found, expected, dtype, { torchErrors: error })
  })
})

/** The loss of one row and its gradient, from every path there is. */
function everyPath(logProbs: readonly number[], C: number, labels: readonly number[], blank: number) {
  const T = logProbs.length / C
  const posterior = new Array<number>(T * C).fill(0)
  let total = 0
  for (let path = 0; path < C ** T; path++) {
    const classes = Array.from({ length: T }, (_, t) => Math.floor(path / C ** t) % C)
    const found = classes.filter((c, t) => c !== blank && c !== classes[t - 1])
    if (`${found}` !== `${labels}`) continue
    const p = Math.exp(classes.reduce((sum, c, t) => sum + (logProbs[t * C + c] as number), 0))
    total += p
    for (const [t, c] of classes.entries()) posterior[t * C + c] = (posterior[t * C + c] as number) + p
  }
  const gradient = logProbs.map((lp, i) =>
    total === 0 ? 0 : Math.exp(lp) - (posterior[i] as number) / total,
  )
  return { loss: -Math.log(total), gradient }
}

describe.each(dtypes)('the sum over all alignments, %s', (dtype) => {
  it.each<[T: number, C: number, blank: number, labels: number[]]>([
    [1, 3, 0, []],
    [1, 3, 0, [2]],
    [1, 2, 1, [0, 0]],
    [2, 3, 0, [1, 1]],
    [3, 3, 0, [1, 1]],
    [4, 3, 1, [0, 2, 0]],
    [4, 4, 3, [2, 2, 1]],
    [6, 3, 2, [0, 0, 0]],
    [6, 3, 2, [1]],
    [7, 3, 0, [1, 2, 2, 1]],
    [7, 2, 0, [1, 1, 1, 1]],
    [5, 1, 0, []],
  ])('T = %i, C = %i, blank %i, labels %j', (T, C, blank, labels) => {
    const logProbs = logSoftmax(randn([T, C], { dtype: 'float64' }).mul(2), -1)
    const leaf = logProbs.to(dtype).detach()
    leaf.requiresGrad = true
    const loss = ctcLoss(leaf, int(labels), [T], [labels.length], { blank, reduction: 'sum' })
    loss.backward()
    const expected = everyPath(valuesOf(logProbs), C, labels, blank)
    expect(valuesOf(leaf.grad).every(Number.isFinite)).toBe(true)
    expectClose(
      new Map([
        ['loss', valuesOf(loss)],
        ['grad', valuesOf(leaf.grad)],
      ]),
      new Map([
        ['loss', [expected.loss]],
        ['grad', expected.gradient],
      ]),
      dtype,
      { torchErrors: { loss: 1e-6, grad: 1e-6 } },
    )
  })
})

const targets = () => int([1, 2, 2, 3, 0, 0, 1, 3, 0], [3, 3])
const inputLengths = [6, 4, 5]
const targetLengths = [3, 1, 2]

describe('gradients', () => {
  it.each(['none', 'mean', 'sum'] as const)('equal differences through logSoftmax, %s', (reduction) => {
    const loss = (logits: Tensor) =>
      ctcLoss(logSoftmax(logits, -1), targets(), inputLengths, targetLengths, { reduction })
    expect(gradcheck(loss, [x(6, 3, 4)])).toBe(true)
  })

  it('of impossible rows are 0, and no NaN reaches other rows', () => {
    const logits = x(6, 3, 4)
    const losses = ctcLoss(logSoftmax(logits, -1), targets(), [2, 0, 5], targetLengths, { reduction: 'none' })
    expect(valuesOf(losses).map(Number.isFinite)).toEqual([false, false, true])
    expect(valuesOf(losses).slice(0, 2)).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY])
    losses.sum().backward()
    const rows = valuesOf(logits.grad)
    expect(rows.every(Number.isFinite)).toBe(true)
    expect(
      rows.map((dx, i) => (Math.floor(i / 4) % 3 === 2 && i < 60 ? 0 : dx)).every((dx) => dx === 0),
    ).toBe(true)
    expect(rows.some((dx) => dx !== 0)).toBe(true)
    const options = { reduction: 'none', zeroInfinity: true } as const
    const zeroed = ctcLoss(logSoftmax(logits, -1), targets(), [2, 0, 5], targetLengths, options)
    expect(valuesOf(zeroed)).toEqual([0, 0, valuesOf(losses)[2]])
  })

  it('of classes of probability 0 are finite', () => {
    const logProbs = tensor([0, -Infinity, -Infinity, 0, Math.log(0.5), Math.log(0.5)], [3, 2], {
      requiresGrad: true,
    })
    const loss = ctcLoss(logProbs, int([1]), [3], [1])
    expect(valuesOf(loss)[0]).toBeCloseTo(0, 6)
    loss.backward()
    expect(valuesOf(logProbs.grad)).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('have no gradient of their own', () => {
    const logits = x(6, 3, 4)
    const loss = ctcLoss(logSoftmax(logits, -1), targets(), inputLengths, targetLengths)
    expect(codeOf(() => grad(loss, [logits], { createGraph: true }))).toBe('ERR_BPTT_GRAPH')
  })
})

describe('what does not count', () => {
  it.each(dtypes)('may hold anything, %s', (dtype) => {
    const clean = valuesOf(logSoftmax(x(6, 3, 4), -1))
    const run = (values: number[], labels: Tensor) => {
      const logProbs = tensor(values, [6, 3, 4], { dtype, requiresGrad: true })
      const losses = ctcLoss(logProbs, labels, inputLengths, targetLengths, { reduction: 'none' })
      losses.sum().backward()
      return { losses: valuesOf(losses), gradient: valuesOf(logProbs.grad) }
    }
    const counts = (i: number) => Math.floor(i / 12) < (inputLengths[Math.floor(i / 4) % 3] as number)
    const expected = run(clean, targets())
    for (const spoilt of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const values = clean.map((lp, i) => (counts(i) ? lp : spoilt))
      expect(run(values, int([1, 2, 2, 3, -7, 99, 1, 3, 0], [3, 3]))).toEqual(expected)
      expect(run(values, int([1, 2, 2, 3, 1, 3]))).toEqual(expected)
    }
    expect(expected.gradient.filter((dx, i) => !counts(i) && dx !== 0)).toEqual([])
  })
})

it('long sequences keep their digits', () => {
  const [T, B, C, S] = [1500, 2, 5, 30]
  const logits = randn([T, B, C], { dtype: 'float64' }).mul(3)
  const labels = int(
    Array.from({ length: B * S }, (_, i) => 1 + ((i * 7) % (C - 1))),
    [B, S],
  )
  const run = (dtype: DType) => {
    const logProbs = logSoftmax(logits, -1).to(dtype).detach()
    logProbs.requiresGrad = true
    const losses = ctcLoss(logProbs, labels, [T, T - 100], [S, S - 3], { reduction: 'none' })
    losses.sum().backward()
    return new Map([
      ['out', valuesOf(losses)],
      ['grad.logProbs', valuesOf(logProbs.grad)],
    ])
  }
  expectClose(run('float32'), run('float64'), 'float32', { torchErrors: { 'grad.logProbs': 4e-5 } })
})

it('any number of threads gives the same bits', () => {
  const { threads } = info()
  const [T, B, C, S] = [300, 7, 6, 21]
  const logProbs = logSoftmax(randn([T, B, C]), -1).detach()
  logProbs.requiresGrad = true
  const labels = int(
    Array.from({ length: B * S }, (_, i) => 1 + ((i * i) % 5)),
    [B, S],
  )
  const lengths = Array.from({ length: B }, (_, b) => S - 2 * b)
  const run = (count: number) => {
    setNumThreads(count)
    const losses = ctcLoss(logProbs, labels, new Array(B).fill(T), lengths, { reduction: 'none' })
    const [gradient] = grad(losses.sum(), [logProbs])
    return [valuesOf(losses), valuesOf(gradient)]
  }
  try {
    const alone = run(1)
    for (const count of [2, 3, 7]) expect(run(count)).toEqual(alone)
  } finally {
    setNumThreads(threads)
  }
})

describe('nothing', () => {
  it('no labels: the blanks alone', () => {
    const logProbs = tensor([0.25, 0.75, 0.5, 0.5].map(Math.log), [2, 1, 2], { dtype: 'float64' })
    expect(valuesOf(ctcLoss(logProbs, int([], [1, 0]), [2], [0]))[0]).toBeCloseTo(Math.log(8), 12)
    expect(valuesOf(ctcLoss(logProbs, int([], [0]), [0], [0]))).toEqual([0])
  })

  it('no steps', () => {
    const logProbs = zeros([0, 2, 3], { requiresGrad: true })
    const losses = ctcLoss(logProbs, int([1, 2]), [0, 0], [0, 2], { reduction: 'none' })
    expect(valuesOf(losses)).toEqual([0, Number.POSITIVE_INFINITY])
    losses.sum().backward()
    expect(logProbs.grad?.shape).toEqual([0, 2, 3])
  })

  it.each([
    ['none', [0], []],
    ['sum', [], [0]],
    ['mean', [], [Number.NaN]],
  ] as const)('no rows, %s', (reduction, shape, values) => {
    const logProbs = zeros([4, 0, 3], { requiresGrad: true })
    const loss = ctcLoss(logProbs, int([], [0, 2]), [], [], { reduction })
    expect(loss.shape).toEqual(shape)
    expect(valuesOf(loss)).toEqual(values)
    loss.sum().backward()
    expect(logProbs.grad?.shape).toEqual([4, 0, 3])
  })
})

describe('misuse', () => {
  const logProbs = (dtype?: 'int32') => zeros([4, 2, 3], dtype === undefined ? {} : { dtype })
  const labels = () => int([1, 2, 2, 1], [2, 2])
  const rows: [string, Short, () => unknown][] = [
    ['no tensor', 'TYPE', () => ctcLoss(wrong([1]), labels(), [4, 4], [2, 2])],
    ['int32', 'DTYPE', () => ctcLoss(wrong(logProbs('int32')), labels(), [4, 4], [2, 2])],
    ['one dimension', 'SHAPE', () => ctcLoss(zeros([3]), labels(), [4], [2])],
    ['no classes', 'SHAPE', () => ctcLoss(zeros([4, 2, 0]), labels(), [4, 4], [2, 2])],
    ['floating point targets', 'DTYPE', () => ctcLoss(logProbs(), wrong(zeros([2, 2])), [4, 4], [2, 2])],
    ['targets of another batch', 'SHAPE', () => ctcLoss(logProbs(), int([1, 2, 1], [3, 1]), [4, 4], [1, 1])],
    ['lengths of another batch', 'SHAPE', () => ctcLoss(logProbs(), labels(), [4], [2, 2])],
    ['target lengths of another batch', 'SHAPE', () => ctcLoss(logProbs(), labels(), [4, 4], [2])],
    ['steps beyond T', 'VALUE', () => ctcLoss(logProbs(), labels(), [5, 4], [2, 2])],
    ['labels beyond S', 'VALUE', () => ctcLoss(logProbs(), labels(), [4, 4], [3, 2])],
    ['labels below 0', 'VALUE', () => ctcLoss(logProbs(), labels(), [4, 4], [-1, 2])],
    ['another sum', 'VALUE', () => ctcLoss(logProbs(), int([1, 2, 2]), [4, 4], [2, 2])],
    ['a tensor of lengths', 'TYPE', () => ctcLoss(logProbs(), labels(), wrong(int([4, 4])), [2, 2])],
    ['a blank beyond C', 'VALUE', () => ctcLoss(logProbs(), labels(), [4, 4], [2, 2], { blank: 3 })],
    [
      'a reduction',
      'VALUE',
      () => ctcLoss(logProbs(), labels(), [4, 4], [2, 2], { reduction: wrong('avg') }),
    ],
    [
      'zeroInfinity of 1',
      'TYPE',
      () => ctcLoss(logProbs(), labels(), [4, 4], [2, 2], { zeroInfinity: wrong(1) }),
    ],
    ['an option', 'TYPE', () => ctcLoss(logProbs(), labels(), [4, 4], [2, 2], wrong({ blanc: 1 }))],
    [
      'the blank as a label',
      'INDEX',
      () => ctcLoss(logProbs(), int([1, 2, 0, 1], [2, 2]), [4, 4], [2, 2]).data(),
    ],
    ['no class', 'INDEX', () => ctcLoss(logProbs(), int([1, 2, 1, 3], [2, 2]), [4, 4], [2, 2]).data()],
    [
      'a label below 0',
      'INDEX',
      () => ctcLoss(logProbs(), int([1, 2, 1, -1], [2, 2]), [4, 4], [2, 2]).data(),
    ],
  ]
  it.each(rows)('%s', async (_, code, run) => {
    await expect(async () => run()).rejects.toMatchObject({ code: `ERR_BPTT_${code}` })
  })
})
