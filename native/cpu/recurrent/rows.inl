// How members share a recurrent call, and the way of rows between the caller's
// tensors and the packed sequence.

struct Range {
  int64_t begin, end;

  int64_t size() const { return end - begin; }
};

inline Range share(int64_t n, const Member& member) {
  return {n * member.index / member.count, n * (member.index + 1) / member.count};
}

// A member's way through the phases of a call. Barriers part the phases; a member
// that finds the call cancelled says after which phase all members leave, so all
// leave at the same barrier.
struct Phases {
  Member& member;
  std::atomic<int64_t>& leave_after;  // kNever at first
  bptt_context* context;
  int64_t phase = 0;

  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // Ends a phase. True: the call is cancelled, every member returns now.
  bool next() {
    if (member.count > 1) member.barrier();
    return leave_after.load(std::memory_order_relaxed) <= phase++;
  }

  // Asked once per time step. True: the rest of this phase is of no use.
  bool cancelled() {
    if (context->cancelled && context->cancelled(context->cancelled_arg)) {
      int64_t expected = kNever;
      leave_after.compare_exchange_strong(expected, phase, std::memory_order_relaxed);
    }
    return leave_after.load(std::memory_order_relaxed) != kNever;
  }
};

// What a member computes inside the time loop: some rows of every unit, with no
// barrier, or some units of every row, with a barrier before each product.
struct Part {
  bool by_rows;
  Range rows;    // of [0, B)
  Range panels;  // of H
  Range out;     // panels of Hout
};

// Members split rows where each gets at least kRowsPerMember, enough for full tiles, and H is at
// most kUnitsByRows: then every core has all weights in its cache.
constexpr int64_t kRowsPerMember = 8;
constexpr int64_t kUnitsByRows = 512;

// Contiguous rows for each member, of about the same sum of lengths.
inline Range share_rows(const bptt_plan& plan, const Member& member) {
  const int64_t B = plan.desc.B;
  Range rows = {B, B};
  int64_t before = 0;
  const Range target = share(plan.rows, member);
  for (int64_t r = 0; r < B && rows.end == B; ++r) {
    if (rows.begin == B && before >= target.begin) rows.begin = r;
    if (member.index + 1 < member.count && before >= target.end) rows.end = r;
    before += plan.length[r];
  }
  if (rows.begin > rows.end) rows.begin = rows.end;
  return rows;
}

template <class V>
Part part_of(const bptt_plan& plan, const Member& member) {
  constexpr int64_t kWidth = panel_width<V>;
  const int64_t panels = (plan.desc.H + kWidth - 1) / kWidth;
  const int64_t out = (plan.Hout + kWidth - 1) / kWidth;
  Part part;
  part.by_rows = member.count == 1 || panels < member.count ||
                 (plan.desc.B >= kRowsPerMember * member.count && plan.desc.H <= kUnitsByRows);
  if (part.by_rows) {
    part.rows = share_rows(plan, member);
    part.panels = {0, panels};
    part.out = {0, out};
  } else {
    part.rows = {0, plan.desc.B};
    part.panels = share(panels, member);
    part.out = share(out, member);
  }
  return part;
}

// Packed rows one after another.
struct Cursor {
  const bptt_plan& plan;
  int64_t k, t;

  Cursor(const bptt_plan& p, int64_t begin) : plan(p), k(begin), t(0) {
    int64_t high = plan.steps;
    while (t + 1 < high) {  // the step whose offset is the last <= k
      const int64_t middle = (t + high) / 2;
      (plan.offset[middle] <= k ? t : high) = middle;
    }
  }
  int64_t row() const { return k - plan.offset[t]; }
  int64_t batch() const { return plan.order[row()]; }
  // Of the caller's tensor: [T,B,*] or [B,T,*].
  int64_t user_row() const {
    const int64_t b = batch();
    return plan.desc.batch_first ? b * plan.desc.T + t : t * plan.desc.B + b;
  }
  void next() {
    ++k;
    if (t + 1 < plan.steps && k >= plan.offset[t + 1]) ++t;
  }
};

template <class Scalar>
void gather_rows(const bptt_plan& plan, const Member& member, int64_t n,
                 const Scalar* user,  // [T,B,n] or [B,T,n]
                 Scalar* packed) {    // [rows,n]
  const Range rows = share(plan.rows, member);
  for (Cursor at(plan, rows.begin); at.k < rows.end; at.next()) {
    std::memcpy(packed + at.k * n, user + at.user_row() * n, n * sizeof(Scalar));
  }
}

