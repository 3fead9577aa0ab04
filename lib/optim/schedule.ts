/** Learning rate schedules. Call step() once per epoch (or per step), after optimizer.step(). */
import { argumentError, checkInteger, checkNumber, checkOneOf, checkOptions } from '../check.ts'
import { Optimizer } from './optimizer.ts'

/** What a schedule needs to go on: plain numbers, for a checkpoint. */
export type ScheduleState = Record<string, number>

function checkOptimizer(where: string, optimizer: Optimizer): Optimizer {
  if (!(optimizer instanceof Optimizer)) throw argumentError(where, 'an optimizer', optimizer)
  return optimizer
}

function loadNumbers(where: string, state: ScheduleState, names: readonly string[]): number[] {
  state = checkOptions(where, state, names)
  return names.map((name) => {
    const value = state[name]
    if (typeof value !== 'number') throw argumentError(where, `${name} to be a number`, value)
    return value
  })
}

export interface StepLROptions {
  /** Steps between decays. */
  stepSize: number
  /** Factor of a decay. Default 0.1. */
  gamma?: number
}

/** Multiplies the learning rate by gamma every stepSize steps. */
export class StepLR {
  readonly #optimizer: Optimizer
  readonly #stepSize: number
  readonly #gamma: number
  #step = 0

  constructor(optimizer: Optimizer, options: StepLROptions) {
    const where = 'StepLR'
    this.#optimizer = checkOptimizer(where, optimizer)
    options = checkOptions(where, options, ['stepSize', 'gamma'])
    this.#stepSize = checkInteger(where, 'stepSize', options.stepSize, 1, Number.MAX_SAFE_INTEGER)
    this.#gamma = checkNumber(where, 'gamma', options.gamma ?? 0.1, 0)
  }

  step(): void {
    this.#step++
    if (this.#step % this.#stepSize === 0) this.#optimizer.lr *= this.#gamma
  }

  stateDict(): ScheduleState {
    return { step: this.#step, lr: this.#optimizer.lr }
  }

  /** Also sets the optimizer's lr. */
  loadStateDict(state: ScheduleState): void {
    const [step, lr] = loadNumbers('StepLR.loadStateDict', state, ['step', 'lr'])
    this.#optimizer.lr = lr as number
    this.#step = step as number
  }
}

export interface CosineAnnealingLROptions {
  /** Steps from the first learning rate to the smallest. */
  tMax: number
  /** The smallest learning rate. Default 0. */
  etaMin?: number
}

/** Lowers the learning rate along half a cosine, over tMax steps, and up again after. */
export class CosineAnnealingLR {
  readonly #optimizer: Optimizer
  readonly #tMax: number
  readonly #etaMin: number
  #base: number
  #step = 0

  constructor(optimizer: Optimizer, options: CosineAnnealingLROptions) {
    const where = 'CosineAnnealingLR'
    this.#optimizer = checkOptimizer(where, optimizer)
    options = checkOptions(where, options, ['tMax', 'etaMin'])
    this.#tMax = checkInteger(where, 'tMax', options.tMax, 1, Number.MAX_SAFE_INTEGER)
    this.#etaMin = checkNumber(where, 'etaMin', options.etaMin ?? 0, 0)
    this.#base = optimizer.lr
  }

  step(): void {
    this.#step++
    const cosine = (1 + Math.cos((Math.PI * this.#step) / this.#tMax)) / 2
    this.#optimizer.lr = this.#etaMin + (this.#base - this.#etaMin) * cosine
  }

  stateDict(): ScheduleState {
    return { step: this.#step, base: this.#base, lr: this.#optimizer.lr }
  }

  /** Also sets the optimizer's lr. */
  loadStateDict(state: ScheduleState): void {
    const where = 'CosineAnnealingLR.loadStateDict'
    const [step, base, lr] = loadNumbers(where, state, ['step', 'base', 'lr'])
    this.#optimizer.lr = lr as number
    this.#step = step as number
    this.#base = base as number
  }
}

export interface ReduceLROnPlateauOptions {
  /** Whether the metric should fall ('min') or rise ('max'). Default 'min'. */
  mode?: 'min' | 'max'
  /** Factor of a reduction. Default 0.1. */
  factor?: number
  /** Steps without improvement to tolerate. Default 10. */
  patience?: number
  /** Relative change that counts as improvement. Default 1e-4. */
  threshold?: number
  /** Steps to wait after a reduction. Default 0. */
  cooldown?: number
  /** The smallest learning rate. Default 0. */
  minLr?: number
}

/** Lowers the learning rate when a metric has stopped improving. */
export class ReduceLROnPlateau {
  readonly #optimizer: Optimizer
  readonly #options: Required<ReduceLROnPlateauOptions>
  #best: number
  #bad = 0
  #cooling = 0

  constructor(optimizer: Optimizer, options: ReduceLROnPlateauOptions = {}) {
    const where = 'ReduceLROnPlateau'
    this.#optimizer = checkOptimizer(where, optimizer)
    options = checkOptions(where, options, ['mode', 'factor', 'patience', 'threshold', 'cooldown', 'minLr'])
    const most = Number.MAX_SAFE_INTEGER
    this.#options = {
      mode: checkOneOf(where, 'mode', options.mode ?? 'min', ['min', 'max']),
      factor: checkNumber(where, 'factor', options.factor ?? 0.1, 0, 1),
      patience: checkInteger(where, 'patience', options.patience ?? 10, 0, most),
      threshold: checkNumber(where, 'threshold', options.threshold ?? 1e-4, 0),
      cooldown: checkInteger(where, 'cooldown', options.cooldown ?? 0, 0, most),
      minLr: checkNumber(where, 'minLr', options.minLr ?? 0, 0),
    }
    this.#best = this.#options.mode === 'min' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY
  }

  /** @param metric e.g. the validation loss */
  step(metric: number): void {
    if (typeof metric !== 'number')
      throw argumentError('ReduceLROnPlateau.step', 'metric to be a number', metric)
    const { mode, factor, patience, threshold, cooldown, minLr } = this.#options
    const better =
      mode === 'min' ? metric < this.#best * (1 - threshold) : metric > this.#best * (1 + threshold)
    if (better) {
      this.#best = metric
      this.#bad = 0
    } else {
      this.#bad++
    }
    if (this.#cooling > 0) {
      this.#cooling--
      this.#bad = 0
    }
    if (this.#bad > patience) {
      this.#optimizer.lr = Math.max(this.#optimizer.lr * factor, minLr)
      this.#cooling = cooldown
      this.#bad = 0
    }
  }

  stateDict(): ScheduleState {
    return { best: this.#best, bad: this.#bad, cooling: this.#cooling, lr: this.#optimizer.lr }
  }

  /** Also sets the optimizer's lr. */
  loadStateDict(state: ScheduleState): void {
    const where = 'ReduceLROnPlateau.loadStateDict'
    const [best, bad, cooling, lr] = loadNumbers(where, state, ['best', 'bad', 'cooling', 'lr'])
    this.#optimizer.lr = lr as number
    this.#best = best as number
    this.#bad = bad as number
    this.#cooling = cooling as number
  }
}
