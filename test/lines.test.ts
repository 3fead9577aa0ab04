/** Ops along axes: extremes, order, sums that grow, elements by index, folds. */
import { describe, expect, it } from 'vitest'
import { grad, oneHot, type Tensor, tensor, zeros } from '../lib/index.ts'
import { type Case, readCases } from './fixtures/read.ts'
import { expectFailure } from './support/failure.ts'
import { expectClose, type Results } from './support/tolerance.ts'

const int = (values: number[], shape?: number[]) => tensor(values, shape, { dtype: 'int32' })
const DTYPES = ['float32', 'float64'] as const
const list = (x: Tensor) => [...x.dataSync()]
const lists = ({ values, indices }: { values: Tensor; indices: Tensor }) => [list(values), list(indices)]

describe.each(DTYPES)('PyTorch: ops along axes, %s', (dtype) => {
  const cases = readCases('lines').map((fixture): [string, Case] => [fixture.name, fixture])

  it.each(cases)('%s', (_, fixture) => {
    const given = (name: string) => {
      const entry = fixture.tensors.get(name)
      if (entry === undefined) return []
      const kind = entry.dtype === 'I32' ? 'int32' : dtype
      return [
        tensor(entry.data as Float32Array, entry.shape, { dtype: kind, requiresGrad: kind !== 'int32' }),
      ]
    }
    const [x] = given('x') as [Tensor]
    const operands = [...given('index'), ...given('source')]
    const others = fixture.arguments.map((one: unknown) => (one === 'inf' ? Number.POSITIVE_INFINITY : one))
    const method = x[fixture.op as 'max'] as (...all: unknown[]) => Tensor | ReturnType<Tensor['sort']>
    const result = method.call(x, ...others, ...operands)
    const out = 'values' in result ? result.values : result
    const actual: Results = new Map([['out', list(out)]])
    if ('indices' in result) actual.set('indices', list(result.indices as Tensor))
    out.backward((given('d_out')[0] as Tensor).detach())
    for (const [name, from] of [
      ['grad.x', x],
      ['grad.source', operands[1]],
    ] as const)
      if (from?.grad) actual.set(name, list(from.grad))
    expect(out.shape).toEqual(fixture.tensors.get('out')?.shape)
    const names = Object.keys(fixture.error)
    const expected = new Map(names.map((name) => [name, fixture.tensors.get(name)?.data as Float64Array]))
    expectClose(actual, expected, dtype, { torchErrors: fixture.error })
  })
})

describe('extremes and order', () => {
  it('NaN wins', () => {
    const x = tensor([
      [1, Number.NaN, Number.NaN],
      [3, 1, 3],
    ])
    expect(lists(x.max(1))).toEqual([
      [Number.NaN, 3],
      [1, 0],
    ])
    expect(lists(x.min(1))).toEqual([
      [Number.NaN, 1],
      [1, 1],
    ])
    expect([x.max().itemSync(), x.min().itemSync()]).toEqual([Number.NaN, Number.NaN])
    expect([list(x.argmax(1)), list(x.argmin(0))]).toEqual([
      [1, 0],
      [0, 0, 0],
    ])
    expect(lists(x.sort())).toEqual([
      [1, Number.NaN, Number.NaN, 1, 3, 3],
      [0, 1, 2, 1, 0, 2],
    ])
    expect(lists(x.topk(1))).toEqual([
      [Number.NaN, 3],
      [1, 0],
    ])
  })

  it('integers, and shapes', () => {
    const x = int([4, 1, 3, 9, 9, 0], [2, 3])
    expect(lists(x.max(1))).toEqual([
      [4, 9],
      [0, 0],
    ])
    expect(x.max(1).values.dtype).toBe('int32')
    expect(x.max(-2, { keepDims: true }).indices.shape).toEqual([1, 3])
    expect([x.argmax().itemSync(), x.argmin().itemSync()]).toEqual([3, 5])
    expect(x.argmax(null, { keepDims: true }).shape).toEqual([1, 1])
    expect(lists(x.sort(1, { descending: true }))).toEqual([
      [4, 3, 1, 9, 9, 0],
      [0, 2, 1, 0, 1, 2],
    ])
    expect(list(x.cumsum(0))).toEqual([4, 1, 3, 13, 10, 3])
    expect(x.topk(0).values.shape).toEqual([2, 0])
    expect(lists(int([7], []).max(0))).toEqual([[7], [0]])
  })

  it('many, in order', () => {
    const x = tensor(
      Float64Array.from({ length: 3000 }, (_, i) => (i * 7919) % 1009),
      [3, 1000],
    )
    const { values, indices } = x.sort(-1)
    const rows = [0, 1, 2].map((r) => list(x.slice(r, r + 1)))
    expect(list(values)).toEqual(rows.flatMap((row) => row.toSorted((a, b) => a - b)))
    expect(list(x.takeAlongAxis(1, indices))).toEqual(list(values))
    expect(lists(x.topk(50, { largest: false }))[1]).toEqual(list(indices.slice(0, 50, 1)))
  })

  it('refuse what has no extreme, and a k beyond the axis', async () => {
    await expectFailure('SHAPE', () => zeros([0]).max())
    await expectFailure('SHAPE', () => zeros([0, 3]).max(0))
    await expectFailure('SHAPE', () => zeros([0, 3]).argmin())
    await expectFailure('SHAPE', () => zeros([0]).norm(Number.POSITIVE_INFINITY))
    await expectFailure('VALUE', () => zeros([3]).topk(4))
    await expectFailure('VALUE', () => zeros([3]).max(1))
    await expectFailure('VALUE', () => zeros([3]).norm(3))
    await expectFailure('DTYPE', () => int([1]).prod())
  })
})

