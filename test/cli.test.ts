/** The command line's contract: help, streams, exit codes, bad usage. */
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { jsonLine, oneLine, visible } from '../lib/cli/escape.ts'
import { loadSafetensors, saveSafetensors, zeros } from '../lib/index.ts'
import { bptt, jsonLines, MAIN, start, watch } from './support/command.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'bptt-cli-'))
const text = join(folder, 'text.txt')
const model = join(folder, 'model')
const TINY = ['--hidden', '8', '--embedding', '4', '--seq-len', '8', '--batch', '4', '--lr', '0.01']
afterAll(() => rmSync(folder, { recursive: true }))

beforeAll(async () => {
  writeFileSync(text, 'she sells sea shells \u{1F41A} on the sea shore.\n'.repeat(40))
  const { code, stderr } = await bptt('train', text, '--out', model, ...TINY, '--steps', '30')
  expect(code, stderr).toBe(0)
})

describe('without a native binary', () => {
  const bare = join(folder, 'bare')
  const main = join(bare, 'dist', 'cli', 'main.js')
  beforeAll(() => {
    mkdirSync(bare)
    cpSync(join(root, 'dist'), join(bare, 'dist'), { recursive: true })
    cpSync(join(root, 'package.json'), join(bare, 'package.json'))
    symlinkSync(join(root, 'node_modules'), join(bare, 'node_modules'), 'junction')
  })

  it('prints its version', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    expect(await start(['--version'], { main }).done).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it.each([
    [[], ['train', 'sample', 'bench', 'info', '130']],
    [['train'], ['--cell', '--hidden', '--resume', '--epochs', '--steps', '--seed', '--json', 'Ctrl-C']],
    [['sample'], ['--prompt', '--temperature', '--length', '--seed', '--json']],
    [['bench'], ['--suite', '--shapes', '--peers', '--threads', '--json', '--html', '--compare', 'Examples']],
    [['info'], ['--json']],
  ])('prints help of %j', async (command, words) => {
    const { code, stdout, stderr } = await start([...command, '--help'], { main }).done
    expect([code, stderr]).toEqual([0, ''])
    for (const word of words) expect(stdout).toContain(word)
  })

  it('says what is missing as soon as it is needed', async () => {
    const { code, stdout, stderr } = await start(['info'], { main }).done
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/no native build[\s\S]*npm run build/)
    expect(stderr).not.toContain('    at ')
  })

  it('loads the benchmark for bench alone', async () => {
    rmSync(join(bare, 'dist', 'bench'), { recursive: true })
    for (const args of [['--help'], ['train', '--help'], ['--version']])
      expect(await start(args, { main }).done, args.join(' ')).toMatchObject({ code: 0, stderr: '' })
    for (const args of [
      ['bench', '--help'],
      ['help', 'bench'],
    ])
      expect((await start(args, { main }).done).code, args.join(' ')).toBe(1)
  })
})

describe('info', () => {
  it('names version, kernels and threads', async () => {
    const plain = await bptt('info')
    expect(plain.code).toBe(0)
    expect(plain.stdout).toMatch(/^isa +(baseline|avx2|avx512|neon)$/m)
    expect(plain.stdout).toMatch(/^cuda +\S/m)
    const [json] = jsonLines((await bptt('info', '--json')).stdout)
    expect(json).toMatchObject({ isa: expect.any(String), isas: expect.arrayContaining(['baseline']) })
    expect(json?.threads).toBeGreaterThan(0)
  })
})

