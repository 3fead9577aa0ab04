// What ptxas makes of the CUDA kernels: fails where one spills registers or takes so many
// registers or so much shared memory that blocks no longer fit a multiprocessor well.
//
//   node native/cuda/resources.mjs [--architectures 75,80,...] [--nvcc PATH] [--all]
//
// Prints one line per architecture, or with --all one per kernel; exits with 1 where a limit
// is passed, a kernel does not compile or one is not in the list that the host loads.
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

// A multiprocessor has 65536 registers: 64 each leave room for four blocks of 256 threads.
const MOST_REGISTERS = 64
const MOST_SHARED_BYTES = 48 * 1024

const here = fileURLToPath(new URL('.', import.meta.url))
const { values: options } = parseArgs({
  options: {
    architectures: { type: 'string', default: '75,80,86,89,90,100,120' },
    nvcc: { type: 'string', default: 'nvcc' },
    all: { type: 'boolean', default: false },
  },
})
const architectures = options.architectures.split(',')
const files = readdirSync(join(here, 'kernels')).filter((name) => name.endsWith('.cu'))

const scratch = mkdtempSync(join(tmpdir(), 'bptt-resources-'))
try {
  const jobs = architectures.flatMap((architecture) => files.map((file) => ({ architecture, file })))
  const kernels = (await inTurns(jobs, compile)).flat()
  const problems = [...kernels.flatMap(limitsPassed), ...(await listProblems(kernels))]
  printTable(kernels)
  for (const problem of problems) console.error(`resources: ${problem}`)
  process.exitCode = problems.length === 0 && kernels.length > 0 ? 0 : 1
} catch (error) {
  console.error(`resources: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

/** The results of all items, with as many at a time as there are processors. */
async function inTurns(items, work) {
  const results = []
  let next = 0
  const turn = async () => {
    while (next < items.length) {
      const i = next++
      results[i] = await work(items[i])
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, turn))
  return results
}

async function compile({ architecture, file }) {
  const report = await nvcc([
    ...['--cubin', `-arch=sm_${architecture}`, '-Xptxas=-v', '--options-file', join(here, 'nvcc.options')],
    ...[`-I${join(here, '..')}`, '-o', join(scratch, `${file}.${architecture}`), join(here, 'kernels', file)],
  ])
  return readReport(report, architecture, file)
}

/** All that nvcc says. */
function nvcc(parameters) {
  return new Promise((resolve, reject) => {
    execFile(options.nvcc, parameters, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (error?.code === 'ENOENT') reject(new Error(`${options.nvcc} is not here`))
      else if (error) reject(new Error(`nvcc ${parameters.join(' ')}:\n${stdout}${stderr}`))
      else resolve(stdout + stderr)
    })
  })
}

/** ptxas says, of each kernel: its name, its stack and spills, its registers and memory. */
function readReport(text, architecture, file) {
  const number = (section, pattern) => Number(section.match(pattern)?.[1] ?? 0)
  return text
    .split(/Compiling entry function /)
    .slice(1)
    .map((section) => ({
      architecture,
      file: basename(file),
      name: section.match(/^'(\w+)'/)[1],
      registers: number(section, /Used (\d+) registers/),
      shared: number(section, /(\d+) bytes smem/),
      stack: number(section, /(\d+) bytes stack frame/),
      spilled: number(section, /(\d+) bytes spill stores/) + number(section, /(\d+) bytes spill loads/),
    }))
}

function limitsPassed({ architecture, name, registers, shared, spilled }) {
  const place = `${name} on sm_${architecture}`
  const problems = []
  if (registers === 0) problems.push(`${place}: ptxas names no registers`)
  if (registers > MOST_REGISTERS) problems.push(`${place}: ${registers} registers, limit ${MOST_REGISTERS}`)
  if (shared > MOST_SHARED_BYTES)
    problems.push(`${place}: ${shared} bytes shared, limit ${MOST_SHARED_BYTES}`)
  if (spilled > 0) problems.push(`${place}: spills ${spilled} bytes`)
  return problems
}

/** The host loads what BPTT_CUDA_KERNELS names, in both types: no more and no less may be compiled. */
async function listProblems(kernels) {
  const file = join(scratch, 'list.cu')
  writeFileSync(
    file,
    '#include "cuda/kernel_arguments.h"\n#define LISTED(name, Arguments) listed: name;\nBPTT_CUDA_KERNELS(LISTED)\n',
  )
  const text = await nvcc(['-E', '--options-file', join(here, 'nvcc.options'), `-I${join(here, '..')}`, file])
  const listed = [...text.matchAll(/\blisted: (\w+)/g)].flatMap(([, name]) => [
    `bptt_${name}_float32`,
    `bptt_${name}_float64`,
  ])
  const compiled = new Set(kernels.map(({ name }) => name))
  return [
    ...listed.filter((name) => !compiled.has(name)).map((name) => `${name} is listed but not in kernels/`),
    ...[...compiled].filter((name) => !listed.includes(name)).map((name) => `${name} is not listed`),
  ]
}

function printTable(kernels) {
  const worst = (list, key) => list.reduce((most, kernel) => (kernel[key] > most[key] ? kernel : most))
  const columns = ['registers', 'shared', 'stack', 'spilled']
  if (options.all) {
    console.table(kernels, ['architecture', 'file', 'name', ...columns])
    return
  }
  console.log('         kernels  registers  shared  stack  spilled  most registers in')
  for (const architecture of architectures) {
    const list = kernels.filter((kernel) => kernel.architecture === architecture)
    if (list.length === 0) continue
    const most = columns.map((key) => worst(list, key)[key])
    const [registers, shared, stack, spilled] = most.map(String)
    console.log(
      `sm_${architecture.padEnd(4)} ${String(list.length).padStart(8)}  ${registers.padStart(9)}  ` +
        `${shared.padStart(6)}  ${stack.padStart(5)}  ${spilled.padStart(7)}  ${worst(list, 'registers').name}`,
    )
  }
}
