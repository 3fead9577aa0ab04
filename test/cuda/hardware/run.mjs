// `npm run test:cuda`, on a machine with a GPU: builds what is needed, runs every test that can tell something about
// device 'cuda', on NVIDIA's libraries and the GPU, and measures its speed. Ends with a table for docs/cuda.md,
// which is in build/cuda-report.md, too. A part that fails does not keep the next from running; then it exits with 1.
//
//   node test/cuda/hardware/run.mjs [--parts programs,suite,training,bench,sanitizer,rest] [--python PATH] [--report FILE] [--quick]
//
// Where BPTT_CUDA_LIBRARY names a backend, that one is tested as it is, and nothing is fetched or built. With
// --quick shapes are small: so test/hardware.test.ts tries this program itself, over the fakes.
import { parseArgs } from 'node:util'
import { PARTS, runPart } from './parts.mjs'
import { describeMachine, Report } from './report.mjs'
import { Refusal, setUp } from './setup.mjs'

const { values } = parseArgs({
  options: {
    parts: { type: 'string', default: Object.keys(PARTS).join(',') },
    python: { type: 'string', default: 'python3' },
    report: { type: 'string', default: 'build/cuda-report.md' },
    quick: { type: 'boolean', default: false },
  },
})

try {
  process.exitCode = await main(values)
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(`test:cuda: ${error.message}`)
  process.exitCode = 1
}

async function main({ parts: list, python, report: path, quick }) {
  const parts = list.split(',')
  const unknown = parts.filter((name) => !Object.hasOwn(PARTS, name))
  if (unknown.length > 0)
    throw new Refusal(`there is no part ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`)
  const setup = await setUp()
  const report = new Report(path, describeMachine(setup))
  for (const [i, name] of parts.entries()) {
    console.log(`\ntest:cuda: part ${i + 1} of ${parts.length}: ${PARTS[name].title}`)
    for await (const outcome of runPart(name, { ...setup, python, quick, report: path })) report.add(outcome)
  }
  console.log(`\n${report.text()}\ntest:cuda: the table is in ${path}, to be pasted into docs/cuda.md`)
  return report.failed() ? 1 : 0
}
