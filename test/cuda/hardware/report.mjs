// The report of `npm run test:cuda`, in Markdown, written anew after every part: what ran is kept if a later one hangs.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, release } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { root } from './setup.mjs'

const MOST_FAILURES = 10
const MOST_WORDS = 600

/** Rows of [what, words] about machine, device and versions. */
export function describeMachine({ words, path, nvcc, ownBackend }) {
  const [versions, ...devices] = words.split('; ')
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const commit = say('git', 'rev-parse', '--short', 'HEAD')
  const changed = say('git', 'status', '--porcelain', '--untracked-files=no') ? ', with changes' : ''
  const fields = '--query-gpu=name,driver_version,memory.total,power.limit,compute_cap'
  const smi = say('nvidia-smi', fields, '--format=csv,noheader')
  const arguments_ = process.argv.slice(2).map((text) => ` ${text}`)
  return [
    ['date', new Date().toISOString().slice(0, 10)],
    ['devices', devices.join('; ')],
    ['versions', versions],
    ['nvidia-smi', smi?.replaceAll('\n', '; ') ?? 'is not here'],
    ['libraries', path ? `first looked for in ${path}` : "the system's"],
    [
      'machine',
      `${cpus()[0]?.model ?? 'unknown CPU'}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}`,
    ],
    ['bptt', `${version}${commit ? `, commit ${commit}${changed}` : ''}`],
    ['kernels', ownBackend ? `of ${process.env.BPTT_CUDA_LIBRARY}` : `by nvcc ${nvcc}`],
    ['command', `\`npm run test:cuda${arguments_.length > 0 ? ` --${arguments_.join('')}` : ''}\``],
  ]
}

function say(command, ...args) {
  const { status, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}

export class Report {
  #path
  #machine
  #outcomes = []

  constructor(path, machine) {
    this.#path = resolve(root, path)
    this.#machine = machine
    this.#write()
  }

  add(outcome) {
    this.#outcomes.push(outcome)
    this.#write()
  }

  failed() {
    return this.#outcomes.some(({ failed }) => failed.length > 0)
  }

  text() {
    return [
      table(['on a GPU', ''], this.#machine),
      table(
        ['tests', 'passed', 'failed', 'left out', 'seconds'],
        this.#outcomes.map(({ name, passed, failed, failures, skipped, seconds }) => [
          name,
          passed,
          (failures ?? failed.length) || '0',
          skipped.length,
          seconds.toFixed(0),
        ]),
      ),
      ...this.#outcomes.flatMap(({ failed }) => (failed.length > 0 ? [describeFailures(failed)] : [])),
      ...this.#skips(),
      ...this.#outcomes.flatMap(({ bench }) => (bench ? [describeBench(bench)] : [])),
    ]
      .join('\n')
      .replaceAll(`${root}/`, '')
  }

  #skips() {
    const skipped = this.#outcomes.flatMap((outcome) => outcome.skipped)
    const byReason = new Map()
    for (const one of skipped) byReason.set(one.why, [...(byReason.get(one.why) ?? []), one])
    return [...byReason].map(([why, ones]) => {
      const names = ones.map(({ name }) => name)
      const more = names.length > MOST_FAILURES ? `; and ${names.length - MOST_FAILURES} more` : ''
      return `Left out (${why}): ${names.slice(0, MOST_FAILURES).join('; ')}${more}.\n`
    })
  }

  #write() {
    mkdirSync(dirname(this.#path), { recursive: true })
    writeFileSync(this.#path, this.text())
  }
}

function describeFailures(failed) {
  const lines = failed.slice(0, MOST_FAILURES).map(({ name, words }) => {
    const text = stripVTControlCharacters(String(words)).trim().slice(0, MOST_WORDS)
    return `FAILED: ${name}\n\n${text.replace(/^/gm, '    ')}\n`
  })
  const more = failed.length - lines.length
  return `${lines.join('\n')}${more > 0 ? `\n... and ${more} more failed\n` : ''}`
}

function describeBench(report) {
  const peer = Object.keys(report.versions).find((name) => name !== 'bptt')
  const limits = report.limits.map(
    ({ gigaflops, gigabytesPerSecond, dtype, matrix }) =>
      `products of ${matrix} x ${matrix} ${dtype} ${gigaflops.toFixed(0)} GF/s, memory ${gigabytesPerSecond.toFixed(0)} GB/s`,
  )
  const versions = Object.entries(report.versions).map(([name, version]) => `${name} ${version}`)
  const head = [
    'B, T, I, H',
    'pass',
    'bptt',
    'GF/s',
    'of the products above',
    ...(peer ? [`${peer}'s time over ours`] : []),
  ]
  return [
    `\`${report.command}\` on ${report.device}, ${versions.join(', ')}. Measured in the same run: ${limits.join('; ')}.\n`,
    table(
      head,
      report.results.map((result) => describeResult(result, peer)),
    ),
  ].join('\n')
}

function describeResult({ case: { pass, cell, B, T, I, H }, outcomes, ratios }, peer) {
  const { bptt } = outcomes
  const ratio = ratios[peer]
  const beside = ratio
    ? `${ratio.median.toFixed(2)}x [${ratio.low.toFixed(2)}, ${ratio.high.toFixed(2)}]`
    : (outcomes[peer]?.status ?? '')
  const ours =
    bptt.status === 'timed'
      ? [
          `${(1e3 * bptt.seconds.median).toPrecision(3)} ms`,
          bptt.gigaflops.toPrecision(3),
          `${(100 * bptt.shareOfLimit).toPrecision(2)} %`,
        ]
      : [bptt.status, '', '']
  return [[B, T, I, H].join(', '), `${cell} ${pass}`, ...ours, ...(peer ? [beside] : [])]
}

function table(head, rows) {
  const line = (cells) =>
    `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |\n`
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('')
}
