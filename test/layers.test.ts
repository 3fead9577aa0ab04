/** What recurrent layers accept and return. Values: parity and fixtures. */
import { GRU, LSTM, manualSeed, noGrad, RNN, randn, type Tensor, tensor, zeros } from 'bptt'
import { describe, expect, it } from 'vitest'

const list = (x: Tensor | null | undefined) => [...(x as Tensor).dataSync()]
const shapes = (result: object) => Object.values(result).map((x: Tensor) => x.shape)

describe('shapes', () => {
  it('of LSTM, GRU, RNN', () => {
    const x = randn([5, 3, 2])
    expect(shapes(new LSTM(2, 4).forward(x))).toEqual([
      [5, 3, 4],
      [1, 3, 4],
      [1, 3, 4],
    ])
    expect(shapes(new LSTM(2, 4, { numLayers: 2, bidirectional: true, projSize: 3 }).forward(x))).toEqual([
      [5, 3, 6],
      [4, 3, 3],
      [4, 3, 4],
    ])
    expect(shapes(new GRU(2, 4, { numLayers: 3 }).forward(x))).toEqual([
      [5, 3, 4],
      [3, 3, 4],
    ])
    expect(shapes(new RNN(2, 4, { batchFirst: true }).forward(x))).toEqual([
      [5, 3, 4],
      [1, 5, 4],
    ])
  })

  it('without a batch', () => {
    const x = randn([5, 2])
    for (const batchFirst of [false, true]) {
      const layer = new LSTM(2, 4, { bidirectional: true, batchFirst })
      const h0 = randn([2, 4])
      const c0 = randn([2, 4])
      const alone = layer.forward(x, { h0, c0 })
      expect(shapes(alone)).toEqual([
        [5, 8],
        [2, 4],
        [2, 4],
      ])
      const batch = layer.forward(x.reshape(batchFirst ? [1, 5, 2] : [5, 1, 2]), {
        h0: h0.reshape([2, 1, 4]),
        c0: c0.reshape([2, 1, 4]),
      })
      expect(list(alone.output)).toEqual(list(batch.output))
      expect(list(alone.cn)).toEqual(list(batch.cn))
    }
  })

  it('no steps, no rows', () => {
    const layer = new LSTM(2, 4, { numLayers: 2 })
    const h0 = randn([2, 3, 4])
    const none = layer.forward(zeros([0, 3, 2]), { h0 })
    expect(none.output.shape).toEqual([0, 3, 4])
    expect(list(none.hn)).toEqual(list(h0))
    expect(list(none.cn)).toEqual(new Array(24).fill(0))
    const empty = layer.forward(zeros([5, 0, 2]))
    expect(shapes(empty)).toEqual([
      [5, 0, 4],
      [2, 0, 4],
      [2, 0, 4],
    ])
    empty.output.sum().backward()
    expect(list(layer.weight_ih_l0?.grad)).toEqual(new Array(32).fill(0))
  })
})

describe('states', () => {
  it('carried from chunk to chunk give the whole sequence, to the bit', () => {
    const x = randn([7, 2, 3])
    for (const layer of [new GRU(3, 5, { numLayers: 2 }), new RNN(3, 5, { nonlinearity: 'relu' })]) {
      const whole = layer.forward(x)
      const first = layer.forward(x.slice(0, 3))
      const second = layer.forward(x.slice(3), { h0: first.hn })
      expect([...list(first.output), ...list(second.output)]).toEqual(list(whole.output))
      expect(list(second.hn)).toEqual(list(whole.hn))
    }
  })

  it('the gradient flows from chunk to chunk', () => {
    const layer = new LSTM(3, 4)
    const x = randn([6, 2, 3], { requiresGrad: true })
    const first = layer.forward(x.slice(0, 3))
    const { output } = layer.forward(x.slice(3), { h0: first.hn, c0: first.cn })
    output.sum().backward()
    const early = list(x.grad).slice(0, 18)
    expect(early.every((value) => value !== 0)).toBe(true)
  })
})

describe('lengths', () => {
  const layer = new GRU(2, 3, { bidirectional: true })
  const x = randn([4, 3, 2])

  it('of any list type, in any order, zero included', () => {
    const result = layer.forward(x, { lengths: [2, 0, 4] })
    for (const lengths of [Int32Array.of(2, 0, 4), Uint8Array.of(2, 0, 4), { length: 3, 0: 2, 1: 0, 2: 4 }]) {
      expect(list(layer.forward(x, { lengths }).output)).toEqual(list(result.output))
    }
    const row = (b: number) => [0, 1, 2, 3].map((t) => list(result.output.slice(t, t + 1).slice(b, b + 1, 1)))
    expect(row(1).flat()).toEqual(new Array(24).fill(0))
    expect(row(0).slice(2).flat()).toEqual(new Array(12).fill(0))
    const short = layer.forward(x.slice(0, 2).slice(0, 1, 1))
    expect(row(0).slice(0, 2).flat()).toEqual(list(short.output))
  })

  it('all equal to T are as none', () => {
    expect(list(layer.forward(x, { lengths: [4, 4, 4] }).output)).toEqual(list(layer.forward(x).output))
  })

  it('padding is never read', () => {
    const data = list(x)
    for (let t = 2; t < 4; t++) for (let i = 0; i < 2; i++) data[(t * 3 + 0) * 2 + i] = Number.NaN
    const padded = tensor(data, [4, 3, 2], { requiresGrad: true })
    const result = layer.forward(padded, { lengths: [2, 4, 3] })
    result.output.sum().backward()
    for (const values of [
      list(result.output),
      list(result.hn),
      list(padded.grad),
      list(layer.weight_ih_l0?.grad),
    ]) {
      expect(values.some(Number.isNaN)).toBe(false)
    }
  })
})

