/**
 * The contenders of bench/compare that are installed here keep the protocol, and compute what they say they do: their
 * results against the float64 reference, in shapes that tell every dimension, gate and direction from the others.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeCase, impossible, rowLengths, VOCABULARY } from '../../bench/cases.ts'
import { boundsFor, expected, findErrors } from '../../bench/measure/check.ts'
import { Child } from '../../bench/measure/child.ts'
import { findPeers } from '../../bench/measure/contenders.ts'
import { makeData, writeTensors } from '../../bench/measure/data.ts'
import type { MemoryUse, Prepared, Request, Timed } from '../../bench/measure/protocol.ts'
import { type Case, PEERS, type Peer } from '../../bench/report/report.ts'
import { PLAIN } from '../support/report.ts'

const LAYER: Case = { pass: 'forward', cell: 'lstm', B: 3, T: 5, I: 4, H: 6, ...PLAIN }

const VARIANTS: Partial<Case>[] = [
  {},
  { layers: 2, bidirectional: true },
  { lengths: 'ragged' },
  { lengths: 'ragged', layers: 3, bidirectional: true },
  { projSize: 2 },
  { projSize: 5, layers: 2, bidirectional: true, lengths: 'ragged' },
  { dtype: 'float64' },
  { B: 1, T: 1, I: 1, H: 2 },
  { B: 2, T: 9, I: 17, H: 5, layers: 2 },
]

const CASES = (['forward', 'train', 'step', 'demo', 'decoder'] as const).flatMap((pass) =>
  (['lstm', 'gru', 'rnn'] as const).flatMap((cell) =>
    VARIANTS.map((variant) => ({ ...LAYER, ...variant, pass, cell })).filter(
      (one) => impossible(one) === null,
    ),
  ),
)

/** What bench/compare/README.md says that a peer can do. */
const CAN: Record<Peer, (one: Case) => boolean> = {
  torch: () => true,
  onnxruntime: ({ pass, projSize, dtype }) =>
    (pass === 'forward' || pass === 'step') && projSize === 0 && dtype === 'float32',
  tfjs: ({ pass, cell, T, projSize, lengths, dtype }) =>
    (pass === 'forward' || pass === 'step' || (pass === 'train' && T > 1)) &&
    cell !== 'gru' &&
    projSize === 0 &&
    lengths === 'full' &&
    dtype === 'float32',
}

const { found, missing } = await findPeers(PEERS, process.env.BPTT_PYTHON ?? 'python3')

for (const { peer, reason, install } of missing)
  it.skip(`${peer} (skipped: ${reason}; to install it: ${install})`)

describe.each(found)('$name', (contender) => {
  let folder: string
  let child: Child
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bptt-peers-'))
    child = new Child(contender, 100)
  })
  afterAll(() => {
    child.kill('the tests are over')
    rmSync(folder, { recursive: true })
  })

  /** Asks for the case and checks what is written; the answer, and what was wrong. */
  async function prepare(
    one: Case,
    check = true,
    device = 'cpu',
  ): Promise<{ reply: Prepared; problems: string[] }> {
    const sample = { rows: Array.from({ length: one.B }, (_, b) => b), steps: one.T }
    const given = makeData(one, sample)
    const [data, out] = [join(folder, 'data.bin'), join(folder, 'out.bin')]
    const rows = rowLengths(one)
    const request: Request = {
      do: 'prepare',
      case: {
        ...one,
        tensors: writeTensors(data, given.tensors),
        ...(rows && { rows }),
        ...(one.pass === 'demo' && { V: VOCABULARY }),
      },
      threads: 1,
      device,
      data,
      out,
      check,
    }
    const reply = await child.ask<Prepared>(request)
    if ('unsupported' in reply || !check) return { reply, problems: [] }
    const bounds = boundsFor(contender.name, one)
    const wanted = expected(one, given)
    return { reply, problems: findErrors(one, sample, wanted, reply.results ?? {}, out, bounds) }
  }

  it.each(CASES.map((one): [string, Case] => [describeCase(one), one]))('%s', async (_, one) => {
    const { reply, problems } = await prepare(one)
    if (CAN[contender.name as Peer](one)) {
      expect(reply).toMatchObject({ ready: true, name: contender.name, threads: 1 })
      expect(problems).toEqual([])
    } else {
      expect(reply).toEqual({ unsupported: expect.stringMatching(/./) })
    }
  })

  it.each(['forward', 'train', 'step', 'demo', 'decoder'] as const)('is timed: %s', async (pass) => {
    const one = { ...LAYER, pass }
    if (!CAN[contender.name as Peer](one)) return
    const { reply } = await prepare(one, false)
    expect(reply).toMatchObject({ ready: true, results: {} })
    expect((reply as { version: string }).version).toMatch(/^\d+\.\d+/)
    const memory = await child.ask<MemoryUse>({ do: 'memory', iterations: 2 })
    expect(memory.before).toBeGreaterThan(1e6)
    expect(memory.peak).toBeGreaterThanOrEqual(memory.before)
    const warm = await child.ask<Timed>({ do: 'warm', seconds: 0 })
    expect(warm).toEqual({ iterations: 1, seconds: expect.any(Number) })
    const { seconds } = await child.ask<Timed>({ do: 'time', iterations: 7 })
    expect(seconds).toBeGreaterThan(0)
  })

  it('says which passes and devices it does not know', async () => {
    const unsupported = { unsupported: expect.stringMatching(/./) }
    expect((await prepare({ ...LAYER, pass: 'ops' })).reply).toEqual(unsupported)
    expect((await prepare(LAYER, true, 'tpu')).reply).toEqual(unsupported)
  })

  it('answers what fails with the error, and goes on', async () => {
    await expect(child.ask({ do: 'nothing' } as unknown as Request)).rejects.toThrow(/./)
    expect(child.ended).toBe(false)
    expect((await prepare(LAYER)).problems).toEqual([])
  })

  it('ends when told to', async () => {
    const other = new Child(contender, 100)
    await other.stop()
    await expect(other.ask({ do: 'stop' })).rejects.toThrow('exit code 0')
  })
})
