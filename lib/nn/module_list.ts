import { argumentError, refusal } from '../messages.ts'
import { Module } from './module.ts'

/**
 * Modules in a list, for a forward() that calls them itself; an array in a field does the same. The names in the
 * state dict are positions: '0.weight', '1.weight', ..
 */
export class ModuleList<M extends Module<never> = Module> extends Module<never, never> {
  readonly [position: number]: M
  #length = 0

  /**
   * @param modules in this order
   * @throws TypeError ERR_BPTT_TYPE if one is no module
   */
  constructor(modules: Iterable<M> = []) {
    super()
    if (typeof modules !== 'object' || modules === null || !(Symbol.iterator in modules)) {
      throw argumentError('ModuleList', 'an array of modules', modules)
    }
    for (const module of modules) this.append(module)
  }

  /** How many modules. */
  get length(): number {
    return this.#length
  }

  /**
   * Adds a module at the end.
   *
   * @throws TypeError ERR_BPTT_TYPE if it is none
   */
  append(module: M): this {
    if (!(module instanceof Module)) {
      throw argumentError('ModuleList', `item ${this.#length} to be a Module`, module)
    }
    Object.defineProperty(this, String(this.#length), { value: module, enumerable: true })
    this.#length++
    return this
  }

  /** The module at a position; a negative one counts from the end. Undefined where there is none. */
  at(position: number): M | undefined {
    return this[position < 0 ? position + this.#length : position]
  }

  /** The modules, in their order. */
  *[Symbol.iterator](): IterableIterator<M> {
    for (let i = 0; i < this.#length; i++) yield this[i] as M
  }

  /** A list computes nothing: throws RangeError ERR_BPTT_VALUE. */
  override forward(): never {
    throw refusal('ModuleList.forward', 'a list computes nothing: call the modules in it, or use Sequential')
  }
}
