import { isTensor, UNCLONEABLE } from '../brand.ts'
import {
  checkBoolean,
  checkDevice,
  checkFloat,
  checkLike,
  checkOptions,
  checkPlacement,
  checkShapeIs,
  checkTensor,
  checkTensorMap,
} from '../check.ts'
import type { Device, DType, FloatDType } from '../dtype.ts'
import {
  argumentError,
  describe,
  foreignModuleError,
  namesError,
  parameterError,
  refusal,
  shapeText,
  valueError,
} from '../messages.ts'
import { detached } from '../scope.ts'
import { copyAll } from '../state.ts'
import { Tensor } from '../tensor.ts'
import { visitMembers } from './members.ts'

/**
 * A tensor that a module trains: a leaf that requires grad. A field of a module that
 * holds one is found by parameters() and stateDict(); plain tensors are not.
 */
export class Parameter<D extends FloatDType = FloatDType> extends Tensor<D> {
  #name: string | null = null
  #listed = false
  #lastBackward = 0

  /** Shares the memory of `value`, which may be disposed afterwards. Not owned by any tidy(). */
  constructor(value: Tensor<D>) {
    checkFloat('Parameter', 'value', value)
    super(value._live('Parameter').retain(), value.shape, value.dtype, value.device)
    this._setLeaf(true)
  }

  /** @internal Notes that some parameters(), stateDict() or optimizer has listed it. */
  _list(): this {
    this.#listed = true
    return this
  }

  /** @internal Notes which parameter of which class it is, for messages. */
  _call(name: string): void {
    this.#name ??= name
  }

