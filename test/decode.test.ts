/** Decoders against enumeration: beam search, CTC, sampling. */
import { describe, expect, it } from 'vitest'
import {
  beamSearch,
  ctcBeamSearch,
  ctcGreedyDecode,
  type DecodeStep,
  Embedding,
  GRU,
  greedySearch,
  type Hypothesis,
  info,
  Linear,
  manualSeed,
  noGrad,
  sampleToken,
  selectRows,
  synchronize,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '../lib/index.ts'
import { generator } from '../lib/reference/uniform.ts'
import { expectFailure, wrong } from './support/failure.ts'

const V = 4
const STOP = 3
type State = { path: Float64Array }

/** Log-probabilities that depend on the row's number and all tokens before, as a number in base V + 1. */
function scoresAfter(path: number, row: number): number[] {
  const next = generator(7919 * row + path)
  const logits = Array.from({ length: V }, () => 3 * next())
  const norm = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0))
  return logits.map((x) => x - norm)
}

const attentionAfter = (path: number, row: number): number[] => {
  const next = generator(31 * row + path + 5)
  const weights = [next(), next(), next()]
  const sum = weights.reduce((a, b) => a + b)
  return weights.map((w) => w / sum)
}

/** Calls of the step and the rows of each are noted in `calls`. */
const stepOf =
  (calls: number[] = [], first = 0): DecodeStep<State> =>
  (tokens, { path }, { batch }) => {
    calls.push(tokens.length)
    const next = path.map((p, i) => p * (V + 1) + (tokens[i] as number) + 1)
    const of = (table: typeof scoresAfter) =>
      Float64Array.from([...next].flatMap((p, i) => table(p, first + (batch[i] as number))))
    return { logProbs: of(scoresAfter), attention: of(attentionAfter), state: { path: next } }
  }

interface Penalties {
  lengthPenalty?: number
  coveragePenalty?: number
}

/** All sequences that end within maxLength or are cut by it, best first. */
function enumerate(row: number, maxLength: number, penalties: Penalties = {}) {
  const { lengthPenalty = 0, coveragePenalty = 0 } = penalties
  const found: { tokens: number[]; score: number; logProb: number; finished: boolean }[] = []
  const visit = (tokens: number[], path: number, logProb: number, coverage: number[]): void => {
    const finished = tokens.at(-1) === STOP
    if (finished || tokens.length === maxLength) {
      const lp = ((5 + tokens.length) / 6) ** lengthPenalty
      const cp = coverage.reduce((sum, c) => sum + Math.log(Math.min(c, 1)), 0)
      const score = logProb / lp + (coveragePenalty === 0 ? 0 : coveragePenalty * cp)
      found.push({ tokens: finished ? tokens.slice(0, -1) : tokens, score, logProb, finished })
      return
    }
    const weights = attentionAfter(path, row)
    const sums = coverage.map((c, i) => c + (weights[i] as number))
    for (const [v, p] of scoresAfter(path, row).entries()) {
      visit([...tokens, v], path * (V + 1) + v + 1, logProb + p, sums)
    }
  }
  visit([], 1, 0, [0, 0, 0])
  return found.sort((a, b) => b.score - a.score)
}

async function bestOf(found: Promise<Hypothesis[][]>): Promise<Hypothesis> {
  return (await found)[0]?.[0] as Hypothesis
}

const start = (rows: number): State => ({ path: new Float64Array(rows) })
const shared = { start: 0, stop: STOP, maxLength: 4 }

