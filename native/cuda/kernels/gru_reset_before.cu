// GRU cell whose reset gate acts before the recurrent product (docs/equations.md)
//   r   = sigmoid(W_ir x + b_ir + W_hr h_prev + b_hr)                saved
//   z   = sigmoid(W_iz x + b_iz + W_hz h_prev + b_hz)                saved
//   n   = tanh   (W_in x + b_in + W_hn (r * h_prev) + b_hn)          saved
//   h   = (1 - z) * n + z * h_prev
// The gates come with their products; the biases b_h* are added here.
#include "functions.h"

BPTT_KERNEL(reset_before_r, CellStep) {
  const T* bias = static_cast<const T*>(a.bias);
  T* gates = static_cast<T*>(a.gates);
  const T* h_prev = static_cast<const T*>(a.h);
  BPTT_EACH(i, a.rows * a.H) {
    const int64_t row = i / a.H, j = i - row * a.H;
    const T r = sigmoid(gates[row * 3 * a.H + j] + (bias ? bias[j] : T(0)));
    gates[row * 3 * a.H + j] = r;
    static_cast<T*>(a.operand)[i] = r * h_prev[i];
    if (a.saved_h) static_cast<T*>(a.saved_h)[i] = h_prev[i];
  }
}

BPTT_KERNEL(reset_before_h, CellStep) {
  const T* bias = static_cast<const T*>(a.bias);
  T* state = static_cast<T*>(a.h);
  BPTT_EACH(i, a.rows * a.H) {
    const int64_t row = i / a.H, j = i - row * a.H;
    T* gates = static_cast<T*>(a.gates) + row * 3 * a.H + j;
    const T z = sigmoid(gates[a.H] + (bias ? bias[a.H + j] : T(0)));
    const T n = tanh(gates[2 * a.H] + (bias ? bias[2 * a.H + j] : T(0)));
    gates[a.H] = z;
    gates[2 * a.H] = n;
    const T h = fma(z, state[i], (T(1) - z) * n);
    state[i] = h;
    static_cast<T*>(a.out)[row * a.out_row + j] = h;
  }
}

// -- backward, the second stage first ----------------------------------------------

BPTT_KERNEL(reset_before_h_backward, CellStepBackward) {
  const T* h_prev = static_cast<const T*>(a.h_prev);
  T* dstate = static_cast<T*>(a.dh);
  BPTT_EACH(i, a.rows * a.H) {
    const int64_t row = i / a.H, j = i - row * a.H;
    T* gates = static_cast<T*>(a.gates) + row * 3 * a.H + j;
    const T z = gates[a.H], n = gates[2 * a.H];
    const T dh = dstate[i] + static_cast<const T*>(a.dy)[row * a.dy_row + j];
    static_cast<T*>(a.operand)[i] = gates[0] * h_prev[i];
    gates[a.H] = dh * (h_prev[i] - n) * z * (T(1) - z);
    gates[2 * a.H] = dh * (T(1) - z) * fnma(n, n, T(1));
    dstate[i] = dh * z;
  }
}

BPTT_KERNEL(reset_before_r_backward, CellStepBackward) {
  const T* h_prev = static_cast<const T*>(a.h_prev);
  T* dstate = static_cast<T*>(a.dh);
  BPTT_EACH(i, a.rows * a.H) {
    const int64_t row = i / a.H, j = i - row * a.H;
    T* gates = static_cast<T*>(a.gates) + row * 3 * a.H + j;
    const T r = gates[0], drh = static_cast<const T*>(a.doperand)[i];
    gates[0] = drh * h_prev[i] * r * (T(1) - r);
    dstate[i] = fma(drh, r, dstate[i]);
  }
}
