/** `bptt train`: a character model from text files, with checkpoints that go on where they stopped. */
import { setImmediate } from 'node:timers/promises'
import { setNumThreads } from '../index.ts'
import type { StepReport } from './char_training.ts'
import { saveCheckpoint } from './checkpoint.ts'
import { generate } from './generate.ts'
import { note, printJson, printLine, printText } from './output.ts'
import { type Progress, startProgress } from './progress.ts'
import { prepareRun, type Run, type SetupOptions } from './setup.ts'
import { catchSignals } from './signals.ts'

export interface TrainOptions extends SetupOptions {
  saveEvery: number
  sampleLength: number
  threads?: number
  json?: boolean
}

const SAMPLE_TEMPERATURE = 0.8
/** Characters sampled between two looks at the signals. */
const PIECE = 32

/** @param given whether the user wrote the option, rather than left its default */
export async function train(
  files: string[],
  options: TrainOptions,
  given: (option: string) => boolean,
): Promise<number> {
  let progress: Progress | undefined
  const interrupt = catchSignals(() => {
    const text = 'stopping and saving; Ctrl-C again ends at once'
    if (progress) progress.note(text)
    else note(text)
  })
  if (options.threads !== undefined) setNumThreads(options.threads)
  let run: Run
  try {
    run = await prepareRun(files, options, given, interrupt.signal)
  } catch (error) {
    if (error !== interrupt.signal.reason) throw error
    note('stopped before training began')
    return interrupt.exitCode()
  }
  const { path } = run
  const { steps } = run.training.settings

  progress = startProgress(run.training.step, steps)
  const timer = new Timer(run)
  let last: StepReport | undefined
  const onStep = async (report: StepReport): Promise<void> => {
    last = report
    progress?.update({ ...report, ...timer.estimate(report.step) })
    if (options.json) await printJson({ type: 'step', ...report, bitsPerCharacter: report.loss / Math.LN2 })
  }
  try {
    while (run.training.step < steps && !interrupt.signal.aborted) {
      const nextSave = (Math.floor(run.training.step / options.saveEvery) + 1) * options.saveEvery
      await run.training.run(Math.min(steps, nextSave), onStep, interrupt.signal)
      if (nextSave < steps && !interrupt.signal.aborted) await save(run, null)
    }
  } finally {
    progress.stop()
    progress = undefined
  }
  const seconds = timer.seconds()
  const saved = await save(run, null)

  const validation = interrupt.signal.aborted ? null : await validate(run, interrupt.signal)
  const text = interrupt.signal.aborted ? '' : await sampleText(run, options.sampleLength, interrupt.signal)
  const interrupted = interrupt.signal.aborted
  if (interrupted) {
    const state = saved ? `checkpoint saved: ${path}` : `${path} is further and was kept`
    note(`stopped after step ${run.training.step}; ${state}`)
  }

  if (options.json) {
    const { step } = run.training
    const loss = last?.loss ?? null
    const bits = validation
    await printJson({
      type: 'result',
      checkpoint: path,
      step,
      steps,
      loss,
      validationBitsPerCharacter: bits,
      sample: text,
      seconds,
      interrupted,
    })
  } else if (!interrupted) {
    await printResult(path, validation, text)
  }
  interrupt.dispose()
  return interrupt.exitCode()
}

/** Saves the run as it stands, unless what is there is worth more; whether it did. */
async function save({ training, text, path, saveFrom }: Run, validation: number | null): Promise<boolean> {
  if (training.step < saveFrom) return false
  await training.checkFinite()
  await saveCheckpoint(path, { ...training.snapshot(), text, validation })
  return true
}

/** Bits per character on the held-out text, also kept in the checkpoint; null where there is none. */
async function validate(run: Run, signal: AbortSignal): Promise<number | null> {
  if (run.heldOut.length < 2) {
    note('too little text is held out to validate on')
    return null
  }
  const bits = await run.training.validate(run.heldOut, signal)
  if (signal.aborted) return null
  await save(run, bits)
  return bits
}

async function sampleText({ training }: Run, length: number, signal: AbortSignal): Promise<string> {
  const { model, vocabulary, settings } = training
  model.eval()
  let text = ''
  const options = { length, temperature: SAMPLE_TEMPERATURE, seed: settings.seed }
  for await (const character of generate(model, vocabulary, options)) {
    text += character
    if (text.length % PIECE === 0) await setImmediate() // signals
    if (signal.aborted) break
  }
  return text
}

async function printResult(path: string, validation: number | null, text: string): Promise<void> {
  if (validation !== null) await printLine(`validation bits per character: ${validation.toFixed(4)}`)
  if (text !== '') {
    await printLine(`sample at temperature ${SAMPLE_TEMPERATURE}:`)
    await printText(`${text}\n`)
  }
  await printLine(`checkpoint: ${path}`)
}

/** Speed since training began or went on. */
class Timer {
  readonly #started = performance.now()
  readonly #firstStep: number
  readonly #steps: number
  readonly #charactersPerStep: number

  constructor({ training }: Run) {
    this.#firstStep = training.step
    this.#steps = training.settings.steps
    this.#charactersPerStep = training.charactersPerEpoch / training.stepsPerEpoch
  }

  seconds(): number {
    return (performance.now() - this.#started) / 1000
  }

  estimate(step: number): { charactersPerSecond: number; secondsLeft: number } {
    const stepsPerSecond = (step - this.#firstStep) / this.seconds()
    return {
      charactersPerSecond: stepsPerSecond * this.#charactersPerStep,
      secondsLeft: (this.#steps - step) / stepsPerSecond,
    }
  }
}
