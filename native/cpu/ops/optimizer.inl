// Optimizers, by the formulas of torch.optim, and the norm of all gradients. One
// parallel pass goes over all tensors, cut into chunks of kSumBlock elements.

inline int64_t chunks_of(int64_t size) { return (size + kSumBlock - 1) / kSumBlock; }

template <class Size>
static int64_t count_chunks(int64_t tensors, const Size& size) {
  int64_t chunks = 0;
  for (int64_t i = 0; i < tensors; ++i) chunks += chunks_of(size(i));
  return chunks;
}

// Calls f(tensor, begin, end, chunk) for every chunk of tensors of size(tensor)
// elements; chunks are numbered through.
template <class Size, class F>
static void for_chunks(int64_t tensors, const Size& size, const F& f) {
  Team::instance().parallel_for(count_chunks(tensors, size), 2, [&](int64_t begin, int64_t end) {
    int64_t first = 0;  // chunk of the tensor
    for (int64_t i = 0; i < tensors && first < end; ++i) {
      const int64_t n = size(i), past = first + chunks_of(n);
      const int64_t last = least(past, end);
      for (int64_t chunk = most(first, begin); chunk < last; ++chunk) {
        const int64_t at = (chunk - first) * kSumBlock;
        f(i, at, least(at + kSumBlock, n), chunk);
      }
      first = past;
    }
  });
}

// -- rules --------------------------------------------------------------------
// update() does V::N neighbours, of which the first `count` exist.

template <class S>
struct Slots {
  S* value;
  const S* grad;
  S* state[3];
};

template <class V>
BPTT_INLINE V get(const typename V::Scalar* p, int64_t count) {
  return count == V::N ? V::load(p) : V::load(p, count);
}
template <class V>
BPTT_INLINE void put(typename V::Scalar* p, V x, int64_t count) {
  if (count == V::N) {
    x.store(p);
  } else {
    x.store(p, count);
  }
}

// a + weight * (b - a), as torch.lerp rounds it
template <class V>
BPTT_INLINE V lerp(V a, V b, typename V::Scalar weight) {
  if (weight < typename V::Scalar(0.5)) return fma(V(weight), b - a, a);
  return fnma(b - a, V(1 - weight), b);
}

template <class S>
struct SgdRule {
  S lr, weight_decay, momentum, fresh;  // fresh = 1 - dampening
  bool nesterov, maximize, first;
  template <class V>
  BPTT_INLINE void update(const Slots<S>& s, int64_t i, int64_t count) const {
    const V p = get<V>(s.value + i, count);
    V g = get<V>(s.grad + i, count);
    if (maximize) g = -g;
    if (weight_decay != 0) g = fma(V(weight_decay), p, g);
    if (momentum != 0) {
      V buffer = g;
      if (!first) buffer = fma(V(momentum), get<V>(s.state[0] + i, count), V(fresh) * g);
      put(s.state[0] + i, buffer, count);
      g = nesterov ? fma(V(momentum), buffer, g) : buffer;
    }
    put(s.value + i, fnma(V(lr), g, p), count);
  }
};

// The numbers of shared/optimizer.h; fresh1 = 1 - beta1, fresh2 = 1 - beta2.
template <class S>
struct AdamRule {
  S shrink, weight_decay, fresh1, beta2, fresh2, eps, mean_size, grad_size, root;
  bool divided, amsgrad, maximize;
  template <class V>
  BPTT_INLINE void update(const Slots<S>& s, int64_t i, int64_t count) const {
    V p = get<V>(s.value + i, count) * V(shrink);
    V g = get<V>(s.grad + i, count);
    if (maximize) g = -g;
    if (weight_decay != 0) g = fma(V(weight_decay), p, g);
    const V m = lerp(get<V>(s.state[0] + i, count), g, fresh1);
    V v = fma(V(fresh2) * g, g, get<V>(s.state[1] + i, count) * V(beta2));
    put(s.state[0] + i, m, count);
    put(s.state[1] + i, v, count);
    if (amsgrad) {
      v = max(get<V>(s.state[2] + i, count), v);
      put(s.state[2] + i, v, count);
    }
    const V divisor = divided ? sqrt(v) / V(root) + V(eps) : V(S(1));
    if (grad_size != 0) p = fnma(V(grad_size), g / divisor, p);
    p = fnma(V(mean_size), m / divisor, p);
    put(s.value + i, p, count);
  }
};

