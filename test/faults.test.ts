/** Failures of the system: no memory, no threads. Each case is a process with chosen calls of the addon failing. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { start } from './support/command.ts'

const PRELOAD = fileURLToPath(new URL('../build/test/native/faults.node', import.meta.url))
const able = existsSync(PRELOAD)
if (!able) console.log(`faults: skipped, ${PRELOAD} is built on Linux with glibc, with -DBPTT_TESTS=ON`)

async function run(...args: string[]) {
  const main = fileURLToPath(new URL('lifecycle/faults.mjs', import.meta.url))
  const { code, stdout, stderr } = await start(args, { main, env: { ...process.env, LD_PRELOAD: PRELOAD } })
    .done
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return JSON.parse(stdout)
}

describe.skipIf(!able)('an allocation of the addon that fails', () => {
  it.each([
    '1',
    '1000000',
  ])('the nth of two training steps and the next, %s in all, for every n', async (length) => {
    const { attempts, refused } = await run('nth', length)
    console.log(`${attempts} attempts, ${refused} refused`)
    expect(refused).toBeGreaterThan(20)
    expect(attempts).toBeGreaterThan(refused)
  })

  it('the nth of a step of two element types, and of a load: all parameters change, or none', async () => {
    const { step, load } = await run('together')
    console.log(`${step} steps and ${load} loads refused`)
    expect(step).toBeGreaterThan(20)
    expect(load).toBeGreaterThan(20)
  })

  it('at random, small and large ones', async () => {
    const { steps, failed } = await run('random', '8')
    expect(steps).toBeGreaterThan(8 * 12)
    expect(failed).toBeGreaterThan(0)
  })

  it('in a worker that has just begun', async () => {
    const { workers, refused } = await run('workers', '17')
    expect(workers).toBeGreaterThan(3)
    expect(refused).toBeGreaterThan(0)
  })

  it('of the copies that JavaScript gets: ERR_BPTT_OOM, and the state is kept', async () => {
    expect(await run('copies')).toEqual(
      ['data', 'dataSync', 'save', 'tensor', 'convert', 'step', 'getState'].map(
        (what) => `${what} ERR_BPTT_OOM`,
      ),
    )
  })
})

describe.skipIf(!able)('no thread to be had', () => {
  const refused = new Array(9).fill('ERR_BPTT_OOM')
  it('for the stream: rejects or throws, and the process ends', async () => {
    expect(await run('threads', 'forever')).toEqual(refused)
  })
  it('for the stream of a worker', async () => {
    expect(await run('threadsOfWorker')).toEqual(refused)
  })
  it.each(['1', '2'])('for more than %s: the team is smaller, the bits are the same', async (count) => {
    expect(await run('threads', count)).toEqual(refused)
  })
})
