/** Training progress on stderr: a live bar on a terminal, a line now and then elsewhere. */
import { clearLine, cursorTo } from 'node:readline'
import { SingleBar } from 'cli-progress'
import { note } from './output.ts'

/** Loss in nats per character. */
export interface ProgressState {
  epoch: number
  step: number
  loss: number
  charactersPerSecond: number
  secondsLeft: number
}

export interface Progress {
  update(state: ProgressState): void
  /** A line above the bar. */
  note(text: string): void
  stop(): void
}

const PLAIN_INTERVAL_MS = 5000

/** From this width of the terminal on, the parts of the line are set apart; columns that text and wider gaps take, about. */
const WIDE = 110
const TEXT_COLUMNS = 75
const GAP_COLUMNS = 15

export function startProgress(firstStep: number, steps: number): Progress {
  const terminal = process.stderr.isTTY && process.env.TERM !== 'dumb'
  return terminal ? liveBar(firstStep, steps) : plainLines(steps)
}

function liveBar(firstStep: number, steps: number): Progress {
  const columns = process.stderr.columns || 80
  const wide = columns >= WIDE
  const gap = wide ? ' | ' : ' '
  const bar = new SingleBar({
    stream: process.stderr,
    format: [
      '{bar}',
      'epoch {epoch}',
      'step {value}/{total}',
      'loss {loss}',
      '{bits} bits/char',
      '{speed} chars/s',
      '{left} left',
    ].join(gap),
    barsize: Math.min(Math.max(columns - TEXT_COLUMNS - (wide ? GAP_COLUMNS : 0), 5), 30),
    hideCursor: true,
    forceRedraw: true,
    // The signals belong to the command, which saves before it ends.
    gracefulExit: false,
  })
  bar.start(steps, firstStep, { epoch: '-', loss: '-', bits: '-', speed: '-', left: '-' })
  return {
    update: (state) => bar.update(state.step, fields(state)),
    note: (text) => {
      clearLine(process.stderr, 0)
      cursorTo(process.stderr, 0)
      note(text)
    },
    stop: () => bar.stop(),
  }
}

function plainLines(steps: number): Progress {
  let last = Number.NEGATIVE_INFINITY
  return {
    update: (state) => {
      const now = performance.now()
      if (now - last < PLAIN_INTERVAL_MS && state.step !== steps) return
      last = now
      const { epoch, loss, bits, speed, left } = fields(state)
      note(
        `epoch ${epoch} | step ${state.step}/${steps} | loss ${loss} | ${bits} bits/char | ${speed} chars/s | ${left} left`,
      )
    },
    note,
    stop: () => {},
  }
}

const compact = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 })

function fields(state: ProgressState): Record<'epoch' | 'loss' | 'bits' | 'speed' | 'left', string> {
  return {
    epoch: String(state.epoch),
    loss: state.loss.toFixed(3),
    bits: (state.loss / Math.LN2).toFixed(3),
    speed: compact.format(state.charactersPerSecond),
    left: formatSeconds(state.secondsLeft),
  }
}

function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-'
  const whole = Math.round(seconds)
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)]
  if (hours > 0) return `${hours}h${String(minutes).padStart(2, '0')}m`
  return minutes > 0 ? `${minutes}m${String(whole % 60).padStart(2, '0')}s` : `${whole}s`
}
