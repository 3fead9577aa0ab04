// Matrix products over packed weights. Each output has one accumulator, which
// starts at its init and takes k ascending by fma: neither the tile an output
// falls in, nor the rows beside it, nor a cut of k that continues with
// kAccumulate changes its bits.

enum class Init { kZero, kBias, kAccumulate };

// Packed weights are [ceil(n / width)][k][width], the columns past n zero.
template <class V>
constexpr int panel_width = 2 * V::N;

template <class V>
int64_t packed_elements(int64_t k, int64_t n) {
  return (n + panel_width<V> - 1) / panel_width<V> * panel_width<V> * k;
}

// Packs panels [panel_begin, panel_end) into their place in out; element (kk, j)
// of the source is b[kk * row + j * col].
template <class V>
void pack_panels(int64_t k, int64_t n, const typename V::Scalar* b, int64_t row, int64_t col,
                 typename V::Scalar* out, int64_t panel_begin, int64_t panel_end) {
  constexpr int64_t kWidth = panel_width<V>;
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int64_t columns = n - panel * kWidth < kWidth ? n - panel * kWidth : kWidth;
    const typename V::Scalar* source = b + panel * kWidth * col;
    typename V::Scalar* target = out + panel * kWidth * k;
    // Blocks of k as long as a cache line, so that a transposed source is read line by line.
    constexpr int64_t kLine = 64 / sizeof(typename V::Scalar);
    for (int64_t begin = 0; begin < k; begin += kLine) {
      const int64_t end = k - begin < kLine ? k : begin + kLine;
      if (col == 1) {
        for (int64_t kk = begin; kk < end; ++kk) {
          for (int64_t j = 0; j < kWidth; j += V::N) {
            const int64_t have = columns - j < 0 ? 0 : columns - j < V::N ? columns - j : V::N;
            V::load(source + kk * row + (have > 0 ? j : 0), have).store(target + kk * kWidth + j);
          }
        }
      } else {
        for (int64_t j = 0; j < kWidth; ++j) {
          for (int64_t kk = begin; kk < end; ++kk) {
            target[kk * kWidth + j] = j < columns ? source[kk * row + j * col] : 0;
          }
        }
      }
    }
  }
}

// One tile of ROWS x PANELS * width outputs. Its accumulators are a local array
// whose every index is a constant, so that they live in registers; start points
// at what they start from.
template <class V, int ROWS, int PANELS, int... T>
BPTT_INLINE void tile_unrolled(std::integer_sequence<int, T...>, int64_t k,
                               const typename V::Scalar* a, int64_t a_row, int64_t a_k,
                               const typename V::Scalar* b, const typename V::Scalar* start,
                               int64_t start_row, typename V::Scalar* c, int64_t c_row) {
  constexpr int kColumns = 2 * PANELS;
  // The shorter side of the tile is held in registers, the longer passes by.
  constexpr bool kByRow = ROWS >= kColumns;
  const int64_t panel = k * panel_width<V>;
#define BPTT_ROW (kByRow ? T / kColumns : T % ROWS)
#define BPTT_COLUMN (kByRow ? T % kColumns : T / ROWS)
  V sums[] = {V::load(start + BPTT_ROW * start_row + BPTT_COLUMN * V::N)...};
  for (int64_t kk = 0; kk < k; ++kk) {
    ((sums[T] = fma(V(a[BPTT_ROW * a_row]),
                    V::load(b + BPTT_COLUMN / 2 * panel + BPTT_COLUMN % 2 * V::N), sums[T])),
     ...);
    a += a_k;
    b += panel_width<V>;
  }
  (sums[T].store(c + BPTT_ROW * c_row + BPTT_COLUMN * V::N), ...);
#undef BPTT_ROW
#undef BPTT_COLUMN
}

template <class V, int ROWS, int PANELS>
void tile(int64_t k, const typename V::Scalar* a, int64_t a_row, int64_t a_k,
          const typename V::Scalar* b, const typename V::Scalar* start, int64_t start_row,
          typename V::Scalar* c, int64_t c_row) {
  tile_unrolled<V, ROWS, PANELS>(std::make_integer_sequence<int, ROWS * PANELS * 2>(), k, a, a_row,
                                 a_k, b, start, start_row, c, c_row);
}

// Rows of the largest tile: two vectors of b and one of a stay beside its sums.
template <int PANELS>
constexpr int tile_rows = PANELS == 1   ? (kRegisters == 32 ? 8 : 6)
                          : PANELS == 2 ? (kRegisters == 32 ? 6 : 3)
                                        : (kRegisters == 32 ? 3 : 1);