describe('wrong usage exits with 2 and says why on stderr', () => {
  const notText = join(folder, 'binary')
  const notCheckpoint = join(folder, 'other.safetensors')
  const [empty, unmarked] = [join(folder, 'empty.txt'), join(folder, 'unmarked.txt')]
  beforeAll(async () => {
    writeFileSync(notText, Uint8Array.of(0x61, 0xff, 0xfe))
    writeFileSync(empty, '')
    writeFileSync(unmarked, Buffer.from('some text in two bytes a piece\n'.repeat(9), 'utf16le'))
    await saveSafetensors(notCheckpoint, { a: zeros([1]) })
  })
  const cases: [string, () => string[], RegExp][] = [
    ['no command', () => [], /Usage: bptt/],
    ['an unknown command', () => ['fly'], /unknown command 'fly'/],
    ['an unknown option', () => ['train', text, '--fly'], /unknown option '--fly'/],
    ['no file', () => ['train'], /missing required argument 'file'/],
    ['an unknown cell', () => ['train', text, '--cell', 'fly'], /lstm, gru, rnn/],
    ['a size that is text', () => ['train', text, '--hidden', 'big'], /--hidden.*whole number/],
    ['a size of zero', () => ['train', text, '--batch', '0'], /--batch.*whole number/],
    ['a negative rate', () => ['train', text, '--lr', '-1'], /--lr.*at least 0/],
    ['a rate that is empty', () => ['train', text, '--lr', ''], /--lr.*at least 0/],
    ['a dropout of 1', () => ['train', text, '--dropout', '1'], /--dropout.*below 1/],
    ['a device that is none', () => ['train', text, '--device', 'tpu'], /--device.*cuda/],
    ['steps and epochs', () => ['train', text, '--steps', '3', '--epochs', '2'], /cannot be used with/],
    ['a file that is missing', () => ['train', join(folder, 'none.txt')], /cannot read .*none\.txt.*ENOENT/],
    ['a file that is a folder', () => ['train', folder], /cannot read .*EISDIR/],
    ['a file that is not text', () => ['train', notText], /not UTF-8/],
    ['too little text', () => ['train', text, '--batch', '5000'], /too few for 5000/],
    ['a folder that is a file', () => ['train', text, '--out', text], /--out/],
    ['a checkpoint that is missing', () => ['sample', join(folder, 'none')], /cannot read .*ENOENT/],
    ['a checkpoint that is text', () => ['sample', text], /not a valid safetensors file/],
    ['a checkpoint of something else', () => ['sample', notCheckpoint], /not a checkpoint of bptt train/],
    ['a rate in hexadecimal', () => ['train', text, '--lr', '0x10'], /--lr.*at least 0/],
    ['too many threads', () => ['train', text, '--threads', '512'], /--threads.*256/],
    ['too many layers', () => ['train', text, '--layers', '2000'], /--layers.*1024/],
    ['a model larger than memory', () => ['train', text, '--hidden', '1000000000'], /GB at least/],
    ['too much to sample', () => ['train', text, '--sample-length', '1000000000'], /--sample-length/],
    ['an empty folder name', () => ['train', text, '--out', ''], /--out/],
    ['a text that is empty', () => ['train', empty], /empty/],
    ['UTF-16 without a mark', () => ['train', unmarked], /UTF-16LE without a byte order mark/],
    ['resume and force', () => ['train', text, '--resume', '--force'], /cannot be used with/],
    ['a temperature below 0', () => ['sample', model, '--temperature', '-1'], /--temperature/],
  ]
  it.each(cases)('%s', async (_name, args, message) => {
    const inTemporary =
      args().includes('train') && !args().includes('--out') ? ['--out', join(folder, 'unused')] : []
    const { code, stdout, stderr } = await bptt(...args(), ...inTemporary)
    expect(stderr).toMatch(message)
    expect(stderr).not.toContain('    at ')
    expect([code, stdout]).toEqual([2, ''])
  })

  // A folder that nobody can make one in; Node's recursive mkdir() never ends there.
  it.skipIf(process.platform !== 'linux')('a folder that cannot be made', async () => {
    expect(await bptt('train', text, ...TINY, '--out', '/proc/none/there')).toMatchObject({
      code: 2,
      stdout: '',
    })
  })
})

it('a failure at run time exits with 1', async () => {
  const { code, stderr } = await bptt(
    'train',
    text,
    '--out',
    join(folder, 'cuda'),
    ...TINY,
    '--device',
    'cuda',
  )
  expect(code).toBe(1)
  expect(stderr).toContain("device 'cuda' is not available")
  expect(stderr).not.toContain('    at ')
})

