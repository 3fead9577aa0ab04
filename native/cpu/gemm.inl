// Matrix products over packed weights. Each output has one accumulator, which
// starts at its init and takes k ascending by fma: neither the tile an output
// falls in, nor the rows beside it, nor a cut of k that continues with
// kAccumulate changes its bits.

//
// A sum over many rows is cut instead: with kAdd the accumulator starts at zero, and what it
// ends as is added to c.

enum class Init { kZero, kBias, kAccumulate, kAdd };

// Packed weights are panels of [k][width], two strips of V::N columns each, zero past the last.
template <class V>
constexpr int panel_width = 2 * V::N;

template <class V>
int64_t panel_count(int64_t n) {
  return (n + panel_width<V> - 1) / panel_width<V>;
}

// Of panels that lie one after another.
template <class V>
int64_t packed_elements(int64_t k, int64_t n) {
  return panel_count<V>(n) * panel_width<V> * k;
}

// Where the columns of panels belong in a row of the result. The strips of one
// matrix lie side by side; those of several gates in turns, gate by gate for the
// same units, so that what a unit needs lies together:
//
//   panel     0        1        2        3     ..
//   strip     0   1    2   3    4   5    6   7 ..
//   gate      0   1    2   0    1   2    0   1 ..     (groups = 3)
//   columns   [0, N) of each, [N, 2N), ..
struct Columns {
  static constexpr int kMost = 4;

  int64_t n;  // of each group
  int groups = 1;
  int64_t begin[kMost] = {};
};

// N columns of every group are `groups` strips; an odd strip ends with an empty one.
template <class V>
int64_t panel_count(const Columns& columns) {
  return ((columns.n + V::N - 1) / V::N * columns.groups + 1) / 2;
}

// Packs the columns of one group: those that fill panels [begin, end) where it is alone.
// Element (kk, j) of the source is b[kk * row + j * col].
template <class V>
void pack_panels(int64_t k, const Columns& columns, int group, const typename V::Scalar* b,
                 int64_t row, int64_t col, int64_t begin, int64_t end, typename V::Scalar* out) {
  constexpr int64_t kWidth = panel_width<V>;
  constexpr int64_t kLine = 64 / sizeof(typename V::Scalar);
  const int64_t strips = 2 * panel_count<V>(columns);
  for (int64_t unit = begin * kWidth; unit < end * kWidth; unit += V::N) {
    const int64_t strip = unit / V::N * columns.groups + group;
    if (strip >= strips) break;
    const int64_t rest = columns.n - unit;
    const int64_t have = rest < 0 ? 0 : rest < V::N ? rest : V::N;
    const typename V::Scalar* source = b + (have > 0 ? unit * col : 0);
    typename V::Scalar* target = out + strip / 2 * kWidth * k + strip % 2 * V::N;
    if (col == 1) {
      for (int64_t kk = 0; kk < k; ++kk) {
        V::load(source + kk * row, have).store(target + kk * kWidth);
      }
      continue;
    }
    // A cache line of k at a time, so that a transposed source is read line by line.
    for (int64_t k_begin = 0; k_begin < k; k_begin += kLine) {
      const int64_t k_end = k - k_begin < kLine ? k : k_begin + kLine;
      for (int64_t j = 0; j < V::N; ++j) {
        for (int64_t kk = k_begin; kk < k_end; ++kk) {
          target[kk * kWidth + j] = j < have ? source[kk * row + j * col] : 0;
        }
      }
    }
  }
}

// Strips that are multiplied together: where each one's columns begin in a row of
// the result, and how many it has.
struct Run {
  int64_t at[8], have[8];
};

// Goes from strip to strip without dividing.
struct StripCursor {
  const Columns& columns;
  int64_t width, unit;  // the first column within the group
  int group;

  StripCursor(const Columns& c, int64_t strip, int64_t strip_width)
      : columns(c), width(strip_width), unit(strip / c.groups * width) {
    group = static_cast<int>(strip % c.groups);
  }
  void place(Run& run, int i) const {
    const int64_t rest = columns.n - unit;
    run.at[i] = columns.begin[group] + unit;
    run.have[i] = rest < 0 ? 0 : rest < width ? rest : width;
  }
  void next() {
    if (++group == columns.groups) {
      group = 0;
      unit += width;
    }
  }
  void previous() {
    if (--group < 0) {
      group = columns.groups - 1;
      unit -= width;
    }
  }
};

