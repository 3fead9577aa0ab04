/** Interrupted and continued training: the same losses, bit for bit, as training in one go. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { bptt, jsonLines, start } from './support/command.ts'

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

describe('a checkpoint that is there', () => {
  const bytes = (out: string) => readFileSync(join(folder, out, 'checkpoint.safetensors'))
  const run = (out: string, ...args: string[]) =>
    bptt('train', text, '--out', join(folder, out), ...SMALL, ...args)

  it('is replaced by one of the same run that got as far, by another with --force', async () => {
    await train('kept', ...SMALL, '--steps', '6')
    const before = bytes('kept')
    for (const other of [
      ['--steps', '5'],
      ['--steps', '9', '--lr', '0.1'],
      ['--hidden', '9'],
    ]) {
      const { code, stderr } = await run('kept', ...other)
      expect([code, stderr.split('\n').length], stderr).toEqual([2, 2])
      expect(stderr).toContain('--force')
    }
    const again = start([
      'train',
      text,
      '--out',
      join(folder, 'kept'),
      ...SMALL,
      '--steps',
      '6',
      '--save-every',
      '1',
    ])
    await again.seen(/kept until then/)
    again.child.kill('SIGKILL')
    await again.done
    expect(bytes('kept').equals(before)).toBe(true)
    await train('kept', ...SMALL, '--steps', '6', '--save-every', '1')
    const forced = result(await train('kept', ...SMALL, '--steps', '3', '--hidden', '9', '--force'))
    expect(forced).toMatchObject({ step: 3 })
    expect(bytes('kept').equals(before)).toBe(false)
  })

  it('is never replaced by numbers that are not finite', async () => {
    await train('finite', ...SMALL, '--steps', '2')
    const before = bytes('finite')
    for (const args of [
      ['--resume', '--steps', '50', '--save-every', '1'],
      ['--force', '--steps', '50'],
    ]) {
      const { code, stderr } = await run('finite', ...args, '--lr', '1e38')
      expect(code, stderr).toBe(1)
      expect(stderr).toMatch(/step \d+ /)
      expect(bytes('finite').equals(before)).toBe(true)
    }
  })

  it('is not needed to resume, and has a default place that was free', async () => {
    const cwd = join(folder, 'cwd')
    mkdirSync(cwd)
    const here = async (...args: string[]) => {
      const { stdout } = await start(['train', text, ...SMALL, '--json', ...args], { cwd }).done
      return result(stdout)
    }
    const place = (name: string) => ({ checkpoint: join(name, 'checkpoint.safetensors') })
    expect(await here('--resume', '--steps', '2')).toMatchObject({ ...place('bptt-out'), step: 2 })
    expect(await here('--steps', '3')).toMatchObject({ ...place('bptt-out-2'), step: 3 })
    expect(await here('--resume', '--steps', '4')).toMatchObject({ ...place('bptt-out-2'), step: 4 })
    expect(readdirSync(cwd).sort()).toEqual(['bptt-out', 'bptt-out-2'])
  })
})

describe('signals', () => {
  const LONG = [...SMALL, '--json', '--steps', '1000000']

  it.each([
    ['SIGHUP', 129],
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
