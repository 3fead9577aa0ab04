/** Making tensors, reading them, and the values of ops. */
import {
  BpttError,
  concat,
  full,
  getRandomState,
  manualSeed,
  ones,
  rand,
  randn,
  setRandomState,
  stack,
  synchronize,
  Tensor,
  tensor,
  zeros,
} from 'bptt'
import { describe, expect, it } from 'vitest'

const list = (x: Tensor) => [...x.dataSync()]

describe('tensor()', () => {
  it('infers shape and dtype', () => {
    const made = [
      tensor(3),
      tensor([1, 2, 3]),
      tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]),
      tensor([[[1], [2]]]),
      tensor([]),
      tensor([[], []]),
      tensor(new Float32Array(4)),
      tensor(new Float64Array(4)),
      tensor(new Int32Array(4)),
      tensor(new Uint8Array(4)),
      tensor([new Float32Array([1, 2]), new Float32Array([3, 4])]),
      tensor([1, 2], { dtype: 'int32' }),
      tensor(new Float64Array(6), [2, 3], { dtype: 'float32' }),
      tensor([1, 2, 3, 4], [2, 2], { dtype: 'float64', requiresGrad: true }),
    ]
    expect(made.map(({ dtype, shape, size, rank }) => [dtype, shape, size, rank])).toEqual([
      ['float32', [], 1, 0],
      ['float32', [3], 3, 1],
      ['float32', [2, 3], 6, 2],
      ['float32', [1, 2, 1], 2, 3],
      ['float32', [0], 0, 1],
      ['float32', [2, 0], 0, 2],
      ['float32', [4], 4, 1],
      ['float64', [4], 4, 1],
      ['int32', [4], 4, 1],
      ['int32', [4], 4, 1],
      ['float32', [2, 2], 4, 2],
      ['int32', [2], 2, 1],
      ['float32', [2, 3], 6, 2],
      ['float64', [2, 2], 4, 2],
    ])
    expect(list(made[2] as Tensor)).toEqual([1, 2, 3, 4, 5, 6])
    expect(made[2]?.dataSync()).toBeInstanceOf(Float32Array)
    expect(list(made[10] as Tensor)).toEqual([1, 2, 3, 4])
    expect(made.map((x) => x.requiresGrad).indexOf(true)).toBe(13)
    expect(made[0]?.device).toBe('cpu')
  })

  it('copies any view, also of shared memory', () => {
    const buffer = new Float32Array([9, 1, 2, 3, 9]).buffer
    const view = new Float32Array(buffer, 4, 3)
    const x = tensor(view)
    view[0] = 100
    expect(list(x)).toEqual([1, 2, 3])

    const shared = new Int32Array(new SharedArrayBuffer(16), 4, 2)
    shared.set([7, 8])
    const y = tensor(shared)
    shared[0] = 0
    expect(list(y)).toEqual([7, 8])
    expect(list(tensor(shared, { dtype: 'float64' }))).toEqual([0, 8])
  })

  it('takes int32 from every integer type, with a range check', () => {
    expect(list(tensor(new Int8Array([-1, 2])))).toEqual([-1, 2])
    expect(list(tensor(new Uint32Array([5])))).toEqual([5])
    expect(() => tensor(new Uint32Array([2 ** 31]))).toThrow(RangeError)
    expect(list(tensor([-(2 ** 31), 2 ** 31 - 1], { dtype: 'int32' }))).toEqual([-(2 ** 31), 2 ** 31 - 1])
  })

  it('names the place and the remedy in its messages', () => {
    expect(() => tensor([[1, 2], [3]])).toThrow(/\[tensor\].*rows of equal length.*\[2,2\]/)
    expect(() => tensor([1, 2, 3], [2, 2])).toThrow(/\[tensor\] expected 4 elements.*got 3/)
    expect(() => ones([2, 3]).add(ones([4]))).toThrow(/\[Tensor.add\].*\[2,3\] and \[4\]/)
    expect(() => new (Tensor as unknown as new () => unknown)()).toThrow(TypeError)
    expect(() => zeros([1], { device: 'cuda' })).toThrow(BpttError)
    expect(() => zeros([1], { device: 'cuda:1' })).toThrow(/'cuda:1' is not available: .*CUDA/)
  })
})

