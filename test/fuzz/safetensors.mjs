/**
 * `node safetensors.mjs COUNT [SEED]`: damages good safetensors files, in header, length or data, and loads
 * each. It must be refused with ERR_BPTT_FORMAT, or be a file that JSON.parse and a few sums find right too.
 */
import { loadSafetensors } from '../../dist/index.js'

const count = Number(process.argv[2] ?? 2000)
let state = Number(process.argv[3] ?? 1) >>> 0
function below(n) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * n)
}
const pick = (list) => list[below(list.length)]

const BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
}
Object.assign(BYTES, { I32: 4, U32: 4, I64: 8, U64: 8 })
const TOKENS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '0',
  '-1',
  '1e3',
  '2.5',
  'null',
  '9007199254740993',
  ' ',
]
TOKENS.push(
  '"__metadata__"',
  '"__proto__"',
  '"dtype"',
  '"shape"',
  '"data_offsets"',
  '"C64"',
  '\\u0000',
  '\xff',
)

function good() {
  const header = below(2) ? { __metadata__: { note: 'x'.repeat(below(5)) } } : {}
  let end = 0
  for (let i = below(4); i >= 0; i--) {
    const dtype = pick(Object.keys(BYTES))
    const shape = Array.from({ length: below(4) }, () => below(4))
    const begin = end
    end += shape.reduce((a, b) => a * b, 1) * BYTES[dtype]
    header[`t${i}`] = { dtype, shape, data_offsets: [begin, end] }
  }
  return { json: Buffer.from(JSON.stringify(header)), data: Buffer.alloc(end, below(256)) }
}

function damaged({ json, data }) {
  for (let i = below(3); i > 0; i--) {
    const at = below(json.length)
    const token = Buffer.from(pick(TOKENS), 'latin1')
    json = Buffer.concat([json.subarray(0, at), token, json.subarray(at + below(2) * token.length)])
  }
  if (below(4) === 0) data = data.subarray(below(3))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(below(8) ? BigInt(json.length) : pick([0n, 1n, 2n ** 40n, 2n ** 64n - 1n]))
  const whole = Buffer.concat([size, json, data])
  return below(8) ? whole : whole.subarray(0, below(whole.length + 1))
}

/** Names of the tensors of a file that is right, as far as JSON.parse sees. */
function names(bytes) {
  const length = Number(bytes.readBigUInt64LE())
  const header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + length)))
  const { __metadata__: _, ...entries } = header
  const spans = Object.values(entries).map(({ data_offsets: [begin, end] }) => end - begin)
  if (spans.reduce((a, b) => a + b, 0) !== bytes.length - 8 - length) throw new Error('holes')
  for (const {
    dtype,
    shape,
    data_offsets: [begin, end],
  } of Object.values(entries)) {
    if (dtype in BYTES && shape.reduce((a, b) => a * b, 1) * BYTES[dtype] !== end - begin)
      throw new Error('span')
  }
  return Object.keys(entries).sort()
}

let loaded = 0
for (let i = 0; i < count; i++) {
  const bytes = below(10) ? damaged(good()) : damaged({ json: Buffer.from('{}'), data: Buffer.alloc(0) })
  try {
    const { tensors, skipped } = await loadSafetensors(bytes)
    loaded++
    const got = [...tensors.keys(), ...skipped.map(({ name }) => name)].sort()
    if (JSON.stringify(got) !== JSON.stringify(names(bytes))) throw new Error(`got ${got}`)
    for (const tensor of tensors.values()) {
      tensor.dataSync()
      tensor.dispose()
    }
  } catch (error) {
    if (error.code === 'ERR_BPTT_FORMAT') continue
    console.error(`case ${i}: ${bytes.toString('latin1')}\n`, error)
    process.exit(1)
  }
}
console.log(`${count} files: ${loaded} loaded, ${count - loaded} refused`)
