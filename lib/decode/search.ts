/** Greedy and beam search over a step function of the user's. */
import { isTensor } from '../brand.ts'
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkIntegers,
  checkNumber,
  checkOptions,
} from '../check.ts'
import { MAX_INT32 } from '../limits.ts'
import { argumentError, refusal, shapeError } from '../messages.ts'
import { detached, openScope, reachable } from '../scope.ts'
import type { Tensor } from '../tensor.ts'
import { Best } from './best.ts'
import { checkLogProbs, logSoftmaxRows, nonfinite, type Rows, readRows, type Scores } from './scores.ts'
import { HeldState, type SelectState, selectRows } from './state.ts'

/** What a step of a decoder returns: the scores of the next token, as `logProbs` or as `logits`, and the state. */
export interface DecodeResult<S> {
  /** [rows,V], logarithms of probabilities; a token of -Infinity is never taken */
  logProbs?: Scores | undefined
  /** [rows,V], made into logProbs by a softmax */
  logits?: Scores | undefined
  /** The state after the tokens. */
  state: S
  /** [rows,S], attention weights of each row, at least 0, over the S positions of its input */
  attention?: Scores | undefined
}

/** What a step is told besides tokens and state. */
export interface DecodeContext {
  /** Tokens so far; 0 at the first step. */
  length: number
  /** [rows] which sequence of the batch each row belongs to */
  batch: Int32Array
}

/**
 * One step of a decoder.
 *
 * @param tokens [rows] the last token of each row
 * @param state the state of these rows
 */
export type DecodeStep<S> = (
  tokens: Int32Array,
  state: S,
  context: DecodeContext,
) => DecodeResult<S> | PromiseLike<DecodeResult<S>>

/** As much of an AbortSignal as is needed, without a name that a user's compiler may lack. */
export interface DecodeSignal {
  /** Whether to stop. */
  readonly aborted: boolean
  /** What the search then rejects with. */
  readonly reason: unknown
}

/** Options of {@link greedySearch}. */
export interface GreedySearchOptions<S = unknown> {
  /** The token that each sequence begins with, or one per sequence: [B]. */
  start: number | ArrayLike<number>
  /** B: sequences decoded side by side. Default: the length of `start`, or 1. */
  batch?: number | undefined
  /** The token, or the tokens, that end a sequence. Default: none. */
  stop?: number | readonly number[] | undefined
  /** Most tokens of a sequence, the stop token included; one that has so many is cut short. */
  maxLength: number
  /** How a state is reordered. Default {@link selectRows}. */
  select?: SelectState<S> | undefined
  /**
   * Whether every step is given all B * beams rows, those of sequence b from b * beams on, where rows that are not
   * needed repeat others: for streams, which have a fixed batch. Default false: a step is given live rows only.
   */
  fixedRows?: boolean | undefined
  /** Aborted, the search rejects with its reason after the step that runs. */
  signal?: DecodeSignal | undefined
}

/** Options of {@link beamSearch}. */
export interface BeamSearchOptions<S = unknown> extends GreedySearchOptions<S> {
  /** K: hypotheses kept per sequence. Default 5. */
  beams?: number | undefined
  /** Hypotheses returned per sequence, at most `beams`. Default 1. */
  nBest?: number | undefined
  /** alpha of the length penalty. Default 0: none; 0.6 to 1 favours longer sequences. */
  lengthPenalty?: number | undefined
  /** beta of the coverage penalty, at least 0; it needs the step's attention. Default 0: none. */
  coveragePenalty?: number | undefined
  /** [B] the positions of each input that are to be covered; default all that the attention has. */
  sourceLengths?: ArrayLike<number> | undefined
}

/** A sequence that a search found. */
export interface Hypothesis {
  /** Without the start and the stop token. */
  tokens: number[]
  /** log P(tokens, stop): the sum over its steps. */
  logProb: number
  /** logProb with the penalties, by which hypotheses are ranked. */
  score: number
  /** Whether a stop token ended it; false: it was cut short by maxLength. */
  finished: boolean
  /** The attention weights of each step, that of the stop token included; only where steps return attention. */
  attention?: Float64Array[] | undefined
}