  /** @internal Notes which backward() gave it a gradient. */
  override _onGradient(backward: number): void {
    this.#lastBackward = backward
    if (this.#listed) return
    if (backward !== last.backward) last = { backward, unlisted: [] }
    last.unlisted.push(new WeakRef(this))
  }

  /**
   * @internal The parameters that the last backward() reached together with one of `trained`, and that nobody
   * has listed: they are in no field that is searched.
   */
  static _untrained(trained: readonly Tensor[]): string[] {
    const { backward, unlisted } = last
    if (!trained.some((one) => one instanceof Parameter && one.#lastBackward === backward)) return []
    return unlisted.flatMap((reference) => {
      const one = reference.deref()
      return one === undefined || one.#listed ? [] : `${one.#name ?? 'a Parameter'} ${shapeText(one.shape)}`
    })
  }
}

/** The unlisted parameters that the latest backward() to reach any has given a gradient, and its number. */
let last: { backward: number; unlisted: WeakRef<Parameter>[] } = { backward: 0, unlisted: [] }

/**
 * A tensor that a module keeps but does not train, such as a running mean. A field of a module that holds one is
 * found by buffers() and stateDict(), and moves with the module; plain tensors are not.
 */
export class Buffer<D extends DType = DType> extends Tensor<D> {
  /** Shares the memory of `value`, which may be disposed afterwards. Not owned by any tidy(). */
  constructor(value: Tensor<D>) {
    checkTensor('Buffer', 'value', value)
    super(value._live('Buffer').retain(), value.shape, value.dtype, value.device)
  }
}

/** What {@link Module.loadStateDict} did not match. */
export interface LoadResult {
  /** Names of the module that the state lacks. */
  missing: string[]
  /** Names of the state that the module lacks. */
  unexpected: string[]
}

/** @inline */
type State = Parameter | Buffer
/** @inline */
type Member = State | Module<never>

interface Members {
  parameters: [string, Parameter][]
  buffers: [string, Buffer][]
  children: [string, Module<never>][]
}

/** On the prototype of the modules of every copy of the library. */
const MODULE = Symbol.for('bptt.Module')

/** More names than this come only from modules that refer to each other in circles. */
const MAX_NAMES = 100_000

/**
 * Base of all layers and models. A subclass keeps its {@link Parameter}s, {@link Buffer}s and child modules in
 * public fields, or in arrays, plain objects, maps and sets there, however nested, and implements forward(). Names in the state
 * dict are those of the fields, with indices and keys, joined by dots, as in PyTorch: 'layers.0.weight'.
 *
 * What no field shows is not found: #private fields, closures, objects of classes that are no modules. Enter it
 * by {@link register}. An optimizer warns where its first step leaves out a parameter that its loss depends on
 * and that nothing has found.
 *
 * One parameter or module under two names is trained once, by the sum of its gradients, and saved under both;
 * either name is enough to load it. Assigning a parameter of a layer shares it: `head.weight = embedding.weight`.
 *
 * @example
 * class Model extends Module<Tensor, Tensor> {
 *   lstm = new LSTM(8, 32)
 *   head = new Linear(32, 4)
 *   forward(x: Tensor) { return this.head.forward(this.lstm.forward(x).output) }
 * }
 */
export abstract class Module<In = Tensor, Out = unknown> {
  /** Whether dropout and batch normalization do as in training. Set by {@link train} and {@link eval}. Default true. */
  training = true
  /** @internal */
  readonly uncloneable = UNCLONEABLE
  readonly #registered = new Map<string, Member>()
  #disposed = false

  /** @internal Whether it is a module of this library: none of another copy, no proxy. */
  static _is(value: object): value is Module<never> {
    return #registered in value
  }

  /** Computes the output. A subclass implements it. */
  abstract forward(input: In): Out

  /** The parameters of this module and its children, each once, in the order of their fields. */
  parameters(): Parameter[] {
    return this.namedParameters().map(([, parameter]) => parameter)
  }

  /** Names and parameters; one that occurs under several names only under the first. */
  namedParameters(): [string, Parameter][] {
    const entries = this.#named(({ parameters }) => parameters)
    for (const [, one] of entries) one._list()
    return entries
  }

  /** The buffers of this module and its children, each once, in the order of their fields. */
  buffers(): Buffer[] {
    return this.namedBuffers().map(([, buffer]) => buffer)
  }

  /** Names and buffers; one that occurs under several names only under the first. */
  namedBuffers(): [string, Buffer][] {
    return this.#named(({ buffers }) => buffers)
  }

  #named<T extends State>(own: (members: Members) => [string, T][]): [string, T][] {
    const entries = new Map<T, string>()
    const modules = new Set<Module<never>>()
    const visit = (prefix: string, module: Module<never>) => {
      if (modules.has(module)) return
      modules.add(module)
      const members = module.#members()
      for (const [name, one] of own(members)) if (!entries.has(one)) entries.set(one, prefix + name)
      for (const [name, child] of members.children) visit(`${prefix}${name}.`, child)
    }
    visit('', this)
    return Array.from(entries, ([one, name]) => [name, one])
  }

  /**
   * The parameter of a name in the state dict, e.g. 'lstm.weight_ih_l1_reverse'.
   *
   * @throws RangeError ERR_BPTT_VALUE if there is none
   */
  getParameter(name: string): Parameter {
    const state = this.stateDict()
    const parameter = state.get(name)
    if (parameter instanceof Parameter) return parameter
    const where = `${this.constructor.name}.getParameter`
    const names = [...state].flatMap(([other, one]) => (one instanceof Parameter ? other : []))
    throw valueError(where, `one of the names ${names.join(', ')}`, name)
  }

  /** All parameters and buffers by name: the live ones, not copies. One that is shared has all its names. */
  stateDict(): Map<string, Parameter | Buffer> {
    const where = `${this.constructor.name}.stateDict`
    const state = new Map<string, State>()
    const path = new Set<Module<never>>()
    const visit = (prefix: string, module: Module<never>) => {
      if (path.has(module)) return
      path.add(module)
      const { parameters, buffers, children } = module.#members()
      for (const [, one] of parameters) one._list()
      for (const [name, one] of [...parameters, ...buffers]) {
        const before = state.get(prefix + name)
        if (before !== undefined && before !== one) {
          throw refusal(where, `expected names that differ, got two tensors called ${prefix}${name}`)
        }
        state.set(prefix + name, one)
      }
      if (state.size > MAX_NAMES) {
        throw refusal(
          where,
          `more than ${MAX_NAMES} names: modules refer to each other; keep such a reference in a #private field`,
        )
      }
      for (const [name, child] of children) visit(`${prefix}${name}.`, child)
      path.delete(module)
    }
    visit('', this)
    return state
  }

  /**
   * Copies values into the parameters and buffers, in place. Waits until they are computed. Checks everything
   * first: if it throws, nothing has changed.
   *
   * @param state tensors by name, of the same shapes and dtypes; they stay yours, and may be those of this
   *   module too
   * @param options strict: throw unless the names match exactly (default true)
   * @throws RangeError ERR_BPTT_SHAPE if a shape differs
   * @throws RangeError ERR_BPTT_VALUE if names differ and strict
   * @throws TypeError ERR_BPTT_DTYPE if a dtype differs
   * @throws BpttError ERR_BPTT_DISPOSED, or the failure of the op that should have computed a value
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
    options: { strict?: boolean | undefined } = {},
  ): LoadResult {
    const where = `${this.constructor.name}.loadStateDict`
    checkOptions(where, options, ['strict'])
    const strict = checkBoolean(where, 'strict', options.strict ?? true)
    const given = checkTensorMap(where, state)
    const own = this.stateDict()
    // One name of a shared parameter is enough.
    const covered = new Set([...own].flatMap(([name, one]) => (given.has(name) ? one : [])))
    const missing = [...own].flatMap(([name, one]) => (covered.has(one) ? [] : name))
    const unexpected = [...given.keys()].filter((name) => !own.has(name))
    if (strict && missing.length + unexpected.length > 0) {
      throw namesError(
        where,
        "the names of the module's parameters",
        missing,
        unexpected,
        'pass { strict: false } to load what matches',
      )
    }
    const pairs: [Tensor, Tensor][] = []
    for (const [name, one] of own) {
      const value = given.get(name)
      if (value === undefined) continue
      checkPlacement(where, name, value, one.dtype, value.device)
      checkShapeIs(where, name, value, one._shape)
      pairs.push([one, value])
    }
    copyAll(where, pairs)
    return { missing, unexpected }
  }

  /** Switches to training: dropout is active, batch normalization uses its batch. */
  train(): this {
    return this.#setTraining(true)
  }

  /** Switches to evaluation: dropout does nothing, batch normalization uses what it has seen. */
  eval(): this {
    return this.#setTraining(false)
  }

  /** Disposes the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad()
  }

  /**
   * Moves the parameters, their gradients and the buffers to a device, when the work before is done. Optimizers
   * keep their state where it is: make them afterwards.
   *
   * @throws BpttError ERR_BPTT_DEVICE if there is no such device
   */
  to(device: Device): this {
    const target = checkDevice(`${this.constructor.name}.to`, device)
    for (const one of [...this.parameters(), ...this.buffers()]) one._move(target)
    for (const module of this.#tree()) module._moved()
    return this
  }

  /** Frees the parameters, their gradients, the buffers, and what the layers cache. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    const { parameters, buffers, children } = this.#members()
    for (const [, one] of [...parameters, ...buffers]) one.dispose()
    for (const [, child] of children) child.dispose()
  }

  /** As {@link dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Names and child modules, from the fields and {@link register}. */
  namedChildren(): [string, Module<never>][] {
    return this.#members().children
  }

  /** The class and, of each parameter, dtype, shape, device and requiresGrad; never the elements. */
  toJSON(): {
    /** The name of the class. */
    module: string
    /** By name in {@link namedParameters}. */
    parameters: Record<string, Parameter>
  } {
    return { module: this.constructor.name, parameters: Object.fromEntries(this.namedParameters()) }
  }

  /** @internal */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return Module._is(this) ? this.#text('', new Set()) : describe(this)
  }

  /**
   * Enters a parameter, a buffer or a child module that no public field shows, under a name of its own; a second one of
   * that name takes the place of the first.
   *
   * @returns the member
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   *
   * @example
   * #head = this.register('head', new Linear(32, 4))
   */
  protected register<T extends Member>(name: string, member: T): T {
    const where = `${this.constructor.name}.register`
    if (typeof name !== 'string') throw argumentError(where, 'name to be a string', name)
    if (name === '' || name.includes('.')) throw valueError(where, 'a name without dots', name)
    if (typeof member !== 'object' || member === null || !isMember(member)) {
      throw argumentError(where, `${name} to be a Parameter, a Buffer or a Module`, member)
    }
    this.#registered.set(name, member)
    return member
  }

  /** @internal Called when the parameters may have moved to another device. */
  _moved(): void {}

  #members(): Members {
    const parameters: [string, Parameter][] = []
    const buffers: [string, Buffer][] = []
    const children: [string, Module<never>][] = []
    const where = this.constructor.name
    const fields = [...Object.entries(this), ...this.#registered]
    visitMembers<Member>(where, fields, isMember, (name, member) => {
      if (member instanceof Parameter) parameters.push([name, member])
      else if (member instanceof Buffer) buffers.push([name, member])
      else children.push([name, member])
    })
    return { parameters, buffers, children }
  }

  /** This module and all below it, each once. */
  #tree(): Set<Module<never>> {
    const modules = new Set<Module<never>>()
    const visit = (module: Module<never>) => {
      if (modules.has(module)) return
      modules.add(module)
      for (const [, child] of module.namedChildren()) visit(child)
    }
    visit(this)
    return modules
  }

  #setTraining(training: boolean): this {
    for (const module of this.#tree()) module.training = training
    return this
  }

  #text(indent: string, path: Set<Module<never>>): string {
    const { parameters, buffers, children } = this.#members()
    const shapes = [...parameters, ...buffers]
      .map(([name, { shape }]) => `${name} ${shapeText(shape)}`)
      .join(', ')
    if (path.has(this)) return `${this.constructor.name}(..)`
    if (children.length === 0) return `${this.constructor.name}(${shapes})`
    path.add(this)
    const inner = `${indent}  `
    const lines = children.map(([name, child]) => `${inner}${name}: ${child.#text(inner, path)}`)
    path.delete(this)
    if (shapes !== '') lines.unshift(inner + shapes)
    return `${this.constructor.name}(\n${lines.join('\n')}\n${indent})`
  }
}

