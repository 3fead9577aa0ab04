/** Anomaly mode: the tape looks for the first NaN, and names the op that made it. */
import type { Node } from './autograd.ts'
import { checkBoolean } from './check.ts'
import { anomalyError } from './messages.ts'
import type { Tensor } from './tensor.ts'

let watching = false

/**
 * Turns anomaly mode on or off, for this thread: the first op on the tape whose result holds a NaN throws, and so
 * does backward() where the gradient of an op does; the message names the op and, in backward, where it was called.
 * Each op then waits for its result, so it is slow: for debugging alone. Default: off.
 *
 * @throws TypeError ERR_BPTT_TYPE if `on` is no boolean
 *
 * @example
 * setDetectAnomaly(true)
 * loss.backward() // BpttError ERR_BPTT_NONFINITE: [backward] sqrt gave a gradient that is NaN ...
 */
export function setDetectAnomaly(on: boolean): void {
  watching = checkBoolean('setDetectAnomaly', 'on', on)
}

/** In anomaly mode: notes where the op was called, and throws if a result of it holds a NaN. */
export function watchForward(node: Node, outputs: readonly Tensor[]): void {
  if (!watching) return
  node.trace = new Error().stack
  if (outputs.some(holdsNaN)) throw anomalyError(node.op, 'a result', undefined)
}

/** In anomaly mode: throws if a gradient that the op has just given holds a NaN. */
export function watchBackward(node: Node, gradients: readonly (Tensor | null)[]): void {
  if (!watching) return
  if (gradients.some((gradient) => gradient !== null && holdsNaN(gradient))) {
    throw anomalyError(node.op, 'a gradient', node.trace)
  }
}

function holdsNaN(x: Tensor): boolean {
  for (const value of x.dataSync()) if (Number.isNaN(value)) return true
  return false
}
