/** Recurrent layers: one call and one node for the whole stack. */
import { needsGrad, record, view } from '../autograd.ts'
import { unfolded } from '../backward.ts'
import { COMPUTE, type Handle, native, type RecurrentCall } from '../binding.ts'
import { CELLS, type CellStack, hasC, outputSize } from '../cells.ts'
import { checkFloat, checkLengths, checkLike, checkPlacement, checkShape, checkShapeIs } from '../check.ts'
import { type Device, DTYPE_FLOAT32, deviceNumber, dtypeNumber, type FloatDType } from '../dtype.ts'
import { computeError, shapeError, shapeText } from '../messages.ts'
import { draw } from '../random.ts'
import { isRecording } from '../scope.ts'
import { Storage } from '../storage.ts'
import { result, type Tensor } from '../tensor.ts'
import { unrolled } from './unrolled.ts'

/** What products inside a recurrent layer may compute in, instead of its dtype. @useDeclaredType */
export type Compute = Exclude<keyof typeof COMPUTE, 'dtype'>
export const COMPUTES = Object.keys(COMPUTE).filter((name) => name !== 'dtype') as Compute[]

/** What a stack of recurrent layers is, apart from its weights. */
export interface RecurrentShape extends CellStack {
  /** Its class, for messages. */
  name: string
  batchFirst: boolean
  dtype: FloatDType
  /** Null: the dtype. */
  compute?: Compute | null | undefined
}

export interface RecurrentResult<D extends FloatDType> {
  /** [T,B,D*Hout] ([B,T,D*Hout] if batchFirst); zeros past each row's length */
  output: Tensor<D>
  /** [L*D,B,Hout]: the state of each row after its own last step */
  hn: Tensor<D>
  /** [L*D,B,H]; null of a cell without c */
  cn: Tensor<D> | null
}

/** T and B of an input, and whether it has an axis for B. */
interface Extent {
  T: number
  B: number
  batched: boolean
}

/** The last write to any of the parameters: another for other contents, as long as they are the same storages. */
export const stampOf = (parameters: readonly Storage[]): number =>
  parameters.reduce((latest, { version }) => Math.max(latest, version), 0)

/** Memory for the weights in the backend's layout. The backend packs them again where the stamp of a call is another. */
export class PackedWeights {
  #storage: Storage | null = null
  #forTraining = false

