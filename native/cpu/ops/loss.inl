// Losses and their gradients, each in one pass over its inputs.

// The sum of terms [0, n), divided by divisor. Where the sum leaves the range of the type, it is
// taken of smaller terms: scaled(root) is the term times root^2, a power of two.
template <class V, class F, class Smaller>
static typename V::Scalar total_loss(int64_t n, typename V::Scalar divisor, const F& term,
                                     const Smaller& scaled, typename V::Scalar* partial) {
  const typename V::Scalar sum = parallel_sum<V>(n, term, partial);
  if (std::isfinite(sum)) return sum / divisor;
  const auto root = static_cast<typename V::Scalar>(root_of_part(n));
  return parallel_sum<V>(n, scaled(root), partial) / (divisor * root * root);
}

// -- cross entropy ------------------------------------------------------------
//   m = max(x),  l = log(sum(exp(x - m))),  loss = (m - x[target]) + l
//   dx = (exp((x - m) - l) - onehot(target)) * dloss
// Rows whose target is `ignore` have no loss and no gradient. m + l, one number, would lose l
// beside a large m: l is saved, and m found again.

template <class S>
struct CrossEntropy {
  int64_t classes, inner;
  int32_t ignore;
  const S* logits;        // [outer, classes, inner]
  const int32_t* target;  // [outer, inner]
};

static bptt_code check_target(bptt_context* context, int64_t n, int64_t classes, int32_t ignore,
                              const int32_t* target, int64_t* counted) {
  *counted = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (target[i] == ignore) continue;
    ++*counted;
    if (target[i] >= 0 && target[i] < classes) continue;
    std::snprintf(context->message, sizeof context->message,
                  "cross_entropy: target[%lld] = %lld is neither a class in [0, %lld) nor the "
                  "ignored index %lld",
                  static_cast<long long>(i), static_cast<long long>(target[i]),
                  static_cast<long long>(classes), static_cast<long long>(ignore));
    return BPTT_INDEX;
  }
  return BPTT_OK;
}

// Losses and log_sums of `width` neighbouring lines of outer o.
template <class V>
static void cross_entropy_lines(const CrossEntropy<typename V::Scalar>& c, int64_t o,
                                int64_t column, int64_t width, typename V::Scalar* losses,
                                typename V::Scalar* log_sum) {
  using S = typename V::Scalar;
  S largest[kColumns], sum[kColumns];
  const S* x = c.logits + o * c.classes * c.inner + column;
  if (c.inner == 1) {
    row_max_sum<V>(x, c.classes, largest, sum, nullptr);
  } else {
    column_max_sum<V>(x, c.classes, c.inner, width, largest, sum, nullptr);
  }
  map_range<V>(0, width, LogOp{}, sum, sum);
  for (int64_t j = 0; j < width; ++j) {
    const int64_t i = o * c.inner + column + j;
    const int32_t t = c.target[i];
    log_sum[i] = t == c.ignore ? 0 : sum[j];
    losses[i] = t == c.ignore ? 0 : (largest[j] - x[t * c.inner + j]) + sum[j];
  }
}

template <class V>
static bptt_code cross_entropy_impl(bptt_context* context, bptt_reduction reduction, int64_t outer,
                                    int64_t classes, int64_t inner, int32_t ignore,
                                    const void* logits, const int32_t* target, void* loss,
                                    void* log_sum) {
  using S = typename V::Scalar;
  const int64_t rows = outer * inner;
  int64_t counted;
  if (const bptt_code code = check_target(context, rows, classes, ignore, target, &counted))
    return code;
  S *losses = static_cast<S*>(loss), *saved = static_cast<S*>(log_sum), *partial = nullptr;
  if (reduction != BPTT_NONE) {
    const size_t places = static_cast<size_t>(rows + sum_blocks(rows));
    losses = static_cast<S*>(scratch(context, places * sizeof(S)));
    if (!losses) return BPTT_OUT_OF_MEMORY;
    partial = losses + rows;
  }
  const CrossEntropy<S> c{classes, inner, ignore, static_cast<const S*>(logits), target};
  for_lines(
      outer, classes, inner, [&](int64_t o) { cross_entropy_lines<V>(c, o, 0, 1, losses, saved); },
      [&](int64_t o, int64_t column, int64_t width) {
        cross_entropy_lines<V>(c, o, column, width, losses, saved);
      });
  saved[rows] = static_cast<S>(counted);
  if (reduction != BPTT_NONE) {
    const RowTerm<S> term{losses};
    *static_cast<S*>(loss) = total_loss<V>(
        rows, reduction == BPTT_MEAN ? saved[rows] : 1, term,
        [&](S root) { return Scaled<RowTerm<S>, S>{term, root * root}; }, partial);
  }
  return BPTT_OK;
}

