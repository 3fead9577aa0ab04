// Backward through time, for every cell. dh accumulates in dy, in the layout of
// the packed rows: it begins as the gradient of the output, plus that of hn at a
// row's last step, then takes what the step after sends back. The gradients of
// the gates take the place of what forward saved; the weights' gradients are
// formed from them after the loop.

// One backward call; read-only for its members.
template <class V>
struct BackwardCall {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan;
  const bptt_recurrent_backward& args;
  char* packed;    // the backward part
  bool pack;       // it must be filled first
  int64_t lowest;  // layers below it have no gradient that is wanted

  Scalar* work(size_t offset) const {
    return reinterpret_cast<Scalar*>(static_cast<char*>(args.workspace) + offset);
  }
  Scalar* saved(size_t offset) const {
    return reinterpret_cast<Scalar*>(static_cast<char*>(args.reserve) + offset);
  }
  // The forward's output of a layer, [rows,D*Hout].
  const Scalar* output(int64_t layer) const {
    if (layer < plan.desc.L - 1) return saved(plan.saved_y[layer]);
    return plan.in_place ? static_cast<const Scalar*>(args.y) : work(plan.backward.y);
  }
  bptt_recurrent_params wanted(int64_t index) const {
    return args.dparams ? args.dparams[index] : bptt_recurrent_params{};
  }
};

// One direction of one layer, for one member.
template <class V>
struct BackwardDirection {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan;
  const Part& part;
  int64_t direction;
  Panels<V> weights;
  Scalar* gates;         // [rows, gate_stride]
  Scalar* c;             // [rows,H]
  const Scalar* y;       // [rows,Hout] in rows of D*Hout
  const Scalar* h0;      // [B,Hout], sorted
  const Scalar* c0;      // [B,H], sorted
  Scalar* dy;            // [rows,Hout] in rows of D*Hout
  Scalar* dh0;           // [B,Hout], sorted
  Scalar* dc;            // [B,H], sorted
  Scalar* dm;            // [B,H]
  Scalar* operand_rows;  // [rows,H]
  Scalar* doperand;      // [B,H]
  const Scalar* unit_weights;
  Scalar* dunit_weights;  // [rows, n*H]
  bool dh0_wanted;
};

// The derivatives of a stage for the member's units of rows [begin, end).
template <class V, class Cell, int kStage>
void backward_units(const BackwardDirection<V>& at, const Step& step, Rows rows) {
  const bptt_plan& plan = at.plan;
  const int64_t H = plan.desc.H, P = plan.desc.P;
  const int64_t j_begin = at.part.panels.begin * panel_width<V>;
  const int64_t j_end = least(at.part.panels.end * panel_width<V>, H);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const int64_t k = plan.offset[step.t] + r;
    const int64_t before = rows.initial ? 0 : plan.offset[step.before] + r;
    BackwardRow<typename V::Scalar> row;
    row.H = H;
    row.groups = at.gates + k * plan.gate_stride;
    row.h = at.y + k * plan.width;
    row.h_prev = rows.initial ? at.h0 + r * plan.Hout : at.y + before * plan.width;
    row.c = nullptr;
    row.c_prev = nullptr;
    row.dc = nullptr;
    if constexpr (Cell::kStates == 2) {
      row.c = at.c + k * H;
      row.c_prev = rows.initial ? at.c0 + r * H : at.c + before * H;
      row.dc = at.dc + r * H;
    }
    row.dh = P > 0 ? at.dm + r * H : at.dy + k * plan.width;
    row.dh_prev = rows.initial ? at.dh0 + r * plan.Hout : at.dy + before * plan.width;
    row.operand = at.operand_rows + k * H;
    row.doperand = at.doperand + r * H;
    row.unit_weights = at.unit_weights;
    row.dunit_weights = at.dunit_weights + k * plan.cell.unit_weights * H;
    row.projected = P > 0;
    int64_t j = j_begin;
    for (; j + V::N <= j_end; j += V::N) {
      Cell::template backward<kStage>(AllLanes<V>{}, row, j);
    }
    if (j < j_end) Cell::template backward<kStage>(FirstLanes<V>{j_end - j}, row, j);
  }
}

