// What a recurrent cell is to the time loop, and what its equations are given.
//
// A cell is a template `template <class V, bptt_cell kCell> struct Name` with
//   kGates    weight blocks of H rows in weight_ih and weight_hh
//   kGroups   accumulators of H numbers per row. Group g < kGates starts at its
//             bias and takes the input product of gate g; what the recurrent
//             product of a gate adds to is up to the stages
//   kStates   1: h   2: h and c
//   kSavesGroups  training keeps what forward leaves in the groups
//   kUnitWeights  only in cells that have such weights: unit_weights_of(kCell)
//   kStages   the recurrent products of a step, in order. Each adds its terms to
//             the accumulators, then forward<stage> runs on the units
//   forward<stage>(lanes, row, j)   the equations, for the units at j
//   backward<stage>(lanes, row, j)  their derivatives; stages run backwards. Each
//             leaves the gradients of the stage's groups in their place, then
//             the product with the stage's weights, transposed, adds to dh_prev
//             (or writes doperand, for a stage that does not multiply h_prev)

// Weight gates gate .. gate+count-1 of weight_hh act on groups group .. group+count-1.
struct Term {
  int gate, group, count;
};

struct Stage {
  bool of_h;  // multiplies h_prev; otherwise what the stage before left in operand
  int terms;
  Term term[2];
};

// One row of one step; pointers lead to H numbers where nothing else is said (groups: kGroups * H).
template <class Scalar>
struct ForwardRow {
  int64_t H;
  bool save;  // leave in the groups what backward needs
  Scalar* groups;
  const Scalar* h_prev;
  const Scalar* c_prev;
  Scalar* h;
  Scalar* c;  // may be c_prev
  Scalar* operand;
  const Scalar* unit_weights;  // [n,H]
};

template <class Scalar>
struct BackwardRow {
  int64_t H;
  Scalar* groups;  // in: what forward saved; out: gradients
  const Scalar* h;
  const Scalar* h_prev;
  const Scalar* c_prev;
  Scalar* c;  // with a projection, out: h before it
  const Scalar* dh;
  Scalar* dh_prev;  // added to
  Scalar* dc;       // in: of c; out: of c_prev
  Scalar* operand;  // recomputed
  const Scalar* doperand;
  const Scalar* unit_weights;  // [n,H]
  Scalar* dunit_weights;       // [n,H], out: this step's part
  bool projected;
};

// The units a vector covers: all its lanes, or the first n of them.
template <class V>
struct AllLanes {
  using Scalar = typename V::Scalar;
  BPTT_INLINE V load(const Scalar* p) const { return V::load(p); }
  BPTT_INLINE void store(Scalar* p, V v) const { v.store(p); }
};

template <class V>
struct FirstLanes {
  using Scalar = typename V::Scalar;
  int64_t n;
  BPTT_INLINE V load(const Scalar* p) const { return V::load(p, n); }
  BPTT_INLINE void store(Scalar* p, V v) const { v.store(p, n); }
};

// The group that the recurrent product of a gate adds to.
template <class Cell>
constexpr int recurrent_group(int gate) {
  for (const Stage& stage : Cell::kStages) {
    for (int i = 0; i < stage.terms; ++i) {
      const Term& term = stage.term[i];
      if (gate >= term.gate && gate < term.gate + term.count) return term.group + gate - term.gate;
    }
  }
  return -1;
}

// The gates whose products a stage adds, one after another from `gate`, and their groups.
struct StageGates {
  int gate, count;
  int group[4];
};

constexpr StageGates gates_of(const Stage& stage) {
  StageGates gates = {stage.term[0].gate, 0, {}};
  for (int i = 0; i < stage.terms; ++i) {
    for (int j = 0; j < stage.term[i].count; ++j) {
      gates.group[gates.count++] = stage.term[i].group + j;
    }
  }
  return gates;
}

template <class Cell>
constexpr int stage_count = static_cast<int>(sizeof(Cell::kStages) / sizeof(Stage));

template <class Cell>
constexpr bool has_unit_weights = requires { Cell::kUnitWeights; };

template <class Cell>
void* unit_weights_in(const bptt_recurrent_params& params) {
  if constexpr (has_unit_weights<Cell>) return Cell::kUnitWeights.in(params);
  return nullptr;
}

template <class Cell>
CellShape cell_shape() {
  int64_t unit_weights = 0;
  if constexpr (has_unit_weights<Cell>) unit_weights = Cell::kUnitWeights.count;
  return {Cell::kGates,       Cell::kGroups,         Cell::kStates,
          Cell::kSavesGroups, stage_count<Cell> > 1, unit_weights};
}
