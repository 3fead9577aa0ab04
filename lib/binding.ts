/**
 * The native addon: loaded on first use, typed here, and seen by no other file
 * except through {@link native}. Functions are flat and trust their caller:
 * arguments are checked in check.ts and by the ops.
 *
 * Sizes and strides count elements and travel as Float64Array, because a
 * number is exact there up to 2^53. Every op enqueues and returns at once;
 * it may throw ERR_BPTT_OOM, and blocks only while the queue is full.
 */
import { BpttError, type ErrorCode } from './errors.ts'
import { loadAddon } from './load.ts'
import { root } from './root.ts'

export * from './enums.ts'

/** Reference-counted device memory. Released by {@link Native.release} or, later, by the collector. */
export interface Handle {
  readonly __storage: never
}

/** A streaming layer: a snapshot of packed weights and the carried state. */
export interface StepperHandle {
  readonly __stepper: never
}

export interface NativeInfo {
  /** Of the library. */
  version: string
  /** The kernel table in use, e.g. 'avx2'. */
  isa: string
  /** Every table this machine can run; BPTT_ISA picks one. */
  isas: string[]
  /** How many compute. */
  threads: number
  /** e.g. 'AMD EPYC', or '' where unknown. */
  cpu: string
  /** What built the addon, e.g. 'GCC 12.2.0'. */
  compiler: string
}

/** What the caching allocator and the queue of this environment hold, in bytes and ops. @inline */
export interface NativeStats {
  /** In use by tensors, queued ops and layers. */
  allocatedBytes: number
  /** Kept for reuse. */
  cachedBytes: number
  /** Blocks in use. */
  liveStorages: number
  /** Enqueued and not yet done. */
  queuedOps: number
}

type Maybe = Handle | null

/**
 * What both directions of a recurrent layer are given. desc: [cell, dtype, T, B, I, H, P, L, D, bias, batchFirst,
 * training, dropout, compute]. Parameters: those of parameterShapes() in cells.ts, in its order. seed and offset are
 * dropout's. y is forward's output.
 */
export type RecurrentCall = [
  desc: Float64Array,
  parameters: Handle[],
  lengths: Int32Array | null,
  y: Handle,
  packed: Maybe,
  stamp: number,
  seed: number,
  offset: number,
  x: Handle,
  h0: Maybe,
  c0: Maybe,
]

export interface Native {
  /** The class of run-time failures: every rejection and throw of the addon is one. */
  setErrorClass(errorClass: new (code: ErrorCode, message: string) => Error): void
  info(): NativeInfo
  stats(device: number): NativeStats
  /** Whether CUDA devices can be used; versions and devices, or what is missing and where it was looked for. */
  cuda(): { available: boolean; message: string }
  setNumThreads(threads: number): void
  getNumThreads(): number
  /** float32 operations per second of fused multiply-adds by the whole team; waits that long, at most 60. */
  measureMultiplyAdds(seconds: number): number
  /** Bytes per second the whole team reads from memory; waits for about that long. */
  measureReads(seconds: number): number

  // -- memory ----------------------------------------------------------------
  /** Returns cached memory to the system when the work before is done. */
  emptyCache(device: number): void
  allocate(device: number, bytes: number): Handle
  /** The block may be reused by any op enqueued later. A second release of a handle does nothing. */
  release(handle: Handle): void
  /** Copies the view's bytes before it returns. */
  upload(handle: Handle, data: ArrayBufferView): void
  /** Resolves from a new turn of the event loop; keeps the process alive. Rejects on poison. */
  read(handle: Handle, bytes: number): Promise<ArrayBuffer>
  readSync(handle: Handle, bytes: number): ArrayBuffer
  /** Rejects with the first failure since the last call, if any. */
  synchronize(device: number): Promise<void>

