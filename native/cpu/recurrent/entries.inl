// Entry points of the recurrent layers: they choose the cell, find the packed
// weights and run the members.

// Multiply-adds below which a call, or a step that needs a barrier, is not worth a team.
constexpr double kAloneCall = 3e6;
constexpr double kAloneStep = 40000;

// Multiply-adds of a forward call, and of the recurrent products of a step.
struct Work {
  double call, step;
};

inline Work work_of(const bptt_plan& plan) {
  const double row = static_cast<double>(plan.cell.gates * plan.desc.H);
  const double layers = static_cast<double>(plan.desc.L * plan.desc.D);
  const double inputs = static_cast<double>(plan.input(plan.desc.L - 1) + plan.Hout);
  return {static_cast<double>(plan.rows) * row * inputs * layers,
          static_cast<double>(plan.desc.B) * row * static_cast<double>(plan.Hout)};
}

// Too few rows for members to have some each: they split the units of every step.
inline bool has_barriers(const bptt_plan& plan) { return plan.desc.B < 2 * kRowsPerMember; }

// One member suffices.
inline bool runs_alone(const bptt_plan& plan) {
  const Work work = work_of(plan);
  return work.call < kAloneCall || (has_barriers(plan) && work.step < kAloneStep);
}

template <class V, class Cell>
void run_member(const ForwardCall<V>& call, Phases& phases) {
  forward_member<V, Cell>(call, phases);
}
template <class V, class Cell>
void run_member(const BackwardCall<V>& call, Phases& phases) {
  backward_member<V, Cell>(call, phases);
}

template <class V, class Cell, class Call>
bptt_code run_members(bptt_context* context, const Call& call) {
  std::atomic<int64_t> leave_after{Phases::kNever};
  auto body = [&](Member& member) {
    Phases phases = {member, leave_after, context};
    run_member<V, Cell>(call, phases);
  };
  if (runs_alone(call.plan)) {
    Team::instance().parallel_for(1, 1, [&](int64_t, int64_t) {
      Member alone = {0, 1, nullptr};
      body(alone);
    });
  } else {
    Team::instance().run(body);
  }
  if (leave_after.load() == Phases::kNever) return BPTT_OK;
  std::snprintf(context->message, sizeof context->message, "recurrent layer: cancelled");
  return BPTT_CANCELLED;
}

template <class V, class Cell>
bptt_code forward_cell(bptt_context* context, const bptt_plan& plan,
                       const bptt_recurrent_forward& args) {
  ForwardCall<V> call = {plan, args, nullptr, true};
  PackedHeader* header = static_cast<PackedHeader*>(args.packed);
  if (header) {
    call.packed = static_cast<char*>(args.packed) + kPackedHeader;
    call.pack = header->forward_stamp != args.stamp;
    if (call.pack) header->forward_stamp = 0;  // else it is only read: several threads may run
  } else {
    call.packed = static_cast<char*>(args.workspace) + plan.forward.packed;
  }
  const bptt_code code = run_members<V, Cell>(context, call);
  if (header && call.pack && code == BPTT_OK) header->forward_stamp = args.stamp;
  return code;
}

// The lowest layer of which, or below whose input, a gradient is wanted.
inline int64_t lowest_wanted(const bptt_plan& plan, const bptt_recurrent_backward& args) {
  if (args.dx || args.dh0 || args.dc0) return 0;
  for (int64_t index = 0; args.dparams && index < plan.desc.L * plan.desc.D; ++index) {
    if (any_given(args.dparams[index])) return index / plan.desc.D;
  }
  return plan.desc.L;
}

template <class V, class Cell>
bptt_code backward_cell(bptt_context* context, const bptt_plan& plan,
                        const bptt_recurrent_backward& args) {
  if (!plan.desc.training) {
    std::snprintf(context->message, sizeof context->message,
                  "recurrent layer: backward of a forward without training");
    return BPTT_INTERNAL;
  }
  BackwardCall<V> call = {plan, args, nullptr, true, lowest_wanted(plan, args)};
  PackedHeader* header = static_cast<PackedHeader*>(args.packed);
  if (header) {
    call.packed = static_cast<char*>(args.packed) + kPackedHeader + plan.packed_forward_bytes;
    call.pack = header->backward_stamp != args.stamp;
    if (call.pack) header->backward_stamp = 0;
  } else {
    call.packed = static_cast<char*>(args.workspace) + plan.backward.packed;
  }
  const bptt_code code = run_members<V, Cell>(context, call);
  if (header && call.pack && code == BPTT_OK) header->backward_stamp = args.stamp;
  return code;
}

template <class V>
bptt_code recurrent_forward_impl(bptt_context* context, const bptt_plan* plan,
                                 const bptt_recurrent_forward* args) {
  switch (plan->desc.cell) {
#define BPTT_CASE(cell, name, Template, ...) \
  case cell:                                 \
    return forward_cell<V, Template<V, cell>>(context, *plan, *args);
    BPTT_CELLS(BPTT_CASE)
#undef BPTT_CASE
  }
  return BPTT_INTERNAL;
}

template <class V>
bptt_code recurrent_backward_impl(bptt_context* context, const bptt_plan* plan,
                                  const bptt_recurrent_backward* args) {
  switch (plan->desc.cell) {
#define BPTT_CASE(cell, name, Template, ...) \
  case cell:                                 \
    return backward_cell<V, Template<V, cell>>(context, *plan, *args);
    BPTT_CELLS(BPTT_CASE)
#undef BPTT_CASE
  }
  return BPTT_INTERNAL;
}

inline bptt_code plan_create_impl(bptt_context* context, const bptt_recurrent* desc,
                                  bptt_plan** out) {
  const int64_t panel = desc->dtype == BPTT_FLOAT64 ? panel_width<F64> : panel_width<F32>;
  switch (desc->cell) {
#define BPTT_CASE(cell, name, Template, gates, states, cudnn) \
  case cell:                                                  \
    static_assert(Template<F32, cell>::kGates == gates);      \
    static_assert(Template<F32, cell>::kStates == states);    \
    return make_plan(context, desc, cell_shape<Template<F32, cell>>(), panel, out);
    BPTT_CELLS(BPTT_CASE)
#undef BPTT_CASE
  }
  *out = nullptr;
  std::snprintf(context->message, sizeof context->message, "recurrent plan: unknown cell");
  return BPTT_INTERNAL;
}
