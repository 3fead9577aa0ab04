/** Ops of the user's own. */
import { needsGrad, record } from '../autograd.ts'
import { isTensor, typedArrayLength } from '../brand.ts'
import { checkBoolean, checkFunction, checkOptions, checkSynchronous, checkTensor } from '../check.ts'
import { tensor } from '../create.ts'
import type { DataOf, DType } from '../dtype.ts'
import { product } from '../layout.ts'
import { argumentError, shapeError, shapeText, twiceError } from '../messages.ts'
import { isRecording, noGrad, openScope } from '../scope.ts'
import type { Tensor } from '../tensor.ts'

/** What the backward function of a {@link customOp} is told besides the gradients. */
export interface CustomContext<V> {
  /** The inputs of the call. */
  inputs: readonly V[]
  /** What forward returned. */
  outputs: readonly V[]
  /** Per input: whether its gradient is wanted. */
  wants: readonly boolean[]
}

/** The elements of a tensor, in row-major order, with its shape. */
export interface PlainArray {
  /** The elements. */
  data: DataOf<DType>
  /** Its product is the length of data. */
  shape: readonly number[]
}

interface Description<V> {
  /** Names the op in messages. */
  name: string
  /** The results from the inputs: one, or an array of them. */
  forward: (...inputs: V[]) => V | readonly V[]
  /**
   * One gradient per input, of its shape, from one gradient per output; null where none is wanted or there is none.
   * An output that nothing was computed from has null for its gradient.
   */
  backward: (gradients: readonly (V | null)[], context: CustomContext<V>) => (V | null)[] | V | null
}

/** {@link customOp} of tensors. */
export interface CustomOp extends Description<Tensor> {
  /** Tensors in and out. */
  arrays?: false | undefined
}

/** {@link customOp} of plain arrays: each call waits for its inputs. */
export interface CustomArrayOp extends Description<PlainArray> {
  /** Plain arrays in and out. */
  arrays: true
}

/**
 * An op of your own: a function of tensors with the gradient that you say.
 *
 * Forward is not recorded, and what either function makes is disposed, but for what it returns. Where backward is
 * made of ops, it can be differentiated in turn (`createGraph`). With `arrays: true` both functions take and give
 * plain arrays instead, which are read and written on this thread, and results have the dtype of the first input.
 *
 * @throws TypeError ERR_BPTT_TYPE if the description is not one; the op throws ERR_BPTT_TYPE or ERR_BPTT_SHAPE where
 * a function gives something else than it should
 *
 * @example
 * // x rounded, with the gradient of x (straight-through estimator)
 * const rounded = customOp({
 *   name: 'rounded',
 *   forward: (x) => x.round(),
 *   backward: ([dy]) => [dy],
 * })
 * rounded(x).sum().backward()
 */
export function customOp(description: CustomOp | CustomArrayOp): (...inputs: Tensor[]) => Tensor
export function customOp<O extends readonly Tensor[]>(
  description: CustomOp | CustomArrayOp,
): (...inputs: Tensor[]) => O
export function customOp(description: CustomOp | CustomArrayOp): (...inputs: Tensor[]) => Tensor | Tensor[] {
  const where = 'customOp'
  const {
    name,
    forward,
    backward,
    arrays = false,
  } = checkOptions(where, description, ['name', 'forward', 'backward', 'arrays'])
  if (typeof name !== 'string') throw argumentError(where, 'a name', name)
  checkFunction(where, forward)
  checkFunction(where, backward)
  return checkBoolean(where, 'arrays', arrays)
    ? (...inputs) => apply(name, ofArrays(name, { name, forward, backward } as CustomArrayOp), inputs, true)
    : (...inputs) => apply(name, { name, forward, backward } as CustomOp, inputs, false)
}

