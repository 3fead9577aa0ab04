/** From the frames of a CTC model to labels: the best path, and prefix beam search. */
import { setImmediate } from 'node:timers/promises'
import {
  checkFloat,
  checkFunction,
  checkInteger,
  checkIntegers,
  checkNumber,
  checkOptions,
} from '../check.ts'
import { MAX_INT32 } from '../limits.ts'
import { argumentError, shapeError, shapeText } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { Best } from './best.ts'
import { checkLogProbs, logAdd } from './scores.ts'

/** Options of {@link ctcGreedyDecode}. */
export interface CtcGreedyOptions {
  /** The class that stands for no label. Default 0. */
  blank?: number | undefined
  /** [B] frames of each row, at most T. Default: T each. */
  lengths?: ArrayLike<number> | undefined
}

/** What {@link ctcGreedyDecode} finds in a row. */
export interface CtcPath {
  /** Labels: repeats merged, blanks left out. */
  tokens: number[]
  /** The frame in which each label begins. */
  frames: number[]
  /** log P of the path, one of the alignments that give these labels. */
  logProb: number
}

/**
 * A language model with a state of its own, e.g. a node of a tree of words or what a recurrent network carries. States
 * are shared between hypotheses and never changed.
 */
export interface CtcScorer<S = unknown> {
  /** The state before any label. */
  start(): S
  /** log P(token | labels before), or any other score */
  score(state: S, token: number): number
  /** The state after one more label; called only for those that are kept. */
  next(state: S, token: number): S
  /** Score of ending after these labels, e.g. log P(end | labels). Default 0. */
  end?(state: S): number
}

/** Options of {@link ctcBeamSearch}. */
export interface CtcBeamOptions<S = unknown> extends CtcGreedyOptions {
  /** Label sequences kept from frame to frame. Default 25. */
  beams?: number | undefined
  /** Hypotheses returned per row, at most `beams`. Default 1. */
  nBest?: number | undefined
  /** Scores labels: a function of the labels before and the next one, or a {@link CtcScorer}. Default: none. */
  languageModel?: ((prefix: readonly number[], token: number) => number) | CtcScorer<S> | undefined
  /** Weight of the language model, at least 0. Default 1. */
  alpha?: number | undefined
  /** Added to the score for each label: language models prefer few labels. Default 0. */
  beta?: number | undefined
}

/** What {@link ctcBeamSearch} finds in a row. */
export interface CtcHypothesis {
  /** Labels. */
  tokens: number[]
  /** log P(tokens): over all alignments that the beam has held. */
  logProb: number
  /** logProb + alpha * language model + beta * number of labels, by which hypotheses are ranked. */
  score: number
}

/** A sequence of labels, as a node of a tree in which each sequence stands once. */
interface Prefix {
  parent: Prefix | null
  token: number
  children: Map<number, Prefix>
  /** Its place in the beam, or -1. */
  slot: number
  /** What the language model and beta add to logProb. */
  extra: number
  /** State of a scorer, once it was needed. */
  state: unknown
  hasState: boolean
  /** What each next label would add, where a language model scores them. */
  scores: Float64Array | null
}

type Scorer = CtcScorer<unknown>

const GREEDY = ['blank', 'lengths']
const BEAM = [...GREEDY, 'beams', 'nBest', 'languageModel', 'alpha', 'beta']

/**
 * The labels of the likeliest path: the likeliest class of every frame, repeats merged, blanks left out. Of equal
 * classes the first.
 *
 * @param logProbs [T,B,C] log-probabilities, float32 or float64
 * @returns one for each row of the batch
 * @throws RangeError ERR_BPTT_SHAPE or ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE or ERR_BPTT_DTYPE; BpttError
 *   ERR_BPTT_NONFINITE for NaN
 */
export async function ctcGreedyDecode(logProbs: Tensor, options: CtcGreedyOptions = {}): Promise<CtcPath[]> {
  const where = 'ctcGreedyDecode'
  const frames = await readFrames(where, logProbs, checkOptions(where, options, GREEDY))
  return frames.lengths.map((length, b) => bestPath(frames, b, length))
}