// What the stage's groups send back to what it multiplied.
template <class V, class Cell, int kStage>
void backward_product(const BackwardDirection<V>& at, const Step& step, Rows rows) {
  const bptt_plan& plan = at.plan;
  constexpr Stage kThis = Cell::kStages[kStage];
  const int64_t H = plan.desc.H, m = rows.end - rows.begin;
  if (m <= 0 || (kThis.of_h && rows.initial && !at.dh0_wanted)) return;
  typename V::Scalar* to = at.doperand + rows.begin * H;
  int64_t n = H, to_row = H;
  Range panels = at.part.panels;
  if (kThis.of_h) {
    n = plan.Hout;
    to_row = rows.initial ? n : plan.width;
    to = rows.initial ? at.dh0 + rows.begin * n
                      : at.dy + (plan.offset[step.before] + rows.begin) * to_row;
    panels = at.part.out;
  }
  const typename V::Scalar* groups =
      at.gates + (plan.offset[step.t] + rows.begin) * plan.gate_stride;
  for (int i = 0; i < kThis.terms; ++i) {
    const Term& term = kThis.term[i];
    gemm<V>({.m = m,
             .k = term.count * H,
             .a = groups + term.group * H,
             .a_row = plan.gate_stride,
             .packed = at.weights.back_hh + packed_elements<V>(term.gate * H, n),
             .init = kThis.of_h || i > 0 ? Init::kAccumulate : Init::kZero,
             .c = to,
             .c_row = to_row},
            Columns{n}, panels.begin, panels.end, step.odd);
  }
}

// True: the call is cancelled.
template <class V, class Cell, int kStage>
bool backward_stages(const BackwardDirection<V>& at, const Step& step, Phases& phases) {
  for (int half = 0; half < 2; ++half) {
    backward_units<V, Cell, kStage>(at, step, rows_of(at.plan, at.part, step, half));
  }
  if (!at.part.by_rows && phases.next()) return true;
  for (int half = 0; half < 2; ++half) {
    backward_product<V, Cell, kStage>(at, step, rows_of(at.plan, at.part, step, half));
  }
  if constexpr (kStage > 0) return backward_stages<V, Cell, kStage - 1>(at, step, phases);
  return false;
}

// dm = dh W_hr
template <class V>
void project_gradient(const BackwardDirection<V>& at, const Step& step) {
  const bptt_plan& plan = at.plan;
  const int64_t H = plan.desc.H, active = plan.active(step.t);
  const int64_t begin = at.part.rows.begin;
  const int64_t end = least(at.part.rows.end, active);
  if (begin >= end) return;
  gemm<V>({.m = end - begin,
           .k = plan.desc.P,
           .a = at.dy + (plan.offset[step.t] + begin) * plan.width,
           .a_row = plan.width,
           .packed = at.weights.back_hr,
           .c = at.dm + begin * H,
           .c_row = H},
          Columns{H}, at.part.panels.begin, at.part.panels.end);
}

// True: the call is cancelled.
template <class V, class Cell>
bool backward_steps(const BackwardDirection<V>& at, Phases& phases) {
  const bptt_plan& plan = at.plan;
  for (int64_t s = plan.steps; s-- > 0;) {
    if (phases.cancelled() && at.part.by_rows) return phases.next();
    const Step step = step_of(plan, at.direction, s);
    if (plan.desc.P > 0) {
      if (!at.part.by_rows && phases.next()) return true;
      project_gradient(at, step);
    }
    if (backward_stages<V, Cell, stage_count<Cell> - 1>(at, step, phases)) return true;
  }
  return phases.next();
}

