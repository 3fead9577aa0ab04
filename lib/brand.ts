/**
 * What a value is by its own slots. `instanceof` and `constructor` know the classes of one realm only; arrays,
 * maps and errors of a vm context (so of Jest) or of a structured clone are of another.
 */
import { types } from 'node:util'

export const { isMap, isSet, isPromise, isSharedArrayBuffer, isGeneratorObject } = types

/** What structuredClone() and postMessage() refuse, in these words: the value of an own property does it. */
export const UNCLONEABLE = Symbol('what lives in native memory: send the shape and data() of tensors instead')

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

/** The elements of a typed array, whatever a subclass says. */
export function typedArrayLength(view: ArrayBufferView): number {
  return length.call(view) as number
}

/** An object of a literal, Object.create(null), JSON or a structured clone; not an instance of a class. */
export function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
