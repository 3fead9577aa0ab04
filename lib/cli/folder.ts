/** The folder of a run: which it is, and that it can be written to. */
import { existsSync } from 'node:fs'
import { mkdir, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { checkpointPath } from './checkpoint.ts'
import { showBytes } from './memory.ts'
import { note, UsageError } from './output.ts'
import { tryWriting } from './trial.ts'

const DEFAULT = 'bptt-out'

/** `--out`, or a name that is not taken yet; with --resume the last of those names that has a checkpoint. */
export function chooseFolder({ out, resume }: { out?: string; resume?: boolean }): string {
  if (out !== undefined) return out
  let [free, last] = [DEFAULT, DEFAULT]
  for (let n = 2; existsSync(free); n++) {
    if (existsSync(checkpointPath(free))) last = free
    free = `${DEFAULT}-${n}`
  }
  if (resume) return last
  if (free !== DEFAULT) note(`--out is ${free}`)
  return free
}

/** With those above it. Node's own recursive mkdir() never ends where the system lets nobody make a folder, as in /proc. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await stat(folder)).isDirectory()) return
    const parent = dirname(folder)
    if (code !== 'ENOENT' || parent === folder) throw error
    await makeFolder(parent)
    await mkdir(folder)
  }
}

/**
 * Makes the folder, and writes a file there for a trial.
 *
 * @param bytes of a checkpoint, about
 * @throws UsageError if it cannot be written to, or has no room
 */
export async function prepareFolder(folder: string, bytes: number): Promise<void> {
  try {
    await makeFolder(folder)
    await tryWriting(folder)
  } catch (error) {
    throw new UsageError(`cannot use ${folder} as --out: ${(error as Error).message}`, { cause: error })
  }
  const { bavail, blocks, bsize } = await statfs(folder)
  // Some file systems do not say.
  if (blocks > 0 && bavail * bsize < bytes) {
    const room = showBytes(bavail * bsize)
    throw new UsageError(
      `cannot use ${folder} as --out: a checkpoint takes ${showBytes(bytes)}, and ${room} are free`,
    )
  }
}
