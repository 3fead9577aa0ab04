/** Ops of the user's own, and checkpointing. */
import {
  checkpoint,
  customOp,
  dropout,
  grad,
  gradcheck,
  info,
  Linear,
  LSTM,
  manualSeed,
  noGrad,
  randn,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from 'bptt'
import { describe, expect, it } from 'vitest'
import { codeOf } from './support/failure.ts'
import { x } from './support/gradient_cases.ts'

const valuesOf = (x: Tensor | null | undefined) => [...(x as Tensor).dataSync()]

const square = customOp({
  name: 'square',
  forward: (x) => x.mul(x),
  backward: ([dy], { inputs: [x] }) => [(dy as Tensor).mul(x as Tensor).mul(2)],
})

const product = customOp({
  name: 'product',
  arrays: true,
  forward: (a, b) => ({ data: a.data.map((value, i) => value * (b.data[i] as number)), shape: a.shape }),
  backward: ([dy], { inputs: [a, b], wants }) =>
    [b, a].map((other, i) =>
      wants[i] && dy && other
        ? { data: dy.data.map((value, k) => value * (other.data[k] as number)), shape: dy.shape }
        : null,
    ),
})

const parts = customOp<[Tensor, Tensor]>({
  name: 'parts',
  forward: (x) => [x.exp(), x.mul(x)],
  backward: ([da, db], { inputs: [x], outputs: [a] }) => {
    const one = da?.mul(a as Tensor)
    const two = db?.mul(x as Tensor).mul(2)
    return one && two ? one.add(two) : (one ?? two ?? null)
  },
})

describe('customOp', () => {
  it('has the gradient it says, and that of the gradient', () => {
    expect(gradcheck((p) => square(p), [x(2, 3)])).toBe(true)
    expect(gradcheck((p) => grad(square(p).sum(), [p], { createGraph: true })[0], [x(2, 3)])).toBe(true)
  })

  it('takes and gives plain arrays', () => {
    expect(gradcheck((p, q) => product(p, q), [x(2, 3), x(2, 3)])).toBe(true)
    const y = product(tensor([1, 2]), tensor([3, 4]))
    expect([y.dtype, valuesOf(y)]).toEqual(['float32', [3, 8]])
    const p = x(2)
    expect(codeOf(() => grad(product(p, p).sum(), [p], { createGraph: true }))).toBe('ERR_BPTT_GRAPH')
  })

  it('gives several results, of which any may be used', () => {
    expect(gradcheck((p) => parts(p), [x(3)])).toBe(true)
    expect(gradcheck((p) => parts(p)[0], [x(3)])).toBe(true)
    expect(gradcheck((p) => parts(p)[1], [x(3)])).toBe(true)
  })

  it('keeps nothing of what its functions make', () => {
    const p = x(4)
    const step = () => {
      tidy(() => square(p).sum().backward())
      p.zeroGrad()
    }
    step()
    const before = info().memory.liveStorages
    for (let i = 0; i < 20; i++) step()
    expect(info().memory.liveStorages).toBe(before)
  })

  it('may give its input back, and an integer result, which needs no gradient', () => {
    const same = customOp({ name: 'same', forward: (x) => x, backward: ([dy]) => [dy as Tensor] })
    const p = x(2)
    const y = same(p)
    y.dispose()
    same(p).sum().backward()
    expect(valuesOf(p.grad)).toEqual([1, 1])
    const counted = customOp<[Tensor, Tensor]>({
      name: 'counted',
      forward: (x) => [x.mul(2), tensor([1, 2], undefined, { dtype: 'int32' })],
      backward: ([dy]) => [(dy as Tensor).mul(2)],
    })
    expect(counted(p).map((one) => one.requiresGrad)).toEqual([true, false])
  })

  const one = { name: 'one', forward: (x: Tensor) => x.mul(1) }
  it.each([
    ['ERR_BPTT_TYPE', () => customOp({ ...one } as never)],
    ['ERR_BPTT_TYPE', () => square(1 as never)],
    ['ERR_BPTT_TYPE', () => customOp({ ...one, forward: () => 1 as never, backward: () => null })(x(1))],
    ['ERR_BPTT_TYPE', () => customOp({ ...one, backward: () => [] })(x(1)).backward()],
    ['ERR_BPTT_SHAPE', () => customOp({ ...one, backward: () => [zeros([2])] })(x(1)).backward()],
    [
      'ERR_BPTT_TYPE',
      () => customOp({ ...one, arrays: true, forward: () => 1 as never, backward: () => null })(x(1)),
    ],
  ])('refuses what is none: %s (%#)', (code, run) => {
    expect(codeOf(run)).toBe(code)
  })
})

describe('checkpoint', () => {
  manualSeed(5)
  const layer = new LSTM(3, 4, { dtype: 'float64' })
  const head = new Linear(4, 2, { dtype: 'float64' })
  const model = (input: Tensor) => dropout(head.forward(layer.forward(input as never).output as never), 0.5)
  const parameters = [...layer.parameters(), ...head.parameters()]
  const gradients = (run: (input: Tensor) => Tensor) => {
    manualSeed(7)
    const input = randn([5, 2, 3], { dtype: 'float64', requiresGrad: true })
    const loss = run(input).mul(3).sum()
    loss.backward()
    const found = [valuesOf(loss), ...[input, ...parameters].map((one) => valuesOf(one.grad))]
    for (const parameter of parameters) parameter.zeroGrad()
    return found
  }

  it('gives the same result, gradients and random numbers', () => {
    expect(gradients((input) => checkpoint(model, input))).toEqual(gradients(model))
  })

  it('keeps less', () => {
    const input = x(5, 2, 3)
    const held = (run: () => Tensor) => {
      const before = info().memory.liveStorages
      const y = tidy(run)
      const kept = info().memory.liveStorages - before
      y.dispose()
      return kept
    }
    checkpoint(model, input).dispose()
    const deep = (start: Tensor) => start.exp().tanh().exp().tanh().exp()
    expect(held(() => checkpoint(deep, input))).toBe(1)
    expect(held(() => deep(input))).toBeGreaterThan(3)
  })

  it('can be differentiated twice, nested, and by grad()', () => {
    const fn = (p: Tensor) => checkpoint((q) => checkpoint((r) => r.mul(r).tanh(), q).exp(), p)
    expect(gradcheck(fn, [x(3)])).toBe(true)
    expect(gradcheck((p) => grad(fn(p).sum(), [p], { createGraph: true })[0], [x(3)])).toBe(true)
  })

  it('works where no input requires grad, and where nothing is recorded', () => {
    const input = randn([5, 2, 3], { dtype: 'float64' })
    checkpoint(model, input).sum().backward()
    expect(parameters.every((one) => one.grad !== null)).toBe(true)
    for (const parameter of parameters) parameter.zeroGrad()
    expect(noGrad(() => checkpoint(model, input)).requiresGrad).toBe(false)
  })

  it('takes and gives several tensors', () => {
    const [p, q] = [x(2), x(2)]
    const [a, b] = checkpoint((p, q) => [p.mul(q), p.add(q)], p, q)
    expect(valuesOf(grad(a.add(b).sum(), [p])[0])).toEqual(valuesOf(q.add(1)))
  })

  it('refuses a tensor of the tape that is no input', () => {
    const p = x(2)
    const outside = p.exp()
    expect(codeOf(() => checkpoint((q) => q.mul(outside), p))).toBe('ERR_BPTT_GRAPH')
    expect(valuesOf(checkpoint((q) => q.mul(outside.detach()), p))).toHaveLength(2)
    expect(codeOf(() => checkpoint((_: Tensor) => 1 as never, p))).toBe('ERR_BPTT_TYPE')
  })
})
