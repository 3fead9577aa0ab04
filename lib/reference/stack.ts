// Layers, directions, lengths, dropout and initial states around one cell. Every row is computed alone:
//   layer l reads x (l = 0) or the outputs of layer l-1, all directions side by side, times the dropout mask;
//   direction 0 runs t = 0 .. length-1, direction 1 runs t = length-1 .. 0;
//   hn and cn are the states after the last step of each; past its length a row's output is zero.
import { CELLS, hasC } from '../cells.ts'
import type { Cell, State, Weights } from './cell.ts'
import { accumulate, concat, type Matrix, mul, type Vector, zeroMatrix, zeros } from './vector.ts'

export interface Stack {
  cell: Cell
  weights: Weights[] // [L*D], directions of a layer adjacent
  directions: number
  T: number
  B: number
  x: Vector // [T,B,I]
  h0?: Vector // [L*D,B,Hout]
  c0?: Vector // [L*D,B,H], of a cell with c
  lengths?: ArrayLike<number> // [B]
  masks?: Vector[] // [L-1] of [T,B,D*Hout]: what each layer's output is multiplied with on its way to the next
}

export interface Result {
  output: Vector // [T,B,D*Hout]
  hn: Vector // [L*D,B,Hout]
  cn: Vector // [L*D,B,H]; empty without c
}

export interface Gradients {
  dx: Vector
  dh0: Vector
  dc0: Vector
  dweights: Weights[]
}

interface Run {
  saved: unknown[] // by time
}

export function run(stack: Stack): Result & { backward(dout: Partial<Result>): Gradients } {
  const { cell, weights, directions: D, T, B, x, h0, c0, lengths, masks } = stack
  const layers = weights.length / D
  const first = weights[0] as Weights
  const I = first.weight_ih.cols
  const H = first.weight_ih.rows / CELLS[cell.name].gates
  const Hout = first.weight_hh.cols
  const C = hasC(cell.name) ? H : 0
  const length = (b: number) => lengths?.[b] ?? T
  const times = (b: number, d: number) => {
    const forward = Array.from({ length: length(b) }, (_, t) => t)
    return d === 0 ? forward : forward.reverse()
  }
  const row = (v: Vector, i: number, b: number, width: number) =>
    v.subarray((i * B + b) * width, (i * B + b + 1) * width)

  const output = zeros(T * B * D * Hout)
  const hn = zeros(layers * D * B * Hout)
  const cn = zeros(layers * D * B * C)
  const runs: Run[][] = [] // [B][L*D]

  for (let b = 0; b < B; b++) {
    const own: Run[] = []
    runs.push(own)
    let sequence = times(b, 0).map((t) => row(x, t, b, I))
    for (let layer = 0; layer < layers; layer++) {
      const parts: Vector[][] = []
      for (let d = 0; d < D; d++) {
        const k = layer * D + d
        let state: State = {
          h: h0 ? row(h0, k, b, Hout).slice() : zeros(Hout),
          c: c0 && C ? row(c0, k, b, C).slice() : zeros(C),
        }
        const saved: unknown[] = []
        const outputs: Vector[] = []
        for (const t of times(b, d)) {
          const step = cell.forward(weights[k] as Weights, sequence[t] as Vector, state)
          saved[t] = step.saved
          state = step.state
          outputs[t] = state.h
        }
        own.push({ saved })
        parts.push(outputs)
        row(hn, k, b, Hout).set(state.h)
        row(cn, k, b, C).set(state.c)
      }
      sequence = times(b, 0).map((t) => concat(...parts.map((outputs) => outputs[t] as Vector)))
      const mask = masks?.[layer]
      if (mask && layer < layers - 1) sequence = sequence.map((v, t) => mul(v, row(mask, t, b, D * Hout)))
    }
    sequence.forEach((v, t) => {
      row(output, t, b, D * Hout).set(v)
    })
  }

  function backward(dout: Partial<Result>): Gradients {
    const dx = zeros(x.length)
    const dh0 = zeros(hn.length)
    const dc0 = zeros(cn.length)
    const dweights = weights.map(zeroLike)
    for (let b = 0; b < B; b++) {
      // Gradient of what the current layer puts out, by time; then of what it reads.
      let doutputs = times(b, 0).map((t) =>
        dout.output ? row(dout.output, t, b, D * Hout).slice() : zeros(D * Hout),
      )
      for (let layer = layers - 1; layer >= 0; layer--) {
        const width = layer === 0 ? I : D * Hout
        const dinputs = times(b, 0).map(() => zeros(width))
        for (let d = 0; d < D; d++) {
          const k = layer * D + d
          let dstate: State = {
            h: dout.hn ? row(dout.hn, k, b, Hout).slice() : zeros(Hout),
            c: dout.cn ? row(dout.cn, k, b, C).slice() : zeros(C),
          }
          for (const t of times(b, d).reverse()) {
            const dh = (doutputs[t] as Vector).subarray(d * Hout, (d + 1) * Hout)
            accumulate(dstate.h, dh)
            const saved = runs[b]?.[k]?.saved[t]
            const step = cell.backward(weights[k] as Weights, saved, dstate, dweights[k] as Weights)
            accumulate(dinputs[t] as Vector, step.dx)
            dstate = step.dstate
          }
          row(dh0, k, b, Hout).set(dstate.h)
          row(dc0, k, b, C).set(dstate.c)
        }
        const mask = layer > 0 ? masks?.[layer - 1] : undefined
        doutputs = mask ? dinputs.map((v, t) => mul(v, row(mask, t, b, width))) : dinputs
      }
      doutputs.forEach((v, t) => {
        row(dx, t, b, I).set(v)
      })
    }
    return { dx, dh0, dc0, dweights }
  }

  return { output, hn, cn, backward }
}

function zeroLike(w: Weights): Weights {
  const zeroed = (Object.entries(w) as [string, Matrix | Vector][]).map(([name, value]) => [
    name,
    'data' in value ? zeroMatrix(value.rows, value.cols) : zeros(value.length),
  ])
  return Object.fromEntries(zeroed) as Weights
}
