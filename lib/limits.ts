/** Bounds that more than one file checks. Imports nothing: the command line knows them before the library is loaded. */

/** What int32 holds: indices, and sizes that kernels and cuDNN count in. */
export const MIN_INT32 = -(2 ** 31)
export const MAX_INT32 = 2 ** 31 - 1

export function isInt32(value: number): boolean {
  return (value | 0) === value
}

/** Elements of a tensor. Sizes in bytes, 8 times as much at most, are then exact as numbers. */
export const MAX_ELEMENTS = 2 ** 48

/** Compute threads: the size of the native team. */
export const MAX_THREADS = 256

/** Layers of a stack: more is a mistake. */
export const MAX_LAYERS = 1024
