/** What the optimizers share: one fused update per call, state by parameter, step counters. */
import { type Handle, native, OPTIMIZER } from '../binding.ts'
import {
  argumentError,
  checkEntries,
  checkFloatDType,
  checkNumber,
  checkPlacement,
  checkShapeIs,
  checkTensor,
  refusal,
  valueError,
} from '../check.ts'
import { full } from '../create.ts'
import { dtypeNumber, type FloatDType } from '../dtype.ts'
import { copyInto } from '../nn/module.ts'
import { detached } from '../scope.ts'
import type { Tensor } from '../tensor.ts'

/** Numbers of the update rule, in the addon's order; those a rule does not have are 0. */
export interface Hyper {
  weightDecay: number
  momentum?: number
  dampening?: number
  beta1?: number
  beta2?: number
  eps?: number
  alpha?: number
  nesterov?: boolean
  centered?: boolean
  amsgrad?: boolean
  maximize: boolean
}

/**
 * Parameters that have always been updated together: one step counter, one fused update.
 * Those without a gradient at some step leave it for a cohort of their own.
 */
interface Cohort {
  dtype: FloatDType
  /** Steps done: a float64 scalar that the update itself increments. */
  step: Tensor<'float64'>
  members: number[]
  sizes: Float64Array
  parameters: Handle[]
  states: (Handle | null)[]
}

/** Base of SGD, Adam, AdamW and RMSprop. */
export abstract class Optimizer {
  readonly parameters: readonly Tensor[]
  readonly #kind: number
  readonly #hyper: Float64Array
  /** Names of the three state tensors a parameter may have; null where the options need none. */
  readonly #stateNames: readonly (string | null)[]
  /** Per parameter, three each: made at its first update. */
  readonly #states: (Tensor | null)[]
  /** Parameters that have state. */
  readonly #updated = new Set<number>()
  #cohorts: Cohort[] = []
  readonly #name: string

