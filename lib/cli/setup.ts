/** From files, options and perhaps a checkpoint to a training run that is ready to go. */
import { lstat, stat } from 'node:fs/promises'
import type { BpttError, Device } from '../index.ts'
import { CharTraining } from './char_training.ts'
import { type Checkpoint, checkpointPath, disposeAll, loadCheckpoint } from './checkpoint.ts'
import { type Corpus, readCorpus } from './corpus.ts'
import { chooseFolder, prepareFolder } from './folder.ts'
import { memoryBytes, showBytes } from './memory.ts'
import { modelShapes } from './model.ts'
import { note, readingInput, UsageError } from './output.ts'
import { FLAGGED, FLAGS, type Settings } from './settings.ts'
import { type Ids, TextStreams, Vocabulary } from './text.ts'

export interface SetupOptions extends Omit<Settings, 'steps'> {
  steps?: number
  epochs: number
  out?: string
  resume?: boolean
  force?: boolean
  device: Device
}

export interface Run {
  training: CharTraining
  heldOut: Ids
  /** Digest of the whole text. */
  text: string
  /** The checkpoint. */
  path: string
  /** The least step to save at: before it, the checkpoint that is there is worth more. */
  saveFrom: number
}

type Chosen = Omit<Settings, 'steps'>

/**
 * Finds out all that stands in the way of training before it begins.
 *
 * @param given whether the user wrote the option, rather than left its default
 */
export async function prepareRun(
  files: readonly string[],
  options: SetupOptions,
  given: (option: string) => boolean,
  signal: AbortSignal,
): Promise<Run> {
  const folder = chooseFolder(options)
  const path = checkpointPath(folder)
  const there = await hasCheckpoint(path)
  const corpus = await readCorpus(files, { signal })
  if (corpus.length === 0) throw new UsageError('the text is empty')

  const before = options.resume && there ? await loadCheckpoint(path) : undefined
  const chosen = before ? mergeSettings(before.settings, options, given) : pickSettings(options)
  if (before && before.text !== corpus.digest) {
    throw new UsageError(
      'the text is not the one the checkpoint was trained on; --resume needs the same files',
    )
  }

  const cut = corpus.length - Math.floor(corpus.length * chosen.validation)
  const vocabulary = before ? new Vocabulary(before.characters) : corpus.vocabulary(cut)
  const ids = corpus.ids(vocabulary, 0, cut)
  const streams = new TextStreams(ids, chosen.batch, chosen.seqLen)
  const settings = { ...chosen, steps: chooseSteps(options, given, streams.chunks, before) }
  const bytes = checkMemory(settings, vocabulary.size, streams.chunkSize, options.device)
  await prepareFolder(folder, bytes)
  const saveFrom = there && !before ? await firstSave(path, settings, corpus.digest, options.force) : 0

  const run = {
    training: fitting('the sizes cannot be used', () => {
      return new CharTraining(settings, vocabulary, ids, options.device)
    }),
    heldOut: corpus.ids(vocabulary, cut, corpus.length),
    text: corpus.digest,
    path,
    saveFrom,
  }
  if (before) fitting(`${path} is not a checkpoint of bptt train`, () => run.training.restore(before))
  if (options.resume && !before) note(`there is no ${path} yet: training begins`)
  describe(run, corpus, ids.length)
  return run
}

/** Whether there is a file; what is no file is refused. */
async function hasCheckpoint(path: string): Promise<boolean> {
  try {
    await lstat(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw new UsageError(`cannot read ${path}: ${(error as Error).message}`, { cause: error })
  }
  const file = await readingInput(path, () => stat(path))
  if (!file.isFile()) throw new UsageError(`${path} is no file, so no checkpoint can be written there`)
  return true
}

/**
 * The step from which on a run that begins may replace the checkpoint that is there. Runs of the same settings and
 * text pass through the same steps, so until then that one is further on the same way.
 *
 * @throws UsageError if it is of another run, and not forced
 */
async function firstSave(path: string, settings: Settings, text: string, force = false): Promise<number> {
  if (force) {
    note(`${path} is replaced at the first save`)
    return 1
  }
  const remedy = '--force replaces it, another --out keeps it'
  let old: Checkpoint
  try {
    old = await loadCheckpoint(path)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new UsageError(`${error.message}; ${remedy}`, { cause: error })
  }
  disposeAll(old.tensors)
  const other = [
    ...FLAGGED.filter((name) => old.settings[name] !== settings[name]).map(
      (name) => `${FLAGS[name]} ${old.settings[name]}`,
    ),
    ...(old.text === text ? [] : ['another text']),
  ]
  if (other.length > 0) throw new UsageError(`${path} is of a run with ${other.join(', ')}; ${remedy}`)
  if (old.step > settings.steps) {
    throw new UsageError(`${path} is of this run, and further: at step ${old.step}; ${remedy}`)
  }
  note(`${path} is of this run, at step ${old.step}, and kept until then; --resume would go on from it`)
  return old.step
}

/** Runs `make`, whose sizes the user chose or a file has; what it refuses is a UsageError that begins with `otherwise`. */
function fitting<T>(otherwise: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    const { code, message } = error as BpttError
    const misuse = error instanceof RangeError || (error instanceof TypeError && code !== undefined)
    if (!misuse && !['ERR_BPTT_OOM', 'ERR_BPTT_FORMAT'].includes(code)) throw error
    throw new UsageError(`${otherwise}: ${message}`, { cause: error })
  }
}

