import { checkOptions } from '../check.ts'
import { argumentError, refusal, valueError } from '../messages.ts'
import type { Optimizer } from './optimizer.ts'
import { checkCount, checkState, ratesOf, Schedule, type ScheduleState } from './schedule.ts'

/** Options of {@link SequentialLR}. */
export interface SequentialLROptions {
  /** Schedules of the same optimizer, in their order. Not ReduceLROnPlateau, which wants a metric. */
  schedulers: readonly Schedule[]
  /** With which step each but the first begins; one fewer than there are schedules, ascending. */
  milestones: readonly number[]
}

/**
 * Schedules one after the other, each from the first learning rate on. Call step() of this one alone.
 *
 * @example
 * const warmUp = new LinearLR(optimizer, { totalIters: 500 })
 * const decay = new CosineAnnealingLR(optimizer, { tMax: 9500 })
 * const schedule = new SequentialLR(optimizer, { schedulers: [warmUp, decay], milestones: [500] })
 */
export class SequentialLR extends Schedule {
  readonly #schedulers: readonly Schedule[]
  readonly #milestones: readonly number[]

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: SequentialLROptions) {
    const where = 'SequentialLR'
    super(where, optimizer, true)
    const { schedulers, milestones } = checkOptions(where, options, ['schedulers', 'milestones'])
    if (!Array.isArray(schedulers)) throw argumentError(where, 'schedulers to be an array', schedulers)
    if (!Array.isArray(milestones)) throw argumentError(where, 'milestones to be an array', milestones)
    this.#schedulers = Array.from(schedulers as unknown[], (one, i) => {
      if (!(one instanceof Schedule)) {
        throw argumentError(where, `schedulers[${i}] to be a schedule by steps`, one)
      }
      if (one._optimizer !== optimizer) {
        throw refusal(where, `expected schedules of this optimizer, got another one's in schedulers[${i}]`)
      }
      return one
    })
    let least = 0
    this.#milestones = Array.from(milestones as unknown[], (one, i) => {
      const step = checkCount(where, `milestones[${i}]`, one)
      if (step < least) throw valueError(where, 'milestones that ascend', milestones)
      least = step
      return step
    })
    if (this.#milestones.length + 1 !== this.#schedulers.length) {
      const expected = `expected one milestone fewer than schedulers`
      throw refusal(where, `${expected}, got ${this.#milestones.length} and ${this.#schedulers.length}`)
    }
    this._start(optimizer.paramGroups.map((group) => group._initialLr()))
  }

  /** @internal */
  protected override _first(bases: readonly number[]): number[] {
    this.#at(0).schedule._start(bases)
    return ratesOf(this._optimizer)
  }

  /** @internal */
  protected override _next(step: number, bases: readonly number[]): number[] {
    const { schedule, begins } = this.#at(step)
    if (begins) schedule._start(bases)
    else schedule.step()
    return ratesOf(this._optimizer)
  }

  /** As that of the others, with the states of its schedules. */
  override stateDict(): ScheduleState {
    return { ...super.stateDict(), schedulers: this.#schedulers.map((one) => one.stateDict()) }
  }

  /** @internal */
  override _read(where: string, state: ScheduleState): () => void {
    const { step, base, lr, schedulers } = checkState(where, state, {
      step: keep,
      base: keep,
      lr: keep,
      schedulers: (_, name, value) => {
        if (!Array.isArray(value)) throw argumentError(where, `${name} to be an array of states`, value)
        const { length } = this.#schedulers
        if (value.length !== length) throw valueError(where, `${name} to have ${length} states`, value)
        return this.#schedulers.map((one, i) =>
          one._read(`${where} ${name}[${i}]`, value[i] as ScheduleState),
        )
      },
    })
    const own = super._read(where, { step, base, lr } as ScheduleState)
    // The one at work comes last: what it sets beside the learning rate stays.
    return () => {
      const current = this.#schedulers.indexOf(this.#at(step as number).schedule)
      schedulers.forEach((load, i) => {
        if (i !== current) load()
      })
      schedulers[current]?.()
      own()
    }
  }

  /** The schedule that a step belongs to, and whether it begins with it. */
  #at(step: number): { schedule: Schedule; begins: boolean } {
    const i = this.#milestones.filter((milestone) => milestone <= step).length
    return { schedule: this.#schedulers[i] as Schedule, begins: i > 0 && this.#milestones[i - 1] === step }
  }
}

function keep(_where: string, _name: string, value: unknown): unknown {
  return value
}
