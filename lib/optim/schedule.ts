/** What the learning rate schedules share: how they drive the groups of an optimizer, and their state. */
import { checkInteger, checkNumber, checkOptions } from '../check.ts'
import { argumentError, valueError } from '../messages.ts'
import { Optimizer } from './optimizer.ts'

/**
 * What a schedule needs to go on: finite numbers, null, lists of numbers (one for each group, where there are
 * several) and the states of other schedules, all of which JSON keeps as they are.
 */
export interface ScheduleState {
  [name: string]: number | null | number[] | ScheduleState[]
}

/** Checks the value of that name in a state. */
type Check = (where: string, name: string, value: unknown) => unknown

export function checkOptimizer(where: string, optimizer: Optimizer): Optimizer {
  if (!(optimizer instanceof Optimizer)) throw argumentError(where, 'an optimizer', optimizer)
  return optimizer
}

export function checkCount(where: string, name: string, value: unknown): number {
  return checkInteger(where, name, value, 0, Number.MAX_SAFE_INTEGER)
}

/** The values of a state by name: checked whole before anything changes. */
export function checkState<R extends Record<string, Check>>(
  where: string,
  state: ScheduleState,
  checks: R,
): { [N in keyof R]: ReturnType<R[N]> } {
  const given = checkOptions(where, state, Object.keys(checks))
  const entries = Object.entries(checks).map(([name, check]) => [name, check(where, name, given[name])])
  return Object.fromEntries(entries)
}

// -- one number for each group --------------------------------------------------------------

/** As it is given and saved: a number for all groups, or a list. */
export function packed(values: readonly number[]): number | number[] {
  return values.length === 1 ? (values[0] as number) : [...values]
}

/** Learning rates, one for each group, as {@link packed} made them. */
export function checkRates(optimizer: Optimizer): (where: string, name: string, value: unknown) => number[] {
  const groups = optimizer.paramGroups.length
  return (where, name, value) => {
    if (groups === 1) return [checkNumber(where, name, value, 0)]
    if (!Array.isArray(value)) throw argumentError(where, `${name} to be an array of numbers`, value)
    if (value.length !== groups) throw valueError(where, `${name} to have ${groups} numbers`, value)
    return Array.from(value, (each, i) => checkNumber(where, `${name}[${i}]`, each, 0))
  }
}

/** What the groups have now. */
export function ratesOf(optimizer: Optimizer): number[] {
  return optimizer.paramGroups.map(({ lr }) => lr)
}

/** Sets the rates of all groups, or throws and sets none. */
export function drive(where: string, optimizer: Optimizer, rates: readonly number[]): void {
  for (const rate of rates) checkNumber(where, 'lr', rate, 0)
  optimizer.paramGroups.forEach((group, i) => {
    group._drive(rates[i] as number)
  })
}

// -- schedules by steps --------------------------------------------------------------------------

/**
 * Base of the schedules that depend on nothing but the number of steps. Call step() once per epoch (or per batch),
 * after optimizer.step(). Each drives all groups of the optimizer, each group from its own learning rate: that
 * which it had when the first schedule was made, unless another one was set since.
 */
export abstract class Schedule {
  /** @internal */
  readonly _optimizer: Optimizer
  readonly #where: string
  /** Whether the learning rates that it starts from are part of its state: where later rates are computed from them. */
  readonly #keepsBases: boolean
  /** The learning rate of each group that it starts from. */
  #bases: readonly number[]
  #step = 0

  /** @internal */
  protected constructor(where: string, optimizer: Optimizer, keepsBases: boolean) {
    this.#where = where
    this._optimizer = checkOptimizer(where, optimizer)
    Object.defineProperty(this, '_optimizer', { enumerable: false })
    this.#keepsBases = keepsBases
    this.#bases = optimizer.paramGroups.map((group) => group._initialLr())
  }

  /** @internal The rates after step number `step`, from 1, and before it, `rates`. */
  protected abstract _next(step: number, bases: readonly number[], rates: readonly number[]): number[]

  /** @internal The rates before the first step. */
  protected _first(bases: readonly number[]): number[] {
    return [...bases]
  }

  /** @internal Called when the rates after `step` steps have been set. */
  protected _arrived(_step: number): void {}

  /** Counts a step and sets the learning rates that follow. If it throws, nothing has changed. */
  step(): void {
    const step = this.#step + 1
    drive(this.#where, this._optimizer, this._next(step, this.#bases, ratesOf(this._optimizer)))
    this.#step = step
    this._arrived(step)
  }

  /** What {@link loadStateDict} of a schedule with the same options goes on from. */
  stateDict(): ScheduleState {
    const bases = this.#keepsBases ? { base: packed(this.#bases) } : {}
    return { step: this.#step, ...bases, lr: packed(ratesOf(this._optimizer)) }
  }

  /**
   * Goes on from a state of {@link stateDict}. Also sets the learning rates. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  loadStateDict(state: ScheduleState): void {
    this._read(`${this.#where}.loadStateDict`, state)()
  }

  /** @internal Checks a state; what it returns goes on from it, and cannot fail. */
  _read(where: string, state: ScheduleState): () => void {
    const rates = checkRates(this._optimizer)
    const { step, lr, base } = checkState(where, state, {
      step: (...value) => this._checkStep(...value),
      lr: rates,
      ...(this.#keepsBases && { base: rates }),
    }) as { step: number; lr: number[]; base?: number[] }
    return () => {
      drive(where, this._optimizer, lr)
      this.#step = step
      if (base !== undefined) this.#bases = base
      this._arrived(step)
    }
  }

  /** @internal */
  protected _checkStep(where: string, name: string, value: unknown): number {
    return checkCount(where, name, value)
  }

  /** @internal Begins anew, from those rates. */
  _start(bases: readonly number[]): void {
    drive(this.#where, this._optimizer, this._first(bases))
    this.#bases = bases
    this.#step = 0
    this._arrived(0)
  }
}
