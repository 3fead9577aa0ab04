// LSTM cell, gate order i f g o
//   i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
//   f = sigmoid(W_if x + b_if + W_hf h + b_hf)
//   g = tanh   (W_ig x + b_ig + W_hg h + b_hg)
//   o = sigmoid(W_io x + b_io + W_ho h + b_ho)
//   c' = f * c + i * g
//   m  = o * tanh(c')
//   h' = m, or W_hr m with projection
import type { Cell } from './cell.ts'
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
  t: Vector // tanh(c')
  m: Vector
}

export const lstm: Cell<Saved> = {
  name: 'lstm',

  forward(w, x, { h, c }) {
    const none = zeros(w.weight_ih.rows)
    const a = add(product(w.weight_ih, x), w.bias_ih ?? none, product(w.weight_hh, h), w.bias_hh ?? none)
    const [ai, af, ag, ao] = split(a, 4) as [Vector, Vector, Vector, Vector]
    const [i, f, g, o] = [map(ai, sigmoid), map(af, sigmoid), map(ag, Math.tanh), map(ao, sigmoid)]
    const next = add(mul(f, c), mul(i, g))
    const t = map(next, Math.tanh)
    const m = mul(o, t)
    const projected = w.weight_hr ? product(w.weight_hr, m) : m
    return { state: { h: projected, c: next }, saved: { x, h, c, i, f, g, o, t, m } }
  },

  backward(w, { x, h, c, i, f, g, o, t, m }, { h: dh, c: dcNext }, dw) {
    let dm = dh
    if (w.weight_hr && dw.weight_hr) {
      addOuter(dw.weight_hr, dh, m)
      dm = transposedProduct(w.weight_hr, dh)
    }
    const dc = add(dcNext, mul(dm, o, dtanh(t)))
    const da = concat(
      mul(dc, g, dsigmoid(i)),
      mul(dc, c, dsigmoid(f)),
      mul(dc, i, dtanh(g)),
      mul(dm, t, dsigmoid(o)),
    )
    addOuter(dw.weight_ih, da, x)
    addOuter(dw.weight_hh, da, h)
    if (dw.bias_ih) accumulate(dw.bias_ih, da)
    if (dw.bias_hh) accumulate(dw.bias_hh, da)
    return {
      dx: transposedProduct(w.weight_ih, da),
      dstate: { h: transposedProduct(w.weight_hh, da), c: mul(dc, f) },
    }
  },
}
