/** Every argument check. What they say is in messages.ts. */
import type { Stats } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { native } from './binding.ts'
import { isGeneratorObject, isMap, isPlainObject, isPromise, isTensor, isURL } from './brand.ts'
import { type Device, type DType, isFloat } from './dtype.ts'
import { BpttError, typeError } from './errors.ts'
import { MAX_RANK, product, sameShape } from './layout.ts'
import { isInt32, MAX_ELEMENTS } from './limits.ts'
import {
  argumentError,
  describe,
  dtypeError,
  memoryError,
  message,
  refusal,
  shapeError,
  shapeText,
  unwrapping,
  valueError,
} from './messages.ts'
import type { Tensor } from './tensor.ts'

// -- plain values ----------------------------------------------------------------

/** Refuses a promise, a thenable or a generator as the result of a user's function: it would go on after the call. */
export function checkSynchronous<T>(where: string, result: T): T {
  if ((typeof result !== 'object' && typeof result !== 'function') || result === null) return result
  const isThenable = typeof (result as { then?: unknown }).then === 'function'
  if (!isThenable && !isGeneratorObject(result)) return result
  // Nobody else holds it: its rejection would end the process.
  if (isPromise(result)) Promise.prototype.then.call(result, undefined, () => {})
  throw typeError(
    'ERR_BPTT_TYPE',
    `[${where}] expected a synchronous function, got one that returned ` +
      `${isThenable ? 'a promise' : 'a generator'}; ` +
      `await outside ${where}(), and pass it only the synchronous part`,
  )
}

