// The loss of connectionist temporal classification and its gradient (docs/numerics.md). Rows of
// the batch are divided among the team; a step's labels, then its blanks, are a vector loop.
//
// A target of L labels has L label states and L + 1 blank states, blank i before label i. They are
// kept apart, for each kind has predecessors of its own:
//
//   label i  <-  label i, blank i, and label i - 1 where that is another class
//   blank i  <-  blank i, label i - 1
//
// A row of alpha is  -inf | L labels | L + 1 blanks | high | low : high + low, which a double
// holds, is what its elements lack. So they stay small however long the sequence is, and float32
// loses nothing to sums of thousands of log-probabilities.

template <class S>
struct Ctc {
  int64_t T, B, C;
  int32_t blank;
  const S* log_probs;      // [T,B,C]
  const int32_t* targets;  // all labels
  const int32_t* layout;   // [3,B]: steps, labels, where the labels begin

  const S* at(int64_t t, int64_t b) const { return log_probs + (t * B + b) * C; }
  int64_t steps(int64_t b) const { return layout[b]; }
  int64_t labels(int64_t b) const { return layout[B + b]; }
  const int32_t* target(int64_t b) const { return targets + layout[2 * B + b]; }
};

template <class S>
static bptt_code check_ctc(bptt_context* context, const Ctc<S>& c, int64_t longest, int64_t total) {
  const auto refuse = [&](const char* what, int64_t row, int64_t value) {
    std::snprintf(context->message, sizeof context->message, "ctc_loss: %s %lld of row %lld %s",
                  what, static_cast<long long>(value), static_cast<long long>(row),
                  "is out of range");
    return BPTT_INDEX;
  };
  if (c.blank < 0 || c.blank >= c.C) return refuse("blank", 0, c.blank);
  for (int64_t b = 0; b < c.B; ++b) {
    const int64_t labels = c.labels(b), first = c.layout[2 * c.B + b];
    if (c.steps(b) < 0 || c.steps(b) > c.T) return refuse("input length", b, c.steps(b));
    if (labels < 0 || labels > longest || first < 0 || first > total - labels)
      return refuse("target length", b, labels);
    for (int64_t i = 0; i < labels; ++i) {
      const int32_t label = c.target(b)[i];
      if (label >= 0 && label < c.C && label != c.blank) continue;
      std::snprintf(
          context->message, sizeof context->message,
          "ctc_loss: target %lld of row %lld is %lld, not a class in [0, %lld) other than "
          "the blank, %lld",
          static_cast<long long>(i), static_cast<long long>(b), static_cast<long long>(label),
          static_cast<long long>(c.C), static_cast<long long>(c.blank));
      return BPTT_INDEX;
    }
  }
  return BPTT_OK;
}

// log(exp(a) + exp(b) + ...), -inf where all are; plus what else is given.
template <class V>
BPTT_INLINE V log_base(V largest) {
  return select(gt(largest, V(-std::numeric_limits<typename V::Scalar>::infinity())), largest, V());
}
template <class V>
BPTT_INLINE V log_add(V a, V b) {
  const V base = log_base(max(a, b));
  return log(exp(a - base) + exp(b - base)) + base;
}
template <class V>
BPTT_INLINE V log_add(V a, V b, V c) {
  const V base = log_base(max(max(a, b), c));
  return log((exp(a - base) + exp(b - base)) + exp(c - base)) + base;
}

// alpha of labels: from the label itself, its blank, the label before; skip is 0 or -inf.
struct CtcLabelOp {
  template <class V>
  BPTT_INLINE V operator()(V same, V blank, V label, V skip, V emitted) const {
    return log_add(same, blank, label + skip) + emitted;
  }
};
template <class S>
struct CtcBlankOp {
  S emitted;
  template <class V>
  BPTT_INLINE V operator()(V same, V label) const {
    return log_add(same, label) + V(emitted);
  }
};
// beta before the emission of its own step.
struct CtcLabelBackOp {
  template <class V>
  BPTT_INLINE V operator()(V same, V blank, V label, V skip) const {
    return log_add(same, blank, label + skip);
  }
};
struct CtcBlankBackOp {
  template <class V>
  BPTT_INLINE V operator()(V same, V label) const {
    return log_add(same, label);
  }
};
template <class S>
struct CtcPosteriorOp {
  S rest;
  template <class V>
  BPTT_INLINE V operator()(V alpha, V beta) const {
    return exp((alpha + beta) + V(rest));
  }
};
// Of a class, from the sum of the posteriors of its states. Those of all states add up to 1 but for
// what rounding has done in the steps before and after, the same to all: by `share` it goes.
template <class S>
struct CtcGradOp {
  S share, g;
  template <class V>
  BPTT_INLINE V operator()(V posterior, V log_prob) const {
    return fnma(posterior, V(share), exp(log_prob)) * V(g);
  }
};