/** A token in the tree of all prefixes that the beams have held; a hypothesis is a path from it to the root. */
interface Node {
  parent: Node | null
  token: number
  attention: Float64Array | null
}

/** A hypothesis that goes on. */
interface Live {
  node: Node | null
  logProb: number
  /** Sums of its attention per position. */
  coverage: Float64Array | null
  /** Its row of the state. */
  row: number
}

interface Sequence {
  live: Live[]
  /** At most nBest, best first. */
  ended: Hypothesis[]
  /** Positions to be covered. */
  positions: number
}

interface Settings {
  where: string
  start: number[]
  stop: number[]
  maxLength: number
  beams: number
  nBest: number
  alpha: number
  beta: number
  signal: DecodeSignal | undefined
}

/** The rows of a step. */
interface Layout {
  tokens: Int32Array
  batch: Int32Array
  /** The row of the state before that each row goes on from. */
  sources: Int32Array
}

interface Step {
  logProbs: Rows
  attention: Rows | null
}

const GREEDY = ['start', 'batch', 'stop', 'maxLength', 'select', 'fixedRows', 'signal']
const BEAM = [...GREEDY, 'beams', 'nBest', 'lengthPenalty', 'coveragePenalty', 'sourceLengths']

/** A position's sum of attention counts as at least this in the coverage penalty: log(0) would make every score -Infinity. */
const LEAST_COVERAGE = 1e-10

/**
 * The likeliest token at every step: {@link beamSearch} with one beam.
 *
 * @param step as of {@link beamSearch}
 * @param initialState as of {@link beamSearch}
 * @returns a hypothesis per sequence; its score is its logProb
 * @throws as {@link beamSearch}; RangeError ERR_BPTT_VALUE where a step allows no token
 */
export async function greedySearch<S>(
  step: DecodeStep<S>,
  initialState: S,
  options: GreedySearchOptions<S>,
): Promise<Hypothesis[]> {
  const where = 'greedySearch'
  const given = checkOptions<BeamSearchOptions<S>>(where, options, GREEDY)
  const found = await search(where, step, initialState, { ...given, beams: 1 })
  return found.map(([best]) => {
    if (best === undefined) throw refusal(where, 'expected a step that allows some token, got only -Infinity')
    return best
  })
}

/**
 * The likeliest sequences that a step function makes, by beam search, for a batch of inputs side by side.
 *
 * At every step each of the K hypotheses of a sequence is continued by every token, and the K best of the results go
 * on. A stop token that is among the K best ends its hypothesis. Hypotheses that go on are compared by logProb; those
 * that ended, or that `maxLength` cut short, by
 *
 *     score = logProb / lp + cp
 *     lp = ((5 + length) / (5 + 1)) ^ lengthPenalty           length: tokens, the stop token included
 *     cp = coveragePenalty * sum over positions i of log(min(sum over steps of attention[i], 1))
 *
 * (Wu et al. 2016, Google's Neural Machine Translation System, section 7). A sequence is done when none that goes on
 * can still be among its nBest: the result is what going on up to maxLength would give. Rows do not influence each
 * other. Equal scores rank by beam, then by token.
 *
 * Tensors that the step returns belong to the search, which disposes of them; `initialState` stays the caller's. A
 * synchronous step runs without recording, and what it made and does not return is disposed, as by {@link tidy}; an
 * asynchronous one sees to both itself (`noGrad(() => tidy(() => ..))` around the parts between its awaits).
 *
 * @param step takes [rows] tokens and the state of the rows; at first rows is B, then at most B * beams
 * @param initialState of B rows: any structure of tensors [B,..] and typed arrays of B rows, as {@link selectRows} takes
 *   them, or anything that `select` takes
 * @returns for each sequence at most nBest hypotheses, best first: fewer where the model allows no more
 * @throws TypeError ERR_BPTT_TYPE, RangeError ERR_BPTT_SHAPE or ERR_BPTT_VALUE where an option, a result of the step or
 *   the state does not fit; BpttError ERR_BPTT_NONFINITE for scores that are NaN; the signal's reason; what step throws
 *
 * @example
 * const [best] = await beamSearch(
 *   (tokens, { h }) => {
 *     const next = cell.forward(embed.forward(tensor(tokens)), { h })
 *     return { logits: head.forward(next.h), state: next }
 *   },
 *   { h: zeros([1, 64]) },
 *   { start: 0, stop: 1, maxLength: 50, beams: 5, lengthPenalty: 0.6 },
 * )
 */