// Gradients of one direction's weights, as far as they are wanted. True: cancelled.
template <class V, class Cell>
bool weight_gradients(const BackwardCall<V>& call, const BackwardDirection<V>& at, Phases& phases,
                      const bptt_recurrent_params& wanted, const typename V::Scalar* x,
                      int64_t input) {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan = call.plan;
  const int64_t H = plan.desc.H, P = plan.desc.P, stride = plan.gate_stride;
  Scalar* block = call.work(plan.backward.block);
  Scalar* run = call.work(plan.backward.run);
  Scalar* lost = call.work(plan.backward.lost);
  const RowSource<Scalar> inputs = {x, input, nullptr, 0};
  const RowSource<Scalar> h_prev = {at.y, plan.width, at.h0, at.direction};
  const RowSource<Scalar> operands = {at.operand_rows, H, nullptr, 0};
  const RowSource<Scalar> ms = {at.c, H, nullptr, 0};

  if (wanted.weight_ih &&
      weight_gradient<V>(plan, phases, Cell::kGates * H, input, at.gates, stride, inputs, block,
                         run, lost, static_cast<Scalar*>(wanted.weight_ih))) {
    return true;
  }
  for (const Stage& stage : Cell::kStages) {
    for (int i = 0; wanted.weight_hh && i < stage.terms; ++i) {
      const Term& term = stage.term[i];
      const int64_t n = stage.of_h ? plan.Hout : H;
      if (weight_gradient<V>(plan, phases, term.count * H, n, at.gates + term.group * H, stride,
                             stage.of_h ? h_prev : operands, block, run, lost,
                             static_cast<Scalar*>(wanted.weight_hh) + term.gate * H * n)) {
        return true;
      }
    }
  }
  if (wanted.weight_hr && weight_gradient<V>(plan, phases, P, H, at.dy, plan.width, ms, block, run,
                                             lost, static_cast<Scalar*>(wanted.weight_hr))) {
    return true;
  }
  if (void* out = unit_weights_in<Cell>(wanted)) {
    const int64_t n = plan.cell.unit_weights * H;
    column_sums<V>(plan, phases.member, n, at.dunit_weights, n, static_cast<Scalar*>(out));
  }
  if (!wanted.bias_ih && !wanted.bias_hh) return false;
  Scalar* sums = call.work(plan.backward.bias);
  column_sums<V>(plan, phases.member, Cell::kGroups * H, at.gates, stride, sums);
  if (phases.next()) return true;
  if (phases.member.index != 0) return false;
  for (int gate = 0; gate < Cell::kGates; ++gate) {
    const Scalar* recurrent = sums + recurrent_group<Cell>(gate) * H;
    if (wanted.bias_ih) {
      std::memcpy(static_cast<Scalar*>(wanted.bias_ih) + gate * H, sums + gate * H,
                  H * sizeof(Scalar));
    }
    if (wanted.bias_hh) {
      std::memcpy(static_cast<Scalar*>(wanted.bias_hh) + gate * H, recurrent, H * sizeof(Scalar));
    }
  }
  return false;
}

// A member's share of the rows of dy, dh0 and dc as they are before the last step.
template <class V, class Cell>
void begin_states(const BackwardCall<V>& call, const BackwardDirection<V>& at, Range rows,
                  int64_t index, typename V::Scalar* h0, typename V::Scalar* c0) {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan = call.plan;
  const int64_t B = plan.desc.B, H = plan.desc.H, n = plan.Hout;
  const auto state = [&](const void* all, int64_t size) {
    return all ? static_cast<const Scalar*>(all) + index * B * size : nullptr;
  };
  gather_state(plan, rows, n, state(call.args.h0, n), h0);
  gather_state(plan, rows, n, state(call.args.dhn, n), at.dh0);
  if (Cell::kStates == 2) {
    gather_state(plan, rows, H, state(call.args.c0, H), c0);
    gather_state(plan, rows, H, state(call.args.dcn, H), at.dc);
  }
  // A row of no steps passes dhn through; any other takes it at its last step.
  for (int64_t r = rows.begin; r < rows.end && plan.length[r] > 0; ++r) {
    Scalar* dh = at.dy + last_row(plan, at.direction, r) * plan.width;
    Scalar* dh0 = at.dh0 + r * n;
    for (int64_t j = 0; j < n; ++j) {
      dh[j] += dh0[j];
      dh0[j] = 0;
    }
  }
}

