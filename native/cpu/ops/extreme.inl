// The largest or smallest element of lines, and where it is first. NaN wins over all numbers.

template <bool kLargest, class T>
BPTT_INLINE bool wins(T x, T best) {
  const bool beyond = kLargest ? !(x <= best) : !(x >= best), number = is_number(best);
  return beyond & number;
}

// Where the extreme of x [n] is first, n > 0: its value by 16 lanes side by side, a loop that
// becomes vectors, then the first place that has this value, a loop that ends early.
template <bool kLargest, class T>
static int64_t row_extreme(int64_t n, const T* x) {
  constexpr int kLanes = 16;
  T best[kLanes];
  for (T& lane : best) lane = x[0];
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane)
      best[lane] = wins<kLargest>(x[i + lane], best[lane]) ? x[i + lane] : best[lane];
  T extreme = best[0];
  for (const T lane : best) extreme = wins<kLargest>(lane, extreme) ? lane : extreme;
  for (; i < n; ++i) extreme = wins<kLargest>(x[i], extreme) ? x[i] : extreme;
  int64_t at = 0;
  while (at < n - 1 && !(x[at] == extreme || !(is_number(extreme) || is_number(x[at])))) ++at;
  return at;
}

template <bool kLargest, class T>
static void column_extremes(int64_t n, int64_t inner, int64_t width, const T* x, T* values,
                            int32_t* index) {
  T best[kColumns];
  int32_t at[kColumns];
  for (int64_t j = 0; j < width; ++j) {
    best[j] = x[j];
    at[j] = 0;
  }
  for (int64_t i = 1; i < n; ++i) {
    const T* row = x + i * inner;
    for (int64_t j = 0; j < width; ++j) {
      const bool better = wins<kLargest>(row[j], best[j]);
      best[j] = better ? row[j] : best[j];
      at[j] = better ? static_cast<int32_t>(i) : at[j];
    }
  }
  for (int64_t j = 0; j < width; ++j) {
    if (values) values[j] = best[j];
    index[j] = at[j];
  }
}

template <bool kLargest, class T>
static bptt_code extremes(int64_t outer, int64_t n, int64_t inner, const T* x, T* values,
                          int32_t* index) {
  for_panels(outer, n, inner, [&](int64_t o, int64_t column, int64_t width) {
    const T* from = x + o * n * inner + column;
    const int64_t to = o * inner + column;
    if (inner > 1)
      return column_extremes<kLargest>(n, inner, width, from, values ? values + to : nullptr,
                                       index + to);
    const int64_t at = row_extreme<kLargest>(n, from);
    if (values) values[to] = from[at];
    index[to] = static_cast<int32_t>(at);
  });
  return BPTT_OK;
}

static bptt_code extreme_impl(bptt_context* context, bptt_dtype dtype, bptt_extreme kind,
                              int64_t outer, int64_t n, int64_t inner, const void* x, void* values,
                              int32_t* index) {
  return with_elements(context, dtype, [&]<class T>() {
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(values);
    return kind == BPTT_LARGEST ? extremes<true>(outer, n, inner, from, to, index)
                                : extremes<false>(outer, n, inner, from, to, index);
  });
}
