/** The side of the benchmark protocol that every contender in Node.js shares; README.md describes it. */
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'

const ARRAYS = { float32: Float32Array, float64: Float64Array, int32: Int32Array }

const MOST_RESTS = 50

/** Thrown by `prepare` for a case that the library cannot compute. */
export class Unsupported extends Error {}

/**
 * Answers requests until the end of stdin.
 *
 * @param prepare ({case, threads, tensor}) => {version, threads, run, check}, also as a promise: `tensor(name)`
 * reads {shape, data}; `run(iterations)` is the timed call; `check()` gives {name: {shape, data}}
 */
export async function serve(name, prepare) {
  // Libraries print where they like: standard output is for answers alone.
  console.log = console.info = console.error
  let work = null

  const answers = {
    async prepare(request) {
      work = null
      if (request.device !== 'cpu') throw new Unsupported('this contender knows the CPU alone')
      const tensor = (name) => readTensor(request.data, request.case, name)
      work = await prepare({ case: request.case, threads: request.threads, tensor })
      const results = request.check ? writeTensors(request.out, await work.check()) : {}
      return { ready: true, name, version: work.version, threads: work.threads, results }
    },
    async warm({ seconds }) {
      const begin = performance.now()
      let iterations = 0
      do {
        await work.run(1)
        iterations++
      } while (performance.now() < begin + seconds * 1000)
      return { iterations, seconds: (performance.now() - begin) / 1000 }
    },
    async time({ iterations }) {
      const begin = performance.now()
      await work.run(iterations)
      return { seconds: (performance.now() - begin) / 1000 }
    },
    async memory({ iterations }) {
      const before = process.memoryUsage.rss()
      try {
        writeFileSync('/proc/self/clear_refs', '5') // the peak starts anew
      } catch {} // no Linux: the peak of the whole process
      await work.run(iterations)
      return { before, peak: peakBytes() }
    },
  }

  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    if (request.do === 'stop') break
    let answer
    try {
      answer = await answers[request.do](request)
    } catch (error) {
      answer = error instanceof Unsupported ? { unsupported: error.message } : { error: String(error) }
    }
    await rest()
    writeSync(1, `${JSON.stringify(answer)}\n`)
  }
  process.exit(0)
}

/** Until the library's threads sleep: after a call they spin for a while, on the cores of whoever is asked next. */
async function rest() {
  for (let i = 0; i < MOST_RESTS; i++) {
    const before = process.cpuUsage()
    await setTimeout(10)
    const { user, system } = process.cpuUsage(before)
    if (user + system < 1000) return
  }
}

function readTensor(path, { tensors, dtype }, name) {
  const { shape, offset, dtype: own = dtype } = tensors[name]
  const data = new ARRAYS[own](shape.reduce((product, size) => product * size, 1))
  const file = openSync(path)
  readSync(file, data, 0, data.byteLength, offset)
  closeSync(file)
  return { shape, data }
}

function writeTensors(path, results) {
  const places = {}
  const file = openSync(path, 'w')
  let offset = 0
  for (const [name, { shape, data }] of Object.entries(results)) {
    places[name] = { shape, offset }
    writeSync(file, data)
    offset += data.byteLength
  }
  closeSync(file)
  return places
}

function peakBytes() {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
    return Number(kilobytes[1]) * 1024
  } catch {
    return process.resourceUsage().maxRSS * 1024
  }
}
