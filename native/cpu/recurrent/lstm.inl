// LSTM cell, gate order i f g o (docs/equations.md#lstm)
//   i   = sigmoid(W_ii x + b_ii + W_hi h_prev + b_hi)   [B,H]  saved
//   f   = sigmoid(W_if x + b_if + W_hf h_prev + b_hf)          saved
//   g   = tanh   (W_ig x + b_ig + W_hg h_prev + b_hg)          saved
//   o   = sigmoid(W_io x + b_io + W_ho h_prev + b_ho)          saved
//   c   = f * c_prev + i * g                                   saved
//   h   = o * tanh(c)
// With a projection this h is m, and h = W_hr m                [B,P]

template <class V, bptt_cell>
struct Lstm {
  using Scalar = typename V::Scalar;
  static constexpr int kGates = 4, kGroups = 4, kStates = 2;
  static constexpr bool kSavesGroups = true;
  static constexpr Stage kStages[] = {{true, 1, {{0, 0, 4}}}};

  template <int kStage, class Lanes>
  static BPTT_INLINE void forward(Lanes lanes, const ForwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const V i = sigmoid(lanes.load(groups));
    const V f = sigmoid(lanes.load(groups + row.H));
    const V g = tanh(lanes.load(groups + 2 * row.H));
    const V o = sigmoid(lanes.load(groups + 3 * row.H));
    const V c = fma(f, lanes.load(row.c_prev + j), i * g);
    lanes.store(row.c + j, c);
    lanes.store(row.h + j, o * tanh(c));
    if (row.save) {
      lanes.store(groups, i);
      lanes.store(groups + row.H, f);
      lanes.store(groups + 2 * row.H, g);
      lanes.store(groups + 3 * row.H, o);
    }
  }

  template <int kStage, class Lanes>
  static BPTT_INLINE void backward(Lanes lanes, const BackwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const V i = lanes.load(groups);
    const V f = lanes.load(groups + row.H);
    const V g = lanes.load(groups + 2 * row.H);
    const V o = lanes.load(groups + 3 * row.H);
    const V tanh_c = tanh(lanes.load(row.c + j));
    const V dh = lanes.load(row.dh + j);
    const V dc = fma(dh * o, fnma(tanh_c, tanh_c, V(1)), lanes.load(row.dc + j));
    lanes.store(groups, dc * g * i * (V(1) - i));
    lanes.store(groups + row.H, dc * lanes.load(row.c_prev + j) * f * (V(1) - f));
    lanes.store(groups + 2 * row.H, dc * i * fnma(g, g, V(1)));
    lanes.store(groups + 3 * row.H, dh * tanh_c * o * (V(1) - o));
    lanes.store(row.dc + j, dc * f);
    // c is not needed any more; dweight_hr needs m.
    if (row.projected) lanes.store(row.c + j, o * tanh_c);
  }
};
