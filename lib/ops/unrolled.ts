/**
 * Recurrent layers made of ops of the tape, step by step: backward runs them where gradients are differentiated again
 * (createGraph). The same function as recurrent.ts, but slow. Equations and names as in docs/equations.md.
 */
import { view } from '../autograd.ts'
import { type CellName, type CellStack, hasC, outputSize, parameterShapes, suffixes } from '../cells.ts'
import { tensor, zeros } from '../create.ts'
import { countersFor } from '../random.ts'
import type { Tensor } from '../tensor.ts'
import { dropped } from './dropout.ts'
import { add, mul } from './elementwise.ts'
import { concat, slice, stack } from './join.ts'
import { negated, shifted } from './map.ts'
import { linear } from './matmul.ts'
import { transpose } from './shape.ts'
import { unary } from './unary.ts'

interface State {
  h: Tensor
  c: Tensor | null
}

/** Parameters of one layer in one direction, by torch's names without the suffix. */
type Weights = ReadonlyMap<string, Tensor>

/** x [B,I], h [B,Hout], c [B,H] */
type Step = (w: Weights, x: Tensor, state: State) => State

const NAME = 'unrolled'
const sigmoid = (x: Tensor) => unary('sigmoid', x)
const tanh = (x: Tensor) => unary('tanh', x)
const complement = (x: Tensor) => shifted(NAME, negated(NAME, x), 1)

/** x W^T + b with the weight and bias of that name. */
function times(w: Weights, x: Tensor, which: 'ih' | 'hh'): Tensor {
  return linear(x, w.get(`weight_${which}`) as Tensor, w.get(`bias_${which}`) ?? null)
}

/** Block k of n equal ones along the last axis. */
function block(x: Tensor, k: number, n: number): Tensor {
  const width = (x._shape.at(-1) as number) / n
  return slice(x, k * width, (k + 1) * width, -1)
}

const rnn =
  (activation: 'tanh' | 'relu'): Step =>
  (w, x, { h, c }) => ({ h: unary(activation, add(times(w, x, 'ih'), times(w, h, 'hh'))), c })

const lstm: Step = (w, x, state) => {
  const a = add(times(w, x, 'ih'), times(w, state.h, 'hh'))
  const c = state.c as Tensor
  const peephole = w.get('weight_ch')
  const seen = (gate: Tensor, k: number, cell: Tensor) =>
    peephole === undefined
      ? gate
      : add(gate, mul(cell, view(slice(peephole, k, k + 1, 0), [cell._shape[1] as number])))
  const i = sigmoid(seen(block(a, 0, 4), 0, c))
  const f = sigmoid(seen(block(a, 1, 4), 1, c))
  const next = add(mul(f, c), mul(i, tanh(block(a, 2, 4))))
  const o = sigmoid(seen(block(a, 3, 4), 2, next))
  const m = mul(o, tanh(next))
  const projection = w.get('weight_hr')
  return { h: projection === undefined ? m : linear(m, projection), c: next }
}

const gru: Step = (w, x, { h, c }) => {
  const [xs, hs] = [times(w, x, 'ih'), times(w, h, 'hh')]
  const gate = (k: number) => sigmoid(add(block(xs, k, 3), block(hs, k, 3)))
  const n = tanh(add(block(xs, 2, 3), mul(gate(0), block(hs, 2, 3))))
  const z = gate(1)
  return { h: add(mul(complement(z), n), mul(z, h)), c }
}

const gruResetBefore: Step = (w, x, { h, c }) => {
  const xs = times(w, x, 'ih')
  const rows = (name: string, from: number, to: number) => {
    const all = w.get(name)
    const width = xs._shape[1] as number
    return all === undefined ? null : slice(all, (from * width) / 3, (to * width) / 3, 0)
  }
  const of = (from: number, to: number, state: Tensor) =>
    linear(state, rows('weight_hh', from, to) as Tensor, rows('bias_hh', from, to))
  const hs = of(0, 2, h)
  const gate = (k: number) => sigmoid(add(block(xs, k, 3), block(hs, k, 2)))
  const n = tanh(add(block(xs, 2, 3), of(2, 3, mul(gate(0), h))))
  const z = gate(1)
  return { h: add(mul(complement(z), n), mul(z, h)), c }
}

const STEPS: Readonly<Record<CellName, Step>> = {
  rnnTanh: rnn('tanh'),
  rnnRelu: rnn('relu'),
  lstm,
  lstmPeephole: lstm,
  gru,
  gruResetBefore,
}

/** Dropout between layers: the probability, and where its random numbers begin. */
interface Between {
  p: number
  seed: number
  offset: number
}

/**
 * The outputs of recurrent(): output, hn and, of a cell with c, cn.
 *
 * @param parameters those of parameterShapes(shape), in its order
 */
