/**
 * Training of a character model by truncated backpropagation through time: the text is read as parallel
 * streams, chunk by chunk; the state is carried from chunk to chunk, the gradients stop at the border.
 */
import {
  Adam,
  BpttError,
  clipGradNorm,
  crossEntropy,
  type Device,
  getRandomState,
  manualSeed,
  noGrad,
  setRandomState,
  type Tensor,
  tensor,
  tidy,
} from '../index.ts'
import { hasC } from './cells.ts'
import { type Checkpoint, group } from './checkpoint.ts'
import { type CarriedState, CharModel } from './model.ts'
import type { Settings } from './settings.ts'
import { type Chunk, type Ids, TextStreams, type Vocabulary } from './text.ts'

/** Steps that are enqueued ahead of the one whose loss is awaited, so that the device always has work. */
const LAG = 3

/** Characters of the held-out text that are predicted at a time. */
const VALIDATION_CHUNK = 512

export interface StepReport {
  step: number
  epoch: number
  /** Mean cross-entropy of the chunk, in nats per character. */
  loss: number
}

export class CharTraining {
  readonly settings: Settings
  readonly vocabulary: Vocabulary
  readonly model: CharModel
  readonly #optimizer: Adam
  readonly #streams: TextStreams
  readonly #device: Device
  #state: CarriedState | undefined
  #step = 0

  /** Seeds the random numbers of this environment. */
  constructor(settings: Settings, vocabulary: Vocabulary, training: Ids, device: Device = 'cpu') {
    this.settings = settings
    this.vocabulary = vocabulary
    this.#streams = new TextStreams(training, settings.batch, settings.seqLen)
    this.#device = device
    manualSeed(settings.seed)
    this.model = new CharModel(vocabulary.size, settings)
    this.model.to(device)
    this.#optimizer = new Adam(this.model.parameters(), { lr: settings.lr })
  }

  /** Steps done. */
  get step(): number {
    return this.#step
  }

  get stepsPerEpoch(): number {
    return this.#streams.chunks
  }

  get charactersPerEpoch(): number {
    return this.#streams.characters
  }

