// GRU cell, gate order r z n (docs/equations.md#gru)
//   r   = sigmoid(W_ir x + b_ir + W_hr h_prev + b_hr)   [B,H]  saved
//   z   = sigmoid(W_iz x + b_iz + W_hz h_prev + b_hz)          saved
//   q   = W_hn h_prev + b_hn                                   saved
//   n   = tanh(W_in x + b_in + r * q)                          saved
//   h   = (1 - z) * n + z * h_prev

template <class V, bptt_cell>
struct Gru {
  using Scalar = typename V::Scalar;
  static constexpr int kGates = 3, kGroups = 4, kStates = 1;  // groups r z n q
  static constexpr bool kSavesGroups = true;
  static constexpr Stage kStages[] = {{true, 2, {{0, 0, 2}, {2, 3, 1}}}};

  template <int kStage, class Lanes>
  static BPTT_INLINE void forward(Lanes lanes, const ForwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const V r = sigmoid(lanes.load(groups));
    const V z = sigmoid(lanes.load(groups + row.H));
    const V q = lanes.load(groups + 3 * row.H);
    const V n = tanh(fma(r, q, lanes.load(groups + 2 * row.H)));
    lanes.store(row.h + j, fma(z, lanes.load(row.h_prev + j), (V(1) - z) * n));
    if (row.save) {
      lanes.store(groups, r);
      lanes.store(groups + row.H, z);
      lanes.store(groups + 2 * row.H, n);
    }
  }

  template <int kStage, class Lanes>
  static BPTT_INLINE void backward(Lanes lanes, const BackwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const V r = lanes.load(groups);
    const V z = lanes.load(groups + row.H);
    const V n = lanes.load(groups + 2 * row.H);
    const V q = lanes.load(groups + 3 * row.H);
    const V dh = lanes.load(row.dh + j);
    const V da_n = dh * (V(1) - z) * fnma(n, n, V(1));
    lanes.store(groups, da_n * q * r * (V(1) - r));
    lanes.store(groups + row.H, dh * (lanes.load(row.h_prev + j) - n) * z * (V(1) - z));
    lanes.store(groups + 2 * row.H, da_n);
    lanes.store(groups + 3 * row.H, da_n * r);
    lanes.store(row.dh_prev + j, fma(dh, z, lanes.load(row.dh_prev + j)));
  }
};

// GRU cell whose reset gate acts before the recurrent product
//   r, z as above                                              saved
//   n   = tanh(W_in x + b_in + b_hn + W_hn (r * h_prev))       saved
//   h   = (1 - z) * n + z * h_prev
// The operand of the second stage is r * h_prev.

template <class V, bptt_cell>
struct GruResetBefore {
  using Scalar = typename V::Scalar;
  static constexpr int kGates = 3, kGroups = 3, kStates = 1;  // groups r z n
  static constexpr bool kSavesGroups = true;
  static constexpr Stage kStages[] = {{true, 1, {{0, 0, 2}}}, {false, 1, {{2, 2, 1}}}};

  template <int kStage, class Lanes>
  static BPTT_INLINE void forward(Lanes lanes, const ForwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const V h_prev = lanes.load(row.h_prev + j);
    if constexpr (kStage == 0) {
      const V r = sigmoid(lanes.load(groups));
      lanes.store(groups, r);
      lanes.store(row.operand + j, r * h_prev);
    } else {
      const V z = sigmoid(lanes.load(groups + row.H));
      const V n = tanh(lanes.load(groups + 2 * row.H));
      lanes.store(row.h + j, fma(z, h_prev, (V(1) - z) * n));
      lanes.store(groups + row.H, z);
      lanes.store(groups + 2 * row.H, n);
    }
  }

  template <int kStage, class Lanes>
  static BPTT_INLINE void backward(Lanes lanes, const BackwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const V h_prev = lanes.load(row.h_prev + j);
    if constexpr (kStage == 1) {
      const V z = lanes.load(groups + row.H);
      const V n = lanes.load(groups + 2 * row.H);
      const V dh = lanes.load(row.dh + j);
      lanes.store(row.operand + j, lanes.load(groups) * h_prev);
      lanes.store(groups + row.H, dh * (h_prev - n) * z * (V(1) - z));
      lanes.store(groups + 2 * row.H, dh * (V(1) - z) * fnma(n, n, V(1)));
      lanes.store(row.dh_prev + j, fma(dh, z, lanes.load(row.dh_prev + j)));
    } else {
      const V r = lanes.load(groups);
      const V drh = lanes.load(row.doperand + j);
      lanes.store(groups, drh * h_prev * r * (V(1) - r));
      lanes.store(row.dh_prev + j, fma(drh, r, lanes.load(row.dh_prev + j)));
    }
  }
};
