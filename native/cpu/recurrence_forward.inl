// Forward through time, for every cell: input product of a chunk of steps, then
// step by step the recurrent products and the cell's equations on their
// accumulators while these are in the cache.

// Rows of a tile: what a panel block computes before its equations run.
constexpr int64_t kTileRows = 24;
// From so many rows on, a panel block is narrow enough to stay in the cache.
constexpr int64_t kManyRows = 8;
constexpr int64_t kBlockPanels = 2;

// One forward call; read-only for its members.
template <class V>
struct ForwardCall {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan;
  const bptt_recurrent_forward& args;
  char* packed;
  bool pack;  // packed must be filled first

  Scalar* work(size_t offset) const {
    return reinterpret_cast<Scalar*>(static_cast<char*>(args.workspace) + offset);
  }
  // [rows,D*Hout]
  Scalar* output(int64_t layer) const {
    const bool top = layer == plan.desc.L - 1;
    if (top && plan.in_place) return static_cast<Scalar*>(args.y);
    if (!top && plan.desc.training) {
      return reinterpret_cast<Scalar*>(static_cast<char*>(args.reserve) + plan.saved_y[layer]);
    }
    return work(plan.forward.y[layer % 2]);
  }
};

// One direction of one layer, for one member.
template <class V>
struct ForwardDirection {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan;
  const Part& part;
  int64_t direction;
  Panels<V> weights;
  int64_t input;
  const Scalar* x;   // [rows,input]
  Scalar* gates;     // [rows or chunk_rows, gate_stride]
  int64_t gate_row;  // packed row of the first row in gates
  bool save;
  Scalar* c;         // saved: [rows,H], else [B,H]
  const Scalar* h0;  // [B,Hout], sorted
  const Scalar* c0;  // [B,H], sorted
  Scalar* y;         // [rows,Hout] in rows of D*Hout
  Scalar* operand;   // [B,H]
  Scalar* m;         // [B,H]

  Scalar* gates_at(int64_t k) const { return gates + (k - gate_row) * plan.gate_stride; }
};

// Adds weight gates [gate, gate+count), in panels, times a to groups [group, group+count),
// or begins them at their bias.
template <class V>
void gates_product(const bptt_plan& plan, const Term& term, int64_t m, int64_t k,
                   const typename V::Scalar* a, int64_t a_row, const typename V::Scalar* weights,
                   Range panels, Init init, const typename V::Scalar* bias,
                   typename V::Scalar* gates) {
  const int64_t H = plan.desc.H, all = panel_count<V>(H);
  const typename V::Scalar* w = weights + term.gate * packed_elements<V>(k, H);
  if (bias) bias += term.group * H;
  gates += term.group * H;
  if (H % panel_width<V> == 0 && panels.size() == all) {
    gemm<V>(m, term.count * H, k, a, a_row, 1, w, 0, term.count * all, init, bias, gates,
            plan.gate_stride);
    return;
  }
  for (int i = 0; i < term.count; ++i) {
    gemm<V>(m, H, k, a, a_row, 1, w + i * packed_elements<V>(k, H), panels.begin, panels.end, init,
            bias ? bias + i * H : nullptr, gates + i * H, plan.gate_stride);
  }
}

inline int64_t block_panels(int64_t rows, Range panels) {
  return rows < kManyRows ? (panels.size() > 0 ? panels.size() : 1) : kBlockPanels;
}

// Begins the accumulators of steps [t_begin, t_end) at bias + W_ih x.
template <class V, class Cell>
void project_input(const ForwardDirection<V>& at, int64_t t_begin, int64_t t_end) {
  const bptt_plan& plan = at.plan;
  const Term gates = {0, 0, Cell::kGates};
  const Term rest = {0, Cell::kGates, Cell::kGroups - Cell::kGates};
  const auto product = [&](int64_t k, int64_t m, Range panels) {
    gates_product<V>(plan, gates, m, at.input, at.x + k * at.input, at.input, at.weights.ih, panels,
                     Init::kBias, at.weights.bias, at.gates_at(k));
    if (rest.count > 0) {
      gates_product<V>(plan, rest, m, 0, at.x, 0, at.weights.ih, panels, Init::kBias,
                       at.weights.bias, at.gates_at(k));
    }
  };
  const Range all = {plan.offset[t_begin], plan.offset[t_end]};
  if (at.part.rows.begin == 0 && at.part.rows.end == plan.desc.B) {
    product(all.begin, all.size(), at.part.panels);
    return;
  }
  const int64_t width = block_panels(at.part.rows.size(), at.part.panels);
  for (int64_t p = at.part.panels.begin; p < at.part.panels.end; p += width) {
    const int64_t end = p + width < at.part.panels.end ? p + width : at.part.panels.end;
    for (int64_t t = t_begin; t < t_end; ++t) {
      const int64_t last = at.part.rows.end < plan.active(t) ? at.part.rows.end : plan.active(t);
      if (at.part.rows.begin >= last) continue;
      product(plan.offset[t] + at.part.rows.begin, last - at.part.rows.begin, {p, end});
    }
  }
}