describe('beamSearch', () => {
  it.each<Penalties>([
    {},
    { lengthPenalty: 0.8 },
    { lengthPenalty: -1 },
    { coveragePenalty: 0.5 },
    { lengthPenalty: 1, coveragePenalty: 0.2 },
  ])('finds what enumeration finds where the beam holds everything: %o', async (penalties) => {
    const found = await beamSearch(stepOf(), start(3), {
      ...shared,
      ...penalties,
      batch: 3,
      beams: V ** 4,
      nBest: 10,
    })
    expect(found.length).toBe(3)
    for (const [row, hypotheses] of found.entries()) {
      const expected = enumerate(row, 4, penalties).slice(0, 10)
      expect(hypotheses.map(({ tokens, finished }) => [tokens, finished])).toEqual(
        expected.map(({ tokens, finished }) => [tokens, finished]),
      )
      for (const [i, { score, logProb, attention }] of hypotheses.entries()) {
        expect(score).toBeCloseTo(expected[i]?.score as number, 10)
        expect(logProb).toBeCloseTo(expected[i]?.logProb as number, 10)
        expect(attention?.[0]?.length).toBe(3)
      }
    }
  })

  it('ranks, never beats enumeration, and keeps rows apart', async () => {
    const options = { ...shared, maxLength: 6, lengthPenalty: 0.7 }
    for (let beams = 1; beams <= 6; beams++) {
      const together = await beamSearch(stepOf(), start(8), { ...options, batch: 8, beams, nBest: beams })
      for (const [row, hypotheses] of together.entries()) {
        const scores = hypotheses.map(({ score }) => score)
        expect(scores).toEqual([...scores].sort((a, b) => b - a))
        expect(new Set(hypotheses.map(({ tokens, finished }) => `${tokens} ${finished}`)).size).toBe(
          hypotheses.length,
        )
        expect(scores[0]).toBeLessThanOrEqual((enumerate(row, 6, options)[0]?.score as number) + 1e-12)
        const alone = await beamSearch(stepOf([], row), start(1), { ...options, beams, nBest: beams })
        expect(hypotheses).toEqual(alone[0])
      }
    }
  })

  it('with fixed rows gives the same, and every step all of them', async () => {
    const options = { ...shared, maxLength: 6, batch: 4, beams: 3, nBest: 2, lengthPenalty: 0.5 }
    const [few, all]: [number[], number[]] = [[], []]
    const found = await beamSearch(stepOf(few), start(4), options)
    expect(await beamSearch(stepOf(all), start(4), { ...options, fixedRows: true })).toEqual(found)
    expect(few[0]).toBe(4)
    expect(new Set(all)).toEqual(new Set([12]))
  })

  it('stops as soon as nothing better can come', async () => {
    const calls: number[] = []
    const step: DecodeStep<null> = (tokens) => {
      calls.push(tokens.length)
      const row = [Math.log(0.05), Math.log(0.05), Math.log(0.9)]
      return { logProbs: Float64Array.from([...tokens].flatMap(() => row)), state: null }
    }
    const options = { start: 0, stop: 2, maxLength: 1000, beams: 3 }
    const best = await bestOf(beamSearch(step, null, options))
    expect(best).toMatchObject({ tokens: [], finished: true })
    expect(calls.length).toBe(1)
    // A long sequence of certain tokens overtakes a short one by the length penalty: the search may not stop early.
    const patient: DecodeStep<null> = (tokens, _, { length }) => {
      const row = length === 0 ? [0.4, 0, 0.6] : length < 8 ? [1, 0, 0] : [0, 0, 1]
      return { logProbs: Float64Array.from([...tokens].flatMap(() => row.map(Math.log))), state: null }
    }
    const long = await bestOf(beamSearch(patient, null, { ...options, maxLength: 20, lengthPenalty: 2 }))
    expect(long.tokens.length).toBe(8)
  })

  it('covers only the positions that an input has', async () => {
    const step: DecodeStep<null> = (tokens) => ({
      logProbs: Float64Array.from([...tokens].flatMap(() => [Math.log(0.5), Math.log(0.5)])),
      attention: Float64Array.from([...tokens].flatMap(() => [1, 0])),
      state: null,
    })
    const options = { start: 0, stop: 1, maxLength: 2, coveragePenalty: 1 }
    const all = await bestOf(beamSearch(step, null, options))
    expect(all.score).toBeLessThan(all.logProb)
    const first = await bestOf(beamSearch(step, null, { ...options, sourceLengths: [1] }))
    expect(first.score).toBe(first.logProb)
  })

  it('decodes with modules, in any structure of tensors, and leaves none behind', async () => {
    manualSeed(1)
    const [embedding, gru, head] = [new Embedding(7, 5), new GRU(5, 6), new Linear(6, 7)]
    const initial = new Map<string, unknown>([
      ['h', zeros([2, 6])],
      ['more', [tensor([[1], [2]], { dtype: 'int32' }), { text: 'x', none: null }]],
    ])
    const forward = (tokens: Int32Array, h: Tensor): [Tensor, Tensor] => {
      const input = embedding.forward(tensor(tokens)).reshape([1, tokens.length, 5])
      const { hn } = gru.forward(input, { h0: h.reshape([1, ...h.shape]) as Tensor<'float32'> })
      const next = hn.reshape([tokens.length, 6])
      return [head.forward(next), next]
    }
    const step: DecodeStep<typeof initial> = (tokens, state) => {
      const [logits, h] = forward(tokens, state.get('h') as Tensor)
      return { logits, state: new Map([...state, ['h', h]]) }
    }
    const later: DecodeStep<typeof initial> = async (tokens, state) => {
      await null
      const [logits, h] = noGrad(() => tidy(() => forward(tokens, state.get('h') as Tensor)))
      return { logits, state: new Map([...state, ['h', h]]) }
    }
    const options = { start: [0, 4], stop: 1, maxLength: 8, beams: 4, nBest: 4, lengthPenalty: 0.6 }
    // The layer keeps its packed weights from the first call on.
    const found = await beamSearch(step, initial, options)
    await synchronize()
    const before = info().memory.liveStorages
    expect(await beamSearch(step, initial, options)).toEqual(found)
    expect(info().memory.liveStorages).toBe(before)
    expect(await beamSearch(later, initial, options)).toEqual(found)
    await expect(
      beamSearch(
        (t, s) => (t.length > 2 ? Promise.reject(new Error('mine')) : step(t, s, wrong(0))),
        initial,
        options,
      ),
    ).rejects.toThrow('mine')
    await expectFailure('TYPE', () =>
      beamSearch((t, s) => wrong(step(t, s, wrong(0))).logits, initial, options),
    )
    await synchronize()
    expect(info().memory.liveStorages).toBe(before)
    expect((initial.get('h') as Tensor).disposed).toBe(false)

    // The score of a hypothesis is that of its tokens, fed one by one.
    for (const [b, [best]] of found.entries()) {
      let h: Tensor = zeros([1, 6])
      let logProb = 0
      const fed = [options.start[b] as number, ...(best?.tokens ?? [])]
      const wanted = best?.finished ? [...best.tokens, 1] : (best?.tokens ?? [])
      for (const [i, token] of wanted.entries()) {
        const [logits, next] = forward(Int32Array.of(fed[i] as number), h)
        logProb += (await logits.logSoftmax().data())[token] as number
        h = next
      }
      expect(best?.logProb).toBeCloseTo(logProb, 4)
    }
  })

  it('decodes with a stream, through a state of plain arrays', async () => {
    manualSeed(2)
    const gru = new GRU(4, 4)
    const stream = gru.stream({ batch: 3 })
    const step: DecodeStep<{ h: Float32Array }> = (tokens, state) => {
      stream.setState(state)
      const x = new Float32Array(12)
      for (const [row, token] of tokens.entries()) x[4 * row + token] = 1
      return { logits: stream.step(x).slice(), state: stream.getState() as { h: Float32Array } }
    }
    const options = { start: 0, stop: 3, maxLength: 5, beams: 3, nBest: 3, fixedRows: true }
    const [found] = await beamSearch(step, { h: new Float32Array(4) }, options)
    const output = gru.stream()
    let logProb = 0
    const fed = [0, ...(found?.[0]?.tokens ?? [])]
    const wanted = found?.[0]?.finished ? [...fed.slice(1), 3] : fed.slice(1)
    for (const [i, token] of wanted.entries()) {
      const x = new Float32Array(4)
      x[fed[i] as number] = 1
      const logits = [...output.step(x)]
      logProb += (logits[token] as number) - Math.log(logits.reduce((sum, l) => sum + Math.exp(l), 0))
    }
    expect(found?.[0]?.logProb).toBeCloseTo(logProb, 5)
  })

  it('is greedy with one beam', async () => {
    const options = { ...shared, maxLength: 6, batch: 6 }
    const greedy = await greedySearch(stepOf(), start(6), options)
    expect(await beamSearch(stepOf(), start(6), { ...options, beams: 1 })).toEqual(greedy.map((one) => [one]))
    for (const [row, { tokens, finished }] of greedy.entries()) {
      let path = 1
      for (const token of finished ? [...tokens, STOP] : tokens) {
        const scores = scoresAfter(path, row)
        expect(token).toBe(scores.indexOf(Math.max(...scores)))
        path = path * (V + 1) + token + 1
      }
    }
  })

  it('is aborted between steps', async () => {
    const controller = new AbortController()
    const calls: number[] = []
    const step: DecodeStep<State> = (tokens, state, context) => {
      if (calls.length === 2) controller.abort(new Error('enough'))
      return stepOf(calls)(tokens, state, context)
    }
    const options = { start: 0, maxLength: 50, signal: controller.signal }
    await expect(beamSearch(step, start(1), options)).rejects.toThrow('enough')
    expect(calls.length).toBe(3)
    await expect(greedySearch(step, start(1), options)).rejects.toThrow('enough')
    expect(calls.length).toBe(3)
  })

  it.each<[string, 'TYPE' | 'VALUE' | 'SHAPE', object, unknown?]>([
    ['no maxLength', 'TYPE', { maxLength: undefined }],
    ['no beams', 'VALUE', { beams: 0 }],
    ['more results than beams', 'VALUE', { beams: 2, nBest: 3 }],
    ['an unknown option', 'TYPE', { beamSize: 3 }],
    ['starts of another batch', 'SHAPE', { start: [0, 0], batch: 3 }],
    ['a stop token beyond V', 'VALUE', { stop: 4 }],
    ['no signal', 'TYPE', { signal: {} }],
    ['lengths of another batch', 'SHAPE', { sourceLengths: [1, 2] }],
    ['a negative coverage penalty', 'VALUE', { coveragePenalty: -1 }],
    ['a state of other rows', 'SHAPE', {}, { path: new Float64Array(5), more: zeros([3, 2]) }],
    ['a state of something else', 'TYPE', {}, { path: new Float64Array(1), more: new AbortController() }],
  ])('refuses %s', async (_, code, options, state = start(1)) => {
    const step = stepOf()
    const run = (tokens: Int32Array, s: State, context: Parameters<typeof step>[2]) => {
      const result = step(tokens, s, context) as { state: object }
      return wrong({ ...result, state: { ...s, ...result.state } })
    }
    await expectFailure(code, () => beamSearch(run, wrong(state), { ...shared, nBest: 2, ...options }))
  })

  it.each<[string, string, unknown]>([
    ['nothing', 'TYPE', undefined],
    ['neither scores', 'TYPE', { state: null }],
    ['both', 'TYPE', { logits: new Float32Array(4), logProbs: new Float32Array(4), state: null }],
    ['an array', 'TYPE', { logits: [1, 2, 3, 4], state: null }],
    ['probabilities', 'VALUE', { logProbs: Float32Array.of(0, 0, 0.5, 0.5), state: null }],
    ['NaN', 'NONFINITE', { logProbs: Float32Array.of(0, Number.NaN), state: null }],
    ['NaN as logits', 'NONFINITE', { logits: Float32Array.of(0, Number.NaN), state: null }],
    ['too few rows', 'SHAPE', { logits: zeros([3, 4]), state: null }],
    [
      'NaN as attention',
      'NONFINITE',
      { logits: new Float32Array(4), attention: Float32Array.of(Number.NaN), state: null },
    ],
  ])('refuses a step that returns %s', async (_, code, result) => {
    await expectFailure(wrong(code), () => beamSearch(() => wrong(result), null, { ...shared, stop: 1 }))
  })
})

