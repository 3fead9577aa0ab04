/**
 * The demo's model in plain float64 loops: Embedding [V,E] -> LSTM(E,H) -> Linear [V,H] -> mean cross-entropy,
 * then Adam (lr 0.002, beta 0.9 and 0.999, eps 1e-8).
 */
import { addOuter, lstm, product, runReference, transposedProduct, type Vector, zeroVector } from '#internals'
import { VOCABULARY } from '../cases.ts'
import type { Case } from '../report/report.ts'

const [LR, BETA1, BETA2, EPS] = [0.002, 0.9, 0.999, 1e-8]
const LSTM_PARAMETERS = ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'] as const

/** The losses of the first training steps: [steps]. `initial` gives the case's tensors by name. */
export function demoLosses({ B, T, I, H }: Case, initial: (name: string) => Vector, steps: number): Vector {
  const V = VOCABULARY
  const names = [
    'embedding.weight',
    ...LSTM_PARAMETERS.map((name) => `lstm.${name}_l0`),
    'linear.weight',
    'linear.bias',
  ]
  const parameters = names.map(initial) as [Vector, Vector, Vector, Vector, Vector, Vector, Vector]
  const [embedding, wih, whh, bih, bhh, linear, bias] = parameters
  const [ids, targets] = [initial('ids'), initial('targets')]
  const first = parameters.map((p) => zeroVector(p.length))
  const second = parameters.map((p) => zeroVector(p.length))
  const losses = zeroVector(steps)
  for (let step = 1; step <= steps; step++) {
    const x = zeroVector(T * B * I)
    ids.forEach((id, n) => {
      x.set(embedding.subarray(id * I, (id + 1) * I), n * I)
    })
    const weights = {
      weight_ih: { rows: 4 * H, cols: I, data: wih },
      weight_hh: { rows: 4 * H, cols: H, data: whh },
      bias_ih: bih,
      bias_hh: bhh,
    }
    const head = { rows: V, cols: H, data: linear }
    const { output, backward } = runReference({ cell: lstm, weights: [weights], directions: 1, T, B, x })
    const [dlinear, dbias, doutput] = [
      { rows: V, cols: H, data: zeroVector(V * H) },
      zeroVector(V),
      zeroVector(output.length),
    ]
    for (let n = 0; n < T * B; n++) {
      const h = output.subarray(n * H, (n + 1) * H)
      const logits = product(head, h).map((value, v) => value + (bias[v] as number))
      const largest = Math.max(...logits)
      const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0)
      const target = targets[n] as number
      losses[step - 1] =
        (losses[step - 1] as number) + (largest + Math.log(sum) - (logits[target] as number)) / (T * B)
      const dlogits = logits.map(
        (logit, v) => (Math.exp(logit - largest) / sum - (v === target ? 1 : 0)) / (T * B),
      )
      addOuter(dlinear, dlogits, h)
      dlogits.forEach((value, v) => {
        dbias[v] = (dbias[v] as number) + value
      })
      doutput.set(transposedProduct(head, dlogits), n * H)
    }
    const { dx, dweights } = backward({ output: doutput })
    const dembedding = zeroVector(embedding.length)
    ids.forEach((id, n) => {
      for (let j = 0; j < I; j++)
        dembedding[id * I + j] = (dembedding[id * I + j] as number) + (dx[n * I + j] as number)
    })
    const dlstm = LSTM_PARAMETERS.map((name) => {
      const gradient = dweights[0]?.[name] as Vector | { data: Vector }
      return 'data' in gradient ? gradient.data : gradient
    })
    adam(step, parameters, [dembedding, ...dlstm, dlinear.data, dbias], first, second)
  }
  return losses
}

function adam(
  step: number,
  parameters: Vector[],
  gradients: Vector[],
  first: Vector[],
  second: Vector[],
): void {
  parameters.forEach((parameter, k) => {
    const [g, m, v] = [gradients[k], first[k], second[k]] as [Vector, Vector, Vector]
    for (let i = 0; i < parameter.length; i++) {
      const gradient = g[i] as number
      const mean = BETA1 * (m[i] as number) + (1 - BETA1) * gradient
      const square = BETA2 * (v[i] as number) + (1 - BETA2) * gradient * gradient
      m[i] = mean
      v[i] = square
      const corrected = Math.sqrt(square / (1 - BETA2 ** step)) + EPS
      parameter[i] = (parameter[i] as number) - (LR * mean) / (1 - BETA1 ** step) / corrected
    }
  })
}