/**
 * The likeliest labels, by prefix beam search: the probability of labels is the sum over all alignments that give them
 * ({@link ctcGreedyDecode} takes a single one). With more beams than there are label sequences the result is exact.
 *
 * Without a language model it is the algorithm of Hannun et al. 2014 (First-Pass Large Vocabulary Continuous Speech
 * Recognition using Bi-Directional Recurrent DNNs) in log space; with one, hypotheses are pruned and ranked by
 * log P(labels) + alpha * log LM(labels) + beta * number of labels (Amodei et al. 2016, Deep Speech 2). A language model
 * of words scores the label that ends a word, and gives 0 for the others. It is asked once for each kept sequence
 * and next label. The event loop gets a turn between the rows of a batch.
 *
 * @param logProbs [T,B,C] log-probabilities, float32 or float64
 * @returns for each row at most nBest hypotheses, best first
 * @throws RangeError ERR_BPTT_SHAPE or ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE or ERR_BPTT_DTYPE; BpttError
 *   ERR_BPTT_NONFINITE for NaN
 *
 * @example
 * const [[best]] = await ctcBeamSearch(logits.logSoftmax(-1), { beams: 25, languageModel: (prefix, token) => .. })
 */
export async function ctcBeamSearch<S = unknown>(
  logProbs: Tensor,
  options: CtcBeamOptions<S> = {},
): Promise<CtcHypothesis[][]> {
  const where = 'ctcBeamSearch'
  const given = checkOptions(where, options, BEAM)
  const beams = checkInteger(where, 'beams', given.beams ?? 25, 1, MAX_INT32)
  const nBest = checkInteger(where, 'nBest', given.nBest ?? 1, 1, beams)
  const alpha = checkNumber(where, 'alpha', given.alpha ?? 1, 0)
  const beta = checkNumber(where, 'beta', given.beta ?? 0)
  const model = checkModel(where, given.languageModel)
  const frames = await readFrames(where, logProbs, given)
  const found: CtcHypothesis[][] = []
  for (const [b, length] of frames.lengths.entries()) {
    if (b > 0) await setImmediate()
    const search = new PrefixSearch(where, frames, beams, model, alpha, beta)
    for (let t = 0; t < length; t++) search.step((t * frames.batch + b) * frames.classes)
    found.push(search.best(nBest))
  }
  return found
}

interface Frames {
  data: Float32Array | Float64Array
  batch: number
  classes: number
  blank: number
  lengths: number[]
}

async function readFrames(where: string, logProbs: Tensor, options: CtcGreedyOptions): Promise<Frames> {
  checkFloat(where, 'logProbs', logProbs)
  const { _shape: shape } = logProbs
  if (shape.length !== 3 || shape[2] === 0) {
    throw shapeError(
      where,
      'logProbs of shape [T,B,C]',
      shapeText(shape),
      shape.length === 2 ? 'pass logProbs.reshape([T, 1, C]) for a single sequence' : undefined,
    )
  }
  const [T, batch, classes] = shape as [number, number, number]
  const blank = checkInteger(where, 'blank', options.blank ?? 0, 0, classes - 1)
  const lengths = checkIntegers(where, 'lengths', options.lengths ?? Array(batch).fill(T), 0, T)
  if (lengths.length !== batch) {
    throw shapeError(where, `lengths of shape [B] = [${batch}]`, `[${lengths.length}]`)
  }
  const data = (await logProbs.data()) as Float32Array | Float64Array
  const row = batch * classes
  for (const [b, length] of lengths.entries()) {
    for (let t = 0; t < length; t++) {
      const start = t * row + b * classes
      checkLogProbs(where, data.subarray(start, start + classes))
    }
  }
  return { data, batch, classes, blank, lengths }
}

function bestPath({ data, batch, classes, blank }: Frames, b: number, length: number): CtcPath {
  const path: CtcPath = { tokens: [], frames: [], logProb: 0 }
  let last = blank
  for (let t = 0; t < length; t++) {
    const start = (t * batch + b) * classes
    let best = 0
    for (let c = 1; c < classes; c++) {
      if ((data[start + c] as number) > (data[start + best] as number)) best = c
    }
    path.logProb += data[start + best] as number
    if (best !== blank && best !== last) {
      path.tokens.push(best)
      path.frames.push(t)
    }
    last = best
  }
  return path
}

