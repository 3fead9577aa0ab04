/** Replacing files: links, modes, devices, order, what killed processes left. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { saveSafetensors, zeros } from '../lib/index.ts'
import { writeFileAtomic } from '../lib/io/atomic.ts'
import { temporaryFor } from '../lib/io/temporary.ts'

const root = mkdtempSync(join(tmpdir(), 'bptt-atomic-'))
afterAll(() => rmSync(root, { recursive: true }))

let folders = 0
function folder(): string {
  const path = join(root, `${folders++}`)
  mkdirSync(path)
  return path
}

const text = (value: string) => [Buffer.from(value)]
const isWindows = process.platform === 'win32'

describe('a failure', () => {
  it('keeps the old file and leaves nothing behind', async () => {
    const own = folder()
    const path = join(own, 'kept')
    await writeFileAtomic(path, text('old'))
    function* failing(): Generator<Uint8Array> {
      yield Buffer.from('half of the new')
      throw new Error('no more')
    }
    await expect(writeFileAtomic(path, failing())).rejects.toThrow('no more')
    await expect(writeFileAtomic(path, Promise.reject(new Error('never')))).rejects.toThrow('never')
    expect(readFileSync(path, 'utf8')).toBe('old')
    await writeFileAtomic(path, [Buffer.from('n'), Buffer.from('ew')])
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readdirSync(own)).toEqual(['kept'])
  })

  it('is what a folder, a pipe or a device gives', async () => {
    const own = folder()
    mkdirSync(join(own, 'target'))
    const paths = [join(own, 'target')]
    if (!isWindows) {
      execFileSync('mkfifo', [join(own, 'pipe')])
      symlinkSync('pipe', join(own, 'link'))
      paths.push(join(own, 'pipe'), join(own, 'link'), '/dev/null')
    }
    const before = readdirSync(own)
    for (const path of paths) {
      await expect(saveSafetensors(path, {}), path).rejects.toMatchObject({ code: 'ERR_BPTT_VALUE' })
    }
    expect(readdirSync(own)).toEqual(before)
  })
})

describe.skipIf(isWindows)('what was there', () => {
  it('a link stays, and what it points to is replaced, in another folder and where nothing is yet', async () => {
    const [own, other] = [folder(), folder()]
    const target = join(other, 'target')
    symlinkSync(join('..', other.slice(root.length + 1), 'target'), join(own, 'second'))
    symlinkSync('second', join(own, 'first'))
    for (const content of ['new', 'newer']) {
      await writeFileAtomic(join(own, 'first'), text(content))
      expect(readFileSync(target, 'utf8')).toBe(content)
    }
    expect(readlinkSync(join(own, 'first'))).toBe('second')
    expect(lstatSync(target).isFile()).toBe(true)
    expect([readdirSync(own), readdirSync(other)]).toEqual([['first', 'second'], ['target']])
    symlinkSync('loop', join(own, 'loop'))
    await expect(writeFileAtomic(join(own, 'loop'), text('x'))).rejects.toMatchObject({ code: 'ELOOP' })
  })

  it('a file keeps its mode, and a new one has what the umask leaves', async () => {
    const path = join(folder(), 'file')
    await writeFileAtomic(path, text('1'))
    expect(statSync(path).mode & 0o777).toBe(0o666 & ~process.umask())
    for (const mode of [0o600, 0o640, 0o444, 0o777]) {
      chmodSync(path, mode)
      await writeFileAtomic(path, text('2'))
      expect(statSync(path).mode & 0o777).toBe(mode)
    }
  })
})

it('takes names as long as the file system does', async () => {
  const own = folder()
  for (const length of [222, 223, 255]) await writeFileAtomic(join(own, 'n'.repeat(length)), text('x'))
  expect(readdirSync(own)).toHaveLength(3)
})

it('the last of several calls wins, also through a link and where its values come first', async () => {
  const own = folder()
  const path = join(own, 'file')
  writeFileSync(path, '')
  if (!isWindows) symlinkSync('file', join(own, 'link'))
  const other = isWindows ? path : join(own, 'link')
  const late = new Promise<Uint8Array[]>((resolve) => setTimeout(resolve, 50, text('0')))
  const calls = [writeFileAtomic(path, late)]
  for (let i = 1; i <= 20; i++) calls.push(writeFileAtomic(i % 2 ? other : path, text(`${i}`)))
  await Promise.all(calls)
  expect(readFileSync(path, 'utf8')).toBe('20')
})

describe('temporary files', () => {
  it('of a process that is gone are removed, those of a living one are not', async () => {
    const own = folder()
    const path = join(own, 'file')
    const living = temporaryFor(path)
    const [, machine, , began, random] = /-([0-9a-f]{8})-(\d+)-(\d+)-([0-9a-f]{16})\.tmp$/.exec(
      living,
    ) as unknown as string[]
    const start = living.slice(0, living.indexOf(`-${machine}-`))
    const gone = spawnSync(process.execPath, ['-e', '']).pid
    const named = (...owner: unknown[]) => `${start}-${owner.join('-')}-${random}.tmp`
    const dead = named(machine, gone, began)
    const foreign = named('00000000', gone, began)
    const foreignOld = named('00000001', gone, began)
    const parent = named(machine, process.ppid, '0')
    const alien = join(own, '.file.tmp')
    const otherFile = temporaryFor(join(own, 'other')).replace(`-${process.pid}-`, `-${gone}-`)
    for (const file of [dead, foreign, foreignOld, parent, alien, otherFile]) writeFileSync(file, 'x')
    utimesSync(foreignOld, 1, 1)
    await writeFileAtomic(path, text('new'))
    const left = [dead, foreign, foreignOld, parent, alien, otherFile].map((file) => existsSync(file))
    expect(left).toEqual([false, true, false, true, true, true])
  })

  it.skipIf(process.platform !== 'linux')('of this process are removed unless they are open', async () => {
    const path = join(folder(), 'file')
    writeFileSync(temporaryFor(path), 'of a thread that was ended')
    const open = temporaryFor(path)
    const file = openSync(open, 'wx')
    await writeFileAtomic(path, text('1'))
    closeSync(file)
    expect(readdirSync(dirname(path)).sort()).toEqual([basename(open), 'file'])
  })

  it('never share a name', () => {
    expect(new Set(Array.from({ length: 1000 }, () => temporaryFor('/a/b'))).size).toBe(1000)
  })
})

it('saves to one file at once are complete, and the last one wins', async () => {
  const path = join(folder(), 'a.safetensors')
  await Promise.all(Array.from({ length: 5 }, (_, i) => saveSafetensors(path, { [`x${i}`]: zeros([i + 1]) })))
  expect(readFileSync(path, 'utf8')).toContain('"x4"')
})
