import { type Handle, native } from './binding.ts'

let clock = 0

/**
 * Native memory with a count of its holders: tensors that share it, and the
 * tape. The last release frees it at once; where nobody releases, the
 * collector does so later through the handle.
 */
export class Storage {
  readonly handle: Handle
  readonly bytes: number
  /** Unique in this environment: a stamp of the contents as of the last enqueued write. */
  version = ++clock
  references = 1

  constructor(handle: Handle, bytes: number) {
    this.handle = handle
    this.bytes = bytes
  }

  static allocate(device: number, bytes: number): Storage {
    return new Storage(native().allocate(device, bytes), bytes)
  }

  retain(): this {
    this.references++
    return this
  }

  release(): void {
    if (--this.references === 0) native().release(this.handle)
  }

  /** To be called whenever an in-place write is enqueued. */
  touch(): void {
    this.version = ++clock
  }
}
