// Calls every function of the addon with arguments drawn at random from handles,
// numbers, arrays and things that are none of these. Every call must return or
// throw an error of the registered class; nothing may crash.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const addon = createRequire(import.meta.url)('node-gyp-build')(
  fileURLToPath(new URL('../..', import.meta.url)),
)

class Failure extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}
addon.setErrorClass(Failure)

let state = Number(process.argv[2] ?? 1)
function below(n) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * n)
}
const pick = (list) => list[below(list.length)]

const cpu = -1
const handles = []
for (const bytes of [0, 4, 8, 16, 64, 256, 1024, 65536]) {
  const handle = addon.allocate(cpu, bytes)
  addon.upload(handle, new Uint8Array(bytes))
  handles.push(handle)
}
const released = addon.allocate(cpu, 64)
addon.release(released)

const lstm = Float64Array.of(2, 0, 1, 2, 3, 4, 0, 1, 1, 1, 0, 0, 0, 0)
const weights = [4 * 4 * 3, 4 * 4 * 4, 16, 16].map((count) => addon.allocate(cpu, count * 4))
for (const handle of weights) addon.upload(handle, new Float32Array(12))
const stepper = addon.createStepper(lstm, weights, 1)

const small = () => pick([0, 1, 2, 3, 4, 7, 16])
const odd = () => pick([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 53, 2 ** 62, -(2 ** 40)])
const number = () => (below(8) === 0 ? odd() : small())
const handle = () => (below(12) === 0 ? pick([released, stepper]) : pick(handles))
const detached = new Float64Array(4)
structuredClone(detached, { transfer: [detached.buffer] })

function list(of) {
  return Array.from({ length: below(12) }, of)
}
function description() {
  const cell = below(5)
  const hidden = 1 + below(4)
  const projection = cell === 2 && below(3) === 0 ? below(hidden) : 0
  const flags = [below(2), below(2), below(2)]
  const numbers = [
    cell,
    below(2),
    below(4),
    below(4),
    below(4),
    hidden,
    projection,
    1 + below(2),
    1 + below(2),
    ...flags,
    0,
    below(8) === 0 ? below(4) : 0,
  ]
  if (below(4) === 0) numbers[below(14)] = number()
  if (numbers[3] === 2 ** 31) numbers[3] = 2 ** 45 // not one that memory might grant
  return Float64Array.from(numbers)
}
const anything = [
  number,
  number,
  number,
  handle,
  handle,
  () => null,
  () => undefined,
  () => below(2) === 0,
  () => 'text',
  () => ({}),
  () => Float64Array.from([below(3), ...list(number)]),
  () => Int32Array.from(list(small)),
  () => Float64Array.from(list(small)),
  () => new Float32Array(below(64)),
  () => new DataView(new ArrayBuffer(below(64))),
  () => detached,
  () => new Float32Array(new SharedArrayBuffer(32)),
  () => list(handle),
  () => list(() => (below(2) ? handle() : null)),
  description,
]

// Arguments of the right kinds get past the first checks.
const n = number
const h = handle
const maybe = () => (below(3) === 0 ? null : handle())
const dtype = () => below(4)
const layout = () => Float64Array.from([below(3), ...Array.from({ length: 12 }, small)])
const hyper = () =>
  Float64Array.from([
    ...Array.from({ length: 10 }, Math.random),
    ...Array.from({ length: 5 }, () => below(2)),
  ])
