/** Groups of parameters: what an optimizer updates by one set of numbers. */
import { isPlainObject, isTensor } from '../brand.ts'
import { checkFloatDType, checkNumber, checkOptions, checkTensor } from '../check.ts'
import { argumentError, refusal, valueError } from '../messages.ts'
import type { Module, Parameter } from '../nn/module.ts'
import type { Tensor } from '../tensor.ts'

/** Numbers of the update rule of a group; those a rule does not have are 0. */
export interface Hyper {
  lr: number
  weightDecay?: number | undefined
  momentum?: number | undefined
  dampening?: number | undefined
  betas?: readonly [number, number] | undefined
  eps?: number | undefined
  alpha?: number | undefined
  lrDecay?: number | undefined
  /** NAdam: the factor by which the momentum approaches the first of betas at each step. */
  muDecay?: number | undefined
  nesterov?: boolean | undefined
  centered?: boolean | undefined
  amsgrad?: boolean | undefined
  maximize?: boolean | undefined
  decoupled?: boolean | undefined
}

/** The update rule of a group: checked options with their defaults. */
export interface Rule {
  hyper: Hyper
  /** Names of the three state tensors a parameter may have; null where the options need none. */
  states: readonly (string | null)[]
  /** The value that the state tensors begin with. Default 0. */
  initial?: number | undefined
}

/** Parameters with options of their own; those that are not given are the optimizer's. */
export type GroupOptions<O> = O & {
  /** What the group updates, e.g. `module.parameters()`. */
  params: Iterable<Tensor>
}

/** What an optimizer takes: parameters, or groups of them. */
export type ParametersOrGroups<O> = Iterable<Tensor> | Iterable<GroupOptions<O>>

/** The rule's numbers in the addon's order. */
export function hyperRow(hyper: Hyper): number[] {
  return [
    hyper.lr,
    hyper.weightDecay ?? 0,
    hyper.momentum ?? 0,
    hyper.dampening ?? 0,
    hyper.betas?.[0] ?? 0,
    hyper.betas?.[1] ?? 0,
    hyper.eps ?? 0,
    hyper.alpha ?? 0,
    hyper.lrDecay ?? 0,
    hyper.muDecay ?? 0,
    hyper.nesterov ? 1 : 0,
    hyper.centered ? 1 : 0,
    hyper.amsgrad ? 1 : 0,
    hyper.maximize ? 1 : 0,
    hyper.decoupled ? 1 : 0,
  ]
}

/** A group of an optimizer, in {@link Optimizer.paramGroups}. What can be set counts from the next step on. */
export class ParamGroup {
  /** What it updates. */
  readonly params: readonly Tensor[]
  /** @internal */
  readonly _states: readonly (string | null)[]
  /** @internal */
  readonly _initial: number
  readonly #where: string
  readonly #hyper: Hyper
  readonly #hasMomentum: boolean
  /** The learning rate that schedules start from: that when the first was made, unless lr was set since. null: no schedule yet. */
  #initialLr: number | null = null

  /** @internal */
  constructor(where: string, params: readonly Tensor[], { hyper, states, initial = 0 }: Rule) {
    this.#where = where
    this.params = Object.freeze(params)
    this.#hyper = { ...hyper }
    this.#hasMomentum = (hyper.momentum ?? 0) > 0
    this._states = states
    this._initial = initial
    for (const name of ['params', '_states', '_initial']) {
      Object.defineProperty(this, name, { writable: false, enumerable: name === 'params' })
    }
  }

  /** Learning rate, at least 0. */
  get lr(): number {
    return this.#hyper.lr
  }

