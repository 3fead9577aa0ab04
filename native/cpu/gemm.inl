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
    const int64_t have = least(most(rest, 0), V::N);
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
      const int64_t k_end = least(k_begin + kLine, k);
      for (int64_t j = 0; j < V::N; ++j) {
        for (int64_t kk = k_begin; kk < k_end; ++kk) {
          target[kk * kWidth + j] = j < have ? source[kk * row + j * col] : 0;
        }
      }
    }
  }
}

// The panels that a pass multiplies at once are 1, 2 or 4.
constexpr int kMostPanels = 4;

// The strips of a pass: where each one's columns begin in a row of the result, and how many
// columns it has.
struct Strips {
  int64_t at[2 * kMostPanels], have[2 * kMostPanels];
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
  void place(Strips& strips, int i) const {
    const int64_t rest = columns.n - unit;
    strips.at[i] = columns.begin[group] + unit;
    strips.have[i] = least(most(rest, 0), width);
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

// Whether tiles prefetch the next panel into the second-level cache: measured to help those
// of 16 registers and not those of 32 (docs/performance.md).
constexpr bool kPrefetches = kRegisters < 32;

// Where the rows of a tile lie: element j of strip i of row r is data[r * row + at[i] + j].
template <class Scalar>
struct TileRows {
  Scalar* data;
  int64_t row;
  const int64_t* at;
};

template <class Scalar>
struct Tile {
  int64_t k;
  const Scalar* a;  // element (r, kk) is a[r * a_row + kk * a_k]
  int64_t a_row, a_k;
  const Scalar* b;  // the first panel; the next lies b_panel further
  int64_t b_panel;
  int64_t ahead;                 // how far behind b prefetches reach
  TileRows<const Scalar> start;  // what the sums begin with
  TileRows<Scalar> c;            // where they go
  bool add;                      // to what is there
};

// A tile of ROWS x PANELS * width sums. They are a local array whose every index is a constant,
// so that they live in registers.
template <class V, int ROWS, int PANELS, int... T>
BPTT_INLINE void multiply_unrolled(std::integer_sequence<int, T...>,
                                   const Tile<typename V::Scalar>& tile) {
  using Scalar = typename V::Scalar;
  constexpr int kColumns = 2 * PANELS;
  constexpr int64_t kLine = 64 / sizeof(Scalar);
  // The shorter side of the tile is held in registers, the longer passes by.
  constexpr bool kByRow = ROWS >= kColumns;
  const int64_t k = tile.k, a_row = tile.a_row, a_k = tile.a_k;
  const int64_t b_panel = tile.b_panel, ahead = tile.ahead;
  const Scalar *a = tile.a, *b = tile.b;
  const TileRows<const Scalar> start = tile.start;
  const TileRows<Scalar> c = tile.c;
  const bool add = tile.add;
  // Copies, since storing to c might change what `c.at` points at.
  int64_t to[kColumns];
  for (int column = 0; column < kColumns; ++column) to[column] = c.at[column];
#define BPTT_ROW (kByRow ? T / kColumns : T % ROWS)
#define BPTT_COLUMN (kByRow ? T % kColumns : T / ROWS)
  V sums[] = {V::load(start.data + BPTT_ROW * start.row + start.at[BPTT_COLUMN])...};
  // Few enough rounds for the processor to foresee the end of a short k.
  BPTT_UNROLL_4
  for (int64_t kk = 0; kk < k; ++kk) {
    ((sums[T] = fma(V(a[BPTT_ROW * a_row]),
                    V::load(b + BPTT_COLUMN / 2 * b_panel + BPTT_COLUMN % 2 * V::N), sums[T])),
     ...);
    if constexpr (kPrefetches && PANELS == 1) {
      for (int64_t line = 0; line < panel_width<V>; line += kLine) BPTT_PREFETCH(b + ahead + line);
    }
    a += a_k;
    b += panel_width<V>;
  }
  if (add) ((sums[T] = V::load(c.data + BPTT_ROW * c.row + to[BPTT_COLUMN]) + sums[T]), ...);
  (sums[T].store(c.data + BPTT_ROW * c.row + to[BPTT_COLUMN]), ...);
#undef BPTT_ROW
#undef BPTT_COLUMN
}

template <class V, int ROWS, int PANELS>
void multiply_tile(const Tile<typename V::Scalar>& tile) {
  multiply_unrolled<V, ROWS, PANELS>(std::make_integer_sequence<int, ROWS * PANELS * 2>(), tile);
}

// Rows of the largest tile: two vectors of b and one of a stay beside its sums.
template <int PANELS>
constexpr int tile_rows = PANELS == 1   ? (kRegisters == 32 ? 8 : 6)
                          : PANELS == 2 ? (kRegisters == 32 ? 6 : 3)
                                        : (kRegisters == 32 ? 3 : 1);

template <class V, int PANELS, int... R>
BPTT_INLINE void multiply_rows(std::integer_sequence<int, R...>, int64_t rows,
                               const Tile<typename V::Scalar>& tile) {
  ((rows == R + 1 ? multiply_tile<V, R + 1, PANELS>(tile) : void()), ...);
}

// c[i * c_row + j] = init + sum over kk, ascending, of a[i * a_row + kk * a_k] * B[kk][j],
// for i in [0, m) and the columns j of the panels.
template <class Scalar>
struct Product {
  int64_t m, k;
  const Scalar* a;
  int64_t a_row, a_k = 1;
  const Scalar* packed;          // panels of B, one after another
  int64_t panel_k = 0;           // rows that a panel has, where they are more than k
  Init init = Init::kZero;       // with kAdd, k is kBlockDepth at most
  const Scalar* bias = nullptr;  // of the columns of a row of c; for kBias
  Scalar* c;
  int64_t c_row;
};

// m rows times the strips of PANELS panels, of which b is the first.
template <class V, int PANELS>
void multiply_panels(const Product<typename V::Scalar>& p, const Strips& strips,
                     const typename V::Scalar* b) {
  using Scalar = typename V::Scalar;
  constexpr int64_t kRows = tile_rows<PANELS>;
  constexpr int kStrips = 2 * PANELS;
  constexpr std::make_integer_sequence<int, tile_rows<PANELS>> kTiles;
  static constexpr Scalar kZeros[V::N] = {};
  static constexpr int64_t kNowhere[kStrips] = {};

  bool whole = true;
  for (int strip = 0; strip < kStrips; ++strip) whole = whole && strips.have[strip] == V::N;
  const bool add = p.init == Init::kAdd, zero = add || p.init == Init::kZero;
  const Scalar* first = zero ? kZeros : p.init == Init::kBias ? p.bias : p.c;
  const TileRows<const Scalar> start = {first, p.init == Init::kAccumulate ? p.c_row : 0,
                                        zero ? kNowhere : strips.at};
  const int64_t b_panel = p.panel_k * panel_width<V>;

  // Rows are divided evenly: a remainder of its own would be a thin tile.
  const int64_t tiles = (p.m + kRows - 1) / kRows;
  for (int64_t i = 0, left = tiles; left > 0; --left) {
    const int64_t rows = (p.m - i + left - 1) / left;
    // The first tile waits for its panels; the second, where more follow, prefetches the next ones.
    const int64_t ahead = tiles > 3 && left + 1 == tiles ? PANELS * b_panel : 0;
    const Scalar* from = start.data + i * start.row;
    Scalar* to = p.c + i * p.c_row;
    Tile<Scalar> tile = {p.k,
                         p.a + i * p.a_row,
                         p.a_row,
                         p.a_k,
                         b,
                         b_panel,
                         ahead,
                         {from, start.row, start.at},
                         {to, p.c_row, strips.at},
                         add};
    if (whole) {
      multiply_rows<V, PANELS>(kTiles, rows, tile);
    } else {
      constexpr int64_t kEdgeRow = kStrips * V::N;
      Scalar edge[kRows * kEdgeRow];
      int64_t edge_at[kStrips];
      for (int strip = 0; strip < kStrips; ++strip) edge_at[strip] = strip * V::N;
      for (int64_t r = 0; r < rows; ++r) {
        for (int strip = 0; strip < kStrips; ++strip) {
          const int64_t have = zero ? V::N : strips.have[strip];
          V::load(from + r * start.row + (have > 0 ? start.at[strip] : 0), have)
              .store(edge + r * kEdgeRow + strip * V::N);
        }
      }
      tile.start = {edge, kEdgeRow, edge_at};
      tile.c = {edge, kEdgeRow, edge_at};
      tile.add = false;
      multiply_rows<V, PANELS>(kTiles, rows, tile);
      for (int64_t r = 0; r < rows; ++r) {
        for (int strip = 0; strip < kStrips; ++strip) {
          const int64_t have = strips.have[strip];
          if (have == 0) continue;
          Scalar* out = to + r * p.c_row + strips.at[strip];
          V sum = V::load(edge + r * kEdgeRow + strip * V::N);
          if (add) sum = V::load(out, have) + sum;
          sum.store(out, have);
        }
      }
    }
    i += rows;
  }
}

// a is taken in blocks of rows, and of as much of k as kBlockDepth, that stay in the
// second-level cache while all panels pass.
constexpr int64_t kBlockBytes = 256 * 1024;
constexpr int64_t kBlockDepth = 1024;

// The product, for the columns of panels [begin, end); those past the last are none. Descending,
// the last panels are taken first: those that a pass before has left in the cache.
template <class V>
void gemm(const Product<typename V::Scalar>& p, const Columns& columns, int64_t panel_begin,
          int64_t panel_end, bool descending = false) {
  using Scalar = typename V::Scalar;
  constexpr int64_t kWidth = panel_width<V>;
  Product<Scalar> block = p;
  if (p.panel_k == 0) block.panel_k = p.k;
  panel_end = least(panel_end, panel_count<V>(columns));
  const int64_t depths = p.m <= tile_rows<1> ? 1 : (p.k + kBlockDepth - 1) / kBlockDepth;
  for (int64_t part = 0, done = 0; part == 0 || part < depths; ++part) {
    block.k = (p.k - done) / most(depths - part, 1);
    if (part > 0) block.init = Init::kAccumulate;
    const int64_t row_bytes = most(block.k, 1) * static_cast<int64_t>(sizeof(Scalar));
    const int64_t fitting = kBlockBytes / row_bytes + 1;
    const int64_t blocks = (p.m + fitting - 1) / fitting;
    for (int64_t index = 0; index < blocks; ++index) {
      const int64_t i = p.m * index / blocks;
      block.m = p.m * (index + 1) / blocks - i;
      block.a = p.a + i * p.a_row + done * p.a_k;
      block.c = p.c + i * p.c_row;
      StripCursor cursor(columns, 2 * (descending ? panel_end : panel_begin), V::N);
      for (int64_t begin = panel_begin, end = panel_end; begin < end;) {
        const int64_t left = end - begin;
        const int taken = left >= 4 && block.m <= tile_rows<4>                         ? 4
                          : left >= 2 && (kRegisters == 32 || block.m <= tile_rows<2>) ? 2
                                                                                       : 1;
        Strips strips;
        if (descending) {
          end -= taken;
          for (int strip = 2 * taken; strip-- > 0;) {
            cursor.previous();
            cursor.place(strips, strip);
          }
        } else {
          for (int strip = 0; strip < 2 * taken; ++strip, cursor.next()) {
            cursor.place(strips, strip);
          }
        }
        const int64_t panel = descending ? end : begin;
        const Scalar* b = p.packed + (panel * block.panel_k + done) * kWidth;
        if (taken == 4) {
          multiply_panels<V, 4>(block, strips, b);
        } else if (taken == 2) {
          multiply_panels<V, 2>(block, strips, b);
        } else {
          multiply_panels<V, 1>(block, strips, b);
        }
        if (!descending) begin += taken;
      }
    }
    done += block.k;
  }
}

// -- sums over many rows ----------------------------------------------------------

// The rule of products that sum over the rows of a batch (docs/numerics.md): blocks of rows
// are each a sum of their own; those of kRunRows rows are added one after another; such runs
// are added with what rounding loses kept aside.

// a + b, whose rounding error is added to lost (Knuth's two-sum).
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
    const int64_t count = least(n - j, V::N);
    V rest = V::load(lost + j, count);
    add_exactly(V::load(sums + j, count), V::load(run + j, count), rest).store(sums + j, count);
    rest.store(lost + j, count);
  }
}

// sums += lost
template <class V>
void add_lost(int64_t n, const typename V::Scalar* lost, typename V::Scalar* sums) {
  for (int64_t j = 0; j < n; j += V::N) {
    const int64_t count = least(n - j, V::N);
    add_rest(V::load(sums + j, count), V::load(lost + j, count)).store(sums + j, count);
  }
}
