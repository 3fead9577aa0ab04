/** Callers of the addon that are not this library: an error with a code, never a crash or a wrong read. */
import { beforeAll, describe, expect, it } from 'vitest'
import { type Handle, type Native, native } from '../lib/binding.ts'
import { randn } from '../lib/index.ts'

const CPU = -1
const INTERNAL = expect.objectContaining({ code: 'ERR_BPTT_INTERNAL' })
let addon: Native
beforeAll(() => {
  addon = native()
})

const floats = (count: number): Handle => {
  const handle = addon.allocate(CPU, count * 4)
  addon.fill(0, count, 0.5, handle)
  return handle
}
const read = (handle: Handle, count: number) => new Float32Array(addon.readSync(handle, count * 4))

/** A list whose last element is found by a getter that runs `during`. */
function trap<T>(items: T[], during: () => void): T[] {
  const list = [...items]
  const last = items.length - 1
  Object.defineProperty(list, last, {
    get: () => {
      during()
      return items[last]
    },
  })
  return list
}

describe('a getter in a list', () => {
  const hyper = () => Float64Array.from({ length: 15 }, (_, i) => (i === 0 ? 0.1 : 0)) // a rule
  const step = () => {
    const handle = addon.allocate(CPU, 8)
    addon.fill(1, 1, 0, handle)
    return handle
  }
  const none = [null, null, null, null, null, null]
  const one = (members: number) => Float64Array.of(0, members) // cohort, of float32

  it('that releases what the list held before it', () => {
    const [a, b, da, db] = [floats(1 << 16), floats(4), floats(1 << 16), floats(4)]
    const gradients = trap([da, db], () => addon.release(a))
    expect(() =>
      addon.optimize(0, hyper(), one(2), [step()], Float64Array.of(1 << 16, 4), [a, b], gradients, none),
    ).toThrow(expect.objectContaining({ code: 'ERR_BPTT_DISPOSED' }))
    expect([...read(b, 4)]).toEqual([0.5, 0.5, 0.5, 0.5])
  })

  it('that calls another op in between', () => {
    const [a, b, da, db, other] = [floats(4), floats(4), floats(4), floats(4), floats(4)]
    const gradients = trap([da, db], () => addon.unary(0, 0, 0, 0, 4, other, other))
    addon.optimize(0, hyper(), one(2), [step()], Float64Array.of(4, 4), [a, b], gradients, none)
    for (const handle of [a, b]) for (const value of read(handle, 4)) expect(value).toBeCloseTo(0.45, 6)
  })

  it('that takes away the buffer of the sizes', () => {
    const sizes = Float64Array.of(4, 4)
    const gradients = trap([floats(4), floats(4)], () =>
      structuredClone(sizes.buffer, { transfer: [sizes.buffer] }),
    )
    addon.gradNorm(0, sizes, gradients, floats(1))
    addon.clipGrads(
      0,
      Float64Array.of(4, 4),
      trap([floats(4), floats(4)], () => addon.release(gradients[0] as Handle)),
      1,
      floats(1),
    )
  })

  it('among the weights of a layer', () => {
    const desc = Float64Array.of(0, 0, 1, 1, 2, 3, 0, 1, 1, 1, 0, 0, 0, 0)
    const weights = [6, 9, 3, 3].map(floats)
    const x = floats(2)
    const list = trap(weights, () => addon.release(weights[0] as Handle))
    Object.defineProperty(list, 2, {
      get: () => {
        addon.release(weights[1] as Handle)
        return weights[2]
      },
    })
    const disposed = expect.objectContaining({ code: 'ERR_BPTT_DISPOSED' })
    expect(() =>
      addon.recurrentForward(desc, list, null, floats(3), null, 0, 0, 0, x, null, null, null, null),
    ).toThrow(disposed)
    expect(() => addon.createStepper(desc, list, 1)).toThrow(disposed)
  })

  it('is of a cohort, and of one', () => {
    const optimize = (...cohorts: number[]) =>
      addon.optimize(
        0,
        Float64Array.from({ length: 15 * (cohorts.length >> 1) }, () => 0),
        Float64Array.from(cohorts),
        Array.from({ length: cohorts.length >> 1 }, () => addon.allocate(CPU, 8)),
        Float64Array.of(4, 4),
        [floats(4), floats(4)],
        [floats(4), floats(4)],
        new Array(6).fill(null),
      )
    for (const cohorts of [[], [0, 1], [0, 3], [0, 2, 0, 1], [0, 1, 0], [2, 2], [0, 2 ** 53, 0, 2 ** 53]]) {
      expect(() => optimize(...cohorts), `${cohorts}`).toThrow(INTERNAL)
    }
    expect(() => addon.copyAll(Float64Array.of(0, 5), [floats(5)], [floats(4)])).toThrow(INTERNAL)
    const rows = (length: number) =>
      addon.optimize(
        0,
        new Float64Array(length),
        one(1),
        [step()],
        Float64Array.of(4),
        [floats(4)],
        [floats(4)],
        [null, null, null],
      )
    for (const length of [0, 14, 30]) expect(() => rows(length), `${length}`).toThrow(INTERNAL)
    optimize(0, 1, 0, 1)
  })

  it('is not asked for in a list that is too long', () => {
    const holes = new Array<Handle>(2 ** 32 - 1)
    expect(() =>
      addon.optimize(0, hyper(), one(1), [step()], Float64Array.of(4), [floats(4)], holes, [
        null,
        null,
        null,
      ]),
    ).toThrow(INTERNAL)
    expect(() => addon.gradNorm(0, Float64Array.of(4), holes, floats(1))).toThrow(INTERNAL)
  })
})

