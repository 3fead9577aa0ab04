/** Runs a recurrent case by the library. */
import { parameterShapes } from '../../lib/cells.ts'
import {
  type Compute,
  type Device,
  type FloatDType,
  GRU,
  LSTM,
  manualSeed,
  noGrad,
  RNN,
  type Tensor,
  tensor,
  tidy,
} from '../../lib/index.ts'
import { type Config, complete, type RecurrentCase, stackOf } from './recurrent.ts'
import type { DType, Results } from './tolerance.ts'

type AnyLayer = RNN<FloatDType> | LSTM<FloatDType> | GRU<FloatDType>

export function makeLayer(
  config: Config,
  dtype: DType,
  device: Device = 'cpu',
  compute: Compute | null = null,
): AnyLayer {
  const { cell, I, H, P, L, bidirectional, bias, batchFirst, dropout } = complete(config)
  const options = { numLayers: L, bidirectional, bias, batchFirst, dropout, compute, dtype, device }
  if (cell === 'lstm' || cell === 'lstmPeephole')
    return new LSTM(I, H, { ...options, projSize: P, peephole: cell === 'lstmPeephole' })
  if (cell === 'gru' || cell === 'gruResetBefore')
    return new GRU(I, H, { ...options, resetAfter: cell === 'gru' })
  return new RNN(I, H, { ...options, nonlinearity: cell === 'rnnTanh' ? 'tanh' : 'relu' })
}

/** A view that starts one element into its buffer, so that it is aligned to no more than an element. */
export function viewOf(values: ArrayLike<number>, dtype: DType): Float32Array | Float64Array {
  const ArrayType = dtype === 'float32' ? Float32Array : Float64Array
  const view = new ArrayType(values.length + 1).subarray(1)
  view.set(values)
  return view
}

export interface Wanted {
  /** Names whose gradients are wanted; all by default. The others do not require grad. */
  gradients?: (name: string) => boolean
  /** Which of output, hn and cn the loss depends on; all by default. */
  through?: (name: string) => boolean
  /** Of the random generator, set right before forward. */
  seed?: number
  /** Whether dropout acts; true by default. */
  training?: boolean
  /** Whether to run forward under noGrad: no gradients then. */
  plain?: boolean
  /** Default 'cpu'. */
  device?: Device
  /** Of the layer; none by default. */
  compute?: Compute
}

/** Keyed as the reference's results: output, hn, cn, grad.NAME. */
export async function runLibrary(given: RecurrentCase, dtype: DType, wanted: Wanted = {}): Promise<Results> {
  const { through = () => true, seed = 0, training = true, plain = false, device = 'cpu' } = wanted
  const gradients = wanted.gradients ?? (() => true)
  const layer = makeLayer(given.config, dtype, device, wanted.compute)
  const make = (name: string, requiresGrad = false): Tensor => {
    const values = viewOf(given.values.get(name) as Float64Array, dtype)
    return tensor(values, given.shapes.get(name) as number[], { requiresGrad, device })
  }
  const { leaves, results } = tidy(() => {
    const parameters = [...parameterShapes(stackOf(given.config)).keys()]
    layer.loadStateDict(new Map(parameters.map((name) => [name, make(name)])))
    const leaves = new Map<string, Tensor>(layer.namedParameters())
    for (const [name, parameter] of leaves) parameter.requiresGrad = gradients(name)
    for (const name of ['input', 'h0', 'c0'])
      if (given.values.has(name)) leaves.set(name, make(name, gradients(name)))
    const input = leaves.get('input') as Tensor
    const [h0, c0, lengths] = [leaves.get('h0'), leaves.get('c0'), given.config.lengths]
    const options = { ...(h0 && { h0 }), ...(c0 && { c0 }), ...(lengths && { lengths }) }
    if (!training) layer.eval()
    manualSeed(seed)
    const forward = () => layer.forward(input, options) as object as Record<string, Tensor>
    const results = plain ? noGrad(forward) : forward()
    const terms = Object.entries(results).filter(([name]) => through(name))
    const loss = terms
      .map(([name, value]) => value.mul(make(`d_${name}`)).sum())
      .reduce((sum, term) => sum.add(term))
    if (loss.requiresGrad) loss.backward()
    return { leaves, results }
  })
  const named = Object.entries(results)
  for (const [name, { grad }] of leaves) if (grad) named.push([`grad.${name}`, grad])
  const data = new Map<string, Float32Array | Float64Array>()
  for (const [name, value] of named) data.set(name, (await value.data()) as Float32Array)
  for (const value of [...Object.values(results), ...leaves.values()]) value.dispose()
  layer.dispose()
  return data
}

/** A short name for a case. */
export function describeConfig(config: Config): string {
  const { cell, T, B, I, H, P, L, bidirectional, bias, batchFirst, states, lengths, dropout } =
    complete(config)
  return [
    cell,
    `T${T} B${B} I${I} H${H}${P ? ` P${P}` : ''} L${L}`,
    ...(bidirectional ? ['bidirectional'] : []),
    ...(bias ? [] : ['no bias']),
    ...(batchFirst ? ['batch first'] : []),
    ...(states ? [] : ['no states']),
    ...(dropout ? [`dropout ${dropout}`] : []),
    ...(lengths ? [`lengths ${lengths}`] : []),
  ].join(' ')
}
