/** Progress of a benchmark on stderr: one line that changes on a terminal, a line per case elsewhere. */
import { clearLine, cursorTo } from 'node:readline'
import { note, oneLine } from '#internals'

export interface BenchProgress {
  /** The next case begins. */
  next(name: string): void
  /** What happens in it now. */
  update(text: string): void
  /** Makes room for a line of results. */
  clear(): void
}

export function startProgress(cases: number): BenchProgress {
  const { stderr } = process
  const live = stderr.isTTY && process.env.TERM !== 'dumb'
  let done = 0
  let name = ''
  const clear = (): void => {
    if (!live) return
    cursorTo(stderr, 0)
    clearLine(stderr, 0)
  }
  const update = (text: string): void => {
    if (!live) return
    clear()
    const line = oneLine(`${done}/${cases} ${name}: ${text}`)
    stderr.write(line.slice(0, (stderr.columns || 80) - 1))
  }
  return {
    next(of) {
      done++
      name = of
      if (!live) note(`${done}/${cases} ${name}`)
    },
    update,
    clear,
  }
}
