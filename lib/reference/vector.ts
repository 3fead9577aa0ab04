// biome-ignore-all lint/style/noNonNullAssertion: every index lies within the bounds of its loop
/**
 * The few operations on float64 vectors and matrices in which the references are written. Plain loops.
 *
 * This folder is what the library is checked against, by the tests and by `bptt bench`: it imports nothing of the
 * library but what the cells are (cells.ts), and nothing of the library but `bptt bench` imports it.
 */
export type Vector = Float64Array

export interface Matrix {
  rows: number
  cols: number
  data: Float64Array // [rows,cols]
}

export const zeros = (n: number): Vector => new Float64Array(n)

export const zeroMatrix = (rows: number, cols: number): Matrix => ({ rows, cols, data: zeros(rows * cols) })

export function add(...vectors: Vector[]): Vector {
  const sum = zeros((vectors[0] as Vector).length)
  for (const v of vectors) for (let i = 0; i < sum.length; i++) sum[i]! += v[i]!
  return sum
}

export function mul(...vectors: Vector[]): Vector {
  const product = zeros((vectors[0] as Vector).length).fill(1)
  for (const v of vectors) for (let i = 0; i < product.length; i++) product[i]! *= v[i]!
  return product
}

export const map = (v: Vector, f: (value: number) => number): Vector => Float64Array.from(v, f)

/** W x */
export function product({ rows, cols, data }: Matrix, x: Vector): Vector {
  const y = zeros(rows)
  for (let i = 0; i < rows; i++) {
    const row = i * cols
    let [even, odd] = [0, 0] // two sums, so that an addition need not wait for the last one
    for (let j = 0; j + 1 < cols; j += 2) {
      even += data[row + j]! * x[j]!
      odd += data[row + j + 1]! * x[j + 1]!
    }
    if (cols % 2 === 1) even += data[row + cols - 1]! * x[cols - 1]!
    y[i] = even + odd
  }
  return y
}

/** W^T y */
export function transposedProduct({ rows, cols, data }: Matrix, y: Vector): Vector {
  const x = zeros(cols)
  for (let i = 0; i < rows; i++) {
    const [row, factor] = [i * cols, y[i]!]
    for (let j = 0; j < cols; j++) x[j]! += data[row + j]! * factor
  }
  return x
}

/** W += y x^T, the gradient of W in y = W x */
export function addOuter({ rows, cols, data }: Matrix, y: Vector, x: Vector): void {
  for (let i = 0; i < rows; i++) {
    const [row, factor] = [i * cols, y[i]!]
    for (let j = 0; j < cols; j++) data[row + j]! += factor * x[j]!
  }
}

/** target += v */
export function accumulate(target: Vector, v: Vector): void {
  for (let i = 0; i < v.length; i++) target[i]! += v[i]!
}

/** The vector cut in `count` equal parts. */
export function split(v: Vector, count: number): Vector[] {
  const size = v.length / count
  return Array.from({ length: count }, (_, part) => v.slice(part * size, (part + 1) * size))
}

/** The matrix cut in `count` equal parts of its rows, as views. */
export function splitRows(w: Matrix, count: number): Matrix[] {
  const rows = w.rows / count
  return Array.from({ length: count }, (_, part) => ({
    rows,
    cols: w.cols,
    data: w.data.subarray(part * rows * w.cols, (part + 1) * rows * w.cols),
  }))
}

export function concat(...vectors: Vector[]): Vector {
  const result = zeros(vectors.reduce((length, v) => length + v.length, 0))
  let offset = 0
  for (const v of vectors) {
    result.set(v, offset)
    offset += v.length
  }
  return result
}

export const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a))

/** 1 - v */
export const complement = (v: Vector): Vector => map(v, (value) => 1 - value)

/** Derivatives in terms of the function's result. */
export const dsigmoid = (s: Vector): Vector => map(s, (value) => value * (1 - value))
export const dtanh = (t: Vector): Vector => map(t, (value) => 1 - value * value)