template <class V, int PANELS, int... R>
BPTT_INLINE void call_tile(std::integer_sequence<int, R...>, int64_t rows, int64_t k,
                           const typename V::Scalar* a, int64_t a_row, int64_t a_k,
                           const typename V::Scalar* b, const typename V::Scalar* start,
                           int64_t start_row, typename V::Scalar* c, int64_t c_row) {
  ((rows == R + 1 ? tile<V, R + 1, PANELS>(k, a, a_row, a_k, b, start, start_row, c, c_row)
                  : void()),
   ...);
}

// The columns [j, j + PANELS * width) cut at n, of m rows; b is at their panels.
template <class V, int PANELS>
void gemm_panels(int64_t m, int64_t n, int64_t k, const typename V::Scalar* a, int64_t a_row,
                 int64_t a_k, const typename V::Scalar* b, int64_t j, Init init,
                 const typename V::Scalar* bias, typename V::Scalar* c, int64_t c_row) {
  using Scalar = typename V::Scalar;
  constexpr int64_t kRows = tile_rows<PANELS>;
  constexpr int64_t kColumns = PANELS * panel_width<V>;
  constexpr std::make_integer_sequence<int, tile_rows<PANELS>> kTiles;
  static constexpr Scalar kZeros[kColumns] = {};

  const bool whole = n - j >= kColumns;
  const Scalar* start = init == Init::kZero ? kZeros : init == Init::kBias ? bias + j : c + j;
  const int64_t start_row = init == Init::kAccumulate ? c_row : 0;

  // Rows are divided evenly: a remainder of its own would be a thin tile.
  for (int64_t i = 0, left = (m + kRows - 1) / kRows; left > 0; --left) {
    const int64_t rows = (m - i + left - 1) / left;
    const Scalar* from = start + i * start_row;
    Scalar* to = c + i * c_row + j;
    if (whole) {
      call_tile<V, PANELS>(kTiles, rows, k, a + i * a_row, a_row, a_k, b, from, start_row, to,
                           c_row);
    } else {
      Scalar edge[kRows * kColumns];
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t v = 0; v < kColumns; v += V::N) {
          const int64_t have = init == Init::kZero ? kColumns - v : n - j - v;
          V::load(from + r * start_row + v, have < 0      ? 0
                                            : have < V::N ? have
                                                          : V::N)
              .store(edge + r * kColumns + v);
        }
      }
      call_tile<V, PANELS>(kTiles, rows, k, a + i * a_row, a_row, a_k, b, edge, kColumns, edge,
                           kColumns);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t v = 0; v < n - j; v += V::N) {
          V::load(edge + r * kColumns + v)
              .store(to + r * c_row + v, n - j - v < V::N ? n - j - v : V::N);
        }
      }
    }
    i += rows;
  }
}

// Rows of a are taken in blocks that stay in the second-level cache while all
// panels pass.
constexpr int64_t kBlockBytes = 256 * 1024;

// c[i * c_row + j] = init + sum over k, ascending, of a[i * a_row + kk * a_k] * B[kk][j],
// for i in [0, m) and the columns j < n of panels [panel_begin, panel_end).
// bias [n] is read with kBias only.
template <class V>
void gemm(int64_t m, int64_t n, int64_t k, const typename V::Scalar* a, int64_t a_row, int64_t a_k,
          const typename V::Scalar* packed, int64_t panel_begin, int64_t panel_end, Init init,
          const typename V::Scalar* bias, typename V::Scalar* c, int64_t c_row) {
  constexpr int64_t kWidth = panel_width<V>;
  const int64_t row_bytes = (k + 1) * static_cast<int64_t>(sizeof(typename V::Scalar));
  const int64_t fitting = kBlockBytes / row_bytes / 24 * 24;
  const int64_t block = fitting < 24 ? 24 : fitting;
  for (int64_t i = 0; i < m; i += block) {
    const int64_t rows = m - i < block ? m - i : block;
    const typename V::Scalar* a_block = a + i * a_row;
    typename V::Scalar* c_block = c + i * c_row;
    int64_t p = panel_begin;
    while (p < panel_end) {
      const typename V::Scalar* b = packed + p * kWidth * k;
      const int64_t left = panel_end - p;
      if (left >= 4 && rows <= tile_rows<4>) {
        gemm_panels<V, 4>(rows, n, k, a_block, a_row, a_k, b, p * kWidth, init, bias, c_block,
                          c_row);
        p += 4;
      } else if (left >= 2 && (kRegisters == 32 || rows <= tile_rows<2>)) {
        gemm_panels<V, 2>(rows, n, k, a_block, a_row, a_k, b, p * kWidth, init, bias, c_block,
                          c_row);
        p += 2;
      } else {
        gemm_panels<V, 1>(rows, n, k, a_block, a_row, a_k, b, p * kWidth, init, bias, c_block,
                          c_row);
        p += 1;
      }
    }
  }
}