describe('a variable of the environment that cannot be used is a wrong setting', () => {
  it.each([
    [['info'], { BPTT_ISA: 'sse9' }, /BPTT_ISA=sse9 is not an instruction set .* baseline$/],
    [['train', text], { BPTT_ISA: 'sse9' }, /BPTT_ISA=sse9/],
    [['sample', 'model'], { BPTT_ISA: 'sse9' }, /BPTT_ISA=sse9/],
    [['bench'], { BPTT_ISA: 'sse9' }, /BPTT_ISA=sse9/],
    [['info'], { BPTT_PREBUILD: '/no/where' }, /BPTT_PREBUILD=\/no\/where has no native build/],
  ])('%j with %j: one line and exit code 2', async (args, env, words) => {
    const { code, stdout, stderr } = await start(args, { env: { ...process.env, ...env } }).done
    expect(stderr.trimEnd()).toMatch(words)
    expect(stderr.split('\n')).toHaveLength(2)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  })
})

describe('what comes from outside', () => {
  it('is escaped on stderr', async () => {
    const { code, stderr } = await bptt('train', join(folder, 'a\u001b[31m\n\u202eb\u009b'))
    expect(code).toBe(2)
    expect(stderr).toContain('a\\u{1b}[31m\\u{a}\\u{202e}b\\u{9b}')
    expect(stderr.trimEnd()).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect((await bptt('fl\u001by\nx')).stderr.trimEnd()).not.toMatch(/\p{Cc}/u)
    const { stderr: ours } = await start(['info'], { env: { ...process.env, BPTT_ISA: '\u001b[2J' } }).done
    expect(ours).toContain('\\u{1b}[2J')
  })

  it('keeps its values in JSON', () => {
    const value = { text: '\u001b\u009b\u202e\u{e0001}\n\ud800' }
    expect(jsonLine(value)).toMatch(/^[\x20-\x7e]+$/)
    expect(JSON.parse(jsonLine(value))).toEqual(value)
    expect(visible('a\tb\n\u001b')).toBe('a\tb\n\\u{1b}')
    expect(oneLine('\u{1F469}\u200d\u{1F680}')).toBe('\u{1F469}\u200d\u{1F680}')
  })

  it('cannot claim sizes that its file does not have', async () => {
    const { tensors, metadata } = await loadSafetensors(join(model, 'checkpoint.safetensors'))
    const lying = join(folder, 'lying')
    mkdirSync(lying)
    const write = (more: Record<string, string>) =>
      saveSafetensors(join(lying, 'checkpoint.safetensors'), tensors, { ...metadata, ...more })
    const settings = JSON.parse(metadata.settings as string) as Record<string, unknown>
    for (const change of [{ hidden: 12000 }, { layers: 1000 }, { embedding: 2 ** 31 - 1 }, { dropout: 5 }]) {
      await write({ settings: JSON.stringify({ ...settings, ...change }) })
      for (const args of [
        ['sample', lying],
        ['train', text, '--out', lying, '--resume'],
      ]) {
        const { code, stderr } = await bptt(...args)
        expect([code, stderr.split('\n').length], stderr).toEqual([2, 2])
      }
    }
    await write({ format: '\u001b[31mred' })
    expect((await bptt('sample', lying)).stderr).toContain('\\u{1b}[31mred')
    for (const tensor of tensors.values()) tensor.dispose()
  })
})

describe('sample', () => {
  const sampled = async (...args: string[]) => (await bptt('sample', model, '--length', '60', ...args)).stdout

  it('continues the prompt by the asked number of characters', async () => {
    const stdout = await sampled('--prompt', 'she \u{1F41A}')
    expect(stdout).toMatch(/^she \u{1F41A}/u)
    expect([...stdout.replace(/\n$/, '')].length).toBeGreaterThanOrEqual(64)
    expect([...stdout].length).toBeLessThanOrEqual(66)
  })

  it('gives the same text for the same seed, another for another', async () => {
    expect(await sampled('--seed', '5')).toBe(await sampled('--seed', '5'))
    expect(await sampled('--seed', '5', '--temperature', '2')).not.toBe(
      await sampled('--seed', '6', '--temperature', '2'),
    )
    expect(await sampled('--seed', '5', '--temperature', '0')).toBe(
      await sampled('--seed', '6', '--temperature', '0'),
    )
  })

  it('prints JSON that holds the same text', async () => {
    const plain = await sampled('--prompt', 'sea')
    const [json] = jsonLines(await sampled('--prompt', 'sea', '--json'))
    expect(json).toMatchObject({ prompt: 'sea', temperature: 0.8, seed: 1 })
    expect(plain.replace(/\n$/, '')).toBe(`sea${json?.text}`.replace(/\n$/, ''))
  })

  it('says which characters of the prompt it does not know', async () => {
    const { code, stderr } = await bptt('sample', model, '--length', '5', '--prompt', 'QsheQ\u{1F600}')
    expect(code).toBe(0)
    expect(stderr).toContain('"Q" "\u{1F600}"')
  })

  it('takes the file as well as the folder', async () => {
    const { stdout } = await bptt('sample', join(model, 'checkpoint.safetensors'), '--length', '60')
    expect(stdout).toBe(await sampled())
  })
})

