/** JavaScript data as a dense typed array with its shape. */
import { isSharedArrayBuffer, typedArrayKind, typedArrayLength } from './brand.ts'
import { newArray } from './check.ts'
import type { DType } from './dtype.ts'
import { typeError } from './errors.ts'
import { MAX_RANK, product } from './layout.ts'
import { isInt32 } from './limits.ts'
import { argumentError, describe, memoryError, shapeError, shapeText, valueError } from './messages.ts'

/** Typed arrays that become int32. @inline */
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

/** Booleans in rows of rows. */
export type NestedBooleans = readonly (boolean | NestedBooleans)[]

/** Arrays in arrays; one element where there is no axis. */
export type Nested<T> = T | Nested<T>[]

type Values = Float32Array | Float64Array | Int32Array | Uint8Array

export interface Elements {
  data: Values
  shape: number[]
  dtype: DType
}

const ARRAY = { float32: Float32Array, float64: Float64Array, int32: Int32Array, bool: Uint8Array } as const

/** Copies unless `data` is already a suitable typed array. */
export function elementsOf(where: string, data: unknown, dtype: DType | undefined): Elements {
  if (ArrayBuffer.isView(data)) {
    const kind = checkView(where, data)
    const implied = dtype ?? IMPLIED[kind] ?? 'int32'
    const values = converted(where, data as NumberArray, kind, implied)
    return { data: values, shape: [typedArrayLength(values)], dtype: implied }
  }
  const kind = dtype ?? (typeof firstOf(data) === 'boolean' ? 'bool' : 'float32')
  const single = typeof data === 'number' || typeof data === 'boolean'
  if (!single && !Array.isArray(data)) {
    throw argumentError(where, 'a number, an array of numbers or a typed array', data)
  }
  const shape = single ? [] : shapeOf(where, data)
  const values = room(where, kind, product(shape))
  if (single) store(where, [data], values, 0, 1)
  else flatten(where, data, shape, 0, values, 0)
  return { data: values, shape, dtype: kind }
}

/** The first element of nested arrays, no deeper than shapeOf() takes. */
function firstOf(data: unknown): unknown {
  let first = data
  for (let depth = 0; Array.isArray(first) && depth <= MAX_RANK; depth++) first = first[0]
  return first
}

/** The dtype that a kind of typed array gives a tensor; any other kind gives int32. */
const IMPLIED: Record<string, DType> = {
  Float16Array: 'float32',
  Float32Array: 'float32',
  Float64Array: 'float64',
}

/** The kind of a live typed array of numbers. */
function checkView(where: string, view: ArrayBufferView): string {
  const kind = typedArrayKind(view)
  if (kind === undefined || kind.startsWith('Big')) {
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
  return kind
}

/** An array for `size` elements. */
function room(where: string, dtype: DType, size: number): Values {
  return newArray<Values>(where, ARRAY[dtype], size)
}

/** The elements of a typed array in the array of a dtype; the same array where it is that already. */
function converted(where: string, view: NumberArray, kind: string, dtype: DType): Values {
  // A view of shared memory may change while it is read: copy it in one go.
  const shared = isSharedArrayBuffer(view.buffer)
  const fits = dtype !== 'bool' && (dtype !== 'int32' || kind === 'Int32Array')
  if (fits && kind === ARRAY[dtype].name && !shared) return view as Values
  if (fits) {
    try {
      return new ARRAY[dtype](view)
    } catch {
      throw memoryError(where, typedArrayLength(view) * ARRAY[dtype].BYTES_PER_ELEMENT)
    }
  }
  const size = typedArrayLength(view)
  const values = room(where, dtype, size)
  store(where, view, values, 0, size)
  return values
}

function isRow(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || ArrayBuffer.isView(value)
}

function rowLength(where: string, row: ArrayLike<unknown>): number {
  if (Array.isArray(row)) return row.length
  checkView(where, row as NumberArray)
  return typedArrayLength(row as NumberArray)
}

/** The nesting of the first elements; flatten() checks that the rest agrees. */
function shapeOf(where: string, data: readonly unknown[]): number[] {
  const shape: number[] = []
  let level: unknown = data
  while (isRow(level)) {
    if (shape.length === MAX_RANK) throw shapeError(where, `at most ${MAX_RANK} dimensions`, 'deeper nesting')
    const length = rowLength(where, level)
    shape.push(length)
    if (!Array.isArray(level) || length === 0) break
    level = level[0]
  }
  return shape
}

/** Writes the elements of a row of rows from `start` on; returns where they end. */
function flatten(
  where: string,
  row: unknown,
  shape: readonly number[],
  depth: number,
  out: Values,
  start: number,
): number {
  const length = shape[depth] as number
  if (!isRow(row) || rowLength(where, row) !== length) {
    throw shapeError(
      where,
      `rows of equal length, as the first: ${shapeText(shape)}`,
      `${describe(row)} at depth ${depth}`,
    )
  }
  if (depth === shape.length - 1) {
    store(where, row, out, start, length)
    return start + length
  }
  let at = start
  for (let i = 0; i < length; i++) at = flatten(where, row[i], shape, depth + 1, out, at)
  return at
}

/** Writes checked elements to `out` from `start` on. */
function store(where: string, items: ArrayLike<unknown>, out: Values, start: number, length: number): void {
  const kind = typedArrayKind(out)
  const isInt = kind === 'Int32Array'
  const isBool = kind === 'Uint8Array'
  for (let i = 0; i < length; i++) {
    const value = items[i]
    if (isBool && typeof value === 'boolean') {
      out[start + i] = Number(value)
      continue
    }
    if (typeof value !== 'number') {
      throw isRow(value)
        ? shapeError(where, 'rows of equal depth', `${describe(value)} among numbers`)
        : argumentError(where, `a number at element ${start + i}`, value)
    }
    if (isInt && !isInt32(value)) {
      throw valueError(where, 'integers from -2147483648 to 2147483647 for int32', value)
    }
    if (isBool && value !== 0 && value !== 1) throw valueError(where, 'true, false, 1 or 0 for bool', value)
    out[start + i] = value
  }
}

/** Row-major values as nested arrays: the opposite of elementsOf(). */
export function nested(values: ArrayLike<number>, shape: readonly number[]): Nested<number> {
  let at = 0
  const level = (axis: number): Nested<number> =>
    axis === shape.length
      ? (values[at++] as number)
      : Array.from({ length: shape[axis] as number }, () => level(axis + 1))
  return level(0)
}
