/**
 * Every argument check and every message of misuse. A message says where,
 * what was expected, what came, and the remedy:
 *
 *   [LSTM.forward] expected input of shape [T,B,I] = [*,*,128], got [25,4,64]; ...
 */
import type { Stats } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { native } from './binding.ts'
import { isGeneratorObject, isMap, isPlainObject, isPromise, isURL, typedArrayLength } from './brand.ts'
import type { Device, DType } from './dtype.ts'
import { BpttError, rangeError, typeError, warn } from './errors.ts'
import { isTensor, TENSOR, Tensor } from './tensor.ts'

export const MAX_RANK = 8
const MAX_ELEMENTS = 2 ** 48

// -- messages ------------------------------------------------------------------

function message(where: string, expected: string, got: string, remedy?: string): string {
  return `[${where}] expected ${expected}, got ${got}${remedy === undefined ? '' : `; ${remedy}`}`
}

export function shapeError(where: string, expected: string, got: string, remedy?: string): RangeError {
  return rangeError('ERR_BPTT_SHAPE', message(where, expected, got, remedy))
}

export function valueError(where: string, expected: string, got: unknown, remedy?: string): RangeError {
  return rangeError('ERR_BPTT_VALUE', message(where, expected, describe(got), remedy))
}

export function argumentError(where: string, expected: string, got: unknown, remedy?: string): TypeError {
  return typeError(
    'ERR_BPTT_TYPE',
    message(where, expected, describe(got), unwrapping(got, expected) ?? remedy),
  )
}

/** What to do with a value that holds what was wanted. */
function unwrapping(value: unknown, expected = ''): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (isPromise(value)) return 'await it first'
  if (!isTensor((value as { output?: unknown }).output)) return undefined
  const part = expected.startsWith('h0 ') ? 'hn' : expected.startsWith('c0 ') ? 'cn' : 'output'
  return `it is a layer's result: pass its .${part}`
}

export function dtypeError(where: string, expected: string, got: string, remedy?: string): TypeError {
  return typeError('ERR_BPTT_DTYPE', message(where, expected, got, remedy))
}

/** A RangeError in words of its own. */
export function refusal(where: string, text: string): RangeError {
  return rangeError('ERR_BPTT_VALUE', `[${where}] ${text}`)
}

export function computeError(where: string, compute: string): BpttError {
  return new BpttError(
    'ERR_BPTT_DEVICE',
    message(
      where,
      `the parameters of a layer with compute '${compute}' on a CUDA device`,
      'cpu',
      "move it with .to('cuda'), or make it without compute",
    ),
  )
}

export function graphError(where: string, text: string): BpttError {
  return new BpttError('ERR_BPTT_GRAPH', `[${where}] ${text}`)
}

export function modifiedError(op: string): BpttError {
  return new BpttError(
    'ERR_BPTT_MODIFIED',
    `[backward] a tensor that ${op} saved for its gradient was changed in place since; ` +
      'call backward() before optimizer.step() or loadStateDict(), run the forward pass again, ' +
      'or detach() a state that is carried over from before the change',
  )
}

/** For a graph that an earlier backward() consumed: `carried` if this one was made after it, on its results. */
export function usedError(op: string, carried: boolean): BpttError {
  return graphError(
    'backward',
    carried
      ? `the graph leads to a result of ${op} from before an earlier backward(), which freed what it had saved; ` +
          'detach() what is carried from step to step (h0: hn.detach()), ' +
          'or pass { retainGraph: true } to the earlier backward() if gradients shall flow that far back'
      : `the graph was already used: an earlier backward() freed what ${op} had saved; ` +
          'pass { retainGraph: true } to every backward() but the last, add the losses up, ' +
          'or run the forward pass again',
  )
}

const NO_DOUBLE = 'double backward is not supported: gradients have no graph of their own'

/** For backward() of a tensor without a graph. */
export function graphlessError(isGradient: boolean): BpttError {
  return graphError(
    'backward',
    isGradient
      ? NO_DOUBLE
      : 'expected a tensor that requires grad, got one that does not; make an input with { requiresGrad: true }, ' +
          `and compute outside noGrad(); of what is computed from .grad, know that ${NO_DOUBLE}`,
  )
}

