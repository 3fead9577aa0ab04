/** Functions element by element: against PyTorch, at the edges of their range, and what they refuse. */
import { describe, expect, it } from 'vitest'
import { type DType, grad, type Tensor, tensor } from '../lib/index.ts'
import { type Case, readCases } from './fixtures/read.ts'
import { expectFailure } from './support/failure.ts'
import { expectClose, type Results } from './support/tolerance.ts'

const DTYPES = ['float32', 'float64'] as const
const list = (x: Tensor) => [...x.dataSync()]
const wrong = (value: unknown) => value as never

/** out and the gradients of a case, and what PyTorch gives. */
function run(fixture: Case, dtype: (typeof DTYPES)[number]) {
  const given = (name: string, requiresGrad: boolean) => {
    const entry = fixture.tensors.get(name)
    return entry ? [tensor(entry.data as Float32Array, entry.shape, { dtype, requiresGrad })] : []
  }
  const [x] = given('x', true) as [Tensor]
  const others = given('y', true)
  const out = (x[fixture.op as 'pow'] as (...all: unknown[]) => Tensor).call(x, ...others, ...fixture.args)
  out.backward(given('d_out', false)[0] as Tensor)
  const actual: Results = new Map([
    ['out', list(out)],
    ['grad.x', list(x.grad as Tensor)],
  ])
  if ('grad.y' in fixture.error) actual.set('grad.y', list(others[0]?.grad as Tensor))
  const names = Object.keys(fixture.error)
  const expected: Results = new Map(
    names.map((name) => [name, fixture.tensors.get(name)?.data as Float64Array]),
  )
  return { actual, expected, x: list(x) }
}

describe.each(DTYPES)('PyTorch: functions element by element, %s', (dtype) => {
  const cases = readCases('elementwise').map((fixture): [string, Case] => [fixture.name, fixture])

  it.each(cases.filter(([, { edges }]) => !edges))('%s', (_, fixture) => {
    const { actual, expected } = run(fixture, dtype)
    expectClose(actual, expected, dtype, { torchErrors: fixture.error })
  })

  // Every element by itself: what is not finite is the same; denormals may be 0, as arguments and as results.
  it.each(cases.filter(([, { edges }]) => edges))('%s', (_, fixture) => {
    const { actual, expected, x } = run(fixture, dtype)
    const [limit, denormal] = dtype === 'float32' ? [4e-6, 1.2e-38] : [1e-13, 2.3e-308]
    const held = (value: number) => (dtype === 'float32' ? Math.fround(value) : value)
    const far: string[] = []
    for (const [name, values] of expected)
      for (const [i, value] of Array.from(values, held).entries()) {
        if (x[i] !== 0 && Math.abs(x[i] as number) < denormal) continue
        const got = actual.get(name)?.[i] as number
        const near =
          Object.is(got, value) ||
          (Number.isFinite(value) && Math.abs(got - value) <= limit * Math.abs(value) + denormal)
        if (!near) far.push(`${name} at ${x[i]}: ${got}, not ${value}`)
      }
    expect(far).toEqual([])
  })

  it('keep the sign of zero', () => {
    const x = tensor([-0, 0], { dtype })
    for (const op of ['floor', 'round', 'ceil', 'sin', 'erf', 'leakyRelu', 'gelu', 'silu'] as const)
      expect([op, ...list(x[op]())]).toEqual([op, -0, 0])
  })

  it('pow is the same by a number and by a tensor', () => {
    const x = tensor([0.3, 1, 2.5, 1e4, 1e-4], { dtype })
    for (const exponent of [0, 0.5, 1, 2, 2.5, 3, -1, -0.25]) {
      const [a, b] = [list(x.pow(exponent)), list(x.pow(tensor([exponent], { dtype })))]
      for (const [i, value] of a.entries())
        expect(Math.abs(value / (b[i] as number) - 1)).toBeLessThan(dtype === 'float32' ? 5e-7 : 1e-14)
    }
  })

  it('a finite derivative is given where its parts overflow, in second derivatives too', () => {
    const far = dtype === 'float32' ? 3e38 : 1e308
    const x = tensor([far, -far], { dtype, requiresGrad: true })
    for (const op of ['gelu', 'silu', 'softplus', 'elu', 'erf', 'leakyRelu'] as const) {
      const [first] = grad(x[op]().sum(), [x], { createGraph: true })
      const [plain] = grad(x[op]().sum(), [x])
      expect([op, ...list(first)]).toEqual([op, ...list(plain)])
    }
  })
})

describe('functions element by element', () => {
  it('round halves to the even integer', () => {
    expect(list(tensor([0.5, 1.5, 2.5, -0.5, -1.5, 8388609]).round())).toEqual([0, 2, 2, -0, -2, 8388609])
  })

  it('clamp takes one bound or both, in both forms', () => {
    const x = tensor([-2, 0, 2])
    expect(list(x.clamp(-1, 1))).toEqual([-1, 0, 1])
    expect(list(x.clamp(null, 1))).toEqual([-2, 0, 1])
    expect(list(x.clamp(-1))).toEqual([-1, 0, 2])
    expect(list(x.clamp({ min: -1 }))).toEqual([-1, 0, 2])
    expect(list(x.clamp({ min: null, max: 1 }))).toEqual([-2, 0, 1])
  })

  it('pow of a negative base wants an integer', () => {
    expect(list(tensor([-8, -8, -8]).pow(tensor([3, -2, 1 / 3])))).toEqual([-512, 1 / 64, Number.NaN])
  })

  it('are refused of what they are not for', async () => {
    const x = tensor([1, 2])
    for (const op of ['square', 'floor', 'sin', 'erf', 'gelu', 'softplus', 'elu'] as const)
      for (const dtype of ['int32', 'bool'] as DType[]) await expectFailure('DTYPE', () => x.to(dtype)[op]())
    await expectFailure('DTYPE', () => x.to('int32').pow(2))
    await expectFailure('TYPE', () => x.clamp())
    await expectFailure('TYPE', () => x.clamp(wrong('1')))
    await expectFailure('TYPE', () => x.clamp({ max: wrong(true) }))
    await expectFailure('VALUE', () => x.gelu({ approximate: wrong('erf') }))
    await expectFailure('VALUE', () => x.softplus({ beta: 0 }))
    await expectFailure('TYPE', () => x.softplus({ threshold: wrong('20') }))
    await expectFailure('TYPE', () => x.leakyRelu(wrong('0.1')))
    await expectFailure('VALUE', () => x.elu(Number.NaN))
    await expectFailure('TYPE', () => x.pow(wrong('2')))
    await expectFailure('DTYPE', () => x.pow(wrong(x.to('float64'))))
    await expectFailure('SHAPE', () => x.pow(tensor([1, 2, 3])))
  })
})
