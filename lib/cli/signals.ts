/** Ctrl-C, and what ends a process or its terminal: the first asks the work to stop and save, the second ends at once. */

const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/**
 * A terminal sends Ctrl-C to every process of a pipeline and `npm run` passes it on once more, so a second
 * signal this soon is the same key press.
 */
const SAME_PRESS_MS = 150

export interface Interrupt {
  signal: AbortSignal
  /** 129, 130 or 143 once a signal came, else 0. */
  exitCode(): number
  /** Gives the signals back their default effect. */
  dispose(): void
}

export function catchSignals(onFirst: () => void): Interrupt {
  const controller = new AbortController()
  let exitCode = 0
  let first = 0
  const handle = (name: NodeJS.Signals): void => {
    const now = performance.now()
    if (exitCode !== 0) {
      if (now - first > SAME_PRESS_MS) process.exit(exitCode)
      return
    }
    exitCode = EXIT_CODES[name as keyof typeof EXIT_CODES]
    first = now
    onFirst()
    controller.abort()
  }
  const names = Object.keys(EXIT_CODES) as NodeJS.Signals[]
  for (const name of names) process.on(name, handle)
  return {
    signal: controller.signal,
    exitCode: () => exitCode,
    dispose: () => {
      for (const name of names) process.off(name, handle)
    },
  }
}
