// LSTM cell, gate order i f g o
//   i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
//   f = sigmoid(W_if x + b_if + W_hf h + b_hf)
//   g = tanh   (W_ig x + b_ig + W_hg h + b_hg)
//   o = sigmoid(W_io x + b_io + W_ho h + b_ho)
//   c' = f * c + i * g
//   m  = o * tanh(c')
//   h' = m, or W_hr m with projection
// With peepholes w_ci * c, w_cf * c and w_co * c' are added to the arguments of i, f and o.
import type { Cell, Weights } from './cell.ts'
import {
  accumulate,
  add,
  addOuter,
  concat,
  dsigmoid,
  dtanh,
  map,
  mul,
  product,
  sigmoid,
  split,
  transposedProduct,
  type Vector,
  zeroMatrix,
  zeros,
} from './vector.ts'

interface Saved {
  x: Vector
  h: Vector
  c: Vector
  i: Vector
  f: Vector
  g: Vector
  o: Vector
  next: Vector // c'
  t: Vector // tanh(c')
  m: Vector
}

function makeLstm(name: 'lstm' | 'lstmPeephole'): Cell<Saved> {
  const peepholes = (w: Weights): [Vector, Vector, Vector] => {
    const { rows, cols, data } = w.weight_ch ?? zeroMatrix(3, w.weight_ih.rows / 4)
    return split(data.subarray(0, rows * cols), 3) as [Vector, Vector, Vector]
  }
  return {
    name,

    forward(w, x, { h, c }) {
      const none = zeros(w.weight_ih.rows)
      const a = add(product(w.weight_ih, x), w.bias_ih ?? none, product(w.weight_hh, h), w.bias_hh ?? none)
      const [ai, af, ag, ao] = split(a, 4) as [Vector, Vector, Vector, Vector]
      const [wi, wf, wo] = peepholes(w)
      const [i, f, g] = [
        map(add(ai, mul(wi, c)), sigmoid),
        map(add(af, mul(wf, c)), sigmoid),
        map(ag, Math.tanh),
      ]
      const next = add(mul(f, c), mul(i, g))
      const o = map(add(ao, mul(wo, next)), sigmoid)
      const t = map(next, Math.tanh)
      const m = mul(o, t)
      const projected = w.weight_hr ? product(w.weight_hr, m) : m
      return { state: { h: projected, c: next }, saved: { x, h, c, i, f, g, o, next, t, m } }
    },

    backward(w, { x, h, c, i, f, g, o, next, t, m }, { h: dh, c: dcNext }, dw) {
      let dm = dh
      if (w.weight_hr && dw.weight_hr) {
        addOuter(dw.weight_hr, dh, m)
        dm = transposedProduct(w.weight_hr, dh)
      }
      const [wi, wf, wo] = peepholes(w)
      const dao = mul(dm, t, dsigmoid(o))
      const dc = add(dcNext, mul(dm, o, dtanh(t)), mul(dao, wo))
      const [dai, daf] = [mul(dc, g, dsigmoid(i)), mul(dc, c, dsigmoid(f))]
      const da = concat(dai, daf, mul(dc, i, dtanh(g)), dao)
      addOuter(dw.weight_ih, da, x)
      addOuter(dw.weight_hh, da, h)
      if (dw.bias_ih) accumulate(dw.bias_ih, da)
      if (dw.bias_hh) accumulate(dw.bias_hh, da)
      if (dw.weight_ch) accumulate(dw.weight_ch.data, concat(mul(dai, c), mul(daf, c), mul(dao, next)))
      return {
        dx: transposedProduct(w.weight_ih, da),
        dstate: {
          h: transposedProduct(w.weight_hh, da),
          c: add(mul(dc, f), mul(dai, wi), mul(daf, wf)),
        },
      }
    },
  }
}

export const lstm = makeLstm('lstm')
export const lstmPeephole = makeLstm('lstmPeephole')