export function unrolled(
  shape: CellStack & { batchFirst: boolean },
  parameters: readonly Tensor[],
  between: Between,
  input: Tensor,
  h0: Tensor | null,
  c0: Tensor | null,
  lengths: Int32Array | null,
): Tensor[] {
  const batched = input._shape.length === 3
  const turned = batched && shape.batchFirst
  const withBatch = (x: Tensor) => (batched ? x : view(x, [x._shape[0] as number, 1, x._shape[1] as number]))
  const given = turned ? transpose(input, 0, 1) : withBatch(input)
  const [T, B] = given._shape as [number, number, number]
  const { directions } = shape
  const width = outputSize(shape)
  const ofDirection = layersOf(shape, parameters)
  const initial = (x: Tensor | null, k: number, size: number) =>
    x === null ? zerosLike(input, [B, size]) : row(withBatch(x), k)
  const masks = lengths === null ? null : stepMasks(lengths, T, input)

  const last: State[] = []
  let sequence = rowsOf(lengths === null ? given : cleaned(given, lengths))
  for (let layer = 0; layer * directions < ofDirection.length; layer++) {
    if (layer > 0 && between.p > 0) {
      const offset = between.offset + (layer - 1) * countersFor(T * B * directions * width)
      sequence = rowsOf(
        dropped(joined(sequence, input, B, directions * width), between.p, between.seed, offset),
      )
    }
    const outputs: Tensor[][] = Array.from({ length: T }, () => [])
    for (let d = 0; d < directions; d++) {
      const k = layer * directions + d
      let state: State = {
        h: initial(h0, k, width),
        c: hasC(shape.cell) ? initial(c0, k, shape.hiddenSize) : null,
      }
      for (let step = 0; step < T; step++) {
        const t = d === 0 ? step : T - 1 - step
        const next = STEPS[shape.cell](ofDirection[k] as Weights, sequence[t] as Tensor, state)
        const mask = masks?.[t] ?? null
        state = mask === null ? next : chosen(mask, next, state)
        outputs[t]?.push(mask === null ? next.h : mul(mask, next.h))
      }
      last.push(state)
    }
    sequence = outputs.map((parts) => (parts.length === 1 ? (parts[0] as Tensor) : concat(parts, -1)))
  }

  const all = joined(sequence, input, B, directions * width)
  const output = turned ? transpose(all, 0, 1) : batched ? all : view(all, [T, directions * width])
  const states = (of: (state: State) => Tensor) => {
    const stacked = stack(last.map(of))
    return batched ? stacked : view(stacked, [last.length, stacked._shape[2] as number])
  }
  const hn = states(({ h }) => h)
  return hasC(shape.cell) ? [output, hn, states(({ c }) => c as Tensor)] : [output, hn]
}

/** The weights of each layer and direction. */
function layersOf(shape: CellStack, parameters: readonly Tensor[]): Weights[] {
  const names = [...parameterShapes(shape).keys()]
  return suffixes(shape).map((suffix) => {
    const ending = `_${suffix}`
    const own = names.flatMap((name, i): [string, Tensor][] =>
      name.endsWith(ending) ? [[name.slice(0, -ending.length), parameters[i] as Tensor]] : [],
    )
    return new Map(own)
  })
}

function zerosLike(x: Tensor, shape: readonly number[]): Tensor {
  return zeros(shape, { dtype: x.dtype, device: x.device })
}

function row(x: Tensor, i: number): Tensor {
  return view(slice(x, i, i + 1, 0), x._shape.slice(1))
}

function rowsOf(x: Tensor): Tensor[] {
  return Array.from({ length: x._shape[0] as number }, (_, i) => row(x, i))
}

/** [T,B,N], T may be 0. */
function joined(sequence: readonly Tensor[], like: Tensor, B: number, N: number): Tensor {
  return sequence.length > 0 ? stack(sequence) : zerosLike(like, [0, B, N])
}

/** A mask [B,1] per step: 1 for the rows that still have steps, else 0. */
function stepMasks(lengths: Int32Array, T: number, like: Tensor): Tensor[] {
  const { dtype, device } = like
  return Array.from({ length: T }, (_, t) =>
    tensor(
      Array.from(lengths, (length) => (t < length ? 1 : 0)),
      [lengths.length, 1],
      { dtype, device },
    ),
  )
}

/** The next state of the rows in the mask, the state before of the others. */
function chosen(mask: Tensor, next: State, before: State): State {
  const rest = complement(mask)
  const of = (a: Tensor, b: Tensor) => add(mul(mask, a), mul(rest, b))
  return { h: of(next.h, before.h), c: next.c && of(next.c, before.c as Tensor) }
}

/** [T,B,N] with zeros in place of padding, which may hold anything. */
function cleaned(x: Tensor, lengths: Int32Array): Tensor {
  const [T, , N] = x._shape as [number, number, number]
  const rows = Array.from(lengths, (length, b) => {
    const own = view(slice(x, b, b + 1, 1), [T, N])
    return length === T ? own : concat([slice(own, 0, length, 0), zerosLike(x, [T - length, N])], 0)
  })
  return rows.length > 0 ? stack(rows, 1) : x
}
