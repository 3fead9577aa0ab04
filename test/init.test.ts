/** init: what distributions and matrices it fills tensors with, and how. */
import { init, Linear, LSTM, manualSeed, type Tensor, zeros } from 'bptt'
import { describe, expect, it } from 'vitest'

const list = (x: Tensor) => [...x.dataSync()]
const moments = (x: Tensor) => {
  const values = list(x)
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length
  return { mean, std: Math.sqrt(variance), least: Math.min(...values), most: Math.max(...values) }
}
const SHAPE = [200, 50, 2] // fan in 100, fan out 400

describe.each(['float32', 'float64'] as const)('init, %s', (dtype) => {
  const filled = (fill: (x: Tensor) => Tensor, shape: number[] = SHAPE) => {
    manualSeed(11)
    const x = zeros(shape, { dtype })
    expect(fill(x)).toBe(x)
    return x
  }

  const uniforms: [string, number, (x: Tensor) => Tensor][] = [
    ['xavierUniform', Math.sqrt(6 / 500), (x) => init.xavierUniform(x)],
    ['xavierUniform with gain', 2 * Math.sqrt(6 / 500), (x) => init.xavierUniform(x, 2)],
    ['kaimingUniform', Math.sqrt(6 / 100), (x) => init.kaimingUniform(x)],
    [
      'kaimingUniform of fan out, before tanh',
      (5 / 3) * Math.sqrt(3 / 400),
      (x) => init.kaimingUniform(x, { mode: 'fanOut', nonlinearity: 'tanh' }),
    ],
    ['kaimingUniform with a slope', Math.sqrt(6 / 200), (x) => init.kaimingUniform(x, { a: 1 })],
    ['uniform', 3, (x) => init.uniform(x, -3, 3)],
  ]
  it.each(uniforms)('%s fills an interval', (_, bound, fill) => {
    const { mean, std, least, most } = moments(filled(fill))
    expect(Math.abs(mean) / bound).toBeLessThan(0.02)
    expect(std / (bound / Math.sqrt(3))).toBeCloseTo(1, 1)
    for (const end of [-least, most]) {
      expect(end / bound).toBeGreaterThan(0.999)
      expect(end / bound).toBeLessThanOrEqual(1 + 1e-7)
    }
  })

  const normals: [string, number, (x: Tensor) => Tensor][] = [
    ['xavierNormal', Math.sqrt(2 / 500), (x) => init.xavierNormal(x)],
    ['kaimingNormal', Math.sqrt(2 / 100), (x) => init.kaimingNormal(x)],
    [
      'kaimingNormal before selu',
      3 / 4 / 10,
      (x) => init.kaimingNormal(x, { nonlinearity: 'selu', mode: 'fanIn' }),
    ],
    ['normal', 3, (x) => init.normal(x, 0, 3)],
  ]
  it.each(normals)('%s has its deviation', (_, expected, fill) => {
    const { mean, std, most } = moments(filled(fill))
    expect(Math.abs(mean) / expected).toBeLessThan(0.03)
    expect(Math.abs(std / expected - 1)).toBeLessThan(0.02)
    expect(most / expected).toBeGreaterThan(3)
  })

  it('constant, zeros and ones', () => {
    expect(list(filled((x) => init.constant(x, -2.5), [3]))).toEqual([-2.5, -2.5, -2.5])
    expect(list(filled(init.ones, [2]))).toEqual([1, 1])
    expect(list(init.zeros(filled(init.ones, [2])))).toEqual([0, 0])
    expect(list(filled((x) => init.constant(x, 4), []))).toEqual([4])
  })

  it.each([
    [[7, 7], 1],
    [[70, 90], 1], // of several blocks
    [[99, 65], 1],
    [[3, 40], 1],
    [[40, 3], 2],
    [[6, 2, 5], 0.5],
    [[1, 4], 1],
    [[4, 1], -1],
  ])('orthogonal %j: rows or columns at right angles, of length %d', (shape, gain) => {
    const x = filled((tensor) => init.orthogonal(tensor, gain), shape)
    const matrix = x.reshape([shape[0] as number, -1])
    const [rows, columns] = matrix.shape as [number, number]
    const product = rows <= columns ? matrix.matmul(matrix.transpose()) : matrix.transpose().matmul(matrix)
    const n = Math.min(rows, columns)
    list(product).forEach((value, i) => {
      const expected = i % (n + 1) === 0 ? gain * gain : 0
      expect(Math.abs(value - expected)).toBeLessThan(dtype === 'float64' ? 1e-14 : 1e-6)
    })
  })

  it('orthogonal matrices favour no direction: the sign of their elements is even', () => {
    manualSeed(5)
    let sum = 0
    for (let i = 0; i < 400; i++)
      sum += Math.sign(list(init.orthogonal(zeros([2, 2], { dtype })))[0] as number)
    expect(Math.abs(sum)).toBeLessThan(80)
  })

  it('leaves tensors without elements as they are', () => {
    for (const fill of [
      init.xavierUniform,
      init.xavierNormal,
      init.kaimingUniform,
      init.kaimingNormal,
      init.orthogonal,
      init.uniform,
      init.normal,
      init.zeros,
    ] as ((x: Tensor) => Tensor)[]) {
      for (const shape of [
        [0, 3],
        [3, 0],
        [0, 0, 2],
      ])
        expect(filled(fill, shape).size).toBe(0)
    }
  })
})

