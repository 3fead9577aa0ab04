/**
 * A decoder with attention in plain float64 loops. At each step the state h before asks T positions of a memory:
 * weights = softmax(memory h), context = the mean of the memory by these; then the cell reads x and context.
 */
import { type Cell, runReference, type Vector, type Weights, zeroVector } from '#internals'

export interface Decoder {
  cell: Cell
  weights: Weights
  T: number
  B: number
  x: Vector // [T,B,I]
  memory: Vector // [T,B,H]
}

export interface DecoderGradients {
  dx: Vector
  dmemory: Vector
  dweights: Weights
}

const dot = (a: Vector, b: Vector): number => a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)

/** target += factor v */
function addScaled(target: Vector, factor: number, v: Vector): void {
  v.forEach((value, i) => {
    target[i] = (target[i] as number) + factor * value
  })
}

const softmax = (scores: Vector): Vector => {
  const largest = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - largest))
  const sum = powers.reduce((total, value) => total + value, 0)
  return powers.map((value) => value / sum)
}

export function runDecoder({ cell, weights, T, B, x, memory }: Decoder): {
  output: Vector // [T,B,H]
  backward(dy: Vector): DecoderGradients
} {
  const I = x.length / (T * B)
  const H = memory.length / (T * B)
  const row = (v: Vector, t: number, b: number): Vector => {
    const width = v.length / (T * B)
    return v.subarray((t * B + b) * width, (t * B + b + 1) * width)
  }
  const output = zeroVector(T * B * H)
  const rows = Array.from({ length: B }, (_, b) => {
    let [h, c] = [zeroVector(H), zeroVector(H)]
    return Array.from({ length: T }, (_, t) => {
      const positions = Array.from({ length: T }, (_, s) => row(memory, s, b))
      const looked = softmax(Float64Array.from(positions, (position) => dot(position, h)))
      const input = zeroVector(I + H)
      input.set(row(x, t, b))
      positions.forEach((position, s) => {
        addScaled(input.subarray(I), looked[s] as number, position)
      })
      const before = h
      const step = runReference({
        cell,
        weights: [weights],
        directions: 1,
        T: 1,
        B: 1,
        x: input,
        h0: h,
        c0: c,
      })
      h = step.hn
      c = step.cn
      row(output, t, b).set(h)
      return { before, looked, backward: step.backward }
    })
  })

  function backward(dy: Vector): DecoderGradients {
    const [dx, dmemory] = [zeroVector(x.length), zeroVector(memory.length)]
    let dweights: Weights | null = null
    for (let b = 0; b < B; b++) {
      let [dh, dc] = [zeroVector(H), zeroVector(H)]
      for (let t = T - 1; t >= 0; t--) {
        const { before, looked, backward } = (rows[b] as (typeof rows)[number])[
          t
        ] as (typeof rows)[number][number]
        const step = backward({ output: row(dy, t, b), hn: dh, cn: dc })
        dweights =
          dweights === null ? (step.dweights[0] as Weights) : sum(dweights, step.dweights[0] as Weights)
        row(dx, t, b).set(step.dx.subarray(0, I))
        const dcontext = step.dx.subarray(I)
        const dlooked = looked.map((_, s) => dot(row(memory, s, b), dcontext))
        const mean = dot(looked, dlooked)
        dh = step.dh0
        dc = step.dc0
        looked.forEach((weight, s) => {
          const dscore = weight * ((dlooked[s] as number) - mean)
          addScaled(row(dmemory, s, b), weight, dcontext)
          addScaled(row(dmemory, s, b), dscore, before)
          addScaled(dh, dscore, row(memory, s, b))
        })
      }
    }
    return { dx, dmemory, dweights: dweights as Weights }
  }

  return { output, backward }
}

/** a += b */
function sum(a: Weights, b: Weights): Weights {
  for (const name of Object.keys(a) as (keyof Weights)[]) {
    const [target, other] = [a[name], b[name]] as (Vector | { data: Vector })[]
    addScaled(dataOf(target), 1, dataOf(other))
  }
  return a
}

const dataOf = (value: Vector | { data: Vector } | undefined): Vector =>
  value === undefined ? zeroVector(0) : 'data' in value ? value.data : value