/** The arguments of backward(), as other libraries have them. */
export function checkBackward(gradient: unknown, options: unknown): void {
  for (const value of [gradient, options]) {
    if (typeof value !== 'object' || value === null || isTensor(value)) continue
    if ('createGraph' in value || 'create_graph' in value) throw graphError('backward', NO_DOUBLE)
    if (value === gradient && 'retainGraph' in value) {
      throw argumentError('backward', 'a gradient before the options', value, 'pass null first')
    }
  }
}

export function disposedError(
  where: string,
  what = 'tensor',
  remedy = 'return it from tidy(), or ',
): BpttError {
  return new BpttError(
    'ERR_BPTT_DISPOSED',
    `[${where}] expected a live ${what}, got a disposed one; ${remedy}dispose it after its last use`,
  )
}

export function nonfiniteError(where: string, norm: number): BpttError {
  return new BpttError(
    'ERR_BPTT_NONFINITE',
    `[${where}] expected gradients of a finite norm, got ${norm}; nothing was scaled: ` +
      'leave the step out (zeroGrad()), lower the learning rate, or look for what is infinite or NaN in the loss',
  )
}

let warnedDropout = false

/** As torch does, but once. */
export function warnDropout(where: string, p: number): void {
  if (warnedDropout) return
  warnedDropout = true
  warn(
    'BPTT_DROPOUT',
    `[${where}] dropout: ${p} has no effect with numLayers: 1, because it acts between layers; ` +
      'put a Dropout after the layer, or leave the option out',
  )
}

