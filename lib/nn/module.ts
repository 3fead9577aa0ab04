import {
  checkBoolean,
  checkDevice,
  checkFloat,
  checkOptions,
  checkPlacement,
  checkShapeIs,
  checkTensorMap,
  namesError,
  valueError,
} from '../check.ts'
import type { Device, FloatDType } from '../dtype.ts'
import { detached } from '../scope.ts'
import { copyAll } from '../state.ts'
import { Tensor } from '../tensor.ts'

/**
 * A tensor that a module trains: a leaf that requires grad. A field of a module that
 * holds one is found by parameters() and stateDict(); plain tensors are not.
 */
export class Parameter<D extends FloatDType = FloatDType> extends Tensor<D> {
  /** Shares the memory of `value`, which may be disposed afterwards. Not owned by any tidy(). */
  constructor(value: Tensor<D>) {
    checkFloat('Parameter', 'value', value)
    super(value._live('Parameter').retain(), value.shape, value.dtype, value.device)
    this._leaf = true
  }
}

/** What {@link Module.loadStateDict} did not match. */
export interface LoadResult {
  /** Names of the module that the state lacks. */
  missing: string[]
  /** Names of the state that the module lacks. */
  unexpected: string[]
}

/**
 * Base of all layers and models. A subclass keeps its {@link Parameter}s and child
 * modules in fields (children also in arrays of modules) and implements forward().
 * Names in the state dict are the names of the fields, joined by dots, as in PyTorch.
 *
 * @example
 * class Model extends Module<Tensor, Tensor> {
 *   lstm = new LSTM(8, 32)
 *   head = new Linear(32, 4)
 *   forward(x: Tensor) { return this.head.forward(this.lstm.forward(x).output) }
 * }
 */
export abstract class Module<In = Tensor, Out = unknown> {
  /** Whether dropout is active. Set by {@link train} and {@link eval}. */
  training = true

  abstract forward(input: In): Out

  /** The parameters of this module and its children, each once, in the order of their fields. */
  parameters(): Parameter[] {
    return this.namedParameters().map(([, parameter]) => parameter)
  }

  /** Names and parameters; one that occurs under several names only under the first. */
  namedParameters(): [string, Parameter][] {
    const seen = new Set<Parameter>()
    return this.#entries().filter(([, parameter]) => {
      if (seen.has(parameter)) return false
      seen.add(parameter)
      return true
    })
  }

  /**
   * The parameter of a name in the state dict, e.g. 'lstm.weight_ih_l1_reverse'.
   *
   * @throws RangeError ERR_BPTT_VALUE if there is none
   */
  getParameter(name: string): Parameter {
    const parameters = this.stateDict()
    const parameter = parameters.get(name)
    if (parameter !== undefined) return parameter
    const where = `${this.constructor.name}.getParameter`
    throw valueError(where, `one of the names ${[...parameters.keys()].join(', ')}`, name)
  }

  /** All parameters by name: the live ones, not copies. */
  stateDict(): Map<string, Parameter> {
    return new Map(this.#entries())
  }

  /**
   * Copies values into the parameters, in place. Waits until they are computed. Checks everything
   * first: if it throws, nothing has changed.
   *
   * @param state tensors by name, of the parameters' shapes and dtypes; they stay yours, and may be
   *   parameters of this module too
   * @param options strict: throw unless the names match exactly (default true)
   * @throws RangeError ERR_BPTT_SHAPE if a shape differs
   * @throws RangeError ERR_BPTT_VALUE if names differ and strict
   * @throws TypeError ERR_BPTT_DTYPE if a dtype differs
   * @throws BpttError ERR_BPTT_DISPOSED, or the failure of the op that should have computed a value
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
    options: { strict?: boolean } = {},
  ): LoadResult {
    const where = `${this.constructor.name}.loadStateDict`
    checkOptions(where, options, ['strict'])
    const strict = checkBoolean(where, 'strict', options.strict ?? true)
    const given = checkTensorMap(where, state)
    const own = this.stateDict()
    const missing = [...own.keys()].filter((name) => !given.has(name))
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
    const pairs: [Parameter, Tensor][] = []
    for (const [name, parameter] of own) {
      const value = given.get(name)
      if (value === undefined) continue
      checkPlacement(where, name, value, parameter.dtype, value.device)
      checkShapeIs(where, name, value, parameter.shape)
      pairs.push([parameter, value])
    }
    copyAll(where, pairs)
    return { missing, unexpected }
  }

  /** Switches to training: dropout is active. */
  train(): this {
    return this.#setTraining(true)
  }

  /** Switches to evaluation: dropout does nothing. */
  eval(): this {
    return this.#setTraining(false)
  }

  /** Disposes the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad()
  }

  /**
   * Moves the parameters and their gradients to a device, when the work before is done. Optimizers
   * keep their state where it is: make them afterwards.
   *
   * @throws BpttError ERR_BPTT_DEVICE if there is no such device
   */
  to(device: Device): this {
    const target = checkDevice(`${this.constructor.name}.to`, device)
    for (const [, parameter] of this.#entries()) parameter._move(target)
    for (const [, child] of this.namedChildren()) child.to(target)
    return this
  }

  /** Frees the parameters, their gradients, and what the layers cache. */
  dispose(): void {
    for (const [, parameter] of this.#entries()) parameter.dispose()
    for (const [, child] of this.namedChildren()) child.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Names and child modules, from the fields. */
  namedChildren(): [string, Module<never>][] {
    const children: [string, Module<never>][] = []
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) children.push([name, value])
      else if (Array.isArray(value)) {
        value.forEach((item, i) => {
          if (item instanceof Module) children.push([`${name}.${i}`, item])
        })
      }
    }
    return children
  }

  #entries(): [string, Parameter][] {
    const entries: [string, Parameter][] = []
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Parameter) entries.push([name, value])
    }
    for (const [prefix, child] of this.namedChildren()) {
      for (const [name, parameter] of child.#entries()) entries.push([`${prefix}.${name}`, parameter])
    }
    return entries
  }

  #setTraining(training: boolean): this {
    this.training = training
    for (const [, child] of this.namedChildren()) child.#setTraining(training)
    return this
  }
}

/** A new parameter, filled by `fill`. */
export function parameter<D extends FloatDType>(value: () => Tensor<D>): Parameter<D> {
  return detached(() => {
    const tensor = value()
    const made = new Parameter(tensor)
    tensor.dispose()
    return made
  })
}