// exp((x - largest) - log_sum) * g; a line that does not count has g = 0, whatever its logits.
struct CrossEntropyGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V largest, V log_sum, V g) const {
    return select(eq(g, V()), V(), exp((x - largest) - log_sum) * g);
  }
};
template <class S>
struct CrossEntropyGradRow {
  S largest, log_sum, g;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return CrossEntropyGrad{}(x, V(largest), V(log_sum), V(g));
  }
};

// g of line i is dloss[i * step] / divisor.
template <class V>
static void cross_entropy_backward_lines(const CrossEntropy<typename V::Scalar>& c, int64_t o,
                                         int64_t column, int64_t width,
                                         const typename V::Scalar* log_sum,
                                         const typename V::Scalar* dloss, int64_t step,
                                         typename V::Scalar divisor, typename V::Scalar* dx) {
  using S = typename V::Scalar;
  const int64_t first = o * c.inner + column, at = o * c.classes * c.inner + column;
  S g[kColumns];
  for (int64_t j = 0; j < width; ++j)
    g[j] = c.target[first + j] == c.ignore ? 0 : dloss[(first + j) * step] / divisor;
  const S* x = c.logits + at;
  if (c.inner == 1) {
    const CrossEntropyGradRow<S> f{row_max<V>(x, c.classes), log_sum[first], g[0]};
    map_range<V>(0, c.classes, f, dx + at, x);
  } else {
    S largest[kColumns];
    column_max<V>(x, c.classes, c.inner, width, largest);
    for (int64_t i = 0; i < c.classes; ++i)
      map_range<V>(0, width, CrossEntropyGrad{}, dx + at + i * c.inner, x + i * c.inner,
                   static_cast<const S*>(largest), log_sum + first, static_cast<const S*>(g));
  }
  for (int64_t j = 0; j < width; ++j) {
    const int32_t t = c.target[first + j];
    if (t != c.ignore) dx[at + t * c.inner + j] -= g[j];
  }
}

template <class V>
static bptt_code cross_entropy_backward_impl(bptt_context* context, bptt_reduction reduction,
                                             int64_t outer, int64_t classes, int64_t inner,
                                             int32_t ignore, const void* logits,
                                             const int32_t* target, const void* log_sum,
                                             const void* dloss, void* dlogits) {
  using S = typename V::Scalar;
  int64_t counted;
  if (const bptt_code code =
          check_target(context, outer * inner, classes, ignore, target, &counted))
    return code;
  const S *saved = static_cast<const S*>(log_sum), *d = static_cast<const S*>(dloss);
  const S divisor = reduction == BPTT_MEAN ? saved[outer * inner] : S(1);
  const int64_t step = reduction == BPTT_NONE ? 1 : 0;
  const CrossEntropy<S> c{classes, inner, ignore, static_cast<const S*>(logits), target};
  S* dx = static_cast<S*>(dlogits);
  for_lines(
      outer, classes, inner,
      [&](int64_t o) { cross_entropy_backward_lines<V>(c, o, 0, 1, saved, d, step, divisor, dx); },
      [&](int64_t o, int64_t column, int64_t width) {
        cross_entropy_backward_lines<V>(c, o, column, width, saved, d, step, divisor, dx);
      });
  return BPTT_OK;
}

// -- losses of pairs (x, t) ---------------------------------------------------

// scaled() is the loss times root^2; dx() and dt() are its slopes times g.
struct SquaredError {
  template <class V>
  BPTT_INLINE V operator()(V x, V t) const {
    const V d = x - t;
    return d * d;
  }
  template <class V>
  BPTT_INLINE V scaled(V x, V t, V root) const {
    return (*this)(x * root, t * root);
  }
  template <class V>
  BPTT_INLINE V dx(V x, V t, V g) const {
    return (x - t) * (g + g);
  }
  template <class V>
  BPTT_INLINE V dt(V x, V t, V g) const {
    return dx(t, x, g);
  }
};
// -t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), without overflow
struct BinaryCrossEntropy {
  template <class V>
  BPTT_INLINE V operator()(V x, V t) const {
    return fnma(x, t, max(V(), x)) + log1p(exp(-abs(x)));
  }
  template <class V>
  BPTT_INLINE V scaled(V x, V t, V root) const {
    return (*this)(x, t) * root * root;
  }
  template <class V>
  BPTT_INLINE V dx(V x, V t, V g) const {
    return (sigmoid(x) - t) * g;
  }
  template <class V>
  BPTT_INLINE V dt(V x, V, V g) const {
    return -x * g;
  }
};

