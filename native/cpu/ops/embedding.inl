// Embedding: rows of a table picked by index, and their gradient.

static bptt_code check_index(bptt_context* context, const char* op, int64_t n, int64_t rows,
                             const int32_t* index) {
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] >= 0 && index[i] < rows) continue;
    std::snprintf(context->message, sizeof context->message,
                  "%s: index[%lld] = %lld is out of range [0, %lld)", op, static_cast<long long>(i),
                  static_cast<long long>(index[i]), static_cast<long long>(rows));
    return BPTT_INDEX;
  }
  return BPTT_OK;
}

template <class V>
static bptt_code embedding_impl(bptt_context* context, int64_t n, int64_t rows, int64_t cols,
                                const void* table, const int32_t* index, void* out) {
  using S = typename V::Scalar;
  if (const bptt_code code = check_index(context, "embedding", n, rows, index)) return code;
  const S* from = static_cast<const S*>(table);
  S* to = static_cast<S*>(out);
  Team::instance().parallel_for(n, grain_of(cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && cols > 0; ++i)
      std::memcpy(to + i * cols, from + index[i] * cols, static_cast<size_t>(cols) * sizeof(S));
  });
  return BPTT_OK;
}

// For each row of the table a linked list of the places whose index is that row, ascending; -1
// ends it.
struct IndexLists {
  int64_t *first, *next;  // [rows], [n]
};

// Columns [begin, end) of dtable [rows,cols], from all of dout [n,cols]: as many vectors as
// there are registers for at a time.
template <class V>
static void embedding_columns(int64_t begin, int64_t end, int64_t rows, int64_t cols,
                              int64_t padding, const IndexLists& lists,
                              const typename V::Scalar* dout, typename V::Scalar* dtable) {
  constexpr int kVectors = 4;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = begin; column < end; column += kVectors * V::N) {
      V sums[kVectors], lost[kVectors];
      int64_t counts[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        const int64_t rest = end - column - v * V::N;
        counts[v] = least(most(rest, 0), V::N);
      }
      for (int64_t i = row == padding ? -1 : lists.first[row]; i >= 0; i = lists.next[i]) {
        const typename V::Scalar* from = dout + i * cols + column;
        for (int v = 0; v < kVectors; ++v)
          if (counts[v] > 0)
            sums[v] = add_exactly(sums[v], V::load(from + v * V::N, counts[v]), lost[v]);
      }
      for (int v = 0; v < kVectors; ++v)
        if (counts[v] > 0)
          add_rest(sums[v], lost[v]).store(dtable + row * cols + column + v * V::N, counts[v]);
    }
  }
}

template <class V>
static bptt_code embedding_backward_impl(bptt_context* context, int64_t n, int64_t rows,
                                         int64_t cols, int64_t padding, const int32_t* index,
                                         const void* dout, void* dtable) {
  using S = typename V::Scalar;
  if (const bptt_code code = check_index(context, "embedding", n, rows, index)) return code;
  auto* places = static_cast<int64_t*>(
      scratch(context, (static_cast<size_t>(rows) + static_cast<size_t>(n)) * sizeof(int64_t)));
  if (!places) return BPTT_OUT_OF_MEMORY;
  const IndexLists lists{places, places + rows};
  for (int64_t row = 0; row < rows; ++row) lists.first[row] = -1;
  for (int64_t i = n; i-- > 0;) {
    lists.next[i] = lists.first[index[i]];
    lists.first[index[i]] = i;
  }
  // Shares are whole cache lines wide, unless there is little to do at all.
  const int64_t line = 64 / static_cast<int64_t>(sizeof(S));
  const int64_t lines = (grain_of(n + rows) + line - 1) / line;
  Team::instance().parallel_for(cols, lines * line, [&](int64_t begin, int64_t end) {
    embedding_columns<V>(begin, end, rows, cols, padding, lists, static_cast<const S*>(dout),
                         static_cast<S*>(dtable));
  });
  return BPTT_OK;
}
