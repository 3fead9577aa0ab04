/** What surrounds an op: whether the tape records, and which tidy() owns its result. */
import { isMap, isPlainObject, isSet } from './brand.ts'
import { checkFunction, checkSynchronous } from './check.ts'
import type { Tensor } from './tensor.ts'

let recording = true
let scope: Tensor[] | null = null

/** Whether ops go on the tape. */
export function isRecording(): boolean {
  return recording
}

/** Enters a new tensor into the innermost tidy(). */
export function track(tensor: Tensor): void {
  if (scope !== null) scope.push(tensor)
}

/**
 * Runs `fn` without recording: results do not require grad, recurrent layers
 * save nothing for backward.
 *
 * @param fn a synchronous function; one that returns a promise throws
 * @returns what `fn` returns
 * @throws TypeError ERR_BPTT_TYPE if `fn` is no function or returns a promise
 */
export function noGrad<T>(fn: () => T): T {
  checkFunction('noGrad', fn)
  const before = recording
  recording = false
  try {
    return checkSynchronous('noGrad', fn())
  } finally {
    recording = before
  }
}

/**
 * Runs `fn`, then disposes every tensor created inside except those it returns
 * (itself, or inside arrays, plain objects, maps and sets). If `fn` throws, all are
 * disposed. Parameters, gradients and optimizer state are never touched.
 *
 * @param fn a synchronous function; one that returns a promise throws
 * @returns what `fn` returns
 * @throws TypeError ERR_BPTT_TYPE if `fn` is no function or returns a promise
 */
export function tidy<T>(fn: () => T): T {
  checkFunction('tidy', fn)
  const outer = scope
  const created: Tensor[] = []
  let kept = new Set<unknown>()
  scope = created
  try {
    const result = checkSynchronous('tidy', fn())
    kept = reachable(result)
    return result
  } finally {
    scope = outer
    for (const tensor of created) {
      if (!kept.has(tensor)) tensor.dispose()
      else if (outer !== null) outer.push(tensor)
    }
  }
}

/** From now on new tensors are entered in this list; null: nowhere. Returns the list before, to be put back. */
export function openScope(created: Tensor[] | null): Tensor[] | null {
  const outer = scope
  scope = created
  return outer
}

/** Runs the library's own work: what it makes belongs to no tidy(), and is recorded only if `recorded`. */
export function detached<T>(fn: () => T, recorded = false): T {
  const outer = scope
  const before = recording
  scope = null
  recording = recorded
  try {
    return fn()
  } finally {
    scope = outer
    recording = before
  }
}

/** Records what `fn` does, also inside noGrad() and backward(). */
export function recorded<T>(fn: () => T): T {
  const before = recording
  recording = true
  try {
    return fn()
  } finally {
    recording = before
  }
}

/** All that arrays, plain objects, maps and sets lead to from a value, itself included. */
export function reachable(value: unknown): Set<unknown> {
  const seen = new Set<unknown>()
  collect(value, seen)
  return seen
}

/** Adds everything reachable through arrays, plain objects, maps and sets to `seen`. */
function collect(value: unknown, seen: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return
  seen.add(value)
  if (Array.isArray(value)) {
    for (const item of value) collect(item, seen)
  } else if (isMap(value) || isSet(value)) {
    for (const item of value.values()) collect(item, seen)
  } else if (isPlainObject(value)) {
    for (const item of Object.values(value)) collect(item, seen)
  }
}
