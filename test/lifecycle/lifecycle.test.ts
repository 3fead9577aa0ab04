/**
 * The life of a process that uses the library: memory, workers, ends, errors and
 * the event loop. Each case is a program of its own, run as a user would.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { embedding, info, synchronize, tensor } from '../../lib/index.ts'
import { type Result, start } from '../support/command.ts'

async function run(script: string, ...args: string[]): Promise<Result & { seconds: number }> {
  const begin = performance.now()
  const main = fileURLToPath(new URL(`${script}.mjs`, import.meta.url))
  const result = await start(args, { main }).done
  return { ...result, seconds: (performance.now() - begin) / 1000 }
}

/** What a program that must succeed prints. */
async function output(script: string, ...args: string[]) {
  const { code, stdout, stderr } = await run(script, ...args)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return JSON.parse(stdout)
}

describe('memory over 2,000 steps', () => {
  test.each(['tidy', 'untidy', 'synchronous', 'noGrad', 'streams'])('%s', async (loop) => {
    const { resident, storages } = await output('memory', loop)
    console.log(`${loop}: resident MiB every 100 steps: ${resident.join(' ')}; storages ${storages}`)
    // The heap of V8 settles first; then the largest of the last quarter is no
    // larger than the largest of the second by more than its own swing.
    const quarter = resident.length / 4
    const second = Math.max(...resident.slice(quarter, 2 * quarter))
    const last = Math.max(...resident.slice(3 * quarter))
    expect(last - second).toBeLessThanOrEqual(12)
    if (loop !== 'untidy' && loop !== 'streams') expect(storages[1]).toBe(storages[0])
  })
})

describe('workers', () => {
  test('train at once and get the same bits', async () => {
    const losses: number[] = await output('workers')
    expect(losses).toHaveLength(5)
    expect(new Set(losses).size).toBe(1)
    expect(losses[0]).toBeGreaterThan(0)
  })

  test('terminated in mid-step, 100 times', async () => {
    const { terminated, slowest, loss } = await output('terminate')
    console.log(`terminate: slowest ${slowest.toFixed(3)} s`)
    expect(terminated).toBe(100)
    expect(loss).toBeGreaterThan(0)
    expect(slowest).toBeLessThan(5)
  })
})

describe('the end of a process', () => {
  test('process.exit() in mid-kernel keeps the code', async () => {
    for (const code of [0, 7]) {
      const result = await run('exit', 'exit', String(code))
      expect(result).toMatchObject({ code, stdout: 'exit exit\n', stderr: '' })
      expect(result.seconds).toBeLessThan(5)
    }
  })

  test('an uncaught error in mid-kernel', async () => {
    const result = await run('exit', 'throw')
    expect(result.code).toBe(1)
    expect(result.stderr).toContain('uncaught')
    expect(result.seconds).toBeLessThan(5)
  })

  test('comes by itself, and does not wait for unread work', async () => {
    const result = await run('exit', 'unread')
    expect(result).toMatchObject({ code: 0, stdout: 'exit unread\n', stderr: '' })
    expect(result.seconds).toBeLessThan(5)
  })

  test('waits for a pending read', async () => {
    const result = await run('exit', 'pending')
    expect(result).toMatchObject({ code: 0, stdout: 'value 0\nexit pending\n', stderr: '' })
  })
})

describe('errors in the stream', () => {
  test('unread, they reach synchronize() once, with the name of the op', async () => {
    const table = tensor([1, 2, 3, 4], [2, 2])
    const result = embedding(tensor(Int32Array.of(0, 7)), table).sum()
    await expect(synchronize()).rejects.toMatchObject({
      name: 'BpttError',
      code: 'ERR_BPTT_INDEX',
      message: expect.stringContaining('[embedding]'),
    })
    await synchronize()
    await expect(result.item()).rejects.toMatchObject({ code: 'ERR_BPTT_INDEX' })
    expect(() => result.itemSync()).toThrow('[embedding]')
    await expect(table.data()).resolves.toEqual(Float32Array.of(1, 2, 3, 4))
  })

  test('promises settle in a new turn of the event loop', async () => {
    const order: string[] = []
    const read = tensor([1])
      .data()
      .then(() => order.push('read'))
    for (let i = 0; i < 1000; ++i) await null
    order.push('microtasks')
    await read
    expect(order).toEqual(['microtasks', 'read'])
  })
})

test('the event loop turns while training runs', async () => {
  const { steps, seconds, ticks, worst } = await output('timer')
  console.log(
    `timer: ${ticks} ticks of 1 ms in ${seconds.toFixed(2)} s, ${steps} steps; worst delay ${worst} ms`,
  )
  expect(seconds).toBeGreaterThanOrEqual(1)
  expect(ticks).toBeGreaterThanOrEqual(10)
})

test.each([1, 2])('no arguments crash the addon (seed %i)', async (seed) => {
  const { returned, thrown } = await output('misuse', String(seed), '600')
  expect(returned).toBeGreaterThan(1000)
  expect(thrown).toBeGreaterThan(1000)
})

test('the version is that of the package', () => {
  const url = new URL('../../package.json', import.meta.url)
  expect(info().version).toBe(JSON.parse(readFileSync(url, 'utf8')).version)
})
