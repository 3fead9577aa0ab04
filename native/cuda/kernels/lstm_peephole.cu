// LSTM cell with peepholes (docs/equations.md)
//   i   = sigmoid(W_ii x + b_ii + W_hi h_prev + b_hi + w_ci * c_prev)   saved
//   f   = sigmoid(W_if x + b_if + W_hf h_prev + b_hf + w_cf * c_prev)   saved
//   g   = tanh   (W_ig x + b_ig + W_hg h_prev + b_hg)                   saved
//   c   = f * c_prev + i * g                                            c_prev is saved
//   o   = sigmoid(W_io x + b_io + W_ho h_prev + b_ho + w_co * c)        saved
//   h   = o * tanh(c)
// The gates come with their products; the biases b_h* are added here.
#include "functions.h"

BPTT_KERNEL(lstm_peephole, CellStep) {
  const T* bias = static_cast<const T*>(a.bias);
  T* h_state = static_cast<T*>(a.h);
  T* c_state = static_cast<T*>(a.c);
  BPTT_EACH(at, a.rows * a.H) {
    const int64_t row = at / a.H, j = at - row * a.H;
    const T* weights = static_cast<const T*>(a.unit_weights) + j;
    T* gates = static_cast<T*>(a.gates) + row * 4 * a.H + j;
    const T a_i = gates[0] + (bias ? bias[j] : T(0));
    const T a_f = gates[a.H] + (bias ? bias[a.H + j] : T(0));
    const T a_g = gates[2 * a.H] + (bias ? bias[2 * a.H + j] : T(0));
    const T a_o = gates[3 * a.H] + (bias ? bias[3 * a.H + j] : T(0));
    const T c_prev = c_state[at];
    const T i = sigmoid(fma(weights[0], c_prev, a_i));
    const T f = sigmoid(fma(weights[a.H], c_prev, a_f));
    const T g = tanh(a_g);
    const T c = fma(f, c_prev, i * g);
    const T o = sigmoid(fma(weights[2 * a.H], c, a_o));
    const T h = o * tanh(c);
    gates[0] = i;
    gates[a.H] = f;
    gates[2 * a.H] = g;
    gates[3 * a.H] = o;
    if (a.saved_h) static_cast<T*>(a.saved_h)[at] = h_state[at];
    if (a.saved_c) static_cast<T*>(a.saved_c)[at] = c_prev;
    if (h_state) h_state[at] = h;
    c_state[at] = c;
    static_cast<T*>(a.out)[row * a.out_row + j] = h;
  }
}

BPTT_KERNEL(lstm_peephole_backward, CellStepBackward) {
  const T* dy = static_cast<const T*>(a.dy);
  T* dh_state = static_cast<T*>(a.dh);
  T* dc_state = static_cast<T*>(a.dc);
  BPTT_EACH(at, a.rows * a.H) {
    const int64_t row = at / a.H, j = at - row * a.H;
    const T* weights = static_cast<const T*>(a.unit_weights) + j;
    T* gates = static_cast<T*>(a.gates) + row * 4 * a.H + j;
    T* dweights = static_cast<T*>(a.dunit_weights) + row * 3 * a.H + j;
    const T i = gates[0], f = gates[a.H], g = gates[2 * a.H], o = gates[3 * a.H];
    const T c_prev = static_cast<const T*>(a.c_prev)[at];
    const T c = fma(f, c_prev, i * g);
    const T tanh_c = tanh(c);
    const T dh = dh_state[at] + (dy ? dy[row * a.dy_row + j] : T(0));
    const T da_o = dh * tanh_c * o * (T(1) - o);
    const T from_h = fma(dh * o, fnma(tanh_c, tanh_c, T(1)), dc_state[at]);
    const T dc = fma(da_o, weights[2 * a.H], from_h);
    const T da_i = dc * g * i * (T(1) - i);
    const T da_f = dc * c_prev * f * (T(1) - f);
    gates[0] = da_i;
    gates[a.H] = da_f;
    gates[2 * a.H] = dc * i * fnma(g, g, T(1));
    gates[3 * a.H] = da_o;
    dc_state[at] = fma(da_f, weights[a.H], fma(da_i, weights[0], dc * f));
    dh_state[at] = T(0);
    dweights[0] = da_i * c_prev;
    dweights[a.H] = da_f * c_prev;
    dweights[2 * a.H] = da_o * c;
    if (a.operand) static_cast<T*>(a.operand)[at] = o * tanh_c;
  }
}
