// Sums by the fixed tree (docs/numerics.md). Threads divide outputs and blocks, never the
// order of a sum.
//
// What is summed is a term: a functor whose at<V>() gives the values of V::N
// neighbours, of which the first `count` matter.

// -- the tree -------------------------------------------------------------------

// A chunk of elements is summed by Sum16, the chunks of a block pairwise, then the blocks pairwise.
constexpr int64_t kSumChunk = 256;
constexpr int64_t kSumBlock = 4096;

// Adds parts pairwise: neighbours, then neighbouring pairs, fours and so on; one without a
// neighbour passes on to the next round. What is kept is a stack of sums, at most one of each size
// and the newest part.
template <class Sum, int kDepth>
struct Pairs {
  Sum sums[kDepth];
  int depth = 0;
  int64_t count = 0;

  // Written out: an implicit constructor would not belong to the target.
  BPTT_INLINE Pairs() {}

  // The place of the next part, to be filled before add().
  BPTT_INLINE Sum& next() { return sums[depth]; }
  BPTT_INLINE void add() {
    ++depth;
    for (int64_t c = count++; c & 1; c >>= 1) merge();
  }
  BPTT_INLINE void merge() {
    --depth;
    sums[depth - 1] += sums[depth];
  }
  // Of one part or more.
  BPTT_INLINE Sum& total() {
    while (depth > 1) merge();
    return sums[0];
  }
};

// Stacks of Pairs: for the 16 chunks of a block, and for the blocks of any sum.
constexpr int kChunksDepth = 5;
constexpr int kBlocksDepth = 40;

// Element i goes to accumulator i % 16, ascending; then 16 become 8, 4, 2, 1 by adding the
// upper half to the lower.
template <class V>
struct Sum16 {
  using Scalar = typename V::Scalar;
  static constexpr int kWidth = 16;
  static constexpr int kParts = kWidth / V::N;
  V parts[kParts];

  BPTT_INLINE Sum16() {}

  // Elements [part * N, part * N + N) of the current 16.
  BPTT_INLINE void add(int part, V x) { parts[part] = parts[part] + x; }
  // Only the first n of them, 0 <= n <= N.
  BPTT_INLINE void add(int part, V x, int64_t n) { add(part, keep(x, n)); }

  BPTT_INLINE void operator+=(const Sum16& other) {
    for (int i = 0; i < kParts; ++i) add(i, other.parts[i]);
  }

  BPTT_INLINE Scalar total() const {
    Scalar lanes[kWidth];
    for (int i = 0; i < kParts; ++i) parts[i].store(lanes + i * V::N);
    for (int width = kWidth / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    return lanes[0];
  }
};

// Elements [begin, end), one chunk, of the term f.at<V>(i, count).
template <class V, class F>
BPTT_INLINE Sum16<V> sum_chunk(int64_t begin, int64_t end, const F& f) {
  Sum16<V> sum;
  int64_t i = begin;
  for (; i + sum.kWidth <= end; i += sum.kWidth)
    for (int part = 0; part < sum.kParts; ++part)
      sum.add(part, f.template at<V>(i + part * V::N, V::N));
  for (int part = 0; i < end; ++part, i += V::N) {
    const int64_t count = least(end - i, V::N);
    sum.add(part, f.template at<V>(i, count), count);
  }
  return sum;
}

// Elements [begin, end), one block.
template <class V, class F>
static typename V::Scalar sum_block(int64_t begin, int64_t end, const F& f) {
  if (end - begin <= kSumChunk) return sum_chunk<V>(begin, end, f).total();
  Pairs<Sum16<V>, kChunksDepth> chunks;
  for (int64_t i = begin; i < end; i += kSumChunk) {
    chunks.next() = sum_chunk<V>(i, least(i + kSumChunk, end), f);
    chunks.add();
  }
  return chunks.total().total();
}

inline int64_t sum_blocks(int64_t n) { return most((n + kSumBlock - 1) / kSumBlock, 1); }

// Elements [0, n) of the term, on this thread.
template <class V, class F>
static typename V::Scalar sum_terms(int64_t n, const F& f) {
  if (n <= kSumBlock) return sum_block<V>(0, n, f);
  Pairs<typename V::Scalar, kBlocksDepth> blocks;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    blocks.next() = sum_block<V>(begin, least(begin + kSumBlock, n), f);
    blocks.add();
  }
  return blocks.total();
}

