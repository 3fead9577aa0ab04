// `node cli.mjs COUNT [SEED]`: COUNT random command lines of the built program, right and wrong, over small files of
// many kinds. Each must end in time with exit code 0, 1 or 2 and without a stack trace.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const [count = 100, seed = 1] = process.argv.slice(2).map(Number)
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'bptt-fuzz-cli-'))

let state = seed >>> 0
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32
}
const pick = (list) => list[Math.floor(random() * list.length)]

const text = 'she sells sea shells on the sea shore.\n'.repeat(40)
const FILES = {
  'text.txt': text,
  'short.txt': 'ab',
  'empty.txt': '',
  'binary.txt': Buffer.from(Array.from({ length: 3000 }, () => Math.floor(random() * 256))),
  'utf16.txt': Buffer.from(`\uFEFF${text}`, 'utf16le'),
  'unmarked.txt': Buffer.from(text, 'utf16le'),
  'nul.txt': `${text}\0`,
  'report.json': '{"format":1,"results":[{}]}',
  'broken.safetensors': Buffer.from('{"__metadata__":{}}'),
}
for (const [name, data] of Object.entries(FILES)) writeFileSync(join(folder, name), data)

const WORDS = [
  '',
  '0',
  '-1',
  'NaN',
  'Infinity',
  '0x10',
  '1e3',
  '1e999',
  '1e-400',
  ' 5',
  '٣',
  '\u001b[31m',
  '__proto__',
]
const NUMBERS = [
  ...WORDS,
  '1',
  '2',
  '3',
  '7',
  '0.5',
  '256',
  '257',
  '1024',
  '2000',
  '2147483647',
  '99999999999999999999',
]
const PLACES = [
  ...Object.keys(FILES),
  'none',
  '.',
  '/dev/null',
  '/proc/x',
  'model',
  'model',
  'model-2',
  '',
  'a\nb',
]
const COMMANDS = {
  train: {
    files: 2,
    always: ['--steps', '2', '--sample-length', '5', '--hidden', '8', '--embedding', '4', '--batch', '4'],
    numbers: [
      'hidden',
      'embedding',
      'layers',
      'dropout',
      'seq-len',
      'batch',
      'lr',
      'clip',
      'validation',
      'seed',
      'threads',
    ],
    places: ['out'],
    words: ['cell', 'device'],
    flags: ['resume', 'force', 'json', 'fly'],
  },
  sample: {
    files: 1,
    always: ['--length', '5'],
    numbers: ['temperature', 'seed'],
    places: ['prompt'],
    words: [],
    flags: ['json', 'fly'],
  },
  // A wrong report or shape ends it before it measures.
  bench: {
    files: 0,
    always: ['--peers', 'none', '--compare', 'report.json'],
    numbers: ['layers', 'proj', 'threads', 'pairs', 'shapes'],
    places: ['json', 'html', 'compare', 'python'],
    words: ['suite', 'pass', 'cells', 'dtype', 'device', 'isa', 'peers'],
    flags: ['memory', 'bidirectional', 'ragged', 'busy'],
  },
  info: { files: 0, always: [], numbers: [], places: [], words: [], flags: ['json', 'fly'] },
}
const NAMES = [
  ...WORDS,
  'lstm',
  'gru',
  'cpu',
  'cuda',
  'cuda:99999',
  'quick',
  'train',
  'step',
  'float64',
  'torch',
  'baseline',
]

function commandLine() {
  const name = pick(Object.keys(COMMANDS))
  const { files, always, numbers, places, words, flags } = COMMANDS[name]
  const args = [name]
  for (let i = 0; i < files && (i === 0 || random() < 0.2); i++)
    args.push(random() < 0.5 ? 'text.txt' : pick(PLACES))
  args.push(...always)
  for (let i = Math.floor(random() * 4); i > 0; i--) {
    const [options, values] = pick([
      [numbers, NUMBERS],
      [places, PLACES],
      [words, NAMES],
      [flags, null],
    ])
    if (options.length === 0) continue
    args.push(`--${pick(options)}`)
    if (values) args.push(pick(values))
  }
  return args
}

const seen = {}
try {
  for (let i = 0; i < count; i++) {
    const args = commandLine()
    const { status, signal, stderr } = spawnSync(process.execPath, [main, ...args], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 120_000,
      maxBuffer: 2 ** 28,
    })
    seen[status] = (seen[status] ?? 0) + 1
    if (![0, 1, 2].includes(status) || /^ {4}at /m.test(stderr)) {
      console.error(`case ${i}: bptt ${JSON.stringify(args)} ended with ${status ?? signal}:\n${stderr}`)
      process.exitCode = 1
      break
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`command lines by exit code: ${JSON.stringify(seen)}`)