// skip[i] is for the step from label i - 1 to label i; skip[labels] is never a step.
template <class S>
static void ctc_skips(const int32_t* target, int64_t labels, S* skip) {
  for (int64_t i = 0; i < labels; ++i)
    skip[i] = i > 0 && target[i] != target[i - 1] ? 0 : -std::numeric_limits<S>::infinity();
  skip[labels] = -std::numeric_limits<S>::infinity();
}

// The largest of n states, which the next step's are made relative to.
template <class V>
static typename V::Scalar ctc_scale(const typename V::Scalar* states, int64_t n) {
  const typename V::Scalar most = row_max<V>(states, n);
  return std::isfinite(most) ? most : 0;
}

// log p(target) from the last step's row of alpha.
template <class V>
static double ctc_log_likelihood(const typename V::Scalar* alpha, int64_t labels) {
  typename V::Scalar sum;
  log_add(V(alpha[2 * labels + 1]), V(alpha[labels])).store(&sum, 1);
  return static_cast<double>(alpha[2 * labels + 2]) + alpha[2 * labels + 3] + sum;
}

// Row b's log p(target). alpha has a row for each step at distance `stride`, or two in turn.
template <class V>
static double ctc_forward_row(const Ctc<typename V::Scalar>& c, int64_t b, bool all, int64_t stride,
                              typename V::Scalar* alpha, typename V::Scalar* skip) {
  using S = typename V::Scalar;
  constexpr S kNever = -std::numeric_limits<S>::infinity();
  const int64_t labels = c.labels(b), steps = c.steps(b);
  const int32_t* target = c.target(b);
  if (steps == 0) return labels == 0 ? 0 : kNever;
  S* emitted = skip + labels + 1;
  ctc_skips(target, labels, skip);
  double scale = 0;
  S* row = alpha;
  for (int64_t t = 0; t < steps; ++t) {
    const S* log_prob = c.at(t, b);
    const S* last = row;
    row = alpha + (all ? t : t % 2) * stride;
    S *label = row + 1, *blank = label + labels;
    if (t == 0) {
      for (int64_t i = 0; i < 2 * labels + 2; ++i) row[i] = kNever;
      if (labels > 0) label[0] = log_prob[target[0]];
      blank[0] = log_prob[c.blank];
    } else {
      const S *from_label = last + 1, *from_blank = from_label + labels;
      const S most = ctc_scale<V>(from_label, 2 * labels + 1);
      scale += most;
      for (int64_t i = 0; i < labels; ++i) emitted[i] = log_prob[target[i]] - most;
      row[0] = kNever;
      map_range<V>(0, labels, CtcLabelOp{}, label, from_label, from_blank, last,
                   static_cast<const S*>(skip), static_cast<const S*>(emitted));
      map_range<V>(0, labels + 1, CtcBlankOp<S>{log_prob[c.blank] - most}, blank, from_blank, last);
    }
    blank[labels + 1] = static_cast<S>(scale);
    blank[labels + 2] = static_cast<S>(scale - static_cast<S>(scale));
  }
  return ctc_log_likelihood<V>(row, labels);
}

// Numbers of one row's scratch: whole cache lines of them.
inline int64_t ctc_line(int64_t n) { return (n + 15) / 16 * 16; }

template <class V>
static bptt_code ctc_loss_impl(bptt_context* context, int64_t T, int64_t B, int64_t C, int64_t S,
                               int64_t total, int32_t blank, int32_t zero_infinity,
                               const void* log_probs, const int32_t* targets, const int32_t* layout,
                               void* loss, void* alpha) {
  using Scalar = typename V::Scalar;
  if (B == 0) return BPTT_OK;
  const Ctc<Scalar> c{T, B, C, blank, static_cast<const Scalar*>(log_probs), targets, layout};
  if (const bptt_code code = check_ctc(context, c, S, total)) return code;
  int64_t longest = 0;
  for (int64_t b = 0; b < B; ++b) longest = most(longest, c.labels(b));
  const bool all = alpha != nullptr;
  const int64_t stride = all ? 2 * S + 4 : ctc_line(2 * longest + 4);
  const int64_t room = ctc_line(2 * longest + 1) + (all ? 0 : 2 * stride);
  Scalar* rooms =
      static_cast<Scalar*>(scratch(context, static_cast<size_t>(B * room) * sizeof(Scalar)));
  if (!rooms) return BPTT_OUT_OF_MEMORY;
  Scalar *out = static_cast<Scalar*>(loss), *saved = static_cast<Scalar*>(alpha);
  Team::instance().parallel_for(B, grain_of(T * longest), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Scalar* mine = rooms + b * room;
      Scalar* rows = all ? saved + b * T * stride : mine + ctc_line(2 * longest + 1);
      const double likelihood = ctc_forward_row<V>(c, b, all, stride, rows, mine);
      out[b] = static_cast<Scalar>(0 - likelihood);
      if (zero_infinity && out[b] == std::numeric_limits<Scalar>::infinity()) out[b] = 0;
    }
  });
  return BPTT_OK;
}

// What row b's gradient needs besides alpha.
template <class S>
struct CtcRoom {
  S *skip, *beta, *next, *posterior;

