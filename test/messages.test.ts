/** What is most often done wrong by those who come from other libraries: the code, and the word that mends it. */
import { describe, expect, it, vi } from 'vitest'
import {
  Adam,
  bceWithLogits,
  clipGradNorm,
  crossEntropy,
  GRU,
  grad,
  Linear,
  LSTM,
  mseLoss,
  ones,
  ReduceLROnPlateau,
  randn,
  StepLR,
  type Tensor,
  tensor,
  zeros,
} from '../lib/index.ts'

// biome-ignore lint/suspicious/noExplicitAny: what follows is wrong on purpose
type Wrong = any

function thrownBy(run: () => unknown): { code: string; message: string } {
  try {
    run()
  } catch (error) {
    return error as { code: string; message: string }
  }
  throw new Error('nothing was thrown')
}

const [lstm, gru] = [new LSTM(3, 4), new GRU(3, 4)]
const x = zeros([5, 2, 3])
const ids = (shape: number[]): Tensor => zeros(shape, { dtype: 'int32' })
const leaf = (): Tensor => randn([2, 3], { requiresGrad: true })

function carry(run: (state: Wrong) => Wrong): void {
  let state: Wrong
  for (let i = 0; i < 2; i++) {
    state = run(state)
    state.output.sum().backward()
  }
}

describe.each<[string, [string, string, () => unknown][]]>([
  [
    'graphs',
    [
      ['ERR_BPTT_GRAPH', 'detach()', () => carry((s) => gru.forward(x, s ? { h0: s.hn } : {}))],
      ['ERR_BPTT_GRAPH', 'detach()', () => carry((s) => lstm.forward(x, s ? { h0: s.hn, c0: s.cn } : {}))],
      [
        'ERR_BPTT_GRAPH',
        'retainGraph',
        () => {
          const loss = leaf().tanh().sum()
          loss.backward()
          loss.backward()
        },
      ],
      [
        'ERR_BPTT_GRAPH',
        'retainGraph',
        () => {
          const shared = leaf().tanh()
          const [one, two] = [shared.sum(), shared.mean()]
          one.backward()
          two.backward()
        },
      ],
      [
        'ERR_BPTT_GRAPH',
        'createGraph: true',
        () => {
          const y = leaf()
          y.mul(y).sum().backward()
          const g = y.grad as Tensor
          g.mul(g).sum().backward()
        },
      ],
      [
        'ERR_BPTT_GRAPH',
        'allowUnused: true',
        () => {
          const [y, z] = [leaf(), leaf()]
          grad(y.sum(), [y, z])
        },
      ],
      [
        'ERR_BPTT_TYPE',
        'null first',
        () =>
          leaf()
            .sum()
            .backward({ retainGraph: true } as Wrong),
      ],
    ],
  ],
  [
    'losses',
    [
      ['ERR_BPTT_SHAPE', 'reshape([-1, 7])', () => crossEntropy(zeros([5, 2, 7]), ids([5, 2]))],
      ['ERR_BPTT_SHAPE', 'reshape([2])', () => crossEntropy(zeros([2, 7]), ids([2, 1]))],
      ['ERR_BPTT_DTYPE', 'one-hot', () => crossEntropy(zeros([2, 7]), zeros([2, 7]))],
      ['ERR_BPTT_SHAPE', 'one-hot', () => crossEntropy(zeros([2, 7]), ids([2, 7]))],
      ['ERR_BPTT_DTYPE', 'int32', () => crossEntropy(zeros([2, 7]), zeros([2]))],
      ['ERR_BPTT_SHAPE', 'reshape([2,1])', () => mseLoss(zeros([2, 1]), zeros([2]))],
      ['ERR_BPTT_SHAPE', 'reshape([2])', () => bceWithLogits(zeros([2]), zeros([2, 1]))],
      ['ERR_BPTT_SHAPE', 'expand([4,3])', () => mseLoss(zeros([4, 3]), zeros([1, 3]))],
      ['ERR_BPTT_SHAPE', 'expand([4,3])', () => mseLoss(zeros([4, 3]), zeros([]))],
    ],
  ],
  [
    'what is no tensor',
    [
      ['ERR_BPTT_TYPE', '.output', () => new Linear(4, 2).forward(lstm.forward(x) as Wrong)],
      ['ERR_BPTT_TYPE', '.output', () => x.add(gru.forward(x) as Wrong)],
      ['ERR_BPTT_TYPE', '.hn', () => gru.forward(x, { h0: gru.forward(x) as Wrong })],
      ['ERR_BPTT_TYPE', 'await', () => mseLoss(x, Promise.resolve(x) as Wrong)],
      ['ERR_BPTT_TYPE', 'await', () => lstm.loadStateDict(Promise.resolve({}) as Wrong)],
      [
        'ERR_BPTT_TYPE',
        'await',
        () => new ReduceLROnPlateau(new Adam(gru.parameters())).step(Promise.resolve(1) as Wrong),
      ],
      ['ERR_BPTT_TYPE', 'tensor()', () => gru.forward([[[1, 2, 3]]] as Wrong)],
      ['ERR_BPTT_TYPE', 'Parameter', () => Object.assign(lstm, { weight_ih_l0: zeros([16, 3]) })],
      ['ERR_BPTT_TYPE', '', () => new StepLR(lstm as Wrong, { stepSize: 1 })],
    ],
  ],
  [
    'states and lengths',
    [
      ['ERR_BPTT_TYPE', '{ h0 }', () => gru.forward(x, zeros([1, 2, 4]) as Wrong)],
      ['ERR_BPTT_TYPE', '{ h0, c0 }', () => lstm.forward(x, [zeros([1, 2, 4])] as Wrong)],
      ['ERR_BPTT_TYPE', 'h0', () => lstm.forward(x, { hn: zeros([1, 2, 4]) } as Wrong)],
      ['ERR_BPTT_SHAPE', 'batchFirst', () => gru.forward(x, { lengths: [2, 2, 2, 2, 2] })],
      ['ERR_BPTT_TYPE', 'data()', () => gru.forward(x, { lengths: ids([2]) as Wrong })],
    ],
  ],
  [
    'options',
    [
      ['ERR_BPTT_TYPE', 'numLayers', () => new LSTM(3, 4, { num_layers: 2 } as Wrong)],
      ['ERR_BPTT_TYPE', '{ lr: .. }', () => new Adam(gru.parameters(), 0.01 as Wrong)],
      ['ERR_BPTT_TYPE', 'parameters()', () => new Adam(gru as Wrong)],
      ['ERR_BPTT_TYPE', 'parameters()', () => new Adam(gru.namedParameters() as Wrong)],
    ],
  ],
  [
    'streams',
    [
      [
        'ERR_BPTT_DISPOSED',
        'stream()',
        () => {
          const stream = gru.stream()
          stream.dispose()
          stream.step(new Float32Array(3))
        },
      ],
      ['ERR_BPTT_TYPE', 'data()', () => gru.stream().step(zeros([3]) as Wrong)],
      ['ERR_BPTT_TYPE', 'Float32Array.from', () => gru.stream().step([1, 2, 3] as Wrong)],
    ],
  ],
])('%s', (_, cases) => {
  it.each(cases)('%s %s (%#)', (code, word, run) => {
    const error = thrownBy(run)
    expect(error.code).toBe(code)
    expect(error.message).toContain(word)
  })
})