describe('filled and random tensors', () => {
  it('zeros, ones, full', () => {
    expect(list(zeros([2, 2]))).toEqual([0, 0, 0, 0])
    expect(list(ones([3], { dtype: 'float64' }))).toEqual([1, 1, 1])
    expect(list(full([2], -7, { dtype: 'int32' }))).toEqual([-7, -7])
    expect(list(full([], 0.5))).toEqual([0.5])
    expect(() => full([1], 0.5, { dtype: 'int32' })).toThrow(RangeError)
    expect(zeros([0, 3]).dataSync()).toHaveLength(0)
  })

  it('repeat with the same seed, and go on from a saved state', () => {
    manualSeed(42)
    const first = list(randn([7]))
    const state = getRandomState()
    const second = list(rand([5]))
    manualSeed(42)
    expect(list(randn([7]))).toEqual(first)
    expect(list(rand([5]))).toEqual(second)
    setRandomState(state)
    expect(list(rand([5]))).toEqual(second)
    manualSeed(43)
    expect(list(randn([7]))).not.toEqual(first)
  })

  it('have the right distribution', () => {
    manualSeed(1)
    const n = 100_000
    const uniform = list(rand([n], { dtype: 'float64' }))
    expect(Math.min(...uniform.slice(0, 1000))).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniform.slice(0, 1000))).toBeLessThan(1)
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
    expect(mean(uniform)).toBeCloseTo(0.5, 2)
    const normal = list(randn([n], { dtype: 'float64' }))
    expect(Math.abs(mean(normal))).toBeLessThan(0.02)
    expect(Math.abs(mean(normal.map((value) => value * value)) - 1)).toBeLessThan(0.03)
  })
})

describe('reading', () => {
  it('gives a fresh copy each time', async () => {
    const x = tensor([1, 2])
    const [a, b] = await Promise.all([x.data(), x.data()])
    a[0] = 9
    expect([...b]).toEqual([1, 2])
    expect(list(x)).toEqual([1, 2])
  })

  it('resolves in a new turn of the event loop', async () => {
    const order: string[] = []
    const read = tensor([1])
      .data()
      .then(() => order.push('data'))
    await Promise.resolve().then(() => order.push('microtask'))
    await read
    expect(order).toEqual(['microtask', 'data'])
  })

  it('item() of a tensor of any shape with one element', async () => {
    expect(await tensor([[5]]).item()).toBe(5)
    expect(tensor([6], { dtype: 'int32' }).itemSync()).toBe(6)
    expect(() => zeros([2]).itemSync()).toThrow(RangeError)
  })

  it('a tensor prints what it is', () => {
    const x = zeros([2, 3], { requiresGrad: true })
    expect(`${x}`).toBe('Tensor(float32, [2,3], requiresGrad)')
    x.dispose()
    expect(`${x}`).toBe('Tensor(float32, [2,3], requiresGrad, disposed)')
  })

  it('synchronize() resolves', async () => {
    await synchronize()
    await expect(synchronize('cuda')).rejects.toMatchObject({ code: 'ERR_BPTT_DEVICE' })
  })
})

