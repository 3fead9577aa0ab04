/** safetensors files: what is written comes back, and no malformed file gets past the reader. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type DType, loadSafetensors, saveSafetensors, type Tensor, tensor, zeros } from '../lib/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-safetensors-'))
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
const newPath = (): string => join(folder, `${files++}.safetensors`)

/** A file with this header, as text or as an object, and this many bytes of data. */
function file(header: unknown, dataBytes = 0, length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'latin1')
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(length ?? BigInt(json.length))
  const path = newPath()
  writeFileSync(path, Buffer.concat([size, json, Buffer.alloc(dataBytes)]))
  return path
}

const entry = (dtype: string, shape: unknown, begin: unknown, end: unknown): unknown => ({
  dtype,
  shape,
  data_offsets: [begin, end],
})

describe('round trip', () => {
  it('keeps every dtype, shape, bit and name', async () => {
    const values: Record<string, [DType, number[], number[]]> = {
      float: ['float32', [2, 3], [0, -0, 1e-45, Number.NaN, Infinity, 0.1]],
      double: ['float64', [3], [Math.PI, -5e-324, 1.7976931348623157e308]],
      int: ['int32', [2, 2], [-(2 ** 31), 2 ** 31 - 1, 0, -1]],
      scalar: ['float64', [], [0.1]],
      empty: ['float32', [0, 4], []],
      'weird "name"\n\u00e9': ['int32', [1], [7]],
      ['__proto__']: ['int32', [1], [8]],
    }
    const tensors = new Map<string, Tensor>()
    for (const [name, [dtype, shape, data]] of Object.entries(values)) {
      tensors.set(name, tensor(data, shape, { dtype }))
    }
    const metadata = { note: 'caf\u00e9', empty: '', ['__proto__']: 'own' }
    const path = newPath()
    await saveSafetensors(path, tensors, metadata)
    const loaded = await loadSafetensors(path)

    expect([...loaded.tensors.keys()].sort()).toEqual([...tensors.keys()].sort())
    expect(Object.entries(loaded.metadata).sort()).toEqual(Object.entries(metadata).sort())
    for (const [name, expected] of tensors) {
      const actual = loaded.tensors.get(name) as Tensor
      expect([actual.dtype, actual.shape]).toEqual([expected.dtype, expected.shape])
      const bytes = async (t: Tensor) => Buffer.from((await t.data()).buffer).toString('hex')
      expect(await bytes(actual), name).toBe(await bytes(expected))
    }
  })

  it('takes a plain object, and a file without tensors', async () => {
    const path = newPath()
    await saveSafetensors(path, { a: zeros([2]) })
    expect((await loadSafetensors(path)).tensors.get('a')?.shape).toEqual([2])
    await saveSafetensors(path, {})
    const { tensors, metadata } = await loadSafetensors(path)
    expect([tensors.size, metadata]).toEqual([0, {}])
  })

  it('writes the same bytes for the same content in any order, with aligned tensors', async () => {
    const [a, b, c] = [zeros([3], { dtype: 'int32' }), zeros([2], { dtype: 'float64' }), zeros([5])]
    const [first, second] = [newPath(), newPath()]
    await saveSafetensors(first, { a, b, c }, { x: '1', y: '2' })
    await saveSafetensors(second, { c, b, a }, { y: '2', x: '1' })
    const bytes = readFileSync(first)
    expect(bytes.equals(readFileSync(second))).toBe(true)

    const length = Number(bytes.readBigUInt64LE())
    expect(length % 8).toBe(0)
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
    expect(header.b.data_offsets[0] % 8).toBe(0)
    expect(header.__metadata__).toEqual({ x: '1', y: '2' })
  })

  it('saves the values at the moment of the call', async () => {
    const parameter = tensor([1, 2])
    const path = newPath()
    const saving = saveSafetensors(path, { parameter })
    parameter.dispose()
    await saving
    const data = await (await loadSafetensors(path)).tensors.get('parameter')?.data()
    expect([...(data ?? [])]).toEqual([1, 2])
  })
})