// Adagrad too: with alpha = fresh = 1.
template <class S>
struct RmspropRule {
  S lr, weight_decay, alpha, fresh, eps, momentum;
  bool centered, maximize;
  template <class V>
  BPTT_INLINE void update(const Slots<S>& s, int64_t i, int64_t count) const {
    const V p = get<V>(s.value + i, count);
    V g = get<V>(s.grad + i, count);
    if (maximize) g = -g;
    if (weight_decay != 0) g = fma(V(weight_decay), p, g);
    V square = fma(V(fresh) * g, g, get<V>(s.state[0] + i, count) * V(alpha));
    put(s.state[0] + i, square, count);
    if (centered) {
      const V average = lerp(get<V>(s.state[2] + i, count), g, fresh);
      put(s.state[2] + i, average, count);
      square = max(V(), fnma(average, average, square));  // not below 0 by rounding
    }
    V change = g / (sqrt(square) + V(eps));
    if (momentum != 0) {
      change = fma(V(momentum), get<V>(s.state[1] + i, count), change);
      put(s.state[1] + i, change, count);
    }
    put(s.value + i, fnma(V(lr), change, p), count);
  }
};

template <class S>
struct AverageRule {
  S weight;
  template <class V>
  BPTT_INLINE void update(const Slots<S>& s, int64_t i, int64_t count) const {
    V value = get<V>(s.grad + i, count);
    if (weight != 1) value = lerp(get<V>(s.value + i, count), value, weight);
    put(s.value + i, value, count);
  }
};

template <class V, class Rule>
static void update_range(const Rule& rule, const Slots<typename V::Scalar>& slots, int64_t begin,
                         int64_t end) {
  int64_t i = begin;
  for (; i + V::N <= end; i += V::N) rule.template update<V>(slots, i, V::N);
  if (i < end) rule.template update<V>(slots, i, end - i);
}

template <class V, class Rule>
static void update_all(const Rule& rule, int64_t count, const bptt_parameter* parameters) {
  using S = typename V::Scalar;
  for_chunks(
      count, [&](int64_t i) { return parameters[i].size; },
      [&](int64_t i, int64_t begin, int64_t end, int64_t) {
        const bptt_parameter& p = parameters[i];
        const Slots<S> slots{static_cast<S*>(p.value),
                             static_cast<const S*>(p.grad),
                             {static_cast<S*>(p.state[0]), static_cast<S*>(p.state[1]),
                              static_cast<S*>(p.state[2])}};
        update_range<V>(rule, slots, begin, end);
      });
}

template <class V>
static bptt_code optimize_impl(bptt_context*, const bptt_optimizer* optimizer, int64_t count,
                               const bptt_parameter* parameters) {
  using S = typename V::Scalar;
  const bptt_optimizer& o = *optimizer;
  const auto s = [](double x) { return static_cast<S>(x); };
  const double t = *o.step + 1;
  switch (o.kind) {
    case BPTT_SGD:
      update_all<V>(SgdRule<S>{s(o.lr), s(o.weight_decay), s(o.momentum), s(1 - o.dampening),
                               o.nesterov != 0, o.maximize != 0, t == 1},
                    count, parameters);
      break;
    case BPTT_ADAM:
    case BPTT_ADAMW:
    case BPTT_NADAM:
    case BPTT_RADAM: {
      const AdamNumbers n = adam_numbers(o, t);
      update_all<V>(AdamRule<S>{s(n.shrink), s(n.weight_decay), s(1 - o.beta1), s(o.beta2),
                                s(1 - o.beta2), s(n.eps), s(n.mean_size), s(n.grad_size), s(n.root),
                                n.divided, o.amsgrad != 0, o.maximize != 0},
                    count, parameters);
      break;
    }
    case BPTT_RMSPROP:
    case BPTT_ADAGRAD: {
      const SquareNumbers n = square_numbers(o, t);
      update_all<V>(RmspropRule<S>{s(n.lr), s(o.weight_decay), s(n.alpha), s(n.fresh), s(o.eps),
                                   s(n.momentum), n.centered, o.maximize != 0},
                    count, parameters);
      break;
    }
    case BPTT_AVERAGE:
      update_all<V>(AverageRule<S>{s(average_weight(o, t))}, count, parameters);
      break;
  }
  *o.step = t;
  return BPTT_OK;
}

// -- gradient norm ------------------------------------------------------------

