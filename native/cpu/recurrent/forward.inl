// Forward through time, for every cell: input product of a chunk of steps, then
// step by step the recurrent products and the cell's equations on their
// accumulators while these are in the cache.

// The rows whose product is computed before the cell's equations run on them: their accumulators
// are then still in the first-level cache.
constexpr int64_t kTileRows = 24;
// From kManyRows rows on, units are taken in blocks of kBlockPanels panels, whose weights stay in
// the cache over all rows; fewer rows take all units at once.
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
  const Scalar* x;  // [rows,input]
  Scalar* gates;    // saved: [rows, gate_stride], else those of a chunk of steps
  int64_t t_begin;  // the chunk's first time; 0 where all are saved
  bool own_places;  // a chunk has a place for each row of the batch
  bool save;
  Scalar* c;         // saved: [rows,H], else [B,H]
  const Scalar* h0;  // [B,Hout], sorted
  const Scalar* c0;  // [B,H], sorted
  Scalar* y;         // [rows,Hout] in rows of D*Hout
  Scalar* operand;   // [B,H]
  Scalar* m;         // [B,H]
  const Scalar* unit_weights;

  // Accumulators of row r at time t. Members that split the rows of a chunk have places
  // of their own, so that none waits for another where lengths differ.
  Scalar* gates_at(int64_t t, int64_t r) const {
    const int64_t place =
        own_places ? (t - t_begin) * plan.desc.B : plan.offset[t] - plan.offset[t_begin];
    return gates + (place + r) * plan.gate_stride;
  }
};

inline int64_t block_panels(int64_t rows, Range panels) {
  return rows < kManyRows ? most(panels.size(), 1) : kBlockPanels;
}

// Begins the accumulators of m packed rows, from row r of time t on, at bias + W_ih x,
// for a range of panels of units.
template <class V, class Cell>
void project_rows(const ForwardDirection<V>& at, int64_t t, int64_t r, int64_t m, Range units) {
  using Scalar = typename V::Scalar;
  const Scalar* x = at.x + (at.plan.offset[t] + r) * at.input;
  Scalar* gates = at.gates_at(t, r);
  const int64_t H = at.plan.desc.H, stride = at.plan.gate_stride;
  gemm<V>({.m = m,
           .k = at.input,
           .a = x,
           .a_row = at.input,
           .packed = at.weights.ih,
           .init = Init::kBias,
           .bias = at.weights.bias,
           .c = gates,
           .c_row = stride},
          input_columns<Cell>(H), units.begin * Cell::kGates, units.end * Cell::kGates);
  const int64_t begin = units.begin * panel_width<V>;
  const int64_t size = least(units.end * panel_width<V>, H) - begin;
  for (int group = Cell::kGates; group < Cell::kGroups; ++group) {
    const Scalar* bias = at.weights.bias + group * H + begin;
    Scalar* to = gates + group * H + begin;
    for (int64_t row = 0; row < m; ++row)
      std::memcpy(to + row * stride, bias, size * sizeof(Scalar));
  }
}