describe('by index', () => {
  it('oneHot, of any dtype', () => {
    const index = int([2, 0], [2, 1])
    for (const dtype of ['float32', 'float64', 'int32'] as const) {
      const rows = oneHot(index, 3, { dtype })
      expect([rows.shape, rows.dtype, list(rows)]).toEqual([[2, 1, 3], dtype, [0, 0, 1, 1, 0, 0]])
    }
    expect(oneHot(index, 3).dtype).toBe('float32')
  })

  it('adds in the order of places', () => {
    // From left to right, with what rounding loses kept.
    const source = tensor([1, 1e8, -1e8, 0.5])
    expect(list(zeros([2]).scatterAdd(0, int([1, 1, 1, 1]), source))).toEqual([0, 1.5])
    expect(list(int([1, 2]).scatterAdd(0, int([1, 1]), int([5, 6])))).toEqual([1, 13])
  })

  it('an index out of range rejects', async () => {
    const x = zeros([2, 3])
    for (const index of [int([3], [1, 1]), int([-1], [1, 1])]) {
      await expectFailure('INDEX', () => x.gather(1, index).data())
      await expectFailure('INDEX', () => x.scatterAdd(1, index, zeros([1, 1])).data())
      await expectFailure('INDEX', () => x.indexSelect(1, index.reshape([1])).data())
      await expectFailure('INDEX', () => oneHot(index, 3).data())
    }
  })

  it('refuse indices that do not fit', async () => {
    const x = zeros([2, 3])
    await expectFailure('DTYPE', () => x.gather(0, zeros([1, 1])))
    await expectFailure('SHAPE', () => x.gather(0, int([0])))
    await expectFailure('SHAPE', () => x.gather(0, int([0, 0, 0, 0], [1, 4])))
    await expectFailure('SHAPE', () => x.takeAlongAxis(0, int([0, 0], [1, 2])))
    await expectFailure('SHAPE', () => x.indexSelect(0, int([0], [1, 1])))
    await expectFailure('SHAPE', () => x.scatterAdd(0, int([0, 0], [1, 2]), zeros([1, 1])))
    await expectFailure('VALUE', () => oneHot(int([0]), 0))
  })
})

describe.each(DTYPES)('results within the range of the type, %s', (dtype) => {
  const far = { float32: 1e20, float64: 1e200 }[dtype]
  const of = (...values: number[]) => tensor(values, { dtype, requiresGrad: true })
  const near = (x: Tensor | null, expected: readonly number[]) => {
    const scale = Math.max(...expected.map(Math.abs))
    const actual = list(x as Tensor)
    expect(Math.max(...actual.map((value, i) => Math.abs(value - (expected[i] as number))))).toBeLessThan(
      2e-6 * scale,
    )
  }

  it.each([
    ['std', [far, 2 * far, 3 * far], far, [-0.5, 0, 0.5]],
    ['std', [1 / far, 2 / far, 3 / far], 1 / far, [-0.5, 0, 0.5]],
    ['norm', [3 * far, 4 * far], 5 * far, [0.6, 0.8]],
    ['norm', [3 / far, 4 / far], 5 / far, [0.6, 0.8]],
    ['logSumExp', [1000, 1000], 1000 + Math.LN2, [0.5, 0.5]],
    ['logSumExp', [-1000, -1000], -1000 + Math.LN2, [0.5, 0.5]],
  ] as const)('%s of %j', (op, values, expected, gradient) => {
    const x = of(...values)
    const y = x[op]()
    near(y, [expected])
    y.backward()
    near(x.grad, gradient)
  })

  it('sums that grow, and products', () => {
    const most = { float32: 3e38, float64: 1.7e308 }[dtype]
    expect(list(of(most, most, -most, -most).cumsum(0)).slice(1)).toEqual([
      Number.POSITIVE_INFINITY,
      list(of(most))[0],
      0,
    ])
    near(of(far, far, 1 / far, 1 / far).prod(), [1])
    expect(of(far, far, 0).prod().itemSync()).toBe(0)
  })
})

describe('gradients', () => {
  it('are 0 where a norm or a deviation is', () => {
    const x = tensor([2, 2, 2], { requiresGrad: true })
    x.std().backward()
    x.sub(2).norm().backward()
    expect(list(x.grad as Tensor)).toEqual([0, 0, 0])
  })

  it('of products need no division', () => {
    const x = tensor([2, 0, 3, 4, 5], { dtype: 'float64', requiresGrad: true })
    const [dx] = grad(x.prod(), [x], { createGraph: true }) as [Tensor]
    expect(list(dx)).toEqual([0, 120, 0, 0, 0])
    const [second] = grad(dx.sum(), [x]) as [Tensor]
    expect(list(second)).toEqual([60, 154, 40, 30, 24])
  })

  it('reach no integers', () => {
    const { values, indices } = tensor([1, 2], { requiresGrad: true }).max(0)
    expect([values.requiresGrad, indices.requiresGrad]).toEqual([true, false])
  })
})
