/** Values of another realm (a vm context, as under Jest; a structured clone) are what they are here. */
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createContext, runInContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'
import {
  Adam,
  crossEntropy,
  Linear,
  LSTM,
  loadSafetensors,
  ones,
  saveSafetensors,
  stack,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '../lib/index.ts'
import { expectFailure, wrong } from './support/failure.ts'

const context = createContext({})
// biome-ignore lint/suspicious/noExplicitAny: another realm's values have no types here
const foreign = <T = any>(code: string, globals: Record<string, unknown> = {}): T =>
  runInContext(`(${code})`, Object.assign(context, globals)) as T

describe('data of another realm', () => {
  it.each([
    ['Float32Array', 'float32'],
    ['Float64Array', 'float64'],
    ['Int32Array', 'int32'],
    ['Int16Array', 'int32'],
    ['Uint8ClampedArray', 'int32'],
  ] as const)('%s', (kind, dtype) => {
    const view = foreign<Float32Array>(`new ${kind}([1, 2, 3])`)
    expect(view).not.toBeInstanceOf(globalThis[kind])
    for (const made of [tensor(view), tensor(view, [3, 1])]) {
      expect(made.dtype).toBe(dtype)
      expect([...made.dataSync()]).toEqual([1, 2, 3])
    }
    expect(tensor(view, { dtype: 'float64' }).dtype).toBe('float64')
    expect([...tensor([view, view]).sum(0).dataSync()]).toEqual([2, 4, 6])
  })

  it('arrays, buffers and views that do not fit', async () => {
    expect([...tensor(foreign<number[][]>('[[1, 2], new Float32Array([3, 4])]')).dataSync()]).toEqual([
      1, 2, 3, 4,
    ])
    const shared = foreign<Float32Array>('new Float32Array(new SharedArrayBuffer(8)).fill(2)')
    expect([...tensor(shared).dataSync()]).toEqual([2, 2])
    await expectFailure('TYPE', () => tensor(foreign('new BigInt64Array(2)')))
    await expectFailure('TYPE', () => tensor(foreign('new DataView(new ArrayBuffer(8))')))
    await expectFailure('TYPE', () => tensor(foreign('new ArrayBuffer(8)')))
    await expectFailure('VALUE', () => tensor(foreign('new Float64Array([1.5])'), { dtype: 'int32' }))
  })

  it('shapes, options, lists and lengths', () => {
    expect(zeros(foreign('[2, 3]'), foreign('({ dtype: "float64" })')).dtype).toBe('float64')
    expect(zeros([2, 3]).reshape(foreign('[3, 2]')).sum(foreign('[0]')).shape).toEqual([2])
    expect(stack(foreign<Tensor[]>('[a, a]', { a: zeros([2]) })).shape).toEqual([2, 2])
    const lstm = new LSTM(3, 4, foreign('({ numLayers: 2, dropout: undefined })'))
    const lengths = foreign<Int32Array>('Int32Array.of(2, 1)')
    const { output } = lstm.forward(ones([2, 2, 3]), foreign('({ lengths, h0: null })', { lengths }))
    expect([...output.dataSync()].slice(12)).toEqual([0, 0, 0, 0])
    const [logits, target] = [zeros([1, 2]), tensor(foreign<Int32Array>('Int32Array.of(1)'))]
    expect(crossEntropy(logits, target).itemSync()).toBeCloseTo(Math.LN2)
    expect(new Adam(lstm.parameters(), foreign('({ betas: [0.5, 0.6] })')).lr).toBe(1e-3)
  })

  it('streams', () => {
    const lstm = new LSTM(3, 4)
    const stream = lstm.stream()
    const x = Float32Array.of(1, 2, 3)
    const expected = stream.step(x)
    const state = stream.getState()
    stream.reset(foreign('[0]'))
    const out = foreign<Float32Array>('new Float32Array(4)')
    expect(stream.step(foreign('new Float32Array([1, 2, 3])'), out)).toBe(out)
    expect([...out]).toEqual([...expected])
    stream.reset()
    stream.setState(foreign('({ h: new Float32Array(h), c: new Float32Array(c) })', { ...state }))
    expect(stream.getState()).toEqual(state)
    stream.setState(structuredClone(state))
  })

  it('maps and objects of tensors', async () => {
    const from = new Linear(2, 3)
    const entries = [...from.stateDict()]
    for (const state of [
      foreign<Map<string, Tensor>>('new Map(entries)', { entries }),
      foreign<Record<string, Tensor>>('Object.fromEntries(entries)', { entries }),
    ]) {
      const to = new Linear(2, 3)
      to.loadStateDict(state)
      expect(to.weight.dataSync()).toEqual(from.weight.dataSync())
      const path = join(tmpdir(), `bptt-realms-${process.pid}.safetensors`)
      try {
        await saveSafetensors(path, state, foreign('({ by: "another" })'))
        const { tensors, metadata } = await loadSafetensors(path)
        expect([...tensors.keys()].sort()).toEqual(['bias', 'weight'])
        expect(metadata).toEqual({ by: 'another' })
      } finally {
        rmSync(path, { force: true })
      }
    }
    for (const state of [new Set(), [], 1, null, from]) {
      await expectFailure('TYPE', () => from.loadStateDict(wrong(state)))
      await expectFailure('TYPE', () => saveSafetensors('/never', wrong(state)))
    }
  })

  it('what tidy() returns', () => {
    for (const code of [
      '[x]',
      '({ a: { x } })',
      'new Map([["x", x]])',
      'new Set([x])',
      'Object.assign(Object.create(null), { x })',
    ]) {
      const x = zeros([1])
      tidy(() => foreign(code, { x }))
      const made = tidy(() =>
        foreign<{ x: Tensor }>(`(box = ${code}, { box, x })`, { x: zeros([2]), box: null }),
      ).x
      expect(made.disposed, code).toBe(false)
    }
    class Box {
      x = zeros([1])
    }
    expect(tidy(() => new Box()).x.disposed).toBe(true)
  })
})

describe('another copy of the library', () => {
  it('is named', async () => {
    vi.resetModules()
    const other = await import('../lib/index.ts')
    expect(other.zeros).not.toBe(zeros)
    const x = other.zeros([2])
    for (const run of [
      () => zeros([2]).add(wrong(x)),
      () => stack([zeros([2]), wrong(x)]),
      () => new Linear(2, 2).loadStateDict(wrong({ weight: x, bias: x })),
      () => tensor(wrong(x)),
      () => new Adam(wrong([x])),
    ]) {
      const { message } = await expectFailure('TYPE', run)
      expect(message).toContain('another copy of bptt')
    }
  })
})
