/** Tensor: data and lifetime. What it computes is attached in methods.ts. */
import type { Node } from './autograd.ts'
import { CPU_DEVICE, type Handle, native } from './binding.ts'
import { isTensor, setBrandOfTensor, TENSOR, THIS_COPY, UNCLONEABLE } from './brand.ts'
import { checkBoolean, checkFloatDType, checkLike, checkShapeIs } from './check.ts'
import { arrayOf, BYTES, type DataOf, type Device, type DType, deviceNumber } from './dtype.ts'
import { type Nested, nested } from './elements.ts'
import { product } from './layout.ts'
import {
  argumentError,
  describe,
  disposedError,
  foreignError,
  graphError,
  primitiveError,
  shapeError,
  shapeText,
} from './messages.ts'
import { track } from './scope.ts'
import { Storage } from './storage.ts'

declare global {
  // Node has it since 18.18, compilers know it by the library esnext.disposable: users need not.
  interface SymbolConstructor {
    readonly dispose: unique symbol
  }
}

/** What console.log() shows. */
const MAX_SHOWN = 8
const DIGITS_SHOWN = 6

let count = 0

/**
 * A dense, row-major array in native memory. Ops return at once; the work runs
 * in order on another thread, and only reading waits for it. Made by
 * {@link tensor}, zeros(), ... and by ops.
 *
 * Every method throws BpttError ERR_BPTT_DISPOSED on a disposed tensor, and ops
 * throw TypeError or RangeError where arguments do not fit. A failure of the
 * work itself (e.g. ERR_BPTT_INDEX) is thrown by whatever reads its result.
 */
export class Tensor<D extends DType = DType> {
  readonly #shape: readonly number[]
  readonly #size: number
  readonly #dtype: D
  #device: Device
  /** null once disposed */
  #storage: Storage | null
  #node: Node | null = null
  #slot = 0
  #leaf = false
  #grad: Tensor<D> | null = null
  #isGradient = false
  /**
   * Its number: no two tensors of an environment share one, so that comparing tensors deeply, as
   * assert.deepEqual() does, compares their identity. Compare what {@link data} gives instead.
   */
  readonly id = ++count
  /** @internal */
  readonly uncloneable = UNCLONEABLE

  /** @internal Takes over one reference to the storage. Use {@link tensor} and the other functions. */
  constructor(storage: Storage, shape: readonly number[], dtype: D, device: Device) {
    if (!(storage instanceof Storage)) {
      throw argumentError('Tensor', 'to be made by a function', 'new Tensor()', 'use tensor() or zeros()')
    }
    this.#storage = storage
    this.#shape = shape
    this.#size = product(shape)
    this.#dtype = dtype
    this.#device = device
  }

