/** Lets go of what nothing reaches any more, which finalizers do in turns of the event loop. */
export async function collect(): Promise<void> {
  if (!globalThis.gc) throw new Error('run with --expose-gc')
  for (let turn = 0; turn < 3; turn++) {
    globalThis.gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
}