it('a target of elements in another order, or of more, is told no way', () => {
  for (const run of [() => mseLoss(zeros([2, 3]), zeros([3, 2])), () => mseLoss(zeros([3]), zeros([4, 3]))])
    expect(thrownBy(run).message).toMatch(/got \[\d,\d\]$/)
})

it('warns once of dropout in one layer', () => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  new GRU(2, 2, { dropout: 0.5, numLayers: 2 })
  expect(warn).not.toHaveBeenCalled()
  for (const Layer of [LSTM, GRU]) new Layer(2, 2, { dropout: 0.5 })
  expect(warn).toHaveBeenCalledTimes(1)
  expect(warn.mock.calls[0]?.[1]).toMatchObject({ code: 'BPTT_DROPOUT' })
  warn.mockRestore()
})

describe('clipGradNorm with errorIfNonfinite', () => {
  const parameter = (gradient: number[]): Tensor => {
    const made = ones([2], { requiresGrad: true })
    made.grad = tensor(gradient)
    return made
  }

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('throws for %s, and leaves the gradients', (value) => {
    const bad = parameter([3, value])
    expect(thrownBy(() => clipGradNorm([bad], 1, { errorIfNonfinite: true })).code).toBe('ERR_BPTT_NONFINITE')
    expect([...(bad.grad as Tensor).dataSync()]).toEqual([3, value])
    expect(Number.isFinite(clipGradNorm([bad], 1).itemSync())).toBe(false)
  })

  it('clips what is finite', () => {
    const good = parameter([3, 4])
    expect(clipGradNorm([good], 1, { errorIfNonfinite: true }).itemSync()).toBe(5)
    expect((good.grad as Tensor).dataSync()[0]).toBeCloseTo(0.6, 5)
  })
})
