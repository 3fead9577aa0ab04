/** Schedules along half a cosine. */
import { checkInteger, checkNumber, checkOptions } from '../check.ts'
import type { Optimizer } from './optimizer.ts'
import { Schedule } from './schedule.ts'

/** Options of {@link CosineAnnealingLR}. */
export interface CosineAnnealingLROptions {
  /** Steps from the first learning rate to the smallest. */
  tMax: number
  /** The smallest learning rate. Default 0. */
  etaMin?: number | undefined
}

/** Lowers the learning rate along half a cosine, over tMax steps, and up again after. */
export class CosineAnnealingLR extends Schedule {
  readonly #tMax: number
  readonly #etaMin: number

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: CosineAnnealingLROptions) {
    const where = 'CosineAnnealingLR'
    super(where, optimizer, true)
    options = checkOptions(where, options, ['tMax', 'etaMin'])
    this.#tMax = checkInteger(where, 'tMax', options.tMax, 1, Number.MAX_SAFE_INTEGER)
    this.#etaMin = checkNumber(where, 'etaMin', options.etaMin ?? 0, 0)
  }

  /** @internal */
  protected override _next(step: number, bases: readonly number[]): number[] {
    return annealed(bases, this.#etaMin, step, this.#tMax)
  }
}

/** Options of {@link CosineAnnealingWarmRestarts}. */
export interface CosineAnnealingWarmRestartsOptions {
  /** Steps to the first restart. */
  t0: number
  /** How many times as long each stretch is as the one before; a whole number. Default 1. */
  tMult?: number | undefined
  /** The learning rate that a stretch goes down to. Default 0. */
  etaMin?: number | undefined
}

/** Lowers the learning rate along half a cosine, again and again from the first one (SGDR, Loshchilov and Hutter, 2017). */
export class CosineAnnealingWarmRestarts extends Schedule {
  readonly #t0: number
  readonly #tMult: number
  readonly #etaMin: number

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: CosineAnnealingWarmRestartsOptions) {
    const where = 'CosineAnnealingWarmRestarts'
    super(where, optimizer, true)
    options = checkOptions(where, options, ['t0', 'tMult', 'etaMin'])
    this.#t0 = checkInteger(where, 't0', options.t0, 1, Number.MAX_SAFE_INTEGER)
    this.#tMult = checkInteger(where, 'tMult', options.tMult ?? 1, 1, Number.MAX_SAFE_INTEGER)
    this.#etaMin = checkNumber(where, 'etaMin', options.etaMin ?? 0, 0)
  }

  /** @internal */
  protected override _next(step: number, bases: readonly number[]): number[] {
    let length = this.#t0
    let place = this.#tMult === 1 ? step % length : step
    for (; place >= length; length *= this.#tMult) place -= length
    return annealed(bases, this.#etaMin, place, length)
  }
}

function annealed(bases: readonly number[], etaMin: number, step: number, length: number): number[] {
  const cosine = (1 + Math.cos((Math.PI * step) / length)) / 2
  return bases.map((base) => etaMin + (base - etaMin) * cosine)
}
