/** The recurrent layers against the float64 reference: every cell, type and option, awkward sizes. */

import { describe, expect, it } from 'vitest'
import { CELL_NAMES as cells, hasC } from '../lib/cells.ts'
import { info, randn, type Tensor } from '../lib/index.ts'
import { dropoutMask } from '../lib/reference/philox.ts'
import { generator } from '../lib/reference/uniform.ts'
import { describeConfig, makeLayer, runLibrary } from './support/library.ts'
import { type Config, makeCase, runReference } from './support/recurrent.ts'
import { type DType, difference, expectClose, type Numbers, type Results } from './support/tolerance.ts'

const dtypes: DType[] = ['float32', 'float64']
const SIZES = [1, 3, 7, 8, 9, 17, 64, 129]

async function expectParity(config: Config, seed = 1): Promise<void> {
  const given = makeCase(config, seed)
  const expected = runReference(given)
  for (const dtype of dtypes) {
    const actual = await runLibrary(given, dtype)
    expectClose(actual, expected, dtype, { group: true })
    // Inference keeps less, in buffers of its own, and gives the same bits.
    for (const [name, values] of await runLibrary(given, dtype, { plain: true }))
      expect(difference(values, actual.get(name) as Numbers), `${name} under noGrad`).toBe(0)
  }
}

function parity(configs: Config[]): void {
  it.each(configs.map((config): [string, Config] => [describeConfig(config), config]))('%s', (_, config) =>
    expectParity(config, JSON.stringify(config).length))
}

it.runIf(process.env.BPTT_ISA)(`runs on the table that BPTT_ISA names: ${process.env.BPTT_ISA}`, () => {
  expect(info().isa).toBe(process.env.BPTT_ISA)
})

describe.each(cells)('sizes: %s', (cell) => {
  const at = (i: number) => SIZES[i % SIZES.length] as number
  const small = (i: number) => Math.min(at(i), 17)
  const configs: Config[] = SIZES.flatMap(
    (H, i) =>
      // Every hidden size with three input sizes; batch and time take turns. Only one of the four is large.
      [1, 4, 6].map((shift, j) => {
        const I = H > 17 ? small(i + shift) : at(i + shift)
        const big = H > 17 || I > 17
        return {
          cell,
          H,
          I,
          B: big ? [1, 3, 7][j] : small(i + 2 * j + 3),
          T: big ? [3, 7, 1][j] : small(i + 3 * j + 1),
        }
      }) as Config[],
  )
  configs.push(
    { cell, T: 3, B: 129, I: 3, H: 8 },
    { cell, T: 2, B: 64, I: 8, H: 17 },
    { cell, T: 129, B: 2, I: 3, H: 7 },
  )
  configs.push({ cell, T: 2, B: 2, I: 129, H: 64 }, { cell, T: 3, B: 3, I: 64, H: 129, L: 2 })
  if (hasC(cell))
    for (const [H, P] of [
      [3, 1],
      [8, 7],
      [9, 3],
      [17, 8],
      [64, 17],
      [129, 64],
    ] as const)
      configs.push({ cell, T: 4, B: 3, I: 5, H, P })
  parity(configs)
})

describe.each(cells)('beyond every block and chunk: %s', (cell) => {
  const ragged = (B: number, T: number) => Array.from({ length: B }, (_, b) => (b * 29 + 5) % (T + 1))
  const configs: Config[] = [
    { cell, T: 40, B: 33, I: 65, H: 66, bidirectional: true, lengths: ragged(33, 40) }, // many chunks of time, many blocks of rows
    { cell, T: 300, B: 3, I: 3, H: 5, L: 2, bidirectional: true, lengths: [300, 7, 299] },
    { cell, T: 4, B: 70, I: 9, H: 200, batchFirst: true },
    { cell, T: 2, B: 2, I: 1100, H: 9 },
    { cell, T: 2, B: 1, I: 9, H: 600 },
    { cell, T: 1, B: 700, I: 7, H: 3, L: 2 },
  ]
  if (hasC(cell))
    configs.push({ cell, T: 30, B: 33, I: 9, H: 130, P: 70, bidirectional: true, lengths: ragged(33, 30) })
  parity(configs)
})

