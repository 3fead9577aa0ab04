/** A training run in one safetensors file: tensors, and in the metadata all that is needed to go on. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { loadSafetensors, type RandomState, saveSafetensors, type Tensor } from '../index.ts'
import { modelShapes } from './model.ts'
import { readingInput, UsageError } from './output.ts'
import { parseSettings, type Settings } from './settings.ts'

const FORMAT = 'bptt-char-1'
const FILE_NAME = 'checkpoint.safetensors'

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
    const checkpoint = { ...parseMetadata(metadata), tensors }
    checkModel(checkpoint)
    return checkpoint
  } catch (error) {
    disposeAll(tensors)
    throw new UsageError(`${file} is not a checkpoint of bptt train: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

export function disposeAll(tensors: ReadonlyMap<string, Tensor>): void {
  for (const tensor of tensors.values()) tensor.dispose()
}

/** What the settings claim, against what the file holds, before a model of that size is made. */
function checkModel({ settings, characters, tensors }: Checkpoint): void {
  const shapes = modelShapes(characters.length + 1, settings)
  const model = group(tensors, 'model')
  for (const name of model.keys()) if (!shapes.has(name)) throw new Error(`it has an unknown model.${name}`)
  for (const [name, shape] of shapes) {
    const tensor = model.get(name)
    if (!tensor) throw new Error(`it has no model.${name}`)
    checkTensor(`model.${name}`, tensor, shape)
  }
  const { layers, batch, hidden } = settings
  for (const [name, tensor] of group(tensors, 'state')) {
    checkTensor(`state.${name}`, tensor, [layers, batch, hidden])
  }
}

function checkTensor(name: string, { dtype, shape }: Tensor, expected: readonly number[]): void {
  const wanted = `float32 of [${expected}]`
  const got = `${dtype} of [${shape}]`
  if (got !== wanted) throw new Error(`its settings make ${name} ${wanted}, but it is ${got}`)
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
  const characters = [...text('vocabulary')]
  if (characters.length === 0) throw new Error('its vocabulary is empty')
  if (new Set(characters).size < characters.length) throw new Error('its vocabulary has a character twice')
  return {
    settings: parseSettings(text('settings')),
    characters,
    step: whole('step'),
    random: { seed: whole('random_seed'), offset: whole('random_offset') },
    text: text('text_sha256'),
    validation: validation === undefined ? null : Number(validation),
  }
}
