/**
 * The random generator of this environment (each worker thread has its own):
 * Philox4x32-10, addressed by (seed, offset). An op takes the numbers it needs
 * at the time of its call, so results do not depend on threads or devices.
 */
import { checkInteger, checkOptions } from './check.ts'
import { refusal } from './messages.ts'

/** Where the generator stands. Save it in checkpoints. */
export interface RandomState {
  /** As given to {@link manualSeed}. */
  seed: number
  /** Counters used since the seed was set; each gives four numbers. */
  offset: number
}

const MAX = Number.MAX_SAFE_INTEGER
/** 32-bit numbers that one counter of Philox gives. */
const PER_COUNTER = 4

const state: RandomState = { seed: Math.floor(Math.random() * MAX), offset: 0 }

/**
 * Starts the generator anew. Without it every run is different.
 *
 * @param seed an integer from 0 to 2^53 - 1
 * @throws RangeError ERR_BPTT_VALUE
 */
export function manualSeed(seed: number): void {
  state.seed = checkInteger('manualSeed', 'seed', seed, 0, MAX)
  state.offset = 0
}

/** A copy of the generator's state. */
export function getRandomState(): RandomState {
  return { ...state }
}

/** Continues from a state of {@link getRandomState}. */
export function setRandomState(next: RandomState): void {
  const where = 'setRandomState'
  next = checkOptions(where, next, ['seed', 'offset'])
  const seed = checkInteger(where, 'seed', next.seed, 0, MAX)
  state.offset = checkInteger(where, 'offset', next.offset, 0, MAX)
  state.seed = seed
}

/** Counters that the random numbers of so many elements take. */
export function countersFor(elements: number): number {
  return Math.ceil(elements / PER_COUNTER)
}

/** Reserves random numbers for `elements` elements, in each of `arrays` arrays; returns where they start. */
export function draw(elements: number, arrays = 1): RandomState {
  const start = { ...state }
  const next = state.offset + arrays * countersFor(elements)
  if (next > MAX) throw refusal('random', `the generator has no more numbers past 2^53; use manualSeed()`)
  state.offset = next
  return start
}