// Rows past their length become zero.
template <class Scalar>
void scatter_rows(const bptt_plan& plan, const Member& member, int64_t n,
                  const Scalar* packed,  // [rows,n]
                  Scalar* user) {        // [T,B,n] or [B,T,n]
  const Range rows = share(plan.rows, member);
  for (Cursor at(plan, rows.begin); at.k < rows.end; at.next()) {
    std::memcpy(user + at.user_row() * n, packed + at.k * n, n * sizeof(Scalar));
  }
  const int64_t T = plan.desc.T, B = plan.desc.B;
  const Range padded = share(B, member);
  for (int64_t r = padded.begin; r < padded.end; ++r) {
    const int64_t b = plan.order[r];
    for (int64_t t = plan.length[r]; t < T; ++t) {
      const int64_t row = plan.desc.batch_first ? b * T + t : t * B + b;
      std::memset(user + row * n, 0, n * sizeof(Scalar));
    }
  }
}

// out = in where kept and scaled, else zero; the mask is a function of the place
// in the unsorted [T,B,D*Hout] that layer puts out. out may be in.
template <class Scalar>
void dropout_rows(const bptt_plan& plan, const Member& member, int64_t layer, bptt_rng rng,
                  const Scalar* in,  // [rows,D*Hout]
                  Scalar* out) {     // [rows,D*Hout]
  const int64_t n = plan.width;
  const uint64_t threshold = dropout_threshold(plan.desc.dropout);
  const Scalar scale = static_cast<Scalar>(dropout_scale(plan.desc.dropout));
  const uint64_t offset =
      rng.offset + static_cast<uint64_t>(layer) * philox_blocks(plan.desc.T * plan.desc.B * n);
  const Range rows = share(plan.rows, member);
  for (Cursor at(plan, rows.begin); at.k < rows.end; at.next()) {
    const int64_t first = (at.t * plan.desc.B + at.batch()) * n;
    PhiloxBlock block = philox(rng.seed, offset + static_cast<uint64_t>(first / 4));
    for (int64_t j = 0; j < n; ++j) {
      const int64_t i = first + j;
      if (i % 4 == 0) block = philox(rng.seed, offset + static_cast<uint64_t>(i / 4));
      const Scalar kept = in[at.k * n + j] * scale;
      out[at.k * n + j] = block.word[i % 4] >= threshold ? kept : Scalar(0);
    }
  }
}

// Rows of a state in sorted order; null: zeros.
template <class Scalar>
void gather_state(const bptt_plan& plan, Range rows, int64_t n, const Scalar* user,
                  Scalar* sorted) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    if (user) {
      std::memcpy(sorted + r * n, user + plan.order[r] * n, n * sizeof(Scalar));
    } else {
      std::memset(sorted + r * n, 0, n * sizeof(Scalar));
    }
  }
}

template <class Scalar>
void scatter_state(const bptt_plan& plan, Range rows, int64_t n, const Scalar* sorted,
                   Scalar* user) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    std::memcpy(user + plan.order[r] * n, sorted + r * n, n * sizeof(Scalar));
  }
}

// Step number s of a direction: the time it computes and the time before it. Rows
// begin at the initial state, in the reverse direction at their own last step.
struct Step {
  int64_t t, before;
  int64_t carried;  // rows [0, carried) go on from `before`, the others begin
  bool odd;         // every other step passes over the weights the other way round
};

inline Step step_of(const bptt_plan& plan, int64_t direction, int64_t s) {
  const bool odd = s % 2 != 0;
  if (direction == 0) return {s, s - 1, s == 0 ? 0 : plan.active(s), odd};
  const int64_t t = plan.steps - 1 - s;
  return {t, t + 1, s == 0 ? 0 : plan.active(t + 1), odd};
}

// A member's rows of a step: those that go on from the step before (half 0), or those that begin
// (half 1).
struct Rows {
  int64_t begin, end;
  bool initial;
};

inline Rows rows_of(const bptt_plan& plan, const Part& part, const Step& step, int half) {
  const int64_t end = least(part.rows.end, plan.active(step.t));
  const int64_t middle = least(step.carried, end);
  if (half == 0) return {part.rows.begin, middle, false};
  return {most(part.rows.begin, middle), end, true};
}

// Packed row that holds row r's last output of a direction; length[r] > 0.
inline int64_t last_row(const bptt_plan& plan, int64_t direction, int64_t r) {
  return plan.offset[direction == 0 ? plan.length[r] - 1 : 0] + r;
}
