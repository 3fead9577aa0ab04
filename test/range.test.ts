/** Results that the type holds, though a square, a sum or an exponential on the way to them would not be. */
import {
  Adam,
  batchNorm,
  bceWithLogits,
  clipGradNorm,
  crossEntropy,
  full,
  layerNorm,
  logSoftmax,
  mseLoss,
  RMSprop,
  softmax,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'

const DTYPES = ['float32', 'float64'] as const
type Float = (typeof DTYPES)[number]

/** Numbers as far out for each type: 1e20 squared leaves float32 as 1e160 squared leaves float64. */
const FAR = {
  float32: { large: 1e20, largest: 3e38, small: 1e-30 },
  float64: { large: 1e160, largest: 1.7e308, small: 1e-290 },
}

function expectNear(actual: ArrayLike<number>, expected: readonly number[], tolerance = 2e-6): void {
  const scale = Math.max(...expected.filter(Number.isFinite).map(Math.abs), 0)
  expect(actual.length).toBe(expected.length)
  expected.forEach((value, i) => {
    const got = actual[i] as number
    if (Number.isFinite(value))
      expect(Math.abs(got - value), `${got}, not ${value}`).toBeLessThanOrEqual(tolerance * scale)
    else expect(got).toBe(value)
  })
}

const parameter = (values: number[], dtype: Float): Tensor => tensor(values, { dtype, requiresGrad: true })
function gradientOf(x: Tensor): ArrayLike<number> {
  if (x.grad === null) throw new Error('no gradient')
  return x.grad.dataSync()
}

describe.each(DTYPES)('%s', (dtype) => {
  const { large, largest, small } = FAR[dtype]
  const root = Math.sqrt(1.5)

  it.each([
    ['large', [large, 2 * large, 3 * large]],
    ['the largest', [largest / 3, (largest / 3) * 2, largest]],
    ['far apart', [-largest, 0, largest]],
    ['on a far mean', [1000, 1001, 1002]],
  ])('layerNorm of a row: %s', (_, row) => {
    const x = parameter(row, dtype)
    const weight = parameter([1, 1, 1], dtype)
    const y = layerNorm(x, 3, { weight, eps: 0 })
    expectNear(y.dataSync(), [-root, 0, root])
    y.mul(tensor([1, 2, 4], { dtype }))
      .sum()
      .backward()
    expectNear(gradientOf(weight), [-root, 0, 4 * root])
    // dx = rstd (g - mean(g) - xhat mean(g xhat)), g = 1 2 4
    const rstd = (2 * root) / ((row[2] as number) / 2 - (row[0] as number) / 2) / 2
    const expected = [1, 2, 4].map((g, i) => rstd * (g - 7 / 3 - (i - 1) * root * root))
    if (rstd > (dtype === 'float32' ? 1e-37 : 1e-306)) expectNear(gradientOf(x), expected, 2e-5)
  })

  it.each([
    ['large', [large, 2 * large, 3 * large]],
    ['the largest', [largest / 3, (largest / 3) * 2, largest]],
  ])('batchNorm of a channel: %s', (_, column) => {
    const x = tensor(
      column.map((value) => [value, 5]),
      { dtype, requiresGrad: true },
    )
    const [mean, variance] = [full([2], 0, { dtype }), full([2], 1, { dtype })]
    const y = batchNorm(x, mean, variance, { training: true, momentum: 0.5 })
    expectNear(y.dataSync(), [-root, 0, 0, 0, root, 0])
    y.sum().backward()
    expect(Array.from(gradientOf(x)).every(Number.isFinite)).toBe(true)
    const middle = column[1] as number
    expectNear(mean.dataSync(), [middle / 2, 2.5])
    expect(variance.dataSync()[1]).toBeCloseTo(0.5, 6)
  })

  it('layerNorm of a small row, with and without eps', () => {
    const row = [small, 2 * small, 3 * small]
    expectNear(layerNorm(tensor(row, { dtype }), 3, { eps: 0 }).dataSync(), [-root, 0, root])
    const scaled = layerNorm(tensor(row, { dtype }), 3).dataSync()
    expectNear(scaled, [-small / Math.sqrt(1e-5), 0, small / Math.sqrt(1e-5)])
    const x = parameter(row, dtype)
    layerNorm(x, 3, { eps: 0 })
      .mul(tensor([1, 2, 4], { dtype }))
      .sum()
      .backward()
    expect([...Array.from(gradientOf(x))].every(Number.isFinite)).toBe(true)
  })

  it.each([1000.1, 0.1, 1e19, 3e38])('layerNorm of a constant row is zero: %d', (value) => {
    expectNear(layerNorm(full([2, 7], value, { dtype }), 7).dataSync(), new Array(14).fill(0))
  })

  it('mean and sum whose way leads over the largest number', () => {
    const x = parameter([largest, largest, largest, largest / 3], dtype)
    const mean = x.mean()
    expectNear(mean.dataSync(), [largest * (10 / 12)])
    mean.backward()
    expectNear(gradientOf(x), [0.25, 0.25, 0.25, 0.25])
    expectNear(tensor([largest, largest, -largest, -largest], { dtype }).sum().dataSync(), [0])
    expectNear(full([5000, 3], largest, { dtype }).mean(0).dataSync(), [largest, largest, largest])
    expectNear(full([3, 5000], largest, { dtype }).mean(1).dataSync(), [largest, largest, largest])
    expect(full([9], largest, { dtype }).sum().itemSync()).toBe(Number.POSITIVE_INFINITY)
    expect(tensor([1, Number.NaN, 1], { dtype }).sum().itemSync()).toBeNaN()
  })

  it('softmax and logSoftmax of far logits', () => {
    const inf = Number.POSITIVE_INFINITY
    expectNear(softmax(tensor([largest, -largest, 0, largest], { dtype })).dataSync(), [0.5, 0, 0, 0.5])
    expectNear(logSoftmax(tensor([largest, largest, -inf], { dtype })).dataSync(), [
      -Math.LN2,
      -Math.LN2,
      -inf,
    ])
    expect([...Array.from(softmax(full([3], -inf, { dtype })).dataSync())]).toEqual([
      Number.NaN,
      Number.NaN,
      Number.NaN,
    ])
  })

  it.each([[[1, 2]], [[2, 2, 1]]])('crossEntropy of far logits: %j', (shape) => {
    const target = tensor(new Array(shape.length === 2 ? 1 : 2).fill(0), shape.length === 2 ? [1] : [2, 1], {
      dtype: 'int32',
    })
    for (const far of [1e8, large, largest]) {
      const x = full(shape, far, { dtype, requiresGrad: true })
      const loss = crossEntropy(x, target)
      expectNear(loss.dataSync(), [Math.LN2])
      loss.backward()
      const one = shape.length === 2 ? [-0.5, 0.5] : [-0.25, 0.25, -0.25, 0.25]
      expectNear(gradientOf(x), one)
    }
  })

  it('mean losses whose sum is too large', () => {
    const zeros = full([4], 0, { dtype })
    const side = Math.sqrt(largest) * 0.99
    expectNear(mseLoss(full([4], side, { dtype }), zeros).dataSync(), [side * side])
    expectNear(mseLoss(tensor([1.3 * side, 0, 0, 0], { dtype }), zeros).dataSync(), [
      1.3 * side * ((1.3 * side) / 4),
    ])
    expectNear(bceWithLogits(full([4], largest, { dtype }), zeros).dataSync(), [largest])
    const logits = tensor([0, largest, 0, largest, 0, largest], [3, 2], { dtype })
    expectNear(crossEntropy(logits, tensor([0, 0, 0], { dtype: 'int32' })).dataSync(), [largest])
  })

  it('the norm of far gradients, and clipping by it', () => {
    for (const far of [large, small, largest / 4]) {
      const x = parameter([0, 0, 0, 0], dtype)
      x.mul(tensor([far, -far, far, far], { dtype }))
        .sum()
        .backward()
      expectNear(clipGradNorm([x], 1e-3 * far).dataSync(), [2 * far])
      // 1e-6 beside the norm matters where that is small.
      if (far >= 1)
        expectNear(
          gradientOf(x),
          [1, -1, 1, 1].map((sign) => sign * 5e-4 * far),
        )
    }
    const x = parameter([0, 0], dtype)
    x.mul(tensor([largest / 2, largest / 2], { dtype }))
      .sum()
      .backward()
    clipGradNorm([x], 1)
    expectNear(gradientOf(x), [Math.SQRT1_2, Math.SQRT1_2])
  })

  it('optimizers of steady gradients', () => {
    for (const gradient of [0.1, 1e-3, 1e15]) {
      const x = parameter([1], dtype)
      const optimizer = new RMSprop([x], { lr: 1e-3, centered: true, alpha: 0.5 })
      for (let i = 0; i < 60; i++) {
        optimizer.zeroGrad()
        x.mul(gradient).sum().backward()
        optimizer.step()
      }
      expect(x.itemSync()).not.toBeNaN()
    }
    const x = parameter([1], dtype)
    const adam = new Adam([x], { lr: 0.1 })
    x.mul(dtype === 'float32' ? 1e19 : 1e150)
      .sum()
      .backward()
    adam.step()
    expectNear(x.dataSync(), [0.9])
  })

  it('division by large numbers', () => {
    const a = parameter([large], dtype)
    const b = parameter([large * 10], dtype)
    a.div(b).sum().backward()
    expectNear(gradientOf(a), [0.1 / large])
    expectNear(gradientOf(b), [-0.01 / large])
  })
})