  static int64_t size(int64_t labels) { return ctc_line(7 * labels + 5); }
  CtcRoom(S* room, int64_t labels)
      : skip(room),                          // [labels + 1]
        beta(skip + labels + 1),             // [2 labels + 1]: this step's, not emitted
        next(beta + 2 * labels + 1),         // [2 labels + 2]: the next step's, emitted
        posterior(next + 2 * labels + 2) {}  // [2 labels + 1]
};

template <class V>
static void ctc_backward_row(const Ctc<typename V::Scalar>& c, int64_t b, int64_t stride,
                             const typename V::Scalar* alpha, typename V::Scalar g,
                             typename V::Scalar* scratch_row, typename V::Scalar* grads) {
  using S = typename V::Scalar;
  constexpr S kNever = -std::numeric_limits<S>::infinity();
  const int64_t labels = c.labels(b), steps = c.steps(b), states = 2 * labels + 1;
  const int32_t* target = c.target(b);
  const double likelihood =
      steps == 0 ? kNever : ctc_log_likelihood<V>(alpha + (steps - 1) * stride, labels);
  // Nothing is possible: no direction makes it less so.
  const int64_t counted = likelihood == kNever ? 0 : steps;
  for (int64_t t = counted; t < c.T; ++t) fill_range<S>(grads + (t * c.B + b) * c.C, 0, c.C, 0);
  const CtcRoom<S> room(scratch_row, labels);
  ctc_skips(target, labels, room.skip);
  S *label = room.beta, *blank = label + labels;
  S *next_label = room.next, *next_blank = next_label + labels + 1;
  next_label[labels] = kNever;
  double scale = 0;
  for (int64_t t = counted; t-- > 0;) {
    if (t == steps - 1) {
      fill_range(room.beta, 0, states, kNever);
      blank[labels] = 0;
      if (labels > 0) label[labels - 1] = 0;
    } else {
      map_range<V>(0, labels, CtcLabelBackOp{}, label, static_cast<const S*>(next_label),
                   static_cast<const S*>(next_blank) + 1, static_cast<const S*>(next_label) + 1,
                   static_cast<const S*>(room.skip) + 1);
      map_range<V>(0, labels + 1, CtcBlankBackOp{}, blank, static_cast<const S*>(next_blank),
                   static_cast<const S*>(next_label));
    }
    const S *log_prob = c.at(t, b), *a = alpha + t * stride + 1;
    const double rest = static_cast<double>(a[states]) + a[states + 1] + scale - likelihood;
    map_range<V>(0, states, CtcPosteriorOp<S>{static_cast<S>(rest)}, room.posterior, a,
                 static_cast<const S*>(room.beta));
    S* grad = grads + (t * c.B + b) * c.C;
    fill_range<S>(grad, 0, c.C, 0);
    const S total = sum_terms<V>(states, RowTerm<S>{room.posterior});
    grad[c.blank] = sum_terms<V>(labels + 1, RowTerm<S>{room.posterior + labels});
    for (int64_t i = 0; i < labels; ++i) grad[target[i]] += room.posterior[i];
    map_range<V>(0, c.C, CtcGradOp<S>{total == 0 ? 0 : 1 / total, g}, grad,
                 static_cast<const S*>(grad), log_prob);

    const S most = ctc_scale<V>(room.beta, states);
    scale += most;
    for (int64_t i = 0; i < labels; ++i) next_label[i] = label[i] + (log_prob[target[i]] - most);
    map_range<V>(0, labels + 1, AddScalarOp<S>{log_prob[c.blank] - most}, next_blank,
                 static_cast<const S*>(blank));
  }
}

template <class V>
static bptt_code ctc_loss_backward_impl(bptt_context* context, int64_t T, int64_t B, int64_t C,
                                        int64_t S, int64_t total, int32_t blank,
                                        const void* log_probs, const int32_t* targets,
                                        const int32_t* layout, const void* alpha, const void* dloss,
                                        void* dlog_probs) {
  using Scalar = typename V::Scalar;
  if (B == 0) return BPTT_OK;
  const Ctc<Scalar> c{T, B, C, blank, static_cast<const Scalar*>(log_probs), targets, layout};
  if (const bptt_code code = check_ctc(context, c, S, total)) return code;
  int64_t longest = 0;
  for (int64_t b = 0; b < B; ++b) longest = most(longest, c.labels(b));
  const int64_t stride = 2 * S + 4, room = CtcRoom<Scalar>::size(longest);
  Scalar* rooms =
      static_cast<Scalar*>(scratch(context, static_cast<size_t>(B * room) * sizeof(Scalar)));
  if (!rooms) return BPTT_OUT_OF_MEMORY;
  const Scalar *saved = static_cast<const Scalar*>(alpha), *g = static_cast<const Scalar*>(dloss);
  Scalar* grads = static_cast<Scalar*>(dlog_probs);
  Team::instance().parallel_for(B, grain_of(T * (longest + C)), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      ctc_backward_row<V>(c, b, stride, saved + b * T * stride, g[b], rooms + b * room, grads);
  });
  return BPTT_OK;
}
