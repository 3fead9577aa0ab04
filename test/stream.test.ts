/** Streaming equals the full sequence, and carries state. */
import { GRU, info, LSTM, ones, RNN, randn, SGD, type Tensor } from 'bptt'
import { describe, expect, it } from 'vitest'
import { collect } from './support/collect.ts'

const layers = [
  ['LSTM', () => new LSTM(3, 17, { numLayers: 2 })],
  ['LSTM with projection', () => new LSTM(3, 17, { numLayers: 2, projSize: 5 })],
  ['LSTM with peepholes', () => new LSTM(3, 17, { numLayers: 2, peephole: true, projSize: 5 })],
  ['LSTM without bias', () => new LSTM(3, 8, { bias: false, batchFirst: true })],
  ['GRU', () => new GRU(3, 17, { numLayers: 3, dropout: 0.5 }).eval()],
  ['GRU, reset before', () => new GRU(3, 17, { numLayers: 2, resetAfter: false })],
  ['RNN', () => new RNN(3, 17, { numLayers: 2 })],
  ['RNN, relu', () => new RNN(3, 9, { nonlinearity: 'relu' })],
] as const

const T = 6

describe.each(layers)('%s', (_, make) => {
  it.each([1, 2, 5, 33])('equals forward, bit for bit, in a batch of %i', (batch) => {
    const layer = make()
    const first = layer.batchFirst
    const x = randn(first ? [batch, T, 3] : [T, batch, 3])
    const { output, hn } = layer.forward(x)
    const expected = first ? output.transpose(0, 1) : output
    const steps = first ? x.transpose(0, 1) : x
    const stream = layer.stream({ batch })
    for (let t = 0; t < T; t++) {
      const y = stream.step(steps.slice(t, t + 1).dataSync() as Float32Array)
      expect(y).toEqual(expected.slice(t, t + 1).dataSync())
    }
    expect(stream.getState().h).toEqual(hn.dataSync())
    stream.dispose()
  })

  it.each([0, 1, 7, 8, 73, 200])('takes %i steps in one call as in single ones', (n) => {
    const layer = make()
    const [many, single] = [layer.stream({ batch: 2 }), layer.stream({ batch: 2 })]
    const x = randn([n, 2, 3]).dataSync()
    const expected = Array.from({ length: n }, (_, t) => [...single.step(x.subarray(6 * t, 6 * t + 6))])
    expect([...many.stepMany(x)]).toEqual(expected.flat())
    expect(many.getState()).toEqual(single.getState())
  })

  it('starts from any state, and returns to it', () => {
    const layer = make()
    const stream = layer.stream({ batch: 2 })
    const x = randn([2, 3]).dataSync()
    stream.step(x)
    const state = stream.getState()
    const second = stream.step(x)
    expect(stream.step(x)).not.toEqual(second)
    stream.setState(state)
    expect(stream.step(x)).toEqual(second)
    stream.reset()
    expect([...stream.getState().h].every((value) => value === 0)).toBe(true)
    stream.dispose()
    stream.dispose()
  })

  it('resets single rows', () => {
    const layer = make()
    const [stream, fresh] = [layer.stream({ batch: 3 }), layer.stream({ batch: 3 })]
    const x = randn([3, 3]).dataSync()
    stream.step(x)
    stream.reset([1])
    const again = stream.step(x)
    const start = fresh.step(x)
    const row = (y: Float32Array, b: number) => [
      ...y.subarray(b * stream.outputSize, (b + 1) * stream.outputSize),
    ]
    expect(row(again, 1)).toEqual(row(start, 1))
    expect(row(again, 0)).not.toEqual(row(start, 0))
  })
})

describe('streams of one layer', () => {
  const H = 128
  const train = (layer: LSTM) => {
    layer
      .forward(ones([2, 1, 3]))
      .output.sum()
      .backward()
    new SGD(layer.parameters(), { lr: 1 }).step()
  }
  const x = randn([1, 3]).dataSync() as Float32Array

  it('share their weights: one more costs its state', async () => {
    await collect() // the streams of other tests
    const layer = new LSTM(3, H)
    const allocated = () => info().memory.allocatedBytes
    const before = allocated()
    const first = layer.stream()
    const one = allocated() - before
    const more = Array.from({ length: 1000 }, () => layer.stream())
    expect(first.bytes).toBe(2 * H * 4)
    const each = (allocated() - before - one) / more.length
    expect(each).toBeGreaterThanOrEqual(first.bytes)
    expect(each).toBeLessThan(1.01 * first.bytes) // some got blocks that were there, a little larger
    // Weights, packed once, and scratch: far from a second copy.
    const weights = 4 * H * (3 + H + 1) * 4
    expect(one).toBeLessThan(1.5 * weights)
    const y = first.step(x)
    for (const stream of more) expect(stream.step(x)).toEqual(y)
    for (const stream of [first, ...more]) stream.dispose()
    expect(allocated()).toBe(before)
  })

  it('have states of their own', () => {
    const layer = new GRU(3, 5)
    const [a, b] = [layer.stream(), layer.stream({ batch: 2 })]
    const first = a.step(x)
    expect(a.step(x)).not.toEqual(first)
    expect(b.step(new Float32Array([...x, ...x]))).toEqual(new Float32Array([...first, ...first]))
  })

  it('take new weights together', () => {
    const layer = new LSTM(3, 4)
    const [a, b] = [layer.stream(), layer.stream()]
    a.step(x)
    const state = a.getState()
    train(layer)
    const later = layer.stream()
    b.update()
    for (const stream of [a, b, later]) stream.setState(state)
    const expected = later.step(x)
    expect(a.step(x)).toEqual(expected)
    expect(b.step(x)).toEqual(expected)
  })

  it('made after training have other weights than those before', () => {
    const layer = new LSTM(3, 4)
    const before = layer.stream()
    train(layer)
    const after = layer.stream()
    const old = before.step(x)
    expect(after.step(x)).not.toEqual(old)
    before.reset()
    expect(before.step(x)).toEqual(old)
  })

  it('go on with the weights that they have where the layer is gone', () => {
    const layer = new LSTM(3, 4)
    const stream = layer.stream()
    const y = stream.step(x)
    layer.dispose()
    expect(() => stream.update()).toThrow(/^\[LSTM\.stream\.update\] expected a live tensor/)
    stream.reset()
    expect(stream.step(x)).toEqual(y)
  })

  it('survive the one that was made first', () => {
    const layer = new LSTM(3, 4)
    const [a, b] = [layer.stream(), layer.stream()]
    const y = a.step(x)
    a.dispose()
    expect(b.step(x)).toEqual(y)
    expect(() => a.bytes).toThrow(expect.objectContaining({ code: 'ERR_BPTT_DISPOSED' }))
  })
})

