/** Losses: against PyTorch, what masks and lengths leave out, and what they refuse. */
import * as bptt from 'bptt'
import {
  bceWithLogits,
  crossEntropy,
  gaussianNllLoss,
  huberLoss,
  klDiv,
  l1Loss,
  mseLoss,
  nllLoss,
  poissonNllLoss,
  quantileLoss,
  studentTNllLoss,
  type Tensor,
  tensor,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { type Case, readCases } from './fixtures/read.ts'
import { codeOf } from './support/failure.ts'
import { int, x } from './support/gradient_cases.ts'
import { type DType, expectClose, type Results } from './support/tolerance.ts'

const valuesOf = (x: Tensor | null | undefined) => [...(x as Tensor).dataSync()]
const double = { dtype: 'float64' } as const
const bool = (data: number[], shape?: number[]) => tensor(Uint8Array.from(data), shape, { dtype: 'bool' })

type Loss = (...values: unknown[]) => Tensor
/** Tensors that come before the options; others of a case are options by name. */
const POSITIONS: Record<string, string[]> = {
  gaussianNllLoss: ['input', 'target', 'variance'],
  studentTNllLoss: ['input', 'target', 'scale', 'df'],
}
const dtypes: DType[] = ['float32', 'float64']
const named = readCases('losses').map((fixture): [string, Case] => [fixture.name, fixture])

describe.each(dtypes)('PyTorch: losses, %s', (dtype) => {
  it.each(named)('%s', (_, fixture) => {
    const values = new Map<string, Tensor>()
    for (const [name, { data, shape, dtype: stored }] of fixture.tensors) {
      const requiresGrad = `grad.${name}` in fixture.error
      values.set(
        name,
        tensor(Array.from(data), shape, { dtype: stored === 'I32' ? 'int32' : dtype, requiresGrad }),
      )
    }
    const first = POSITIONS[fixture.op] ?? ['input', 'target']
    const others = ['weight', 'posWeight'].flatMap((name) =>
      values.has(name) ? [[name, values.get(name)]] : [],
    )
    const loss = (bptt as unknown as Record<string, Loss>)[fixture.op] as Loss
    const out = loss(...first.map((name) => values.get(name)), {
      ...fixture.options,
      ...Object.fromEntries(others),
    })
    out.backward(values.get('d_out') as Tensor)
    const results: Results = new Map()
    for (const name of Object.keys(fixture.error)) {
      const found = name === 'out' ? out : values.get(name.slice('grad.'.length))?.grad
      results.set(name, Float64Array.from((found as Tensor).dataSync()))
    }
    const expected = new Map(
      [...results.keys()].map((name) => [name, fixture.tensors.get(name)?.data as Float64Array]),
    )
    expectClose(results, expected, dtype, { torchErrors: fixture.error })
  })
})

const [T, B] = [4, 2]
const lengths = [2, 4]
/** Which of [T,B] count. */
const kept = [1, 1, 1, 1, 0, 1, 0, 1]
const positive = () => x(T, B).exp().add(0.2)
const sequences: [
  string,
  (input: Tensor, target: Tensor, options: object) => Tensor,
  () => Tensor,
  () => Tensor,
][] = [
  ['mseLoss', mseLoss, () => x(T, B), () => x(T, B)],
  ['bceWithLogits', bceWithLogits, () => x(T, B), () => x(T, B).sigmoid()],
  [
    'bceWithLogits with weights',
    (a, b, options) => bceWithLogits(a, b, { ...options, posWeight: tensor(2, [], double) as Tensor }),
    () => x(T, B),
    () => x(T, B).sigmoid(),
  ],
  ['l1Loss', l1Loss, () => x(T, B), () => x(T, B)],
  ['huberLoss', huberLoss, () => x(T, B), () => x(T, B)],
  ['poissonNllLoss', poissonNllLoss, () => x(T, B), positive],
  [
    'poissonNllLoss of rates',
    (a, b, o) => poissonNllLoss(a, b, { ...o, logInput: false }),
    positive,
    positive,
  ],
  ['klDiv', klDiv, () => x(T, B), () => x(T, B).sigmoid()],
  [
    'gaussianNllLoss',
    (a, b, options) => gaussianNllLoss(a, b, b.mul(b).add(0.5), options),
    () => x(T, B),
    () => x(T, B),
  ],
  [
    'studentTNllLoss',
    (a, b, options) => studentTNllLoss(a, b, b.mul(b).add(0.5), b.mul(b).add(2), options),
    () => x(T, B),
    () => x(T, B),
  ],
  ['quantileLoss', (a, b, options) => quantileLoss(a, b, 0.3, options), () => x(T, B), () => x(T, B)],
  [
    'quantileLoss of several',
    (a, b, options) => quantileLoss(a, b, [0.1, 0.9], options),
    () => x(T, B, 2),
    () => x(T, B),
  ],
  [
    'crossEntropy',
    (a, b, o) => crossEntropy(a, b, { ...o, axis: -1 }),
    () => x(T, B, 3),
    () => int([0, 1, 2, 0, 1, 2, 0, 1], [T, B]),
  ],
  [
    'crossEntropy with smoothing',
    (a, b, o) =>
      crossEntropy(a, b, {
        ...o,
        axis: -1,
        labelSmoothing: 0.1,
        weight: tensor([1, 2, 3], double) as Tensor,
      }),
    () => x(T, B, 3),
    () => int([0, 1, 2, 0, 1, 2, 0, 1], [T, B]),
  ],
  [
    'nllLoss',
    (a, b, o) => nllLoss(a, b, { ...o, axis: -1 }),
    () => x(T, B, 3),
    () => int([0, 1, 2, 0, 1, 2, 0, 1], [T, B]),
  ],
]

describe('padding never counts', () => {
  it.each(sequences)('%s', (_, loss, makeInput, makeTarget) => {
    const [clean, target] = [makeInput().detach(), makeTarget().detach()]
    const width = clean.size / (T * B)
    const spoilt = (from: Tensor, per: number, value: number) =>
      tensor(
        valuesOf(from).map((one, i) => (kept[Math.floor(i / per)] ? one : value)),
        from.shape,
        { dtype: from.dtype as 'float64' },
      ) as Tensor
    const input = spoilt(clean, width, Number.NaN)
    input.requiresGrad = true
    const wrong = target.dtype === 'int32' ? spoilt(target, 1, 77) : spoilt(target, 1, Number.NaN)
    const singles = valuesOf(loss(clean, target, { reduction: 'none' }))
    const counting = singles.filter((_, i) => kept[Math.floor(i / (singles.length / (T * B)))])
    const total = counting.reduce((sum, one) => sum + one, 0)

    for (const options of [{ lengths }, { mask: bool(kept, [T, B]) }]) {
      const none = loss(input, wrong, { ...options, reduction: 'none' })
      expect(valuesOf(none)).toEqual(
        singles.map((one, i) =>
          kept[Math.floor(i / (singles.length / (T * B)))] ? expect.closeTo(one, 10) : 0,
        ),
      )
      const sum = loss(input, wrong, { ...options, reduction: 'sum' })
      expect(sum.itemSync()).toBeCloseTo(total, 10)
      sum.backward()
      const gradient = valuesOf(input.grad)
      expect(
        gradient.every((one, i) => Number.isFinite(one) && (kept[Math.floor(i / width)] === 1 || one === 0)),
      ).toBe(true)
      expect(gradient.some((one) => one !== 0)).toBe(true)
      input.zeroGrad()
    }
    if (!_.includes('smoothing')) {
      expect(loss(input, wrong, { lengths }).itemSync()).toBeCloseTo(total / counting.length, 10)
    }
  })

  it('in [B,T] as in [T,B]', () => {
    const [a, b] = [x(T, B), x(T, B)]
    const across = mseLoss(a.transpose(), b.transpose(), { lengths, batchFirst: true })
    expect(across.itemSync()).toBeCloseTo(mseLoss(a, b, { lengths }).itemSync(), 12)
  })
})

describe('losses', () => {
  it('keep finite results finite', () => {
    const far = tensor([1e25, -3e30])
    expect(valuesOf(huberLoss(far, tensor([0, 0]), { reduction: 'none' })).every(Number.isFinite)).toBe(true)
    expect(valuesOf(l1Loss(far, tensor([0, 0]), { reduction: 'none' }))).toEqual([
      Math.fround(1e25),
      Math.fround(3e30),
    ])
  })

  it('of Student approach the normal one with the degrees of freedom', () => {
    const [a, b, s] = [x(3), x(3), positive().slice(0, 1).reshape([2]).slice(0, 1).expand([3])]
    const normal = gaussianNllLoss(a, b, s.mul(s), { full: true }).itemSync()
    expect(studentTNllLoss(a, b, s, 1e7).itemSync()).toBeCloseTo(normal, 5)
  })

  const [a, b] = [x(T, B), x(T, B)]
  const logits = x(T, 3)
  const classes = int([0, 1, 2, 0])
  it.each([
    ['ERR_BPTT_SHAPE', () => l1Loss(a, x(B, T))],
    ['ERR_BPTT_SHAPE', () => mseLoss(a, b, { mask: bool([1, 1, 1]) })],
    ['ERR_BPTT_SHAPE', () => mseLoss(a, b, { lengths: [1] })],
    ['ERR_BPTT_VALUE', () => mseLoss(a, b, { lengths: [1, 5] })],
    ['ERR_BPTT_SHAPE', () => mseLoss(x(3), x(3), { lengths: [1] })],
    ['ERR_BPTT_DTYPE', () => mseLoss(a, b, { mask: x(T, B) as never })],
    ['ERR_BPTT_TYPE', () => mseLoss(a, b, { reduce: true } as never)],
    ['ERR_BPTT_VALUE', () => huberLoss(a, b, { delta: 0 })],
    ['ERR_BPTT_VALUE', () => quantileLoss(a, b, 1.5)],
    ['ERR_BPTT_SHAPE', () => quantileLoss(a, b, [0.5])],
    ['ERR_BPTT_VALUE', () => studentTNllLoss(a, b, a, 0)],
    ['ERR_BPTT_SHAPE', () => gaussianNllLoss(a, b, x(3))],
    ['ERR_BPTT_SHAPE', () => crossEntropy(logits, classes, { weight: x(4) })],
    ['ERR_BPTT_VALUE', () => crossEntropy(logits, classes, { labelSmoothing: 2 })],
    ['ERR_BPTT_DTYPE', () => nllLoss(logits, a)],
    ['ERR_BPTT_INDEX', () => nllLoss(logits, int([0, 1, 3, 0])).itemSync()],
    ['ERR_BPTT_INDEX', () => crossEntropy(logits, int([0, 1, -1, 0]), { labelSmoothing: 0.1 }).itemSync()],
  ])('refuse what does not fit: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})