function checkModel<S>(where: string, model: CtcBeamOptions<S>['languageModel']): Scorer | null {
  if (model === undefined) return null
  if (typeof model === 'function') {
    // The state is the prefix itself.
    return {
      start: () => [],
      score: (prefix, token) => model(prefix as number[], token),
      next: (prefix, token) => [...(prefix as number[]), token],
    }
  }
  if (typeof model !== 'object' || model === null) {
    throw argumentError(where, 'languageModel to be a function or a scorer { start, score, next }', model)
  }
  for (const name of ['start', 'score', 'next'] as const) checkFunction(where, model[name])
  if (model.end !== undefined) checkFunction(where, model.end)
  return model as Scorer
}

/** The beam over one row. */
class PrefixSearch {
  readonly #where: string
  readonly #frames: Frames
  readonly #model: Scorer | null
  readonly #alpha: number
  readonly #beta: number
  readonly #candidates: Best
  readonly #root: Prefix
  #beam: Prefix[]
  /** log P of the prefixes of the beam, over the alignments that end in a blank, and those that end in their label. */
  #blank: Float64Array
  #label: Float64Array
  #nextBlank: Float64Array
  #nextLabel: Float64Array
  /** [beam,C]: whether a prefix's child is in the beam itself. */
  readonly #taken: Uint8Array

  constructor(
    where: string,
    frames: Frames,
    beams: number,
    model: Scorer | null,
    alpha: number,
    beta: number,
  ) {
    this.#where = where
    this.#frames = frames
    this.#model = model
    this.#alpha = alpha
    this.#beta = beta
    this.#candidates = new Best(beams)
    this.#root = prefixOf(null, -1, 0)
    this.#root.slot = 0
    if (model !== null) setState(this.#root, model.start())
    this.#beam = [this.#root]
    this.#blank = new Float64Array(beams)
    this.#label = new Float64Array(beams).fill(Number.NEGATIVE_INFINITY)
    this.#nextBlank = new Float64Array(beams)
    this.#nextLabel = new Float64Array(beams)
    this.#taken = new Uint8Array(beams * frames.classes)
  }

  /** One frame; its classes begin at `start`. */
  step(start: number): void {
    const { data, classes, blank } = this.#frames
    const beam = this.#beam
    const blanks = this.#blank
    const labels = this.#label
    const taken = this.#taken
    const candidates = this.#candidates
    candidates.clear()

    // The id of a candidate: its slot if it is a prefix of the beam, else beam.length + slot of its parent * C + class.
    for (const prefix of beam) {
      const { slot, parent, token } = prefix
      const total = logAdd(blanks[slot] as number, labels[slot] as number)
      const emitted = token < 0 ? Number.NEGATIVE_INFINITY : (data[start + token] as number)
      let label = (labels[slot] as number) + emitted
      if (parent !== null && parent.slot >= 0) {
        taken[parent.slot * classes + token] = 1
        label = logAdd(label, this.#source(parent, token) + emitted)
      }
      this.#nextBlank[slot] = total + (data[start + blank] as number)
      this.#nextLabel[slot] = label
      candidates.offer(logAdd(this.#nextBlank[slot] as number, label) + prefix.extra, slot)
    }
    for (const prefix of beam) {
      const { slot, token } = prefix
      const extras = this.#model === null ? null : this.#scores(prefix, this.#model)
      const total = logAdd(blanks[slot] as number, labels[slot] as number)
      const id = beam.length + slot * classes
      for (let c = 0; c < classes; c++) {
        if (c === blank || taken[slot * classes + c] === 1) continue
        const from = c === token ? (blanks[slot] as number) : total
        const extra = extras === null ? prefix.extra + this.#beta : (extras[c] as number)
        const score = from + (data[start + c] as number) + extra
        if (score > candidates.threshold) candidates.offer(score, id + c)
      }
    }
    for (const { parent, token } of beam) {
      if (parent !== null && parent.slot >= 0) taken[parent.slot * classes + token] = 0
    }
    this.#keep(start)
  }

  /** log P of the alignments of a prefix that a label may follow: one equal to the last needs a blank between. */
  #source(prefix: Prefix, token: number): number {
    const blank = this.#blank[prefix.slot] as number
    return prefix.token === token ? blank : logAdd(blank, this.#label[prefix.slot] as number)
  }

  /** Makes the best candidates the beam. */
  #keep(start: number): void {
    const { data, classes } = this.#frames
    const before = this.#beam
    const kept = this.#candidates.sorted().map(([, id]) => {
      if (id < before.length) {
        const prefix = before[id] as Prefix
        return { prefix, blank: this.#nextBlank[id] as number, label: this.#nextLabel[id] as number }
      }
      const parent = before[Math.floor((id - before.length) / classes)] as Prefix
      const token = (id - before.length) % classes
      const label = this.#source(parent, token) + (data[start + token] as number)
      return { prefix: this.#child(parent, token), blank: Number.NEGATIVE_INFINITY, label }
    })
    for (const prefix of before) prefix.slot = -1
    this.#beam = kept.map(({ prefix, blank, label }, slot) => {
      prefix.slot = slot
      this.#blank[slot] = blank
      this.#label[slot] = label
      return prefix
    })
  }

  #child(parent: Prefix, token: number): Prefix {
    let child = parent.children.get(token)
    if (child === undefined) {
      const extra = parent.scores === null ? parent.extra + this.#beta : (parent.scores[token] as number)
      child = prefixOf(parent, token, extra)
      parent.children.set(token, child)
    }
    return child
  }