export async function beamSearch<S>(
  step: DecodeStep<S>,
  initialState: S,
  options: BeamSearchOptions<S>,
): Promise<Hypothesis[][]> {
  return search('beamSearch', step, initialState, checkOptions('beamSearch', options, BEAM))
}

async function search<S>(
  where: string,
  step: DecodeStep<S>,
  initialState: S,
  options: BeamSearchOptions<S>,
): Promise<Hypothesis[][]> {
  checkFunction(where, step)
  const settings = checkSettings(where, options)
  const { start, maxLength, signal } = settings
  const select = options.select ?? (selectRows as SelectState<S>)
  checkFunction(where, select)
  const width = checkBoolean(where, 'fixedRows', options.fixedRows ?? false) ? settings.beams : 0
  const sequences = checkSequences(where, options, start.length)
  const held = new HeldState(initialState, start.length, select)
  try {
    for (let length = 0; length < maxLength && sequences.some(({ live }) => live.length > 0); length++) {
      if (signal?.aborted) throw signal.reason
      const { tokens, batch, sources } = layout(sequences, start, width, length === 0)
      held.select(sources)
      const next = await advance(
        where,
        held,
        () => step(tokens, held.state, { length, batch }),
        tokens.length,
      )
      if (signal?.aborted) throw signal.reason
      for (const sequence of sequences) extend(settings, sequence, length + 1, next)
    }
  } finally {
    held.replace(null)
  }
  return sequences.map(({ live, ended, positions }) => {
    for (const left of live) enter(settings, ended, hypothesis(settings, left, maxLength, positions, false))
    return ended
  })
}

function checkSettings<S>(where: string, options: BeamSearchOptions<S>): Settings {
  const { start, stop = [], batch, signal } = options
  const starts =
    typeof start === 'number'
      ? Array<number>(checkInteger(where, 'batch', batch ?? 1, 1, MAX_INT32)).fill(
          checkInteger(where, 'start', start, 0, MAX_INT32),
        )
      : checkIntegers(where, 'start', start, 0, MAX_INT32)
  if (starts.length === 0 || (batch !== undefined && batch !== starts.length)) {
    throw shapeError(where, `start of shape [B] = [${batch ?? '*'}]`, `[${starts.length}]`)
  }
  if (signal !== undefined && typeof signal?.aborted !== 'boolean') {
    throw argumentError(where, 'signal to be an AbortSignal', signal, 'pass controller.signal')
  }
  const beams = checkInteger(where, 'beams', options.beams ?? 5, 1, MAX_INT32)
  return {
    where,
    start: starts,
    stop: checkIntegers(where, 'stop', typeof stop === 'number' ? [stop] : stop, 0, MAX_INT32),
    maxLength: checkInteger(where, 'maxLength', options.maxLength, 1, MAX_INT32),
    beams,
    nBest: checkInteger(where, 'nBest', options.nBest ?? 1, 1, beams),
    alpha: checkNumber(where, 'lengthPenalty', options.lengthPenalty ?? 0),
    beta: checkNumber(where, 'coveragePenalty', options.coveragePenalty ?? 0, 0),
    signal,
  }
}