// Whether tiles call the next panel into the second-level cache: measured to help those
// of 16 registers and not those of 32 (docs/performance.md).
constexpr bool kCallsAhead = kRegisters < 32;

// One tile of ROWS x PANELS * width outputs. Its accumulators are a local array
// whose every index is a constant, so that they live in registers; start is what
// they start from. Panels are b_panel apart, and what their strips become lies at `at`.
// Meanwhile what lies `ahead` of b is called into the second-level cache.
template <class V, int ROWS, int PANELS, int... T>
BPTT_INLINE void tile_unrolled(std::integer_sequence<int, T...>, int64_t k,
                               const typename V::Scalar* a, int64_t a_row, int64_t a_k,
                               const typename V::Scalar* b, int64_t b_panel, int64_t ahead,
                               const typename V::Scalar* start, int64_t start_row,
                               const int64_t* start_at, typename V::Scalar* c, int64_t c_row,
                               const int64_t* at, bool add) {
  constexpr int kColumns = 2 * PANELS;
  constexpr int64_t kLine = 64 / sizeof(typename V::Scalar);
  // The shorter side of the tile is held in registers, the longer passes by.
  constexpr bool kByRow = ROWS >= kColumns;
  // Copies, since storing to c might change what `at` points at.
  int64_t to[kColumns];
  for (int column = 0; column < kColumns; ++column) to[column] = at[column];
#define BPTT_ROW (kByRow ? T / kColumns : T % ROWS)
#define BPTT_COLUMN (kByRow ? T % kColumns : T / ROWS)
  V sums[] = {V::load(start + BPTT_ROW * start_row + start_at[BPTT_COLUMN])...};
  // Few enough rounds for the processor to foresee the end of a short k.
  BPTT_UNROLL_4
  for (int64_t kk = 0; kk < k; ++kk) {
    ((sums[T] = fma(V(a[BPTT_ROW * a_row]),
                    V::load(b + BPTT_COLUMN / 2 * b_panel + BPTT_COLUMN % 2 * V::N), sums[T])),
     ...);
    if constexpr (kCallsAhead && PANELS == 1) {
      for (int64_t line = 0; line < panel_width<V>; line += kLine) BPTT_PREFETCH(b + ahead + line);
    }
    a += a_k;
    b += panel_width<V>;
  }
  if (add) ((sums[T] = V::load(c + BPTT_ROW * c_row + to[BPTT_COLUMN]) + sums[T]), ...);
  (sums[T].store(c + BPTT_ROW * c_row + to[BPTT_COLUMN]), ...);
#undef BPTT_ROW
#undef BPTT_COLUMN
}

template <class V, int ROWS, int PANELS>
void tile(int64_t k, const typename V::Scalar* a, int64_t a_row, int64_t a_k,
          const typename V::Scalar* b, int64_t b_panel, int64_t ahead,
          const typename V::Scalar* start, int64_t start_row, const int64_t* start_at,
          typename V::Scalar* c, int64_t c_row, const int64_t* at, bool add) {
  tile_unrolled<V, ROWS, PANELS>(std::make_integer_sequence<int, ROWS * PANELS * 2>(), k, a, a_row,
                                 a_k, b, b_panel, ahead, start, start_row, start_at, c, c_row, at,
                                 add);
}

// Rows of the largest tile: two vectors of b and one of a stay beside its sums.
template <int PANELS>
constexpr int tile_rows = PANELS == 1   ? (kRegisters == 32 ? 8 : 6)
                          : PANELS == 2 ? (kRegisters == 32 ? 6 : 3)
                                        : (kRegisters == 32 ? 3 : 1);

template <class V, int PANELS, int... R>
BPTT_INLINE void call_tile(std::integer_sequence<int, R...>, int64_t rows, int64_t k,
                           const typename V::Scalar* a, int64_t a_row, int64_t a_k,
                           const typename V::Scalar* b, int64_t b_panel, int64_t ahead,
                           const typename V::Scalar* start, int64_t start_row,
                           const int64_t* start_at, typename V::Scalar* c, int64_t c_row,
                           const int64_t* at, bool add) {
  ((rows == R + 1 ? tile<V, R + 1, PANELS>(k, a, a_row, a_k, b, b_panel, ahead, start, start_row,
                                           start_at, c, c_row, at, add)
                  : void()),
   ...);
}

