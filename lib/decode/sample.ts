/** Tokens drawn from the distribution of a model. */
import { isTensor } from '../brand.ts'
import { checkInteger, checkNumber, checkOptions } from '../check.ts'
import { rand } from '../create.ts'
import { MAX_INT32 } from '../limits.ts'
import { argumentError, refusal, shapeError, shapeText } from '../messages.ts'
import { checkFloatArray, nonfinite, type Rows, readRows, type Scores } from './scores.ts'

/** Options of {@link sampleToken}. */
export interface SampleOptions {
  /** The logits are divided by it: below 1 likely tokens become likelier; 0 always takes the likeliest. Default 1. */
  temperature?: number | undefined
  /** Only so many of the likeliest tokens. Default: all. */
  topK?: number | undefined
  /**
   * Only the likeliest tokens that together have at least this probability, after temperature and topK (Holtzman et al.
   * 2020, nucleus sampling); from 0, the likeliest alone, to 1. Default 1: all.
   */
  topP?: number | undefined
  /** Rows of logits given as a typed array. Default 1. */
  rows?: number | undefined
  /** [rows] numbers from [0, 1) that decide; default from the generator that {@link manualSeed} starts. */
  draws?: ArrayLike<number> | undefined
}

/**
 * Draws a token for each row from softmax(logits / temperature). The same draws give the same tokens on every
 * machine whose exp() is the same. Without `draws` it takes `rows` random numbers at the call, also at temperature 0.
 *
 * @param logits [rows,V] or [V]: a tensor, or a typed array of `rows` rows; -Infinity is never drawn
 * @returns [rows] tokens; of equal likeliest ones the first
 * @throws TypeError ERR_BPTT_TYPE or ERR_BPTT_DTYPE, RangeError ERR_BPTT_SHAPE or ERR_BPTT_VALUE; BpttError
 *   ERR_BPTT_NONFINITE for logits that are NaN or Infinity
 *
 * @example
 * const [token] = await sampleToken(logits, { temperature: 0.8, topK: 40, topP: 0.95 })
 */
export async function sampleToken(logits: Scores, options: SampleOptions = {}): Promise<Int32Array> {
  const where = 'sampleToken'
  const given = checkOptions(where, options, ['temperature', 'topK', 'topP', 'rows', 'draws'])
  const temperature = checkNumber(where, 'temperature', given.temperature ?? 1, 0)
  const topK = checkInteger(where, 'topK', given.topK ?? Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER)
  const topP = checkNumber(where, 'topP', given.topP ?? 1, 0, 1)
  const rows = countRows(where, logits, given.rows)
  const [draws, scores] = await Promise.all([
    given.draws === undefined ? uniform(rows) : checkDraws(where, given.draws, rows),
    isTensor(logits) && logits._shape.length === 1
      ? logits.data().then((data): Rows => ({ data: data as Float32Array, width: logits.size }))
      : readRows(where, 'logits', logits, rows),
  ])
  return Int32Array.from({ length: rows }, (_, row) => {
    const own = scores.data.subarray(row * scores.width, (row + 1) * scores.width)
    return choose(where, own, temperature, topK, topP, draws[row] as number)
  })
}

function countRows(where: string, logits: unknown, rows: number | undefined): number {
  if (!isTensor(logits)) {
    checkFloatArray(where, 'logits', logits)
    return checkInteger(where, 'rows', rows ?? 1, 1, MAX_INT32)
  }
  const { _shape: shape } = logits
  if (shape.length < 1 || shape.length > 2) {
    throw shapeError(where, 'logits of shape [V] or [rows,V]', shapeText(shape))
  }
  const found = shape.length === 1 ? 1 : (shape[0] as number)
  if (rows !== undefined && rows !== found)
    throw shapeError(where, `logits of ${rows} rows`, shapeText(shape))
  return found
}

async function uniform(count: number): Promise<ArrayLike<number>> {
  const draws = rand([count])
  try {
    return await draws.data()
  } finally {
    draws.dispose()
  }
}

function checkDraws(where: string, draws: ArrayLike<number>, rows: number): ArrayLike<number> {
  if (typeof draws !== 'object' || draws === null || typeof draws.length !== 'number') {
    throw argumentError(where, 'draws to be an array of numbers', draws)
  }
  if (draws.length !== rows) throw shapeError(where, `draws of shape [${rows}]`, `[${draws.length}]`)
  for (let i = 0; i < rows; i++) checkNumber(where, `draws[${i}]`, draws[i], 0, 1)
  return draws
}

/** The token that a draw from [0, 1) falls on, where each has a part of it in proportion to its probability. */
function choose(
  where: string,
  logits: Float32Array | Float64Array,
  temperature: number,
  topK: number,
  topP: number,
  draw: number,
): number {
  let best = 0
  for (let v = 0; v < logits.length; v++) {
    const value = logits[v] as number
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) throw nonfinite(where, 'logits', value)
    if (value > (logits[best] as number)) best = v
  }
  const top = logits[best] ?? Number.NEGATIVE_INFINITY
  if (top === Number.NEGATIVE_INFINITY)
    throw refusal(where, 'expected logits that allow some token, got none')
  if (temperature === 0) return best

  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - top) / temperature))
  if (topK < weights.length || topP < 1) keepLikeliest(weights, topK, topP)
  let left = draw * weights.reduce((sum, weight) => sum + weight, 0)
  for (let v = 0; v < weights.length; v++) {
    left -= weights[v] as number
    if (left < 0) return v
  }
  return best
}

/** Sets the weights of all but the likeliest tokens to 0. Of equal ones the first are kept. */
function keepLikeliest(weights: Float64Array, topK: number, topP: number): void {
  const order = Array.from(weights.keys()).sort(
    (a, b) => (weights[b] as number) - (weights[a] as number) || a - b,
  )
  let kept = Math.min(topK, order.length)
  if (topP < 1) {
    const total = order.slice(0, kept).reduce((sum, v) => sum + (weights[v] as number), 0)
    let sum = 0
    for (let i = 0; i < kept; i++) {
      sum += weights[order[i] as number] as number
      if (sum >= topP * total) kept = i + 1
    }
  }
  for (const v of order.slice(kept)) weights[v] = 0
}