/** The sequences before the first step: each a single empty hypothesis, on the row of its number. */
function checkSequences<S>(where: string, options: BeamSearchOptions<S>, batch: number): Sequence[] {
  const { sourceLengths } = options
  const lengths =
    sourceLengths === undefined ? null : checkIntegers(where, 'sourceLengths', sourceLengths, 0, MAX_INT32)
  if (lengths !== null && lengths.length !== batch) {
    throw shapeError(where, `sourceLengths of shape [B] = [${batch}]`, `[${lengths.length}]`)
  }
  return Array.from({ length: batch }, (_, row) => ({
    live: [{ node: null, logProb: 0, coverage: null, row }],
    ended: [],
    positions: lengths?.[row] ?? Number.POSITIVE_INFINITY,
  }))
}

/** Gives every hypothesis that goes on its row of the next step. `width`: rows per sequence, 0 for as many as live. */
function layout(sequences: readonly Sequence[], start: number[], width: number, first: boolean): Layout {
  const tokens: number[] = []
  const batch: number[] = []
  const sources: number[] = []
  for (let b = 0; b < sequences.length; b++) {
    const { live } = sequences[b] as Sequence
    for (let k = 0; k < (width || live.length); k++) {
      const row = sources.length
      const one = live[k]
      tokens.push(one?.node?.token ?? (start[b] as number))
      batch.push(b)
      sources.push(one?.row ?? (first ? b : row))
      if (one !== undefined) one.row = row
    }
  }
  return { tokens: Int32Array.from(tokens), batch: Int32Array.from(batch), sources: Int32Array.from(sources) }
}

/** Runs the step, goes on with its state and reads its scores. */
async function advance<S>(
  where: string,
  held: HeldState<S>,
  step: () => DecodeResult<S> | PromiseLike<DecodeResult<S>>,
  rows: number,
): Promise<Step> {
  const result = await run(step)
  if (typeof result !== 'object' || result === null || isTensor(result)) {
    held.drop(result)
    throw argumentError(where, 'step to return { logProbs or logits, state }', result)
  }
  const { logProbs, logits, state, attention = null } = result
  held.replace(state)
  try {
    if ((logProbs === undefined) === (logits === undefined)) {
      throw argumentError(where, 'step to return either logProbs or logits', result)
    }
    const [scores, weights] = await Promise.all([
      logits === undefined
        ? readRows(where, 'logProbs', logProbs, rows)
        : readRows(where, 'logits', logits, rows),
      attention === null ? null : readRows(where, 'attention', attention, rows),
    ])
    if (weights?.data.some(Number.isNaN)) throw nonfinite(where, 'attention weights', Number.NaN)
    if (logits !== undefined) return { logProbs: logSoftmaxRows(where, scores), attention: weights }
    checkLogProbs(where, scores.data)
    return { logProbs: scores, attention: weights }
  } finally {
    held.drop([logProbs, logits, attention])
  }
}

/** Calls a step without recording. What a synchronous one made and does not return is disposed. */
function run<R>(step: () => R | PromiseLike<R>): R | PromiseLike<R> {
  const created: Tensor[] = []
  let kept: ReadonlySet<unknown> | null = new Set()
  try {
    const result = detached(() => {
      openScope(created)
      return step()
    })
    const goesOn = typeof (result as { then?: unknown } | null | undefined)?.then === 'function'
    kept = goesOn ? null : reachable(result)
    return result
  } finally {
    if (kept !== null) for (const tensor of created) if (!kept.has(tensor)) tensor.dispose()
  }
}