  // -- elementwise -------------------------------------------------------------
  fill(dtype: number, size: number, value: number, out: Handle): void
  unary(dtype: number, op: number, alpha: number, beta: number, size: number, x: Handle, out: Handle): void
  unaryBackward(
    dtype: number,
    op: number,
    alpha: number,
    beta: number,
    size: number,
    saved: Handle,
    dout: Handle,
    dx: Handle,
  ): void
  /** layout: [rank, shape.., aStrides.., bStrides..] */
  binary(dtype: number, op: number, layout: Float64Array, a: Handle, b: Handle, out: Handle): void
  /** As binary, into bool. */
  compare(dtype: number, comparison: number, layout: Float64Array, a: Handle, b: Handle, out: Handle): void
  convert(from: number, to: number, size: number, x: Handle, out: Handle): void
  /** Where mask is 1, out becomes src; layout: [rank, shape.., maskStrides.., srcStrides..] */
  maskedCopy(dtype: number, layout: Float64Array, mask: Handle, src: Handle, out: Handle): void
  /** layout: [rank, srcOffset, dstOffset, shape.., srcStrides.., dstStrides..] */
  copy(dtype: number, layout: Float64Array, src: Handle, dst: Handle): void
  /**
   * Whole buffers, source and target of each pair on one device; layout: [dtype, size] per pair. In the
   * order of the list. If it throws, nothing has changed.
   */
  copyAll(layout: Float64Array, sources: Handle[], targets: Handle[]): void
  dropout(dtype: number, size: number, p: number, seed: number, offset: number, x: Handle, out: Handle): void
  uniform(
    dtype: number,
    size: number,
    low: number,
    high: number,
    seed: number,
    offset: number,
    out: Handle,
  ): void
  normal(
    dtype: number,
    size: number,
    mean: number,
    std: number,
    seed: number,
    offset: number,
    out: Handle,
  ): void

  // -- reductions ----------------------------------------------------------------
  /** layout: [rank, shape.., reduced (0 or 1)..] */
  sum(dtype: number, layout: Float64Array, scale: number, x: Handle, out: Handle): void
  /** values may be null */
  extreme(
    dtype: number,
    kind: number,
    outer: number,
    n: number,
    inner: number,
    x: Handle,
    values: Maybe,
    index: Handle,
  ): void
  /** descending: 0 or 1; k: how many of each line */
  sort(
    dtype: number,
    descending: number,
    k: number,
    outer: number,
    n: number,
    inner: number,
    x: Handle,
    values: Handle,
    index: Handle,
  ): void
  /** reverse: 0 or 1 */
  cumsum(
    dtype: number,
    reverse: number,
    outer: number,
    n: number,
    inner: number,
    x: Handle,
    out: Handle,
  ): void
  /** index: [outer,m,inner]; of indexSelect [m] */
  gather(
    dtype: number,
    kind: number,
    outer: number,
    n: number,
    inner: number,
    m: number,
    x: Handle,
    index: Handle,
    out: Handle,
  ): void
  scatterAdd(
    dtype: number,
    kind: number,
    outer: number,
    n: number,
    inner: number,
    m: number,
    index: Handle,
    base: Maybe,
    source: Handle,
    out: Handle,
  ): void
  /** alpha: the correction of variance and std */
  fold(
    dtype: number,
    kind: number,
    alpha: number,
    outer: number,
    n: number,
    inner: number,
    x: Handle,
    out: Handle,
  ): void
  softmax(
    dtype: number,
    kind: number,
    outer: number,
    classes: number,
    inner: number,
    x: Handle,
    out: Handle,
  ): void
  softmaxBackward(
    dtype: number,
    kind: number,
    outer: number,
    classes: number,
    inner: number,
    out: Handle,
    dout: Handle,
    dx: Handle,
  ): void
  layerNorm(
    dtype: number,
    rows: number,
    cols: number,
    eps: number,
    x: Handle,
    gamma: Maybe,
    beta: Maybe,
    y: Handle,
    mean: Maybe,
    rstd: Maybe,
  ): void
  layerNormBackward(
    dtype: number,
    rows: number,
    cols: number,
    x: Handle,
    gamma: Maybe,
    mean: Handle,
    rstd: Handle,
    dy: Handle,
    dx: Maybe,
    dgamma: Maybe,
    dbeta: Maybe,
  ): void

  // -- products --------------------------------------------------------------------
  /**
   * layout: [m, n, k, leftRow, leftK, rightK, rightCol, outRow, accumulate, batchRank,
   * batchShape.., leftBatch.., rightBatch.., outBatch..]
   */
  matmul(dtype: number, layout: Float64Array, left: Handle, right: Handle, bias: Maybe, out: Handle): void

