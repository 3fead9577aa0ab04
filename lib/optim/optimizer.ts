/** What the optimizers share: one fused update per step, state by parameter, step counters. */
import { type Handle, native, OPTIMIZER } from '../binding.ts'
import { checkInteger, checkPlacement, checkShapeIs, checkTensorMap } from '../check.ts'
import { full } from '../create.ts'
import { dtypeNumber, type FloatDType } from '../dtype.ts'
import { disposedError, namesError, refusal, warnUntrained } from '../messages.ts'
import { Parameter } from '../nn/module.ts'
import { detached } from '../scope.ts'
import { copyTo, settle } from '../state.ts'
import type { Tensor } from '../tensor.ts'
import type { ParamGroup } from './groups.ts'

/** State tensors that a parameter may have: a rule names them. */
export const STATES = 3

/**
 * Parameters of a group that have always been updated together: one step counter.
 * Those without a gradient at some step leave it for a cohort of their own.
 */
interface Cohort {
  group: ParamGroup
  dtype: FloatDType
  /** Steps done: a float64 scalar that the update itself increments. */
  step: Tensor<'float64'>
  members: number[]
  sizes: number[]
  parameters: Handle[]
  states: (Handle | null)[]
}

/** Base of the optimizers: SGD, Adam, AdamW, NAdam, RAdam, RMSprop and Adagrad. */
export abstract class Optimizer {
  /** What it updates, in the order given, group after group; state is named by their places here. */
  readonly parameters: readonly Tensor[]
  /** What they are updated by: one group, or those given. */
  readonly paramGroups: readonly ParamGroup[]
  readonly #kind: number
  /** Per parameter. */
  readonly #groups: readonly ParamGroup[]
  /** STATES for each parameter, made at its first update; null where its rule has fewer. */
  #states: (Tensor | null)[]
  /** Parameters that have state. */
  #updated = new Set<number>()
  #cohorts: Cohort[]
  #disposed = false
  readonly #name: string
  #stepped = false

  /** @internal */
  protected constructor(name: keyof typeof OPTIMIZER, groups: readonly ParamGroup[]) {
    this.#name = name
    this.#kind = OPTIMIZER[name]
    this.paramGroups = Object.freeze(groups)
    this.parameters = Object.freeze(groups.flatMap(({ params }) => params))
    this.#groups = groups.flatMap((group) => group.params.map(() => group))
    for (const field of ['parameters', 'paramGroups']) {
      Object.defineProperty(this, field, { writable: false, enumerable: field === 'parameters' })
    }
    for (const one of this.parameters) if (one instanceof Parameter) one._list()
    if (!this.parameters.some((parameter) => parameter.requiresGrad)) {
      throw refusal(name, 'expected a parameter that requires grad, got none')
    }
    this.#states = new Array<Tensor | null>(this.parameters.length * STATES).fill(null)
    this.#cohorts = this.#cohortsAt(new Map())
  }

  /** Learning rate of the first group. Setting it, at any time, sets that of every group. */
  get lr(): number {
    return (this.paramGroups[0] as ParamGroup).lr
  }

  set lr(value: number) {
    for (const group of this.paramGroups) group.lr = value
  }

