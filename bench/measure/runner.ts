/**
 * Runs cases: every contender is checked, warmed up, and timed in turns with the others (A B A B ...), one awake at a
 * time. A contender that fails is reported and takes no further part in the case.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { getNumThreads } from 'bptt'
import { operations, rowLengths, VOCABULARY } from '../cases.ts'
import type { Case, Limit, Outcome, Result } from '../report/report.ts'
import type { Settings } from '../settings.ts'
import { boundsFor, type Expected, expected, findErrors } from './check.ts'
import { Child, type ContenderCommand, ContenderError } from './child.ts'
import { type CaseData, chooseSample, makeData, writeTensors } from './data.ts'
import type { MemoryUse, PreparedCase, Prepared as Reply, Request, Timed } from './protocol.ts'
import { median, pairedRatio, spread } from './statistics.ts'

/** Before another contender wakes: worker threads of the last one spin for a while. */
const PAUSE_MS = 20
const LEAST_PAIRS = 3
const MEMORY_ITERATIONS = 3

/** The user asked to stop. */
export class Interrupted extends Error {}

/** One contender in one case, ready to be timed; pass ops has two calls of one process. */
interface Trial {
  name: string
  child: Child
  call?: string
  iterations: number
  samples: number[] // seconds per call
}

interface Question {
  one: Case
  threads: number | null
  request: Extract<Request, { do: 'prepare' }>
  data: CaseData
  expected: Expected
}

export class Runner {
  /** Contender -> version, of those that were ready once. */
  readonly versions: Record<string, string> = {}
  readonly #contenders: readonly ContenderCommand[]
  readonly #settings: Settings
  readonly #limits: readonly Limit[]
  readonly #signal: AbortSignal
  readonly #onProgress: (text: string) => void
  readonly #alive = new Map<string, Child>()
  readonly #abort: () => void
  #folder: string | null = null
  #cases = 0

  /** @param contenders ours first */
  constructor(
    contenders: readonly ContenderCommand[],
    settings: Settings,
    limits: readonly Limit[],
    signal: AbortSignal,
    onProgress: (text: string) => void = () => {},
  ) {
    this.#contenders = contenders
    this.#settings = settings
    this.#limits = limits
    this.#signal = signal
    this.#onProgress = onProgress
    this.#abort = () => {
      for (const child of this.#alive.values()) child.kill('interrupted')
    }
    signal.addEventListener('abort', this.#abort)
  }

  /**
   * One result per number of threads; null leaves the CPU's threads, which do not compute on a device, as they are.
   *
   * @throws Interrupted once the signal has come
   */
  async *run(one: Case, threads: readonly (number | null)[]): AsyncGenerator<Result, void, void> {
    this.#folder ??= await mkdtemp(join(tmpdir(), 'bptt-bench-'))
    const path = join(this.#folder, `case-${++this.#cases}.bin`)
    this.#onProgress('computing the reference')
    const data = makeData(one, chooseSample(one, this.#settings.checkOperations))
    const rows = rowLengths(one)
    const prepared: PreparedCase = {
      ...one,
      tensors: writeTensors(path, data.tensors),
      ...(rows && { rows }),
      ...(one.pass === 'demo' && { V: VOCABULARY }),
    }
    const wanted = expected(one, data)
    try {
      for (const count of threads) {
        const request = {
          do: 'prepare',
          case: prepared,
          threads: count ?? getNumThreads(),
          device: this.#settings.device,
          data: path,
          out: '',
          check: true,
        } as const
        yield await this.#answer({ one, threads: count, request, data, expected: wanted })
      }
    } finally {
      await rm(path, { force: true })
    }
  }

  async close(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort)
    await Promise.all([...this.#alive.values()].map((child) => child.stop()))
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true })
  }

  async #answer(question: Question): Promise<Result> {
    const { one, threads } = question
    const outcomes: Record<string, Outcome> = {}
    const trials: Trial[] = []
    for (const contender of this.#contenders) {
      this.#onProgress(`checking ${contender.name}`)
      await this.#guard(contender.name, outcomes, async () => {
        const ready = await this.#prepare(contender, question)
        if ('outcome' in ready) outcomes[contender.name] = ready.outcome
        else trials.push(...ready.trials)
      })
    }
    const peaks = this.#settings.memory ? await this.#measureMemory(question, trials) : {}
    await this.#time(trials, outcomes)
    for (const { name, samples } of trials) outcomes[name] ??= this.#timed(question, samples, peaks[name])
    const ours = trials.find(
      ({ name }) => name === this.#contenders[0]?.name && outcomes[name]?.status === 'timed',
    )
    const ratios: Result['ratios'] = {}
    for (const { name, samples } of trials) {
      if (ours && name !== ours.name && outcomes[name]?.status === 'timed') {
        ratios[name] = pairedRatio(ours.samples, samples)
      }
    }
    if (!this.#settings.shareProcesses) {
      await Promise.all([...this.#alive.values()].map((child) => child.stop()))
      this.#alive.clear()
    }
    const order = [...this.#contenders.map(({ name }) => name), 'native']
    const sorted = Object.entries(outcomes).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b))
    return {
      case: one,
      threads,
      device: this.#settings.device,
      operations: operations(one),
      outcomes: Object.fromEntries(sorted),
      ratios,
    }
  }

  /** Runs a part of a contender's trial; if the contender fails, so says its outcome. */
  async #guard(name: string, outcomes: Record<string, Outcome>, part: () => Promise<void>): Promise<void> {
    if (this.#signal.aborted) throw new Interrupted()
    try {
      await part()
    } catch (error) {
      if (this.#signal.aborted) throw new Interrupted()
      if (!(error instanceof ContenderError)) throw error
      outcomes[name] = { status: 'failed', reason: error.message }
    }
  }

  #child(contender: ContenderCommand, key = contender.name): Child {
    let child = this.#alive.get(key)
    if (!child || child.ended) {
      child = new Child(contender, this.#settings.answerSeconds)
      this.#alive.set(key, child)
    }
    return child
  }

  async #prepare(
    contender: ContenderCommand,
    { one, request, data, expected }: Question,
  ): Promise<{ outcome: Outcome } | { trials: Trial[] }> {
    const { name } = contender
    if (one.pass === 'ops' && name !== 'bptt') {
      return {
        outcome: { status: 'unsupported', reason: "pass ops compares bptt's API with its own native calls" },
      }
    }
    const child = this.#child(contender)
    const out = join(this.#folder as string, `${name}.bin`)
    const reply = await child.ask<Reply>({
      ...request,
      out,
      ...(contender.threads && { threads: contender.threads }),
    })
    if ('unsupported' in reply) return { outcome: { status: 'unsupported', reason: reply.unsupported } }
    if (reply.ready !== true) throw new ContenderError(`answered ${JSON.stringify(reply).slice(0, 200)}`)
    this.versions[name] = reply.version
    let problems: string[]
    try {
      problems = findErrors(
        one,
        data.sample,
        expected,
        reply.results ?? {},
        out,
        boundsFor(name, one, this.#settings.device),
      )
    } catch (error) {
      problems = [`its results cannot be read: ${(error as Error).message}`]
    }
    await rm(out, { force: true })
    if (problems.length > 0)
      return { outcome: { status: 'failed', reason: `wrong results: ${problems.join('; ')}` } }
    const trial = (call?: string): Trial => ({
      name: call ?? name,
      child,
      ...(call && { call }),
      iterations: 1,
      samples: [],
    })
    return { trials: one.pass === 'ops' ? [trial(), trial('native')] : [trial()] }
  }

  /** Warms every contender up, then takes samples in turns. */
  async #time(trials: readonly Trial[], outcomes: Record<string, Outcome>): Promise<void> {
    const { sampleSeconds, warmSeconds, budgetSeconds, pairs } = this.#settings
    const running = (): Trial[] => trials.filter(({ name }) => !outcomes[name])
    const turn = (trial: Trial, part: () => Promise<void>): Promise<void> =>
      this.#guard(trial.name, outcomes, async () => {
        await sleep(PAUSE_MS)
        await part()
      })
    let roundSeconds = 0
    for (const trial of running()) {
      this.#onProgress(`warming up ${trial.name}`)
      await turn(trial, async () => {
        const { call } = trial
        const warm = await trial.child.ask<Timed>({ do: 'warm', seconds: warmSeconds, ...(call && { call }) })
        const seconds = await this.#estimate(trial, warm)
        trial.iterations = Math.max(1, Math.ceil(sampleSeconds / seconds))
        roundSeconds += trial.iterations * seconds + PAUSE_MS / 1000
      })
    }
    const affordable = Math.max(LEAST_PAIRS, Math.floor(budgetSeconds / roundSeconds))
    const rounds = Math.min(pairs, affordable)
    for (let round = 1; round <= rounds; round++) {
      this.#onProgress(`round ${round}/${rounds}`)
      for (const trial of running()) {
        await turn(trial, async () => {
          trial.samples.push(await this.#sample(trial, trial.iterations))
        })
      }
    }
  }

  /** About how many seconds a call takes now that it is warm: the first ones are not. */
  async #estimate(trial: Trial, { iterations, seconds }: Timed): Promise<number> {
    const enough = this.#settings.sampleSeconds / 10
    if (iterations === 1 && seconds > 10 * enough) return seconds
    const one = await this.#sample(trial, 1)
    return one < enough ? this.#sample(trial, Math.ceil(enough / Math.max(one, 1e-7))) : one
  }