// m rows times a run of panels; b is at the first.
template <class V, int PANELS>
void gemm_panels(int64_t m, const Run& run, int64_t k, const typename V::Scalar* a, int64_t a_row,
                 int64_t a_k, const typename V::Scalar* b, int64_t b_panel, Init init,
                 const typename V::Scalar* bias, typename V::Scalar* c, int64_t c_row) {
  using Scalar = typename V::Scalar;
  constexpr int64_t kRows = tile_rows<PANELS>;
  constexpr int kStrips = 2 * PANELS;
  constexpr std::make_integer_sequence<int, tile_rows<PANELS>> kTiles;
  static constexpr Scalar kZeros[V::N] = {};
  static constexpr int64_t kNowhere[kStrips] = {};

  bool whole = true;
  for (int strip = 0; strip < kStrips; ++strip) whole = whole && run.have[strip] == V::N;
  const bool add = init == Init::kAdd, zero = add || init == Init::kZero;
  const Scalar* start = zero ? kZeros : init == Init::kBias ? bias : c;
  const int64_t* start_at = zero ? kNowhere : run.at;
  const int64_t start_row = init == Init::kAccumulate ? c_row : 0;

  // Rows are divided evenly: a remainder of its own would be a thin tile.
  const int64_t tiles = (m + kRows - 1) / kRows;
  for (int64_t i = 0, left = tiles; left > 0; --left) {
    const int64_t rows = (m - i + left - 1) / left;
    // The first tile waits for its panels; the second, where more follow, calls the next ones.
    const int64_t ahead = tiles > 3 && left + 1 == tiles ? PANELS * b_panel : 0;
    const Scalar* from = start + i * start_row;
    Scalar* to = c + i * c_row;
    if (whole) {
      call_tile<V, PANELS>(kTiles, rows, k, a + i * a_row, a_row, a_k, b, b_panel, ahead, from,
                           start_row, start_at, to, c_row, run.at, add);
    } else {
      constexpr int64_t kEdgeRow = kStrips * V::N;
      Scalar edge[kRows * kEdgeRow];
      int64_t edge_at[kStrips];
      for (int strip = 0; strip < kStrips; ++strip) edge_at[strip] = strip * V::N;
      for (int64_t r = 0; r < rows; ++r) {
        for (int strip = 0; strip < kStrips; ++strip) {
          const int64_t have = zero ? V::N : run.have[strip];
          V::load(from + r * start_row + (have > 0 ? start_at[strip] : 0), have)
              .store(edge + r * kEdgeRow + strip * V::N);
        }
      }
      call_tile<V, PANELS>(kTiles, rows, k, a + i * a_row, a_row, a_k, b, b_panel, ahead, edge,
                           kEdgeRow, edge_at, edge, kEdgeRow, edge_at, false);
      for (int64_t r = 0; r < rows; ++r) {
        for (int strip = 0; strip < kStrips; ++strip) {
          if (run.have[strip] == 0) continue;
          Scalar* out = to + r * c_row + run.at[strip];
          V sum = V::load(edge + r * kEdgeRow + strip * V::N);
          if (add) sum = V::load(out, run.have[strip]) + sum;
          sum.store(out, run.have[strip]);
        }
      }
    }
    i += rows;
  }
}

// Rows of a, and as much of k, are taken in blocks that stay in the second-level
// cache while all panels pass.
constexpr int64_t kBlockBytes = 256 * 1024;
constexpr int64_t kBlockDepth = 1024;