describe('malformed files', () => {
  const good = entry('F32', [2], 0, 8)
  const bare = (bytes: Buffer): string => {
    const path = newPath()
    writeFileSync(path, bytes)
    return path
  }
  const cases: [string, () => string, RegExp][] = [
    ['an empty file', () => bare(Buffer.alloc(0)), /0 bytes/],
    ['seven bytes', () => bare(Buffer.alloc(7)), /7 bytes/],
    ['a header longer than the file', () => file({ a: good }, 8, 1000n), /claims 1000 bytes/],
    ['a header of 2^63 bytes', () => file({ a: good }, 8, 2n ** 63n), /limit/],
    ['a header above the limit', () => file({ a: good }, 8, 2n ** 26n + 1n), /limit/],
    ['a header of no bytes', () => file('', 8), /begin with \{/],
    ['a header cut short', () => file({ a: good }, 8, 10n), /it ends/],
    ['a header that is a list', () => file('[]'), /begin with \{/],
    ['a header with something behind it', () => file('{} {}'), /expected the end at byte 3/],
    ['leading spaces', () => file(' {}'), /begin with \{/],
    ['bytes that are not UTF-8', () => file('{"\xff":1}'), /UTF-8/],
    [
      'a name twice',
      () => file(`{"a":${JSON.stringify(good)},"\\u0061":${JSON.stringify(good)}}`, 8),
      /"a" .*twice/,
    ],
    [
      'a field twice',
      () => file('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
      /"dtype" .*twice/,
    ],
    ['metadata that is a list', () => file({ __metadata__: [] }), /__metadata__/],
    ['metadata that is a number', () => file({ __metadata__: { a: 1 } }), /expected a string at byte 21/],
    ['an entry that is null', () => file({ a: null }), /"a".*expected \{.*null/],
    ['an unknown field', () => file({ a: { ...(good as object), x: 1 } }, 8), /unknown field "x"/],
    ['no dtype', () => file({ a: { shape: [2], data_offsets: [0, 8] } }, 8), /dtype/],
    [
      'a dtype that is a number',
      () => file({ a: { shape: [2], dtype: 32, data_offsets: [0, 8] } }, 8),
      /"a".*expected a string/,
    ],
    ['no shape', () => file({ a: { dtype: 'F32', data_offsets: [0, 8] } }, 8), /"a".*shape/],
    ['a negative size', () => file({ a: entry('F32', [-2, -1], 0, 8) }, 8), /-2/],
    ['a fraction as size', () => file({ a: entry('F32', [2.5], 0, 8) }, 8), /2\.5/],
    ['a text as size', () => file({ a: entry('F32', ['2'], 0, 8) }, 8), /"a".*an integer/],
    [
      'a size above 2^53',
      () => file('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]}}', 8),
      /9007199254740993/,
    ],
    ['a size of 1e999', () => file('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', 8), /1e999/],
    [
      'sizes whose product overflows',
      () => file({ a: entry('F32', [2 ** 31, 2 ** 31, 2 ** 31], 0, 8) }, 8),
      /takes 3\.9/,
    ],
    ['65 dimensions', () => file({ a: entry('F32', Array(65).fill(1), 0, 4) }, 4), /more than 64/],
    ['no offsets', () => file({ a: { dtype: 'F32', shape: [2] } }, 8), /data_offsets/],
    [
      'three offsets',
      () => file({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8, 8] } }, 8),
      /more than 2/,
    ],
    ['a negative offset', () => file({ a: entry('F32', [2], -8, 0) }, 8), /-8/],
    ['offsets above 2^53', () => file({ a: entry('F32', [2], 2 ** 53, 2 ** 53 + 8) }, 8), /9007199254740992/],
    ['offsets in reverse', () => file({ a: entry('F32', [2], 8, 0) }, 8), /span -8/],
    ['too few bytes for the shape', () => file({ a: entry('F32', [2], 0, 4) }, 8), /takes 8/],
    ['too many bytes for the shape', () => file({ a: entry('F32', [2], 0, 12) }, 12), /takes 8/],
    ['data cut short', () => file({ a: good }, 7), /truncated/],
    ['data behind the last tensor', () => file({ a: good }, 9), /belong to none/],
    ['a gap at the start', () => file({ a: entry('F32', [1], 4, 8) }, 8), /4 after the end/],
    ['a gap between two', () => file({ a: good, b: entry('F32', [1], 12, 16) }, 16), /"b".*4 after the end/],
    ['two that overlap', () => file({ a: good, b: entry('F32', [2], 4, 12) }, 12), /"b".*inside/],
    ['two at the same place', () => file({ a: good, b: good }, 8), /inside/],
  ]

  it.each(cases)('%s', async (_name, make, message) => {
    const path = make()
    const failed = await loadSafetensors(path).then(
      () => undefined,
      (error: Error & { code: string }) => error,
    )
    expect(failed?.code).toBe('ERR_BPTT_FORMAT')
    expect(failed?.message).toContain(path)
    expect(failed?.message).toMatch(message)
  })

  it('reads what is unusual but right', async () => {
    const path = file(
      ` \n${JSON.stringify({ b: entry('F32', [1], 8, 12), a: good, none: entry('F64', [0], 8, 8) })}  \n`.trimStart(),
      12,
    )
    expect([...(await loadSafetensors(path)).tensors.keys()].sort()).toEqual(['a', 'b', 'none'])
  })

  it('every prefix of a good file is refused', async () => {
    const path = newPath()
    await saveSafetensors(path, { a: zeros([3]), b: zeros([1], { dtype: 'float64' }) }, { k: 'v' })
    const bytes = readFileSync(path)
    const cut = newPath()
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(cut, bytes.subarray(0, length))
      await expect(loadSafetensors(cut), `${length} bytes`).rejects.toMatchObject({ code: 'ERR_BPTT_FORMAT' })
    }
  })
})

describe('arguments', () => {
  it('refuses what is not a tensor, a string or a free name', async () => {
    const path = newPath()
    const save = saveSafetensors as (...args: unknown[]) => Promise<void>
    await expect(save(path, { a: [1] })).rejects.toMatchObject({ code: 'ERR_BPTT_TYPE' })
    await expect(save(path, new Map([[1, zeros([1])]]))).rejects.toMatchObject({ code: 'ERR_BPTT_TYPE' })
    await expect(save(path, {}, { a: 1 })).rejects.toMatchObject({ code: 'ERR_BPTT_TYPE' })
    await expect(save(path, { __metadata__: zeros([1]) })).rejects.toMatchObject({ code: 'ERR_BPTT_VALUE' })
    const gone = zeros([1])
    gone.dispose()
    await expect(save(path, { gone })).rejects.toMatchObject({ code: 'ERR_BPTT_DISPOSED' })
    expect(existsSync(path)).toBe(false)
  })

  it('passes on the error of the system for a file that is not there', async () => {
    await expect(loadSafetensors(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
