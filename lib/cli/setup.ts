/** From files, options and perhaps a checkpoint to a training run that is ready to go. */
import type { Device } from '../index.ts'
import { CharTraining } from './char_training.ts'
import { type Checkpoint, checkpointPath, loadCheckpoint, type Settings } from './checkpoint.ts'
import { note, UsageError } from './output.ts'
import { holdOut, readText, TextStreams, textDigest, unknownCharacters, Vocabulary } from './text.ts'

export interface SetupOptions extends Omit<Settings, 'steps'> {
  steps?: number
  epochs: number
  out: string
  resume?: boolean
  device: Device
}

export interface Run {
  training: CharTraining
  heldOut: Int32Array
  /** Digest of the whole text. */
  text: string
}

/** Names an option as the user writes it. */
const FLAGS = {
  cell: '--cell',
  embedding: '--embedding',
  hidden: '--hidden',
  layers: '--layers',
  seqLen: '--seq-len',
  batch: '--batch',
  seed: '--seed',
  validation: '--validation',
} as const
const FIXED = Object.keys(FLAGS) as (keyof typeof FLAGS)[]

/** @param given whether the user wrote the option, rather than left its default */
export async function prepareRun(
  files: readonly string[],
  options: SetupOptions,
  given: (option: string) => boolean,
): Promise<Run> {
  const text = await readText(files)
  const digest = textDigest(text)
  const before = options.resume ? await loadCheckpoint(checkpointPath(options.out)) : undefined
  const chosen = before ? mergeSettings(before.settings, options, given) : pickSettings(options)
  if (before && before.text !== digest) {
    throw new UsageError(
      'the text is not the one the checkpoint was trained on; --resume needs the same files',
    )
  }

  const { training, heldOut } = holdOut(text, chosen.validation)
  const vocabulary = before ? new Vocabulary(before.characters) : Vocabulary.of(training)
  const ids = vocabulary.encode(training)
  const { chunks } = new TextStreams(ids, chosen.batch, chosen.seqLen)
  const settings = { ...chosen, steps: chooseSteps(options, given, chunks, before) }
  const run = {
    training: new CharTraining(settings, vocabulary, ids, options.device),
    heldOut: vocabulary.encode(heldOut),
    text: digest,
  }
  if (before) run.training.restore(before)
  describe(run, ids.length, unknownCharacters(heldOut, vocabulary))
  return run
}

function pickSettings(options: Omit<Settings, 'steps'>): Omit<Settings, 'steps'> {
  const { cell, embedding, hidden, layers, dropout, seqLen, batch, lr, clip, seed, validation } = options
  return { cell, embedding, hidden, layers, dropout, seqLen, batch, lr, clip, seed, validation }
}

/** The checkpoint's settings; dropout, learning rate and clipping may be given anew. */
function mergeSettings(
  before: Settings,
  options: Omit<Settings, 'steps'>,
  given: (option: string) => boolean,
): Omit<Settings, 'steps'> {
  const changed = FIXED.filter((name) => given(name) && options[name] !== before[name])
  if (changed.length > 0) {
    const list = changed.map((name) => `${FLAGS[name]} ${options[name]} (it has ${before[name]})`).join(', ')
    throw new UsageError(`the checkpoint cannot go on with ${list}`)
  }
  const settings = pickSettings(before)
  for (const name of ['dropout', 'lr', 'clip'] as const) if (given(name)) settings[name] = options[name]
  return settings
}

function chooseSteps(
  options: SetupOptions,
  given: (option: string) => boolean,
  stepsPerEpoch: number,
  before: Checkpoint | undefined,
): number {
  if (options.steps !== undefined) return options.steps
  return before && !given('epochs') ? before.settings.steps : options.epochs * stepsPerEpoch
}

function describe({ training, heldOut }: Run, characters: number, unknown: string[]): void {
  const { settings, vocabulary, model, step, stepsPerEpoch } = training
  const weights = model.parameters().reduce((sum, parameter) => sum + parameter.size, 0)
  const count = (n: number): string => n.toLocaleString('en-US')
  note(
    `${count(characters)} characters to train on, ${count(heldOut.length)} held out, ${vocabulary.size - 1} different`,
  )
  if (unknown.length > 0) {
    note(`held out but never trained on: ${unknown.map((character) => JSON.stringify(character)).join(' ')}`)
  }
  note(
    `${settings.cell} ${settings.layers} x ${settings.hidden}, ${count(weights)} parameters; ` +
      `${count(settings.steps)} steps, ${count(stepsPerEpoch)} per epoch${step > 0 ? `; ${count(step)} done` : ''}`,
  )
}
