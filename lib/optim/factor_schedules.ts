/** Schedules that multiply the learning rate. */
import { checkInteger, checkNumber, checkOptions } from '../check.ts'
import { argumentError, valueError } from '../messages.ts'
import type { Optimizer } from './optimizer.ts'
import { ratesOf, Schedule } from './schedule.ts'

/** Options of {@link StepLR}. */
export interface StepLROptions {
  /** Steps between decays. */
  stepSize: number
  /** Factor of a decay. Default 0.1. */
  gamma?: number | undefined
}

/** Multiplies the learning rate by gamma every stepSize steps. */
export class StepLR extends Schedule {
  readonly #stepSize: number
  readonly #gamma: number

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: StepLROptions) {
    const where = 'StepLR'
    super(where, optimizer, false)
    options = checkOptions(where, options, ['stepSize', 'gamma'])
    this.#stepSize = checkInteger(where, 'stepSize', options.stepSize, 1, Number.MAX_SAFE_INTEGER)
    this.#gamma = checkNumber(where, 'gamma', options.gamma ?? 0.1, 0)
  }

  /** @internal */
  protected override _next(step: number, _bases: readonly number[], rates: readonly number[]): number[] {
    return rates.map((lr) => (step % this.#stepSize === 0 ? lr * this.#gamma : lr))
  }
}

/** Options of {@link ExponentialLR}. */
export interface ExponentialLROptions {
  /** Factor of every step. */
  gamma: number
}

/** Multiplies the learning rate by gamma at every step. */
export class ExponentialLR extends Schedule {
  readonly #gamma: number

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: ExponentialLROptions) {
    const where = 'ExponentialLR'
    super(where, optimizer, false)
    this.#gamma = checkNumber(where, 'gamma', checkOptions(where, options, ['gamma']).gamma, 0)
  }

  /** @internal */
  protected override _next(_step: number, _bases: readonly number[], rates: readonly number[]): number[] {
    return rates.map((lr) => lr * this.#gamma)
  }
}

/** Options of {@link LinearLR}. */
export interface LinearLROptions {
  /** Factor before the first step, above 0, at most 1. Default 1/3. */
  startFactor?: number | undefined
  /** Factor from step totalIters on, from 0 to 1. Default 1. */
  endFactor?: number | undefined
  /** Steps from the one to the other. Default 5. */
  totalIters?: number | undefined
}

/** Warms up: multiplies the learning rate by a factor that goes linearly from startFactor to endFactor. */
export class LinearLR extends Schedule {
  readonly #start: number
  readonly #end: number
  readonly #total: number

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: LinearLROptions = {}) {
    const where = 'LinearLR'
    super(where, optimizer, false)
    options = checkOptions(where, options, ['startFactor', 'endFactor', 'totalIters'])
    this.#start = checkNumber(where, 'startFactor', options.startFactor ?? 1 / 3, 0, 1)
    if (this.#start === 0) throw valueError(where, 'startFactor above 0', 0)
    this.#end = checkNumber(where, 'endFactor', options.endFactor ?? 1, 0, 1)
    this.#total = checkInteger(where, 'totalIters', options.totalIters ?? 5, 1, Number.MAX_SAFE_INTEGER)
    this._start(ratesOf(optimizer))
  }

  /** @internal */
  protected override _first(bases: readonly number[]): number[] {
    return bases.map((base) => base * this.#start)
  }

  /** @internal */
  protected override _next(step: number, _bases: readonly number[], rates: readonly number[]): number[] {
    if (step > this.#total) return [...rates]
    const slope = this.#end - this.#start
    return rates.map((lr) => lr * (1 + slope / (this.#total * this.#start + (step - 1) * slope)))
  }
}

/** Options of {@link LambdaLR}. */
export interface LambdaLROptions {
  /** The factor after so many steps, from 0 on; one for all groups, or a list with one for each. */
  lrLambda: ((step: number) => number) | readonly ((step: number) => number)[]
}

/** Multiplies the first learning rate by a function of the steps. The function is not part of the state. */
export class LambdaLR extends Schedule {
  readonly #lambdas: readonly ((step: number) => number)[]

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: LambdaLROptions) {
    const where = 'LambdaLR'
    super(where, optimizer, true)
    const { lrLambda } = checkOptions(where, options, ['lrLambda'])
    const groups = optimizer.paramGroups.length
    const list = Array.isArray(lrLambda) ? [...lrLambda] : new Array(groups).fill(lrLambda)
    if (list.length !== groups) throw valueError(where, `lrLambda to have ${groups} functions`, list)
    for (const one of list) {
      if (typeof one !== 'function') throw argumentError(where, 'lrLambda to be a function', one)
    }
    this.#lambdas = list
    this._start(optimizer.paramGroups.map((group) => group._initialLr()))
  }

  /** @internal */
  protected override _first(bases: readonly number[]): number[] {
    return this._next(0, bases)
  }

  /** @internal */
  protected override _next(step: number, bases: readonly number[]): number[] {
    return bases.map((base, i) => {
      const factor = (this.#lambdas[i] as (step: number) => number)(step)
      return base * checkNumber('LambdaLR', 'what lrLambda returns', factor, 0)
    })
  }
}
