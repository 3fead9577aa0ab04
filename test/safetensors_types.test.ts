/** What a safetensors file may hold and come from: element types beside ours, large texts, bytes, open files. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runInNewContext } from 'node:vm'
import { afterAll, expect, it } from 'vitest'
import { loadSafetensors, saveSafetensors, type Tensor, tensor, zeros } from '../lib/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'bptt-types-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A file of one tensor `t`, and a float32 behind it. */
function bytesOf(dtype: string, data: ArrayBufferView, shape: number[]): Buffer {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const end = raw.length
  const header = JSON.stringify({
    t: { dtype, shape, data_offsets: [0, end] },
    ours: { dtype: 'F32', shape: [1], data_offsets: [end, end + 4] },
  })
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
  return Buffer.concat([size, Buffer.from(header), raw, Buffer.from(Float32Array.of(7).buffer)])
}

async function read(dtype: string, data: ArrayBufferView & { length: number }, shape = [data.length]) {
  const { tensors, skipped } = await loadSafetensors(bytesOf(dtype, data, shape))
  expect([...((await tensors.get('ours')?.data()) ?? [])]).toEqual([7])
  const t = tensors.get('t')
  return t === undefined ? skipped : { dtype: t.dtype, data: [...(await t.data())] }
}

const inf = Infinity
const same: [string, ArrayBufferView & { length: number }, string, number[]][] = [
  ['BOOL', Uint8Array.of(0, 1, 2), 'bool', [0, 1, 1]],
  ['U8', Uint8Array.of(0, 255), 'int32', [0, 255]],
  ['I8', Int8Array.of(-128, 127), 'int32', [-128, 127]],
  ['U16', Uint16Array.of(0, 65535), 'int32', [0, 65535]],
  ['I16', Int16Array.of(-32768, 32767), 'int32', [-32768, 32767]],
  ['U32', Uint32Array.of(0, 2147483647), 'int32', [0, 2147483647]],
  ['U64', BigUint64Array.of(0n, 2147483647n), 'int32', [0, 2147483647]],
  ['I64', BigInt64Array.of(0n, -1n, 2147483647n, -2147483648n), 'int32', [0, -1, 2147483647, -2147483648]],
  [
    'F16',
    Uint16Array.of(0, 0x8000, 1, 0x03ff, 0x0400, 0x3c00, 0xc100, 0x7bff, 0x7c00, 0xfc00, 0x7e00),
    'float32',
    [0, -0, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, 1, -2.5, 65504, inf, -inf, Number.NaN],
  ],
  [
    'BF16',
    Uint16Array.of(0, 0x8000, 0x3fc0, 0x7f80, 0xff80, 0x7fc0, 1),
    'float32',
    [0, -0, 1.5, inf, -inf, Number.NaN, 2 ** -133],
  ],
  [
    'F8_E4M3',
    Uint8Array.of(0, 0x80, 1, 7, 8, 0x38, 0xc4, 0x7e, 0x7f, 0xff),
    'float32',
    [0, -0, 2 ** -9, 7 * 2 ** -9, 2 ** -6, 1, -3, 448, Number.NaN, Number.NaN],
  ],
  [
    'F8_E5M2',
    Uint8Array.of(0, 0x80, 1, 3, 4, 0x3c, 0xc5, 0x7b, 0x7c, 0xfc, 0x7d),
    'float32',
    [0, -0, 2 ** -16, 3 * 2 ** -16, 2 ** -14, 1, -5, 57344, inf, -inf, Number.NaN],
  ],
]
it.each(same)('%s loads exactly', async (type, stored, dtype, data) => {
  expect(await read(type, stored)).toEqual({ dtype, data })
})

it('what no tensor of ours holds is skipped and listed', async () => {
  const cases: [string, ArrayBufferView & { length: number }, number[]?][] = [
    ['C64', Float32Array.of(1, 2), [1]],
    ['F4', Uint8Array.of(1), [2]],
    ['toString', Uint8Array.of(1)],
    ['U32', Uint32Array.of(1, 2147483648)],
    ['U64', BigUint64Array.of(2147483648n)],
    ['U64', BigUint64Array.of(2n ** 64n - 1n)],
    ['I64', BigInt64Array.of(2147483648n)],
    ['I64', BigInt64Array.of(-2147483649n)],
    ['I64', BigInt64Array.of(2n ** 53n + 1n)],
    ['F32', Float32Array.of(1), [1, 1, 1, 1, 1, 1, 1, 1, 1]],
    ['F32', new Float32Array(0), [2 ** 31, 2 ** 31, 0]],
  ]
  for (const [dtype, data, shape] of cases) {
    expect(await read(dtype, data, shape)).toEqual([{ name: 't', dtype, reason: expect.any(String) }])
  }
})

