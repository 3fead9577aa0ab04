/** `bptt bench`: bptt beside its peers and beside the limits of the machine. */
import { availableParallelism, loadavg } from 'node:os'
import { resolve } from 'node:path'
import { BpttError, cuda, type Device, info, zeros } from 'bptt'
import {
  type CellName,
  catchSignals,
  EXIT_FAILURE,
  memoryBytes,
  note,
  printLine,
  showBytes,
  UsageError,
} from '#internals'
import { describeCase, elements } from './cases.ts'
import { ContenderError } from './measure/child.ts'
import { findPeers, onOneThread, ourselves } from './measure/contenders.ts'
import { measureLimits } from './measure/limits.ts'
import { Interrupted, Runner } from './measure/runner.ts'
import { type BenchProgress, startProgress } from './progress.ts'
import { checkWritable, readReport, writeResult } from './report/files.ts'
import type { PageOf } from './report/html.ts'
import { type Case, type Machine, type Pass, PEERS, type Peer, type Report } from './report/report.ts'
import {
  describeOtherDevice,
  describeResult,
  describeRun,
  describeSummary,
  findResult,
} from './report/table.ts'
import { DEFAULTS, type Settings } from './settings.ts'
import { type CaseGroup, expand, findSuite } from './suites.ts'

export interface BenchOptions {
  suite?: string
  pass?: Pass[]
  cells?: CellName[]
  shapes?: string[]
  layers?: number
  bidirectional?: boolean
  proj?: number
  ragged?: boolean
  steps?: number
  busy?: boolean
  threads?: number[]
  dtype?: Case['dtype']
  device: string
  isa?: string
  peers?: Peer[]
  python: string
  pairs?: number
  memory?: boolean
  json?: string
  html?: string
  compare?: string
}

const DEFAULT_GROUP: CaseGroup = { pass: ['forward', 'train'], cells: ['lstm'], shapes: ['quick'] }

/** What to run, from the options. */
export interface Plan {
  cases: Case[]
  settings: Settings
  /** null: as many as bptt takes by itself */
  threads: number[] | null
}

/** @throws UsageError if nothing is left to run, or what is makes no sense */
export function makePlan(options: BenchOptions): Plan {
  const plan = planCases(options)
  for (const one of plan.cases) {
    // Once here in float64 for the reference, once in every contender.
    const bytes = 16 * elements(one)
    if (bytes <= memoryBytes()) continue
    const there = showBytes(memoryBytes())
    throw new UsageError(
      `${describeCase(one)} takes ${showBytes(bytes)} at least, and this machine has ${there}`,
    )
  }
  if (options.device !== 'cpu') refuseOnDevice(options, plan)
  return plan
}

/** What is of the CPU alone is not passed off as the device's. */
function refuseOnDevice({ device, isa, threads }: BenchOptions, { cases, settings }: Plan): void {
  const busy = cases.some((one) => one.busy)
  const refuse = (what: string, why: string): void => {
    throw new UsageError(`${what} cannot be measured with --device ${device}: ${why}`)
  }
  if (cases.some(({ pass }) => pass === 'step')) refuse('pass step', 'streams run on the CPU')
  if (cases.some(({ pass }) => pass === 'ops')) refuse('pass ops', 'it times native calls of the CPU')
  if (busy) refuse('--busy', "it is about sharing the CPU's processors")
  if (isa !== undefined) refuse('--isa', "it names the CPU's kernels")
  if (threads !== undefined) refuse('--threads', "they are the CPU's, and the device computes")
  if (settings.memory) refuse('--memory', "it is the host's, not the device's")
}

function planCases(options: BenchOptions): Plan {
  const {
    suite: name,
    pass,
    cells,
    shapes,
    layers,
    bidirectional,
    proj,
    ragged,
    steps,
    busy,
    dtype,
  } = options
  if (name === undefined) {
    const group: CaseGroup = {
      pass: pass ?? DEFAULT_GROUP.pass,
      cells: cells ?? DEFAULT_GROUP.cells,
      shapes: shapes ?? (DEFAULT_GROUP.shapes as string[]),
      ...(layers !== undefined && { layers }),
      ...(bidirectional && { bidirectional }),
      ...(proj !== undefined && { proj }),
      ...(ragged && { lengths: 'ragged' as const }),
      ...(steps !== undefined && { steps }),
      ...(busy && { busy }),
      ...(dtype && { dtype }),
    }
    const cases = expand([group])
    if (cases.length === 0) throw new UsageError('--shapes names none: there is nothing to measure')
    return { cases, settings: settingsFrom({}, options), threads: options.threads ?? null }
  }
  const { description: _, cases: groups, threads, ...rest } = findSuite(name)
  const narrowed = groups.map((group) => ({
    ...group,
    pass: group.pass.filter((one) => pass?.includes(one) ?? true),
    cells: group.cells.filter((one) => cells?.includes(one) ?? true),
    ...(dtype && { dtype }),
    ...(busy && { busy }),
  }))
  const cases = expand(narrowed)
  if (cases.length === 0) throw new UsageError(`suite ${name} has no case of this pass and cell`)
  return { cases, settings: settingsFrom(rest, options), threads: options.threads ?? threads ?? null }
}

function settingsFrom(suite: Partial<Settings>, { pairs, memory, device }: BenchOptions): Settings {
  const settings = { ...DEFAULTS, ...suite, device }
  if (memory) settings.memory = true
  // Who asks for a number of pairs wants them however long they take.
  return pairs === undefined ? settings : { ...settings, pairs, budgetSeconds: Infinity }
}