  // -- embedding and losses ----------------------------------------------------------
  embedding(
    dtype: number,
    n: number,
    rows: number,
    cols: number,
    table: Handle,
    index: Handle,
    out: Handle,
  ): void
  /** padding: a row, or `rows`: none */
  embeddingBackward(
    dtype: number,
    n: number,
    rows: number,
    cols: number,
    padding: number,
    index: Handle,
    dout: Handle,
    dtable: Handle,
  ): void
  crossEntropy(
    dtype: number,
    reduction: number,
    outer: number,
    classes: number,
    inner: number,
    ignoreIndex: number,
    logits: Handle,
    target: Handle,
    loss: Handle,
    lse: Handle,
  ): void
  crossEntropyBackward(
    dtype: number,
    reduction: number,
    outer: number,
    classes: number,
    inner: number,
    ignoreIndex: number,
    logits: Handle,
    target: Handle,
    lse: Handle,
    dloss: Handle,
    dlogits: Handle,
  ): void
  pairwiseLoss(
    dtype: number,
    loss: number,
    reduction: number,
    size: number,
    x: Handle,
    target: Handle,
    out: Handle,
  ): void
  pairwiseLossBackward(
    dtype: number,
    loss: number,
    reduction: number,
    size: number,
    x: Handle,
    target: Handle,
    dloss: Handle,
    dx: Maybe,
    dtarget: Maybe,
  ): void
  ctcLoss(
    dtype: number,
    T: number,
    B: number,
    C: number,
    S: number,
    total: number,
    blank: number,
    zeroInfinity: number,
    logProbs: Handle,
    targets: Handle,
    layout: Handle,
    losses: Handle,
    alpha: Maybe,
  ): void
  ctcLossBackward(
    dtype: number,
    T: number,
    B: number,
    C: number,
    S: number,
    total: number,
    blank: number,
    logProbs: Handle,
    targets: Handle,
    layout: Handle,
    alpha: Handle,
    dlosses: Handle,
    dlogProbs: Handle,
  ): void

  // -- optimizers ----------------------------------------------------------------------
  /**
   * hyper: [lr, weightDecay, momentum, dampening, beta1, beta2, eps, alpha, lrDecay, muDecay, nesterov, centered,
   * amsgrad, maximize, decoupled] of each cohort; cohorts: [dtype, parameters] each, steps: one each, on the device
   * of its parameters; states holds three per parameter. Any poisoned gradient: nothing changes on its device. If it throws,
   * nothing changes on any.
   */
  optimize(
    kind: number,
    hyper: Float64Array,
    cohorts: Float64Array,
    steps: Handle[],
    sizes: Float64Array,
    parameters: Handle[],
    gradients: Handle[],
    states: Maybe[],
  ): void
  gradNorm(dtype: number, sizes: Float64Array, gradients: Handle[], norm: Handle): void
  /** By the norm, or each element where that is null. */
  clipGrads(dtype: number, sizes: Float64Array, gradients: Handle[], most: number, norm: Maybe): void

  // -- recurrent layers ------------------------------------------------------------------
  packedBytes(desc: Float64Array, device: number): number
  /** Returns the reserve that backward needs, or null unless training. */
  recurrentForward(...args: [...call: RecurrentCall, hn: Maybe, cn: Maybe]): Maybe
  /**
   * Consumes the reserve unless keepReserve, which works on a copy. Gradients are null where they are
   * not wanted; dparameters are in the order of parameters.
   */
  recurrentBackward(
    ...args: [
      dparameters: Maybe[],
      ...call: RecurrentCall,
      dy: Maybe,
      dhn: Maybe,
      dcn: Maybe,
      dx: Maybe,
      dh0: Maybe,
      dc0: Maybe,
      reserve: Handle,
      keepReserve: boolean,
    ]
  ): void

  // -- streaming inference ------------------------------------------------------------------
  /**
   * Waits for the weights, then packs them, unless a stepper has the same parameters of the same stamp, whose weights
   * it then shares. desc has T = 1 and D = 1.
   */
  createStepper(desc: Float64Array, parameters: Handle[], stamp: number): StepperHandle
  /** Other weights for a stepper and all that share its own. */
  updateSteppers(stepper: StepperHandle, desc: Float64Array, parameters: Handle[], stamp: number): void
  /** Of its state, which no other stepper shares. */
  stepperBytes(stepper: StepperHandle): number
  /** Runs on the calling thread. x: [steps,B,I], out: [steps,B,Hout], of the layer's dtype. */
  step(stepper: StepperHandle, steps: number, x: ArrayBufferView, out: ArrayBufferView): void
  /** h: [L,B,Hout]; c: [L,B,H] of a cell that has it, else null. Copies out of or into the stepper. */
  getStepperState(stepper: StepperHandle, h: ArrayBufferView, c: ArrayBufferView | null): void
  setStepperState(stepper: StepperHandle, h: ArrayBufferView, c: ArrayBufferView | null): void
  /** Zeroes the state of the given rows, or of all. */
  resetStepper(stepper: StepperHandle, rows: Int32Array | null): void
  releaseStepper(stepper: StepperHandle): void
}

let loaded: Native | undefined

/** The addon, loaded at the first call. Throws ERR_BPTT_BINDING where no binary fits. */
export function native(): Native {
  loaded ??= load()
  return loaded
}

function load(): Native {
  const addon = loadAddon(root) as Native
  addon.setErrorClass(BpttError)
  return addon
}
