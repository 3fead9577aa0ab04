/** The rules of the tape: what backward() computes, frees, refuses. */
import { Adam, concat, full, Linear, LSTM, noGrad, ones, SGD, type Tensor, tensor } from 'bptt'
import { describe, expect, it } from 'vitest'
import { codeOf, thrownBy } from './support/failure.ts'

const leaf = (data: number[], shape?: number[]) =>
  tensor(data, shape, { dtype: 'float64', requiresGrad: true })
const gradient = (x: Tensor) => (x.grad === null ? null : [...x.grad.dataSync()])

describe('backward', () => {
  it('gives every leaf its gradient', () => {
    const a = leaf([1, 2, 3])
    const b = leaf([4, 5, 6])
    a.mul(b).sum().backward()
    expect(gradient(a)).toEqual([4, 5, 6])
    expect(gradient(b)).toEqual([1, 2, 3])
    expect(a.grad?.shape).toEqual([3])
    expect(a.grad?.dtype).toBe('float64')
    expect(a.grad?.requiresGrad).toBe(false)
  })

  it('sums over all uses of a tensor', () => {
    const x = leaf([2, 3])
    const y = x.mul(x).add(x)
    y.mul(y).sum().backward()
    // y = x^2 + x, d(y^2)/dx = 2 y (2 x + 1)
    expect(gradient(x)).toEqual([2 * 6 * 5, 2 * 12 * 7])
  })

  it('accumulates until zeroGrad', () => {
    const x = leaf([1, 2])
    x.mul(3).sum().backward()
    const first = x.grad
    x.mul(4).sum().backward()
    expect(gradient(x)).toEqual([7, 7])
    expect(x.grad).toBe(first)
    x.zeroGrad()
    expect(x.grad).toBeNull()
    expect(first?.disposed).toBe(true)
    x.mul(5).sum().backward()
    expect(gradient(x)).toEqual([5, 5])
  })

  it('does not let two leaves share a gradient', () => {
    const a = leaf([1])
    const b = leaf([1])
    a.add(b).sum().backward()
    a.add(b.mul(2)).sum().backward()
    expect([gradient(a), gradient(b)]).toEqual([[2], [3]])
  })

  it('does not let a leaf share the gradient that was passed', () => {
    const x = leaf([1, 1])
    const seed = tensor(new Float64Array([2, 3]))
    x.add(1).backward(seed)
    x.add(1).backward(seed)
    expect([...seed.dataSync()]).toEqual([2, 3])
    expect(gradient(x)).toEqual([4, 6])
  })

  it('takes a gradient for results of several elements', () => {
    const x = leaf([1, 2, 3])
    x.mul(x).backward(tensor(new Float64Array([1, 10, 100])))
    expect(gradient(x)).toEqual([2, 40, 600])
  })

  it('works on a leaf itself', () => {
    const x = leaf([5])
    x.backward()
    x.backward()
    expect(gradient(x)).toEqual([2])
  })

  it('stops at detach() and at tensors that do not require grad', () => {
    const x = leaf([2])
    const constant = full([1], 3, { dtype: 'float64' })
    x.mul(x.detach()).mul(constant).sum().backward()
    expect(gradient(x)).toEqual([6])
    expect(constant.grad).toBeNull()
    expect(x.detach().requiresGrad).toBe(false)
  })

  it('does not reach what is not part of the result', () => {
    const x = leaf([1])
    const unused = leaf([1])
    unused.mul(2)
    x.mul(2).sum().backward()
    expect(unused.grad).toBeNull()
  })

  it('goes through graphs far deeper than the stack', () => {
    const x = leaf([1])
    let y: Tensor<'float64'> = x
    for (let i = 0; i < 20_000; i++) {
      const next = y.add(1)
      if (y !== x) y.dispose()
      y = next
    }
    y.backward()
    expect(gradient(x)).toEqual([1])
    let z: Tensor<'float64'> = x
    for (let i = 0; i < 20_000; i++) {
      const next = z.add(1)
      if (z !== x) z.dispose()
      z = next
    }
    z.dispose()
  })

  it('does not exponentiate over shared subgraphs', () => {
    const x = leaf([1])
    let y: Tensor<'float64'> = x
    for (let i = 0; i < 40; i++) y = y.add(y)
    y.backward()
    expect(gradient(x)).toEqual([2 ** 40])
  })

  it('works under noGrad, and on results disposed in between', () => {
    const x = leaf([3])
    const y = x.mul(x)
    const loss = y.mul(y).sum()
    y.dispose()
    noGrad(() => loss.backward())
    expect(gradient(x)).toEqual([4 * 27])
  })

  it('does nothing for a leaf that was disposed', () => {
    const x = leaf([3])
    const w = leaf([2])
    const loss = x.mul(w).sum()
    x.dispose()
    loss.backward()
    expect(gradient(w)).toEqual([3])
  })
})

