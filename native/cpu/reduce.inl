// Sums by the fixed tree (docs/numerics.md): blocks of kSumBlock elements, each
// summed by 16 strided accumulators, then block results in ascending order.
// Threads divide outputs and blocks, never the order of a sum.
//
// What is summed is a term: a functor whose at<V>() gives the values of V::N
// neighbours, of which the first `count` matter.

// Elements [begin, end), one block, of the term f.at<V>(i, count).
template <class V, class F>
static typename V::Scalar sum_block(int64_t begin, int64_t end, const F& f) {
  Sum16<V> sum;
  int64_t i = begin;
  for (; i + sum.kWidth <= end; i += sum.kWidth)
    for (int part = 0; part < sum.kParts; ++part)
      sum.add(part, f.template at<V>(i + part * V::N, V::N));
  for (int part = 0; i < end; ++part, i += V::N) {
    const int64_t count = end - i < V::N ? end - i : V::N;
    sum.add(part, f.template at<V>(i, count), count);
  }
  return sum.total();
}

inline int64_t sum_blocks(int64_t n) {
  return n <= kSumBlock ? 1 : (n + kSumBlock - 1) / kSumBlock;
}

// Elements [0, n) of the term, on this thread.
template <class V, class F>
static typename V::Scalar sum_terms(int64_t n, const F& f) {
  typename V::Scalar total = 0;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    const typename V::Scalar block = sum_block<V>(begin, end, f);
    total = begin == 0 ? block : total + block;
  }
  return total;
}

constexpr int kColumns = 64;  // columns summed together, a multiple of every V::N

// total[j] = sum over rows i in [begin, end), one block, of f.at<V>(i, column + j, count)
// for j < width <= kColumns; total has room for kColumns.
template <class V, class F>
static void sum_column_block(int64_t begin, int64_t end, int64_t column, int64_t width, const F& f,
                             typename V::Scalar* total) {
  typename V::Scalar sums[16][kColumns];
  const int64_t padded = (width + V::N - 1) / V::N * V::N;
  for (int lane = 0; lane < 16; ++lane)
    for (int64_t j = 0; j < padded; j += V::N) V().store(sums[lane] + j);
  for (int64_t i = begin; i < end; ++i) {
    typename V::Scalar* sum = sums[(i - begin) % 16];
    int64_t j = 0;
    for (; j + V::N <= width; j += V::N)
      (V::load(sum + j) + f.template at<V>(i, column + j, V::N)).store(sum + j);
    if (j < width) (V::load(sum + j) + f.template at<V>(i, column + j, width - j)).store(sum + j);
  }
  for (int lanes = 8; lanes > 0; lanes /= 2)
    for (int lane = 0; lane < lanes; ++lane)
      for (int64_t j = 0; j < padded; j += V::N)
        (V::load(sums[lane] + j) + V::load(sums[lane + lanes] + j)).store(sums[lane] + j);
  for (int64_t j = 0; j < padded; j += V::N) V::load(sums[0] + j).store(total + j);
}

// Rows [0, n) of the columns [column, column + width), on this thread.
template <class V, class F>
static void sum_columns(int64_t n, int64_t column, int64_t width, const F& f,
                        typename V::Scalar* total) {
  typename V::Scalar block[kColumns];
  sum_column_block<V>(0, n < kSumBlock ? n : kSumBlock, column, width, f, total);
  for (int64_t begin = kSumBlock; begin < n; begin += kSumBlock) {
    const int64_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    sum_column_block<V>(begin, end, column, width, f, block);
    for (int64_t j = 0; j < width; ++j) total[j] += block[j];
  }
}

template <class V, class F>
static void sum_blocks_range(int64_t n, int64_t begin, int64_t end, const F& f,
                             typename V::Scalar* partial) {
  for (int64_t b = begin; b < end; ++b) {
    const int64_t first = b * kSumBlock;
    partial[b] = sum_block<V>(first, n - first < kSumBlock ? n : first + kSumBlock, f);
  }
}

// Elements [0, n) of the term, by the whole team; partial has sum_blocks(n) places.
template <class V, class F>
static typename V::Scalar parallel_sum(int64_t n, const F& f, typename V::Scalar* partial) {
  const int64_t blocks = sum_blocks(n);
  Team::instance().parallel_for(blocks, 2, [&](int64_t begin, int64_t end) {
    sum_blocks_range<V>(n, begin, end, f, partial);
  });
  typename V::Scalar total = partial[0];
  for (int64_t b = 1; b < blocks; ++b) total += partial[b];
  return total;
}

// -- sum over axes ------------------------------------------------------------

// Some axes of a tensor, in order; neighbours that are walked as one are merged.
struct Walk {
  int rank = 0;
  int64_t shape[BPTT_MAX_RANK], stride[BPTT_MAX_RANK];