  /** `x`, unless it only inherits from a tensor or is a proxy of one. */
  static #own<D extends DType>(x: Tensor<D>): Tensor<D> {
    if (!(#storage in x)) throw foreignError('Tensor', x)
    return x
  }

  static {
    setBrandOfTensor((value) => #storage in value)
  }

  /** Frozen; tensors of one shape may share it. */
  get shape(): readonly number[] {
    return Object.freeze(Tensor.#own(this).#shape)
  }

  /** @internal The same, not frozen unless a user has seen it: array methods are slower on frozen arrays. */
  get _shape(): readonly number[] {
    return Tensor.#own(this).#shape
  }

  /** Number of elements: the product of shape. */
  get size(): number {
    return Tensor.#own(this).#size
  }

  /** Element type. */
  get dtype(): D {
    return Tensor.#own(this).#dtype
  }

  /** Where its elements are. {@link Module.to} moves those of parameters. */
  get device(): Device {
    return Tensor.#own(this).#device
  }

  /** Number of dimensions. */
  get rank(): number {
    return this._shape.length
  }

  /** Whether {@link dispose} was called, directly or by tidy(). */
  get disposed(): boolean {
    return Tensor.#own(this).#storage === null
  }

  // -- gradients -----------------------------------------------------------------

  /**
   * Whether backward() computes a gradient for it: a leaf made with
   * `requiresGrad: true`, or the recorded result of an op on one. May be set on leaves.
   */
  get requiresGrad(): boolean {
    const own = Tensor.#own(this)
    return own.#leaf || own.#node !== null
  }

  set requiresGrad(value: boolean) {
    checkBoolean('Tensor.requiresGrad', 'requiresGrad', value)
    if (Tensor.#own(this).#node !== null) {
      if (value) return
      throw graphError('Tensor.requiresGrad', 'expected a leaf, got the result of an op; use detach()')
    }
    if (value) checkFloatDType('Tensor.requiresGrad', this.#dtype)
    this.#leaf = value
  }

  /**
   * The gradient that backward() accumulated in this leaf, or null. It belongs to
   * the leaf: zeroGrad() disposes it. May be set, to null or to a tensor of the same
   * shape and dtype, which the leaf then owns.
   */
  get grad(): Tensor<D> | null {
    const grad = Tensor.#own(this).#grad
    return grad === null || grad.disposed ? null : grad
  }

  set grad(value: Tensor<D> | null) {
    if (value !== null) {
      checkLike('Tensor.grad', 'gradient', this, value)
      checkShapeIs('Tensor.grad', 'gradient', value, this.shape)
      value._live('Tensor.grad')
    }
    Tensor.#own(this)._setGrad(value)
  }

  /** Disposes {@link grad} and sets it to null. */
  zeroGrad(): void {
    Tensor.#own(this)._setGrad(null)
  }

  /** The same elements (shared, not copied) outside the graph: it does not require grad. */
  detach(): Tensor<D> {
    return this._share(this._shape)
  }

  // -- reading -----------------------------------------------------------------------

  /**
   * A fresh copy of the elements, in row-major order, when the work before is done. Rejects
   * with the failure of the op that should have computed them, or with ERR_BPTT_OOM where
   * there is no memory for the copy; the tensor stays as it is.
   */
  data(): Promise<DataOf<D>> {
    // Misuse throws where it was made; what fails at run time rejects.
    return elements(this, this._handle('Tensor.data'))
  }

  /** Like {@link data}, but blocks this thread until the work before is done, and throws. */
  dataSync(): DataOf<D> {
    return arrayOf(
      this.dtype,
      native().readSync(this._handle('Tensor.dataSync'), this.size * BYTES[this.dtype]),
    )
  }

  /**
   * The elements as nested arrays, one level per axis, when the work before is done; a number for a scalar. Otherwise
   * as {@link data}.
   *
   * @example
   * const rows = (await x.toArray()) as number[][]
   */
  toArray(): Promise<Nested<number>> {
    const shape = this._shape
    return elements(this, this._handle('Tensor.toArray')).then((data) => nested(data, shape))
  }

  /**
   * The element of a tensor of size 1, when the work before is done.
   *
   * @throws RangeError ERR_BPTT_SHAPE if it has any other size
   */
  item(): Promise<number> {
    checkItem('Tensor.item', Tensor.#own(this))
    return this.data().then((data) => data[0] as number)
  }

  /** Like {@link item}, but blocks this thread. */
  itemSync(): number {
    checkItem('Tensor.itemSync', Tensor.#own(this))
    return this.dataSync()[0] as number
  }

  // -- lifetime ----------------------------------------------------------------------

  /**
   * Frees the memory at once, unless the tape or a tensor that shares it still needs
   * it. Pending work is not disturbed. A second call does nothing.
   */
  dispose(): void {
    if (Tensor.#own(this).#storage === null) return
    this.#storage?.release()
    this.#storage = null
    this.#node?.release()
    this._setGrad(null)
  }

  /** As {@link dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Dtype, shape and flags, without the elements. */
  toString(): string {
    const flags = `${this.requiresGrad ? ', requiresGrad' : ''}${this.disposed ? ', disposed' : ''}`
    return `Tensor(${this.dtype}, ${shapeText(this.shape)}${flags})`
  }

  /**
   * A description, without the elements: JSON holds neither all numbers nor their types. Write those that
   * data() gives, or a file by saveSafetensors().
   */
  toJSON(): Pick<Tensor<D>, 'dtype' | 'shape' | 'device' | 'requiresGrad'> {
    const { dtype, shape, device, requiresGrad } = this
    return { dtype, shape, device, requiresGrad }
  }

  /** A tensor is no number, and `x + y` is x.add(y): throws TypeError ERR_BPTT_TYPE, except in `${x}`. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return this.toString()
    throw primitiveError(this)
  }

  /** @internal */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return isTensor(this) ? `${this}${preview(this)}` : describe(this)
  }

  // -- for the library -----------------------------------------------------------------------

  /** @internal The storage, unless disposed. */
  _live(where: string): Storage {
    const storage = Tensor.#own(this).#storage
    if (storage === null) throw disposedError(where)
    return storage
  }

  /** @internal */
  _handle(where: string): Handle {
    return this._live(where).handle
  }

  /** @internal A tensor over the same storage; `shape` has the same size. */
  _share(shape: readonly number[]): Tensor<D> {
    const shared = new Tensor(this._live('Tensor').retain(), shape, this.dtype, this.device)
    track(shared)
    return shared
  }

  /** @internal Takes its elements, and its gradient's, to another device. Waits for the work before. */
  _move(device: Device): void {
    if (this.#storage === null || this.#device === device) return
    const bytes = this.#size * BYTES[this.#dtype]
    const storage = Storage.allocate(deviceNumber(device), bytes)
    native().upload(storage.handle, new Uint8Array(native().readSync(this.#storage.handle, bytes)))
    this.#storage.release()
    this.#storage = storage
    this.#device = device
    this.#grad?._move(device)
  }

  /** @internal Makes it output `slot` of a node. */
  _setNode(node: Node, slot: number): void {
    node.references++
    this.#node = node
    this.#slot = slot
  }

  /** @internal the op that made it, if recorded */
  get _node(): Node | null {
    return this.#node
  }

  /** @internal which output of the node it is */
  get _slot(): number {
    return this.#slot
  }

  /** @internal Makes it a leaf that wants a gradient, or none; its dtype has been checked. */
  _setLeaf(value: boolean): void {
    this.#leaf = value
  }

  /** @internal it is some leaf's gradient */
  get _isGradient(): boolean {
    return this.#isGradient
  }

  /** @internal */
  _setGrad(value: Tensor<D> | null): void {
    if (value === this.#grad) return
    this.#grad?.dispose()
    this.#grad = value
    if (value !== null) value.#isGradient = true
  }

  /** @internal Called when the backward() of that number has given it, a leaf, a gradient. */
  _onGradient(_backward: number): void {}

  /** @internal Takes the gradient away; it belongs to the caller. */
  _takeGrad(): Tensor<D> | null {
    const grad = this.#grad
    this.#grad = null
    return grad
  }
}

Object.defineProperty(Tensor.prototype, TENSOR, { value: THIS_COPY })

async function elements<D extends DType>(x: Tensor<D>, handle: Handle): Promise<DataOf<D>> {
  return arrayOf(x.dtype, await native().read(handle, x.size * BYTES[x.dtype]))
}

function checkItem(where: string, x: Tensor): void {
  if (x.size !== 1) throw shapeError(where, 'a tensor of one element', shapeText(x._shape), 'use data()')
}

/** The first elements, as text. It never waits: what is not computed yet is not shown. */
function preview(x: Tensor): string {
  if (x.disposed || x.device !== 'cpu') return ''
  const shown = Math.min(x.size, MAX_SHOWN)
  if (shown > 0 && native().stats(CPU_DEVICE).queuedOps > 0) return ' not computed yet'
  try {
    const values = arrayOf(x.dtype, native().readSync(x._handle('Tensor'), shown * BYTES[x.dtype]))
    const texts = Array.from(values, (value) =>
      x.dtype === 'bool' ? String(value === 1) : String(Number(value.toPrecision(DIGITS_SHOWN))),
    )
    return ` [${texts.join(', ')}${x.size > shown ? ', ..' : ''}]`
  } catch (error) {
    return ` ${(error as Error).message}`
  }
}

/** A new tensor with undefined contents, for the result of an op. */
export function result<D extends DType>(shape: readonly number[], dtype: D, device: Device): Tensor<D> {
  const storage = Storage.allocate(deviceNumber(device), product(shape) * BYTES[dtype])
  const tensor = new Tensor(storage, shape, dtype, device)
  track(tensor)
  return tensor
}

/** The result of an op whose shape is that of `x`. */
export function resultLike<D extends DType>(x: Tensor<D>): Tensor<D> {
  return result(x._shape, x.dtype, x.device)
}
