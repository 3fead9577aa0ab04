import { type Handle, native } from '../binding.ts'
import { checkBoolean, checkOptions, checkPlacement } from '../check.ts'
import { full } from '../create.ts'
import { dtypeNumber, type FloatDType } from '../dtype.ts'
import { argumentError, nonfiniteError, valueError } from '../messages.ts'
import { result, type Tensor } from '../tensor.ts'
import { checkParameters } from './groups.ts'

/** Options of {@link clipGradNorm}. */
export interface ClipGradNormOptions {
  /**
   * Whether a norm that is infinite or NaN throws BpttError ERR_BPTT_NONFINITE, before any gradient changes.
   * To know it, the call waits for the work before, as itemSync() does. Default false.
   */
  errorIfNonfinite?: boolean | undefined
}

/**
 * Scales the gradients of all parameters, in place, so that their common norm is at most `max`.
 * Does not wait for the work, unless `errorIfNonfinite`.
 *
 * @param parameters of one dtype; those without a gradient do not count
 * @param max at least 0
 * @returns the norm before: a scalar
 * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_DTYPE, BpttError ERR_BPTT_NONFINITE
 */
export function clipGradNorm<D extends FloatDType>(
  parameters: Iterable<Tensor<D>>,
  max: number,
  options?: ClipGradNormOptions,
): Tensor<D>
export function clipGradNorm(parameters: Iterable<Tensor>, max: number, options?: ClipGradNormOptions): Tensor
export function clipGradNorm(
  parameters: Iterable<Tensor>,
  max: number,
  options: ClipGradNormOptions = {},
): Tensor {
  const where = 'clipGradNorm'
  const list = checkParameters(where, parameters)
  if (typeof max !== 'number') throw argumentError(where, 'max to be a number', max)
  if (!(max >= 0)) throw valueError(where, 'max to be at least 0', max)
  const { errorIfNonfinite = false } = checkOptions(where, options, ['errorIfNonfinite'])
  checkBoolean(where, 'errorIfNonfinite', errorIfNonfinite)
  const { dtype, device } = list[0] as Tensor
  const gradients: Tensor[] = []
  for (const [i, parameter] of list.entries()) {
    checkPlacement(where, `parameter ${i}`, parameter, dtype, device)
    if (parameter.grad !== null) gradients.push(parameter.grad)
  }
  if (gradients.length === 0) return full([], 0, { dtype, device })
  const sizes = Float64Array.from(gradients, (gradient) => gradient.size)
  const handles: Handle[] = gradients.map((gradient) => gradient._handle(where))
  const norm = result([], dtype, device)
  native().gradNorm(dtypeNumber(dtype), sizes, handles, norm._handle(where))
  if (errorIfNonfinite) {
    const value = norm.itemSync()
    if (!Number.isFinite(value)) {
      norm.dispose()
      throw nonfiniteError(where, value)
    }
  }
  native().clipGrads(dtypeNumber(dtype), sizes, handles, max, norm._handle(where))
  for (const gradient of gradients) gradient._live(where).touch()
  return norm
}

/**
 * Brings every element of the gradients of all parameters into [-clipValue, clipValue], in place; NaN stays NaN.
 * Does not wait for the work.
 *
 * @param parameters those without a gradient do not count
 * @param clipValue at least 0
 * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
 */
export function clipGradValue(parameters: Iterable<Tensor>, clipValue: number): void {
  const where = 'clipGradValue'
  const list = checkParameters(where, parameters)
  if (typeof clipValue !== 'number') throw argumentError(where, 'clipValue to be a number', clipValue)
  if (!(clipValue >= 0)) throw valueError(where, 'clipValue to be at least 0', clipValue)
  const alike = new Map<string, Tensor[]>() // by dtype and device: one native call takes one of each
  for (const { grad } of list) {
    if (grad === null) continue
    const name = `${grad.dtype} ${grad.device}`
    alike.set(name, [...(alike.get(name) ?? []), grad])
  }
  for (const gradients of alike.values()) {
    const { dtype } = gradients[0] as Tensor
    const sizes = Float64Array.from(gradients, ({ size }) => size)
    const handles = gradients.map((gradient) => gradient._handle(where))
    native().clipGrads(dtypeNumber(dtype), sizes, handles, clipValue, null)
    for (const gradient of gradients) gradient._live(where).touch()
  }
}