  void append(int64_t size, int64_t step) {
    if (size == 1) return;
    if (rank > 0 && stride[rank - 1] == step * size) {
      shape[rank - 1] *= size;
      stride[rank - 1] = step;
    } else {
      shape[rank] = size;
      stride[rank++] = step;
    }
  }
  int64_t size() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= shape[d];
    return n;
  }
  int64_t offset(int64_t i) const {
    int64_t at = 0;
    for (int d = rank - 1; d > 0; --d) {
      at += i % shape[d] * stride[d];
      i /= shape[d];
    }
    return rank > 0 ? at + i * stride[0] : 0;
  }
};

// The reduced elements of one output, innermost axis adjacent in memory.
template <class S>
struct ReducedRow {
  const S* x;
  const Walk& reduced;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const int64_t run = reduced.rank > 0 ? reduced.shape[reduced.rank - 1] : 1;
    if (reduced.rank <= 1 || i % run + count <= run)
      return Adjacent<S>{x + reduced.offset(i)}.template load<V>(0, count);
    S lanes[V::N] = {};
    for (int64_t l = 0; l < count; ++l) lanes[l] = x[reduced.offset(i + l)];
    return V::load(lanes);
  }
};

// The same for neighbouring outputs j, adjacent in memory.
template <class S>
struct ReducedColumns {
  const S* x;
  const Walk& reduced;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t j, int64_t count) const {
    return Adjacent<S>{x + reduced.offset(i)}.template load<V>(j, count);
  }
};

// Sizes of one sum: outputs are [outer, inner], inner adjacent in x. A task is one
// block of the sums of one panel of kColumns outputs.
struct SumShape {
  Walk outer, reduced;
  int64_t inner = 1;
  bool columns = false;
  int64_t outputs, length, panels, blocks;
};

template <class V>
static void sum_tasks(const SumShape& s, int64_t begin, int64_t end, const typename V::Scalar* x,
                      typename V::Scalar* partial) {  // [blocks, outputs]
  using S = typename V::Scalar;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task % s.blocks, panel = task / s.blocks % s.panels;
    const int64_t outer = task / s.blocks / s.panels;
    const S* from = x + s.outer.offset(outer);
    const int64_t first = block * kSumBlock;
    const int64_t last = s.length - first < kSumBlock ? s.length : first + kSumBlock;
    S* out = partial + block * s.outputs + outer * s.inner + panel * kColumns;
    if (!s.columns) {
      *out = sum_block<V>(first, last, ReducedRow<S>{from, s.reduced});
      continue;
    }
    const int64_t column = panel * kColumns;
    const int64_t width = s.inner - column < kColumns ? s.inner - column : kColumns;
    S total[kColumns];
    sum_column_block<V>(first, last, column, width, ReducedColumns<S>{from, s.reduced}, total);
    for (int64_t j = 0; j < width; ++j) out[j] = total[j];
  }
}

template <class V>
static bptt_code sum_impl(bptt_context* context, int rank, const int64_t* shape, const int* reduced,
                          double scale, const void* x, void* out) {
  using S = typename V::Scalar;
  SumShape s;
  int64_t strides[BPTT_MAX_RANK];
  int innermost = -1;
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= shape[d];
    if (innermost < 0 && shape[d] != 1) innermost = d;
  }
  s.columns = innermost >= 0 && !reduced[innermost];
  int kept = rank;  // axes [kept, rank) make up the inner axis
  while (s.columns && kept > 0 && (!reduced[kept - 1] || shape[kept - 1] == 1))
    s.inner *= shape[--kept];
  for (int d = 0; d < kept; ++d) (reduced[d] ? s.reduced : s.outer).append(shape[d], strides[d]);
  s.length = s.reduced.size();
  s.outputs = s.outer.size() * s.inner;
  if (s.outputs == 0) return BPTT_OK;
  s.panels = s.columns ? (s.inner + kColumns - 1) / kColumns : 1;
  s.blocks = sum_blocks(s.length);

  S* to = static_cast<S*>(out);
  S* partial = to;
  if (s.blocks > 1) {
    partial = static_cast<S*>(scratch(
        context, static_cast<size_t>(s.blocks) * static_cast<size_t>(s.outputs) * sizeof(S)));
    if (!partial) return BPTT_OUT_OF_MEMORY;
  }
  const int64_t tasks = s.outer.size() * s.panels * s.blocks;
  const int64_t work = (s.blocks > 1 ? kSumBlock : s.length) * (s.columns ? kColumns : 1);
  Team::instance().parallel_for(tasks, grain_of(work), [&](int64_t begin, int64_t end) {
    sum_tasks<V>(s, begin, end, static_cast<const S*>(x), partial);
  });
  for (int64_t block = 1; block < s.blocks; ++block)
    map<V>(s.outputs, AddOp{}, partial, partial, partial + block * s.outputs);
  if (s.blocks > 1 || scale != 1) map<V>(s.outputs, ScaleOp<S>{static_cast<S>(scale)}, to, partial);
  return BPTT_OK;
}
