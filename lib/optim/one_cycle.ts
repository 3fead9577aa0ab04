import { checkBoolean, checkInteger, checkNumber, checkOneOf, checkOptions } from '../check.ts'
import { refusal, valueError } from '../messages.ts'
import type { Optimizer } from './optimizer.ts'
import { Schedule } from './schedule.ts'

/** Options of {@link OneCycleLR}. */
export interface OneCycleLROptions {
  /** The largest learning rate; of all groups, or a list with that of each. */
  maxLr: number | readonly number[]
  /** Steps of the cycle. Or give epochs and stepsPerEpoch, whose product it is. */
  totalSteps?: number | undefined
  /** How many epochs, where totalSteps is not given. */
  epochs?: number | undefined
  /** Steps of an epoch, where totalSteps is not given. */
  stepsPerEpoch?: number | undefined
  /** Part of the cycle in which the learning rate rises. Default 0.3. */
  pctStart?: number | undefined
  /** Along half a cosine, or a line. Default 'cos'. */
  annealStrategy?: 'cos' | 'linear' | undefined
  /** Whether momentum, or the first of betas, falls while the learning rate rises. Default true. */
  cycleMomentum?: boolean | undefined
  /** The smallest momentum. Default 0.85. */
  baseMomentum?: number | undefined
  /** The largest momentum. Default 0.95. */
  maxMomentum?: number | undefined
  /** The cycle begins with maxLr / divFactor. Default 25. */
  divFactor?: number | undefined
  /** The cycle ends with maxLr / divFactor / finalDivFactor. Default 1e4. */
  finalDivFactor?: number | undefined
  /** Whether the learning rate falls as it rose, and to the end in a third phase. Default false. */
  threePhase?: boolean | undefined
}

const NAMES = [
  'maxLr',
  'totalSteps',
  'epochs',
  'stepsPerEpoch',
  'pctStart',
  'annealStrategy',
  'cycleMomentum',
  'baseMomentum',
  'maxMomentum',
  'divFactor',
  'finalDivFactor',
  'threePhase',
]

type Anneal = (start: number, end: number, part: number) => number

const ANNEAL: Record<'cos' | 'linear', Anneal> = {
  cos: (start, end, part) => end + ((start - end) / 2) * (1 + Math.cos(Math.PI * part)),
  linear: (start, end, part) => (end - start) * Math.min(part, 1) + start,
}

interface Phase {
  /** The step with which it ends. */
  end: number
  /** Learning rates, as parts of the largest. */
  lr: readonly [from: number, to: number]
  momentum: readonly [from: number, to: number]
}

/**
 * One cycle (Smith and Topin, 2017): the learning rate rises from maxLr / divFactor to maxLr and falls to nearly nothing, the momentum the
 * other way. Call step() after every batch, at most totalSteps times. As torch's, but that cycleMomentum wants
 * an optimizer whose momentum is above 0, and that the last step along a line stays where the line ends.
 */
export class OneCycleLR extends Schedule {
  readonly #maxLr: readonly number[]
  readonly #totalSteps: number
  readonly #phases: readonly Phase[]
  readonly #anneal: Anneal
  readonly #cyclesMomentum: boolean

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(optimizer: Optimizer, options: OneCycleLROptions) {
    const where = 'OneCycleLR'
    super(where, optimizer, false)
    options = checkOptions(where, options, NAMES)
    const groups = optimizer.paramGroups
    const count = (name: 'totalSteps' | 'epochs' | 'stepsPerEpoch') =>
      checkInteger(where, name, options[name], 1, Number.MAX_SAFE_INTEGER)
    const number = (name: 'baseMomentum' | 'maxMomentum' | 'pctStart', preset: number) =>
      checkNumber(where, name, options[name] ?? preset, 0, 1)
    const divisor = (name: 'divFactor' | 'finalDivFactor', preset: number) => {
      const value = checkNumber(where, name, options[name] ?? preset, 0)
      if (value === 0) throw valueError(where, `${name} above 0`, value)
      return value
    }
    const { maxLr } = options
    const list: unknown[] = Array.isArray(maxLr) ? maxLr : groups.map(() => maxLr)
    if (list.length !== groups.length)
      throw valueError(where, `maxLr to have ${groups.length} numbers`, maxLr)
    this.#maxLr = list.map((each) => checkNumber(where, 'maxLr', each, 0))
    const given = options.totalSteps !== undefined
    const total = given ? count('totalSteps') : count('epochs') * count('stepsPerEpoch')
    this.#totalSteps = checkInteger(where, 'totalSteps', total, 1, Number.MAX_SAFE_INTEGER)
    this.#anneal =
      ANNEAL[checkOneOf(where, 'annealStrategy', options.annealStrategy ?? 'cos', ['cos', 'linear'])]
    this.#cyclesMomentum = checkBoolean(where, 'cycleMomentum', options.cycleMomentum ?? true)
    if (this.#cyclesMomentum && groups.some(({ momentum, betas }) => !momentum && betas === undefined)) {
      throw refusal(
        where,
        'cycleMomentum expects an optimizer with momentum or betas, got one without; pass { cycleMomentum: false }',
      )
    }
    const [base, most] = [number('baseMomentum', 0.85), number('maxMomentum', 0.95)]
    if (most === 1 || base === 1) throw valueError(where, 'momenta below 1', 1)
    const first = 1 / divisor('divFactor', 25)
    const last = first / divisor('finalDivFactor', 1e4)
    const rise = number('pctStart', 0.3) * total
    const phases: Phase[] = [{ end: rise - 1, lr: [first, 1], momentum: [most, base] }]
    if (checkBoolean(where, 'threePhase', options.threePhase ?? false)) {
      phases.push({ end: 2 * rise - 2, lr: [1, first], momentum: [base, most] })
      phases.push({ end: total - 1, lr: [first, last], momentum: [most, most] })
    } else {
      phases.push({ end: total - 1, lr: [1, last], momentum: [base, most] })
    }
    this.#phases = phases
    this._start([])
  }

  /** @internal */
  protected override _first(): number[] {
    return this.#ratesAt(0)
  }

  /** @internal */
  protected override _next(step: number): number[] {
    if (step > this.#totalSteps) {
      throw refusal('OneCycleLR.step', `expected at most ${this.#totalSteps} steps, got ${step}`)
    }
    return this.#ratesAt(step)
  }

  /** @internal */
  protected override _arrived(step: number): void {
    if (!this.#cyclesMomentum) return
    const { phase, part } = this.#placeOf(step)
    const momentum = this.#anneal(...phase.momentum, part)
    for (const group of this._optimizer.paramGroups) {
      if (group.betas !== undefined) group.betas = [momentum, group.betas[1]]
      else group.momentum = momentum
    }
  }

  /** @internal */
  protected override _checkStep(where: string, name: string, value: unknown): number {
    return checkInteger(where, name, value, 0, this.#totalSteps)
  }

  #ratesAt(step: number): number[] {
    const { phase, part } = this.#placeOf(step)
    const [from, to] = phase.lr
    return this.#maxLr.map((most) => this.#anneal(most * from, most * to, part))
  }

  /** The phase of a step, and how much of it is past. */
  #placeOf(step: number): { phase: Phase; part: number } {
    const found = this.#phases.findIndex(({ end }) => step <= end)
    const i = found < 0 ? this.#phases.length - 1 : found
    const phase = this.#phases[i] as Phase
    const start = i === 0 ? 0 : (this.#phases[i - 1] as Phase).end
    return { phase, part: phase.end === start ? 1 : (step - start) / (phase.end - start) }
  }
}
