/** What a caller names a file by, without Node's types: a user's compiler may lack them. */

/** A `file:` URL. */
export interface FileURL {
  /** The whole URL. */
  readonly href: string
  /** `file:` */
  readonly protocol: string
}

/** A FileHandle of node:fs/promises. */
export interface OpenFile {
  /** The number of the descriptor. */
  readonly fd: number
  /** Closes it; the library leaves that to whoever opened it. */
  close(): Promise<void>
}

/** A file by its path or `file:` URL, an open file, or the bytes of one. Bytes are never taken for a path. */
export type FileSource = string | FileURL | OpenFile | ArrayBufferView | ArrayBufferLike
