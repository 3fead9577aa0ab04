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

// LSTM cell with peepholes: one weight per unit from c to each of i, f and o
//   i   = sigmoid(W_ii x + b_ii + W_hi h_prev + b_hi + w_ci * c_prev)   saved
//   f   = sigmoid(W_if x + b_if + W_hf h_prev + b_hf + w_cf * c_prev)   saved
//   g   = tanh   (W_ig x + b_ig + W_hg h_prev + b_hg)                   saved
//   c   = f * c_prev + i * g                                            saved
//   o   = sigmoid(W_io x + b_io + W_ho h_prev + b_ho + w_co * c)        saved
//   h   = o * tanh(c)

template <class V, bptt_cell kCell>
struct LstmPeephole {
  using Scalar = typename V::Scalar;
  static constexpr int kGates = 4, kGroups = 4, kStates = 2;
  static constexpr bool kSavesGroups = true;
  static constexpr UnitWeights kUnitWeights = unit_weights_of(kCell);  // i f o
  static constexpr Stage kStages[] = {{true, 1, {{0, 0, 4}}}};

  template <int kStage, class Lanes>
  static BPTT_INLINE void forward(Lanes lanes, const ForwardRow<Scalar>& row, int64_t j) {
    Scalar* groups = row.groups + j;
    const Scalar* weights = row.unit_weights + j;
    const V c_prev = lanes.load(row.c_prev + j);
    const V i = sigmoid(fma(lanes.load(weights), c_prev, lanes.load(groups)));
    const V f = sigmoid(fma(lanes.load(weights + row.H), c_prev, lanes.load(groups + row.H)));
    const V g = tanh(lanes.load(groups + 2 * row.H));
    const V c = fma(f, c_prev, i * g);
    const V o = sigmoid(fma(lanes.load(weights + 2 * row.H), c, lanes.load(groups + 3 * row.H)));
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
    Scalar* dweights = row.dunit_weights + j;
    const Scalar* weights = row.unit_weights + j;
    const V i = lanes.load(groups);
    const V f = lanes.load(groups + row.H);
    const V g = lanes.load(groups + 2 * row.H);
    const V o = lanes.load(groups + 3 * row.H);
    const V c = lanes.load(row.c + j);
    const V c_prev = lanes.load(row.c_prev + j);
    const V tanh_c = tanh(c);
    const V dh = lanes.load(row.dh + j);
    const V da_o = dh * tanh_c * o * (V(1) - o);
    const V from_h = fma(dh * o, fnma(tanh_c, tanh_c, V(1)), lanes.load(row.dc + j));
    const V dc = fma(da_o, lanes.load(weights + 2 * row.H), from_h);
    const V da_i = dc * g * i * (V(1) - i);
    const V da_f = dc * c_prev * f * (V(1) - f);
    lanes.store(groups, da_i);
    lanes.store(groups + row.H, da_f);
    lanes.store(groups + 2 * row.H, dc * i * fnma(g, g, V(1)));
    lanes.store(groups + 3 * row.H, da_o);
    const V from_i = fma(da_i, lanes.load(weights), dc * f);
    lanes.store(row.dc + j, fma(da_f, lanes.load(weights + row.H), from_i));
    lanes.store(dweights, da_i * c_prev);
    lanes.store(dweights + row.H, da_f * c_prev);
    lanes.store(dweights + 2 * row.H, da_o * c);
    // c is not needed any more; dweight_hr needs m.
    if (row.projected) lanes.store(row.c + j, o * tanh_c);
  }
};
