/**
 * bptt as a contender: a process that answers the requests of protocol.ts, one line each. It works as a program of
 * a user does, by the public API alone, except where the limits of the machine are measured and where the API is
 * compared with the native calls beneath it.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Device, info, setNumThreads } from 'bptt'
import { native } from '#internals'
import { readTensor, writeTensors } from '../measure/data.ts'
import type { MeasuredLimits, MemoryUse, Prepared, Request, Timed } from '../measure/protocol.ts'
import { measureDevice } from './device_limits.ts'
import { prepareNative } from './native_calls.ts'
import { type Given, type Prepared as Pass, preparePass } from './passes.ts'

/** What `call` of a request names; 'api' where it names none. */
let calls: Record<string, Pass> = {}

async function prepare(request: Extract<Request, { do: 'prepare' }>): Promise<Prepared> {
  for (const call of Object.values(calls)) call.dispose()
  calls = {}
  setNumThreads(request.threads)
  const { case: one, data, device } = request
  const given: Given = {
    one,
    device: device as Device,
    read: (name) => {
      const place = one.tensors[name]
      if (!place) throw new Error(`the case has no tensor ${name}`)
      return { shape: place.shape, values: readTensor(data, place, one.dtype) }
    },
  }
  calls.api = preparePass(given)
  if (one.pass === 'ops') calls.native = prepareNative(given)
  const results = request.check ? writeTensors(request.out, await calls.api.check()) : {}
  const { version, isa, threads } = info()
  return { ready: true, name: 'bptt', version, isa, threads, results }
}

async function run(iterations: number, call = 'api'): Promise<Timed> {
  const start = performance.now()
  await called(call).run(iterations)
  return { iterations, seconds: (performance.now() - start) / 1000 }
}

function called(name: string): Pass {
  const call = calls[name]
  if (!call) throw new Error(`there is no call ${name} to make`)
  return call
}

async function warm(seconds: number, call = 'api'): Promise<Timed> {
  const start = performance.now()
  let iterations = 0
  while (performance.now() - start < 1000 * seconds || iterations === 0) {
    await called(call).run(1)
    iterations++
  }
  return { iterations, seconds: (performance.now() - start) / 1000 }
}

/** The peak counts from here on where Linux lets a process say so; elsewhere it is that of its whole life. */
async function memory(iterations: number): Promise<MemoryUse> {
  // What prepare() left to the collector would count as memory that the pass need not take.
  for (let i = 0; i < 2; i++) {
    globalThis.gc?.()
    await sleep(50)
  }
  try {
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {}
  const before = resident('VmRSS') ?? process.memoryUsage.rss()
  await called('api').run(iterations)
  return { before, peak: resident('VmHWM') ?? process.resourceUsage().maxRSS * 1024 }
}

/** Bytes, as Linux says; undefined elsewhere. */
function resident(field: 'VmRSS' | 'VmHWM'): number | undefined {
  try {
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(
      readFileSync('/proc/self/status', 'utf8'),
    )
    return kilobytes ? Number(kilobytes[1]) * 1024 : undefined
  } catch {
    return undefined
  }
}

/** The best of several tries: a limit is what can be reached, and something else may be running now and then. */
function cpuLimits(threads: number, tries: number, seconds: number): MeasuredLimits {
  setNumThreads(threads)
  const best = (measure: () => number): number => Math.max(...Array.from({ length: tries }, measure))
  return {
    operations: best(() => native().measureMultiplyAdds(seconds)),
    bytes: best(() => native().measureReads(seconds)),
  }
}

async function answer(request: Request): Promise<object> {
  switch (request.do) {
    case 'prepare':
      return prepare(request)
    case 'warm':
      return warm(request.seconds, request.call)
    case 'time':
      return run(request.iterations, request.call)
    case 'memory':
      return memory(request.iterations)
    case 'limits':
      return request.device === 'cpu'
        ? cpuLimits(request.threads, request.tries, request.seconds)
        : measureDevice(request.device as Device, request.dtype, request.seconds)
    case 'stop':
      process.exit(0)
  }
}

async function answerAll(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    let text: object
    try {
      text = await answer(JSON.parse(line) as Request)
    } catch (error) {
      text = { error: error instanceof Error ? error.message : String(error) }
    }
    process.stdout.write(`${JSON.stringify(text)}\n`)
  }
}

void answerAll()