describe('streams', () => {
  it('train keeps results on stdout and progress on stderr, in plain lines', async () => {
    const out = join(folder, 'streams')
    const { code, stdout, stderr } = await bptt(
      'train',
      text,
      '--out',
      out,
      ...TINY,
      '--steps',
      '20',
      '--sample-length',
      '30',
    )
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^validation bits per character: \d+\.\d+\nsample at temperature 0\.8:\n[\s\S]+\ncheckpoint: .+\n$/,
    )
    expect(stderr).toMatch(
      /epoch \d+ \| step 20\/20 \| loss \d\.\d+ \| \d\.\d+ bits\/char \| \S+ chars\/s \| 0s left/,
    )
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is the point
    expect(stdout + stderr).not.toMatch(/\u001b/)
  })

  it('a reader that closes the pipe ends sample quietly', async () => {
    const running = start(['sample', model, '--length', '300000'])
    await new Promise((resolve) => running.child.stdout?.once('data', resolve))
    running.child.stdout?.destroy()
    expect(await running.done).toMatchObject({ code: 0, stderr: '' })
  })

  it('train goes on without a reader', async () => {
    const out = join(folder, 'unread')
    const running = start(['train', text, '--out', out, ...TINY, '--steps', '200', '--json'])
    await new Promise((resolve) => running.child.stdout?.once('data', resolve))
    running.child.stdout?.destroy()
    const { code, stderr } = await running.done
    expect(code, stderr).toBe(0)
    const [last] = jsonLines((await bptt('train', text, '--out', out, '--resume', '--json')).stdout)
    expect(last).toMatchObject({ type: 'result', step: 200 })
  })

  it('train survives a closed stderr', async () => {
    const out = join(folder, 'silent')
    const running = start(['train', text, '--out', out, ...TINY, '--steps', '50'])
    running.child.stderr?.destroy()
    const { code, stdout } = await running.done
    expect(code).toBe(0)
    expect(stdout).toContain('checkpoint:')
  })
})

// A terminal, by the `script` program of util-linux where there is one.
const hasScript = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0
describe.skipIf(!hasScript)('on a terminal', () => {
  const onTerminal = (args: string, env: NodeJS.ProcessEnv) => {
    const command = `'${process.execPath}' '${MAIN}' ${args}`
    // Node shows no colours where CI is set.
    const { NO_COLOR, FORCE_COLOR, CI, ...rest } = process.env
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...rest, TERM: 'xterm-256color', ...env },
    })
    return watch(child).done
  }

  it('colours errors unless NO_COLOR is set', async () => {
    const missing = `sample '${join(folder, 'none')}'`
    expect((await onTerminal(missing, {})).stdout).toContain('\u001b[31mbptt:')
    const { code, stdout } = await onTerminal(missing, { NO_COLOR: '1' })
    expect(stdout).toContain('bptt: cannot read')
    expect(stdout).not.toContain('\u001b[')
    expect(code).toBe(2)
  })

  it('shows a live bar with all that is promised', async () => {
    const train = `train '${text}' --out '${join(folder, 'bar')}' ${TINY.join(' ')} --steps 40`
    const { stdout } = await onTerminal(train, {})
    expect(stdout).toMatch(/step 40\/40 loss \S+ \S+ bits\/char \S+ chars\/s 0s left/)
  })
})