// In double whatever the type: the square of a float neither overflows nor vanishes.
template <class S>
static double square_sum(const S* x, int64_t n, double scale) {
  double sums[16] = {};
  const auto add = [&](int64_t i, int l) {
    const double g = static_cast<double>(x[i + l]) * scale;
    sums[l] += g * g;
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int l = 0; l < 16; ++l) add(i, l);
  for (int l = 0; i + l < n; ++l) add(i, l);
  for (int lanes = 8; lanes > 0; lanes /= 2)
    for (int l = 0; l < lanes; ++l) sums[l] += sums[l + lanes];
  return sums[0];
}

// Runs f(tensor, begin, end) on every chunk; its results are combined in ascending order.
template <class F, class Combine>
static double over_chunks(int64_t count, const int64_t* sizes, double* partial, const F& f,
                          const Combine& combine) {
  const auto size = [&](int64_t i) { return sizes[i]; };
  for_chunks(count, size, [&](int64_t i, int64_t begin, int64_t end, int64_t chunk) {
    partial[chunk] = f(i, begin, end);
  });
  double result = 0;
  for (int64_t chunk = 0, chunks = count_chunks(count, size); chunk < chunks; ++chunk)
    result = combine(result, partial[chunk]);
  return result;
}

template <class V>
static bptt_code grad_norm_impl(bptt_context* context, int64_t count, const void* const* grads,
                                const int64_t* sizes, void* norm) {
  using S = typename V::Scalar;
  const int64_t chunks = count_chunks(count, [&](int64_t i) { return sizes[i]; });
  double* partial =
      static_cast<double*>(scratch(context, static_cast<size_t>(chunks + 1) * sizeof(double)));
  if (!partial) return BPTT_OUT_OF_MEMORY;
  const auto at = [&](int64_t i, int64_t begin) { return static_cast<const S*>(grads[i]) + begin; };
  const auto squares = [&](double scale) {
    return over_chunks(
        count, sizes, partial,
        [&](int64_t i, int64_t begin, int64_t end) {
          return square_sum(at(i, begin), end - begin, scale);
        },
        [](double a, double b) { return a + b; });
  };
  double sum = squares(1), scale = 1;
  // Squares of a double that leave its range: those of numbers brought near 1.
  if (!(sum >= kLeastSquares && sum <= FloatRange<double>::kLargest)) {
    scale = scale_to_one<double>(over_chunks(
        count, sizes, partial,
        [&](int64_t i, int64_t begin, int64_t end) {
          return static_cast<double>(largest_magnitude<V>(at(i, begin), end - begin));
        },
        [](double a, double b) { return a > b ? a : b; }));
    if (scale != 1) sum = squares(scale);
  }
  *static_cast<S*>(norm) = static_cast<S>(std::sqrt(sum) / scale);
  return BPTT_OK;
}

// NaN stays NaN.
template <class S>
struct ClipOp {
  S most;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return min(V(most), max(V(-most), x));
  }
};

template <class V>
static bptt_code clip_grads_impl(bptt_context*, int64_t count, void* const* grads,
                                 const int64_t* sizes, double max_norm, const void* norm) {
  using S = typename V::Scalar;
  const auto size = [&](int64_t i) { return sizes[i]; };
  if (norm == nullptr) {
    for_chunks(count, size, [&](int64_t i, int64_t begin, int64_t end, int64_t) {
      S* grad = static_cast<S*>(grads[i]);
      map_range<V>(begin, end, ClipOp<S>{static_cast<S>(max_norm)}, grad, grad);
    });
    return BPTT_OK;
  }
  const S total = *static_cast<const S*>(norm);
  const S ratio = static_cast<S>(max_norm) / (total + static_cast<S>(kClipEpsilon));
  if (ratio >= 1) return BPTT_OK;  // NaN is not, and spreads
  // A ratio below the range of the type is applied in two parts.
  const bool tiny = ratio < FloatRange<S>::kSmallest && std::isfinite(total);
  const S half = tiny ? scale_to_one<S>(total) : 1;
  const S rest = tiny ? static_cast<S>(max_norm) / (total * half) : ratio;
  for_chunks(count, size, [&](int64_t i, int64_t begin, int64_t end, int64_t) {
    S* grad = static_cast<S*>(grads[i]);
    if (tiny) map_range<V>(begin, end, ScaleOp<S>{half}, grad, grad);
    map_range<V>(begin, end, ScaleOp<S>{rest}, grad, grad);
  });
  return BPTT_OK;
}