// What one member does of a backward call.
template <class V, class Cell>
void backward_member(const BackwardCall<V>& call, Phases& phases) {
  using Scalar = typename V::Scalar;
  const bptt_plan& plan = call.plan;
  const bptt_recurrent_backward& args = call.args;
  const BackwardWorkspace& work = plan.backward;
  const Member& member = phases.member;
  const int64_t B = plan.desc.B, I = plan.desc.I, H = plan.desc.H, D = plan.desc.D;
  const int64_t top = plan.desc.L - 1, Hout = plan.Hout;
  const Part part = part_of<V>(plan, member);
  const Range states = share(B, member);

  if (call.pack) pack_backward<V, Cell>(plan, member, args.params, call.packed);
  const Range packed_rows = share(plan.rows, member);
  Scalar* dy = call.work(work.dy[top % 2]);
  if (!args.dy) {
    std::memset(dy + packed_rows.begin * plan.width, 0,
                packed_rows.size() * plan.width * sizeof(Scalar));
  } else {
    gather_rows(plan, member, plan.width, static_cast<const Scalar*>(args.dy), dy);
  }
  const Scalar* x0 = static_cast<const Scalar*>(args.x);
  if (!plan.in_place) {
    gather_rows(plan, member, plan.width, static_cast<const Scalar*>(args.y), call.work(work.y));
    if (call.lowest == 0) gather_rows(plan, member, I, x0, call.work(work.x));
    x0 = call.work(work.x);
  }
  if (phases.next()) return;

  for (int64_t layer = top; layer >= call.lowest; --layer) {
    const int64_t input = plan.input(layer);
    const Scalar* x = layer == 0 ? x0 : call.output(layer - 1);
    if (layer > 0 && plan.desc.dropout > 0) {
      dropout_rows(plan, member, layer - 1, args.rng, x, call.work(work.dropped));
      x = call.work(work.dropped);
    }
    dy = call.work(work.dy[layer % 2]);
    Scalar* dx = nullptr;
    if (layer > call.lowest) dx = call.work(work.dy[(layer - 1) % 2]);
    if (layer == 0 && args.dx) {
      dx = plan.in_place ? static_cast<Scalar*>(args.dx) : call.work(work.dx);
    }
    for (int64_t direction = 0; direction < D; ++direction) {
      const int64_t index = layer * D + direction;
      const bptt_recurrent_params wanted = call.wanted(index);
      Scalar* h0 = call.work(work.h0);
      Scalar* c0 = call.work(work.c0);
      const BackwardDirection<V> at = {
          .plan = plan,
          .part = part,
          .direction = direction,
          .weights = panels_of<V>(plan, index, nullptr, call.packed),
          .gates = Cell::kSavesGroups ? call.saved(plan.saved[index].gates) : call.work(work.gates),
          .c = Cell::kStates == 2 ? call.saved(plan.saved[index].c) : nullptr,
          .y = call.output(layer) + direction * Hout,
          .h0 = h0,
          .c0 = c0,
          .dy = dy + direction * Hout,
          .dh0 = call.work(work.dh0),
          .dc = call.work(work.dc),
          .dm = call.work(work.dm),
          .operand_rows = call.work(work.operand_rows),
          .doperand = call.work(work.doperand),
          .unit_weights = static_cast<const Scalar*>(unit_weights_in<Cell>(args.params[index])),
          .dunit_weights = call.work(work.unit_weights),
          .dh0_wanted = args.dh0 != nullptr};
      begin_states<V, Cell>(call, at, states, index, h0, c0);
      if (phases.next() || backward_steps<V, Cell>(at, phases)) return;

      if (args.dh0) {
        scatter_state(plan, states, Hout, at.dh0,
                      static_cast<Scalar*>(args.dh0) + index * B * Hout);
      }
      if (Cell::kStates == 2 && args.dc0) {
        scatter_state(plan, states, H, at.dc, static_cast<Scalar*>(args.dc0) + index * B * H);
      }
      if (weight_gradients<V, Cell>(call, at, phases, wanted, x, input)) return;
      if (dx) {
        input_gradient<V>(plan, member, Cell::kGates * H, input, at.gates, at.weights.back_ih,
                          direction == 0 ? Init::kZero : Init::kAccumulate, dx);
      }
    }
    if (phases.next()) return;
    if (dx && layer > 0 && plan.desc.dropout > 0) {
      dropout_rows(plan, member, layer - 1, args.rng, dx, dx);
      if (phases.next()) return;
    }
  }
  if (args.dx && !plan.in_place) {
    scatter_rows(plan, member, I, call.work(work.dx), static_cast<Scalar*>(args.dx));
  }
}