/** Continues the hypotheses of a sequence by a token each, the `length`-th. */
function extend(settings: Settings, sequence: Sequence, length: number, next: Step): void {
  const { where, beams, stop } = settings
  const { live, positions } = sequence
  if (live.length === 0) return
  if (settings.beta > 0 && next.attention === null) {
    throw refusal(where, 'expected a step that returns attention, for coveragePenalty')
  }
  const { data, width } = next.logProbs
  const beyond = stop.find((token) => token >= width)
  if (beyond !== undefined) throw refusal(where, `expected stop tokens below ${width}, got ${beyond}`)

  const going = new Best(beams)
  const stopping: [score: number, id: number][] = []
  const stops = new Set(stop)
  for (let k = 0; k < live.length; k++) {
    const { logProb, row } = live[k] as Live
    for (let token = 0; token < width; token++) {
      const score = logProb + (data[row * width + token] as number)
      if (score <= going.threshold && !stops.size) continue
      if (!stops.has(token)) going.offer(score, k * width + token)
      else if (score > Number.NEGATIVE_INFINITY) stopping.push([score, k * width + token])
    }
  }

  const looked = live.map((from) => look(from, next.attention))
  const grown = ([logProb, id]: [score: number, id: number]): Live => {
    const k = Math.floor(id / width)
    const { attention, coverage } = looked[k] as ReturnType<typeof look>
    const { node: parent, row } = live[k] as Live
    return { node: { parent, token: id % width, attention }, logProb, coverage, row }
  }
  const kept = going.sorted()
  const ranked = [...kept, ...stopping].sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, beams)
  for (const one of ranked) {
    if (!stops.has(one[1] % width)) continue
    enter(settings, sequence.ended, hypothesis(settings, grown(one), length, positions, true))
  }
  sequence.live = kept.map(grown).filter((one) => mayStillEnter(settings, sequence.ended, one, length))
}

/** The attention weights of a hypothesis at this step, and their sums over all steps. */
function look({ row, coverage }: Live, rows: Rows | null) {
  if (rows === null) return { attention: null, coverage: null }
  const attention = Float64Array.from(rows.data.subarray(row * rows.width, (row + 1) * rows.width))
  const sums = coverage === null ? attention : attention.map((weight, i) => weight + (coverage[i] ?? 0))
  return { attention, coverage: sums }
}

/**
 * Whether a continuation may still be among the nBest: its logProb can only fall, its coverage penalty is at most 0, and
 * the length that favours it most is known.
 */
function mayStillEnter(
  settings: Settings,
  ended: readonly Hypothesis[],
  live: Live,
  length: number,
): boolean {
  const worst = ended[settings.nBest - 1]
  if (worst === undefined) return true
  const { alpha, maxLength } = settings
  const best = alpha >= 0 ? maxLength : Math.min(length + 1, maxLength)
  return live.logProb / lengthPenalty(alpha, best) > worst.score
}

/** Puts an ended hypothesis in its place among the best; of equal scores the earlier stays ahead. */
function enter(settings: Settings, ended: Hypothesis[], one: Hypothesis): void {
  const at = ended.findIndex(({ score }) => one.score > score)
  ended.splice(at < 0 ? ended.length : at, 0, one)
  ended.length = Math.min(ended.length, settings.nBest)
}

function hypothesis(
  { alpha, beta }: Settings,
  { node, logProb, coverage }: Live,
  length: number,
  positions: number,
  finished: boolean,
): Hypothesis {
  const tokens: number[] = []
  const attention: Float64Array[] = []
  for (let at = node; at !== null; at = at.parent) {
    tokens.push(at.token)
    if (at.attention !== null) attention.push(at.attention)
  }
  tokens.reverse()
  if (finished) tokens.pop()
  let score = logProb / lengthPenalty(alpha, length)
  for (const sum of beta > 0 && coverage !== null ? coverage.subarray(0, positions) : []) {
    score += beta * Math.log(Math.min(Math.max(sum, LEAST_COVERAGE), 1))
  }
  const found: Hypothesis = { tokens, logProb, score, finished }
  return attention.length > 0 ? { ...found, attention: attention.reverse() } : found
}

function lengthPenalty(alpha: number, length: number): number {
  return ((5 + length) / (5 + 1)) ** alpha
}
