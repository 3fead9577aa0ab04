// Embedding: rows of a table picked by index, and their gradient.

static bptt_code check_index(bptt_context* context, int64_t n, int64_t rows, const int32_t* index) {
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] >= 0 && index[i] < rows) continue;
    std::snprintf(context->message, sizeof context->message,
                  "embedding: index[%lld] = %lld is out of range [0, %lld)",
                  static_cast<long long>(i), static_cast<long long>(index[i]),
                  static_cast<long long>(rows));
    return BPTT_INDEX;
  }
  return BPTT_OK;
}

template <class V>
static bptt_code embedding_impl(bptt_context* context, int64_t n, int64_t rows, int64_t cols,
                                const void* table, const int32_t* index, void* out) {
  using S = typename V::Scalar;
  if (const bptt_code code = check_index(context, n, rows, index)) return code;
  const S* from = static_cast<const S*>(table);
  S* to = static_cast<S*>(out);
  Team::instance().parallel_for(n, grain_of(cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && cols > 0; ++i)
      std::memcpy(to + i * cols, from + index[i] * cols, static_cast<size_t>(cols) * sizeof(S));
  });
  return BPTT_OK;
}

// Columns [begin, end) of dtable [rows,cols], from all of dout [n,cols].
template <class V>
static void embedding_columns(int64_t begin, int64_t end, int64_t n, int64_t rows, int64_t cols,
                              int64_t padding, const int32_t* index, const typename V::Scalar* dout,
                              typename V::Scalar* dtable) {
  using S = typename V::Scalar;
  for (int64_t row = 0; row < rows; ++row)
    std::memset(dtable + row * cols + begin, 0, static_cast<size_t>(end - begin) * sizeof(S));
  for (int64_t i = 0; i < n; ++i) {
    S* sum = dtable + index[i] * cols;
    if (index[i] != padding) map_range<V>(begin, end, AddOp{}, sum, sum, dout + i * cols);
  }
}

template <class V>
static bptt_code embedding_backward_impl(bptt_context* context, int64_t n, int64_t rows,
                                         int64_t cols, int64_t padding, const int32_t* index,
                                         const void* dout, void* dtable) {
  using S = typename V::Scalar;
  if (const bptt_code code = check_index(context, n, rows, index)) return code;
  // Shares are whole cache lines wide, unless there is little to do at all.
  const int64_t line = 64 / static_cast<int64_t>(sizeof(S));
  const int64_t lines = (grain_of(n + rows) + line - 1) / line;
  Team::instance().parallel_for(cols, lines * line, [&](int64_t begin, int64_t end) {
    embedding_columns<V>(begin, end, n, rows, cols, padding, index, static_cast<const S*>(dout),
                         static_cast<S*>(dtable));
  });
  return BPTT_OK;
}
