/** dtype bool, conversions, comparisons, choice, and the arithmetic of int32. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import {
  type DType,
  full,
  gradcheck,
  info,
  loadSafetensors,
  ones,
  saveSafetensors,
  sequenceMask,
  type Tensor,
  tensor,
  where,
  zeros,
} from 'bptt'
import { afterAll, describe, expect, it } from 'vitest'
import { codeOf } from './support/failure.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-masks-'))
afterAll(() => rmSync(folder, { recursive: true }))

const list = (x: Tensor): number[] => [...x.dataSync()]
const int = (...values: number[]) => tensor(values, { dtype: 'int32' })
const f64 = (...values: number[]) => tensor(values, { dtype: 'float64', requiresGrad: true })

describe('bool', () => {
  it('is made of booleans, or of 0 and 1 where asked for', () => {
    const mask = tensor([
      [true, false],
      [false, false],
    ])
    expect([mask.dtype, mask.shape, mask.dataSync()]).toEqual(['bool', [2, 2], Uint8Array.of(1, 0, 0, 0)])
    expect(tensor(true).dtype).toBe('bool')
    expect(list(tensor([1, 0, true as never], { dtype: 'bool' }))).toEqual([1, 0, 1])
    expect(list(tensor(new Uint8Array([0, 1]), { dtype: 'bool' }))).toEqual([0, 1])
    expect(tensor(new Uint8Array([0, 1])).dtype).toBe('int32')
    expect([zeros([2], { dtype: 'bool' }), ones([2], { dtype: 'bool' })].map(list)).toEqual([
      [0, 0],
      [1, 1],
    ])
    expect(tensor([]).dtype).toBe('float32')
    expect(
      tensor([[true], [false]])
        .transpose()
        .reshape([2])
        .slice(0, 1)
        .expand([3, 1]).dtype,
    ).toBe('bool')
    expect(
      list(
        tensor([[true, false, true]])
          .expand([2, 3])
          .transpose(),
      ),
    ).toEqual([1, 1, 0, 0, 1, 1])
  })

  it('refuses what is neither', () => {
    expect(codeOf(() => tensor([2], { dtype: 'bool' }))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => tensor(new Float32Array([0.5]), { dtype: 'bool' }))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => full([1], 3, { dtype: 'bool' }))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => tensor([true], { dtype: 'float32' }))).toBe('ERR_BPTT_TYPE')
    expect(codeOf(() => tensor([1, true] as never))).toBe('ERR_BPTT_TYPE')
    expect(codeOf(() => tensor([true, 'x'] as never))).toBe('ERR_BPTT_TYPE')
    expect(codeOf(() => tensor([true], { dtype: 'bool', requiresGrad: true }))).toBe('ERR_BPTT_DTYPE')
    for (const op of ['neg', 'abs', 'sign', 'sum', 'mean', 'exp'] as const) {
      expect(codeOf(() => tensor([true])[op]())).toBe('ERR_BPTT_DTYPE')
    }
    for (const op of ['add', 'sub', 'mul', 'div', 'maximum', 'minimum'] as const) {
      expect(codeOf(() => tensor([true])[op](tensor([true])))).toBe('ERR_BPTT_DTYPE')
    }
  })

  it('is shown, described and kept in files', async () => {
    const mask = tensor([true, false, true])
    expect(await mask.data()).toBeInstanceOf(Uint8Array)
    expect(inspect(mask)).toMatch(/Tensor\(bool, \[3\]\)/)
    // What is computed may count as queued for a moment yet.
    await expect.poll(() => inspect(mask)).toContain('[true, false, true]')
    expect(JSON.parse(JSON.stringify(mask)).dtype).toBe('bool')
    expect(await tensor(true).item()).toBe(1)
    const path = join(folder, 'mask.safetensors')
    await saveSafetensors(path, { mask, x: tensor([1, 2]) })
    const { tensors } = await loadSafetensors(path)
    const back = tensors.get('mask') as Tensor
    expect([back.dtype, list(back)]).toEqual(['bool', [1, 0, 1]])
  })
})

describe('to()', () => {
  const values = [0, 0.5, -0.5, 1.9, -1.9, 3e9, -3e9, Number.NaN, Infinity, -Infinity]

  it('goes toward zero, saturates, and asks whether it is not 0', () => {
    for (const dtype of ['float32', 'float64'] as const) {
      const x = tensor(values, { dtype })
      expect(list(x.to('int32'))).toEqual([
        0, 0, 0, 1, -1, 2147483647, -2147483648, 0, 2147483647, -2147483648,
      ])
      expect(list(x.to('bool'))).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    }
  })

  it('converts between all dtypes, and keeps what is the same', () => {
    const dtypes: DType[] = ['float32', 'float64', 'int32', 'bool']
    for (const from of dtypes) {
      for (const to of dtypes) {
        const x = tensor([0, 1, 1], { dtype: from })
        const y = x.to(to)
        expect([y.dtype, list(y)]).toEqual([to, [0, 1, 1]])
        x.dispose()
        expect(list(y)).toEqual([0, 1, 1])
        expect(zeros([0, 2], { dtype: from }).to(to).shape).toEqual([0, 2])
      }
    }
    expect(codeOf(() => tensor([1]).to('cpu' as never))).toBe('ERR_BPTT_DTYPE')
  })

  it('passes gradients between floats, and none to integers', () => {
    const x = f64(0.1, 2)
    x.to('float32').mul(3).to('float64').sum().backward()
    expect([x.grad?.dtype, list(x.grad as Tensor)]).toEqual(['float64', [3, 3]])
    expect(x.to('int32').requiresGrad).toBe(false)
  })
})

describe('comparisons', () => {
  const names = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const

  it('are those of IEEE 754, broadcast, of every dtype', () => {
    const results = (a: Tensor, b: Tensor | number) => names.map((name) => list(a[name](b as Tensor)))
    const expected = [
      [0, 1, 0],
      [1, 0, 1],
      [1, 0, 0],
      [1, 1, 0],
      [0, 0, 1],
      [0, 1, 1],
    ]
    for (const dtype of ['float32', 'float64', 'int32'] as const) {
      const a = tensor([1, 2, 3], { dtype })
      expect(results(a, 2)).toEqual(expected)
      expect(results(a, tensor([[2]], { dtype }).reshape([1]))).toEqual(expected)
    }
    const nan = tensor([Number.NaN])
    expect(results(nan, nan)).toEqual([[0], [1], [0], [0], [0], [0]])
    expect(tensor([[1], [2]]).lt(tensor([1, 2, 3])).shape).toEqual([2, 3])
    expect(list(tensor([[1], [2]]).lt(tensor([1, 2, 3])))).toEqual([0, 1, 1, 0, 0, 1])
    expect(list(tensor([true, false]).eq(tensor([true])))).toEqual([1, 0])
    expect(zeros([0, 3]).eq(1).shape).toEqual([0, 3])
  })

  it('take any number beside integers', () => {
    expect(list(int(0, 1, -3).lt(0.5))).toEqual([1, 0, 1])
    expect(list(int(2147483647).lt(Infinity))).toEqual([1])
    expect(list(tensor([true, false]).eq(2))).toEqual([0, 0])
    expect(list(tensor([true, false]).gt(0.5))).toEqual([1, 0])
  })

  it('refuse what does not fit', () => {
    expect(codeOf(() => tensor([1]).eq(int(1) as never))).toBe('ERR_BPTT_DTYPE')
    expect(codeOf(() => tensor([1, 2]).eq(tensor([1, 2, 3])))).toBe('ERR_BPTT_SHAPE')
    expect(codeOf(() => tensor([1]).eq('1' as never))).toBe('ERR_BPTT_TYPE')
  })

  it('combine', () => {
    const a = tensor([true, true, false, false])
    const b = tensor([true, false, true, false])
    expect(list(a.logicalAnd(b))).toEqual([1, 0, 0, 0])
    expect(list(a.logicalOr(b))).toEqual([1, 1, 1, 0])
    expect(list(a.logicalNot())).toEqual([0, 0, 1, 1])
    expect(list(int(0, 2, 3, 0).logicalAnd(tensor([0.5])))).toEqual([0, 1, 1, 0])
    expect(list(tensor([0, Number.NaN]).logicalNot())).toEqual([1, 0])
  })
})

describe('choice', () => {
  it('where() takes tensors and numbers, and broadcasts', () => {
    const mask = tensor([[true], [false]])
    expect(list(where(mask, tensor([1, 2, 3]), 0))).toEqual([1, 2, 3, 0, 0, 0])
    expect(list(where(mask, 7, tensor([1, 2, 3])))).toEqual([7, 7, 7, 1, 2, 3])
    expect(list(where(mask, 1, -1))).toEqual([1, -1])
    expect(where(mask, 1, -1).dtype).toBe('float32')
    expect(list(where(tensor([true, false]), int(1, 2), int(3)))).toEqual([1, 3])
    expect(list(where(tensor([true, false]), tensor([false]), 1))).toEqual([0, 1])
    expect(where(tensor([]).to('bool'), 1, 2).shape).toEqual([0])
  })

  it('maskedFill() keeps the shape', () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ])
    expect(list(x.maskedFill(tensor([true, false]), -Infinity))).toEqual([-Infinity, 2, -Infinity, 4])
    expect(list(x)).toEqual([1, 2, 3, 4])
    expect(codeOf(() => tensor([1, 2]).maskedFill(tensor([[true], [true]]), 0))).toBe('ERR_BPTT_SHAPE')
    expect(codeOf(() => x.maskedFill(tensor([1, 0]) as never, 0))).toBe('ERR_BPTT_DTYPE')
    expect(codeOf(() => int(1).maskedFill(tensor([true]), 0.5))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => where(tensor([true]), x, int(1) as never))).toBe('ERR_BPTT_DTYPE')
  })

  it('sends gradients where they were taken from, and none past a NaN', () => {
    const x = f64(-2, 0.5, 3)
    const y = f64(5)
    const mask = x.detach().gt(0)
    expect(gradcheck((p, q) => where(mask, p.mul(p), q), [x, y])).toBe(true)
    expect(gradcheck((p) => p.mul(p).maskedFill(mask, 9), [x])).toBe(true)
    where(mask, x.log(), 0).sum().backward()
    expect(list(x.grad as Tensor)).toEqual([-0, 2, 1 / 3])
  })
})

describe('int32', () => {
  it('computes, and wraps', () => {
    const a = int(7, -3, 2147483647, -2147483648)
    expect(list(a.add(1))).toEqual([8, -2, -2147483648, -2147483647])
    expect(list(a.sub(1))).toEqual([6, -4, 2147483646, 2147483647])
    expect(list(a.sub(-2147483648))).toEqual([-2147483641, 2147483645, -1, 0])
    expect(list(a.mul(2))).toEqual([14, -6, -2, 0])
    expect(list(a.add(a))).toEqual([14, -6, -2, 0])
    expect(list(a.sub(int(7)))).toEqual([0, -10, 2147483640, 2147483641])
    expect(list(a.mul(a))).toEqual([49, 9, 1, 0])
    expect(list(a.neg())).toEqual([-7, 3, -2147483647, -2147483648])
    expect(list(a.abs())).toEqual([7, 3, 2147483647, -2147483648])
    expect(list(a.sign())).toEqual([1, -1, 1, -1])
    expect(list(a.maximum(0))).toEqual([7, 0, 2147483647, 0])
    expect(list(a.minimum(int(0)))).toEqual([0, -3, 0, -2147483648])
    expect([a.sum().dtype, a.sum().itemSync()]).toEqual(['int32', 3])
    expect(list(int(1, 2, 3, 4).reshape([2, 2]).sum(0))).toEqual([4, 6])
    expect(list(int(1, 2, 3, 4).reshape([2, 2]).sum(1, { keepDims: true }))).toEqual([3, 7])
  })

  it('refuses what integers do not hold, with the remedy', () => {
    expect(codeOf(() => int(1).div(2))).toBe('ERR_BPTT_DTYPE')
    expect(codeOf(() => int(1).div(int(2)))).toBe('ERR_BPTT_DTYPE')
    expect(() => int(1).div(2)).toThrow(/\.to\('float32'\)/)
    expect(codeOf(() => int(1).add(0.5))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => int(1).mul(2 ** 31))).toBe('ERR_BPTT_VALUE')
    expect(codeOf(() => int(1).mean())).toBe('ERR_BPTT_DTYPE')
    expect(() => int(1).exp()).toThrow(/\.to\('float32'\)/)
  })
})

describe('maximum, minimum and sign', () => {
  it('keep NaN, and share the gradient of ties', () => {
    const a = f64(1, 2, Number.NaN, 4)
    const b = f64(2, 2, 1, Number.NaN)
    expect(list(a.maximum(b))).toEqual([2, 2, Number.NaN, Number.NaN])
    expect(list(a.minimum(b))).toEqual([1, 2, Number.NaN, Number.NaN])
    a.slice(0, 2).maximum(b.slice(0, 2)).sum().backward()
    expect([list(a.grad as Tensor), list(b.grad as Tensor)]).toEqual([
      [0, 0.5, 0, 0],
      [1, 0.5, 0, 0],
    ])
    expect(gradcheck((p, q) => p.maximum(q).add(p.minimum(0.3)), [f64(0.1, 0.5), f64(0.4)])).toBe(true)
  })

  it('sign has the gradient 0', () => {
    const x = f64(-3, 0, 2)
    expect(list(x.sign())).toEqual([-1, 0, 1])
    x.sign().sum().backward()
    expect(list(x.grad as Tensor)).toEqual([0, 0, 0])
    expect(list(tensor([Number.NaN]).sign())).toEqual([0])
  })
})

describe('triangles', () => {
  it.each(['float32', 'float64', 'int32', 'bool'] as const)('of %s', (dtype) => {
    const x = ones([3, 4], { dtype })
    expect([x.tril(), x.triu()].map((one) => one.dtype)).toEqual([dtype, dtype])
    expect(list(x.tril())).toEqual([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0])
    expect(list(x.triu(2))).toEqual([0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0])
  })

  it('keep every element once, or none, past the corners', () => {
    const x = tensor([1, 2, 3, 4, 5, 6], [3, 2], { dtype: 'int32' })
    for (const diagonal of [-9, -3, -2, -1, 0, 1, 2, 9, 2 ** 40])
      expect(list(x.tril(diagonal).add(x.triu(diagonal + 1)))).toEqual(list(x))
    expect(list(x.tril(-Number.MAX_SAFE_INTEGER))).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('leave out what is not finite, in gradients too', () => {
    const x = tensor([1, Number.NaN, 2, Number.POSITIVE_INFINITY], [2, 2], { requiresGrad: true })
    expect(list(x.tril(-1))).toEqual([0, 0, 2, 0])
    x.tril(-1).sum().backward()
    expect(list(x.grad as Tensor)).toEqual([0, 0, 1, 0])
  })

  it.each([
    ['ERR_BPTT_SHAPE', () => int(1, 2).tril()],
    ['ERR_BPTT_SHAPE', () => tensor(1).triu()],
    ['ERR_BPTT_VALUE', () => ones([2, 2]).tril(0.5)],
    ['ERR_BPTT_TYPE', () => ones([2, 2]).triu('1' as never)],
  ])('refuse what has none: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})

describe('sequenceMask', () => {
  it('is true below the length of each row', () => {
    const rows = [1, 0, 0, 1, 1, 0, 0, 0, 0]
    for (const lengths of [[1, 2, 0], Int32Array.of(1, 2, 0), int(1, 2, 0)]) {
      const mask = sequenceMask(lengths, 3)
      expect([mask.dtype, mask.shape, list(mask)]).toEqual(['bool', [3, 3], rows])
    }
    expect(list(sequenceMask(int(5, -1), 2))).toEqual([1, 1, 0, 0])
  })

  it('of no rows or no steps is empty', () => {
    expect([sequenceMask([], 3).shape, sequenceMask([0, 0], 0).shape]).toEqual([
      [0, 3],
      [2, 0],
    ])
  })

  it('leaves nothing behind', () => {
    const lengths = int(1, 2)
    const before = info().memory.liveStorages
    const mask = sequenceMask(lengths, 3)
    sequenceMask([1, 2], 3).dispose()
    mask.dispose()
    expect(info().memory.liveStorages).toEqual(before)
    expect(list(lengths)).toEqual([1, 2])
  })

  it.each([
    ['ERR_BPTT_VALUE', () => sequenceMask([4], 3)],
    ['ERR_BPTT_VALUE', () => sequenceMask([1.5], 3)],
    ['ERR_BPTT_VALUE', () => sequenceMask([1], -1)],
    ['ERR_BPTT_TYPE', () => sequenceMask([1], undefined as never)],
    ['ERR_BPTT_TYPE', () => sequenceMask(2 as never, 3)],
    ['ERR_BPTT_DTYPE', () => sequenceMask(ones([2]) as never, 3)],
    ['ERR_BPTT_SHAPE', () => sequenceMask(int(1, 2).reshape([2, 1]), 3)],
    ['ERR_BPTT_DEVICE', () => sequenceMask([1], 3, { device: 'gpu' as never })],
  ])('refuses what it cannot do: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})
