// Gradients that are products over all packed rows at once, after the time loop: sums over
// many rows (gemm.inl), in the order of the packed rows. Members divide outputs.

// The most columns of the left side that a tile takes: they are copied to the stack.
constexpr int64_t kTileColumns = kRegisters == 32 ? 48 : 24;

// Rows of a product's right side: a matrix of packed rows, or (shifted) what each
// packed row came from: the row of the step before, or the initial state.
template <class Scalar>
struct RowSource {
  const Scalar* data;  // [rows,n]
  int64_t stride;
  const Scalar* initial;  // [B,n], sorted; null: not shifted
  int64_t direction;

  const Scalar* at(const Cursor& cursor) const {
    if (!initial) return data + cursor.k * stride;
    const int64_t r = cursor.row(), before = direction == 0 ? cursor.t - 1 : cursor.t + 1;
    const bool first = direction == 0 ? cursor.t == 0 : cursor.plan.length[r] == before;
    return first ? initial + r * cursor.plan.Hout
                 : data + (cursor.plan.offset[before] + r) * stride;
  }
};

// Packs rows [begin, begin+k) of n columns into panels of k rows.
template <class V>
void pack_rows(const bptt_plan& plan, int64_t begin, int64_t k, int64_t n,
               const RowSource<typename V::Scalar>& source, Range panels, typename V::Scalar* out) {
  constexpr int64_t kWidth = panel_width<V>;
  Cursor at(plan, begin);
  for (int64_t kk = 0; kk < k; ++kk, at.next()) {
    const typename V::Scalar* row = source.at(at);
    for (int64_t p = panels.begin; p < panels.end; ++p) {
      typename V::Scalar* to = out + (p * k + kk) * kWidth;
      for (int64_t j = p * kWidth; j < (p + 1) * kWidth; j += V::N, to += V::N) {
        const int64_t lanes = least(most(n - j, 0), V::N);
        V::load(row + (lanes > 0 ? j : 0), lanes).store(to);
      }
    }
  }
}

// out[i,j] = sum over packed rows k of left[k,i] * right[k,j].
// Ends with its last block in use: a barrier must pass before `block` is written again.
// True: the call is cancelled.
template <class V>
bool weight_gradient(const bptt_plan& plan, Phases& phases, int64_t m, int64_t n,
                     const typename V::Scalar* left, int64_t left_row,  // [rows,m]
                     const RowSource<typename V::Scalar>& right,        // [rows,n]
                     typename V::Scalar* block, typename V::Scalar* run,
                     typename V::Scalar* lost,   // [m,n], of several runs
                     typename V::Scalar* out) {  // [m,n]
  using Scalar = typename V::Scalar;
  const Range panels = share(panel_count<V>(n), phases.member);
  // Every member gets the same number of tiles.
  const int64_t members = phases.member.count, fitting = (m + kTileColumns - 1) / kTileColumns;
  const int64_t all = (fitting + members - 1) / members * members;
  const Range tiles = share(all, phases.member);
  // The member's own part of out, which is whole rows.
  const int64_t first = m * tiles.begin / all * n, own = m * tiles.end / all * n - first;
  int64_t begin = 0;
  do {
    const int64_t k = least(plan.rows - begin, kBlockRows);
    phases.cancelled();
    if (phases.next()) return true;
    pack_rows<V>(plan, begin, k, n, right, panels, block);
    if (phases.next()) return true;
    if (begin == kRunRows) std::memset(lost + first, 0, own * sizeof(Scalar));
    Scalar* sums = begin < kRunRows ? out : run;
    const Init init = begin % kRunRows == 0 ? Init::kZero : Init::kAdd;
    for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
      alignas(64) Scalar columns[kBlockRows * kTileColumns];
      const int64_t i = m * tile / all, count = m * (tile + 1) / all - i;
      for (int64_t kk = 0; kk < k; ++kk) {
        std::memcpy(columns + kk * kTileColumns, left + (begin + kk) * left_row + i,
                    count * sizeof(Scalar));
      }
      gemm<V>({.m = count,
               .k = k,
               .a = columns,
               .a_row = 1,
               .a_k = kTileColumns,
               .packed = block,
               .init = init,
               .c = sums + i * n,
               .c_row = n},
              Columns{n}, 0, panel_count<V>(n));
    }
    begin += k;
    const bool ends = begin % kRunRows == 0 || begin == plan.rows;
    if (ends && sums == run) add_run<V>(own, run + first, out + first, lost + first);
  } while (begin < plan.rows);
  if (plan.rows > kRunRows) add_lost<V>(own, lost + first, out + first);
  return false;
}

// A packed row's neighbouring columns.
template <class Scalar>
struct PackedColumns {
  const Scalar* rows;  // [rows,n]
  int64_t stride;
  template <class V>
  BPTT_INLINE V at(int64_t k, int64_t j, int64_t count) const {
    return Adjacent<Scalar>{rows + k * stride}.template load<V>(j, count);
  }
};

// out[j] = sum over packed rows k of left[k,j], by the tree of reductions, for the member's
// share of columns.
template <class V>
void column_sums(const bptt_plan& plan, const Member& member, int64_t n,
                 const typename V::Scalar* left, int64_t left_row,  // [rows,n]
                 typename V::Scalar* out) {                         // [n]
  using Scalar = typename V::Scalar;
  constexpr int64_t kWidth = 4 * V::N;
  static_assert(kWidth <= kColumns);
  const Range panels = share((n + kWidth - 1) / kWidth, member);
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    const int64_t j = panel * kWidth, width = least(n - j, kWidth);
    Scalar sums[kColumns];
    sum_columns<V>(plan.rows, j, width, PackedColumns<Scalar>{left, left_row}, sums);
    std::memcpy(out + j, sums, width * sizeof(Scalar));
  }
}

// dx = dgates W_ih, or adds it to dx.
template <class V>
void input_gradient(const bptt_plan& plan, const Member& member, int64_t k, int64_t n,
                    const typename V::Scalar* dgates,   // [rows,k] in rows of gate_stride
                    const typename V::Scalar* weights,  // panels of [k,n]
                    Init init,
                    typename V::Scalar* dx) {  // [rows,n]
  const int64_t panels = panel_count<V>(n);
  const bool by_rows = plan.rows >= kManyRows * member.count;
  const Range rows = by_rows ? share(plan.rows, member) : Range{0, plan.rows};
  const Range columns = by_rows ? Range{0, panels} : share(panels, member);
  for (int64_t r = rows.begin; r < rows.end; r += kTileRows) {
    const int64_t m = least(rows.end - r, kTileRows);
    gemm<V>({.m = m,
             .k = k,
             .a = dgates + r * plan.gate_stride,
             .a_row = plan.gate_stride,
             .packed = weights,
             .init = init,
             .c = dx + r * n,
             .c_row = n},
            Columns{n}, columns.begin, columns.end);
  }
}
