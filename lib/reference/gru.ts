// GRU cell, gate order r z n
//   r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
//   z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
//   n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))      reset after the product (PyTorch)
//   n  = tanh(W_in x + b_in + W_hn (r * h) + b_hn)      reset before it
//   h' = (1 - z) * n + z * h
import type { Cell } from './cell.ts'
import {
  accumulate,
  add,
  addOuter,
  complement,
  concat,
  dsigmoid,
  dtanh,
  type Matrix,
  map,
  mul,
  product,
  sigmoid,
  split,
  splitRows,
  transposedProduct,
  type Vector,
  zeros,
} from './vector.ts'

interface Saved {
  x: Vector
  h: Vector
  r: Vector
  z: Vector
  n: Vector
  q: Vector // W_hn h + b_hn; unused when reset comes before
}

type Three<T> = [T, T, T]

function makeGru(resetAfter: boolean): Cell<Saved> {
  return {
    name: resetAfter ? 'gru' : 'gruResetBefore',

    forward(w, x, { h, c }) {
      const none = zeros(w.weight_ih.rows)
      const [xr, xz, xn] = split(add(product(w.weight_ih, x), w.bias_ih ?? none), 3) as Three<Vector>
      const [Vr, Vz, Vn] = splitRows(w.weight_hh, 3) as Three<Matrix>
      const [br, bz, bn] = split(w.bias_hh ?? none, 3) as Three<Vector>
      const r = map(add(xr, product(Vr, h), br), sigmoid)
      const z = map(add(xz, product(Vz, h), bz), sigmoid)
      const q = add(product(Vn, h), bn)
      const n = map(resetAfter ? add(xn, mul(r, q)) : add(xn, product(Vn, mul(r, h)), bn), Math.tanh)
      const next = add(mul(complement(z), n), mul(z, h))
      return { state: { h: next, c }, saved: { x, h, r, z, n, q } }
    },

    backward(w, { x, h, r, z, n, q }, { h: dnext, c }, dw) {
      const [Vr, Vz, Vn] = splitRows(w.weight_hh, 3) as Three<Matrix>
      const [dVr, dVz, dVn] = splitRows(dw.weight_hh, 3) as Three<Matrix>
      const dz = mul(
        dnext,
        add(
          h,
          map(n, (value) => -value),
        ),
        dsigmoid(z),
      )
      const dn = mul(dnext, complement(z), dtanh(n)) // of tanh's argument, as dr and dz are of sigmoid's
      let dr: Vector
      let dq: Vector // gradient of W_hn (..) + b_hn
      let dh = mul(dnext, z)
      if (resetAfter) {
        dq = mul(dn, r)
        dr = mul(dn, q, dsigmoid(r))
        addOuter(dVn, dq, h)
        dh = add(dh, transposedProduct(Vn, dq))
      } else {
        dq = dn
        const drh = transposedProduct(Vn, dn) // gradient of r * h
        dr = mul(drh, h, dsigmoid(r))
        addOuter(dVn, dn, mul(r, h))
        dh = add(dh, mul(drh, r))
      }
      addOuter(dVr, dr, h)
      addOuter(dVz, dz, h)
      dh = add(dh, transposedProduct(Vr, dr), transposedProduct(Vz, dz))
      const da = concat(dr, dz, dn)
      addOuter(dw.weight_ih, da, x)
      if (dw.bias_ih) accumulate(dw.bias_ih, da)
      if (dw.bias_hh) accumulate(dw.bias_hh, concat(dr, dz, dq))
      return { dx: transposedProduct(w.weight_ih, da), dstate: { h: dh, c } }
    },
  }
}

export const gru = makeGru(true)
export const gruResetBefore = makeGru(false)
