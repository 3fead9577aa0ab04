// Matrix products: packs right, a chunk of column panels at a time, into scratch
// and multiplies. Threads divide rows, panels or matrices of the batch; each
// output is one sum over k, cut by k alone, so the division changes no bit.

// A longer k is summed in blocks of so many (gemm.inl); the k of usual layers is one block.
constexpr int64_t kLongSum = kBlockDepth;
static_assert(kRunRows % kLongSum == 0);
// Tiles of long sums: small enough for the stack, large enough to use packed panels often.
constexpr int64_t kSumTileRows = 32, kSumTilePanels = 4;

template <class V>
struct Matmul {
  using S = typename V::Scalar;
  const bptt_matmul& p;
  const S *left, *right, *bias;
  S* out;
  int64_t panels, chunk;  // of right; the most packed at once

  // Packs panels [begin, end) of a matrix of right; packed starts at panel `base`.
  void pack(const S* b, int64_t base, int64_t begin, int64_t end, S* packed) const {
    const int64_t column = base * panel_width<V>;
    pack_panels<V>(p.k, Columns{p.n - column}, 0, b + column * p.right_col, p.right_k, p.right_col,
                   begin - base, end - base, packed);
  }
  // Rows [row_begin, row_end) of panels [begin, end).
  void multiply(const S* a, const S* packed, int64_t base, int64_t begin, int64_t end,
                int64_t row_begin, int64_t row_end, S* c) const {
    const int64_t column = base * panel_width<V>;
    const Init init = p.accumulate ? Init::kAccumulate : bias ? Init::kBias : Init::kZero;
    const S* from = bias ? bias + column : nullptr;
    const Columns columns{p.n - column};
    if (p.k <= kLongSum) {
      gemm<V>({.m = row_end - row_begin,
               .k = p.k,
               .a = a + row_begin * p.left_row,
               .a_row = p.left_row,
               .a_k = p.left_k,
               .packed = packed,
               .init = init,
               .bias = from,
               .c = c + row_begin * p.out_row + column,
               .c_row = p.out_row},
              columns, begin - base, end - base);
      return;
    }
    for (int64_t i = row_begin; i < row_end; i += kSumTileRows) {
      const int64_t m = least(row_end - i, kSumTileRows);
      for (int64_t panel = begin - base; panel < end - base; panel += kSumTilePanels) {
        multiply_long(m, columns, a + i * p.left_row, packed, panel,
                      least(panel + kSumTilePanels, end - base), init, from,
                      c + i * p.out_row + column);
      }
    }
  }
  // A tile of sums over many k (gemm.inl).
  void multiply_long(int64_t m, const Columns& columns, const S* a, const S* packed, int64_t begin,
                     int64_t end, Init init, const S* from, S* c) const {
    constexpr int64_t kRow = kSumTilePanels * panel_width<V>;
    const int64_t first = begin * panel_width<V>;  // column
    const int64_t width = least(columns.n - first, (end - begin) * panel_width<V>);
    const bool several = p.k > kRunRows;
    alignas(64) S run[kSumTileRows * kRow], lost[kSumTileRows * kRow];
    if (several) std::memset(lost, 0, sizeof lost);
    for (int64_t done = 0; done < p.k; done += kLongSum) {
      const int64_t depth = least(p.k - done, kLongSum);
      const bool begins = done % kRunRows == 0, in_place = done < kRunRows;
      const Init start = !begins ? Init::kAdd : in_place ? init : Init::kZero;
      // gemm counts columns from that of panel 0.
      gemm<V>({.m = m,
               .k = depth,
               .a = a + done * p.left_k,
               .a_row = p.left_row,
               .a_k = p.left_k,
               .packed = packed + done * panel_width<V>,
               .panel_k = p.k,
               .init = start,
               .bias = from,
               .c = in_place ? c : run - first,
               .c_row = in_place ? p.out_row : kRow},
              columns, begin, end);
      if (in_place || (done + depth < p.k && (done + depth) % kRunRows != 0)) continue;
      for (int64_t i = 0; i < m; ++i)
        add_run<V>(width, run + i * kRow, c + i * p.out_row + first, lost + i * kRow);
    }
    for (int64_t i = 0; several && i < m; ++i)
      add_lost<V>(width, lost + i * kRow, c + i * p.out_row + first);
  }
};

// Where the matrices of one batch element start.
struct BatchOffsets {
  int64_t left = 0, right = 0, out = 0;

  BatchOffsets(const bptt_matmul& p, int64_t batch) {
    for (int d = p.batch_rank - 1; d >= 0; --d) {
      const int64_t index = batch % p.batch_shape[d];
      batch /= p.batch_shape[d];
      left += index * p.left_batch[d];
      right += index * p.right_batch[d];
      out += index * p.out_batch[d];
    }
  }
};

// Multiplications between two looks at whether the call is cancelled.
constexpr int64_t kProductsPerLook = int64_t{1} << 28;

constexpr int64_t kRowGrain = 8;  // threads divide rows of out by so many, about a tile of gemm

// Fewer multiply-adds than this are not worth waking the team.
constexpr int64_t kSmallProduct = 1 << 17;
// Packing right counts as so many rows of out.
constexpr int64_t kPackingRows = 4;
// Packed panels of a chunk: in the cache of one thread, or in the one that all threads share.
constexpr int64_t kOwnChunkBytes = 1 << 18;
constexpr int64_t kSharedChunkBytes = 1 << 22;