describe('dropout between layers', () => {
  const layer = new LSTM(3, 8, { numLayers: 2, dropout: 0.5 })
  const x = randn([4, 2, 3])

  it('is active in training only, also under noGrad, and follows the seed', () => {
    layer.eval()
    const calm = list(layer.forward(x).output)
    expect(list(layer.forward(x).output)).toEqual(calm)
    layer.train()
    manualSeed(9)
    const dropped = list(layer.forward(x).output)
    expect(dropped).not.toEqual(calm)
    expect(list(layer.forward(x).output)).not.toEqual(dropped)
    manualSeed(9)
    expect(list(noGrad(() => layer.forward(x).output))).toEqual(dropped)
  })

  it('does nothing in a single layer', () => {
    const single = new GRU(3, 4, { dropout: 0.5 })
    expect(list(single.forward(x).output)).toEqual(list(single.forward(x).output))
  })
})

describe('forward', () => {
  it('with and without a tape gives the same bits', () => {
    const x = randn([6, 5, 3])
    for (const layer of [
      new LSTM(3, 9, { numLayers: 2, bidirectional: true, projSize: 4 }),
      new LSTM(3, 9, { peephole: true }),
      new GRU(3, 9, { numLayers: 2, bidirectional: true }),
      new GRU(3, 9, { resetAfter: false }),
      new RNN(3, 9, { bias: false }),
    ]) {
      const recorded = layer.forward(x, { lengths: [6, 1, 0, 3, 5] })
      const plain = noGrad(() => layer.forward(x, { lengths: [6, 1, 0, 3, 5] }))
      expect(recorded.output.requiresGrad).toBe(true)
      expect(plain.output.requiresGrad).toBe(false)
      expect(list(recorded.output)).toEqual(list(plain.output))
      expect(list(recorded.hn)).toEqual(list(plain.hn))
    }
  })

  it('first without, then with a tape, then without again', () => {
    const x = randn([4, 2, 3])
    const layer = new LSTM(3, 33, { numLayers: 2 })
    const plain = list(noGrad(() => layer.forward(x)).output)
    const recorded = layer.forward(x).output
    expect(list(recorded)).toEqual(plain)
    recorded.sum().backward()
    expect(list(noGrad(() => layer.forward(x)).output)).toEqual(plain)
    const fresh = new LSTM(3, 33, { numLayers: 2 })
    fresh.loadStateDict(layer.stateDict())
    fresh.forward(x).output.sum().backward()
    expect(list(layer.weight_hh_l0?.grad)).toEqual(list(fresh.weight_hh_l0?.grad))
  })

  it('says what shape it expects', () => {
    expect(() => new LSTM(128, 4).forward(zeros([25, 4, 64]))).toThrow(
      /\[LSTM.forward\] expected input of shape \[T,B,I\] = \[\*,\*,128\].*got \[25,4,64\]/,
    )
    expect(() => new GRU(2, 3).forward(zeros([4, 2, 2]), { h0: zeros([2, 2, 3]) })).toThrow(
      /h0 of shape \[L\*D,B,H\] = \[1,2,3\], got \[2,2,3\]/,
    )
  })
})

describe('compute', () => {
  it('is told, or null', () => {
    expect(new GRU(2, 3, { compute: 'bfloat16' }).compute).toBe('bfloat16')
    expect(new GRU(2, 3).compute).toBeNull()
    expect(new GRU(2, 3, { compute: null }).compute).toBeNull()
  })

  it('is refused on the CPU, in words', () => {
    for (const compute of ['tf32', 'float16', 'bfloat16'] as const) {
      for (const layer of [
        new LSTM(2, 3, { compute }),
        new GRU(2, 3, { compute }),
        new RNN(2, 3, { compute }),
      ]) {
        const name = layer.constructor.name
        expect(() => layer.forward(zeros([4, 2, 2]))).toThrow(
          `[${name}.forward] expected the parameters of a layer with compute '${compute}' on a CUDA device, ` +
            "got cpu; move it with .to('cuda'), or make it without compute",
        )
      }
    }
  })

  it('is refused where it does not fit, in words', () => {
    expect(() => new LSTM(2, 3, { compute: 'tf32', dtype: 'float64' })).toThrow(
      "[LSTM] expected dtype float32 with compute 'tf32', got float64; make the layer without compute",
    )
    expect(() => new GRU(2, 3, { compute: 'float16', resetAfter: false })).toThrow(
      /^\[GRU\] compute 'float16' .* resetAfter: false; make the layer without compute, or with resetAfter: true$/,
    )
    expect(() => new LSTM(2, 3, { compute: 'float16', peephole: true })).toThrow(
      /^\[LSTM\] compute 'float16' .* peephole: true; make the layer without compute, or with peephole: false$/,
    )
  })

  it('does not touch parameters or streams', () => {
    const draw = (compute: 'float16' | null) => {
      manualSeed(3)
      return new LSTM(2, 3, { compute })
    }
    const [mixed, plain] = [draw('float16'), draw(null)]
    expect(list(mixed.weight_ih_l0)).toEqual(list(plain.weight_ih_l0))
    const x = Float32Array.of(0.1, -0.7)
    expect(mixed.stream().step(x)).toEqual(plain.stream().step(x))
  })
})