describe('a stream', () => {
  it('is a snapshot: later training does not change it', () => {
    const layer = new LSTM(3, 4)
    const x = randn([1, 3]).dataSync()
    const stream = layer.stream()
    const before = layer.stream().step(x)
    layer
      .forward(ones([2, 1, 3]))
      .output.sum()
      .backward()
    new SGD(layer.parameters(), { lr: 1 }).step()
    expect(stream.step(x)).toEqual(before)
    expect(layer.stream().step(x)).not.toEqual(before)
    layer.dispose()
    stream.step(x)
  })

  it('sees the training that was enqueued before it', () => {
    const layer = new GRU(3, 4)
    layer
      .forward(ones([2, 1, 3]))
      .output.sum()
      .backward()
    new SGD(layer.parameters(), { lr: 0.5 }).step()
    const x = randn([1, 1, 3])
    expect(layer.stream().step(x.dataSync())).toEqual(layer.forward(x).output.dataSync())
  })

  it('writes into the array it is given', () => {
    const stream = new GRU(3, 4).stream({ batch: 2 })
    const out = new Float32Array(8)
    expect(stream.step(new Float32Array(6).fill(1), out)).toBe(out)
    expect(out.some((value) => value !== 0)).toBe(true)
    expect(stream.inputSize).toBe(3)
    expect(stream.outputSize).toBe(4)
    expect(stream.batch).toBe(2)
  })

  it('writes many steps into the array it is given, and over their input', () => {
    const layer = new GRU(4, 4)
    const x = randn([100, 4]).dataSync()
    const expected = layer.stream().stepMany(x)
    const out = new Float32Array(400)
    expect(layer.stream().stepMany(x, out)).toBe(out)
    expect(out).toEqual(expected)
    expect(layer.stream().stepMany(x, x)).toEqual(expected)
  })

  it('takes views with an offset', () => {
    const layer = new RNN(3, 4)
    const values = randn([1, 3]).dataSync()
    const inside = new Float32Array(10)
    inside.set(values, 5)
    const out = new Float32Array(9)
    layer.stream().step(inside.subarray(5, 8), out.subarray(2, 6))
    const expected = layer.stream().step(values)
    expect([...out]).toEqual([0, 0, ...expected, 0, 0, 0])
  })

  it('of a float64 layer uses Float64Array', () => {
    const layer = new LSTM(3, 5, { dtype: 'float64' })
    const x = randn([1, 1, 3], { dtype: 'float64' })
    const stream = layer.stream()
    const y = stream.step(x.dataSync())
    expect(y).toBeInstanceOf(Float64Array)
    expect(y).toEqual(layer.forward(x).output.dataSync())
    expect(() => stream.step(new Float32Array(3) as unknown as Float64Array)).toThrow(TypeError)
  })

  it('continues from the states of forward', () => {
    const layer = new LSTM(3, 5, { numLayers: 2 })
    const x = randn([4, 2, 3])
    const { hn, cn } = layer.forward(x.slice(0, 3))
    const stream = layer.stream({ batch: 2 })
    stream.setState({ h: hn.dataSync(), c: cn.dataSync() })
    const last: Tensor = layer.forward(x).output.slice(3)
    expect(stream.step(x.slice(3).dataSync())).toEqual(last.dataSync())
  })

  it('refuses what it cannot do', () => {
    expect(() => new LSTM(3, 4, { bidirectional: true }).stream()).toThrow(/bidirectional/)
    for (const weights of ['bfloat16', 'int8']) {
      const layer = new LSTM(3, 4)
      expect(() => layer.stream({ weights: weights as 'float32' })).toThrow(/not built yet/)
    }
    expect(() => new LSTM(3, 4).stream().setState({ h: new Float32Array(4) })).toThrow(TypeError)
    const gru = new GRU(3, 4).stream({ batch: 2 })
    expect(() => gru.step(new Float32Array(4))).toThrow(RangeError)
    expect(() => gru.stepMany(new Float32Array(15))).toThrow(
      '[GRU.stream.stepMany] expected x of whole steps, 6 elements each (batch 2, 3 features), got [15]',
    )
    expect(() => gru.stepMany(new Float32Array(12), new Float32Array(8))).toThrow(RangeError)
    expect(() => gru.stepMany([1, 2, 3] as unknown as Float32Array)).toThrow(TypeError)
  })
})