describe('init', () => {
  it('draws from the generator: the same seed, the same numbers', () => {
    for (const fill of [init.xavierNormal, init.kaimingUniform, init.orthogonal] as ((
      x: Tensor,
    ) => Tensor)[]) {
      const draw = () => list(fill(zeros([5, 4])))
      manualSeed(1)
      const first = draw()
      const second = draw()
      manualSeed(1)
      expect(draw()).toEqual(first)
      expect(second).not.toEqual(first)
    }
  })

  it('changes parameters without recording, and the layer and the graph notice', () => {
    const lstm = new LSTM(2, 3)
    const x = zeros([4, 1, 2]).add(1)
    const before = list(lstm.forward(x).output)
    for (const [name, weight] of lstm.namedParameters()) {
      if (name.startsWith('weight')) init.orthogonal(weight)
      else init.zeros(weight)
    }
    expect(list(lstm.forward(x).output)).not.toEqual(before)
    const linear = new Linear(2, 2)
    const loss = linear.forward(zeros([1, 2], { requiresGrad: true })).sum()
    init.ones(linear.weight)
    expect(linear.weight.requiresGrad).toBe(true)
    expect(() => loss.backward()).toThrow(/changed/)
  })

  it('calculateGain', () => {
    expect(init.calculateGain('linear')).toBe(1)
    expect(init.calculateGain('conv1d')).toBe(1)
    expect(init.calculateGain('sigmoid')).toBe(1)
    expect(init.calculateGain('tanh')).toBe(5 / 3)
    expect(init.calculateGain('relu')).toBe(Math.SQRT2)
    expect(init.calculateGain('leakyRelu')).toBeCloseTo(Math.sqrt(2 / 1.0001), 14)
    expect(init.calculateGain('leakyRelu', 0.5)).toBeCloseTo(Math.sqrt(1.6), 14)
    expect(init.calculateGain('selu')).toBe(0.75)
  })

  it('refuses what it cannot fill', () => {
    const x = zeros([2, 2])
    const vector = zeros([2])
    for (const use of [
      () => init.xavierUniform(vector),
      () => init.kaimingNormal(vector),
      () => init.orthogonal(vector),
      () => init.uniform(x, 2, 1),
      () => init.normal(x, 0, -1),
      () => init.constant(x, Number.NaN),
      () => init.kaimingUniform(x, { mode: 'fan_in' as 'fanIn' }),
      () => init.calculateGain('gelu' as 'relu'),
    ]) {
      expect(use).toThrow(RangeError)
    }
    for (const use of [
      () => init.zeros(zeros([2], { dtype: 'int32' })),
      () => init.zeros([1] as unknown as Tensor),
      () => init.kaimingUniform(x, { slope: 1 } as object),
    ]) {
      expect(use).toThrow(TypeError)
    }
    expect(list(x)).toEqual([0, 0, 0, 0])
    const gone = zeros([2, 2])
    gone.dispose()
    expect(() => init.orthogonal(gone)).toThrow(/disposed/)
  })
})
