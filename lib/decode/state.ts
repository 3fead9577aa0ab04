/** The state of a decoder's step: any structure of tensors and typed arrays, whose rows a search takes and repeats. */
import { isMap, isPlainObject, isSet, isTensor, typedArrayKind, typedArrayLength } from '../brand.ts'
import { tensor } from '../create.ts'
import { argumentError, shapeError, shapeText } from '../messages.ts'
import { indexSelect } from '../ops/gather.ts'
import { detached, reachable, tidy } from '../scope.ts'
import type { Tensor } from '../tensor.ts'

/** Makes a state of the rows `rows` of a state that has `count` rows; a row may come up several times, or not at all. */
export type SelectState<S> = (state: S, rows: Int32Array, count: number) => S

/**
 * Takes rows along axis 0 of every tensor and typed array in a structure of arrays, plain objects, Maps and Sets,
 * which are copied; texts, numbers, booleans, null and undefined stay. What a search does by default.
 *
 * @param state tensors [count, ..] of any dtype, typed arrays of `count` rows of one length
 * @param rows indices from 0 to count - 1
 * @param count rows that the state has
 * @throws RangeError ERR_BPTT_SHAPE if a tensor or an array has other rows
 * @throws TypeError ERR_BPTT_TYPE if it holds anything else, e.g. a stream
 */
export function selectRows<S>(state: S, rows: Int32Array, count: number): S {
  return tidy(() => selected(state, { rows, count }) as S)
}

interface Selection {
  rows: Int32Array
  count: number
}

function selected(value: unknown, selection: Selection): unknown {
  if (typeof value === 'function') throw unknown(value)
  if (typeof value !== 'object' || value === null) return value
  if (isTensor(value)) return rowsOf(value, selection)
  if (typedArrayKind(value) !== undefined) return elementsOf(value as Float32Array, selection)
  if (Array.isArray(value)) return value.map((item) => selected(item, selection))
  if (isMap(value)) return new Map([...value].map(([key, item]) => [key, selected(item, selection)]))
  if (isSet(value)) return new Set([...value].map((item) => selected(item, selection)))
  if (!isPlainObject(value)) throw unknown(value)
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, selected(item, selection)]))
}

function unknown(value: unknown): TypeError {
  return argumentError(
    'selectRows',
    'a state of tensors and typed arrays in arrays, plain objects, Maps and Sets',
    value,
    'keep it outside the state, or pass select: (state, rows, count) => ..',
  )
}

function rowsOf(x: Tensor, { rows, count }: Selection): Tensor {
  if (x._shape[0] !== count) {
    throw shapeError('selectRows', `a state of tensors of shape [${count},..]`, shapeText(x._shape))
  }
  return indexSelect(x, 0, tensor(rows, { device: x.device }))
}

function elementsOf(array: Float32Array, { rows, count }: Selection): Float32Array {
  const length = typedArrayLength(array)
  if (length % count !== 0) {
    throw shapeError('selectRows', `a state of arrays of ${count} rows of one length`, `${length} elements`)
  }
  const width = length / count
  const taken = new (array.constructor as Float32ArrayConstructor)(rows.length * width)
  for (let i = 0; i < rows.length; i++) {
    const start = (rows[i] as number) * width
    taken.set(array.subarray(start, start + width), i * width)
  }
  return taken
}

/** A state that a search holds, and the tensors in it that are the search's to dispose of. */
export class HeldState<S> {
  readonly #select: SelectState<S>
  /** What the first state holds: it is the caller's, and never disposed here. */
  readonly #foreign: ReadonlySet<unknown>
  #state: S
  #count: number

  /** @param count rows of the first state */
  constructor(state: S, count: number, select: SelectState<S>) {
    this.#select = select
    this.#foreign = reachable(state)
    this.#state = state
    this.#count = count
  }

  get state(): S {
    return this.#state
  }

  /** Goes on with another state of as many rows, and disposes of the one before; null at the end. */
  replace(state: S | null): void {
    const before = this.#state
    this.#state = state as S
    this.drop(before)
  }

  /** Disposes of the tensors in what a step returned, or in a state of before, which the state does not hold. */
  drop(value: unknown): void {
    const kept = reachable(this.#state)
    for (const old of reachable(value)) {
      if (isTensor(old) && !kept.has(old) && !this.#foreign.has(old)) old.dispose()
    }
  }

  /** Goes on with some rows of the state. */
  select(rows: Int32Array): void {
    if (rows.length === this.#count && rows.every((row, i) => row === i)) return
    const next = detached(() => this.#select(this.#state, rows, this.#count))
    this.replace(next)
    this.#count = rows.length
  }
}
