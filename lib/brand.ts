/**
 * What a value is by its own slots. `instanceof` and `constructor` know the classes of one realm only; arrays,
 * maps and errors of a vm context (so of Jest) or of a structured clone are of another.
 */
import type { FileHandle } from 'node:fs/promises'
import { types } from 'node:util'
import type { Tensor } from './tensor.ts'

export const { isAnyArrayBuffer, isMap, isSet, isPromise, isSharedArrayBuffer, isGeneratorObject } = types

/** What structuredClone() and postMessage() refuse, in these words: the value of an own property does it. */
export const UNCLONEABLE = Symbol('what lives in native memory: send the shape and data() of tensors instead')

/** A property of the tensors of every copy of the library, THIS_COPY of those of this one. */
export const TENSOR = Symbol.for('bptt.Tensor')
export const THIS_COPY = Symbol('this copy of bptt')

let hasFieldsOfTensor: (value: object) => boolean = () => false

/** Tensor calls it: only the class can see its private fields, and checks and messages must not import the class. */
export function setBrandOfTensor(hasFields: (value: object) => boolean): void {
  hasFieldsOfTensor = hasFields
}

/** Whether it is a tensor of this library: none of another copy, no proxy, nothing that only inherits from one. */
export function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && hasFieldsOfTensor(value)
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const kindOf = getter(typedArray, Symbol.toStringTag)
const length = getter(typedArray, 'length')

function getter(prototype: object, name: PropertyKey): (this: unknown) => unknown {
  return Object.getOwnPropertyDescriptor(prototype, name)?.get as (this: unknown) => unknown
}

/** 'Float32Array', .. of a typed array; undefined of anything else. */
export function typedArrayKind(value: unknown): string | undefined {
  return kindOf.call(value) as string | undefined
}

/** The number of elements of a typed array, whatever a subclass says. */
export function typedArrayLength(view: ArrayBufferView): number {
  return length.call(view) as number
}

/** An object of a literal, Object.create(null), JSON or a structured clone; not an instance of a class. */
export function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** By the properties that Node itself looks at: a URL may be of another realm's class. */
export function isURL(value: unknown): value is URL {
  const { href, protocol, path } = (value ?? {}) as { href?: unknown; protocol?: unknown; path?: unknown }
  return typeof href === 'string' && typeof protocol === 'string' && path === undefined
}

/** What open() of node:fs/promises gives, whose class has no public name. */
export function isFileHandle(value: unknown): value is FileHandle {
  const { fd, read, stat } = (value ?? {}) as { fd?: unknown; read?: unknown; stat?: unknown }
  return typeof fd === 'number' && typeof read === 'function' && typeof stat === 'function'
}