template <class S, class Loss>
struct PairTerm {
  const S *x, *t;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    return Loss{}(Adjacent<S>{x}.template load<V>(i, count),
                  Adjacent<S>{t}.template load<V>(i, count));
  }
};
template <class S, class Loss>
struct ScaledPairTerm {
  const S *x, *t;
  S root;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    return Loss{}.scaled(Adjacent<S>{x}.template load<V>(i, count),
                         Adjacent<S>{t}.template load<V>(i, count), V(root));
  }
};

template <class V, class Loss>
static bptt_code pairwise(bptt_context* context, bptt_reduction reduction, int64_t n, const void* x,
                          const void* target, void* loss) {
  using S = typename V::Scalar;
  const S *in = static_cast<const S*>(x), *t = static_cast<const S*>(target);
  S* out = static_cast<S*>(loss);
  if (reduction == BPTT_NONE) {
    map<V>(n, Loss{}, out, in, t);
    return BPTT_OK;
  }
  S* partial = static_cast<S*>(scratch(context, static_cast<size_t>(sum_blocks(n)) * sizeof(S)));
  if (!partial) return BPTT_OUT_OF_MEMORY;
  *out = total_loss<V>(
      n, reduction == BPTT_MEAN ? static_cast<S>(n) : 1, PairTerm<S, Loss>{in, t},
      [&](S root) { return ScaledPairTerm<S, Loss>{in, t, root}; }, partial);
  return BPTT_OK;
}

template <class V>
static bptt_code pairwise_loss_impl(bptt_context* context, bptt_pairwise_loss loss,
                                    bptt_reduction reduction, int64_t n, const void* x,
                                    const void* target, void* out) {
  return loss == BPTT_MSE ? pairwise<V, SquaredError>(context, reduction, n, x, target, out)
                          : pairwise<V, BinaryCrossEntropy>(context, reduction, n, x, target, out);
}

// Gradient of x, or of the target, times one g or one per element.
template <class S, class Loss, bool kTarget>
struct PairGrad {
  S g;
  template <class V>
  BPTT_INLINE V operator()(V x, V t, V dloss) const {
    return kTarget ? Loss{}.dt(x, t, dloss) : Loss{}.dx(x, t, dloss);
  }
  template <class V>
  BPTT_INLINE V operator()(V x, V t) const {
    return (*this)(x, t, V(g));
  }
};

template <class V, class Loss, bool kTarget>
static void pairwise_grad(bptt_reduction reduction, int64_t n, const typename V::Scalar* x,
                          const typename V::Scalar* t, const typename V::Scalar* dloss,
                          typename V::Scalar* out) {
  using S = typename V::Scalar;
  if (!out || n == 0) return;
  if (reduction == BPTT_NONE) {
    map<V>(n, PairGrad<S, Loss, kTarget>{0}, out, x, t, dloss);
  } else {
    const S g = reduction == BPTT_MEAN ? *dloss / static_cast<S>(n) : *dloss;
    map<V>(n, PairGrad<S, Loss, kTarget>{g}, out, x, t);
  }
}

template <class V>
static bptt_code pairwise_loss_backward_impl(bptt_context*, bptt_pairwise_loss loss,
                                             bptt_reduction reduction, int64_t n, const void* x,
                                             const void* target, const void* dloss, void* dx,
                                             void* dtarget) {
  using S = typename V::Scalar;
  const S *in = static_cast<const S*>(x), *t = static_cast<const S*>(target);
  const S* d = static_cast<const S*>(dloss);
  S *to_x = static_cast<S*>(dx), *to_t = static_cast<S*>(dtarget);
  if (loss == BPTT_MSE) {
    pairwise_grad<V, SquaredError, false>(reduction, n, in, t, d, to_x);
    pairwise_grad<V, SquaredError, true>(reduction, n, in, t, d, to_t);
  } else {
    pairwise_grad<V, BinaryCrossEntropy, false>(reduction, n, in, t, d, to_x);
    pairwise_grad<V, BinaryCrossEntropy, true>(reduction, n, in, t, d, to_t);
  }
  return BPTT_OK;
}