  /**
   * Trains up to `steps` steps in all, or until the signal, which is looked at once per step.
   *
   * @param onStep is called for every step in order; the next steps run meanwhile
   */
  async run(
    steps: number,
    onStep: (report: StepReport) => unknown = () => {},
    signal?: AbortSignal,
  ): Promise<void> {
    const waiting: (Omit<StepReport, 'loss'> & { loss: Promise<number> })[] = []
    const report = async (): Promise<void> => {
      for (const { loss, ...place } of waiting.splice(0, 1)) {
        const value = await loss
        if (!Number.isFinite(value)) throw diverged(`the loss of step ${place.step} is ${value}`)
        await onStep({ ...place, loss: value })
      }
    }
    while (this.#step < steps && !signal?.aborted) {
      const loss = this.#trainOnChunk(this.#streams.chunk(this.#step % this.stepsPerEpoch))
      const epoch = Math.floor(this.#step / this.stepsPerEpoch) + 1
      this.#step++
      waiting.push({ step: this.#step, epoch, loss: readAndDispose(loss) })
      if (waiting.length > LAG) await report()
    }
    while (waiting.length > 0) await report()
  }

  /** Mean bits per character on a text read as one stream from an empty state. */
  async validate(ids: Ids, signal?: AbortSignal): Promise<number> {
    this.model.eval()
    const streams = new TextStreams(ids, 1, VALIDATION_CHUNK)
    const waiting: Promise<number>[] = []
    let state: CarriedState | undefined
    let nats = 0
    try {
      for (let i = 0; i < streams.chunks && !signal?.aborted; i++) {
        const result = noGrad(() => tidy(() => this.#predict(streams.chunk(i), 1, state, 'sum')))
        disposeState(state)
        state = result.state
        waiting.push(readAndDispose(result.loss))
        if (waiting.length > LAG) nats += (await waiting.shift()) as number
      }
      for (const loss of waiting) nats += await loss
    } finally {
      disposeState(state)
      this.model.train()
    }
    const bits = nats / (ids.length - 1) / Math.LN2
    if (!Number.isFinite(bits))
      throw diverged(`the loss on the held-out text after step ${this.#step} is ${bits}`)
    return bits
  }

  /**
   * Checks that weights, moments and state are finite: after a step whose loss was finite they may not be.
   *
   * @throws BpttError ERR_BPTT_VALUE
   */
  async checkFinite(): Promise<void> {
    const sums = noGrad(() =>
      [...this.snapshot().tensors].map(([name, x]) => [name, tidy(() => x.sum())] as const),
    )
    for (const [name, sum] of sums) {
      const value = await readAndDispose(sum)
      if (!Number.isFinite(value)) throw diverged(`after step ${this.#step} ${name} is not finite`)
    }
  }

  /** All that `restore` needs. The tensors stay this run's own: save them before the next step. */
  snapshot(): Pick<Checkpoint, 'settings' | 'characters' | 'step' | 'random' | 'tensors'> {
    const tensors = new Map<string, Tensor>()
    for (const [name, value] of this.model.stateDict()) tensors.set(`model.${name}`, value)
    for (const [name, value] of this.#optimizer.stateDict()) tensors.set(`optimizer.${name}`, value)
    for (const [name, value] of Object.entries(this.#state ?? {})) tensors.set(`state.${name}`, value)
    const { settings, vocabulary, step } = this
    return { settings, characters: [...vocabulary.characters], step, random: getRandomState(), tensors }
  }

  /**
   * Goes back to where a run with the same settings and text was. Takes over the tensors.
   *
   * @throws Error of the library if they do not fit
   */
  restore({ tensors, step, random }: Pick<Checkpoint, 'step' | 'random' | 'tensors'>): void {
    this.model.loadStateDict(group(tensors, 'model'))
    this.#optimizer.loadStateDict(group(tensors, 'optimizer'))
    const { h, c } = Object.fromEntries(group(tensors, 'state'))
    const carries = h !== undefined && (c !== undefined) === hasC(this.settings.cell)
    if (step > 0 && !carries)
      throw new BpttError('ERR_BPTT_FORMAT', 'it lacks the state that its cell carries')
    this.#state = h === undefined ? undefined : { h, ...(c && { c }) }
    for (const [name, value] of tensors) if (!name.startsWith('state.')) value.dispose()
    this.#step = step
    setRandomState(random)
  }

  #trainOnChunk(chunk: Chunk): Tensor {
    const { settings } = this
    // Every epoch reads the text anew.
    if (this.#step % this.stepsPerEpoch === 0) this.#carry(undefined)
    const { loss, state } = tidy(() => {
      const { loss, state } = this.#predict(chunk, settings.batch, this.#state, 'mean')
      this.#optimizer.zeroGrad()
      loss.backward()
      if (settings.clip > 0) clipGradNorm(this.model.parameters(), settings.clip)
      this.#optimizer.step()
      return { loss, state: { h: state.h.detach(), ...(state.c && { c: state.c.detach() }) } }
    })
    this.#carry(state)
    return loss
  }

  #predict(
    chunk: Chunk,
    batch: number,
    before: CarriedState | undefined,
    reduction: 'mean' | 'sum',
  ): { loss: Tensor; state: CarriedState } {
    const device = this.#device
    const input = tensor(chunk.input, [chunk.steps, batch], { dtype: 'int32', device })
    const target = tensor(chunk.target, [chunk.steps * batch], { dtype: 'int32', device })
    const { logits, state } = this.model.forward(input, before)
    const rows = logits.reshape([chunk.steps * batch, this.vocabulary.size])
    return { loss: crossEntropy(rows, target, { reduction }), state }
  }

  #carry(state: CarriedState | undefined): void {
    disposeState(this.#state)
    this.#state = state
  }
}

function diverged(what: string): BpttError {
  return new BpttError('ERR_BPTT_VALUE', `${what}; nothing of it was saved; a lower --lr may help`)
}

/** The read is enqueued at once, so the tensor is no longer needed. */
function readAndDispose(loss: Tensor): Promise<number> {
  const value = loss.item()
  loss.dispose()
  // Reported to whoever awaits it; until then, a failure is nobody's unhandled rejection.
  value.catch(() => {})
  return value
}

function disposeState(state: CarriedState | undefined): void {
  state?.h.dispose()
  state?.c?.dispose()
}