/** Runs the plan and reports. Resolves to the exit code: 1 if any contender failed. */
export async function bench(options: BenchOptions, command: string): Promise<number> {
  let progress: BenchProgress | undefined
  const interrupt = catchSignals(() => {
    progress?.clear()
    note('stopping; Ctrl-C again ends at once')
  })
  try {
    const plan = makePlan(options)
    const older = options.compare === undefined ? undefined : await readReport(options.compare)
    const device = openDevice(options.device as Device)
    plan.settings.device = device
    const { version, isas, isa, cpu, threads: usual } = info()
    if (options.isa !== undefined && !isas.includes(options.isa)) {
      throw new UsageError(`--isa ${options.isa}: this machine has ${isas.join(', ')}`)
    }
    // Rather now than after hours.
    const page = await preparePage(options)
    const threads = device === 'cpu' ? (plan.threads ?? [usual]) : [null]
    const ours = ourselves(options.isa)
    if (options.busy && options.peers?.length) {
      throw new UsageError('--busy compares bptt with itself on one thread: --peers cannot be used with it')
    }
    const { found, missing } = await findPeers(options.peers ?? peersOf(plan), options.python, device)
    for (const { peer, reason, install } of missing)
      note(`without ${peer}: ${reason}${install === null ? '' : `; to install it: ${install}`}`)

    const loadAverage = loadavg()[0] as number
    const counts = [...new Set([1, ...(plan.threads ?? []), usual])].sort((a, b) => a - b)
    const dtypes = [...new Set(plan.cases.map(({ dtype }) => dtype))]
    const limits = await measureLimits(ours, device, counts, dtypes, plan.settings.pairs, interrupt.signal)
    const machine: Machine = {
      cpu,
      cores: availableParallelism(),
      isa: options.isa ?? isa,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      loadAverage,
      ...(device !== 'cpu' && { cuda: cuda.description() ?? '' }),
    }
    const report: Report = {
      format: 1,
      version,
      date: new Date().toISOString(),
      command,
      device,
      machine,
      versions: {},
      missing,
      limits,
      results: [],
    }
    for (const line of describeRun(report)) await printLine(line)
    const other = older && describeOtherDevice(report, older)
    if (other) await printLine(other)
    progress = startProgress(plan.cases.length)
    await runPlan(
      plan,
      threads,
      [ours, ...(options.busy ? [onOneThread(ours)] : []), ...found],
      report,
      older,
      progress,
      interrupt.signal,
    )
    for (const line of describeSummary(report)) await printLine(line)
    const written = [
      await wrote(options.json, () => `${JSON.stringify(report, null, 1)}\n`),
      await wrote(options.html, () => page?.(report, older)),
    ]
    const failed =
      written.includes(false) ||
      report.results.flatMap(({ outcomes }) => Object.values(outcomes)).some(isFailure)
    return interrupt.exitCode() || (failed ? EXIT_FAILURE : 0)
  } catch (error) {
    if (error instanceof ContenderError) {
      if (interrupt.signal.aborted) return interrupt.exitCode()
      throw new BpttError('ERR_BPTT_BINDING', `bptt itself could not be measured: ${error.message}`)
    }
    throw error
  } finally {
    interrupt.dispose()
  }
}

/** Its whole name, e.g. 'cuda:0'. A device that is not there says so. */
function openDevice(device: Device): string {
  const there = zeros([1], { device })
  there.dispose()
  return there.device
}

const isFailure = ({ status }: { status: string }): boolean => status === 'failed'

/** All, unless nobody but us is asked. */
const peersOf = ({ cases }: Plan): readonly Peer[] =>
  cases.every(({ pass, busy }) => pass === 'ops' || busy) ? [] : PEERS

/** Fills the report, case by case, until the signal. */
async function runPlan(
  { cases, settings }: Plan,
  threads: readonly (number | null)[],
  contenders: ConstructorParameters<typeof Runner>[0],
  report: Report,
  older: Report | undefined,
  progress: BenchProgress,
  signal: AbortSignal,
): Promise<void> {
  const width = Math.max(...cases.map((one) => describeCase(one).length))
  const runner = new Runner(contenders, settings, report.limits, signal, progress.update)
  try {
    for (const one of cases) {
      progress.next(describeCase(one))
      for await (const result of runner.run(one, threads)) {
        report.results.push(result)
        progress.clear()
        await printLine(describeResult(result, width, findResult(older, result)))
      }
    }
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
  } finally {
    progress.clear()
    Object.assign(report.versions, runner.versions)
    await runner.close()
  }
}

/** Checks that the files can be written; how the page is drawn, where it is wanted. */
async function preparePage({ json, html }: BenchOptions): Promise<PageOf | undefined> {
  if (json !== undefined && html !== undefined && resolve(json) === resolve(html)) {
    throw new UsageError('--json and --html name the same file')
  }
  for (const path of [json, html]) if (path !== undefined) await checkWritable(path)
  if (html === undefined) return undefined
  const { prepareHtml } = await import('./report/html.ts')
  return prepareHtml()
}

/** Whether nothing stood in the way; one file that cannot be written leaves the other. */
async function wrote(path: string | undefined, text: () => string | undefined): Promise<boolean> {
  if (path === undefined) return true
  try {
    await writeResult(path, text() ?? '')
    return true
  } catch (error) {
    note(`bptt: cannot write ${path}: ${(error as Error).message}`)
    return false
  }
}