describe.each(cells)('options: %s', (cell) => {
  const uniform = generator(3)
  const configs: Config[] = []
  for (const L of [1, 2, 3])
    for (const bidirectional of [false, true])
      for (const P of hasC(cell) ? [0, 3] : [0])
        for (const lengths of [undefined, [3, 0, 5, 1, 6], [6, 6, 5, 5, 0], [0, 0, 0, 0, 0]])
          for (const bias of [true, false])
            for (const batchFirst of [false, true])
              for (const states of [true, false]) {
                const [T, B] = [6, 5]
                const [I, H] = [
                  [7, 9],
                  [3, 8],
                  [9, 17],
                ][Math.floor(uniform() * 3)] as [number, number]
                // Every pair of options still meets: half of the combinations, by parity.
                const odd = Number(bidirectional) + Number(bias) + Number(batchFirst) + Number(states) + L
                if (odd % 2 === 0 || (lengths !== undefined && L < 3))
                  configs.push({
                    cell,
                    T,
                    B,
                    I,
                    H,
                    P,
                    L,
                    bidirectional,
                    bias,
                    batchFirst,
                    states,
                    lengths,
                  } as Config)
              }
  parity(configs)
})

describe.each(cells)('gradients: %s', (cell) => {
  const config: Config = { cell, T: 5, B: 4, I: 7, H: 9, L: 2, bidirectional: true, lengths: [2, 5, 0, 4] }
  const given = makeCase(config, 11)
  const all = runReference(given)

  it.each(dtypes)('only those asked for are computed (%s)', async (dtype) => {
    for (const kept of [
      'input',
      'h0',
      ...(hasC(config.cell) ? ['c0'] : []),
      'weight_ih_l0',
      'weight_hh_l1_reverse',
      'bias_ih_l1',
    ]) {
      const actual = await runLibrary(given, dtype, { gradients: (name) => name === kept })
      const expected = new Map(
        [...all].filter(([name]) => !name.startsWith('grad.') || name === `grad.${kept}`),
      )
      expectClose(actual, expected, dtype, { group: true })
    }
    const weights = await runLibrary(given, dtype, { gradients: (name) => name.startsWith('weight') })
    expectClose(
      weights,
      new Map([...all].filter(([name]) => !/^grad\.(input|h0|c0|bias)/.test(name))),
      dtype,
      { group: true },
    )
    const none = await runLibrary(given, dtype, { gradients: () => false })
    expectClose(none, new Map([...all].filter(([name]) => !name.startsWith('grad.'))), dtype, { group: true })
  })

  it.each([
    'output',
    'hn',
    ...(hasC(config.cell) ? ['cn'] : []),
  ])('flow through %s alone', async (through) => {
    const only = makeCase(config, 11)
    for (const name of ['output', 'hn', 'cn']) if (name !== through) only.values.get(`d_${name}`)?.fill(0)
    const expected = runReference(only)
    for (const dtype of dtypes) {
      const actual = await runLibrary(given, dtype, { through: (name) => name === through })
      expectClose(actual, expected, dtype, { group: true })
    }
  })
})

describe.each(cells)('dropout: %s', (cell) => {
  const config: Config = { cell, T: 6, B: 5, I: 3, H: 9, L: 3, bidirectional: true, lengths: [3, 0, 6, 1, 6] }
  /** What layers 0 and 1 are masked with: Philox over [T,B,D*H] at the generator's offset, one range per layer. */
  const masksOf = (dropout: number, seed: number) => {
    const size = 6 * 5 * 2 * 9
    return [0, 1].map((layer) =>
      dropoutMask(dropout, BigInt(seed), BigInt(layer * Math.ceil(size / 4)), size),
    )
  }

  it.each([
    0.1, 0.5, 0.9, 1,
  ])('p = %d masks what goes from layer to layer, forward and backward', async (dropout) => {
    for (const seed of [1, 2 ** 40 + 12345])
      for (const batchFirst of [false, true]) {
        const given = makeCase({ ...config, dropout, batchFirst }, 51)
        const expected = runReference(given, masksOf(dropout, seed))
        for (const dtype of dtypes)
          expectClose(await runLibrary(given, dtype, { seed }), expected, dtype, { group: true })
      }
  })

  it('is off in eval mode', async () => {
    const given = makeCase({ ...config, dropout: 0.5 }, 52)
    const actual = await runLibrary(given, 'float32', { training: false })
    expectClose(actual, runReference(given), 'float32', { group: true })
  })

  it('does not touch a single layer', async () => {
    const given = makeCase({ ...config, L: 1, dropout: 0.5 }, 53)
    expectClose(await runLibrary(given, 'float32'), runReference(given), 'float32', { group: true })
  })
})