constexpr int kColumns = 64;  // columns summed together, a multiple of every V::N

// One number of each of `width` columns.
template <class V>
struct ColumnSums {
  typename V::Scalar of[kColumns];  // whole vectors of them

  BPTT_INLINE ColumnSums() {}
  BPTT_INLINE void clear(int64_t width) {
    for (int64_t j = 0; j < width; j += V::N) V().store(of + j);
  }
  BPTT_INLINE void add(const ColumnSums& other, int64_t width) {
    for (int64_t j = 0; j < width; j += V::N)
      (V::load(of + j) + V::load(other.of + j)).store(of + j);
  }
};

// Sum16 of each column.
template <class V>
struct ColumnSums16 {
  ColumnSums<V> lanes[16];
  int64_t width;

  BPTT_INLINE ColumnSums16() {}
  BPTT_INLINE void clear(int64_t columns) {
    width = columns;
    for (ColumnSums<V>& lane : lanes) lane.clear(width);
  }
  BPTT_INLINE void operator+=(const ColumnSums16& other) {
    for (int lane = 0; lane < 16; ++lane) lanes[lane].add(other.lanes[lane], width);
  }
  BPTT_INLINE const ColumnSums<V>& total() {
    for (int half = 8; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) lanes[lane].add(lanes[lane + half], width);
    return lanes[0];
  }
};

// sums += rows i in [begin, end), one chunk, of f.at<V>(i, column + j, count) for j < width.
template <class V, class F>
static void add_column_chunk(int64_t begin, int64_t end, int64_t column, int64_t width, const F& f,
                             ColumnSums16<V>& sums) {
  for (int64_t i = begin; i < end; ++i) {
    typename V::Scalar* sum = sums.lanes[(i - begin) % 16].of;
    int64_t j = 0;
    for (; j + V::N <= width; j += V::N)
      (V::load(sum + j) + f.template at<V>(i, column + j, V::N)).store(sum + j);
    if (j < width) (V::load(sum + j) + f.template at<V>(i, column + j, width - j)).store(sum + j);
  }
}

// total[j] = sum over rows i in [begin, end), one block, of f.at<V>(i, column + j, count)
// for j < width <= kColumns; total has room for kColumns.
template <class V, class F>
static void sum_column_block(int64_t begin, int64_t end, int64_t column, int64_t width, const F& f,
                             typename V::Scalar* total) {
  Pairs<ColumnSums16<V>, kChunksDepth> chunks;
  int64_t i = begin;
  do {
    const int64_t past = least(i + kSumChunk, end);
    chunks.next().clear(width);
    add_column_chunk<V>(i, past, column, width, f, chunks.next());
    chunks.add();
    i = past;
  } while (i < end);
  const ColumnSums<V>& all = chunks.total().total();
  for (int64_t j = 0; j < width; j += V::N) V::load(all.of + j).store(total + j);
}

// Sums of blocks of rows.
template <class V>
struct ColumnBlock {
  ColumnSums<V> sums;
  int64_t width;

  BPTT_INLINE ColumnBlock() {}
  BPTT_INLINE void operator+=(const ColumnBlock& other) { sums.add(other.sums, width); }
};

// Rows [0, n) of the columns [column, column + width), on this thread.
template <class V, class F>
static void sum_columns(int64_t n, int64_t column, int64_t width, const F& f,
                        typename V::Scalar* total) {
  if (n <= kSumBlock) return sum_column_block<V>(0, n, column, width, f, total);
  Pairs<ColumnBlock<V>, kBlocksDepth> blocks;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = least(begin + kSumBlock, n);
    blocks.next().width = width;
    sum_column_block<V>(begin, end, column, width, f, blocks.next().sums.of);
    blocks.add();
  }
  const ColumnSums<V>& all = blocks.total().sums;
  for (int64_t j = 0; j < width; j += V::N) V::load(all.of + j).store(total + j);
}

