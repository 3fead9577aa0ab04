/** Log-probabilities as decoders take them. They come from a user's model, so they are checked. */
import { isTensor, typedArrayKind } from '../brand.ts'
import { checkFloat } from '../check.ts'
import { BpttError } from '../errors.ts'
import { argumentError, shapeError, shapeText, valueError } from '../messages.ts'
import type { Tensor } from '../tensor.ts'

/** Numbers for decoders: a tensor of float32 or float64, or a typed array of them. */
export type Scores = Tensor | Float32Array | Float64Array

/** Rows of numbers. */
export interface Rows {
  data: Float32Array | Float64Array
  width: number
}

/** A log-probability may be so far above 0 by rounding, e.g. of float16 models. */
const ROUNDING = 1e-3

/** The elements of `rows` rows, of a tensor [rows,width] or a typed array. */
export async function readRows(where: string, name: string, value: unknown, rows: number): Promise<Rows> {
  if (isTensor(value)) {
    checkFloat(where, name, value)
    const [count, width] = value._shape
    if (value._shape.length !== 2 || count !== rows) {
      throw shapeError(where, `${name} of shape [rows,*] = [${rows},*]`, shapeText(value._shape))
    }
    return { data: (await value.data()) as Float32Array | Float64Array, width: width as number }
  }
  const data = checkFloatArray(where, name, value)
  if (data.length % rows !== 0) {
    throw shapeError(where, `${name} of ${rows} rows of one length`, `${data.length} elements`)
  }
  return { data, width: data.length / rows }
}

export function checkFloatArray(where: string, name: string, value: unknown): Float32Array | Float64Array {
  const kind = typedArrayKind(value)
  if (kind !== 'Float32Array' && kind !== 'Float64Array') {
    throw argumentError(where, `${name} to be a Tensor, a Float32Array or a Float64Array`, value)
  }
  return value as Float32Array | Float64Array
}

/** Refuses NaN and values above 0: a search stops early because log-probabilities only make a score fall. */
export function checkLogProbs(where: string, data: Float32Array | Float64Array): void {
  for (let i = 0; i < data.length; i++) {
    const value = data[i] as number
    if (value <= ROUNDING) continue
    if (Number.isNaN(value)) throw nonfinite(where, 'log-probabilities', value)
    throw valueError(where, 'log-probabilities of at most 0', value, 'use logSoftmax()')
  }
}

export function nonfinite(where: string, what: string, value: number): BpttError {
  return new BpttError(
    'ERR_BPTT_NONFINITE',
    `[${where}] expected ${what} that are numbers, got ${value}; look for what is infinite or NaN in the model`,
  )
}

/** Turns rows of logits into log-probabilities, in float64. */
export function logSoftmaxRows(where: string, { data, width }: Rows): Rows {
  const out = new Float64Array(data.length)
  for (let row = 0; row < data.length; row += width) {
    let top = Number.NEGATIVE_INFINITY
    for (let i = row; i < row + width; i++) {
      const value = data[i] as number
      if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) throw nonfinite(where, 'logits', value)
      if (value > top) top = value
    }
    let sum = 0
    for (let i = row; i < row + width; i++) sum += Math.exp((data[i] as number) - top)
    const norm = top + Math.log(sum)
    // A row of nothing but -Infinity allows no token.
    for (let i = row; i < row + width; i++) {
      out[i] = norm === Number.NEGATIVE_INFINITY ? norm : (data[i] as number) - norm
    }
  }
  return { data: out, width }
}

/** log(exp(a) + exp(b)) */
export function logAdd(a: number, b: number): number {
  if (a < b) return a === Number.NEGATIVE_INFINITY ? b : b + Math.log1p(Math.exp(a - b))
  return b === Number.NEGATIVE_INFINITY ? a : a + Math.log1p(Math.exp(b - a))
}
