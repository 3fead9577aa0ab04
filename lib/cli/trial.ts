/** Whether something can be written, found by writing. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Writes a file in the folder and removes it. Throws what the system says. */
export async function tryWriting(folder: string): Promise<void> {
  const trial = join(folder, `.trial-${process.pid}.tmp`)
  try {
    // Flushed, and more than a block: a full disk may accept a name and a few bytes.
    await writeFile(trial, Buffer.alloc(2 ** 16, ' '), { flush: true })
  } finally {
    await rm(trial, { force: true }).catch(() => {})
  }
}
