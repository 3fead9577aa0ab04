// RNN cell (docs/equations.md#rnn)
//   a   = W_ih x + b_ih + W_hh h_prev + b_hh        [B,H]
//   h   = tanh(a)  or  relu(a)
//
// Saved: nothing beyond h, which is the output.

template <class V, bptt_cell kCell>
struct Rnn {
  using Scalar = typename V::Scalar;
  static constexpr int kGates = 1, kGroups = 1, kStates = 1;
  static constexpr bool kSavesGroups = false;
  static constexpr Stage kStages[] = {{true, 1, {{0, 0, 1}}}};

  template <int kStage, class Lanes>
  static BPTT_INLINE void forward(Lanes lanes, const ForwardRow<Scalar>& row, int64_t j) {
    const V a = lanes.load(row.groups + j);
    V h;
    if constexpr (kCell == BPTT_RNN_TANH) {
      h = tanh(a);
    } else {
      h = max(V(), a);
    }
    lanes.store(row.h + j, h);
  }

  template <int kStage, class Lanes>
  static BPTT_INLINE void backward(Lanes lanes, const BackwardRow<Scalar>& row, int64_t j) {
    const V h = lanes.load(row.h + j);
    const V dh = lanes.load(row.dh + j);
    V da;
    if constexpr (kCell == BPTT_RNN_TANH) {
      da = dh * fnma(h, h, V(1));
    } else {
      da = select(gt(h, V()), dh, V());
    }
    lanes.store(row.groups + j, da);
  }
};
