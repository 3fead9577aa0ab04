/** What shapes a training run, and in which ranges: options are parsed and checkpoints are checked by this. */
import { MAX_INT32, MAX_LAYERS } from '../limits.ts'
import { CELLS, type CellName } from './cells.ts'

export interface ModelSettings {
  cell: CellName
  embedding: number
  hidden: number
  layers: number
  dropout: number
}

/** Everything that shapes the model and the order of its training. */
export interface Settings extends ModelSettings {
  seqLen: number
  batch: number
  lr: number
  clip: number
  seed: number
  /** Part of the text held out at its end. */
  validation: number
  /** Training steps in all. */
  steps: number
}

/** The numbers from `least` to `most`, or below it. */
export interface Range {
  whole: boolean
  least: number
  most: number
  below?: boolean
}

export const whole = (least: number, most: number): Range => ({ whole: true, least, most })
export const real = (least: number, most: number, below = false): Range => ({
  whole: false,
  least,
  most,
  below,
})

const SIZE = whole(1, MAX_INT32)

export const RANGES: Record<Exclude<keyof Settings, 'cell'>, Range> = {
  embedding: SIZE,
  hidden: SIZE,
  layers: whole(1, MAX_LAYERS),
  dropout: real(0, 1, true),
  seqLen: SIZE,
  batch: SIZE,
  lr: real(0, Number.MAX_VALUE),
  clip: real(0, Number.MAX_VALUE),
  seed: whole(0, Number.MAX_SAFE_INTEGER),
  validation: real(0, 0.5),
  steps: whole(1, Number.MAX_SAFE_INTEGER),
}

export function inRange(value: unknown, { whole, least, most, below }: Range): value is number {
  return (
    typeof value === 'number' &&
    (whole ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
    value >= least &&
    (below ? value < most : value <= most)
  )
}

/** Settings of a file. Throws with the name of the first that makes no sense. */
export function parseSettings(json: string): Settings {
  const given = JSON.parse(json) as Record<string, unknown> | null
  const names = Object.keys(RANGES) as (keyof typeof RANGES)[]
  const wrong = names.find((name) => !inRange(given?.[name], RANGES[name]))
  if (wrong || !CELLS.includes(given?.cell as CellName)) {
    throw new Error(`its setting ${wrong ?? 'cell'} makes no sense`)
  }
  return given as unknown as Settings
}

/** Names every option as the user writes it. */
export const FLAGS: Record<Exclude<keyof Settings, 'steps'>, string> = {
  cell: '--cell',
  embedding: '--embedding',
  hidden: '--hidden',
  layers: '--layers',
  dropout: '--dropout',
  seqLen: '--seq-len',
  batch: '--batch',
  lr: '--lr',
  clip: '--clip',
  seed: '--seed',
  validation: '--validation',
}
export const FLAGGED = Object.keys(FLAGS) as (keyof typeof FLAGS)[]
