/**
 * Every message of misuse: where, what was expected, what came, and the remedy.
 *
 *   [LSTM.forward] expected input of shape [T,B,I] = [*,*,128], got [25,4,64]; ...
 */
import { isPromise, isTensor, TENSOR, THIS_COPY, typedArrayLength } from './brand.ts'
import { BpttError, rangeError, typeError, warn } from './errors.ts'
import type { Tensor } from './tensor.ts'

export function message(where: string, expected: string, got: string, remedy?: string): string {
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
export function unwrapping(value: unknown, expected = ''): string | undefined {
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
export function usedError(where: string, op: string, carried: boolean): BpttError {
  return graphError(
    where,
    carried
      ? `the graph leads to a result of ${op} from before an earlier backward(), which freed what it had saved; ` +
          'detach() what is carried from step to step (h0: hn.detach()), ' +
          'or pass { retainGraph: true } to the earlier backward() if gradients shall flow that far back'
      : `the graph was already used: an earlier backward() freed what ${op} had saved; ` +
          'pass { retainGraph: true } to every backward() but the last, add the losses up, ' +
          'or run the forward pass again',
  )
}

/** For backward() of a tensor without a graph. */
export function graphlessError(where: string, isGradient: boolean): BpttError {
  return graphError(
    where,
    isGradient
      ? 'expected a tensor that requires grad, got a gradient without a graph of its own; ' +
          'pass { createGraph: true } to the backward() or grad() that made it'
      : 'expected a tensor that requires grad, got one that does not; make an input with { requiresGrad: true }, ' +
          'and compute outside noGrad(); what is computed from .grad needs backward({ createGraph: true }) before',
  )
}

/** For grad() of an input that no output was computed from. */
export function unusedError(where: string, input: number): BpttError {
  return graphError(
    where,
    `expected outputs that were computed from every input, got none for input ${input}; ` +
      'pass { allowUnused: true } to get null for it',
  )
}

/** For an op whose gradient has no derivative here. */
export function twiceError(op: string): BpttError {
  return graphError('backward', `the gradient of ${op} has no graph of its own: leave createGraph out`)
}

/** What anomaly mode found. `trace` is where the op was called, of a gradient. */
export function anomalyError(op: string, what: string, trace: string | undefined): BpttError {
  const called = trace === undefined ? '' : `; it was called here:\n${trace.replace(/^.*\n/, '')}\n`
  return new BpttError('ERR_BPTT_NONFINITE', `[anomaly] ${op} gave ${what} that holds a NaN${called}`)
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
  return (value as { [TENSOR]: unknown })[TENSOR] === THIS_COPY
    ? 'an object that inherits from a tensor, or a proxy of one'
    : 'a tensor of another copy of bptt (see npm ls bptt; a process should load one)'
}