  set lr(value: number) {
    this._drive(checkNumber(this.#where, 'lr', value, 0))
    this.#initialLr = null
  }

  /** Weight decay, at least 0. */
  get weightDecay(): number {
    return this.#hyper.weightDecay ?? 0
  }

  set weightDecay(value: number) {
    this.#hyper.weightDecay = checkNumber(this.#where, 'weightDecay', value, 0)
  }

  /**
   * Momentum, at least 0, of SGD and RMSprop; undefined of other optimizers. A group made with 0 keeps no running sum, so
   * it can have none later: RangeError ERR_BPTT_VALUE.
   */
  get momentum(): number | undefined {
    return this.#hyper.momentum
  }

  set momentum(value: number) {
    const where = this.#where
    if (this.#hyper.momentum === undefined) throw refusal(where, 'expected an optimizer that has momentum')
    checkNumber(where, 'momentum', value, 0)
    if (value > 0 && !this.#hasMomentum) {
      throw refusal(
        where,
        `expected a group with momentum, got one without; make it with { momentum: ${value} }`,
      )
    }
    this.#hyper.momentum = value
  }

  /** Of Adam and its variants, each from 0 to below 1; undefined of other optimizers. */
  get betas(): readonly [number, number] | undefined {
    return this.#hyper.betas
  }

  set betas(value: readonly [number, number]) {
    if (this.#hyper.betas === undefined) throw refusal(this.#where, 'expected an optimizer that has betas')
    this.#hyper.betas = checkBetas(this.#where, value)
  }

  /** @internal Sets the learning rate for a schedule; it has been checked. */
  _drive(lr: number): void {
    this.#hyper.lr = lr + 0 // JSON, to which schedules go, has no -0
  }

  /** @internal */
  _initialLr(): number {
    this.#initialLr ??= this.lr
    return this.#initialLr
  }

  /** @internal */
  _row(): number[] {
    return hyperRow(this.#hyper)
  }
}

/** Two numbers from 0 to below 1. */
export function checkBetas(where: string, given: unknown): readonly [number, number] {
  const betas = Array.isArray(given) ? given.slice(0, 3) : []
  if (betas.length !== 2) throw argumentError(where, 'betas to be two numbers', given)
  const [beta1, beta2] = betas.map((beta) => {
    if (checkNumber(where, 'betas', beta, 0, 1) === 1) throw valueError(where, 'betas below 1', beta)
    return beta as number
  })
  return Object.freeze([beta1, beta2] as [number, number])
}

/** One group for parameters, or one for each that is given; `ruleOf` checks its options and gives defaults. */
export function groupsOf<O extends object>(
  where: string,
  given: ParametersOrGroups<O>,
  options: O,
  names: readonly string[],
  ruleOf: (options: O) => Rule,
): ParamGroup[] {
  const common = checkOptions(where, options, names)
  const items = checkIterable(where, given)
  const rule = ruleOf(common)
  if (!items.some(isGroup)) return [new ParamGroup(where, checkParameters(where, items as Tensor[]), rule)]
  const seen = new Set<Tensor>()
  const groups = items.map((item, i) => {
    if (!isGroup(item)) throw argumentError(where, `group ${i} to be an object with params`, item)
    const { params, ...own } = checkOptions(where, item as GroupOptions<O>, ['params', ...names])
    const list = checkParameters(where, params, true)
    for (const parameter of list) {
      if (seen.has(parameter)) throw refusal(where, 'expected each parameter in one group, got one in two')
      seen.add(parameter)
    }
    return new ParamGroup(where, list, ruleOf({ ...common, ...own } as O))
  })
  if (seen.size === 0) throw valueError(where, 'at least one parameter', [], 'pass model.parameters()')
  return groups
}

function isGroup(item: unknown): boolean {
  return (
    typeof item === 'object' && item !== null && !isTensor(item) && isPlainObject(item) && 'params' in item
  )
}

function checkIterable(where: string, given: unknown): unknown[] {
  if (typeof given !== 'object' || given === null || !(Symbol.iterator in given)) {
    throw argumentError(where, 'an array of parameters', given, 'pass model.parameters()')
  }
  return [...(given as Iterable<unknown>)]
}

/** The parameters as a list: leaves, each once. */
export function checkParameters(where: string, parameters: Iterable<Tensor>, mayBeEmpty = false): Tensor[] {
  const list = new Set<Tensor>()
  for (const parameter of checkIterable(where, parameters) as Tensor[]) {
    const i = list.size
    if (Array.isArray(parameter))
      throw argumentError(where, `parameter ${i} to be a Tensor`, parameter, 'pass model.parameters()')
    checkTensor(where, `parameter ${i}`, parameter)
    checkFloatDType(where, parameter.dtype)
    if (parameter._node !== null)
      throw refusal(where, `expected parameter ${i} to be a leaf, got the result of an op`)
    if (list.has(parameter))
      throw refusal(where, 'expected each parameter once, got one twice; pass [...new Set(parameters)]')
    list.add(parameter)
  }
  if (list.size === 0 && !mayBeEmpty) {
    throw valueError(where, 'at least one parameter', [], 'pass model.parameters()')
  }
  return [...list]
}

/** A group of {@link decayGroups}. */
export interface DecayGroup {
  /** Of the module. */
  params: Parameter[]
  /** 0 where there is none; else the optimizer's own. */
  weightDecay?: number | undefined
}

/**
 * The parameters of a module as two groups, of which the second has no weight decay.
 *
 * @param module its parameters, each once
 * @param noDecay which go without: default those of less than two dimensions, that is biases and the weights of
 *   normalizations
 *
 * @example
 * const optimizer = new AdamW(decayGroups(model), { weightDecay: 0.1 })
 */
export function decayGroups(
  module: Module<never>,
  noDecay: (name: string, parameter: Parameter) => boolean = (_, parameter) => parameter.rank < 2,
): [decayed: DecayGroup, others: DecayGroup] {
  const decayed: Parameter[] = []
  const others: Parameter[] = []
  for (const [name, parameter] of module.namedParameters()) {
    ;(noDecay(name, parameter) ? others : decayed).push(parameter)
  }
  return [{ params: decayed }, { params: others, weightDecay: 0 }]
}