  /** A buffer for this stack; one made for training also serves inference, not the reverse. */
  storage(desc: Float64Array, training: boolean, device: Device): Storage {
    if (this.#storage !== null && (this.#forTraining || !training)) return this.#storage
    const bytes = native().packedBytes(desc, deviceNumber(device))
    const storage = Storage.allocate(deviceNumber(device), bytes)
    // It begins with the stamp of the weights it holds; 0: none yet.
    native().fill(DTYPE_FLOAT32, bytes / 4, 0, storage.handle)
    this.dispose()
    this.#storage = storage
    this.#forTraining = training
    return storage
  }

  dispose(): void {
    this.#storage?.release()
    this.#storage = null
  }
}

/** The `desc` of {@link RecurrentCall}. */
export function describeStack(
  shape: RecurrentShape,
  T: number,
  B: number,
  batchFirst: boolean,
  training: boolean,
  dropout: number,
): Float64Array {
  return Float64Array.of(
    CELLS[shape.cell].number,
    dtypeNumber(shape.dtype),
    T,
    B,
    shape.inputSize,
    shape.hiddenSize,
    shape.projSize,
    shape.numLayers,
    shape.directions,
    shape.bias ? 1 : 0,
    batchFirst ? 1 : 0,
    training ? 1 : 0,
    dropout,
    COMPUTE[shape.compute ?? 'dtype'],
  )
}

/**
 * Runs a stack.
 *
 * @param parameters those of parameterShapes(shape), in its order
 * @param dropout between layers; 0 in evaluation
 */
export function recurrent<D extends FloatDType>(
  shape: RecurrentShape,
  parameters: readonly Tensor<D>[],
  packed: PackedWeights,
  dropout: number,
  input: Tensor<D>,
  h0: Tensor<D> | null,
  c0: Tensor<D> | null,
  lengths: ArrayLike<number> | null,
): RecurrentResult<D> {
  const where = `${shape.name}.forward`
  const { T, B, batched } = checkInput(where, shape, (parameters[0] as Tensor).device, input)
  const { hiddenSize, numLayers, directions } = shape
  const width = outputSize(shape)
  const stack = numLayers * directions
  const stateShape = (size: number) => (batched ? [stack, B, size] : [stack, size])
  const named = batched ? 'L*D,B,' : 'L*D,'
  checkState(where, 'h0', input, h0, stateShape(width), `${named}${shape.projSize ? 'Hproj' : 'H'}`)
  checkState(where, 'c0', input, c0, stateShape(hiddenSize), `${named}H`)
  const rows = rowLengths(where, lengths, T, B)

  const outputs: Outputs = {
    y: [...input._shape.slice(0, -1), directions * width],
    h: stateShape(width),
    c: stateShape(hiddenSize),
  }
  checkShape(where, outputs.y)
  const masks = dropout > 0 ? numLayers - 1 : 0
  const { seed, offset } = masks > 0 ? draw(T * B * directions * width, masks) : NO_RANDOM
  const [output, hn, cn] = run(
    { shape, T, B, batchFirst: batched && shape.batchFirst, dropout, seed, offset, rows },
    parameters,
    packed,
    [input, h0, c0],
    outputs,
    ([x, h, c], weights) =>
      unrolled(shape, weights, { p: dropout, seed, offset }, x as Tensor, h ?? null, c ?? null, rows),
  )
  return { output: output as Tensor<D>, hn: hn as Tensor<D>, cn: cn ?? null }
}

/**
 * One step of one layer: h' and, of a cell with c, c'.
 *
 * @param input [B,I] or [I]
 * @param h [B,Hout] or [Hout], null: zeros
 * @param c [B,H] or [H], null: zeros
 */
export function recurrentStep<D extends FloatDType>(
  shape: RecurrentShape,
  parameters: readonly Tensor<D>[],
  packed: PackedWeights,
  input: Tensor<D>,
  h: Tensor<D> | null,
  c: Tensor<D> | null,
): [h: Tensor<D>, c: Tensor<D> | null] {
  const where = `${shape.name}.forward`
  const B = checkStep(where, shape, (parameters[0] as Tensor).device, input)
  const width = outputSize(shape)
  const stateShape = (size: number) => [...input._shape.slice(0, -1), size]
  const batched = input._shape.length === 2
  const named = batched ? 'B,' : ''
  checkState(where, 'h', input, h, stateShape(width), `${named}${shape.projSize ? 'Hproj' : 'H'}`)
  checkState(where, 'c', input, c, stateShape(shape.hiddenSize), `${named}H`)
  const [next, , cn] = run(
    { shape, T: 1, B, batchFirst: false, dropout: 0, ...NO_RANDOM, rows: null },
    parameters,
    packed,
    [input, h, c],
    { y: stateShape(width), h: null, c: stateShape(shape.hiddenSize) },
    ([x, h, c], weights) => {
      const step = (one: Tensor | null | undefined) =>
        one == null ? null : view(one, [1, B, one._shape.at(-1) as number])
      const [, hn, cn] = unrolled(shape, weights, NO_DROPOUT, step(x) as Tensor, step(h), step(c), null)
      const out = (one: Tensor) => view(one, stateShape(one._shape.at(-1) as number))
      return cn === undefined ? [out(hn as Tensor)] : [out(hn as Tensor), out(cn)]
    },
  )
  return [next as Tensor<D>, cn ?? null]
}

/** Shapes of the results; hn is left out where it is null. */
interface Outputs {
  y: readonly number[]
  h: readonly number[] | null
  c: readonly number[]
}

interface Work {
  shape: RecurrentShape
  T: number
  B: number
  batchFirst: boolean
  dropout: number
  seed: number
  offset: number
  rows: Int32Array | null
}

/**
 * Enqueues the forward call, and records the backward one.
 *
 * @param inputs x, h0 and c0
 * @param composed the results again, made of ops of the tape
 */
function run<D extends FloatDType>(
  { shape, T, B, batchFirst, dropout, seed, offset, rows }: Work,
  parameters: readonly Tensor<D>[],
  packed: PackedWeights,
  given: readonly [x: Tensor<D>, h0: Tensor<D> | null, c0: Tensor<D> | null],
  shapes: Outputs,
  composed: (given: (Tensor | null)[], weights: Tensor[]) => Tensor[],
): [y: Tensor<D>, hn: Tensor<D> | null, cn: Tensor<D> | null] {
  const where = `${shape.name}.forward`
  const inputs = [...given, ...parameters]
  const training = inputs.some(needsGrad)
  const desc = describeStack(shape, T, B, batchFirst, training, dropout)
  const { dtype, device } = given[0]
  const [x, h0, c0] = given.map((one) => one?._handle(where) ?? null)
  const weights = parameters.map((parameter) => parameter._live(where))
  const stamp = stampOf(weights)
  const cache = packed.storage(desc, training, device)

  const y = result(shapes.y, dtype, device)
  const hn = shapes.h && result(shapes.h, dtype, device)
  const cn = hasC(shape.cell) ? result(shapes.c, dtype, device) : null
  // Backward is given the same call; the tape keeps its memory alive until then.
  const call: RecurrentCall = [
    desc,
    weights.map(({ handle }) => handle),
    rows,
    y._handle(where),
    cache.handle,
    stamp,
    seed,
    offset,
    x as Handle,
    h0 ?? null,
    c0 ?? null,
  ]
  const handleOf = (one: Tensor | null | undefined) => one?._handle(where) ?? null
  const reserve = native().recurrentForward(...call, handleOf(hn), handleOf(cn))
  if (training && reserve !== null) {
    const held = new Storage(reserve, 0)
    const outputs = [y, hn, cn].filter((one) => one !== null)
    const before = inputs.map((one) => one?._shape ?? [])
    record(shape.name, inputs, outputs, [...inputs, y, cache, held], (_dy, node, gradients) => {
      if (isRecording()) {
        const own = inputs.map((_, i) => node.tensorOrNull(i))
        return unfolded(node, own, gradients, (all) => composed(all.slice(0, 3), all.slice(3) as Tensor[]))
      }
      const wanted = before.map((one, i) => (node.wants(i) ? result(one, dtype, device) : null))
      const [dx, dh0, dc0, ...dparameters] = wanted
      const [dy, ...dstates] = gradients
      const dhn = hn === null ? null : dstates.shift()
      native().recurrentBackward(
        dparameters.map(handleOf),
        ...call,
        handleOf(dy),
        handleOf(dhn),
        handleOf(dstates[0]),
        handleOf(dx),
        handleOf(dh0),
        handleOf(dc0),
        held.handle,
        node.retained,
      )
      return wanted
    })
    held.release()
  }
  return [y, hn, cn]
}

const NO_DROPOUT = { p: 0, seed: 0, offset: 0 }
const NO_RANDOM = { seed: 0, offset: 0 }

function checkInput(where: string, shape: RecurrentShape, device: Device, input: Tensor): Extent {
  checkFloat(where, 'input', input)
  if (shape.compute && device === 'cpu') throw computeError(where, shape.compute)
  checkPlacement(where, 'input', input, shape.dtype, device)
  const { inputSize, batchFirst } = shape
  const rank = input._shape.length
  if ((rank !== 3 && rank !== 2) || input._shape[rank - 1] !== inputSize) {
    const named = batchFirst ? '[B,T,I]' : '[T,B,I]'
    throw shapeError(
      where,
      `input of shape ${named} = [*,*,${inputSize}] or [T,I] = [*,${inputSize}]`,
      shapeText(input._shape),
      rank === 3 && input._shape.includes(inputSize) ? 'the last dimension must be inputSize' : undefined,
    )
  }
  const [a, b] = input._shape as [number, number]
  if (rank === 2) return { T: a, B: 1, batched: false }
  return batchFirst ? { T: b, B: a, batched: true } : { T: a, B: b, batched: true }
}

/** Checks the input of a step; returns B. */
function checkStep(where: string, shape: RecurrentShape, device: Device, input: Tensor): number {
  checkFloat(where, 'input', input)
  checkPlacement(where, 'input', input, shape.dtype, device)
  const [first = 0] = input._shape
  const rank = input._shape.length
  if ((rank !== 1 && rank !== 2) || input._shape[rank - 1] !== shape.inputSize) {
    throw shapeError(
      where,
      `input of shape [B,I] = [*,${shape.inputSize}] or [I] = [${shape.inputSize}]`,
      shapeText(input._shape),
      rank === 3 ? 'a cell takes one step; a layer takes a sequence' : undefined,
    )
  }
  return rank === 1 ? 1 : first
}

function checkState(
  where: string,
  name: string,
  input: Tensor,
  state: Tensor | null,
  shape: readonly number[],
  named: string,
): void {
  if (state === null) return
  checkLike(where, name, input, state)
  checkShapeIs(where, name, state, shape, named)
}

const BATCH_FIRST = 'a layer takes [T,B,I], one made with { batchFirst: true } takes [B,T,I]'

/** One length per row, as int32; null where all are T. */
function rowLengths(
  where: string,
  lengths: ArrayLike<number> | null,
  T: number,
  B: number,
): Int32Array | null {
  if (lengths === null) return null
  const rows = checkLengths(where, lengths, T, B, { swapped: BATCH_FIRST })
  return rows.every((length) => length === T) ? null : Int32Array.from(rows)
}