describe('values', () => {
  const a = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ])

  it('arithmetic broadcasts', () => {
    expect(list(a.add(tensor([10, 20, 30])))).toEqual([11, 22, 33, 14, 25, 36])
    expect(list(a.sub(tensor([[1], [2]])))).toEqual([0, 1, 2, 2, 3, 4])
    expect(list(a.mul(2))).toEqual([2, 4, 6, 8, 10, 12])
    expect(list(a.div(tensor(2)))).toEqual([0.5, 1, 1.5, 2, 2.5, 3])
    expect(list(tensor([[1], [2]]).mul(tensor([3, 4])))).toEqual([3, 4, 6, 8])
    expect(tensor([[1], [2]]).mul(tensor([3, 4])).shape).toEqual([2, 2])
    expect(list(a.sub(1).neg())).toEqual([-0, -1, -2, -3, -4, -5])
  })

  it('dividing by a number rounds once', () => {
    const x = tensor(new Float64Array([1, 5, 7]))
    expect(list(x.div(49))).toEqual([1 / 49, 5 / 49, 7 / 49])
  })

  it('sums and means', () => {
    expect(a.sum().itemSync()).toBe(21)
    expect(list(a.sum(0))).toEqual([5, 7, 9])
    expect(list(a.sum(-1))).toEqual([6, 15])
    expect(a.sum(1, { keepDims: true }).shape).toEqual([2, 1])
    expect(a.sum([0, 1], { keepDims: true }).shape).toEqual([1, 1])
    expect(list(a.mean(0))).toEqual([2.5, 3.5, 4.5])
    expect(a.mean().itemSync()).toBe(3.5)
    expect(list(a.sum([]))).toEqual(list(a))
    expect(zeros([0]).sum().itemSync()).toBe(0)
    expect(zeros([0]).mean().itemSync()).toBeNaN()
    expect(list(zeros([0, 2]).sum(0))).toEqual([0, 0])
  })

  it('shapes', () => {
    expect(list(a.transpose())).toEqual([1, 4, 2, 5, 3, 6])
    expect(a.transpose(0, 1).shape).toEqual([3, 2])
    expect(a.reshape([-1, 2]).shape).toEqual([3, 2])
    expect(a.reshape([3, 2]).reshape([6]).shape).toEqual([6])
    expect(list(a.slice(1, undefined, 1))).toEqual([2, 3, 5, 6])
    expect(list(a.slice(-2, -1, 1))).toEqual([2, 5])
    expect(a.slice(5, 9).shape).toEqual([0, 3])
    expect(list(a.slice(1, 100))).toEqual([4, 5, 6])
    expect(list(tensor([1, 2]).expand([2, 2]))).toEqual([1, 2, 1, 2])
    expect(list(concat([a, a.slice(0, 1)]))).toEqual([1, 2, 3, 4, 5, 6, 1, 2, 3])
    expect(list(concat([a, tensor([[0], [0]])], -1))).toEqual([1, 2, 3, 0, 4, 5, 6, 0])
    expect(stack([a, a], 1).shape).toEqual([2, 2, 3])
    expect(list(stack([tensor([1, 2]), tensor([3, 4])], -1))).toEqual([1, 3, 2, 4])
  })

  it('slices as Array.slice', () => {
    const rows = [0, 1, 2, 3]
    const x = tensor(rows)
    const table = tensor(rows.map((row) => [row, row + 10]))
    const indices = [undefined, Number.NEGATIVE_INFINITY, -5, -4, -1, 0, 1, 3, 4, 5, Number.POSITIVE_INFINITY]
    for (const start of indices) {
      for (const end of indices) {
        const expected = rows.slice(start, end)
        expect(list(x.slice(start, end)), `${start}, ${end}`).toEqual(expected)
        expect(list(table.slice(start, end).slice(1, 2, -1))).toEqual(expected.map((row) => row + 10))
        expect(table.transpose().slice(start, end, 1).shape).toEqual([2, expected.length])
      }
    }
  })

  it('shapes of int32', () => {
    const i = tensor(new Int32Array([1, 2, 3, 4, 5, 6]), [2, 3])
    expect(list(i.transpose())).toEqual([1, 4, 2, 5, 3, 6])
    expect(concat([i, i], 1).dtype).toBe('int32')
    expect(list(i.slice(1))).toEqual([4, 5, 6])
    expect(list(stack([i, i]).reshape([12]).slice(5, 8))).toEqual([6, 1, 2])
  })

  it('products', () => {
    const b = a.transpose()
    expect(list(a.matmul(b))).toEqual([14, 32, 32, 77])
    expect(list(a.matmul(tensor([1, 0, 1])))).toEqual([4, 10])
    expect(list(tensor([1, 1]).matmul(a))).toEqual([5, 7, 9])
    expect(tensor([1, 2]).matmul(tensor([3, 4])).shape).toEqual([])
    expect(ones([5, 1, 2, 3]).matmul(ones([4, 3, 6])).shape).toEqual([5, 4, 2, 6])
    expect(list(zeros([2, 0]).matmul(zeros([0, 2])))).toEqual([0, 0, 0, 0])
  })

  it('softmax over any axis, also of large numbers', () => {
    const x = tensor([
      [1000, 1000],
      [0, -1000],
    ])
    expect(list(x.softmax())).toEqual([0.5, 0.5, 1, 0])
    expect(list(x.softmax(0))).toEqual([1, 1, 0, 0])
    expect(list(x.logSoftmax().slice(1))).toEqual([0, -1000])
  })
})