  /**
   * Updates every parameter that has a gradient, in place. If it throws, nothing has changed. If the
   * computation of any of the gradients failed, nothing changes on its device.
   *
   * @throws BpttError ERR_BPTT_DISPOSED, ERR_BPTT_OOM
   */
  step(): void {
    const where = `${this.#name}.step`
    this.#checkLive(where)
    for (const { members, dtype, step } of this.#cohorts) {
      for (const i of members) {
        const parameter = this.parameters[i] as Tensor
        parameter._live(where)
        // Module.to may have moved it since.
        checkPlacement(where, `parameter ${i}`, parameter, dtype, step.device)
      }
    }
    const due = [...this.#cohorts].filter((cohort) => this.#arrange(where, cohort))
    this.#update(where, due)
    if (!this.#stepped) warnUntrained(where, Parameter._untrained(this.parameters))
    this.#stepped = true
  }

  /** Disposes the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.zeroGrad()
  }

  /**
   * Everything that {@link step} carries on, by name: `step.i` (a float64 scalar) and e.g.
   * `exp_avg.i` for parameter i, once it was updated. The tensors share the optimizer's memory: later
   * steps change them, until a state is loaded. Disposing them does not disturb the optimizer.
   * Options such as lr, of all or of a group, are not in it.
   */
  stateDict(): Map<string, Tensor> {
    this.#checkLive(`${this.#name}.stateDict`)
    const steps = new Map<number, Tensor>()
    for (const { members, step } of this.#cohorts) for (const i of members) steps.set(i, step)
    const state = new Map<string, Tensor>()
    const add = (name: string, tensor: Tensor) => state.set(name, tensor._share(tensor._shape))
    detached(() => {
      for (const i of [...this.#updated].sort((a, b) => a - b)) {
        add(`step.${i}`, steps.get(i) as Tensor)
        this.#namesOf(i).forEach((name, j) => {
          const tensor = this.#states[STATES * i + j]
          if (tensor) add(`${name}.${i}`, tensor)
        })
      }
    })
    return state
  }

  /**
   * Copies a state of {@link stateDict}, of an optimizer of the same class, options and
   * parameter shapes. Waits for its values. If it throws, nothing has changed.
   *
   * @param state it stays yours, and may be this optimizer's own
   * @throws RangeError ERR_BPTT_VALUE if names are missing or unexpected, or a step is not a whole
   *   number of at least 0; ERR_BPTT_SHAPE
   * @throws TypeError ERR_BPTT_DTYPE
   * @throws BpttError ERR_BPTT_DISPOSED, or the failure of the op that should have computed a value
   */
  loadStateDict(state: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>): void {
    const where = `${this.#name}.loadStateDict`
    this.#checkLive(where)
    const given = checkTensorMap(where, state)
    const updated = this.parameters.map((_, i) => i).filter((i) => given.has(`step.${i}`))
    this.#checkState(where, given, updated)
    const steps = new Map<number, number>()
    for (const i of updated) {
      const step = (given.get(`step.${i}`) as Tensor).itemSync()
      steps.set(i, checkInteger(where, `step.${i}`, step, 0, Number.MAX_SAFE_INTEGER))
    }

    const states = new Array<Tensor | null>(this.#states.length).fill(null)
    let cohorts: Cohort[]
    try {
      for (const i of updated) {
        const { device } = this.parameters[i] as Tensor
        this.#namesOf(i).forEach((name, j) => {
          if (name !== null) states[STATES * i + j] = copyTo(given.get(`${name}.${i}`) as Tensor, device)
        })
      }
      for (const tensor of states) if (tensor !== null) settle(where, tensor)
      cohorts = this.#cohortsAt(steps)
    } catch (error) {
      for (const tensor of states) tensor?.dispose()
      throw error
    }
    this.#free()
    this.#states = states
    this.#updated = new Set(updated)
    this.#cohorts = cohorts
  }

  /** Frees the state; the parameters stay. It can do no further step. */
  dispose(): void {
    this.#free()
    this.#disposed = true
  }

  /** As {@link dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #checkState(where: string, given: ReadonlyMap<string, Tensor>, updated: readonly number[]): void {
    const names = new Set<string>()
    for (const i of updated) {
      names.add(`step.${i}`)
      for (const name of this.#namesOf(i)) if (name !== null) names.add(`${name}.${i}`)
    }
    const missing = [...names].filter((name) => !given.has(name))
    const unexpected = [...given.keys()].filter((name) => !names.has(name))
    if (missing.length + unexpected.length > 0) {
      const expected = `the state of ${this.#name} with these options for ${this.parameters.length} parameters`
      throw namesError(where, expected, missing, unexpected)
    }
    for (const [name, value] of given) {
      const parameter = this.parameters[Number(name.slice(name.lastIndexOf('.') + 1))] as Tensor
      const isStep = name.startsWith('step.')
      checkPlacement(where, name, value, isStep ? 'float64' : parameter.dtype, value.device)
      checkShapeIs(where, name, value, isStep ? [] : parameter._shape)
    }
  }

  #namesOf(i: number): readonly (string | null)[] {
    return (this.#groups[i] as ParamGroup)._states
  }

  /** One cohort per group, dtype, device and number of steps done: 0 where `steps` has none. */
  #cohortsAt(steps: ReadonlyMap<number, number>): Cohort[] {
    const lists = new Map<string, number[]>()
    this.parameters.forEach(({ dtype, device }, i) => {
      const group = this.paramGroups.indexOf(this.#groups[i] as ParamGroup)
      const name = `${group} ${steps.get(i) ?? 0} ${dtype} ${device}`
      const list = lists.get(name)
      if (list) list.push(i)
      else lists.set(name, [i])
    })
    return [...lists.values()].map((members) => {
      const first = members[0] as number
      const { dtype, device } = this.parameters[first] as Tensor
      const step = detached(() => full([], steps.get(first) ?? 0, { dtype: 'float64', device }))
      return newCohort(this.#groups[first] as ParamGroup, dtype as FloatDType, members, step)
    })
  }

  /** Makes the state of parameter i. */
  #prepare(i: number): void {
    if (this.#updated.has(i)) return
    const { shape, dtype, device } = this.parameters[i] as Tensor
    const { _states: names, _initial: initial } = this.#groups[i] as ParamGroup
    const states = detached(() =>
      names.map((name) => (name === null ? null : full(shape, initial, { dtype, device }))),
    )
    states.forEach((state, j) => {
      this.#states[STATES * i + j] = state
    })
    this.#updated.add(i)
  }

  /** Makes ready what an update of the cohort needs; false if no member has a gradient. */
  #arrange(where: string, cohort: Cohort): boolean {
    const idle = cohort.members.filter((i) => (this.parameters[i] as Tensor).grad === null)
    if (idle.length === cohort.members.length) return false
    if (idle.length > 0) {
      // They go on in a cohort of their own, from the same step.
      const step = copyTo(cohort.step, cohort.step.device)
      this.#cohorts.push(newCohort(cohort.group, cohort.dtype, idle, step))
      cohort.members = cohort.members.filter((i) => (this.parameters[i] as Tensor).grad !== null)
      cohort.parameters = []
    }
    const { members } = cohort
    if (cohort.parameters.length === 0) {
      for (const i of members) this.#prepare(i)
      cohort.sizes = members.map((i) => (this.parameters[i] as Tensor).size)
      cohort.states = members.flatMap((i) =>
        this.#states.slice(STATES * i, STATES * (i + 1)).map((state) => state?._handle(where) ?? null),
      )
      cohort.parameters = members.map((i) => (this.parameters[i] as Tensor)._handle(where))
    }
    return true
  }

  #update(where: string, cohorts: readonly Cohort[]): void {
    const members = joined(cohorts, 'members').map((i) => this.parameters[i] as Tensor)
    native().optimize(
      this.#kind,
      Float64Array.from(cohorts.flatMap(({ group }) => group._row())),
      Float64Array.from(cohorts.flatMap(({ dtype, members }) => [dtypeNumber(dtype), members.length])),
      cohorts.map(({ step }) => step._handle(where)),
      Float64Array.from(joined(cohorts, 'sizes')),
      joined(cohorts, 'parameters'),
      members.map(({ grad }) => (grad as Tensor)._handle(where)),
      joined(cohorts, 'states'),
    )
    for (const parameter of members) parameter._live(where).touch()
  }

  #free(): void {
    for (const { step } of this.#cohorts) step.dispose()
    for (const tensor of this.#states) tensor?.dispose()
  }

  #checkLive(where: string): void {
    if (this.#disposed) throw disposedError(where)
  }
}

type Lists = Pick<Cohort, 'members' | 'sizes' | 'parameters' | 'states'>

/** The lists of all cohorts as one. By concat(): flatMap() costs as much as the rest of a step. */
function joined<K extends keyof Lists>(cohorts: readonly Cohort[], list: K): Lists[K]
function joined(cohorts: readonly Cohort[], list: keyof Lists): unknown[] {
  return ([] as unknown[]).concat(...cohorts.map((cohort) => cohort[list]))
}

function newCohort(group: ParamGroup, dtype: FloatDType, members: number[], step: Tensor<'float64'>): Cohort {
  return { group, dtype, step, members, sizes: [], parameters: [], states: [] }
}