// The sums of blocks [0, n) of `width` places each, into the first of them.
template <class V>
static void add_blocks(int64_t n, int64_t width, typename V::Scalar* sums) {
  for (int64_t step = 1; step < n; step *= 2)
    for (int64_t b = 0; b + step < n; b += 2 * step)
      map<V>(width, AddOp{}, sums + b * width, sums + b * width, sums + (b + step) * width);
}

template <class V, class F>
static void sum_blocks_range(int64_t n, int64_t begin, int64_t end, const F& f,
                             typename V::Scalar* partial) {
  for (int64_t b = begin; b < end; ++b) {
    const int64_t first = b * kSumBlock;
    partial[b] = sum_block<V>(first, least(first + kSumBlock, n), f);
  }
}

// Elements [0, n) of the term, by the whole team; partial has sum_blocks(n) places.
template <class V, class F>
static typename V::Scalar parallel_sum(int64_t n, const F& f, typename V::Scalar* partial) {
  const int64_t blocks = sum_blocks(n);
  Team::instance().parallel_for(blocks, 2, [&](int64_t begin, int64_t end) {
    sum_blocks_range<V>(n, begin, end, f, partial);
  });
  add_blocks<V>(blocks, 1, partial);
  return partial[0];
}

// -- sums and means that leave the range of the type on the way ---------------------

// The largest |x[i]|, i < n; NaN is passed over.
template <class V>
typename V::Scalar largest_magnitude(const typename V::Scalar* x, int64_t n) {
  typename V::Scalar lanes[V::N], most = 0;
  V largest;
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) largest = max(abs(V::load(x + i)), largest);
  if (i < n) largest = max(abs(V::load(x + i, n - i)), largest);
  largest.store(lanes);
  for (typename V::Scalar lane : lanes) most = lane > most ? lane : most;
  return most;
}

template <class F, class S>
struct Scaled {
  F f;
  S factor;
  template <class V, class... At>
  BPTT_INLINE V at(At... at) const {
    return f.template at<V>(at...) * V(factor);
  }
};

// The mean of terms [0, n), on this thread.
template <class V, class F>
static typename V::Scalar mean_terms(int64_t n, const F& f) {
  using S = typename V::Scalar;
  const S sum = sum_terms<V>(n, f), count = static_cast<S>(n);
  if (std::isfinite(sum)) return sum / count;
  const S part = static_cast<S>(power_of_two_part(n));
  return sum_terms<V>(n, Scaled<F, S>{f, part}) / (count * part);
}

// -- sum over axes ------------------------------------------------------------

inline int64_t offset_of(const Walk& walk, int64_t i) {
  int64_t at = 0;
  for (int d = walk.rank - 1; d > 0; --d) {
    at += i % walk.shape[d] * walk.stride[d];
    i /= walk.shape[d];
  }
  return walk.rank > 0 ? at + i * walk.stride[0] : 0;
}

// The reduced elements of one output, innermost axis adjacent in memory.
template <class S>
struct ReducedRow {
  const S* x;
  const Walk& reduced;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const int64_t run = reduced.rank > 0 ? reduced.shape[reduced.rank - 1] : 1;
    if (reduced.rank <= 1 || i % run + count <= run)
      return Adjacent<S>{x + offset_of(reduced, i)}.template load<V>(0, count);
    S lanes[V::N] = {};
    for (int64_t l = 0; l < count; ++l) lanes[l] = x[offset_of(reduced, i + l)];
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
    return Adjacent<S>{x + offset_of(reduced, i)}.template load<V>(j, count);
  }
};

// Sizes of one sum. A task is one block of the sums of one panel of kColumns outputs.
struct SumShape : SumAxes {
  int64_t outputs = 0, length = 0, panels = 0, blocks = 0;
};

