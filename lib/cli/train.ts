/** `bptt train`: a character model from text files, with checkpoints that go on where they stopped. */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { setNumThreads } from '../index.ts'
import type { StepReport } from './char_training.ts'
import { checkpointPath, saveCheckpoint } from './checkpoint.ts'
import { generate } from './generate.ts'
import { note, print, printJson, UsageError } from './output.ts'
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
  await makeFolder(options)
  const path = checkpointPath(options.out)
  const run = await prepareRun(files, options, given)
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
      if (nextSave < steps && !interrupt.signal.aborted) await save(path, run, null)
    }
  } finally {
    progress.stop()
    progress = undefined
  }
  const seconds = timer.seconds()
  await save(path, run, null)

  const validation = interrupt.signal.aborted ? null : await validate(path, run, interrupt.signal)
  const interrupted = interrupt.signal.aborted
  const text = interrupted ? '' : await sampleText(run, options.sampleLength)
  if (interrupted) note(`stopped after step ${run.training.step}; checkpoint saved: ${path}`)

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

async function makeFolder({ out, resume }: TrainOptions): Promise<void> {
  try {
    await mkdir(out, { recursive: true })
  } catch (error) {
    throw new UsageError(`cannot use ${out} as --out: ${(error as Error).message}`, { cause: error })
  }
  const path = checkpointPath(out)
  if (!resume && existsSync(path)) note(`${path} will be replaced (--resume would go on from it)`)
}

async function save(path: string, { training, text }: Run, validation: number | null): Promise<void> {
  await saveCheckpoint(path, { ...training.snapshot(), text, validation })
}

/** Bits per character on the held-out text, also kept in the checkpoint; null where there is none. */
async function validate(path: string, run: Run, signal: AbortSignal): Promise<number | null> {
  if (run.heldOut.length < 2) {
    note('too little text is held out to validate on')
    return null
  }
  const bits = await run.training.validate(run.heldOut, signal)
  if (signal.aborted) return null
  await save(path, run, bits)
  return bits
}

async function sampleText({ training }: Run, length: number): Promise<string> {
  const { model, vocabulary, settings } = training
  model.eval()
  let text = ''
  const options = { length, temperature: SAMPLE_TEMPERATURE, seed: settings.seed }
  for await (const character of generate(model, vocabulary, options)) text += character
  return text
}

async function printResult(path: string, validation: number | null, text: string): Promise<void> {
  if (validation !== null) await print(`validation bits per character: ${validation.toFixed(4)}\n`)
  if (text !== '') await print(`sample at temperature ${SAMPLE_TEMPERATURE}:\n${text}\n`)
  await print(`checkpoint: ${path}\n`)
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
