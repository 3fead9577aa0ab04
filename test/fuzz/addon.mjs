/**
 * Calls every function of the addon with random arguments, mostly near to what it expects, in a
 * process of its own: it may throw errors with a code, and nothing else.
 */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const [count = '2000', seed = '1', child] = process.argv.slice(2)
const SKIPPED = ['setErrorClass', 'measureMultiplyAdds', 'measureReads'] // of no memory, or slow

if (!child) {
  const args = [fileURLToPath(import.meta.url), count, seed, 'child']
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) {
    console.error(`${signal ?? status}: ${stderr}\nlast calls:\n${stdout.split('\n').slice(-6).join('\n')}`)
    process.exit(1)
  }
  console.log(stdout.trimEnd().split('\n').at(-1))
} else {
  await run(Number(count), Number(seed))
}

async function run(calls, start) {
  const require = createRequire(import.meta.url)
  const addon = require('node-gyp-build')(fileURLToPath(new URL('../..', import.meta.url)))
  let state = start >>> 0 || 1
  const random = (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
  const pick = (list) => list[random(list.length)]
  const handles = Array.from({ length: 12 }, (_, i) => addon.allocate(-1, 4 << i))
  const steppers = [
    addon.createStepper(
      Float64Array.of(0, 0, 1, 1, 2, 3, 0, 1, 1, 0, 0, 0, 0, 0),
      [handle(64), handle(64)],
      1,
    ),
  ]
  function handle(bytes) {
    const made = addon.allocate(-1, bytes)
    handles.push(made)
    return made
  }
  // Sizes stay small, or are too large for any storage; loops over nothing stay short.
  const number = () =>
    pick([0, 1, 1, 2, 3, 4, 5, 8, 16, 17, 64, -1, 0.5, NaN, Infinity, 2 ** 31, 2 ** 53, 2 ** 60])
  const small = () => pick([0, 1, 1, 2, 2, 3, 4, 8])
  const layout = () => Float64Array.from({ length: random(30) }, () => (random(12) ? small() : number()))
  const layer = () =>
    Float64Array.of(
      random(5),
      random(2),
      small(),
      small(),
      small(),
      1 + random(5),
      0,
      1 + random(2),
      1 + random(2),
      random(2),
      random(2),
      random(2),
      0,
      0,
    )
  const list = () => {
    const items = Array.from({ length: random(12) }, () => (random(4) ? pick(handles) : null))
    if (random(4) === 0 && items.length > 0) {
      const at = random(items.length)
      const value = items[at]
      Object.defineProperty(items, at, {
        get() {
          addon.release(pick(handles))
          if (random(2)) call()
          return value
        },
      })
    }
    return items
  }
  const value = () => {
    switch (random(13)) {
      case 0:
        return number()
      case 1:
      case 2:
      case 3:
        return small()
      case 4:
      case 5:
      case 6:
      case 7:
        return pick(handles)
      case 8:
        return random(2) ? layout() : layer()
      case 9:
        return list()
      case 10:
        return pick([null, undefined, true, false, 'text', {}, Symbol.iterator, 1n, () => {}])
      case 11:
        return pick([
          new Float32Array(random(40)),
          new Int32Array(new SharedArrayBuffer(4 * random(8))),
          new DataView(new ArrayBuffer(9)),
          new BigInt64Array(2),
        ])
      default:
        return pick(steppers)
    }
  }
  // Kinds of the arguments: n size, h handle, m handle or null, l layout, d layer, s list, v view, b boolean, p stepper.
  const shapes = {
    fill: 'nnnh',
    unary: 'nnnnnhh',
    unaryBackward: 'nnnnnhhh',
    binary: 'nnlhhh',
    compare: 'nnlhhh',
    convert: 'nnnhh',
    maskedCopy: 'nlhhh',
    copy: 'nlhh',
    copyAll: 'lss',
    dropout: 'nnnnnhh',
    uniform: 'nnnnnnh',
    normal: 'nnnnnnh',
    sum: 'nlnhh',
    softmax: 'nnnnnhh',
    softmaxBackward: 'nnnnnhhh',
    layerNorm: 'nnnnhmmhmm',
    layerNormBackward: 'nnnhmhhhmmm',
    matmul: 'nlhhmh',
    extreme: 'nnnnnhmh',
    sort: 'nnnnnnhhh',
    cumsum: 'nnnnnhh',
    gather: 'nnnnnnhhh',
    scatterAdd: 'nnnnnnhmhh',
    fold: 'nnnnnnhh',
    embedding: 'nnnnhhh',
    embeddingBackward: 'nnnnnhhh',
    crossEntropy: 'nnnnnnhhhh',
    crossEntropyBackward: 'nnnnnnhhhhh',
    pairwiseLoss: 'nnnnhhh',
    pairwiseLossBackward: 'nnnnhhhmm',
    ctcLoss: 'nnnnnnnnhhhhm',
    ctcLossBackward: 'nnnnnnnhhhhhh',
    optimize: 'nllslsss',
    gradNorm: 'nlsh',
    clipGrads: 'nlsnm',
    packedBytes: 'dn',
    recurrentForward: 'dsvhmnnnhmmmm',
    recurrentBackward: 'sdsvhmnnnhmmmmmmmmhb',
    createStepper: 'dsn',
    updateSteppers: 'pdsn',
    stepperBytes: 'p',
    step: 'pnvv',
    getStepperState: 'pvv',
    setStepperState: 'pvv',
    resetStepper: 'pv',
    releaseStepper: 'p',
    upload: 'hv',
    read: 'hn',
    readSync: 'hn',
    release: 'h',
    allocate: 'nn',
    synchronize: 'n',
    setNumThreads: 'n',
    stats: 'n',
  }
  const kinds = {
    n: small,
    h: () => pick(handles),
    m: () => (random(2) ? pick(handles) : null),
    l: layout,
    d: layer,
    s: list,
    v: () => pick([null, new Float32Array(random(40)), Int32Array.from({ length: small() }, small)]),
    b: () => random(2) === 0,
    p: () => pick(steppers),
  }
  const names = Object.keys(addon).filter((name) => !SKIPPED.includes(name))
  let depth = 0
  let errors = 0
  const waiting = []
  function call() {
    if (depth > 2) return
    depth++
    const name = pick(names)
    const args = Array.from(shapes[name] ?? '', (kind) => (random(20) ? kinds[kind]() : value()))
    // Terabytes that the system promises and nobody touches would be no failure.
    if (name === 'allocate')
      args.splice(0, 2, random(9) ? -1 : value(), random(9) ? random(1 << 12) : number())
    if (name === 'setNumThreads') args[0] = 1 + random(4)
    try {
      const result = addon[name](...args)
      if (result instanceof Promise) waiting.push(result.catch(check))
      else if (name === 'createStepper') steppers.push(result)
      else if (
        result !== null &&
        typeof result === 'object' &&
        !(result instanceof ArrayBuffer) &&
        ['allocate', 'recurrentForward'].includes(name)
      )
        handles[random(handles.length)] = result
    } catch (error) {
      check(error)
    }
    depth--
  }
  function check(error) {
    errors++
    if (!error.code?.startsWith('ERR_BPTT_')) throw error
  }
  for (let i = 0; i < calls; i++) {
    call()
    if (i % 500 === 499) await Promise.all(waiting.splice(0))
    if (handles.length < 60 || random(50) === 0)
      handles[random(64) % (handles.length + 1)] = addon.allocate(-1, random(1 << 10))
  }
  await Promise.all(waiting)
  await addon.synchronize(-1).catch(check)
  console.log(`${calls} calls of ${names.length} functions, ${errors} refused`)
}
