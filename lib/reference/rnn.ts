// RNN cell
//   a  = W_ih x + b_ih + W_hh h + b_hh
//   h' = tanh(a) or max(a, 0)
import type { CellName } from '../cells.ts'
import type { Cell } from './cell.ts'
import {
  accumulate,
  add,
  addOuter,
  map,
  mul,
  product,
  transposedProduct,
  type Vector,
  zeros,
} from './vector.ts'

interface Saved {
  x: Vector
  h: Vector
  next: Vector // h'
}

function rnn(
  name: CellName,
  activation: (a: number) => number,
  derivative: (next: number) => number,
): Cell<Saved> {
  return {
    name,

    forward(w, x, { h, c }) {
      const none = zeros(w.weight_ih.rows)
      const a = add(product(w.weight_ih, x), w.bias_ih ?? none, product(w.weight_hh, h), w.bias_hh ?? none)
      const next = map(a, activation)
      return { state: { h: next, c }, saved: { x, h, next } }
    },

    backward(w, { x, h, next }, { h: dnext, c }, dw) {
      const da = mul(dnext, map(next, derivative))
      addOuter(dw.weight_ih, da, x)
      addOuter(dw.weight_hh, da, h)
      if (dw.bias_ih) accumulate(dw.bias_ih, da)
      if (dw.bias_hh) accumulate(dw.bias_hh, da)
      return { dx: transposedProduct(w.weight_ih, da), dstate: { h: transposedProduct(w.weight_hh, da), c } }
    },
  }
}

export const rnnTanh = rnn('rnnTanh', Math.tanh, (next) => 1 - next * next)
export const rnnRelu = rnn(
  'rnnRelu',
  (a) => Math.max(a, 0),
  (next) => (next > 0 ? 1 : 0),
)