describe('the graph', () => {
  it('is freed by backward: a second one says why', () => {
    const x = leaf([1, 2])
    const loss = x.tanh().sum()
    loss.backward()
    const error = thrownBy(() => loss.backward())
    expect(error.code).toBe('ERR_BPTT_GRAPH')
    expect(error.message).toMatch(/retainGraph/)
    expect(gradient(x)).toHaveLength(2)
  })

  it('survives with retainGraph', () => {
    const x = leaf([3])
    const loss = x.mul(x).sum()
    loss.backward(null, { retainGraph: true })
    loss.backward(undefined, { retainGraph: true })
    loss.backward()
    expect(gradient(x)).toEqual([18])
    expect(codeOf(() => loss.backward())).toBe('ERR_BPTT_GRAPH')
  })

  it('shared by two results is used up by the first', () => {
    const x = leaf([3])
    const shared = x.tanh()
    const [first, second] = [shared.sum(), shared.mul(2).sum()]
    first.backward()
    const before = gradient(x)
    expect(codeOf(() => second.backward())).toBe('ERR_BPTT_GRAPH')
    expect(gradient(x)).toEqual(before)
  })

  it('is not recorded for constants, nor under noGrad', () => {
    const x = leaf([1])
    expect(ones([1]).tanh().requiresGrad).toBe(false)
    expect(noGrad(() => x.tanh()).requiresGrad).toBe(false)
    expect(x.tanh().requiresGrad).toBe(true)
    expect(codeOf(() => noGrad(() => x.tanh()).backward())).toBe('ERR_BPTT_GRAPH')
  })

  it('gives gradients without a graph of their own, and says so', () => {
    const x = leaf([1])
    x.tanh().sum().backward()
    const error = thrownBy(() => x.grad?.backward())
    expect(error.code).toBe('ERR_BPTT_GRAPH')
    expect(error.message).toMatch(/createGraph: true/)
  })

  it('keeps what it saved when the tensors are disposed', () => {
    const x = leaf([2])
    const y = x.exp()
    const loss = y.mul(y).sum()
    y.dispose()
    loss.backward()
    expect(gradient(x)?.[0]).toBeCloseTo(2 * Math.exp(4), 10)
  })
})

describe('changes in place', () => {
  it('by an optimizer are noticed, and the op is named', () => {
    const w = leaf([2])
    const [first, second] = [w.mul(w).sum(), w.mul(w).sum()]
    const optimizer = new SGD([w], { lr: 0.1 })
    first.backward()
    const before = gradient(w)
    optimizer.step()
    const error = thrownBy(() => second.backward())
    expect(error.code).toBe('ERR_BPTT_MODIFIED')
    expect(error.message).toMatch(/mul/)
    expect(gradient(w)).toEqual(before)
  })

  it('of a layer by loadStateDict are noticed', () => {
    const layer = new Linear(2, 2)
    const x = ones([1, 2], { requiresGrad: true })
    const loss = layer.forward(x).sum()
    layer.loadStateDict(new Map([...layer.stateDict()].map(([name, w]) => [name, ones(w.shape)])))
    expect(codeOf(() => loss.backward())).toBe('ERR_BPTT_MODIFIED')
  })

  it('of a recurrent layer are noticed', () => {
    const layer = new LSTM(2, 3)
    const optimizer = new Adam(layer.parameters())
    const run = () => layer.forward(ones([4, 1, 2])).output.sum()
    const [first, second] = [run(), run()]
    first.backward()
    optimizer.step()
    const error = thrownBy(() => second.backward())
    expect(error.code).toBe('ERR_BPTT_MODIFIED')
    expect(error.message).toMatch(/LSTM/)
  })

  it('do not matter where the values are not needed', () => {
    const w = leaf([2])
    const [first, second] = [w.mul(3).sum(), w.mul(4).sum()]
    first.backward()
    new SGD([w], { lr: 0.1 }).step()
    second.backward()
    expect(gradient(w)).toEqual([7])
  })
})

describe('requiresGrad', () => {
  it('may be set on leaves', () => {
    const x = full([1], 2, { dtype: 'float64' })
    x.requiresGrad = true
    x.mul(x).sum().backward()
    expect(gradient(x)).toEqual([4])
    x.requiresGrad = false
    expect(x.mul(x).requiresGrad).toBe(false)
  })

  it('freezes a parameter', () => {
    const layer = new Linear(2, 1)
    layer.weight.requiresGrad = false
    layer
      .forward(ones([1, 2]))
      .sum()
      .backward()
    expect(layer.weight.grad).toBeNull()
    expect(layer.bias?.grad).not.toBeNull()
    expect([...layer.stateDict().keys()]).toEqual(['weight', 'bias'])
  })

  it('computes only the gradients that are wanted', () => {
    const x = leaf([1, 2], [1, 2])
    const constant = tensor(new Float64Array([3, 4]), [2, 1])
    const joined = concat([x.matmul(constant), constant], 0)
    joined.sum().backward()
    expect(gradient(x)).toEqual([3, 4])
    expect(constant.grad).toBeNull()
  })

  it('grad may be set, and is checked', () => {
    const x = leaf([1, 2])
    x.grad = tensor(new Float64Array([1, 1]))
    x.sum().backward()
    expect(gradient(x)).toEqual([2, 2])
    expect(
      codeOf(() => {
        x.grad = tensor(new Float64Array([1]))
      }),
    ).toBe('ERR_BPTT_SHAPE')
    x.grad = null
    expect(x.grad).toBeNull()
  })
})