// Whether all sums of the tasks are finite.
template <class V, class Row, class Columns>
static bool sum_tasks(const SumShape& s, int64_t begin, int64_t end, const typename V::Scalar* x,
                      const Row& row, const Columns& columns,
                      typename V::Scalar* partial) {  // [blocks, outputs]
  using S = typename V::Scalar;
  bool finite = true;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task % s.blocks, panel = task / s.blocks % s.panels;
    const int64_t outer = task / s.blocks / s.panels;
    const S* from = x + offset_of(s.outer, outer);
    const int64_t first = block * kSumBlock;
    const int64_t last = least(first + kSumBlock, s.length);
    S* out = partial + block * s.outputs + outer * s.inner + panel * kColumns;
    if (s.along) {
      *out = sum_block<V>(first, last, row(from));
      finite = finite && std::isfinite(*out);
      continue;
    }
    const int64_t column = panel * kColumns;
    const int64_t width = least(s.inner - column, kColumns);
    S total[kColumns];
    sum_column_block<V>(first, last, column, width, columns(from), total);
    for (int64_t j = 0; j < width; ++j) {
      out[j] = total[j];
      finite = finite && std::isfinite(out[j]);
    }
  }
  return finite;
}

// Sums into partial [blocks, outputs], their total into the first block. False where not all
// are finite.
template <class V, class Row, class Columns>
static bool sum_all(const SumShape& s, const typename V::Scalar* x, const Row& row,
                    const Columns& columns, typename V::Scalar* partial) {
  std::atomic<bool> finite{true};
  const int64_t tasks = s.outer.size() * s.panels * s.blocks;
  const int64_t work = (s.blocks > 1 ? kSumBlock : s.length) * (s.along ? 1 : kColumns);
  Team::instance().parallel_for(tasks, grain_of(work), [&](int64_t begin, int64_t end) {
    if (!sum_tasks<V>(s, begin, end, x, row, columns, partial)) finite = false;
  });
  add_blocks<V>(s.blocks, s.outputs, partial);
  for (int64_t i = 0; s.blocks > 1 && i < s.outputs; ++i)
    if (!std::isfinite(partial[i])) finite = false;
  return finite;
}

template <class V>
static bptt_code sum_impl(bptt_context* context, int rank, const int64_t* shape, const int* reduced,
                          double scale, const void* x, void* out) {
  using S = typename V::Scalar;
  SumShape s = {sum_axes_of(rank, shape, reduced)};
  s.length = s.reduced.size();
  s.outputs = s.outer.size() * s.inner;
  if (s.outputs == 0) return BPTT_OK;
  s.panels = s.along ? 1 : (s.inner + kColumns - 1) / kColumns;
  s.blocks = sum_blocks(s.length);

  S* to = static_cast<S*>(out);
  S* partial = to;
  if (s.blocks > 1) {
    partial = static_cast<S*>(scratch(
        context, static_cast<size_t>(s.blocks) * static_cast<size_t>(s.outputs) * sizeof(S)));
    if (!partial) return BPTT_OUT_OF_MEMORY;
  }
  const auto row = [&](const S* from) { return ReducedRow<S>{from, s.reduced}; };
  const auto columns = [&](const S* from) { return ReducedColumns<S>{from, s.reduced}; };
  const S* from = static_cast<const S*>(x);
  if (!sum_all<V>(s, from, row, columns, partial)) {
    const S part = static_cast<S>(power_of_two_part(s.length));
    const auto scaled = [&](const auto& f) {
      return [&f, part](const S* at) { return Scaled<decltype(f(at)), S>{f(at), part}; };
    };
    sum_all<V>(s, from, scaled(row), scaled(columns), partial);
    scale /= part;
  }
  if (s.blocks > 1 || scale != 1) map<V>(s.outputs, ScaleOp<S>{static_cast<S>(scale)}, to, partial);
  return BPTT_OK;
}
