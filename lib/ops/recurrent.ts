/** Recurrent layers: one call and one node for the whole stack. */
import { needsGrad, record } from '../autograd.ts'
import { CELL, COMPUTE, type Handle, native } from '../binding.ts'
import { checkFloat, checkIntegers, checkLike, checkPlacement, checkShape, checkShapeIs } from '../check.ts'
import { type Device, DTYPE_FLOAT32, deviceNumber, dtypeNumber, type FloatDType } from '../dtype.ts'
import { computeError, shapeError, shapeText } from '../messages.ts'
import { draw } from '../random.ts'
import { Storage } from '../storage.ts'
import { result, type Tensor } from '../tensor.ts'

export type Cell = keyof typeof CELL

/** What products inside a recurrent layer may compute in, instead of its dtype. @useDeclaredType */
export type Compute = Exclude<keyof typeof COMPUTE, 'dtype'>
export const COMPUTES = Object.keys(COMPUTE).filter((name) => name !== 'dtype') as Compute[]

/** What a stack of recurrent layers is, apart from its weights. */
export interface RecurrentShape {
  /** Its class, for messages. */
  name: string
  cell: Cell
  inputSize: number
  hiddenSize: number
  /** 0: none */
  projSize: number
  numLayers: number
  directions: 1 | 2
  bias: boolean
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
  /** [L*D,B,H], LSTM only */
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

/** [cell, dtype, T, B, I, H, P, L, D, bias, batchFirst, training, dropout, compute] */
export function describeStack(
  shape: RecurrentShape,
  T: number,
  B: number,
  batchFirst: boolean,
  training: boolean,
  dropout: number,
): Float64Array {
  return Float64Array.of(
    CELL[shape.cell],
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
 * @param parameters five per pseudo-layer (layer * directions + direction): weight_ih,
 * weight_hh, bias_ih, bias_hh, weight_hr; null where the layer has none
 * @param dropout between layers; 0 in evaluation
 */
export function recurrent<D extends FloatDType>(
  shape: RecurrentShape,
  parameters: readonly (Tensor<D> | null)[],
  packed: PackedWeights,
  dropout: number,
  input: Tensor<D>,
  h0: Tensor<D> | null,
  c0: Tensor<D> | null,
  lengths: ArrayLike<number> | null,
): RecurrentResult<D> {
  const where = `${shape.name}.forward`
  const { T, B, batched } = checkInput(where, shape, (parameters[0] as Tensor).device, input)
  const hidden = shape.hiddenSize
  const width = shape.projSize || hidden
  const stack = shape.numLayers * shape.directions
  const stateShape = (size: number) => (batched ? [stack, B, size] : [stack, size])
  checkState(where, 'h0', input, h0, stateShape(width), batched, shape.projSize ? 'Hproj' : 'H')
  checkState(where, 'c0', input, c0, stateShape(hidden), batched, 'H')
  const rows = checkLengths(where, lengths, T, B)

  const inputs = [input, h0, c0, ...parameters]
  const training = inputs.some(needsGrad)
  const desc = describeStack(shape, T, B, batched && shape.batchFirst, training, dropout)
  const { dtype, device } = input
  const storages = inputs.map((x) => x?._live(where) ?? null)
  const handles = storages.map((storage) => storage?.handle ?? null)
  const [x, h, c, ...weights] = handles as [Handle, ...(Handle | null)[]]
  let stamp = 0
  for (let i = 3; i < storages.length; i++) stamp = Math.max(stamp, storages[i]?.version ?? 0)
  const cache = packed.storage(desc, training, device)

  const outputShape = [...input._shape.slice(0, -1), shape.directions * width]
  checkShape(where, outputShape)
  const output = result(outputShape, dtype, device)
  const hn = result(stateShape(width), dtype, device)
  const cn = shape.cell === 'lstm' ? result(stateShape(hidden), dtype, device) : null
  const between = dropout > 0 ? shape.numLayers - 1 : 0
  const { seed, offset } = between > 0 ? drawFor(between, T * B * shape.directions * width) : NO_RANDOM
  const reserve = native().recurrentForward(
    desc,
    weights,
    rows,
    output._handle(where),
    cache.handle,
    stamp,
    x,
    h ?? null,
    c ?? null,
    hn._handle(where),
    cn?._handle(where) ?? null,
    seed,
    offset,
  )
  if (training && reserve !== null) {
    const held = new Storage(reserve, 0)
    const saved = [...storages, output._live(where), cache, held]
    const shapes = inputs.map((one) => one?._shape ?? [])
    const first = inputs.length
    const outputs = cn === null ? [output, hn] : [output, hn, cn]
    record(shape.name, inputs, outputs, saved, (_, node, gradients) => {
      const wanted = shapes.map((one, i) => (node.wants(i) ? result(one, dtype, device) : null))
      const into = wanted.map((one) => one?._handle(where) ?? null)
      native().recurrentBackward(
        desc,
        parameters.map((_, i) => node.savedOrNull(3 + i)),
        into.slice(3),
        rows,
        node.saved(first),
        node.saved(first + 1),
        stamp,
        node.saved(0),
        node.savedOrNull(1),
        node.savedOrNull(2),
        gradients[0]?._handle(where) ?? null,
        gradients[1]?._handle(where) ?? null,
        gradients[2]?._handle(where) ?? null,
        into[0] ?? null,
        into[1] ?? null,
        into[2] ?? null,
        node.saved(first + 2),
        node.retained,
        seed,
        offset,
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
