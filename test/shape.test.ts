/** Views, reorderings, parts and fillings: values by their definitions, for every rank and dtype. */
import { describe, expect, it } from 'vitest'
import {
  arange,
  eye,
  grad,
  info,
  linspace,
  ones,
  SGD,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '../lib/index.ts'

const list = (x: Tensor) => [...x.dataSync()]
const filledTo = (shape: number[], dtype: 'float32' | 'int32' = 'float32') =>
  arange(
    shape.reduce((size, d) => size * d, 1),
    { dtype },
  ).reshape(shape) as Tensor
const indicesOf = (shape: readonly number[]): number[][] =>
  shape.reduce<number[][]>(
    (all, d) => all.flatMap((i) => Array.from({ length: d }, (_, k) => [...i, k])),
    [[]],
  )
const placeOf = (index: readonly number[], shape: readonly number[]) =>
  index.reduce((at, i, axis) => at * (shape[axis] as number) + i, 0)
const eight = [2, 1, 3, 2, 2, 1, 2, 2]

describe('reorderings of eight axes', () => {
  it('permute', () => {
    const axes = [3, 0, -1, 5, 2, 1, 4, 6]
    const y = filledTo(eight, 'int32').permute(axes)
    const expected = indicesOf(y.shape).map((index) => {
      const source = new Array<number>(8)
      for (const [i, axis] of axes.entries()) source[axis < 0 ? axis + 8 : axis] = index[i] as number
      return placeOf(source, eight)
    })
    expect(y.shape).toEqual([2, 2, 2, 1, 3, 1, 2, 2])
    expect(list(y)).toEqual(expected)
  })

  it.each([[[0]], [[7]], [[2, 4]], [[0, 1, 2, 3, 4, 5, 6, 7]], [[]]])('flip along %j', (axes: number[]) => {
    const expected = indicesOf(eight).map((index) =>
      placeOf(
        index.map((i, axis) => (axes.includes(axis) ? (eight[axis] as number) - 1 - i : i)),
        eight,
      ),
    )
    expect(list(filledTo(eight).flip(axes))).toEqual(expected)
    expect(list(filledTo(eight, 'int32').flip(axes))).toEqual(expected)
  })

  it('repeat', () => {
    const counts = [1, 2, 1, 2, 1, 3, 2, 1]
    const y = filledTo(eight).repeat(counts)
    expect(y.shape).toEqual(eight.map((d, i) => d * (counts[i] as number)))
    expect(list(y)).toEqual(
      indicesOf(y.shape).map((index) =>
        placeOf(
          index.map((i, axis) => i % (eight[axis] as number)),
          eight,
        ),
      ),
    )
  })

  it('pad and split, along each', () => {
    const x = filledTo(eight)
    const padded = x.pad(
      eight.map((_, i) => [i % 2, i % 3]),
      { value: -1 },
    )
    const inner = eight.reduce((part, d, i) => part.slice(i % 2, (i % 2) + d, i), padded)
    expect(list(inner)).toEqual(list(x))
    expect(list(padded).filter((v) => v !== -1)).toEqual(list(x))
    for (const axis of eight.keys()) {
      const parts = x.split(1, axis)
      expect(parts.map(list)).toEqual(parts.map((_, i) => list(x.slice(i, i + 1, axis))))
    }
  })
})

describe('scalars', () => {
  it('have no axes to move', () => {
    const x = tensor(3)
    expect(x.permute([]).shape).toEqual([])
    expect(x.squeeze().shape).toEqual([])
    expect(x.flatten().shape).toEqual([1])
    expect(x.unsqueeze(-1).shape).toEqual([1])
    for (const y of [x.permute([]), x.flip(0), x.flip([]), x.pad([]), x.repeat([]), x.clone()])
      expect([y.shape, list(y)]).toEqual([[], [3]])
  })
})

describe('memory', () => {
  it('views share it, a clone has its own', () => {
    const parameter = ones([1, 2], { requiresGrad: true })
    const views = [
      parameter.detach().squeeze(),
      parameter.detach().unsqueeze(0),
      parameter.detach().flatten(),
    ]
    const copies = [parameter.clone(), parameter.repeat([1, 1]), parameter.permute([0, 1])]
    parameter.sum().backward()
    new SGD([parameter], { lr: 1 }).step()
    for (const view of views) expect(list(view)).toEqual([0, 0])
    for (const copy of copies) expect(list(copy)).toEqual([1, 1])
  })

  it('nothing is left of what lies between', () => {
    const x = ones([2, 3], { requiresGrad: true })
    const before = info().memory.allocatedBytes
    for (let i = 0; i < 3; i++) {
      const y = x.repeat([2, 2, 2])
      const [dx] = tidy(() => grad(y.sum(), [x]))
      y.dispose()
      dx.dispose()
    }
    expect(info().memory.allocatedBytes).toBe(before)
  })

  it('parts can be disposed one by one', () => {
    const x = ones([4, 2], { requiresGrad: true })
    const [a, b] = x.split(2) as [Tensor, Tensor]
    a.dispose()
    b.mul(3).sum().backward()
    expect(list(x.grad as Tensor)).toEqual([0, 0, 0, 0, 3, 3, 3, 3])
  })
})

describe('infinities and NaN', () => {
  it('stay where they are', () => {
    const x = tensor([
      [Number.NaN, 1],
      [Infinity, -0],
    ])
    expect(
      list(
        x.pad([
          [0, 0],
          [1, 0],
        ]),
      ),
    ).toEqual([0, Number.NaN, 1, 0, Infinity, -0])
    expect(
      list(
        x.pad(
          [
            [0, 1],
            [0, 0],
          ],
          { value: -Infinity },
        ),
      ).slice(4),
    ).toEqual([-Infinity, -Infinity])
  })
})

describe('fillings', () => {
  it('arange', () => {
    expect(list(arange(4))).toEqual([0, 1, 2, 3])
    expect(list(arange(0))).toEqual([])
    expect(list(arange(2, 5, { dtype: 'int32' }))).toEqual([2, 3, 4])
    expect(list(arange(8, 2, -2))).toEqual([8, 6, 4])
    expect(list(arange(0, 1, 0.3, { dtype: 'float64' }))).toEqual([0, 0.3, 0.6, 3 * 0.3])
    expect(list(arange(1, 1))).toEqual([])
    expect(arange(3).dtype).toBe('float32')
    expect(arange(2, { requiresGrad: true }).requiresGrad).toBe(true)
  })

  it('linspace', () => {
    expect(list(linspace(0, 1, 5))).toEqual([0, 0.25, 0.5, 0.75, 1])
    expect(list(linspace(3, -3, 4))).toEqual([3, 1, -1, -3])
    expect(list(linspace(2, 7, 1))).toEqual([2])
    expect(list(linspace(2, 7, 0))).toEqual([])
    expect(linspace(0, 0.7, 11, { dtype: 'float64' }).dataSync()[10]).toBe(0.7)
  })

  it('eye', async () => {
    expect(await eye(2).toArray()).toEqual([
      [1, 0],
      [0, 1],
    ])
    expect(await eye(2, 3, { dtype: 'int32' }).toArray()).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ])
    expect(await eye(3, 1).toArray()).toEqual([[1], [0], [0]])
    expect(eye(2, { dtype: 'float64' }).dtype).toBe('float64')
    expect(eye(0, 3).shape).toEqual([0, 3])
    expect(eye(0).shape).toEqual([0, 0])
  })
})

describe('toArray', () => {
  it('nests as the shape does', async () => {
    expect(await tensor(2).toArray()).toBe(2)
    expect(await tensor([1, 2]).toArray()).toEqual([1, 2])
    expect(await filledTo([2, 1, 3], 'int32').toArray()).toEqual([[[0, 1, 2]], [[3, 4, 5]]])
    expect(await zeros([2, 0, 3]).toArray()).toEqual([[], []])
    expect(await zeros([0, 2]).toArray()).toEqual([])
  })
})
