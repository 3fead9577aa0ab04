/**
 * Temporary files beside the file they will replace. Their names say whose they are, so that what a killed
 * process left is cleared by the next that writes the same file, and nothing of a living one:
 *
 *   .bptt-<digest of the file's name>-<machine>-<process>-<its beginning>-<random>.tmp
 */
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { lstat, readdir, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** A file whose owner cannot be looked at (on another machine, in another container) is taken for abandoned at this age. */
const ABANDONED_AFTER_MS = 3_600_000

const UNKNOWN = '0'

/** A new name in the folder of `path`; short, so that any name the file system takes can be replaced. */
export function temporaryFor(path: string): string {
  const owner = `${machine()}-${process.pid}-${beginning(process.pid) ?? UNKNOWN}`
  return join(dirname(path), `${prefix(path)}${owner}-${randomBytes(8).toString('hex')}.tmp`)
}

/** Removes the temporary files of `path` whose writers are gone. What cannot be removed stays. */
export async function clearAbandoned(path: string): Promise<void> {
  const folder = dirname(path)
  const start = prefix(path)
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(start)) continue
    const file = join(folder, name)
    if (await isAbandoned(file, name.slice(start.length))) await unlink(file).catch(() => {})
  }
}

function prefix(path: string): string {
  return `.bptt-${digest(basename(path), 16)}-`
}

function digest(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length)
}

async function isAbandoned(file: string, owner: string): Promise<boolean> {
  const match = /^([0-9a-f]{8})-(\d{1,10})-(\d{1,20})-[0-9a-f]{16}\.tmp$/.exec(owner)
  if (match === null) return false
  const [, where, id, began] = match
  if (where === machine()) {
    const pid = Number(id)
    const now = beginning(pid)
    if (now === null) return true
    if (now !== undefined && began !== UNKNOWN) {
      if (now !== began) return true
      if (pid !== process.pid) return false
      const open = openFiles()
      if (open !== undefined) return !open.has(file)
    }
  }
  const stats = await lstat(file).catch(() => undefined)
  return stats !== undefined && Date.now() - stats.mtimeMs > ABANDONED_AFTER_MS
}

let here: string | undefined

/** This run of this machine, and on Linux this space of process ids: where the ids of processes mean the same. */
function machine(): string {
  if (here === undefined) {
    let place = hostname()
    try {
      place = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1') + readlinkSync('/proc/self/ns/pid')
    } catch {
      // Not Linux.
    }
    here = digest(place, 8)
  }
  return here
}

/** When a process began, as a number no other process of its id has; null: there is none; undefined: not known. */
function beginning(pid: number): string | null | undefined {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return null
  }
  try {
    // "pid (name) state ppid .. starttime ..", where the name may hold anything; starttime is the 20th after it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : fields[19]
  } catch {
    return undefined
  }
}

/** The files that this process holds open, in any of its threads; undefined where that is not to be known. */
function openFiles(): Set<string> | undefined {
  const folder = '/proc/self/fd'
  try {
    return new Set(readdirSync(folder).map((fd) => target(join(folder, fd))))
  } catch {
    return undefined
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return '' // closed since
  }
}
