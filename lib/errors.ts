/**
 * Error codes. Misuse throws TypeError (wrong type) or RangeError (wrong shape or value);
 * what fails at run time is a {@link BpttError}. All carry `code`.
 */
export type ErrorCode =
  /** an argument of the wrong JavaScript type */
  | 'ERR_BPTT_TYPE'
  /** an argument outside its range */
  | 'ERR_BPTT_VALUE'
  /** shapes that do not fit */
  | 'ERR_BPTT_SHAPE'
  /** an element type that does not fit */
  | 'ERR_BPTT_DTYPE'
  /** an unknown, missing or mixed device, or one that cannot do what is asked */
  | 'ERR_BPTT_DEVICE'
  /** use after dispose() */
  | 'ERR_BPTT_DISPOSED'
  /** backward without a graph, or a second one without retainGraph */
  | 'ERR_BPTT_GRAPH'
  /** a tensor saved for backward was changed in place */
  | 'ERR_BPTT_MODIFIED'
  /** an index inside a tensor is out of range */
  | 'ERR_BPTT_INDEX'
  /** gradients, or scores of a decoder, that are infinite or not a number */
  | 'ERR_BPTT_NONFINITE'
  /** out of memory, or of threads */
  | 'ERR_BPTT_OOM'
  /** the CUDA device failed */
  | 'ERR_BPTT_CUDA'
  /** the environment is shutting down */
  | 'ERR_BPTT_CANCELLED'
  /** a file is not what it says */
  | 'ERR_BPTT_FORMAT'
  /** no native binary could be loaded */
  | 'ERR_BPTT_BINDING'
  /** a bug in bptt */
  | 'ERR_BPTT_INTERNAL'

/** A failure at run time: of the device, of memory, of a file, of data inside a tensor. */
export class BpttError extends Error {
  /** What went wrong, for programs; `message` says it in words. */
  readonly code: ErrorCode

  /** Its name is `BpttError`. */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'BpttError'
    this.code = code
  }
}

/** Tells of what is most likely a mistake: to stderr, unless the program listens to 'warning' events. */
export function warn(code: string, message: string): void {
  process.emitWarning(message, { type: 'BpttWarning', code })
}

/** A TypeError with a code. */
export function typeError(code: ErrorCode, message: string): TypeError & { code: ErrorCode } {
  return Object.assign(new TypeError(message), { code })
}

/** A RangeError with a code. */
export function rangeError(code: ErrorCode, message: string): RangeError & { code: ErrorCode } {
  return Object.assign(new RangeError(message), { code })
}