// Begins the accumulators of steps [t_begin, t_end).
template <class V, class Cell>
void project_input(const ForwardDirection<V>& at, int64_t t_begin, int64_t t_end) {
  const bptt_plan& plan = at.plan;
  if (at.part.rows.begin == 0 && at.part.rows.end == plan.desc.B) {
    project_rows<V, Cell>(at, t_begin, 0, plan.offset[t_end] - plan.offset[t_begin],
                          at.part.panels);
    return;
  }
  const int64_t width = block_panels(at.part.rows.size(), at.part.panels);
  for (int64_t p = at.part.panels.begin; p < at.part.panels.end; p += width) {
    const int64_t end = least(p + width, at.part.panels.end);
    for (int64_t t = t_begin; t < t_end; ++t) {
      const int64_t last = least(at.part.rows.end, plan.active(t));
      if (at.part.rows.begin >= last) continue;
      project_rows<V, Cell>(at, t, at.part.rows.begin, last - at.part.rows.begin, {p, end});
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
    row.groups = at.gates_at(step.t, r);
    row.h_prev = rows.initial ? at.h0 + r * plan.Hout : at.y + before * plan.width;
    row.h = plan.desc.P > 0 ? at.m + r * H : at.y + k * plan.width;
    row.c = nullptr;
    row.c_prev = nullptr;
    if constexpr (Cell::kStates == 2) {
      row.c = at.c + (at.save ? k : r) * H;
      row.c_prev = rows.initial ? at.c0 + r * H : at.c + (at.save ? before : r) * H;
    }
    row.operand = at.operand + r * H;
    row.unit_weights = at.unit_weights;
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
  const int64_t H = plan.desc.H, k = kThis.of_h ? plan.Hout : H;
  const Columns columns = stage_columns(kThis, H);
  const typename V::Scalar* weights =
      at.weights.hh + packed_elements<V>(k, H) * gates_of(kThis).gate;
  for (int half = 0; half < 2; ++half) {
    const Rows rows = rows_of(plan, at.part, step, half);
    const int64_t width = block_panels(rows.end - rows.begin, at.part.panels);
    for (int64_t p = at.part.panels.begin; p < at.part.panels.end; p += width) {
      const Range panels = {p, least(p + width, at.part.panels.end)};
      const int64_t j_end = least(panels.end * panel_width<V>, H);
      for (int64_t r = rows.begin; r < rows.end; r += kTileRows) {
        const Rows tile = {r, least(r + kTileRows, rows.end), rows.initial};
        const typename V::Scalar* a = at.operand + r * H;
        int64_t a_row = H;
        if (kThis.of_h) {
          a_row = rows.initial ? plan.Hout : plan.width;
          a = rows.initial ? at.h0 + r * a_row : at.y + (plan.offset[step.before] + r) * a_row;
        }
        gemm<V>({.m = tile.end - tile.begin,
                 .k = k,
                 .a = a,
                 .a_row = a_row,
                 .packed = weights,
                 .init = Init::kAccumulate,
                 .c = at.gates_at(step.t, r),
                 .c_row = plan.gate_stride},
                columns, panels.begin * columns.groups, panels.end * columns.groups, step.odd);
        forward_units<V, Cell, kStage>(at, step, tile, p * panel_width<V>, j_end);
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
  const int64_t end = least(at.part.rows.end, active);
  if (begin >= end) return;
  gemm<V>({.m = end - begin,
           .k = H,
           .a = at.m + begin * H,
           .a_row = H,
           .packed = at.weights.hr,
           .c = at.y + (plan.offset[step.t] + begin) * plan.width,
           .c_row = plan.width},
          Columns{plan.desc.P}, at.part.out.begin, at.part.out.end);
}

// True: the call is cancelled.
template <class V, class Cell>
bool forward_steps(ForwardDirection<V>& at, Phases& phases) {
  const bptt_plan& plan = at.plan;
  const bool in_gates = at.save && Cell::kSavesGroups;
  at.own_places = !in_gates && at.part.rows.size() < plan.desc.B;
  for (int64_t begin = 0; begin < plan.steps; begin += plan.chunk_steps) {
    const int64_t end = least(begin + plan.chunk_steps, plan.steps);
    const int64_t t_begin = at.direction == 0 ? begin : plan.steps - end;
    at.t_begin = in_gates ? 0 : t_begin;
    project_input<V, Cell>(at, t_begin, t_begin + (end - begin));
    for (int64_t s = begin; s < end; ++s) {
      if (phases.cancelled() && at.part.by_rows) return phases.next();
      if (!at.part.by_rows && phases.next()) return true;
      const Step step = step_of(plan, at.direction, s);
      forward_stage<V, Cell, 0>(at, step);
      if constexpr (stage_count<Cell> > 1) {
        if (!at.part.by_rows && phases.next()) return true;
        forward_stage<V, Cell, 1>(at, step);
      }
      if (plan.desc.P > 0) {
        if (!at.part.by_rows && phases.next()) return true;
        project_output(at, step);
      }
    }
  }
  return phases.next();
}

// What one member does of a forward call.
template <class V, class Cell>
void forward_member(const ForwardCall<V>& call, Phases& phases) {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan = call.plan;
  const bptt_recurrent_forward& args = call.args;
  const ForwardWorkspace& work = plan.forward;
  const Member& member = phases.member;
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
          .t_begin = 0,
          .own_places = false,
          .save = save,
          .c = save && two ? reinterpret_cast<Scalar*>(reserve + saved.c) : call.work(work.c),
          .h0 = h0,
          .c0 = c0,
          .y = call.output(layer) + direction * Hout,
          .operand = call.work(work.operand),
          .m = call.work(work.m),
          .unit_weights = static_cast<const Scalar*>(unit_weights_in<Cell>(args.params[index]))};
      if (phases.next() || forward_steps<V, Cell>(at, phases)) return;

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
