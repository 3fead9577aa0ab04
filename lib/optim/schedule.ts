/** Learning rate schedules. Call step() once per epoch (or per step), after optimizer.step(). */
import { checkInteger, checkNumber, checkOneOf, checkOptions } from '../check.ts'
import { argumentError } from '../messages.ts'
import { Optimizer } from './optimizer.ts'

/** What a schedule needs to go on: finite numbers and null, which JSON keeps as they are. */
export type ScheduleState = Record<string, number | null>

function checkOptimizer(where: string, optimizer: Optimizer): Optimizer {
  if (!(optimizer instanceof Optimizer)) throw argumentError(where, 'an optimizer', optimizer)
  return optimizer
}

/** What a value of a state must be, by name: checked whole before anything changes. */
const RULES = {
  lr: checkRate,
  base: checkRate,
  step: checkCount,
  bad: checkCount,
  cooling: checkCount,
  best: (where: string, name: string, value: unknown) =>
    value === null ? null : checkNumber(where, name, value),
} as const

type Loaded<K extends keyof typeof RULES> = { [N in K]: ReturnType<(typeof RULES)[N]> }

function checkRate(where: string, name: string, value: unknown): number {
  return checkNumber(where, name, value, 0)
}

function checkCount(where: string, name: string, value: unknown): number {
  return checkInteger(where, name, value, 0, Number.MAX_SAFE_INTEGER)
}

function loadState<K extends keyof typeof RULES>(
  where: string,
  state: ScheduleState,
  names: readonly K[],
): Loaded<K> {
  state = checkOptions(where, state, names)
  return Object.fromEntries(names.map((name) => [name, RULES[name](where, name, state[name])])) as Loaded<K>
}

/** Options of {@link StepLR}. */
export interface StepLROptions {
  /** Steps between decays. */
  stepSize: number
  /** Factor of a decay. Default 0.1. */
  gamma?: number | undefined
}

/** Multiplies the learning rate by gamma every stepSize steps. */
export class StepLR {
  readonly #optimizer: Optimizer
  readonly #stepSize: number
  readonly #gamma: number
  #step = 0

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: StepLROptions) {
    const where = 'StepLR'
    this.#optimizer = checkOptimizer(where, optimizer)
    options = checkOptions(where, options, ['stepSize', 'gamma'])
    this.#stepSize = checkInteger(where, 'stepSize', options.stepSize, 1, Number.MAX_SAFE_INTEGER)
    this.#gamma = checkNumber(where, 'gamma', options.gamma ?? 0.1, 0)
  }

  /** Counts a step and sets the learning rate that follows. */
  step(): void {
    const step = this.#step + 1
    if (step % this.#stepSize === 0) this.#optimizer.lr *= this.#gamma
    this.#step = step
  }

  /** What {@link loadStateDict} of a schedule with the same options goes on from. */
  stateDict(): ScheduleState {
    return { step: this.#step, lr: this.#optimizer.lr }
  }

  /**
   * Goes on from a state of {@link stateDict}. Also sets the optimizer's lr. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  loadStateDict(state: ScheduleState): void {
    const { step, lr } = loadState('StepLR.loadStateDict', state, ['step', 'lr'])
    this.#optimizer.lr = lr
    this.#step = step
  }
}

/** Options of {@link CosineAnnealingLR}. */
export interface CosineAnnealingLROptions {
  /** Steps from the first learning rate to the smallest. */
  tMax: number
  /** The smallest learning rate. Default 0. */
  etaMin?: number | undefined
}

/** Lowers the learning rate along half a cosine, over tMax steps, and up again after. */
export class CosineAnnealingLR {
  readonly #optimizer: Optimizer
  readonly #tMax: number
  readonly #etaMin: number
  #base: number
  #step = 0

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: CosineAnnealingLROptions) {
    const where = 'CosineAnnealingLR'
    this.#optimizer = checkOptimizer(where, optimizer)
    options = checkOptions(where, options, ['tMax', 'etaMin'])
    this.#tMax = checkInteger(where, 'tMax', options.tMax, 1, Number.MAX_SAFE_INTEGER)
    this.#etaMin = checkNumber(where, 'etaMin', options.etaMin ?? 0, 0)
    this.#base = optimizer.lr
  }

  /** Counts a step and sets the learning rate that follows. */
  step(): void {
    this.#step++
    const cosine = (1 + Math.cos((Math.PI * this.#step) / this.#tMax)) / 2
    this.#optimizer.lr = this.#etaMin + (this.#base - this.#etaMin) * cosine
  }

  /** What {@link loadStateDict} of a schedule with the same options goes on from. */
  stateDict(): ScheduleState {
    return { step: this.#step, base: this.#base, lr: this.#optimizer.lr }
  }

  /**
   * Goes on from a state of {@link stateDict}. Also sets the optimizer's lr. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  loadStateDict(state: ScheduleState): void {
    const { step, base, lr } = loadState('CosineAnnealingLR.loadStateDict', state, ['step', 'base', 'lr'])
    this.#optimizer.lr = lr
    this.#step = step
    this.#base = base
  }
}

/** Options with their defaults. */
type Given<T> = { [name in keyof T]-?: Exclude<T[name], undefined> }

/** Options of {@link ReduceLROnPlateau}. */
export interface ReduceLROnPlateauOptions {
  /** Whether the metric should fall ('min') or rise ('max'). Default 'min'. */
  mode?: 'min' | 'max' | undefined
  /** Factor of a reduction. Default 0.1. */
  factor?: number | undefined
  /** Steps without improvement to tolerate. Default 10. */
  patience?: number | undefined
  /** Relative change that counts as improvement. Default 1e-4. */
  threshold?: number | undefined
  /** Steps to wait after a reduction. Default 0. */
  cooldown?: number | undefined
  /** The smallest learning rate. Default 0. */
  minLr?: number | undefined
}

/** Lowers the learning rate when a metric has stopped improving. */
export class ReduceLROnPlateau {
  readonly #optimizer: Optimizer
  readonly #options: Given<ReduceLROnPlateauOptions>
  /** null until a metric counts. */
  #best: number | null = null
  #bad = 0
  #cooling = 0

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
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
  }

  /**
   * Counts a step and lowers the learning rate where it is time.
   *
   * @param metric e.g. the validation loss; one that is not finite is no improvement
   * @throws TypeError ERR_BPTT_TYPE if it is no number
   */
  step(metric: number): void {
    if (typeof metric !== 'number')
      throw argumentError('ReduceLROnPlateau.step', 'metric to be a number', metric)
    const { mode, factor, patience, threshold, cooldown, minLr } = this.#options
    const best = this.#best
    const isBetter =
      Number.isFinite(metric) &&
      (best === null || (mode === 'min' ? metric < best * (1 - threshold) : metric > best * (1 + threshold)))
    if (isBetter) {
      this.#best = metric + 0 // JSON has no -0
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

  /** What {@link loadStateDict} of a schedule with the same options goes on from. */
  stateDict(): ScheduleState {
    return { best: this.#best, bad: this.#bad, cooling: this.#cooling, lr: this.#optimizer.lr }
  }

  /**
   * Goes on from a state of {@link stateDict}. Also sets the optimizer's lr. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  loadStateDict(state: ScheduleState): void {
    const where = 'ReduceLROnPlateau.loadStateDict'
    const { best, bad, cooling, lr } = loadState(where, state, ['best', 'bad', 'cooling', 'lr'])
    this.#optimizer.lr = lr
    this.#best = best
    this.#bad = bad
    this.#cooling = cooling
  }
}
