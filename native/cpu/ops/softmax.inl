// Softmax and log-softmax over the middle axis of [outer, classes, inner]. Where inner is 1,
// vectors run along the classes of a row; else over panels of up to kColumns neighbouring lines.
// Both add up by the same tree.

// Calls row(o) for inner = 1 or panel(o, column, width) otherwise, on the team.
template <class Row, class Panel>
static void for_lines(int64_t outer, int64_t classes, int64_t inner, const Row& row,
                      const Panel& panel) {
  if (classes == 0) return;  // nothing to write, on however many lines
  for_panels(outer, classes, inner, [&](int64_t o, int64_t column, int64_t width) {
    if (inner == 1) {
      row(o);
    } else {
      panel(o, column, width);
    }
  });
}

// The largest of x [n]. NaN is passed over: the sum that follows becomes NaN by it.
template <class V>
static typename V::Scalar row_max(const typename V::Scalar* x, int64_t n) {
  using S = typename V::Scalar;
  constexpr S kLowest = -std::numeric_limits<S>::infinity();
  V most(kLowest);
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) most = max(V::load(x + i), most);
  S lanes[V::N];
  most.store(lanes);
  S result = kLowest;
  for (S lane : lanes) result = lane > result ? lane : result;
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// largest[j] = the largest of x[i * stride + j] over i < n, for j < width.
template <class V>
static void column_max(const typename V::Scalar* x, int64_t n, int64_t stride, int64_t width,
                       typename V::Scalar* largest) {
  for (int64_t j = 0; j < width; j += V::N) {
    const int64_t count = least(width - j, V::N);
    V most(-std::numeric_limits<typename V::Scalar>::infinity());
    for (int64_t i = 0; i < n; ++i) most = max(V::load(x + i * stride + j, count), most);
    most.store(largest + j);
  }
}

// exp(x - largest), also stored when out is given; a row or columns of it.
template <class S>
struct ExpTerm {
  const S* x;
  int64_t stride;
  const S* largest;  // one for a row, else one per column
  S* out;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const V e = exp(Adjacent<S>{x}.template load<V>(i, count) - V(*largest));
    if (out) e.store(out + i, count);
    return e;
  }
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t j, int64_t count) const {
    const V e = exp(Adjacent<S>{x + i * stride}.template load<V>(j, count) - V::load(largest + j));
    if (out) e.store(out + i * stride + j, count);
    return e;
  }
};

// One line of softmax: the largest, and the sum of exp(x - largest).
template <class V>
static void row_max_sum(const typename V::Scalar* x, int64_t n, typename V::Scalar* largest,
                        typename V::Scalar* sum, typename V::Scalar* out) {
  *largest = row_max<V>(x, n);
  *sum = sum_terms<V>(n, ExpTerm<typename V::Scalar>{x, 1, largest, out});
}

// The same for `width` columns; largest and sum have room for kColumns.
template <class V>
static void column_max_sum(const typename V::Scalar* x, int64_t n, int64_t stride, int64_t width,
                           typename V::Scalar* largest, typename V::Scalar* sum,
                           typename V::Scalar* out) {
  column_max<V>(x, n, stride, width, largest);
  sum_columns<V>(n, 0, width, ExpTerm<typename V::Scalar>{x, stride, largest, out}, sum);
}

template <class V>
static typename V::Scalar scalar_log(typename V::Scalar x) {
  typename V::Scalar result;
  log(V(x)).store(&result, 1);
  return result;
}

// log-softmax is (x - largest) - log(sum), softmax the stored exponentials over the sum.
template <class S>
struct LogSoftmaxOp {
  S largest, log_sum;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return (x - V(largest)) - V(log_sum);
  }
};
struct LogSoftmaxColumnsOp {
  template <class V>
  BPTT_INLINE V operator()(V x, V largest, V log_sum) const {
    return (x - largest) - log_sum;
  }
};
template <class S>
struct DivideOp {
  S divisor;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return x / V(divisor);
  }
};

template <class V>
static void softmax_row(bool log, int64_t classes, const typename V::Scalar* x,
                        typename V::Scalar* out) {
  using S = typename V::Scalar;
  S largest, sum;
  row_max_sum<V>(x, classes, &largest, &sum, log ? nullptr : out);
  if (log) {
    map_range<V>(0, classes, LogSoftmaxOp<S>{largest, scalar_log<V>(sum)}, out, x);
  } else {
    map_range<V>(0, classes, DivideOp<S>{sum}, out, out);
  }
}

