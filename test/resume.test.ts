/** Interrupted and continued training: the same losses, bit for bit, as training in one go. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { bptt, jsonLines, start } from './command.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-resume-'))
afterAll(() => rmSync(folder, { recursive: true }))

const text = join(folder, 'text.txt')
writeFileSync(text, Array.from({ length: 120 }, (_, i) => `line ${i * i} of the text\n`).join(''))

const SMALL = [
  '--hidden',
  '12',
  '--embedding',
  '6',
  '--seq-len',
  '16',
  '--batch',
  '8',
  '--sample-length',
  '20',
]

/** Loss by step. JSON keeps every bit of a number. */
function losses(stdout: string): Map<unknown, unknown> {
  const steps = jsonLines(stdout).filter((line) => line.type === 'step')
  return new Map(steps.map(({ step, epoch, loss }) => [step, `${epoch}: ${loss}`]))
}

async function train(out: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await bptt('train', text, '--out', join(folder, out), '--json', ...args)
  expect(code, stderr).toBe(0)
  return stdout
}

const result = (stdout: string) => jsonLines(stdout).at(-1) as Record<string, unknown>

// An epoch has 20 steps: one checkpoint lies at its end, one in its middle.
describe.each([
  ['lstm', ['--layers', '2', '--dropout', '0.3']],
  ['gru', []],
  ['rnn', ['--clip', '0']],
])('%s %j', (cell, options) => {
  it('three runs of 20, 7 and 18 steps are one of 45', async () => {
    const args = ['--cell', cell, ...SMALL, ...options]
    const whole = await train(`${cell}-whole`, ...args, '--steps', '45')
    const out = `${cell}-parts`
    const rest = ['--resume', '--sample-length', '20', '--steps']
    const parts = [
      await train(out, ...args, '--steps', '20'),
      await train(out, ...rest, '27'),
      await train(out, ...rest, '45'),
    ]

    expect(losses(whole).get(20)).toMatch(/^1: /)
    expect(losses(whole).get(21)).toMatch(/^2: /)
    expect(parts.map((part) => losses(part).size)).toEqual([20, 7, 18])
    expect(new Map(parts.flatMap((part) => [...losses(part)]))).toEqual(losses(whole))
    for (const key of ['validationBitsPerCharacter', 'sample', 'loss']) {
      expect(result(parts[2] as string)[key], key).toEqual(result(whole)[key])
    }
  })
})

it('learns, and the number of threads changes nothing', async () => {
  const args = [...SMALL, '--lr', '0.02', '--epochs', '6']
  const one = await train('one', ...args, '--threads', '1')
  const three = await train('three', ...args, '--threads', '3')
  expect(losses(three)).toEqual(losses(one))
  const { validationBitsPerCharacter, steps, step } = result(one)
  expect(step).toBe(steps)
  expect(validationBitsPerCharacter).toBeGreaterThan(0.1)
  expect(validationBitsPerCharacter).toBeLessThan(3)
})

it('resuming with another structure or text names what differs', async () => {
  await train('fixed', ...SMALL, '--steps', '3')
  const out = join(folder, 'fixed')
  const changed = await bptt(
    'train',
    text,
    '--out',
    out,
    '--resume',
    '--hidden',
    '13',
    '--cell',
    'gru',
    '--batch',
    '8',
  )
  expect(changed.code).toBe(2)
  expect(changed.stderr).toContain('--cell gru (it has lstm), --hidden 13 (it has 12)')
  expect(changed.stderr).not.toContain('--batch')

  const other = join(folder, 'other.txt')
  writeFileSync(other, 'another text\n'.repeat(100))
  const { code, stderr } = await bptt('train', other, '--out', out, '--resume')
  expect(code).toBe(2)
  expect(stderr).toContain('the same files')
  await train('fixed', '--resume', '--steps', '5', '--lr', '0.5')
})

describe('signals', () => {
  const LONG = [...SMALL, '--json', '--steps', '1000000']

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s saves a checkpoint, says where and exits with %i', async (signal, exitCode) => {
    const out = join(folder, signal)
    const running = start(['train', text, '--out', out, ...LONG])
    await running.seen(/"step":30,/)
    running.child.kill(signal)
    const { code, stdout, stderr } = await running.done
    expect(code).toBe(exitCode)
    const path = join(out, 'checkpoint.safetensors')
    expect(stderr).toContain(`checkpoint saved: ${path}`)
    expect(readdirSync(out)).toEqual(['checkpoint.safetensors'])
    const { step, interrupted, checkpoint } = result(stdout)
    expect([interrupted, checkpoint]).toEqual([true, path])
    expect(losses(stdout).size).toBe(step)

    const target = String((step as number) + 10)
    const resumed = await train(signal, '--resume', '--steps', target)
    const whole = await train(`${signal}-whole`, ...SMALL, '--steps', target)
    expect(new Map([...losses(stdout), ...losses(resumed)])).toEqual(losses(whole))
  })

  it('a second Ctrl-C ends at once', async () => {
    const out = join(folder, 'twice')
    const slow = ['--hidden', '512', '--seq-len', '1000', '--batch', '8', '--steps', '1000']
    const big = join(folder, 'big.txt')
    writeFileSync(big, 'some words to make a long text of\n'.repeat(4000))
    const running = start(['train', big, '--out', out, ...slow])
    await running.seen(/parameters/)
    await setTimeout(300)
    running.child.kill('SIGINT')
    await running.seen(/Ctrl-C again/)
    await setTimeout(200)
    running.child.kill('SIGINT')
    const { code, stderr } = await running.done
    expect(code).toBe(130)
    expect(stderr).not.toContain('checkpoint saved')
    expect(existsSync(join(out, 'checkpoint.safetensors'))).toBe(false)
  })

  it('two signals of one key press are one', async () => {
    const running = start(['train', text, '--out', join(folder, 'press'), ...LONG])
    await running.seen(/"step":3,/)
    running.child.kill('SIGINT')
    running.child.kill('SIGINT')
    const { code, stderr } = await running.done
    expect(code).toBe(130)
    expect(stderr).toContain('checkpoint saved')
  })
})