it('selectRows takes rows of everything', async () => {
  const state = {
    x: tensor([1, 2, 3, 4, 5, 6]).reshape([3, 2]),
    list: [tensor([7, 8, 9], { dtype: 'int32' }), Int32Array.of(1, 1, 2, 2, 3, 3)],
    map: new Map([['wide', zeros([3, 0, 2])]]),
  }
  const taken = selectRows(state, Int32Array.of(2, 0, 2, 1), 3)
  expect([...(await taken.x.data())]).toEqual([5, 6, 1, 2, 5, 6, 3, 4])
  expect([...(await (taken.list[0] as Tensor).data())]).toEqual([9, 7, 9, 8])
  expect(taken.list[1]).toEqual(Int32Array.of(3, 3, 1, 1, 3, 3, 2, 2))
  expect(taken.map.get('wide')?.shape).toEqual([4, 0, 2])
})

/** Log-probabilities [T,B,C], and one row of them. */
function frames(T: number, B: number, C: number, seed: number) {
  const next = generator(seed)
  const logits = tensor(Float64Array.from({ length: T * B * C }, () => 4 * next())).reshape([T, B, C])
  return logits.logSoftmax(-1)
}

/** log P of every sequence of labels, summed over all paths. */
async function sums(
  logProbs: Tensor,
  b: number,
  length: number,
  blank: number,
): Promise<Map<string, number>> {
  const [, B, C] = logProbs.shape as [number, number, number]
  const data = await logProbs.data()
  const found = new Map<string, number>()
  for (let path = 0; path < C ** length; path++) {
    const classes = Array.from({ length }, (_, t) => Math.floor(path / C ** t) % C)
    const p = classes.reduce((sum, c, t) => sum + (data[(t * B + b) * C + c] as number), 0)
    const labels = classes.filter((c, t) => c !== blank && c !== classes[t - 1])
    found.set(`${labels}`, (found.get(`${labels}`) ?? 0) + Math.exp(p))
  }
  return found
}