// The equations of a stage for units [j_begin, j_end) of rows [begin, end).
template <class V, class Cell, int kStage>
void forward_units(const ForwardDirection<V>& at, const Step& step, Rows rows, int64_t j_begin,
                   int64_t j_end) {
  const bptt_plan& plan = at.plan;
  const int64_t H = plan.desc.H;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const int64_t k = plan.offset[step.t] + r;
    const int64_t before = rows.initial ? 0 : plan.offset[step.before] + r;
    ForwardRow<typename V::Scalar> row;
    row.H = H;
    row.save = at.save;
    row.groups = at.gates_at(k);
    row.h_prev = rows.initial ? at.h0 + r * plan.Hout : at.y + before * plan.width;
    row.h = plan.desc.P > 0 ? at.m + r * H : at.y + k * plan.width;
    row.c = nullptr;
    row.c_prev = nullptr;
    if constexpr (Cell::kStates == 2) {
      row.c = at.c + (at.save ? k : r) * H;
      row.c_prev = rows.initial ? at.c0 + r * H : at.c + (at.save ? before : r) * H;
    }
    row.operand = at.operand + r * H;
    int64_t j = j_begin;
    for (; j + V::N <= j_end; j += V::N) {
      Cell::template forward<kStage>(AllLanes<V>{}, row, j);
    }
    if (j < j_end) Cell::template forward<kStage>(FirstLanes<V>{j_end - j}, row, j);
  }
}

// A stage of one step: products, then equations, panel block by panel block.
template <class V, class Cell, int kStage>
void forward_stage(const ForwardDirection<V>& at, const Step& step) {
  const bptt_plan& plan = at.plan;
  constexpr Stage kThis = Cell::kStages[kStage];
  const int64_t H = plan.desc.H;
  for (int half = 0; half < 2; ++half) {
    const Rows rows = rows_of(plan, at.part, step, half);
    const int64_t width = block_panels(rows.end - rows.begin, at.part.panels);
    for (int64_t p = at.part.panels.begin; p < at.part.panels.end; p += width) {
      const Range panels = {p, p + width < at.part.panels.end ? p + width : at.part.panels.end};
      const int64_t j_end = panels.end * panel_width<V>;
      for (int64_t r = rows.begin; r < rows.end; r += kTileRows) {
        const Rows tile = {r, r + kTileRows < rows.end ? r + kTileRows : rows.end, rows.initial};
        const typename V::Scalar* a = at.operand + r * H;
        int64_t a_row = H;
        if (kThis.of_h) {
          a_row = rows.initial ? plan.Hout : plan.width;
          a = rows.initial ? at.h0 + r * a_row : at.y + (plan.offset[step.before] + r) * a_row;
        }
        for (int i = 0; i < kThis.terms; ++i) {
          gates_product<V>(plan, kThis.term[i], tile.end - tile.begin, kThis.of_h ? plan.Hout : H,
                           a, a_row, at.weights.hh, panels, Init::kAccumulate, nullptr,
                           at.gates_at(plan.offset[step.t] + r));
        }
        forward_units<V, Cell, kStage>(at, step, tile, p * panel_width<V>, j_end < H ? j_end : H);
      }
    }
  }
}

// h = W_hr m
template <class V>
void project_output(const ForwardDirection<V>& at, const Step& step) {
  const bptt_plan& plan = at.plan;
  const int64_t H = plan.desc.H, active = plan.active(step.t);
  const int64_t begin = at.part.rows.begin;
  const int64_t end = at.part.rows.end < active ? at.part.rows.end : active;
  if (begin >= end) return;
  gemm<V>(end - begin, plan.desc.P, H, at.m + begin * H, H, 1, at.weights.hr, at.part.out.begin,
          at.part.out.end, Init::kZero, nullptr, at.y + (plan.offset[step.t] + begin) * plan.width,
          plan.width);
}

