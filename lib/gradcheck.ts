/** Checking gradients by finite differences. */
import { native } from './binding.ts'
import { isTensor } from './brand.ts'
import { checkFunction, checkNumber, checkOptions, checkSynchronous, checkTensor } from './check.ts'
import { tensor } from './create.ts'
import { BpttError } from './errors.ts'
import { argumentError, dtypeError, graphError, valueError } from './messages.ts'
import './methods.ts'
import { detached, tidy } from './scope.ts'
import type { Tensor } from './tensor.ts'

/** Options of {@link gradcheck}. */
export interface GradcheckOptions {
  /** The step of the differences. Default 1e-6. */
  eps?: number | undefined
  /** Tolerated absolute error. Default 1e-5. */
  atol?: number | undefined
  /** Tolerated error relative to the difference quotient. Default 1e-3. */
  rtol?: number | undefined
}

/** @inline */
type Outputs = Tensor | readonly Tensor[]

/**
 * Compares the gradients of `fn` with central differences, element by element, for a
 * weighted sum of all its outputs. Waits for the results: for tests, on small tensors.
 *
 * The inputs are changed in place and restored, so `fn` may also reach them otherwise,
 * e.g. as parameters of a layer. It must return the same for the same inputs.
 *
 * @param fn returns a tensor or an array of tensors
 * @param inputs float64; those that require grad are checked
 * @returns true
 * @throws BpttError ERR_BPTT_VALUE with the worst element, if a gradient is wrong
 *
 * @example
 * gradcheck((x) => x.tanh(), [randn([3], { dtype: 'float64', requiresGrad: true })])
 */
export function gradcheck<T extends readonly Tensor[]>(
  fn: (...inputs: T) => Outputs,
  inputs: readonly [...T],
  options: GradcheckOptions = {},
): true {
  const where = 'gradcheck'
  checkFunction(where, fn)
  options = checkOptions(where, options, ['eps', 'atol', 'rtol'])
  const eps = checkNumber(where, 'eps', options.eps ?? 1e-6, Number.MIN_VALUE)
  const atol = checkNumber(where, 'atol', options.atol ?? 1e-5, 0)
  const rtol = checkNumber(where, 'rtol', options.rtol ?? 1e-3, 0)
  const list = checkInputs(where, inputs)
  const checked = checkLeaves(where, list)
  const run = () => weighted(where, checkSynchronous(where, fn(...(list as unknown as T))))
  const analytic = gradientsOf(checked, run)

  let worst = { excess: 0, text: '' }
  for (const [at, input] of checked.entries()) {
    const values = input.dataSync() as Float64Array
    const exact = analytic[at] as Float64Array
    for (let i = 0; i < values.length; i++) {
      const numeric = quotient(input, values, i, eps, run)
      const error = Math.abs((exact[i] as number) - numeric)
      const excess = error - (atol + rtol * Math.abs(numeric))
      if (Number.isNaN(excess) || excess > worst.excess) {
        worst = {
          excess: Number.isNaN(excess) ? Number.POSITIVE_INFINITY : excess,
          text: `input ${list.indexOf(input)}, element ${i}: backward gives ${exact[i]}, differences ${numeric}`,
        }
      }
    }
  }
  if (worst.excess > 0) throw new BpttError('ERR_BPTT_VALUE', `[${where}] wrong gradient: ${worst.text}`)
  return true
}

function checkInputs(where: string, inputs: readonly Tensor[]): Tensor[] {
  if (!Array.isArray(inputs)) throw argumentError(where, 'an array of inputs', inputs)
  const list: Tensor[] = []
  for (const input of inputs as Tensor[]) {
    checkTensor(where, `input ${list.length}`, input)
    list.push(input)
  }
  return list
}

/** Those that require grad. */
function checkLeaves(where: string, inputs: readonly Tensor[]): Tensor[] {
  const checked = inputs.filter((input) => input.requiresGrad)
  if (checked.length === 0) throw valueError(where, 'an input that requires grad', inputs)
  for (const input of checked) {
    if (input.dtype !== 'float64') {
      throw dtypeError(where, 'inputs of dtype float64', input.dtype, 'float32 is too coarse for differences')
    }
    if (input._node !== null)
      throw graphError(where, 'expected inputs that are leaves, got the result of an op')
  }
  return checked
}

/** A scalar: every element of every output with a weight of its own, away from zero. */
function weighted(where: string, outputs: Outputs): Tensor {
  let total: Tensor | null = null
  let k = 0
  const list: unknown = isTensor(outputs) ? [outputs] : outputs
  if (!Array.isArray(list)) throw argumentError(where, 'a function that returns tensors', outputs)
  for (const output of list as Tensor[]) {
    checkTensor(where, 'the result of the function', output)
    const weights = Float64Array.from({ length: output.size }, () => 1.5 + Math.sin(++k * 1.7))
    const part = output.mul(tensor(weights, output.shape)).sum()
    total = total === null ? part : total.add(part)
  }
  if (total === null) throw valueError(where, 'at least one output', outputs)
  return total
}

/** The gradients by backward(); those in .grad stay as they were. */
function gradientsOf(inputs: readonly Tensor[], run: () => Tensor): Float64Array[] {
  const before = inputs.map((input) => input._takeGrad())
  try {
    tidy(() => run().backward())
    return inputs.map((input) => {
      const gradient = input.grad
      return gradient === null ? new Float64Array(input.size) : (gradient.dataSync() as Float64Array)
    })
  } finally {
    for (const [i, input] of inputs.entries()) {
      input._setGrad(before[i] ?? null)
    }
  }
}

function quotient(input: Tensor, values: Float64Array, i: number, eps: number, run: () => Tensor): number {
  const value = values[i] as number
  const at = (x: number): number => {
    values[i] = x
    overwrite(input, values)
    return tidy(() => run().itemSync())
  }
  try {
    const high = value + eps
    const low = value - eps
    return (at(high) - at(low)) / (high - low)
  } finally {
    values[i] = value
    overwrite(input, values)
  }
}

function overwrite(input: Tensor, values: Float64Array): void {
  detached(() => {
    native().upload(input._handle('gradcheck'), values)
    input._live('gradcheck').touch()
  })
}