  protected constructor(
    name: string,
    kind: keyof typeof OPTIMIZER,
    parameters: Iterable<Tensor>,
    lr: number,
    hyper: Hyper,
    stateNames: readonly (string | null)[],
  ) {
    this.#name = name
    this.#kind = OPTIMIZER[kind]
    this.#stateNames = stateNames
    this.parameters = Object.freeze(checkParameters(name, parameters))
    if (!this.parameters.some((parameter) => parameter.requiresGrad)) {
      throw refusal(name, 'expected a parameter that requires grad, got none')
    }
    this.#states = new Array<Tensor | null>(this.parameters.length * 3).fill(null)
    this.#hyper = Float64Array.of(
      0,
      hyper.weightDecay,
      hyper.momentum ?? 0,
      hyper.dampening ?? 0,
      hyper.beta1 ?? 0,
      hyper.beta2 ?? 0,
      hyper.eps ?? 0,
      hyper.alpha ?? 0,
      hyper.nesterov ? 1 : 0,
      hyper.centered ? 1 : 0,
      hyper.amsgrad ? 1 : 0,
      hyper.maximize ? 1 : 0,
    )
    this.lr = lr
    this.#addCohorts(this.parameters.map((_, i) => i))
  }

  /** Learning rate. May be set at any time. */
  get lr(): number {
    return this.#hyper[0] as number
  }

  set lr(value: number) {
    this.#hyper[0] = checkNumber(this.#name, 'lr', value, 0)
  }

  /**
   * Updates every parameter that has a gradient, in place. If the computation of any of
   * the gradients failed, nothing changes.
   */
  step(): void {
    const where = `${this.#name}.step`
    const cohorts = this.#cohorts
    for (const { members, dtype, step } of cohorts) {
      for (const i of members) {
        const parameter = this.parameters[i] as Tensor
        parameter._live(where)
        // Module.to may have moved it since.
        checkPlacement(where, `parameter ${i}`, parameter, dtype, step.device)
      }
    }
    const gradients = this.parameters.flatMap(({ grad }) => grad ?? [])
    const guardsOf = ({ step }: Cohort) =>
      gradients.filter(({ device }) => device === step.device).map((grad) => grad._handle(where))
    // One cohort's failed gradient must stop the others of its device too.
    const several = cohorts.length > 1
    for (let i = 0; i < cohorts.length; i++) {
      const cohort = cohorts[i] as Cohort
      this.#update(cohort, several ? guardsOf(cohort) : [])
    }
  }

  /** Disposes the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.zeroGrad()
  }

  /**
   * Everything that {@link step} carries on, by name: `step.i` (a float64 scalar) and e.g.
   * `exp_avg.i` for parameter i, once it was updated. The live tensors, not copies.
   * Options such as lr are not in it.
   */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>()
    const steps = new Map<number, Tensor>()
    for (const { members, step } of this.#cohorts) for (const i of members) steps.set(i, step)
    for (let i = 0; i < this.parameters.length; i++) {
      const entries = this.#stateNames.map((name, j) => [name, this.#states[3 * i + j] ?? null] as const)
      if (!this.#updated.has(i)) continue
      state.set(`step.${i}`, steps.get(i) as Tensor)
      for (const [name, tensor] of entries) if (tensor !== null) state.set(`${name}.${i}`, tensor)
    }
    return state
  }

  /**
   * Copies a state of {@link stateDict}, of an optimizer of the same class, options and
   * parameter shapes. Waits for the step counters. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE if names are missing or unexpected, ERR_BPTT_SHAPE
   * @throws TypeError ERR_BPTT_DTYPE
   */
  loadStateDict(state: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>): void {
    const where = `${this.#name}.loadStateDict`
    const given = new Map(checkEntries(where, state))
    const updated = this.parameters.map((_, i) => i).filter((i) => given.has(`step.${i}`))
    this.#checkState(where, given, updated)
    const steps = new Map<number, number>()
    for (const i of updated) steps.set(i, (given.get(`step.${i}`) as Tensor).itemSync())

    detached(() => {
      for (const { step } of this.#cohorts) step.dispose()
      this.#cohorts = []
      this.#updated.clear()
      this.#states.forEach((tensor, at) => {
        tensor?.dispose()
        this.#states[at] = null
      })
      for (const i of updated) {
        this.#prepare(i)
        this.#stateNames.forEach((name, j) => {
          const target = this.#states[3 * i + j]
          if (target) copyInto(target, given.get(`${name}.${i}`) as Tensor)
        })
      }
      const values = new Set(this.parameters.map((_, i) => steps.get(i) ?? 0))
      for (const value of values) {
        this.#addCohorts(
          this.parameters.map((_, i) => i).filter((i) => (steps.get(i) ?? 0) === value),
          value,
        )
      }
    })
  }

  /** Frees the state; the parameters stay. */
  dispose(): void {
    for (const { step } of this.#cohorts) step.dispose()
    for (const tensor of this.#states) tensor?.dispose()
    this.#cohorts = []
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #checkState(where: string, given: ReadonlyMap<string, Tensor>, updated: readonly number[]): void {
    const names = new Set<string>()
    for (const i of updated) {
      names.add(`step.${i}`)
      for (const name of this.#stateNames) if (name !== null) names.add(`${name}.${i}`)
    }
    const missing = [...names].filter((name) => !given.has(name))
    const unexpected = [...given.keys()].filter((name) => !names.has(name))
    if (missing.length + unexpected.length > 0) {
      throw refusal(
        where,
        `expected the state of ${this.#name} with these options for ${this.parameters.length} parameters; ` +
          `missing: ${missing.join(', ') || 'none'}; unexpected: ${unexpected.join(', ') || 'none'}`,
      )
    }
    for (const [name, value] of given) {
      const parameter = this.parameters[Number(name.slice(name.lastIndexOf('.') + 1))] as Tensor
      const isStep = name.startsWith('step.')
      checkTensor(where, name, value)
      checkPlacement(where, name, value, isStep ? 'float64' : parameter.dtype, value.device)
      checkShapeIs(where, name, value, isStep ? [] : parameter.shape)
      value._live(where)
    }
  }

  /** One cohort per dtype and device among the given parameters. */
  #addCohorts(members: readonly number[], steps = 0): void {
    const groups = new Map<string, number[]>()
    for (const i of members) {
      const { dtype, device } = this.parameters[i] as Tensor
      const name = `${dtype} ${device}`
      const group = groups.get(name)
      if (group) group.push(i)
      else groups.set(name, [i])
    }
    for (const group of groups.values()) {
      const { dtype, device } = this.parameters[group[0] as number] as Tensor
      const step = detached(() => full([], steps, { dtype: 'float64', device }))
      this.#cohorts.push(this.#cohort(dtype as FloatDType, group, step))
    }
  }

  #cohort(dtype: FloatDType, members: number[], step: Tensor<'float64'>): Cohort {
    return { dtype, step, members, sizes: new Float64Array(0), parameters: [], states: [] }
  }

  /** Makes the state of parameter i: zeros. */
  #prepare(i: number): void {
    if (this.#updated.has(i)) return
    this.#updated.add(i)
    const parameter = this.parameters[i] as Tensor
    detached(() => {
      this.#stateNames.forEach((name, j) => {
        if (name !== null) {
          this.#states[3 * i + j] = full(parameter.shape, 0, {
            dtype: parameter.dtype,
            device: parameter.device,
          })
        }
      })
    })
  }

  #update(cohort: Cohort, guards: readonly Handle[]): void {
    const { parameters } = this
    const { members, dtype, step } = cohort
    const gradients: Handle[] = []
    for (const i of members) {
      const { grad } = parameters[i] as Tensor
      if (grad !== null) gradients.push(grad._handle(this.#name))
    }
    if (gradients.length === 0) return
    if (gradients.length < members.length) this.#split(cohort)
    if (cohort.parameters.length === 0) this.#arrange(cohort)
    for (const i of cohort.members) (parameters[i] as Tensor)._live(`${this.#name}.step`).touch()
    native().optimize(
      this.#kind,
      dtypeNumber(dtype),
      this.#hyper,
      step._handle(this.#name),
      cohort.sizes,
      cohort.parameters,
      guards.length > 0 ? gradients.concat(guards) : gradients,
      cohort.states,
    )
  }

  /** Members without a gradient go on in a cohort of their own, from the same step. */
  #split(cohort: Cohort): void {
    const idle = cohort.members.filter((i) => (this.parameters[i] as Tensor).grad === null)
    const step = detached(() => full([], 0, { dtype: 'float64', device: cohort.step.device }))
    copyInto(step, cohort.step)
    this.#cohorts.push(this.#cohort(cohort.dtype, idle, step))
    cohort.members = cohort.members.filter((i) => (this.parameters[i] as Tensor).grad !== null)
    cohort.parameters = []
  }

  #arrange(cohort: Cohort): void {
    const { members } = cohort
    cohort.sizes = Float64Array.from(members, (i) => (this.parameters[i] as Tensor).size)
    cohort.states = []
    for (const i of members) {
      this.#prepare(i)
      cohort.parameters.push((this.parameters[i] as Tensor)._handle(`${this.#name}.step`))
      for (let j = 0; j < 3; j++) {
        cohort.states.push(this.#states[3 * i + j]?._handle(this.#name) ?? null)
      }
    }
  }
}

/** The parameters as a list: leaves, each once. */
export function checkParameters(where: string, parameters: Iterable<Tensor>): Tensor[] {
  if (typeof parameters !== 'object' || parameters === null || !(Symbol.iterator in parameters)) {
    throw argumentError(where, 'an array of parameters', parameters, 'pass model.parameters()')
  }
  const list = new Set<Tensor>()
  for (const parameter of parameters) {
    const i = list.size
    checkTensor(where, `parameter ${i}`, parameter)
    checkFloatDType(where, parameter.dtype)
    if (parameter._node !== null)
      throw refusal(where, `expected parameter ${i} to be a leaf, got the result of an op`)
    if (list.has(parameter)) throw refusal(where, 'expected each parameter once, got one twice')
    list.add(parameter)
  }
  if (list.size === 0) throw valueError(where, 'at least one parameter', [], 'pass model.parameters()')
  return [...list]
}
