/** `bptt sample`: text from a checkpoint. */
import { setImmediate } from 'node:timers/promises'
import { disposeAll, group, loadCheckpoint } from './checkpoint.ts'
import { generate } from './generate.ts'
import { CharModel } from './model.ts'
import { note, printJson, printText } from './output.ts'
import { catchSignals } from './signals.ts'
import { unknownCharacters, Vocabulary } from './text.ts'

export interface SampleOptions {
  prompt: string
  length: number
  temperature: number
  seed: number
  json?: boolean
}

/** Characters written at a time. */
const PIECE = 32

export async function sample(path: string, options: SampleOptions): Promise<number> {
  const interrupt = catchSignals(() => {})
  const { model, vocabulary } = await loadModel(path)
  const unknown = unknownCharacters(options.prompt, vocabulary)
  if (unknown.length > 0)
    note(`bptt: the model has never seen ${unknown.map((c) => JSON.stringify(c)).join(' ')}`)

  let text = ''
  let piece = options.prompt
  const flush = async (): Promise<boolean> => {
    const written = options.json || (await printText(piece))
    piece = ''
    await setImmediate()
    return written && !interrupt.signal.aborted
  }
  for await (const character of generate(model, vocabulary, options)) {
    text += character
    piece += character
    if (piece.length >= PIECE && !(await flush())) break
  }
  await flush()
  if (options.json)
    await printJson({ prompt: options.prompt, text, temperature: options.temperature, seed: options.seed })
  else if (!text.endsWith('\n')) await printText('\n')
  interrupt.dispose()
  return interrupt.exitCode()
}

async function loadModel(path: string): Promise<{ model: CharModel; vocabulary: Vocabulary }> {
  const { settings, characters, tensors } = await loadCheckpoint(path)
  const vocabulary = new Vocabulary(characters)
  const model = new CharModel(vocabulary.size, settings)
  model.loadStateDict(group(tensors, 'model'))
  disposeAll(tensors)
  model.eval()
  return { model, vocabulary }
}
