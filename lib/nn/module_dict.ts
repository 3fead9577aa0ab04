import { isMap, isPlainObject } from '../brand.ts'
import { argumentError, refusal } from '../messages.ts'
import { Module } from './module.ts'

/**
 * Modules by name, for a forward() that calls them itself; an object or a Map in a field does the same. The names
 * in the state dict start with the key: 'KEY.weight', ..
 */
export class ModuleDict<M extends Module<never> = Module> extends Module<never, never> {
  readonly #modules = new Map<string, M>()

  /**
   * @param modules an object or a Map
   * @throws RangeError ERR_BPTT_VALUE if a key is empty or has a dot
   * @throws TypeError ERR_BPTT_TYPE if a value is no module
   */
  constructor(modules: Readonly<Record<string, M>> | ReadonlyMap<string, M> = {}) {
    super()
    if (typeof modules !== 'object' || modules === null || !(isMap(modules) || isPlainObject(modules))) {
      throw argumentError('ModuleDict', 'an object or a Map of modules', modules)
    }
    const entries: Iterable<[string, M]> = isMap(modules) ? modules : Object.entries(modules)
    for (const [key, module] of entries) this.set(key, module)
  }

  /** How many modules. */
  get size(): number {
    return this.#modules.size
  }

  /**
   * Adds a module, or puts it in the place of that of the same key.
   *
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  set(key: string, module: M): this {
    if (!(module instanceof Module))
      throw argumentError('ModuleDict', `${String(key)} to be a Module`, module)
    this.register(key, module)
    this.#modules.set(key, module)
    return this
  }

  /** The module of a key, or undefined. */
  get(key: string): M | undefined {
    return this.#modules.get(key)
  }

  /** Whether there is one of that key. */
  has(key: string): boolean {
    return this.#modules.has(key)
  }

  /** The keys, in the order they came. */
  keys(): IterableIterator<string> {
    return this.#modules.keys()
  }

  /** The modules, in the order of their keys. */
  values(): IterableIterator<M> {
    return this.#modules.values()
  }

  /** Keys and modules. */
  [Symbol.iterator](): IterableIterator<[string, M]> {
    return this.#modules.entries()
  }

  /** A dictionary computes nothing: throws RangeError ERR_BPTT_VALUE. */
  override forward(): never {
    throw refusal('ModuleDict.forward', 'a dictionary computes nothing: call the modules in it')
  }
}