const sizes = (k) => Float64Array.from({ length: k }, small)
const handlesOf = (k) => Array.from({ length: k }, handle)
const count = 1 + below(3)
const weightList = () => Array.from({ length: pick([2, 4, 5, 8, 16]) }, maybe)
const lengths = () => (below(2) ? null : Int32Array.from(list(small)))
const recurrentCall = [description, weightList, lengths, h, maybe, n, n, n, h, maybe, maybe]
const stepHandle = () => (below(6) === 0 ? handle() : stepper)
const floats = () => new Float32Array(pick([0, 3, 6, 8, 16, 64]))
const shapes = {
  info: [],
  stats: [() => pick([cpu, cpu, 0, 3])],
  emptyCache: [() => pick([cpu, cpu, 0, 3])],
  cuda: [],
  setNumThreads: [() => pick([1, 2, 3, -1, 1e9])],
  getNumThreads: [],
  allocate: [() => pick([cpu, cpu, 0, 3]), () => pick([0, 1, 100, 1e6, 2 ** 50, 2 ** 53, -1, 1e300])],
  upload: [h, () => pick(anything)()],
  read: [h, n],
  readSync: [h, n],
  synchronize: [() => pick([cpu, 0])],
  fill: [dtype, n, n, h],
  unary: [dtype, () => below(26), Math.random, n, n, h, h],
  unaryBackward: [dtype, () => below(26), Math.random, n, n, h, h, h],
  binary: [dtype, () => below(7), layout, h, h, h],
  compare: [dtype, () => below(6), layout, h, h, h],
  convert: [dtype, dtype, n, h, h],
  maskedCopy: [dtype, layout, h, h, h],
  copy: [dtype, layout, h, h],
  copyAll: [
    () => Float64Array.from({ length: 2 * count }, (_, i) => (i % 2 ? small() : below(4))),
    () => handlesOf(count),
    () => handlesOf(count),
  ],
  dropout: [dtype, n, Math.random, n, n, h, h],
  uniform: [dtype, n, n, n, n, n, h],
  normal: [dtype, n, n, n, n, n, h],
  sum: [dtype, () => Float64Array.from([2, small(), small(), below(2), below(2)]), n, h, h],
  softmax: [dtype, () => below(2), n, n, n, h, h],
  softmaxBackward: [dtype, () => below(2), n, n, n, h, h, h],
  layerNorm: [dtype, n, n, Math.random, h, maybe, maybe, h, maybe, maybe],
  layerNormBackward: [dtype, n, n, h, maybe, h, h, h, maybe, maybe, maybe],
  matmul: [
    dtype,
    () =>
      Float64Array.from([
        ...Array.from({ length: 8 }, small),
        below(2),
        below(2),
        ...Array.from({ length: 8 }, small),
      ]),
    h,
    h,
    maybe,
    h,
  ],
  extreme: [dtype, () => below(2), n, n, n, h, maybe, h],
  sort: [dtype, () => below(2), n, n, n, n, h, h, h],
  cumsum: [dtype, () => below(2), n, n, n, h, h],
  gather: [dtype, () => below(4), n, n, n, n, h, h, h],
  scatterAdd: [dtype, () => below(4), n, n, n, n, h, maybe, h, h],
  fold: [dtype, () => below(5), n, n, n, n, h, h],
  embedding: [dtype, n, n, n, h, h, h],
  embeddingBackward: [dtype, n, n, n, n, h, h, h],
  crossEntropy: [dtype, () => below(3), n, n, n, n, h, h, h, h],
  crossEntropyBackward: [dtype, () => below(3), n, n, n, n, h, h, h, h, h],
  pairwiseLoss: [dtype, () => below(2), () => below(3), n, h, h, h],
  pairwiseLossBackward: [dtype, () => below(2), () => below(3), n, h, h, h, maybe, maybe],
  ctcLoss: [dtype, n, n, n, n, n, n, () => below(2), h, h, h, h, maybe],
  ctcLossBackward: [dtype, n, n, n, n, n, n, h, h, h, h, h, h],
  optimize: [
    () => below(8),
    hyper,
    () => Float64Array.of(below(2), count),
    () => handlesOf(1),
    () => sizes(count),
    () => handlesOf(count),
    () => handlesOf(count),
    () => Array.from({ length: 3 * count }, maybe),
  ],
  gradNorm: [dtype, () => sizes(count), () => handlesOf(count), h],
  clipGrads: [dtype, () => sizes(count), () => handlesOf(count), n, maybe],
  packedBytes: [description, () => pick([cpu, cpu, 0])],
  recurrentForward: [...recurrentCall, maybe, maybe],
  recurrentBackward: [
    weightList,
    ...recurrentCall,
    maybe,
    maybe,
    maybe,
    maybe,
    maybe,
    maybe,
    h,
    () => below(2) === 0,
  ],
  createStepper: [() => (below(2) ? lstm : description()), () => (below(2) ? weights : weightList()), n],
  updateSteppers: [
    stepHandle,
    () => (below(2) ? lstm : description()),
    () => (below(2) ? weights : weightList()),
    n,
  ],
  stepperBytes: [stepHandle],
  step: [stepHandle, n, floats, floats],
  getStepperState: [stepHandle, floats, () => (below(3) ? floats() : null)],
  setStepperState: [stepHandle, floats, () => (below(3) ? floats() : null)],
  resetStepper: [stepHandle, () => (below(2) ? null : Int32Array.from(list(n)))],
}
const skipped = ['release', 'releaseStepper', 'setErrorClass'] // they would take what the others need
const slow = ['measureMultiplyAdds', 'measureReads'] // they take as many seconds as they are told
const known = [...Object.keys(shapes), ...skipped, ...slow]
const missing = Object.keys(addon).filter((name) => !known.includes(name))
if (missing.length > 0) throw new Error(`no arguments for ${missing}`)

let returned = 0
let thrown = 0
let rejected = 0
function judge(error) {
  if (!(error instanceof Failure) || !/^ERR_BPTT_[A-Z]+$/.test(error.code) || error.message.length < 5)
    throw error
}
for (const name of skipped) {
  for (const value of [undefined, null, 1, {}, 'x', name === 'release' ? stepper : handles[1]]) {
    try {
      addon[name](value)
      throw new Error(`${name}(${value}) returned`)
    } catch (error) {
      judge(error)
    }
  }
}
addon.release(released)
const rounds = Number(process.argv[3] ?? 400)
for (let round = 0; round < rounds; ++round) {
  for (const [name, shape] of Object.entries(shapes)) {
    const values = shape.map((make) => make())
    if (below(4) === 0) {
      for (let i = below(3); i < Math.max(3, values.length); i += 1 + below(4)) values[i] = pick(anything)()
    }
    if (below(40) === 0) values.length = below(values.length + 1)
    try {
      const result = addon[name](...values)
      ++returned
      if (result instanceof Promise) {
        result.catch((error) => {
          ++rejected
          judge(error)
        })
      }
    } catch (error) {
      ++thrown
      judge(error)
    }
  }
  if (round % 20 === 0) await addon.synchronize(cpu).catch(judge)
}
await addon.synchronize(cpu).catch(judge)
addon.releaseStepper(stepper)
addon.releaseStepper(stepper)
console.log(JSON.stringify({ returned, thrown, rejected }))
