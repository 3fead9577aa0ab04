/** Files that are either the old one or the whole new one, whatever happens in between. */
import type { Stats } from 'node:fs'
import { type FileHandle, lstat, open, readlink, realpath, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { checkRegularFile } from '../check.ts'
import { clearAbandoned, temporaryFor } from './temporary.ts'

type Chunks = Iterable<Uint8Array>

/**
 * Writes a file through a temporary one in the same folder: written, flushed to the disk, then renamed over
 * `path`. A failure leaves `path` as it was and no temporary file behind.
 *
 * A symbolic link stays, and what it points to is replaced. A file keeps its mode, and its owner where the
 * system allows; a new one has what the umask leaves. Calls for one file are done in their order, by
 * whatever names they know it; `chunks` that come later keep their place.
 *
 * @throws RangeError ERR_BPTT_VALUE if there is something else than a file
 */
export function writeFileAtomic(path: string, chunks: Chunks | Promise<Chunks>): Promise<void> {
  const content = Promise.resolve(chunks)
  content.catch(() => {}) // reported when its turn comes
  const name = resolve(path)
  const found = located.then(() => followLinks(name))
  located = found.catch(() => {})
  return found.then((file) => inTurn(file, async () => replace(file, await content)))
}

/** Names are looked up one after the other, so that turns are given in the order of the calls. */
let located: Promise<unknown> = Promise.resolve()

const turns = new Map<unknown, Promise<unknown>>()

/** Runs `work` after all that came before for the same key. */
export async function inTurn<T>(key: unknown, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(key) ?? Promise.resolve()).then(work)
  const settled = turn.catch(() => {})
  turns.set(key, settled)
  try {
    return await turn
  } finally {
    if (turns.get(key) === settled) turns.delete(key)
  }
}

/** As many symbolic links as Linux follows in a path. */
const MAX_LINKS = 40

/** The name of the file itself, which need not exist, without links on the way. */
async function followLinks(path: string): Promise<string> {
  let name = path
  for (let links = 0; links < MAX_LINKS; links++) {
    const folder = await realpath(dirname(name))
    name = join(folder, basename(name))
    if (!(await ifExists(lstat(name)))?.isSymbolicLink()) return name
    const stats = await ifExists(stat(name))
    if (stats !== undefined) checkRegularFile('saveSafetensors', path, stats)
    name = resolve(folder, await readlink(name))
  }
  return realpath(path) // the system's own error
}

async function ifExists(stats: Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await stats
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

async function replace(path: string, chunks: Chunks): Promise<void> {
  const old = await ifExists(lstat(path))
  if (old !== undefined) checkRegularFile('saveSafetensors', path, old)
  await clearAbandoned(path)
  const temporary = temporaryFor(path)
  const file = await open(temporary, 'wx', old === undefined ? 0o666 : 0o600)
  try {
    if (old !== undefined) await keepAccess(file, old)
    for (const chunk of chunks) await file.writeFile(chunk)
    await file.sync()
    await rename(temporary, path) // still open, which shows that its writer lives
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  } finally {
    await file.close()
  }
  await syncFolder(dirname(path))
}

/** Gives the new file the owner and mode of the old one as far as the system allows; saving does not fail for it. */
async function keepAccess(file: FileHandle, old: Stats): Promise<void> {
  const { uid, gid } = await file.stat()
  if (uid !== old.uid || gid !== old.gid) {
    await file
      .chown(old.uid, old.gid)
      .catch(() => file.chown(uid, old.gid))
      .catch(() => {})
  }
  await file.chmod(old.mode & 0o7777).catch(() => {})
}

/** Makes the rename itself durable, on the systems that can flush a folder. */
async function syncFolder(folder: string): Promise<void> {
  const unsupported = ['EPERM', 'EACCES', 'EISDIR', 'EINVAL', 'ENOTSUP', 'EBADF']
  try {
    const handle = await open(folder, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (!unsupported.includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
