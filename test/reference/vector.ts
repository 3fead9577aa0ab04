// biome-ignore-all lint/style/noNonNullAssertion: every index lies within the bounds of its loop
/** The few operations on float64 vectors and matrices in which the references are written. Plain loops. */
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
export function product(w: Matrix, x: Vector): Vector {
  const y = zeros(w.rows)
  for (let i = 0; i < w.rows; i++) for (let j = 0; j < w.cols; j++) y[i]! += w.data[i * w.cols + j]! * x[j]!
  return y
}

/** W^T y */
export function transposedProduct(w: Matrix, y: Vector): Vector {
  const x = zeros(w.cols)
  for (let i = 0; i < w.rows; i++) for (let j = 0; j < w.cols; j++) x[j]! += w.data[i * w.cols + j]! * y[i]!
  return x
}

/** W += y x^T, the gradient of W in y = W x */
export function addOuter(w: Matrix, y: Vector, x: Vector): void {
  for (let i = 0; i < w.rows; i++) for (let j = 0; j < w.cols; j++) w.data[i * w.cols + j]! += y[i]! * x[j]!
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
  return Float64Array.from(vectors.flatMap((v) => [...v]))
}

export const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a))

/** 1 - v */
export const complement = (v: Vector): Vector => map(v, (value) => 1 - value)

/** Derivatives in terms of the function's result. */
export const dsigmoid = (s: Vector): Vector => map(s, (value) => value * (1 - value))
export const dtanh = (t: Vector): Vector => map(t, (value) => 1 - value * value)