Object.defineProperty(Module.prototype, MODULE, { value: true })

function isMember(value: object): value is Member {
  if (isTensor(value)) return value instanceof Parameter || value instanceof Buffer
  if (Module._is(value)) return true
  if (MODULE in value) throw foreignModuleError(value instanceof Module)
  return false
}

/**
 * Defines a field that holds a parameter of a layer, or null. Only another parameter of the same shape, dtype and
 * device can be assigned to it: the layer then shares that one.
 *
 * @param changed called after an assignment
 */
export function defineParameter(
  module: Module<never>,
  name: string,
  value: Parameter | null,
  changed?: (value: Parameter) => void,
): void {
  const label = `${module.constructor.name}.${name}`
  let current = value
  value?._call(label)
  Object.defineProperty(module, name, {
    enumerable: true,
    get: () => current,
    set(next: unknown) {
      if (current === null || !(next instanceof Parameter) || !isTensor(next)) {
        throw parameterError(label, current === null, next)
      }
      checkLike(label, name, current, next)
      checkShapeIs(label, name, next, current._shape)
      next._live(label)
      current = next
      changed?.(next)
    },
  })
}

/** Makes the plain fields of a layer (its sizes and options) read-only; called at the end of its constructor. */
export function fixFields(layer: Module<never>): void {
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(layer))) {
    if (value !== undefined && name !== 'training') Object.defineProperty(layer, name, { writable: false })
  }
}

/** A new parameter with the memory of what `value` makes. */
export function parameter<D extends FloatDType>(value: () => Tensor<D>): Parameter<D> {
  return detached(() => {
    const tensor = value()
    const made = new Parameter(tensor)
    tensor.dispose()
    return made
  })
}