// c[i * c_row + j] = init + sum over k, ascending, of a[i * a_row + kk * a_k] * B[kk][j],
// for i in [0, m) and the columns j of panels [panel_begin, panel_end), which lie one
// after another in packed; panels past the last are none. bias has the columns of a row of c and is
// read with kBias only. Descending, the last panels are taken first: those that a pass before has
// left in the cache. Panels of more rows than the k that are taken have panel_k of them. With kAdd,
// k is kBlockDepth at most.
template <class V>
void gemm(int64_t m, const Columns& columns, int64_t k, const typename V::Scalar* a, int64_t a_row,
          int64_t a_k, const typename V::Scalar* packed, int64_t panel_begin, int64_t panel_end,
          Init init, const typename V::Scalar* bias, typename V::Scalar* c, int64_t c_row,
          bool descending = false, int64_t panel_k = 0) {
  using Scalar = typename V::Scalar;
  constexpr int64_t kWidth = panel_width<V>;
  if (panel_k == 0) panel_k = k;
  if (panel_end > panel_count<V>(columns)) panel_end = panel_count<V>(columns);
  const int64_t depths = m <= tile_rows<1> ? 1 : (k + kBlockDepth - 1) / kBlockDepth;
  for (int64_t part = 0, done = 0; part == 0 || part < depths; ++part) {
    const int64_t depth = (k - done) / (depths > part ? depths - part : 1);
    const Init from = part == 0 ? init : Init::kAccumulate;
    const int64_t row_bytes = (depth > 0 ? depth : 1) * static_cast<int64_t>(sizeof(Scalar));
    const int64_t fitting = kBlockBytes / row_bytes + 1;
    const int64_t blocks = (m + fitting - 1) / fitting;
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t i = m * block / blocks, rows = m * (block + 1) / blocks - i;
      const Scalar* a_block = a + i * a_row + done * a_k;
      Scalar* c_block = c + i * c_row;
      StripCursor cursor(columns, 2 * (descending ? panel_end : panel_begin), V::N);
      for (int64_t begin = panel_begin, end = panel_end; begin < end;) {
        const int64_t left = end - begin;
        const int taken = left >= 4 && rows <= tile_rows<4>                         ? 4
                          : left >= 2 && (kRegisters == 32 || rows <= tile_rows<2>) ? 2
                                                                                    : 1;
        Run run;
        if (descending) {
          end -= taken;
          for (int strip = 2 * taken; strip-- > 0;) {
            cursor.previous();
            cursor.place(run, strip);
          }
        } else {
          for (int strip = 0; strip < 2 * taken; ++strip, cursor.next()) cursor.place(run, strip);
        }
        const Scalar* b = packed + (descending ? end : begin) * kWidth * panel_k + done * kWidth;
        if (taken == 4) {
          gemm_panels<V, 4>(rows, run, depth, a_block, a_row, a_k, b, panel_k * kWidth, from, bias,
                            c_block, c_row);
        } else if (taken == 2) {
          gemm_panels<V, 2>(rows, run, depth, a_block, a_row, a_k, b, panel_k * kWidth, from, bias,
                            c_block, c_row);
        } else {
          gemm_panels<V, 1>(rows, run, depth, a_block, a_row, a_k, b, panel_k * kWidth, from, bias,
                            c_block, c_row);
        }
        if (!descending) begin += taken;
      }
    }
    done += depth;
  }
}

// -- sums over many rows ----------------------------------------------------------

// The rule of products that sum over the rows of a batch (docs/numerics.md): blocks of rows
// are each a sum of their own; those of kRunRows rows are added one after another; such runs
// are added with what rounding loses kept aside.

// a + b, whose rounding error is added to lost.
template <class V>
BPTT_INLINE V add_exactly(V a, V b, V& lost) {
  const V sum = a + b, added = sum - a;
  lost = lost + ((a - (sum - added)) + (b - added));
  return sum;
}

// sum + lost. Where the sum is not finite, lost means nothing.
template <class V>
BPTT_INLINE V add_rest(V sum, V lost) {
  return select(eq(lost - lost, V()), sum + lost, sum);
}

// sums += run, for n adjacent numbers.
template <class V>
void add_run(int64_t n, const typename V::Scalar* run, typename V::Scalar* sums,
             typename V::Scalar* lost) {
  for (int64_t j = 0; j < n; j += V::N) {
    const int64_t count = n - j < V::N ? n - j : V::N;
    V rest = V::load(lost + j, count);
    add_exactly(V::load(sums + j, count), V::load(run + j, count), rest).store(sums + j, count);
    rest.store(lost + j, count);
  }
}

// sums += lost
template <class V>
void add_lost(int64_t n, const typename V::Scalar* lost, typename V::Scalar* sums) {
  for (int64_t j = 0; j < n; j += V::N) {
    const int64_t count = n - j < V::N ? n - j : V::N;
    add_rest(V::load(sums + j, count), V::load(lost + j, count)).store(sums + j, count);
  }
}
