/** Where a module keeps what it is made of: its fields, and arrays, plain objects, maps and sets in them. */
import { isMap, isPlainObject, isSet } from '../brand.ts'
import { refusal } from '../messages.ts'

/**
 * Visits the members among named values and in the containers there, however nested, in their order. A name is
 * the path, joined by dots: 'layers.0' of an array or a set, 'heads.mood' of an object or a map.
 */
export function visitMembers<T>(
  where: string,
  fields: Iterable<readonly [string, unknown]>,
  isMember: (value: object) => value is object & T,
  visit: (name: string, member: T) => void,
): void {
  const open = new Set<object>()
  const search = (prefix: string, key: unknown, value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    const found = isMember(value)
    if (!found && (open.has(value) || !isContainer(value))) return
    if (typeof key === 'object' || typeof key === 'function' || typeof key === 'symbol') {
      if (!found) return
      throw refusal(
        where,
        `expected keys of ${prefix} to be strings or numbers: they are names of parameters`,
      )
    }
    const name = prefix === '' ? String(key) : `${prefix}.${key}`
    if (found) {
      visit(name, value)
      return
    }
    open.add(value)
    if (Array.isArray(value)) for (let i = 0; i < value.length; i++) search(name, i, value[i])
    else if (isMap(value)) for (const [at, item] of value) search(name, at, item)
    else if (isSet(value)) for (const [i, item] of [...value].entries()) search(name, i, item)
    else for (const [at, item] of Object.entries(value)) search(name, at, item)
    open.delete(value)
  }
  for (const [name, value] of fields) search('', name, value)
}

function isContainer(value: object): boolean {
  return Array.isArray(value) || isMap(value) || isSet(value) || isPlainObject(value)
}
