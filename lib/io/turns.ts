import { setImmediate } from 'node:timers/promises'

/** How long work may hold the event loop. */
const SLICE_MS = 10

/** A function to await often in long work: it lets the event loop turn whenever a slice of time is over. */
export function takeTurns(): () => Promise<void> {
  let since = performance.now()
  return async () => {
    if (performance.now() - since < SLICE_MS) return
    await setImmediate()
    since = performance.now()
  }
}