function apply(
  name: string,
  { forward, backward }: Description<Tensor>,
  inputs: readonly Tensor[],
  plain: boolean,
): Tensor | Tensor[] {
  for (const [i, input] of inputs.entries()) {
    checkTensor(name, `input ${i}`, input)
    input._live(name)
  }
  const created: Tensor[] = []
  const outer = openScope(created)
  let results: Tensor[]
  let single: boolean
  try {
    const given: unknown = noGrad(() => checkSynchronous(name, forward(...inputs)))
    single = isTensor(given)
    const outputs = checkOutputs(name, single ? [given] : given)
    openScope(outer)
    results = outputs.map((output) => output.detach())
  } finally {
    openScope(outer)
    for (const one of created) one.dispose()
  }
  if (inputs.some(needsGrad)) {
    record(name, inputs, results, [...inputs, ...results], (_, node, gradients) => {
      if (plain && isRecording()) throw twiceError(name)
      const given: unknown = backward(gradients, {
        inputs: inputs.map((_, i) => node.tensor(i)),
        outputs: results.map((_, i) => node.tensor(inputs.length + i)),
        wants: inputs.map((_, i) => node.wants(i)),
      })
      return checkGradients(name, inputs, given, (i) => node.wants(i))
    })
  }
  return single ? (results[0] as Tensor) : results
}

/** An array of tensors. */
export function checkOutputs(where: string, outputs: unknown): readonly Tensor[] {
  if (!Array.isArray(outputs) || !outputs.every(isTensor)) {
    throw argumentError(where, 'a function that returns a tensor or an array of tensors', outputs)
  }
  for (const output of outputs) output._live(where)
  return outputs
}

function checkGradients(
  name: string,
  inputs: readonly Tensor[],
  given: unknown,
  wants: (i: number) => boolean,
): (Tensor | null)[] {
  const list = Array.isArray(given) ? (given as unknown[]) : [given]
  if (list.length !== inputs.length) {
    throw argumentError(name, `backward to return ${inputs.length} gradients, one per input or null`, given)
  }
  return list.map((dx, i) => {
    if (dx === null || dx === undefined || !wants(i)) return null
    const input = inputs[i] as Tensor
    checkTensor(name, `gradient ${i}`, dx)
    const found = dx as Tensor
    if (found.dtype !== input.dtype || found._shape.join() !== input._shape.join()) {
      throw shapeError(
        name,
        `gradient ${i} to be ${input.dtype} of shape ${shapeText(input._shape)}`,
        `${found.dtype} of shape ${shapeText(found._shape)}`,
      )
    }
    return found
  })
}

/** The same op of tensors. */
function ofArrays(name: string, { forward, backward }: CustomArrayOp): Description<Tensor> {
  const read = (x: Tensor): PlainArray => ({ data: x.dataSync(), shape: x.shape })
  const readOrNull = (x: Tensor | null) => (x === null ? null : read(x))
  return {
    name,
    forward: (...inputs) => {
      const given = checkSynchronous(name, forward(...inputs.map(read)))
      const like = inputs[0] as Tensor
      return Array.isArray(given)
        ? given.map((one) => written(name, one, like))
        : written(name, given as PlainArray, like)
    },
    backward: (gradients, { inputs, outputs, wants }) => {
      const given = checkSynchronous(
        name,
        backward(gradients.map(readOrNull), { inputs: inputs.map(read), outputs: outputs.map(read), wants }),
      )
      const list = Array.isArray(given) ? given : [given]
      return list.map((one, i) => (one ? written(name, one, inputs[i] as Tensor) : null))
    },
  }
}

function written(name: string, array: PlainArray, like: Tensor | undefined): Tensor {
  const { data, shape } = array ?? {}
  if (!ArrayBuffer.isView(data) || !Array.isArray(shape)) {
    throw argumentError(name, 'arrays of the form { data, shape }', array)
  }
  if (typedArrayLength(data) !== product(shape as number[])) {
    throw shapeError(
      name,
      `data of shape ${shapeText(shape as number[])}`,
      `${typedArrayLength(data)} elements`,
    )
  }
  return like === undefined
    ? tensor(data, shape as number[])
    : tensor(data, shape as number[], { dtype: like.dtype, device: like.device })
}