/** Of a float32 or an int32. */
const BYTES = 4

/**
 * The bytes of a checkpoint: weights and Adam's two moments of each.
 *
 * @throws UsageError if a training step takes more memory than there is, for certain
 */
function checkMemory(settings: Settings, vocabulary: number, rows: number, device: Device): number {
  const { embedding, hidden, layers } = settings
  const shapes = [...modelShapes(vocabulary, settings).values()]
  const elements = shapes.reduce((sum, shape) => sum + shape.reduce((size, n) => size * n, 1), 0)
  const weights = BYTES * elements
  // Weights, gradients and two moments; ids and targets, and embeddings, states and logits with their gradients.
  const step = 4 * weights + BYTES * rows * (2 + 2 * embedding + 2 * layers * hidden + 2 * vocabulary)
  if (device === 'cpu' && step > memoryBytes()) {
    throw new UsageError(
      `these sizes take ${showBytes(step)} at least, and this machine has ${showBytes(memoryBytes())}: ` +
        'lower --hidden, --layers, --embedding, --batch or --seq-len',
    )
  }
  return 3 * weights
}

function pickSettings(options: Chosen): Chosen {
  return Object.fromEntries(FLAGGED.map((name) => [name, options[name]])) as unknown as Chosen
}

/** Those that may be given anew; the others shape what the checkpoint holds. */
const FREE: readonly string[] = ['dropout', 'lr', 'clip']

/** The checkpoint's settings, but what may be given anew. */
function mergeSettings(before: Settings, options: Chosen, given: (option: string) => boolean): Chosen {
  const changed = FLAGGED.filter((name) => given(name) && options[name] !== before[name])
  const fixed = changed.filter((name) => !FREE.includes(name))
  if (fixed.length > 0) {
    const list = fixed.map((name) => `${FLAGS[name]} ${options[name]} (it has ${before[name]})`).join(', ')
    throw new UsageError(`the checkpoint cannot go on with ${list}`)
  }
  return { ...pickSettings(before), ...Object.fromEntries(changed.map((name) => [name, options[name]])) }
}

function chooseSteps(
  options: SetupOptions,
  given: (option: string) => boolean,
  stepsPerEpoch: number,
  before: Checkpoint | undefined,
): number {
  if (options.steps !== undefined) return options.steps
  if (before && !given('epochs')) return before.settings.steps
  return Math.min(options.epochs * stepsPerEpoch, Number.MAX_SAFE_INTEGER)
}

function describe({ training, heldOut }: Run, corpus: Corpus, characters: number): void {
  const { settings, vocabulary, model, step, stepsPerEpoch } = training
  const weights = model.parameters().reduce((sum, parameter) => sum + parameter.size, 0)
  const count = (n: number): string => n.toLocaleString('en-US')
  note(
    `${count(characters)} characters to train on, ${count(heldOut.length)} held out, ${vocabulary.size - 1} different`,
  )
  const unknown = corpus.unknown(vocabulary)
  if (unknown.length > 0) {
    note(`held out but never trained on: ${unknown.map((character) => JSON.stringify(character)).join(' ')}`)
  }
  note(
    `${settings.cell} ${settings.layers} x ${settings.hidden}, ${count(weights)} parameters; ` +
      `${count(settings.steps)} steps, ${count(stepsPerEpoch)} per epoch${step > 0 ? `; ${count(step)} done` : ''}`,
  )
}