  /** Seconds per call. */
  async #sample({ child, call }: Trial, iterations: number): Promise<number> {
    const { seconds } = await child.ask<Timed>({ do: 'time', iterations, ...(call && { call }) })
    if (!(seconds > 0)) throw new ContenderError(`says ${iterations} calls took ${seconds} seconds`)
    return seconds / iterations
  }

  async #measureMemory(question: Question, trials: readonly Trial[]): Promise<Record<string, number>> {
    const peaks: Record<string, number> = {}
    for (const contender of this.#contenders) {
      if (!trials.some(({ name }) => name === contender.name)) continue
      this.#onProgress(`measuring the memory of ${contender.name}`)
      await this.#guard(contender.name, {}, async () => {
        const key = `${contender.name} memory`
        const child = this.#child(contender, key)
        await child.ask<Reply>({ ...question.request, check: false })
        const { before, peak } = await child.ask<MemoryUse>({ do: 'memory', iterations: MEMORY_ITERATIONS })
        peaks[contender.name] = Math.max(0, peak - before)
        await child.stop()
        this.#alive.delete(key)
      })
    }
    return peaks
  }

  #timed({ one, threads }: Question, samples: number[], peakBytes?: number): Outcome {
    const gigaflops = one.pass === 'ops' ? null : operations(one) / median(samples) / 1e9
    const limit = this.#limits.find(
      ({ threads: count, dtype = one.dtype }) => count === threads && dtype === one.dtype,
    )
    // On the CPU a vector holds half as many float64.
    const reach = limit && (one.dtype === 'float64' && !limit.dtype ? limit.gigaflops / 2 : limit.gigaflops)
    return {
      status: 'timed',
      seconds: spread(samples),
      samples,
      gigaflops,
      shareOfLimit: gigaflops === null || !reach ? null : gigaflops / reach,
      ...(peakBytes !== undefined && { peakBytes }),
    }
  }
}
