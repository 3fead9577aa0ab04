/** Gradients and sums over many rows, by the float64 reference or plain float64 sums. */

import { embedding, full, linear, type Tensor, tensor } from 'bptt'
import { describe, it } from 'vitest'
import { CELL_NAMES as cells, hasC } from '../lib/cells.ts'
import { generator } from '../lib/reference/uniform.ts'
import { describeConfig, runLibrary } from './support/library.ts'
import { type Config, makeCase, runReference } from './support/recurrent.ts'
import { expectManyRows, expectSaturated, type Numbers, type Results } from './support/tolerance.ts'

const values = (n: number, seed: number) => {
  const uniform = generator(seed)
  return Float32Array.from({ length: n }, () => 2 * uniform() - 1)
}

async function expectGradients(config: Config, scale = 1, check = expectManyRows): Promise<void> {
  const given = makeCase(config, 5)
  const input = given.values.get('input') as Float64Array
  input.forEach((value, i) => {
    input[i] = Math.fround(value * scale)
  })
  const parameters = (results: Results) =>
    new Map([...results].filter(([name]) => /^grad\.(weight|bias)/.test(name)))
  check(parameters(await runLibrary(given, 'float32')), parameters(runReference(given)))
}

describe.each(cells)('%s', (cell) => {
  const small = { cell, I: 4, H: 8, ...(hasC(cell) && { P: 5 }) }
  const configs: Config[] = [
    { ...small, T: 20_000, B: 2 },
    { ...small, T: 250, B: 256 },
  ]
  it.each(configs.map((config): [string, Config] => [describeConfig(config), config]))('%s', (_, config) =>
    expectGradients(config))
  if (cell !== 'rnnRelu')
    it('saturated units', () => expectGradients({ ...small, T: 200, B: 50 }, 1e3, expectSaturated))
})

describe('sums over rows', () => {
  const N = 70_000
  const columns = 12
  const plain = (x: ArrayLike<number>) => {
    const sums = new Array<number>(columns).fill(0)
    for (let i = 0; i < x.length; i++) sums[i % columns] = (sums[i % columns] as number) + (x[i] as number)
    return sums
  }
  const near = (name: string, actual: Tensor | null, expected: Numbers) => {
    if (actual === null) throw new Error(`${name} is missing`)
    expectManyRows(new Map([[name, actual.dataSync()]]), new Map([[name, expected]]))
  }

  it('of columns and of all', () => {
    const x = values(N * columns, 1)
    near('columns', tensor(x, [N, columns]).sum(0), plain(x))
    near('constant', full([3_200_000], 0.1).sum(), [3_200_000 * Math.fround(0.1)])
    near('constant columns', full([N, columns], 0.1).sum(0), new Array(columns).fill(N * Math.fround(0.1)))
  })

  it('of linear layers and embeddings', () => {
    const [x, d] = [values(N * columns, 2), values(N, 3)]
    const weight = full([1, columns], 0.5, { requiresGrad: true })
    const bias = full([1], 0, { requiresGrad: true })
    linear(tensor(x, [N, columns]), weight, bias).backward(tensor(d, [N, 1]))
    const products = Float64Array.from(x, (value, i) => value * (d[Math.floor(i / columns)] as number))
    near('weight', weight.grad, plain(products))
    near('bias', bias.grad, [Float64Array.from(d).reduce((sum, value) => sum + value, 0)])
    const table = full([2, columns], 0, { requiresGrad: true })
    embedding(tensor(new Int32Array(N)), table).backward(tensor(x.map(Math.abs), [N, columns]))
    near('embedding', table.grad, [...plain(x.map(Math.abs)), ...new Array<number>(columns).fill(0)])
  })
})