export function memoryError(where: string, bytes: number): BpttError {
  return new BpttError('ERR_BPTT_OOM', `[${where}] out of memory: ${bytes} bytes could not be allocated`)
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

/** For an object of a class whose private fields are missing. */
export function foreignError(where: string, value: unknown): TypeError {
  return argumentError(where, 'to be called on a tensor', value)
}

export function primitiveError(x: Tensor): TypeError {
  return argumentError(
    'Tensor',
    'a number or a string in an expression of JavaScript',
    x,
    'use x.item() for its value, x.add(y) and the like to compute, String(x) for a text',
  )
}

/** A state whose names are not those wanted. */
export function namesError(
  where: string,
  expected: string,
  missing: readonly string[],
  unexpected: readonly string[],
  remedy?: string,
): RangeError {
  return refusal(
    where,
    `expected ${expected}; missing: ${listText(missing)}; unexpected: ${listText(unexpected)}` +
      (remedy === undefined ? '' : `; ${remedy}`),
  )
}

function listText(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(', ')
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown || 'none'
}

/** Parameters that a loss depends on and that no search of fields has found. */
export function warnUntrained(where: string, names: readonly string[]): void {
  if (names.length === 0) return
  warn(
    'BPTT_UNTRAINED',
    `[${where}] the loss depends on parameters that no parameters() lists: ${names.join(', ')}; ` +
      'enter what #private fields and classes that are no modules hold by register(), ' +
      'or set requiresGrad = false on what shall not be trained',
  )
}

/** For an assignment to the field of a layer's parameter. */
export function parameterError(where: string, missing: boolean, value: unknown): TypeError {
  const remedy = isTensor(value) ? 'copy it with loadStateDict(), or wrap it: new Parameter(x)' : undefined
  return missing
    ? argumentError(where, 'to stay null, as the layer was made without it', value)
    : argumentError(where, 'another Parameter, to be shared', value, remedy)
}

/** For what has a module's methods and is none of this library's. */
export function foreignModuleError(inherits: boolean): TypeError {
  return typeError(
    'ERR_BPTT_TYPE',
    `[Module] expected modules, got ${inherits ? 'an object that inherits from one, or a proxy of one' : 'one of another copy of bptt (see npm ls bptt; a process should load one)'}`,
  )
}

export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(',')}]`
}

/** A short text of any value, for messages. */
export function describe(value: unknown): string {
  try {
    return description(value)
  } catch {
    return 'an object that cannot be looked at'
  }
}

function description(value: unknown): string {
  if (typeof value === 'string') return value.length > 40 ? `'${value.slice(0, 40)}...'` : `'${value}'`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value !== 'object' || value === null) return String(value)
  if (isTensor(value)) return `a ${value.dtype} tensor of shape ${shapeText(value.shape)}`
  if (TENSOR in value) return strange(value)
  if (Array.isArray(value)) return `an array of length ${value.length}`
  const name = (Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null)?.constructor?.name
  const length = ArrayBuffer.isView(value) ? typedArrayLength(value) : undefined
  if (length !== undefined) return `a ${name} of ${length} elements`
  return name === undefined || name === 'Object' ? 'an object' : `a ${name}`
}

/** What has a tensor's methods and is none of this library's. */
function strange(value: object): string {
  return value instanceof Tensor
    ? 'an object that inherits from a tensor, or a proxy of one'
    : 'a tensor of another copy of bptt (see npm ls bptt; a process should load one)'
}

/** Refuses what a function returned to be gone on with later: a promise, a thenable, a generator. */
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

// -- plain values ----------------------------------------------------------------

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

const DTYPES: readonly string[] = ['float32', 'float64', 'int32']

export function checkDType<D extends DType>(where: string, dtype: D): D {
  if (!DTYPES.includes(dtype)) {
    throw dtypeError(where, "dtype 'float32', 'float64' or 'int32'", describe(dtype))
  }
  return dtype
}

export function checkFloatDType<D extends DType>(where: string, dtype: D): D {
  if (dtype !== 'float32' && dtype !== 'float64') {
    throw dtypeError(where, "dtype 'float32' or 'float64'", describe(dtype))
  }
  return dtype
}

/** Returns the device with its number: 'cuda' is 'cuda:0'. */
export function checkDevice(where: string, device: unknown): Device {
  if (device === 'cpu') return 'cpu'
  if (typeof device === 'string' && /^cuda(:\d{1,4})?$/.test(device)) {
    const { available, words } = native().cuda()
    if (!available) {
      throw new BpttError('ERR_BPTT_DEVICE', `[${where}] device '${device}' is not available: ${words}`)
    }
    return device === 'cuda' ? 'cuda:0' : (device as Device)
  }
  throw Object.assign(new TypeError(message(where, "device 'cpu', 'cuda' or 'cuda:n'", describe(device))), {
    code: 'ERR_BPTT_DEVICE' as const,
  })
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

/** Texts by name, of which UTF-8 can hold every one. */
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

// -- shapes ------------------------------------------------------------------------

/** A copy of a shape that the user may change later. Not checked further. */
export function copyShape(where: string, shape: unknown): number[] {
  if (!Array.isArray(shape)) throw argumentError(where, 'a shape as an array of integers', shape)
  const { length } = shape
  if (length > MAX_RANK) throw shapeError(where, `at most ${MAX_RANK} dimensions`, `${length}`)
  const copy: number[] = []
  for (let i = 0; i < length; i++) copy.push(shape[i] as number)
  return copy
}

/** Checks the dimensions and returns the number of elements. */
export function checkShape(where: string, shape: unknown): number {
  if (!Array.isArray(shape)) throw argumentError(where, 'a shape as an array of integers', shape)
  if (shape.length > MAX_RANK) {
    throw shapeError(where, `at most ${MAX_RANK} dimensions`, `${shape.length}`)
  }
  let size = 1
  let span = 1
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

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true
  const rank = a.length
  if (rank !== b.length) return false
  for (let i = 0; i < rank; i++) if (a[i] !== b[i]) return false
  return true
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

/** A tensor that can compute. */
export function checkFloat(where: string, name: string, value: unknown): void {
  checkTensor(where, name, value)
  const { dtype } = value as Tensor
  if (dtype === 'int32') {
    throw dtypeError(
      where,
      `${name} to be float32 or float64`,
      'int32',
      "int32 is for indices; make the tensor with { dtype: 'float32' }",
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
  const { shape, dtype } = target as Tensor
  const distributions = sameShape(shape, logits.shape)
  const remedy = distributions
    ? 'targets are indices of classes, not one-hot rows or probabilities'
    : "targets are indices of classes: make them with tensor(data, { dtype: 'int32' })"
  if (dtype !== 'int32') throw dtypeError(where, 'target to be int32', dtype, remedy)
  const expected = logits.shape.filter((_, i) => i !== axis)
  if (sameShape(shape, expected)) return
  const last = logits.shape.slice(0, -1)
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

const product = (shape: readonly number[]): number => shape.reduce((size, length) => size * length, 1)

/** `b` must be like `a`, which has been checked: same dtype, same device. */
export function checkLike(where: string, name: string, a: Tensor, b: unknown): void {
  checkTensor(where, name, b)
  checkPlacement(where, name, b as Tensor, a.dtype, a.device)
}

export function checkPlacement(where: string, name: string, x: Tensor, dtype: DType, device: Device): void {
  if (x.dtype !== dtype) {
    throw dtypeError(where, `${name} to be ${dtype}`, x.dtype, 'dtypes are never converted silently')
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
