/** A training run in one safetensors file: tensors, and in the metadata all that is needed to go on. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { loadSafetensors, type RandomState, saveSafetensors, type Tensor } from '../index.ts'
import type { ModelSettings } from './model.ts'
import { readingInput, UsageError } from './output.ts'

const FORMAT = 'bptt-char-1'
const FILE_NAME = 'checkpoint.safetensors'

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

export interface Checkpoint {
  settings: Settings
  /** The vocabulary without the unknown character. */
  characters: string[]
  /** Steps done; the place in the text follows from it. */
  step: number
  random: RandomState
  /** SHA-256 of the text, which must be the same to go on. */
  text: string
  /** Bits per character on the held-out text, once measured. */
  validation: number | null
  /** `model.*`, `optimizer.*` and the carried state `state.h`, `state.c`. */
  tensors: Map<string, Tensor>
}

export function checkpointPath(folder: string): string {
  return join(folder, FILE_NAME)
}

export async function saveCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const { settings, characters, step, random, text, validation, tensors } = checkpoint
  await saveSafetensors(path, tensors, {
    format: FORMAT,
    settings: JSON.stringify(settings),
    vocabulary: characters.join(''),
    step: String(step),
    random_seed: String(random.seed),
    random_offset: String(random.offset),
    text_sha256: text,
    ...(validation === null ? {} : { validation_bits_per_character: String(validation) }),
  })
}

/** @param path the file, or the folder that holds it */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  const file = (await readingInput(path, () => stat(path))).isDirectory() ? checkpointPath(path) : path
  const { tensors, metadata } = await readingInput(file, () => loadSafetensors(file))
  try {
    return { ...parseMetadata(metadata), tensors }
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose()
    throw new UsageError(`${file} is not a checkpoint of bptt train: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** The tensors under `prefix.`, without it. */
export function group(tensors: ReadonlyMap<string, Tensor>, prefix: string): Map<string, Tensor> {
  const found = [...tensors].filter(([name]) => name.startsWith(`${prefix}.`))
  return new Map(found.map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]))
}

function parseMetadata(metadata: Record<string, string>): Omit<Checkpoint, 'tensors'> {
  const text = (key: string): string => {
    const value = metadata[key]
    if (value === undefined) throw new Error(`its metadata lacks ${key}`)
    return value
  }
  const whole = (key: string): number => {
    const value = Number(text(key))
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${key} is not a whole number`)
    return value
  }
  if (text('format') !== FORMAT) throw new Error(`its format is ${text('format')}, not ${FORMAT}`)
  const validation = metadata.validation_bits_per_character
  return {
    settings: parseSettings(text('settings')),
    characters: [...text('vocabulary')],
    step: whole('step'),
    random: { seed: whole('random_seed'), offset: whole('random_offset') },
    text: text('text_sha256'),
    validation: validation === undefined ? null : Number(validation),
  }
}

function parseSettings(json: string): Settings {
  const settings = JSON.parse(json) as Settings
  const sizes = ['embedding', 'hidden', 'layers', 'seqLen', 'batch', 'steps'] as const
  const fractions = ['dropout', 'lr', 'clip', 'seed', 'validation'] as const
  const valid =
    ['lstm', 'gru', 'rnn'].includes(settings.cell) &&
    sizes.every((name) => Number.isSafeInteger(settings[name]) && settings[name] > 0) &&
    fractions.every((name) => Number.isFinite(settings[name]) && settings[name] >= 0)
  if (!valid) throw new Error('its settings make no sense')
  return settings
}