it('a tensor larger than what is read at once', async () => {
  const size = 2 ** 20 * 2 + 3
  const path = join(folder, 'large')
  const values = Float64Array.from({ length: size }, (_, i) => i / 3)
  await saveSafetensors(path, { x: tensor(values) })
  const data = await (await loadSafetensors(path)).tensors.get('x')?.data()
  expect(Buffer.from(data?.buffer as ArrayBuffer).equals(Buffer.from(values.buffer))).toBe(true)
})

it('large texts come back, and what is too large or no Unicode is refused', async () => {
  const path = join(folder, 'texts')
  for (const text of ['x'.repeat(2 ** 24), '"\\\n'.repeat(2 ** 20), '\u4e00\u{1f600}'.repeat(2 ** 20)]) {
    await saveSafetensors(path, { a: zeros([1]) }, { text })
    expect((await loadSafetensors(path)).metadata.text === text).toBe(true)
  }
  for (const metadata of [{ text: 'x'.repeat(2 ** 26) }, { text: '\ud800' }, { '\udc00': '' }]) {
    await expect(saveSafetensors(path, {}, metadata)).rejects.toMatchObject({ code: 'ERR_BPTT_VALUE' })
  }
  const notTexts = new Map([['a', 'b']]) as unknown as Record<string, string>
  await expect(saveSafetensors(path, {}, notTexts)).rejects.toMatchObject({ code: 'ERR_BPTT_TYPE' })
})

it('loads from a path, a URL, bytes of any kind and an open file; saves to all but bytes', async () => {
  const path = join(folder, 'a b%')
  const url = pathToFileURL(path)
  const first = (loaded: { tensors: Map<string, Tensor> }) => [
    ...(loaded.tensors.get('ours')?.dataSync() ?? []),
  ]
  await saveSafetensors(url, { ours: tensor([7]) })
  const bytes = bytesOf('U8', Uint8Array.of(1), [1])
  const buffer = Uint8Array.from(bytes).buffer
  const shared = new SharedArrayBuffer(bytes.length)
  new Uint8Array(shared).set(bytes)
  const foreign = runInNewContext(`Uint8Array.of(${[...bytes].join()})`) as Uint8Array
  for (const from of [path, url, bytes, buffer, new DataView(buffer), shared, foreign, foreign.buffer]) {
    expect(first(await loadSafetensors(from))).toEqual([7])
  }
  const file = await open(path, 'r+')
  await file.read(Buffer.alloc(3), 0, 3)
  expect(first(await loadSafetensors(file))).toEqual([7])
  await Promise.all([
    saveSafetensors(file, { big: zeros([999]) }),
    saveSafetensors(file, { ours: tensor([8]) }),
  ])
  expect(first(await loadSafetensors(file))).toEqual([8])
  await file.close()
  expect(first(await loadSafetensors(path))).toEqual([8])
})

it('refuses what is no place of a file', async () => {
  writeFileSync(join(folder, 'text'), 'text')
  const load = loadSafetensors as (from: unknown) => Promise<unknown>
  for (const from of [3, null, undefined, {}, [], true]) {
    await expect(load(from)).rejects.toMatchObject({ code: 'ERR_BPTT_TYPE' })
  }
  for (const from of ['', 'a\0b', new URL('http://localhost/a')]) {
    await expect(load(from)).rejects.toMatchObject({ code: 'ERR_BPTT_VALUE' })
  }
  for (const from of [folder, Buffer.from('text'), Buffer.from(join(folder, 'text')), new Uint8Array(0)]) {
    await expect(load(from)).rejects.toMatchObject({ code: 'ERR_BPTT_FORMAT' })
  }
})

it('a header of depth, of many keys or of a long list is refused at once', async () => {
  for (const json of [
    '{"a":'.repeat(2 ** 20),
    `{"a":${'['.repeat(2 ** 20)}`,
    `{"a":{"shape":[${'1,'.repeat(2 ** 20)}`,
  ]) {
    const size = Buffer.alloc(8)
    size.writeBigUInt64LE(BigInt(json.length))
    const bytes = Buffer.concat([size, Buffer.from(json)])
    await expect(loadSafetensors(bytes)).rejects.toMatchObject({ code: 'ERR_BPTT_FORMAT' })
  }
})