// Rows [row_begin, row_end) of panels [base, end), a block at a time. False: cancelled.
template <class V>
static bool multiply_rows(const Matmul<V>& m, const bptt_context* context,
                          const typename V::Scalar* a, const typename V::Scalar* packed,
                          int64_t base, int64_t end, int64_t row_begin, int64_t row_end,
                          typename V::Scalar* c) {
  const int64_t row = (end - base) * panel_width<V> * m.p.k + 1;
  const int64_t block = (kProductsPerLook / row / kRowGrain + 1) * kRowGrain;
  for (int64_t at = row_begin; at < row_end; at += block) {
    if (is_cancelled(context)) return false;
    m.multiply(a, packed, base, base, end, at, least(at + block, row_end), c);
  }
  return true;
}

// Pairs (batch, chunk) [begin, end), packed one by one into this thread's buffer.
template <class V>
static void matmul_alone(const Matmul<V>& m, const bptt_context* context, int64_t begin,
                         int64_t end, typename V::Scalar* packed) {
  const int64_t chunks = (m.panels + m.chunk - 1) / m.chunk;
  int64_t packed_right = -1, packed_base = -1;
  for (int64_t unit = begin; unit < end; ++unit) {
    const BatchOffsets at(m.p, unit / chunks);
    const int64_t base = unit % chunks * m.chunk;
    const int64_t last = least(base + m.chunk, m.panels);
    if (at.right != packed_right || base != packed_base)
      m.pack(m.right + at.right, base, base, last, packed);
    packed_right = at.right;
    packed_base = base;
    if (!multiply_rows(m, context, m.left + at.left, packed, base, last, 0, m.p.m, m.out + at.out))
      return;
  }
}

// Every matrix by all members: they pack a chunk together, then divide the rows. A member that
// finds the call cancelled says so between two barriers, so that all leave after the second.
template <class V>
static void matmul_together(const Matmul<V>& m, const bptt_context* context, int64_t batches,
                            Member& member, std::atomic<bool>& leave, typename V::Scalar* packed) {
  const int64_t i = member.index, n = member.count;
  const int64_t grains = (m.p.m + kRowGrain - 1) / kRowGrain;
  const int64_t row_begin = grains * i / n * kRowGrain;
  const int64_t row_end = least(grains * (i + 1) / n * kRowGrain, m.p.m);
  for (int64_t batch = 0; batch < batches; ++batch) {
    const BatchOffsets at(m.p, batch);
    for (int64_t base = 0; base < m.panels; base += m.chunk) {
      const int64_t last = least(base + m.chunk, m.panels);
      const int64_t count = last - base;
      m.pack(m.right + at.right, base, base + count * i / n, base + count * (i + 1) / n, packed);
      member.barrier();
      if (!multiply_rows(m, context, m.left + at.left, packed, base, last, row_begin, row_end,
                         m.out + at.out))
        leave.store(true, std::memory_order_relaxed);
      member.barrier();
      if (leave.load(std::memory_order_relaxed)) return;
    }
  }
}

template <class V>
static bptt_code matmul_impl(bptt_context* context, const bptt_matmul* shape, const void* left,
                             const void* right, const void* bias, void* out) {
  using S = typename V::Scalar;
  const bptt_matmul& p = *shape;
  int64_t batches = 1;
  for (int d = 0; d < p.batch_rank; ++d) batches *= p.batch_shape[d];
  if (p.m == 0 || p.n == 0 || batches == 0) return BPTT_OK;

  Matmul<V> m{p,
              static_cast<const S*>(left),
              static_cast<const S*>(right),
              static_cast<const S*>(bias),
              static_cast<S*>(out),
              (p.n + panel_width<V> - 1) / panel_width<V>,
              1};
  const int64_t panel_bytes = panel_width<V> * p.k * static_cast<int64_t>(sizeof(S)) + 1;
  const int members = Team::instance().size();
  // Few rows, or many matrices: each thread packs for itself what it multiplies.
  const bool small = (p.m + kPackingRows) * p.n * (p.k + 1) * batches < kSmallProduct;
  const bool alone = small || batches >= 2 * members || p.m < 2 * kRowGrain * members;
  const int64_t chunk_bytes = alone ? kOwnChunkBytes : kSharedChunkBytes;
  const int64_t share = alone && batches < members ? (m.panels + members - 1) / members : m.panels;
  m.chunk = most(least(chunk_bytes / panel_bytes, share), 1);
  const size_t bytes = static_cast<size_t>(m.chunk * panel_bytes + 63) / 64 * 64;
  const int buffers = small || !alone ? 1 : members;
  char* packed = static_cast<char*>(scratch(context, bytes * static_cast<size_t>(buffers)));
  if (!packed) return BPTT_OUT_OF_MEMORY;

  const int64_t units = batches * ((m.panels + m.chunk - 1) / m.chunk);
  if (small) {
    Team::instance().parallel_for(1, 1, [&](int64_t, int64_t) {
      matmul_alone<V>(m, context, 0, units, reinterpret_cast<S*>(packed));
    });
  } else if (alone) {
    Team::instance().run([&](Member& member) {
      // The team may have grown since `members` was read.
      const int64_t i = member.index, n = least(member.count, buffers);
      if (i < n)
        matmul_alone<V>(m, context, units * i / n, units * (i + 1) / n,
                        reinterpret_cast<S*>(packed + bytes * static_cast<size_t>(i)));
    });
  } else {
    std::atomic<bool> leave{false};
    Team::instance().run([&](Member& member) {
      matmul_together<V>(m, context, batches, member, leave, reinterpret_cast<S*>(packed));
    });
  }
  return BPTT_OK;
}