describe('ctc', () => {
  it.each([
    [5, 3, 0],
    [4, 4, 2],
    [1, 3, 1],
  ])('T = %i, C = %i, blank %i: sums over all alignments', async (T, C, blank) => {
    const logProbs = frames(T, 3, C, T)
    const lengths = [T, Math.max(T - 2, 0), T]
    const found = await ctcBeamSearch(logProbs, { blank, lengths, beams: 5000, nBest: 5000 })
    for (const [b, hypotheses] of found.entries()) {
      const expected = [...(await sums(logProbs, b, lengths[b] as number, blank))].sort((x, y) => y[1] - x[1])
      expect(hypotheses.map(({ tokens }) => `${tokens}`)).toEqual(expected.map(([labels]) => labels))
      for (const [i, { logProb }] of hypotheses.entries()) {
        expect(logProb).toBeCloseTo(Math.log(expected[i]?.[1] as number), 9)
      }
      const total = hypotheses.reduce((sum, { logProb }) => sum + Math.exp(logProb), 0)
      expect(total).toBeCloseTo(1, 9)
    }
  })

  it('never claims more than the sum, with few beams', async () => {
    const logProbs = frames(7, 1, 3, 11)
    const expected = await sums(logProbs, 0, 7, 0)
    for (let beams = 1; beams < 12; beams++) {
      const [found] = await ctcBeamSearch(logProbs, { beams, nBest: beams })
      for (const { tokens, logProb } of found ?? []) {
        expect(logProb).toBeLessThanOrEqual(Math.log(expected.get(`${tokens}`) as number) + 1e-9)
      }
      expect(new Set(found?.map(({ tokens }) => `${tokens}`)).size).toBe(found?.length)
    }
  })

  it('weighs a language model, as a function and as a scorer', async () => {
    const logProbs = frames(5, 2, 3, 3)
    const score = (last: number, token: number) => Math.log(last === token ? 0.1 : 0.4) - token
    const options = { beams: 1000, nBest: 20, alpha: 0.7, beta: 0.3 }
    const found = await ctcBeamSearch(logProbs, {
      ...options,
      languageModel: (prefix, token) => score(prefix.at(-1) ?? 0, token),
    })
    const expected = [...(await sums(logProbs, 1, 5, 0))].map(([text, p]): [string, number] => {
      const labels = text === '' ? [] : text.split(',').map(Number)
      const lm = labels.reduce((sum, token, i) => sum + score(labels[i - 1] ?? 0, token), 0)
      return [text, Math.log(p) + 0.7 * lm + 0.3 * labels.length]
    })
    expected.sort((a, b) => b[1] - a[1])
    expect(found[1]?.map(({ tokens }) => `${tokens}`)).toEqual(expected.slice(0, 20).map(([text]) => text))
    expect(found[1]?.[0]?.score).toBeCloseTo(expected[0]?.[1] as number, 9)
    const scorer = { start: () => 0, score, next: (_: number, token: number) => token }
    expect(await ctcBeamSearch(logProbs, { ...options, languageModel: scorer })).toEqual(found)
    const ending = await ctcBeamSearch(logProbs, {
      ...options,
      languageModel: { ...scorer, end: (last) => (last === 2 ? 0 : Number.NEGATIVE_INFINITY) },
    })
    expect(ending[0]?.length).toBeGreaterThan(0)
    expect(ending[0]?.every(({ tokens }) => tokens.at(-1) === 2)).toBe(true)
  })

  it('takes the best path', async () => {
    const rows = [1, 1, 0, 1, 2, 2, 0].map((c) => [0, 1, 2].map((k) => Math.log(k === c ? 0.8 : 0.1)))
    const logProbs = tensor(rows.map((row) => [row]))
    const [path] = await ctcGreedyDecode(logProbs)
    expect(path).toMatchObject({ tokens: [1, 1, 2], frames: [0, 3, 4] })
    expect(path?.logProb).toBeCloseTo(7 * Math.log(0.8), 5)
    expect(await ctcGreedyDecode(logProbs, { lengths: [0] })).toEqual([
      { tokens: [], frames: [], logProb: 0 },
    ])
    expect((await ctcBeamSearch(logProbs, { lengths: [0] }))[0]).toEqual([
      { tokens: [], logProb: 0, score: 0 },
    ])
    expect(await ctcBeamSearch(zeros([0, 0, 3]))).toEqual([])
  })

  it.each<[string, string, unknown, object]>([
    ['no tensor', 'TYPE', [[1]], {}],
    ['int32', 'DTYPE', zeros([1, 1, 2], { dtype: 'int32' }), {}],
    ['two dimensions', 'SHAPE', zeros([2, 3]), {}],
    ['a blank beyond C', 'VALUE', zeros([1, 1, 3]), { blank: 3 }],
    ['a length beyond T', 'VALUE', zeros([1, 1, 3]), { lengths: [2] }],
    ['lengths of another batch', 'SHAPE', zeros([1, 1, 3]), { lengths: [1, 1] }],
    ['logits', 'VALUE', tensor([[[1, 2, 3]]]), {}],
    ['NaN', 'NONFINITE', tensor([[[0, Number.NaN, 0]]]), {}],
    ['an unknown option', 'TYPE', zeros([1, 1, 3]), { width: 3 }],
  ])('refuses %s', async (_, code, logProbs, options) => {
    await expectFailure(wrong(code), () => ctcGreedyDecode(wrong(logProbs), options))
    await expectFailure(wrong(code), () => ctcBeamSearch(wrong(logProbs), options))
  })

  it('refuses language models that are none', async () => {
    for (const languageModel of [3, {}, { start() {}, score() {} }, () => 'x', () => Number.NaN]) {
      await expectFailure('TYPE', () =>
        ctcBeamSearch(zeros([1, 1, 3]), { languageModel: wrong(languageModel) }),
      )
    }
  })
})

