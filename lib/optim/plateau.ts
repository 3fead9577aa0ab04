import { checkInteger, checkNumber, checkOneOf, checkOptions } from '../check.ts'
import { argumentError } from '../messages.ts'
import type { Optimizer } from './optimizer.ts'
import {
  checkCount,
  checkOptimizer,
  checkRates,
  checkState,
  drive,
  packed,
  ratesOf,
  type ScheduleState,
} from './schedule.ts'

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
  /** An improvement is a change by more than this part of the best metric. Default 1e-4. */
  threshold?: number | undefined
  /** Steps to wait after a reduction. Default 0. */
  cooldown?: number | undefined
  /** The smallest learning rate. Default 0. */
  minLr?: number | undefined
}

function checkBest(where: string, name: string, value: unknown): number | null {
  return value === null ? null : checkNumber(where, name, value)
}

/** Lowers the learning rate when a metric has stopped improving. */
export class ReduceLROnPlateau {
  readonly #optimizer: Optimizer
  readonly #options: Given<ReduceLROnPlateauOptions>
  /** null until the first finite metric. */
  #best: number | null = null
  /** Steps since the last improvement. */
  #bad = 0
  /** Steps of the cooldown that are left. */
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
      const rates = ratesOf(this.#optimizer).map((lr) => Math.max(lr * factor, minLr))
      drive('ReduceLROnPlateau', this.#optimizer, rates)
      this.#cooling = cooldown
      this.#bad = 0
    }
  }

  /** What {@link loadStateDict} of a schedule with the same options goes on from. */
  stateDict(): ScheduleState {
    return { best: this.#best, bad: this.#bad, cooling: this.#cooling, lr: packed(ratesOf(this.#optimizer)) }
  }

  /**
   * Goes on from a state of {@link stateDict}. Also sets the learning rates. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  loadStateDict(state: ScheduleState): void {
    const where = 'ReduceLROnPlateau.loadStateDict'
    const { best, bad, cooling, lr } = checkState(where, state, {
      best: checkBest,
      bad: checkCount,
      cooling: checkCount,
      lr: checkRates(this.#optimizer),
    })
    drive(where, this.#optimizer, lr)
    this.#best = best
    this.#bad = bad
    this.#cooling = cooling
  }
}
