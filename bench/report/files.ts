/** The files that a run reads and writes, found fit before anything is measured. */
import { constants, createReadStream, type Stats } from 'node:fs'
import { access, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { readingInput, tryWriting, UsageError, writeFileAtomic } from '#internals'
import type { Report } from './report.ts'

/** A report is far smaller; what has no end is cut off. */
const MOST_BYTES = 2 ** 26

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isText = (value: unknown): boolean => typeof value === 'string'
const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value)
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value)
const nullable =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check)
const mapOf =
  (check: Check): Check =>
  (value) =>
    isObject(value) && Object.values(value).every(check)
const record =
  (fields: Record<string, Check>): Check =>
  (value) =>
    isObject(value) && Object.entries(fields).every(([name, check]) => check(value[name]))

type Check = (value: unknown) => boolean

const spread = record({ median: isNumber, p10: isNumber, p90: isNumber })
const timed = record({
  seconds: spread,
  samples: listOf(isNumber),
  gigaflops: nullable(isNumber),
  shareOfLimit: nullable(isNumber),
  peakBytes: optional(isNumber),
})
const untimed = record({ status: isText, reason: isText })

/** All that a comparison draws from an older report. A later version may know more passes, cells and fields. */
const isReport = record({
  format: (value) => value === 1,
  version: isText,
  date: isText,
  command: isText,
  device: optional(isText),
  machine: record({
    cpu: isText,
    cores: isNumber,
    isa: isText,
    node: isText,
    platform: isText,
    loadAverage: isNumber,
    cuda: optional(isText),
  }),
  versions: mapOf(isText),
  results: listOf(
    record({
      case: record({ pass: isText, cell: isText, B: isNumber, T: isNumber, I: isNumber, H: isNumber }),
      threads: nullable(isNumber),
      device: optional(isText),
      outcomes: mapOf((value) => (isObject(value) && value.status === 'timed' ? timed : untimed)(value)),
      ratios: mapOf(record({ median: isNumber, low: isNumber, high: isNumber, pairs: isNumber })),
    }),
  ),
})

/** @throws UsageError if it is no report of `bptt bench --json` */
export async function readReport(path: string): Promise<Report> {
  const text = await readingInput(path, () => textOf(createReadStream(path, { end: MOST_BYTES })))
  let report: unknown
  try {
    report = JSON.parse(text)
  } catch {}
  if (!isReport(report)) throw new UsageError(`${path} is not a report of bptt bench --json`)
  return report as Report
}

/**
 * Leaves everything as it is.
 *
 * @throws UsageError if the file cannot be written
 */
export async function checkWritable(path: string): Promise<void> {
  try {
    const there = await statOf(path)
    if (there?.isDirectory()) throw new Error('it is a folder')
    if (there) await access(path, constants.W_OK)
    if (there?.isFile() ?? true) await tryWriting(dirname(path))
  } catch (error) {
    throw new UsageError(`cannot write ${path}: ${(error as Error).message}`, { cause: error })
  }
}

/** A file is the old one or the whole new one; a pipe or a device takes the text as it comes. */
export async function writeResult(path: string, text: string): Promise<void> {
  const there = await statOf(path)
  if (there?.isFile() ?? true) await writeFileAtomic(path, [Buffer.from(text)])
  else await writeFile(path, text)
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}