describe.each(cells)('edges: %s', (cell) => {
  it.each([
    ['no time', { T: 0, B: 3 }],
    ['no rows', { T: 4, B: 0 }],
    ['neither', { T: 0, B: 0 }],
  ])('%s', async (_, sizes) => {
    for (const batchFirst of [false, true])
      for (const lengths of [undefined, new Array(sizes.B).fill(0)])
        await expectParity({
          cell,
          ...sizes,
          I: 3,
          H: 5,
          L: 2,
          bidirectional: true,
          batchFirst,
          lengths,
        } as Config)
  })

  it('padding of the input is never read', async () => {
    const lengths = [2, 6, 0, 4]
    for (const batchFirst of [false, true])
      for (const dtype of dtypes) {
        const config: Config = {
          cell,
          T: 6,
          B: 4,
          I: 3,
          H: 9,
          L: 2,
          bidirectional: true,
          batchFirst,
          lengths,
        }
        const given = makeCase(config, 21)
        const clean = runReference(given)
        const input = given.values.get('input') as Float64Array
        const dOutput = given.values.get('d_output') as Float64Array
        for (let t = 0; t < 6; t++)
          for (let b = 0; b < 4; b++)
            if (t >= (lengths[b] as number)) {
              const row = batchFirst ? b * 6 + t : t * 4 + b
              input.fill(t % 2 ? Number.NaN : Number.POSITIVE_INFINITY, row * 3, (row + 1) * 3)
              dOutput.fill(1e30, row * 18, (row + 1) * 18) // meets the zeros of the output's padding only
            }
        const actual = await runLibrary(given, dtype)
        expectClose(actual, clean, dtype, { group: true })
        const padding = (values: Results, name: string, width: number) => {
          const result: number[] = []
          for (let t = 0; t < 6; t++)
            for (let b = 0; b < 4; b++)
              if (t >= (lengths[b] as number))
                for (let j = 0; j < width; j++)
                  result.push(values.get(name)?.[(batchFirst ? b * 6 + t : t * 4 + b) * width + j] as number)
          return result
        }
        expect(padding(actual, 'output', 18).every((value) => value === 0)).toBe(true)
        expect(padding(actual, 'grad.input', 3).every((value) => value === 0)).toBe(true)
      }
  })

  it('without a batch the results are those of a batch of one', async () => {
    for (const batchFirst of [false, true]) {
      const layer = makeLayer(
        { cell, T: 5, B: 1, I: 3, H: 7, L: 2, bidirectional: true, batchFirst },
        'float32',
      )
      const [x, h0] = [randn([5, 3], { requiresGrad: true }), randn([4, 7], { requiresGrad: true })]
      const read = async (results: object) =>
        Promise.all(Object.values(results).map((value) => (value as Tensor | null)?.data() ?? null))
      const gradients = async (results: { output: Tensor }) => {
        x.zeroGrad()
        h0.zeroGrad()
        results.output.mul(results.output).sum().backward()
        return read([x.grad, h0.grad])
      }
      const plain = layer.forward(x, { h0 })
      const batch = layer.forward(x.reshape(batchFirst ? [1, 5, 3] : [5, 1, 3]), {
        h0: h0.reshape([4, 1, 7]),
      })
      expect(plain.output.shape).toEqual([5, 14])
      expect(plain.hn.shape).toEqual([4, 7])
      expect(await read(plain)).toEqual(await read(batch))
      expect(await gradients(plain)).toEqual(await gradients(batch))
    }
  })

  it('NaN in one row stays in that row', async () => {
    const config: Config = { cell, T: 4, B: 9, I: 3, H: 8 }
    const given = makeCase(config, 31)
    const expected = runReference(given).get('output') as Float64Array
    ;(given.values.get('input') as Float64Array).fill(Number.NaN, (1 * 9 + 5) * 3, (1 * 9 + 5) * 3 + 1) // t = 1, b = 5
    const output = (await runLibrary(given, 'float32')).get('output') as Float32Array
    for (let t = 0; t < 4; t++)
      for (let b = 0; b < 9; b++)
        for (let j = 0; j < 8; j++) {
          const value = output[(t * 9 + b) * 8 + j] as number
          if (b === 5 && t >= 1) expect(value).toBeNaN()
          else expect(Math.abs(value - (expected[(t * 9 + b) * 8 + j] as number))).toBeLessThan(1e-5)
        }
  })

  it('large and tiny inputs saturate without NaN', async () => {
    const given = makeCase({ cell, T: 3, B: 3, I: 3, H: 9 }, 41)
    const input = given.values.get('input') as Float64Array
    input.forEach((value, i) => {
      input[i] = Math.fround(value * ([1e30, 100, 1e-30, 1e-42][i % 4] as number))
    })
    if (cell === 'rnnRelu') return // grows without bound, as it must
    const expected = runReference(given)
    for (const name of ['output', 'hn', 'cn'])
      if (expected.has(name)) {
        const actual = (await runLibrary(given, 'float32')).get(name) as Float32Array
        expectClose(
          new Map([[name, actual]]),
          new Map([[name, expected.get(name) as Float64Array]]),
          'float32',
        )
      }
  })
})