describe('sampleToken', () => {
  const logits = Float64Array.from([0.1, 0.4, 0.3, 0.2], Math.log)

  it('draws by the cumulative probabilities', async () => {
    const at = async (draw: number, options = {}) =>
      (await sampleToken(logits, { ...options, draws: [draw] }))[0]
    expect(await Promise.all([0, 0.09, 0.11, 0.49, 0.51, 0.79, 0.81, 0.999].map((u) => at(u)))).toEqual([
      0, 0, 1, 1, 2, 2, 3, 3,
    ])
    expect(await at(0.99, { temperature: 0 })).toBe(1)
    expect(await at(0.99, { topK: 2 })).toBe(2)
    expect(await at(0.56, { topK: 2 })).toBe(1)
    expect(await at(0.99, { topP: 0.69 })).toBe(2)
    expect(await at(0.99, { topP: 0.71 })).toBe(3)
    expect(await at(0.99, { topP: 0 })).toBe(1)
    // Of the two that topK leaves, the first has 4/7.
    expect(await at(0.99, { topK: 2, topP: 0.5 })).toBe(1)
  })

  it('follows manualSeed and the distribution, row by row', async () => {
    const rows = 4000
    const many = tensor(logits).reshape([1, 4]).expand([rows, 4])
    manualSeed(5)
    const drawn = await sampleToken(many)
    manualSeed(5)
    expect(await sampleToken(await many.data(), { rows })).toEqual(drawn)
    expect(await sampleToken(many)).not.toEqual(drawn)
    for (const [v, logit] of logits.entries()) {
      const share = drawn.filter((token) => token === v).length / rows
      expect(Math.abs(share - Math.exp(logit))).toBeLessThan(0.04)
    }
    expect((await sampleToken(tensor([0, Number.NEGATIVE_INFINITY]))).length).toBe(1)
  })

  it.each<[string, string, unknown, object]>([
    ['an array', 'TYPE', [1, 2], {}],
    ['three dimensions', 'SHAPE', zeros([1, 1, 2]), {}],
    ['other rows', 'SHAPE', zeros([2, 2]), { rows: 3 }],
    ['a negative temperature', 'VALUE', zeros([2]), { temperature: -1 }],
    ['topK of none', 'VALUE', zeros([2]), { topK: 0 }],
    ['topP above 1', 'VALUE', zeros([2]), { topP: 1.1 }],
    ['draws of other rows', 'SHAPE', zeros([2]), { draws: [0, 0] }],
    ['NaN', 'NONFINITE', tensor([0, Number.NaN]), {}],
    ['no token', 'VALUE', tensor([Number.NEGATIVE_INFINITY]), {}],
  ])('refuses %s', async (_, code, values, options) => {
    await expectFailure(wrong(code), () => sampleToken(wrong(values), options))
  })
})