export function checkInteger(where: string, name: string, value: unknown, low: number, high: number): number {
  if (typeof value !== 'number') throw argumentError(where, `${name} to be an integer`, value)
  if (!Number.isInteger(value) || value < low || value > high) {
    const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`
    throw valueError(where, `${name} to be an integer ${range}`, value)
  }
  return value
}

/** A copy of an array of integers, or of anything like one. */
export function checkIntegers(
  where: string,
  name: string,
  list: ArrayLike<number>,
  low: number,
  high: number,
): number[] {
  const length: unknown = typeof list === 'object' && list !== null ? list.length : undefined
  if (typeof length !== 'number') {
    throw argumentError(where, `${name} to be an array of integers`, list, arrayRemedy(list, 'Array'))
  }
  checkInteger(where, `${name}.length`, length, 0, MAX_ELEMENTS)
  const out: number[] = []
  for (let i = 0; i < length; i++) out.push(checkInteger(where, `${name}[${i}]`, list[i], low, high))
  return out
}

/** One length per row of a batch, each at most T. `swapped` is the remedy where there are T of them. */
export function checkLengths(
  where: string,
  lengths: ArrayLike<number>,
  T: number,
  B: number,
  { name = 'lengths', swapped }: { name?: string; swapped?: string } = {},
): number[] {
  const rows = checkIntegers(where, name, lengths, 0, T)
  if (rows.length !== B) {
    const remedy = rows.length === T ? swapped : undefined
    throw shapeError(where, `${name} of shape [B] = [${B}]`, shapeText([rows.length]), remedy)
  }
  return rows
}

/** A finite number in [low, high]. */
export function checkNumber(
  where: string,
  name: string,
  value: unknown,
  low = Number.NEGATIVE_INFINITY,
  high = Number.POSITIVE_INFINITY,
): number {
  if (typeof value !== 'number') throw argumentError(where, `${name} to be a number`, value)
  if (!Number.isFinite(value) || value < low || value > high) {
    const range =
      low === Number.NEGATIVE_INFINITY
        ? 'finite'
        : high === Number.POSITIVE_INFINITY
          ? `at least ${low}`
          : `from ${low} to ${high}`
    throw valueError(where, `${name} to be ${range}`, value)
  }
  return value
}

export function checkBoolean(where: string, name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw argumentError(where, `${name} to be true or false`, value)
  return value
}

export function checkOneOf<T extends string>(
  where: string,
  name: string,
  value: unknown,
  choices: readonly T[],
): T {
  if (!choices.includes(value as T)) {
    const expected = `${name} to be ${choices.map((choice) => `'${choice}'`).join(' or ')}`
    throw typeof value === 'string'
      ? valueError(where, expected, value)
      : argumentError(where, expected, value)
  }
  return value as T
}

/**
 * Refuses unknown option names, which TypeScript cannot do for JavaScript callers. Returns the options as they
 * are now: each is read once, and one that is undefined is not there.
 */
export function checkOptions<T extends object>(where: string, options: T, names: readonly string[]): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options) || isTensor(options)) {
    throw argumentError(where, 'an object of options', options, `name them, e.g. { ${names[0]}: .. }`)
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
      const remedy = names.includes(camel) ? `write ${camel}` : unwrapping(options)
      throw argumentError(where, `options among ${names.join(', ')}`, name, remedy)
    }
  }
  const given: Record<string, unknown> = {}
  for (const name of names) {
    const value = (options as Record<string, unknown>)[name]
    if (value !== undefined) given[name] = value
  }
  return given as T
}

const STATES: Readonly<Record<string, string>> = { hn: 'h0', cn: 'c0', h: 'h0', c: 'c0', state: 'h0' }

/** The options of a recurrent layer's forward(): states come in by the names that they have there. */
export function checkStateOptions<T extends object>(where: string, options: T, names: readonly string[]): T {
  const states = names.filter((name) => name !== 'lengths').join(', ')
  if (isTensor(options) || Array.isArray(options)) {
    throw argumentError(where, 'an object of options', options, `pass a state as { ${states} }`)
  }
  if (typeof options === 'object' && options !== null) {
    for (const name of Object.keys(options)) {
      const right = STATES[name]
      if (right !== undefined && names.includes(right)) {
        throw argumentError(where, `options among ${names.join(', ')}`, name, `pass it as ${right}`)
      }
    }
  }
  return checkOptions(where, options, names)
}

export function checkFunction(where: string, value: unknown): void {
  if (typeof value !== 'function') throw argumentError(where, 'a function', value)
}

const DTYPES: readonly string[] = ['float32', 'float64', 'int32', 'bool']

export function checkDType<D extends DType>(where: string, dtype: D): D {
  if (!DTYPES.includes(dtype)) {
    throw dtypeError(where, "dtype 'float32', 'float64', 'int32' or 'bool'", describe(dtype))
  }
  return dtype
}

export function checkFloatDType<D extends DType>(where: string, dtype: D): D {
  if (!isFloat(dtype)) {
    throw dtypeError(where, "dtype 'float32' or 'float64'", describe(dtype))
  }
  return dtype
}

/** Returns the device with its number: 'cuda' is 'cuda:0'. */
export function checkDevice(where: string, device: unknown): Device {
  if (device === 'cpu') return 'cpu'
  if (typeof device === 'string' && /^cuda(:\d{1,4})?$/.test(device)) {
    const { available, message } = native().cuda()
    if (!available) {
      throw new BpttError('ERR_BPTT_DEVICE', `[${where}] device '${device}' is not available: ${message}`)
    }
    return device === 'cuda' ? 'cuda:0' : (device as Device)
  }
  throw Object.assign(new TypeError(message(where, "device 'cpu', 'cuda' or 'cuda:n'", describe(device))), {
    code: 'ERR_BPTT_DEVICE' as const,
  })
}

/** The first argument of backward(), where other libraries have options. */
export function checkBackward(gradient: unknown): void {
  if (typeof gradient !== 'object' || gradient === null || isTensor(gradient)) return
  if ('retainGraph' in gradient || 'createGraph' in gradient) {
    throw argumentError('backward', 'a gradient before the options', gradient, 'pass null first')
  }
}

// -- files -------------------------------------------------------------------------

/** The path of a file, from a text or a `file:` URL. */
export function checkPath(where: string, path: unknown): string {
  const expected = 'the path of a file or a file: URL'
  if (isURL(path)) {
    try {
      return fileURLToPath(path.href)
    } catch {
      throw valueError(where, expected, path.href)
    }
  }
  if (typeof path !== 'string') throw argumentError(where, expected, path)
  if (path === '' || path.includes('\0')) throw valueError(where, expected, path)
  return path
}

/** What is at a path, in a word. */
export function fileKind(stats: Stats): string {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  return stats.isFIFO() ? 'pipe' : stats.isSocket() ? 'socket' : 'device'
}

export function checkRegularFile(where: string, path: string, stats: Stats): void {
  if (!stats.isFile()) throw refusal(where, `expected ${path} to be a file, got a ${fileKind(stats)}`)
}

/** The entries of an object of strings, every one of them well-formed Unicode, as UTF-8 needs. */
export function checkTexts(where: string, name: string, value: unknown): [string, string][] {
  if (typeof value !== 'object' || value === null || !isPlainObject(value)) {
    throw argumentError(where, `${name} to be an object of strings`, value)
  }
  const entries = Object.entries(value)
  for (const [key, text] of entries) {
    if (typeof text !== 'string') throw argumentError(where, `${name} ${key} to be a string`, text)
    checkText(where, `${name} ${key}`, text)
    checkText(where, `a key of ${name}`, key)
  }
  return entries
}

export function checkText(where: string, name: string, text: string): void {
  if (/\p{Surrogate}/u.test(text)) {
    throw valueError(
      where,
      `${name} to be well-formed Unicode`,
      text,
      'half of a surrogate pair is no character',
    )
  }
}

/** A typed array of zeros. Where it cannot be had, ERR_BPTT_OOM instead of a bare RangeError. */
export function newArray<T extends ArrayBufferView>(
  where: string,
  Kind: { new (length: number): T; readonly BYTES_PER_ELEMENT: number },
  length: number,
): T {
  try {
    return new Kind(length)
  } catch {
    throw memoryError(where, length * Kind.BYTES_PER_ELEMENT)
  }
}

// -- shapes ------------------------------------------------------------------------

/** A copy of a shape that the user may change later. Not checked further. */
export function copyShape(where: string, shape: unknown): number[] {
  if (!Array.isArray(shape)) throw argumentError(where, 'a shape as an array of integers', shape)
  const { length } = shape
  checkRank(where, length)
  const copy: number[] = []
  for (let i = 0; i < length; i++) copy.push(shape[i] as number)
  return copy
}

export function checkRank(where: string, rank: number): void {
  if (rank > MAX_RANK) throw shapeError(where, `at most ${MAX_RANK} dimensions`, `${rank}`)
}

/** Checks the dimensions and returns the number of elements. */
export function checkShape(where: string, shape: unknown): number {
  if (!Array.isArray(shape)) throw argumentError(where, 'a shape as an array of integers', shape)
  checkRank(where, shape.length)
  let size = 1
  let span = 1 // without dimensions of 0: an empty shape must not be too large either
  for (const dimension of shape as unknown[]) {
    if (typeof dimension !== 'number' || !Number.isSafeInteger(dimension) || dimension < 0) {
      throw shapeError(
        where,
        'dimensions to be integers of at least 0',
        `${describe(dimension)} in ${shapeText(shape)}`,
      )
    }
    size *= dimension
    if (dimension > 0) span *= dimension
  }
  if (span > MAX_ELEMENTS) throw shapeError(where, 'at most 2^48 elements', shapeText(shape))
  return size
}

/** Maps a possibly negative axis to 0..rank-1. A scalar has one axis, of length 1. */
export function checkAxis(where: string, axis: unknown, rank: number): number {
  if (typeof axis !== 'number') throw argumentError(where, 'axis to be an integer', axis)
  const axes = Math.max(rank, 1)
  if (!Number.isInteger(axis) || axis < -axes || axis >= axes) {
    throw valueError(where, `axis to be an integer from ${-axes} to ${axes - 1}`, axis)
  }
  return axis < 0 ? axis + axes : axis
}

/** How to make a typed array of what is none. */
export function arrayRemedy(value: unknown, kind: string): string | undefined {
  if (isTensor(value)) return 'pass await x.data()'
  return Array.isArray(value) || ArrayBuffer.isView(value) ? `pass ${kind}.from(x)` : undefined
}

// -- tensors --------------------------------------------------------------------------

export function checkTensor(where: string, name: string, value: unknown): void {
  if (!isTensor(value)) {
    throw argumentError(where, `${name} to be a Tensor`, value, 'make one with tensor()')
  }
}

/** Names and live tensors, as a map of its own; given as a Map or a plain object. */
export function checkTensorMap(where: string, value: unknown): Map<string, Tensor> {
  if (typeof value !== 'object' || value === null || !(isMap(value) || isPlainObject(value))) {
    throw argumentError(where, 'a Map or an object of tensors by name', value)
  }
  const entries: Iterable<[unknown, unknown]> = isMap(value) ? value : Object.entries(value)
  const tensors = new Map(entries)
  for (const [name, tensor] of tensors) {
    if (typeof name !== 'string') throw argumentError(where, 'names to be strings', name)
    checkTensor(where, name, tensor)
    ;(tensor as Tensor)._live(where)
  }
  return tensors as Map<string, Tensor>
}

/** A tensor of floats. */
export function checkFloat(where: string, name: string, value: unknown): void {
  checkTensor(where, name, value)
  const { dtype } = value as Tensor
  if (!isFloat(dtype)) {
    throw dtypeError(where, `${name} to be float32 or float64`, dtype, "convert it with .to('float32')")
  }
}

/** A tensor of any dtype but bool. */
export function checkNumeric(where: string, name: string, value: unknown): void {
  checkTensor(where, name, value)
  if ((value as Tensor).dtype === 'bool') {
    throw dtypeError(
      where,
      `${name} to be float32, float64 or int32`,
      'bool',
      "convert it with .to('int32') or .to('float32')",
    )
  }
}

/** A number beside a tensor of that dtype, which must hold it where it holds integers. */
export function checkScalar(where: string, dtype: DType, value: number): void {
  if (dtype === 'int32' && !isInt32(value)) {
    throw valueError(
      where,
      'an integer from -2147483648 to 2147483647 beside int32',
      value,
      "convert the tensor with .to('float32')",
    )
  }
  if (dtype === 'bool' && value !== 0 && value !== 1) throw valueError(where, '0 or 1 beside bool', value)
}

export function checkBool(where: string, name: string, value: unknown): void {
  checkTensor(where, name, value)
  const { dtype } = value as Tensor
  if (dtype !== 'bool') {
    throw dtypeError(
      where,
      `${name} to be bool`,
      dtype,
      "make it by a comparison, e.g. x.gt(0), or with .to('bool')",
    )
  }
}

export function checkInt32(where: string, name: string, value: unknown): void {
  checkTensor(where, name, value)
  const { dtype } = value as Tensor
  if (dtype !== 'int32') {
    throw dtypeError(where, `${name} to be int32`, dtype, "make it with tensor(data, { dtype: 'int32' })")
  }
}

/** Class indices, of the shape of logits without the classes along `axis`. */
export function checkClasses(where: string, logits: Tensor, target: unknown, axis: number): void {
  checkTensor(where, 'target', target)
  const { _shape: shape, dtype } = target as Tensor
  const distributions = sameShape(shape, logits._shape)
  const remedy = distributions
    ? 'targets are indices of classes, not one-hot rows or probabilities'
    : "targets are indices of classes: make them with tensor(data, { dtype: 'int32' })"
  if (dtype !== 'int32') throw dtypeError(where, 'target to be int32', dtype, remedy)
  const expected = logits._shape.filter((_, i) => i !== axis)
  if (sameShape(shape, expected)) return
  const last = logits._shape.slice(0, -1)
  const rows = product(expected)
  throw shapeError(
    where,
    `target of shape ${['', '[N] = ', '[N,..] = '][Math.min(expected.length, 2)]}${shapeText(expected)}`,
    shapeText(shape),
    distributions
      ? remedy
      : sameShape(shape, last) && last.length > 1
        ? `classes are the second dimension of logits; where they are the last, ` +
          `pass logits.reshape([-1, ${logits.shape.at(-1)}]) and target.reshape([-1])`
        : product(shape) === rows
          ? `pass target.reshape(${shapeText(expected)})`
          : undefined,
  )
}

/** A target that `x` is compared with, element by element. */
export function checkTarget(where: string, x: Tensor, target: unknown): void {
  checkLike(where, 'target', x, target)
  const { _shape: shape } = target as Tensor
  const expected = x._shape
  if (sameShape(shape, expected)) return
  const long = (lengths: readonly number[]) => lengths.filter((length) => length !== 1)
  const missing = expected.length - shape.length
  const remedy = sameShape(long(shape), long(expected))
    ? `pass target.reshape(${shapeText(expected)})`
    : missing >= 0 && shape.every((length, i) => length === 1 || length === expected[i + missing])
      ? `losses do not broadcast: pass target.expand(${shapeText(expected)})`
      : undefined
  throw shapeError(where, `target of shape ${shapeText(expected)}`, shapeText(shape), remedy)
}

/** A tensor of the dtype and on the device of `a`, which has been checked. */
export function checkLike(where: string, name: string, a: Tensor, b: unknown): void {
  checkTensor(where, name, b)
  checkPlacement(where, name, b as Tensor, a.dtype, a.device)
}

export function checkPlacement(where: string, name: string, x: Tensor, dtype: DType, device: Device): void {
  if (x.dtype !== dtype) {
    throw dtypeError(
      where,
      `${name} to be ${dtype}`,
      x.dtype,
      'dtypes are never converted silently: use .to()',
    )
  }
  if (x.device !== device) {
    throw new BpttError(
      'ERR_BPTT_DEVICE',
      message(where, `${name} on ${device}`, x.device, 'keep all operands of an op on one device'),
    )
  }
}

/** `template` names the dimensions, e.g. 'L*D,B,H'. */
export function checkShapeIs(
  where: string,
  name: string,
  x: Tensor,
  shape: readonly number[],
  template?: string,
): void {
  if (!sameShape(x._shape, shape)) {
    const named = template === undefined ? '' : `[${template}] = `
    throw shapeError(where, `${name} of shape ${named}${shapeText(shape)}`, shapeText(x._shape))
  }
}
