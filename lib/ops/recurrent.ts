/** Recurrent layers: one call and one node for the whole stack. */
import { needsGrad, record } from '../autograd.ts'
import { unfolded } from '../backward.ts'
import { COMPUTE, native, type RecurrentCall } from '../binding.ts'
import { CELLS, type CellStack, hasC, outputSize } from '../cells.ts'
import { checkFloat, checkIntegers, checkLike, checkPlacement, checkShape, checkShapeIs } from '../check.ts'
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
  /** [L*D,B,H] of a cell with c */
  cn: Tensor<D> | null
}

/** T, B and the shapes that follow from them. */
interface Extent {
  T: number
  B: number
  batched: boolean
}

/** Weights in the backend's layout, rebuilt by the backend when the stamp changes. */
export class PackedWeights {
  #storage: Storage | null = null
  #forTraining = false

  /** A buffer for this stack; one made for training also serves inference, not the reverse. */
  storage(desc: Float64Array, training: boolean, device: Device): Storage {
    if (this.#storage !== null && (this.#forTraining || !training)) return this.#storage
    const bytes = native().packedBytes(desc, deviceNumber(device))
    const storage = Storage.allocate(deviceNumber(device), bytes)
    // It begins with the stamp of what it holds: 0 is nothing.
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
  checkState(where, 'h0', input, h0, stateShape(width), batched, shape.projSize ? 'Hproj' : 'H')
  checkState(where, 'c0', input, c0, stateShape(hiddenSize), batched, 'H')
  const rows = checkLengths(where, lengths, T, B)

  const inputs = [input, h0, c0, ...parameters]
  const training = inputs.some(needsGrad)
  const desc = describeStack(shape, T, B, batched && shape.batchFirst, training, dropout)
  const { dtype, device } = input
  const read = {
    x: input._live(where),
    h0: h0?._live(where) ?? null,
    c0: c0?._live(where) ?? null,
    weights: parameters.map((parameter) => parameter._live(where)),
  }
  const stamp = read.weights.reduce((latest, { version }) => Math.max(latest, version), 0)
  const cache = packed.storage(desc, training, device)

  const outputShape = [...input._shape.slice(0, -1), directions * width]
  checkShape(where, outputShape)
  const output = result(outputShape, dtype, device)
  const hn = result(stateShape(width), dtype, device)
  const cn = hasC(shape.cell) ? result(stateShape(hiddenSize), dtype, device) : null
  const between = dropout > 0 ? numLayers - 1 : 0
  const { seed, offset } = between > 0 ? drawFor(between, T * B * directions * width) : NO_RANDOM
  const y = output._live(where)
  // The tape holds all of it until backward has run.
  const call: RecurrentCall = [
    desc,
    read.weights.map(({ handle }) => handle),
    rows,
    y.handle,
    cache.handle,
    stamp,
    seed,
    offset,
    read.x.handle,
    read.h0?.handle ?? null,
    read.c0?.handle ?? null,
  ]
  const reserve = native().recurrentForward(...call, hn._handle(where), cn?._handle(where) ?? null)
  if (training && reserve !== null) {
    const held = new Storage(reserve, 0)
    const saved = [...inputs, output, cache, held]
    const shapes = inputs.map((one) => one?._shape ?? [])
    const outputs = cn === null ? [output, hn] : [output, hn, cn]
    record(shape.name, inputs, outputs, saved, (_dy, node, gradients) => {
      if (isRecording()) {
        const own = inputs.map((_, i) => node.tensorOrNull(i))
        return unfolded(node, own, gradients, ([x, h, c, ...weights]) =>
          unrolled(
            shape,
            weights as Tensor[],
            { p: dropout, seed, offset },
            x as Tensor,
            h ?? null,
            c ?? null,
            rows,
          ),
        )
      }
      const wanted = shapes.map((one, i) => (node.wants(i) ? result(one, dtype, device) : null))
      const handleOf = (one: Tensor | null | undefined) => one?._handle(where) ?? null
      const [dx, dh0, dc0, ...dparameters] = wanted
      const [dy, dhn, dcn] = gradients
      native().recurrentBackward(
        dparameters.map(handleOf),
        ...call,
        handleOf(dy),
        handleOf(dhn),
        handleOf(dcn),
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
  return { output, hn, cn }
}

const NO_RANDOM = { seed: 0, offset: 0 }

/** Numbers for one mask per boundary between layers; each mask starts at a counter of its own. */
function drawFor(masks: number, elements: number): { seed: number; offset: number } {
  return draw(masks * 4 * Math.ceil(elements / 4))
}

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

function checkState(
  where: string,
  name: string,
  input: Tensor,
  state: Tensor | null,
  shape: readonly number[],
  batched: boolean,
  width: string,
): void {
  if (state === null) return
  checkLike(where, name, input, state)
  checkShapeIs(where, name, state, shape, batched ? `L*D,B,${width}` : `L*D,${width}`)
}

const BATCH_FIRST = 'a layer takes [T,B,I], one made with { batchFirst: true } takes [B,T,I]'

/** One length per row, as int32; null where all are T. */
function checkLengths(
  where: string,
  lengths: ArrayLike<number> | null,
  T: number,
  B: number,
): Int32Array | null {
  if (lengths === null) return null
  const rows = checkIntegers(where, 'lengths', lengths, 0, T)
  if (rows.length !== B) {
    const remedy = rows.length === T ? BATCH_FIRST : undefined
    throw shapeError(where, `lengths of shape [B] = [${B}]`, shapeText([rows.length]), remedy)
  }
  return rows.every((length) => length === T) ? null : Int32Array.from(rows)
}