// True: the call is cancelled.
template <class V, class Cell>
bool forward_steps(ForwardDirection<V>& at, Pace& pace) {
  const bptt_plan& plan = at.plan;
  const bool in_gates = at.save && Cell::kSavesGroups;
  for (int64_t begin = 0; begin < plan.steps; begin += plan.chunk_steps) {
    const int64_t end =
        begin + plan.chunk_steps < plan.steps ? begin + plan.chunk_steps : plan.steps;
    const int64_t t_begin = at.direction == 0 ? begin : plan.steps - end;
    at.gate_row = in_gates ? 0 : plan.offset[t_begin];
    // A chunk reuses the accumulators of the one before, and where lengths differ a
    // row's place may have been another member's.
    if (begin > 0 && !in_gates && at.part.by_rows && pace.next()) return true;
    project_input<V, Cell>(at, t_begin, t_begin + (end - begin));
    for (int64_t s = begin; s < end; ++s) {
      if (pace.cancelled() && at.part.by_rows) return pace.next();
      if (!at.part.by_rows && pace.next()) return true;
      const Step step = step_of(plan, at.direction, s);
      forward_stage<V, Cell, 0>(at, step);
      if constexpr (stage_count<Cell> > 1) {
        if (!at.part.by_rows && pace.next()) return true;
        forward_stage<V, Cell, 1>(at, step);
      }
      if (plan.desc.P > 0) {
        if (!at.part.by_rows && pace.next()) return true;
        project_output(at, step);
      }
    }
  }
  return pace.next();
}

// What one member does of a forward call.
template <class V, class Cell>
void forward_member(const ForwardCall<V>& call, Pace& pace) {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan = call.plan;
  const bptt_recurrent_forward& args = call.args;
  const ForwardWorkspace& work = plan.forward;
  const Member& member = pace.member;
  const int64_t B = plan.desc.B, H = plan.desc.H, D = plan.desc.D, Hout = plan.Hout;
  const bool two = Cell::kStates == 2;
  const Part part = part_of<V>(plan, member);
  const Range states = share(B, member);

  if (call.pack) pack_forward<V, Cell>(plan, member, args.params, call.packed);
  const Scalar* x = static_cast<const Scalar*>(args.x);
  if (!plan.in_place) {
    gather_rows(plan, member, plan.desc.I, x, call.work(work.x));
    x = call.work(work.x);
  }
  for (int64_t layer = 0; layer < plan.desc.L; ++layer) {
    if (layer > 0) {
      x = call.output(layer - 1);
      if (plan.desc.dropout > 0) {
        dropout_rows(plan, member, layer - 1, args.rng, x, call.work(work.dropped));
        x = call.work(work.dropped);
      }
    }
    for (int64_t direction = 0; direction < D; ++direction) {
      const int64_t index = layer * D + direction;
      const auto state = [&](const void* all, int64_t n) {
        return all ? static_cast<const Scalar*>(all) + index * B * n : nullptr;
      };
      const SavedLayer& saved = plan.saved[index];
      char* reserve = static_cast<char*>(args.reserve);
      const bool save = plan.desc.training != 0;
      Scalar* h0 = call.work(work.h0);
      Scalar* c0 = call.work(work.c0);
      gather_state(plan, states, Hout, state(args.h0, Hout), h0);
      if (two) gather_state(plan, states, H, state(args.c0, H), c0);

      ForwardDirection<V> at = {
          .plan = plan,
          .part = part,
          .direction = direction,
          .weights = panels_of<V>(plan, index, call.packed, nullptr),
          .input = plan.input(layer),
          .x = x,
          .gates = save && Cell::kSavesGroups ? reinterpret_cast<Scalar*>(reserve + saved.gates)
                                              : call.work(work.gates),
          .gate_row = 0,
          .save = save,
          .c = save && two ? reinterpret_cast<Scalar*>(reserve + saved.c) : call.work(work.c),
          .h0 = h0,
          .c0 = c0,
          .y = call.output(layer) + direction * Hout,
          .operand = call.work(work.operand),
          .m = call.work(work.m)};
      if (pace.next() || forward_steps<V, Cell>(at, pace)) return;

      for (int64_t r = states.begin; r < states.end; ++r) {
        const bool moved = plan.length[r] > 0;
        const int64_t k = moved ? last_row(plan, direction, r) : 0;
        const int64_t row = index * B + plan.order[r];
        if (args.hn) {
          std::memcpy(static_cast<Scalar*>(args.hn) + row * Hout,
                      moved ? at.y + k * plan.width : h0 + r * Hout, Hout * sizeof(Scalar));
        }
        if (two && args.cn) {
          std::memcpy(static_cast<Scalar*>(args.cn) + row * H,
                      moved ? at.c + (save ? k : r) * H : c0 + r * H, H * sizeof(Scalar));
        }
      }
    }
  }
  if (!plan.in_place) {
    scatter_rows(plan, member, plan.width, call.output(plan.desc.L - 1),
                 static_cast<Scalar*>(args.y));
  }
}
