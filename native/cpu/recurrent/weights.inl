// Weights of recurrent layers in panels. In the forward part the gates of a
// product take turns, strip by strip, so what a unit needs lies together and a
// member that owns a range of units owns a range of memory. In the backward part
// the weights are transposed: each product over gates is one matrix.

// Pointers into the parts for one pseudo-layer; the names are PackedLayer's.
template <class V>
struct Panels {
  typename V::Scalar *ih, *hh, *hr, *bias, *back_ih, *back_hh, *back_hr;
};

// A part that a call does not use may be null.
template <class V>
Panels<V> panels_of(const bptt_plan& plan, int64_t layer, char* forward, char* backward) {
  const PackedLayer& at = plan.packed[layer];
  const auto in = [](char* part, size_t offset) {
    return part ? reinterpret_cast<typename V::Scalar*>(part + offset) : nullptr;
  };
  return {in(forward, at.ih),      in(forward, at.hh),       in(forward, at.hr),
          in(forward, at.bias),    in(backward, at.back_ih), in(backward, at.back_hh),
          in(backward, at.back_hr)};
}

// Packs a member's share of the panels.
template <class V>
void pack_share(const Member& member, int64_t k, int64_t n, const typename V::Scalar* b,
                int64_t row, int64_t col, typename V::Scalar* out) {
  const Range panels = share(panel_count<V>(n), member);
  pack_panels<V>(k, Columns{n}, 0, b, row, col, panels.begin, panels.end, out);
}

// Packs a member's share of the units of gates [gate, gate + count).
template <class V>
void pack_gates(const Member& member, int64_t k, int64_t H, int gate, int count,
                const typename V::Scalar* weights,  // [G*H,k]
                typename V::Scalar* out) {          // panels of all gates
  const Range units = share(panel_count<V>(H), member);
  for (int i = 0; i < count; ++i) {
    pack_panels<V>(k, Columns{H, count}, i, weights + (gate + i) * H * k, 1, k, units.begin,
                   units.end, out + packed_elements<V>(k, H) * gate);
  }
}

// Where the products of a stage go in a row of groups.
inline Columns stage_columns(const Stage& stage, int64_t H) {
  const StageGates gates = gates_of(stage);
  Columns columns = {H, gates.count};
  for (int i = 0; i < gates.count; ++i) columns.begin[i] = gates.group[i] * H;
  return columns;
}

template <class Cell>
Columns input_columns(int64_t H) {
  Columns columns = {H, Cell::kGates};
  for (int i = 0; i < Cell::kGates; ++i) columns.begin[i] = i * H;
  return columns;
}

// Group g starts at b_ih of its gate, plus b_hh of the gate whose recurrent product it takes.
template <class Cell, class Scalar>
void pack_bias(int64_t H, const Scalar* bias_ih, const Scalar* bias_hh, Scalar* out) {
  std::memset(out, 0, Cell::kGroups * H * sizeof(Scalar));
  if (bias_ih) std::memcpy(out, bias_ih, Cell::kGates * H * sizeof(Scalar));
  if (!bias_hh) return;
  for (int gate = 0; gate < Cell::kGates; ++gate) {
    Scalar* group = out + recurrent_group<Cell>(gate) * H;
    for (int64_t j = 0; j < H; ++j) group[j] += bias_hh[gate * H + j];
  }
}

template <class V, class Cell>
void pack_forward(const bptt_plan& plan, const Member& member, const bptt_recurrent_params* params,
                  char* part) {
  using Scalar = typename V::Scalar;
  const int64_t H = plan.desc.H, P = plan.desc.P, Hout = plan.Hout;
  for (int64_t layer = 0; layer < plan.desc.L * plan.desc.D; ++layer) {
    const bptt_recurrent_params& p = params[layer];
    const Panels<V> to = panels_of<V>(plan, layer, part, nullptr);
    const Scalar* weight_ih = static_cast<const Scalar*>(p.weight_ih);  // [G*H, input]
    const Scalar* weight_hh = static_cast<const Scalar*>(p.weight_hh);  // [G*H, Hout]
    const int64_t input = plan.input(layer / plan.desc.D);
    pack_gates<V>(member, input, H, 0, Cell::kGates, weight_ih, to.ih);
    for (const Stage& stage : Cell::kStages) {
      const StageGates gates = gates_of(stage);
      pack_gates<V>(member, stage.of_h ? Hout : H, H, gates.gate, gates.count, weight_hh, to.hh);
    }
    if (P > 0) pack_share<V>(member, H, P, static_cast<const Scalar*>(p.weight_hr), 1, H, to.hr);
    if (member.index == 0) {
      pack_bias<Cell>(H, static_cast<const Scalar*>(p.bias_ih),
                      static_cast<const Scalar*>(p.bias_hh), to.bias);
    }
  }
}

template <class V, class Cell>
void pack_backward(const bptt_plan& plan, const Member& member, const bptt_recurrent_params* params,
                   char* part) {
  using Scalar = typename V::Scalar;
  const int64_t H = plan.desc.H, P = plan.desc.P, Hout = plan.Hout;
  for (int64_t layer = 0; layer < plan.desc.L * plan.desc.D; ++layer) {
    const bptt_recurrent_params& p = params[layer];
    const Panels<V> to = panels_of<V>(plan, layer, nullptr, part);
    const int64_t input = plan.input(layer / plan.desc.D);
    pack_share<V>(member, Cell::kGates * H, input, static_cast<const Scalar*>(p.weight_ih), input,
                  1, to.back_ih);
    for (const Stage& stage : Cell::kStages) {
      for (int i = 0; i < stage.terms; ++i) {
        const Term& term = stage.term[i];
        const int64_t n = stage.of_h ? Hout : H;
        pack_share<V>(member, term.count * H, n,
                      static_cast<const Scalar*>(p.weight_hh) + term.gate * H * n, n, 1,
                      to.back_hh + packed_elements<V>(term.gate * H, n));
      }
    }
    if (P > 0)
      pack_share<V>(member, P, H, static_cast<const Scalar*>(p.weight_hr), H, 1, to.back_hr);
  }
}