describe('an output over the indices or targets of its op', () => {
  it.each([
    [
      'embedding',
      () => {
        const index = floats(64)
        addon.embedding(0, 64, 4, 1, floats(4), index, index)
      },
    ],
    [
      'embeddingBackward',
      () => {
        const index = floats(64)
        addon.embeddingBackward(0, 64, 4, 1, 4, index, floats(64), index)
      },
    ],
    [
      'crossEntropy, loss',
      () => {
        const target = floats(9)
        addon.crossEntropy(0, 0, 8, 4, 1, -1, floats(32), target, target, floats(9))
      },
    ],
    [
      'crossEntropy, lse',
      () => {
        const target = floats(9)
        addon.crossEntropy(0, 1, 8, 4, 1, -1, floats(32), target, floats(1), target)
      },
    ],
    [
      'crossEntropyBackward',
      () => {
        const target = floats(32)
        addon.crossEntropyBackward(0, 1, 8, 4, 1, -1, floats(32), target, floats(9), floats(1), target)
      },
    ],
  ])('%s', (_, run) => {
    expect(run).toThrow(INTERNAL)
  })
})

it('lengths in shared memory are copied before they are checked', () => {
  // What a race does in a moment, done in slow motion: the plan keeps what was checked.
  const lengths = new Int32Array(new SharedArrayBuffer(8))
  lengths.set([1, 1])
  const desc = Float64Array.of(0, 0, 2, 2, 2, 3, 0, 1, 1, 1, 0, 0, 0, 0)
  const y = floats(12)
  addon.recurrentForward(
    desc,
    [6, 9, 3, 3].map(floats),
    lengths,
    y,
    null,
    0,
    0,
    0,
    floats(8),
    null,
    null,
    null,
    null,
  )
  lengths.set([2 ** 30, 2 ** 30])
  expect([...read(y, 12).subarray(6)]).toEqual([0, 0, 0, 0, 0, 0])
})

it('the class ArrayBuffer may be replaced, and others may throw', async () => {
  const { ArrayBuffer: original } = globalThis
  const x = randn([2])
  try {
    globalThis.ArrayBuffer = class {
      constructor() {
        throw new Error('not mine')
      }
    } as never
    expect(x.dataSync()).toHaveLength(2)
  } finally {
    globalThis.ArrayBuffer = original
  }
})

it('a handle names nothing after as many owners of its slot as a generation counts', () => {
  const stale = addon.allocate(CPU, 4)
  addon.release(stale)
  for (let i = 0; i < 2 ** 22; i++) addon.release(addon.allocate(CPU, 4))
  const other = floats(1)
  expect(() => addon.readSync(stale, 4)).toThrow(expect.objectContaining({ code: 'ERR_BPTT_DISPOSED' }))
  expect([...read(other, 1)]).toEqual([0.5])
})
