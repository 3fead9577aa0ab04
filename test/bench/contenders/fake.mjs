// A contender of `bptt bench` for tests: computes by bptt, and misbehaves as its second argument says. It says that
// every call took `seconds`, its third, and adds `name what` to the file BENCH_LOG for every request.
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { preparePass } from '../../../dist/bench/contender/passes.js'
import { readTensor, writeTensors } from '../../../dist/bench/measure/data.js'

const [name, behaviour, seconds] = process.argv.slice(2)
const log = process.env.BENCH_LOG

async function prepare({ case: one, data, out, check, threads }) {
  if (behaviour === 'unsupported') return { unsupported: 'not today' }
  if (behaviour === 'error') return { error: 'out of luck' }
  if (behaviour === 'dies in prepare') throw new Error('cannot go on')
  const read = (tensor) => {
    const place = one.tensors[tensor]
    return { shape: place.shape, values: readTensor(data, place, one.dtype) }
  }
  const pass = preparePass({ one, device: 'cpu', read })
  const results = check ? await pass.check() : new Map()
  pass.dispose()
  // One wrong gradient among right ones, by one part in a hundred.
  const wrong = results.get('d.bias_hh_l0')
  if (behaviour === 'wrong' && wrong) wrong.values = wrong.values.map((value) => value * 1.01)
  if (behaviour === 'misses one') results.delete('dx')
  return { ready: true, name, version: '1.2.3', threads, results: check ? writeTensors(out, results) : {} }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (log) appendFileSync(log, `${name} ${request.do}\n`)
  if (request.do === 'stop') process.exit(0)
  if (behaviour === 'silent') continue
  if (behaviour === 'babbles') console.log('hello')
  if (behaviour === 'dies in time' && request.do === 'time') {
    console.error('gone with the wind')
    process.exit(3)
  }
  const { iterations = 1 } = request
  const answers = {
    prepare,
    warm: () => ({ iterations: 1, seconds: Number(seconds) }),
    time: () => ({ seconds: iterations * Number(seconds) }),
    memory: () => ({ before: 1000, peak: 5000 }),
  }
  console.log(JSON.stringify(await answers[request.do](request)))
}