template <class V>
static void softmax_panel(bool log, int64_t classes, int64_t inner, int64_t width,
                          const typename V::Scalar* x, typename V::Scalar* out) {
  using S = typename V::Scalar;
  S largest[kColumns], sum[kColumns];
  column_max_sum<V>(x, classes, inner, width, largest, sum, log ? nullptr : out);
  if (log) map_range<V>(0, width, LogOp{}, sum, sum);
  for (int64_t i = 0; i < classes; ++i) {
    if (log) {
      map_range<V>(0, width, LogSoftmaxColumnsOp{}, out + i * inner, x + i * inner, largest, sum);
    } else {
      map_range<V>(0, width, DivOp{}, out + i * inner, out + i * inner, sum);
    }
  }
}

template <class V>
static bptt_code softmax_impl(bptt_context*, bptt_softmax_kind kind, int64_t outer, int64_t classes,
                              int64_t inner, const void* x, void* out) {
  const bool log = kind == BPTT_LOG_SOFTMAX;
  using S = typename V::Scalar;
  const S* from = static_cast<const S*>(x);
  S* to = static_cast<S*>(out);
  for_lines(
      outer, classes, inner,
      [&](int64_t o) { softmax_row<V>(log, classes, from + o * classes, to + o * classes); },
      [&](int64_t o, int64_t column, int64_t width) {
        const int64_t at = o * classes * inner + column;
        softmax_panel<V>(log, classes, inner, width, from + at, to + at);
      });
  return BPTT_OK;
}

// With s = softmax and dy = dout: dx = s * (dy - sum(dy * s)), and for the
// logarithm y: dx = dy - exp(y) * sum(dy).
template <class S>
struct SoftmaxGradTerm {
  bool log;
  const S *y, *dy;
  int64_t stride;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const V d = Adjacent<S>{dy}.template load<V>(i, count);
    return log ? d : d * Adjacent<S>{y}.template load<V>(i, count);
  }
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t j, int64_t count) const {
    const V d = Adjacent<S>{dy + i * stride}.template load<V>(j, count);
    return log ? d : d * Adjacent<S>{y + i * stride}.template load<V>(j, count);
  }
};
struct SoftmaxGradOp {
  bool log;
  template <class V>
  BPTT_INLINE V operator()(V y, V dy, V sum) const {
    return log ? fnma(exp(y), sum, dy) : y * (dy - sum);
  }
};
template <class S>
struct SoftmaxGradRowOp {
  bool log;
  S sum;
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return SoftmaxGradOp{log}(y, dy, V(sum));
  }
};

template <class V>
static void softmax_backward_row(bool log, int64_t classes, const typename V::Scalar* y,
                                 const typename V::Scalar* dy, typename V::Scalar* dx) {
  using S = typename V::Scalar;
  const S sum = sum_terms<V>(classes, SoftmaxGradTerm<S>{log, y, dy, 1});
  map_range<V>(0, classes, SoftmaxGradRowOp<S>{log, sum}, dx, y, dy);
}

template <class V>
static void softmax_backward_panel(bool log, int64_t classes, int64_t inner, int64_t width,
                                   const typename V::Scalar* y, const typename V::Scalar* dy,
                                   typename V::Scalar* dx) {
  using S = typename V::Scalar;
  S sum[kColumns];
  sum_columns<V>(classes, 0, width, SoftmaxGradTerm<S>{log, y, dy, inner}, sum);
  for (int64_t i = 0; i < classes; ++i)
    map_range<V>(0, width, SoftmaxGradOp{log}, dx + i * inner, y + i * inner, dy + i * inner, sum);
}

template <class V>
static bptt_code softmax_backward_impl(bptt_context*, bptt_softmax_kind kind, int64_t outer,
                                       int64_t classes, int64_t inner, const void* out,
                                       const void* dout, void* dx) {
  const bool log = kind == BPTT_LOG_SOFTMAX;
  using S = typename V::Scalar;
  const S *y = static_cast<const S*>(out), *dy = static_cast<const S*>(dout);
  S* to = static_cast<S*>(dx);
  for_lines(
      outer, classes, inner,
      [&](int64_t o) {
        const int64_t at = o * classes;
        softmax_backward_row<V>(log, classes, y + at, dy + at, to + at);
      },
      [&](int64_t o, int64_t column, int64_t width) {
        const int64_t at = o * classes * inner + column;
        softmax_backward_panel<V>(log, classes, inner, width, y + at, dy + at, to + at);
      });
  return BPTT_OK;
}
