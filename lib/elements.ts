/** JavaScript data as a dense typed array with its shape. */
import { argumentError, describe, MAX_RANK, shapeError, shapeText, valueError } from './check.ts'
import type { DType } from './dtype.ts'
import { typeError } from './errors.ts'

/** Typed arrays that become int32. */
export type IntegerArray =
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint32Array
  | Uint16Array
  | Uint8Array
  | Uint8ClampedArray

/** Typed arrays whose elements are numbers. */
export type NumberArray = Float32Array | Float64Array | IntegerArray

/** Numbers in rows of rows; a row may be a typed array. */
export type NestedArray = readonly (number | NestedArray | NumberArray)[]

export interface Elements {
  data: Float32Array | Float64Array | Int32Array
  shape: number[]
  dtype: DType
}

/** Copies unless `data` is already a suitable typed array. */
export function elementsOf(where: string, data: unknown, dtype: DType | undefined): Elements {
  if (ArrayBuffer.isView(data)) {
    const view = checkView(where, data)
    const kind = dtype ?? impliedBy(view)
    return { data: converted(where, view, kind), shape: [view.length], dtype: kind }
  }
  const kind = dtype ?? 'float32'
  if (typeof data === 'number') {
    return { data: converted(where, [data], kind), shape: [], dtype: kind }
  }
  if (!Array.isArray(data)) {
    throw argumentError(where, 'a number, an array of numbers or a typed array', data)
  }
  const shape = shapeOf(where, data)
  const size = shape.reduce((product, dimension) => product * dimension, 1)
  if (shape.length === 1) return { data: converted(where, data as unknown[], kind), shape, dtype: kind }
  const flat = new Array<unknown>(size)
  flatten(where, data, shape, 0, flat, 0)
  return { data: converted(where, flat, kind), shape, dtype: kind }
}

function checkView(where: string, view: ArrayBufferView): NumberArray {
  if (view instanceof DataView || view instanceof BigInt64Array || view instanceof BigUint64Array) {
    throw argumentError(
      where,
      'a typed array of numbers',
      view,
      'convert it, e.g. with Int32Array.from(data, Number)',
    )
  }
  if (view.byteLength === 0) {
    try {
      new Uint8Array(view.buffer as ArrayBuffer)
    } catch {
      throw typeError(
        'ERR_BPTT_TYPE',
        `[${where}] expected a live typed array, got one whose ArrayBuffer is detached`,
      )
    }
  }
  return view as NumberArray
}

function impliedBy(view: NumberArray): DType {
  if (view instanceof Float32Array) return 'float32'
  if (view instanceof Float64Array) return 'float64'
  return 'int32'
}

/** The nesting of the first elements; flatten() checks that the rest agrees. */
function shapeOf(where: string, data: readonly unknown[]): number[] {
  const shape: number[] = []
  let level: unknown = data
  while (Array.isArray(level) || ArrayBuffer.isView(level)) {
    if (shape.length === MAX_RANK) throw shapeError(where, `at most ${MAX_RANK} dimensions`, 'deeper nesting')
    const length: number = Array.isArray(level)
      ? level.length
      : checkView(where, level as ArrayBufferView).length
    shape.push(length)
    if (!Array.isArray(level) || length === 0) break
    level = level[0]
  }
  return shape
}

function flatten(
  where: string,
  row: unknown,
  shape: readonly number[],
  depth: number,
  out: unknown[],
  start: number,
): number {
  const length = shape[depth] as number
  const isRow = Array.isArray(row) || ArrayBuffer.isView(row)
  if (!isRow || (row as ArrayLike<unknown>).length !== length) {
    throw shapeError(
      where,
      `rows of equal length, as the first: ${shapeText(shape)}`,
      `${describe(row)} at depth ${depth}`,
    )
  }
  const items = row as ArrayLike<unknown>
  let at = start
  if (depth === shape.length - 1) {
    for (let i = 0; i < length; i++) out[at++] = items[i]
  } else {
    for (let i = 0; i < length; i++) at = flatten(where, items[i], shape, depth + 1, out, at)
  }
  return at
}

function converted(where: string, source: ArrayLike<unknown>, dtype: DType): Elements['data'] {
  const size = source.length
  if (ArrayBuffer.isView(source)) {
    // A view of shared memory may change while it is read: copy it in one go.
    const shared = source.buffer instanceof SharedArrayBuffer
    if (dtype === 'float32') {
      return source instanceof Float32Array && !shared ? source : new Float32Array(source as NumberArray)
    }
    if (dtype === 'float64') {
      return source instanceof Float64Array && !shared ? source : new Float64Array(source as NumberArray)
    }
    if (source instanceof Int32Array) return shared ? new Int32Array(source) : source
  }
  const isInt = dtype === 'int32'
  const out = isInt
    ? new Int32Array(size)
    : dtype === 'float32'
      ? new Float32Array(size)
      : new Float64Array(size)
  for (let i = 0; i < size; i++) {
    const value = source[i]
    if (typeof value !== 'number') {
      const ragged = Array.isArray(value) || ArrayBuffer.isView(value)
      throw ragged
        ? shapeError(where, 'rows of equal depth', `${describe(value)} among numbers`)
        : argumentError(where, `a number at element ${i}`, value)
    }
    if (isInt && (value | 0) !== value) {
      throw valueError(where, 'integers from -2147483648 to 2147483647 for int32', value)
    }
    out[i] = value
  }
  return out
}