  #scores(prefix: Prefix, model: Scorer): Float64Array {
    if (prefix.scores !== null) return prefix.scores
    const { classes, blank } = this.#frames
    const scores = new Float64Array(classes)
    const state = this.#state(prefix, model)
    for (let c = 0; c < classes; c++) {
      if (c !== blank) {
        scores[c] = prefix.extra + this.#beta + this.#weighted(model.score(state, c))
      }
    }
    prefix.scores = scores
    return scores
  }

  #weighted(score: unknown): number {
    if (typeof score !== 'number' || !(score < Number.POSITIVE_INFINITY)) {
      throw argumentError(this.#where, 'languageModel to return a number below Infinity', score)
    }
    // 0 * -Infinity is NaN.
    return this.#alpha === 0 ? 0 : this.#alpha * score
  }

  #state(prefix: Prefix, model: Scorer): unknown {
    // A prefix enters the beam after its parent was in it, and had a state.
    if (!prefix.hasState) setState(prefix, model.next((prefix.parent as Prefix).state, prefix.token))
    return prefix.state
  }

  best(nBest: number): CtcHypothesis[] {
    const model = this.#model
    const found = this.#beam.map((prefix) => {
      const logProb = logAdd(this.#blank[prefix.slot] as number, this.#label[prefix.slot] as number)
      const end = model?.end === undefined ? 0 : this.#weighted(model.end(this.#state(prefix, model)))
      return { prefix, logProb, score: logProb + prefix.extra + end }
    })
    found.sort((a, b) => b.score - a.score || a.prefix.slot - b.prefix.slot)
    return found
      .filter(({ score }) => score > Number.NEGATIVE_INFINITY)
      .slice(0, nBest)
      .map(({ prefix, logProb, score }) => ({ tokens: tokensOf(prefix), logProb, score }))
  }
}

function prefixOf(parent: Prefix | null, token: number, extra: number): Prefix {
  return {
    parent,
    token,
    children: new Map(),
    slot: -1,
    extra,
    state: undefined,
    hasState: false,
    scores: null,
  }
}

function setState(prefix: Prefix, state: unknown): void {
  prefix.state = state
  prefix.hasState = true
}

function tokensOf(prefix: Prefix): number[] {
  const tokens: number[] = []
  for (let at = prefix; at.parent !== null; at = at.parent) tokens.push(at.token)
  return tokens.reverse()
}
