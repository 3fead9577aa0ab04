// gather: elements of lines by index. scatter_add: elements added to places by index.

// The index of an op that picks m elements of each line: [outer, m, inner], or [m] for all lines.
struct Picks {
  bool shared;  // indexSelect: all lines have the same index
  int64_t m, inner;
  const int32_t* index;

  BPTT_INLINE Picks(bptt_pick kind, int64_t m_, int64_t inner_, const int32_t* index_)
      : shared(kind == BPTT_INDEX_SELECT), m(m_), inner(inner_), index(index_) {}
  int64_t size(int64_t outer) const { return shared ? m : outer * m * inner; }
  BPTT_INLINE int64_t at(int64_t o, int64_t j, int64_t i) const {
    return shared ? index[j] : index[(o * m + j) * inner + i];
  }
};

template <class T>
static void gather_range(const Picks& picks, int64_t n, int64_t begin, int64_t end, const T* x,
                         T* out) {
  const int64_t inner = picks.inner;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t o = row / picks.m, j = row % picks.m;
    const T* from = x + o * n * inner;
    T* to = out + row * inner;
    if (picks.shared) {
      std::memcpy(to, from + picks.at(o, j, 0) * inner, static_cast<size_t>(inner) * sizeof(T));
    } else {
      for (int64_t i = 0; i < inner; ++i) to[i] = from[picks.at(o, j, i) * inner + i];
    }
  }
}

static bptt_code gather_impl(bptt_context* context, bptt_dtype dtype, bptt_pick kind, int64_t outer,
                             int64_t n, int64_t inner, int64_t m, const void* x,
                             const int32_t* index, void* out) {
  if (outer == 0 || inner == 0) return BPTT_OK;
  const Picks picks(kind, m, inner, index);
  const char* name = EnumNames<bptt_pick>::names[kind];
  if (const bptt_code code = check_index(context, name, picks.size(outer), n, index)) return code;
  const auto run = [&]<class T>() {
    Team::instance().parallel_for(outer * m, grain_of(inner), [&](int64_t begin, int64_t end) {
      gather_range(picks, n, begin, end, static_cast<const T*>(x), static_cast<T*>(out));
    });
    return BPTT_OK;
  };
  return dtype == BPTT_BOOL ? run.template operator()<uint8_t>()
                            : with_elements(context, dtype, run);
}

// The places of outer o and columns [column, column + width): base and source times `part` are
// added up in sums [n, inner], and the totals go to out, divided by it. Whether all are finite.
template <class T>
static bool scatter_panel(const Picks& picks, int64_t n, int64_t o, int64_t column, int64_t width,
                          T part, const T* base, const T* source, T* out, KeptSum<T>* sums) {
  const int64_t inner = picks.inner;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = column; j < column + width; ++j) {
      KeptSum<T>& sum = sums[i * inner + j];
      sum = KeptSum<T>();
      if (base) sum.add(base[(o * n + i) * inner + j] * part);
    }
  }
  for (int64_t k = 0; k < picks.m; ++k)
    for (int64_t j = column; j < column + width; ++j)
      sums[picks.at(o, k, j) * inner + j].add(source[(o * picks.m + k) * inner + j] * part);
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = column; j < column + width; ++j) {
      const KeptSum<T>& sum = sums[i * inner + j];
      out[(o * n + i) * inner + j] = sum.total() / part;
      finite = finite && sum.is_finite();
    }
  }
  return finite;
}

template <class T>
static bptt_code scatter_lines(bptt_context* context, const Picks& picks, int64_t outer, int64_t n,
                               const T* base, const T* source, T* out) {
  const int64_t inner = picks.inner, m = picks.m;
  auto* sums = static_cast<KeptSum<T>*>(
      scratch(context, static_cast<size_t>(outer * n * inner) * sizeof(KeptSum<T>)));
  if (!sums) return BPTT_OUT_OF_MEMORY;
  const T part = std::is_integral_v<T> ? T(1) : static_cast<T>(power_of_two_part(m + 1));
  for_panels(outer, n + m, inner, [&](int64_t o, int64_t column, int64_t width) {
    KeptSum<T>* own = sums + o * n * inner;
    if (!scatter_panel(picks, n, o, column, width, T(1), base, source, out, own))
      scatter_panel(picks, n, o, column, width, part, base, source, out, own);
  });
  return BPTT_OK;
}

static bptt_code scatter_add_impl(bptt_context* context, bptt_dtype dtype, bptt_pick kind,
                                  int64_t outer, int64_t n, int64_t inner, int64_t m,
                                  const int32_t* index, const void* base, const void* source,
                                  void* out) {
  if (outer == 0 || inner == 0) return BPTT_OK;
  const Picks picks(kind, m, inner, index);
  const char* name = EnumNames<bptt_pick>::names[kind];
  if (const bptt_code code = check_index(context, name, picks.size(outer), n, index)) return code;
  return with_elements(context, dtype, [&]<class T>() {
    return scatter_lines(context, picks, outer, n, static_cast<const T*>(base),
                         static_cast<const T*>(source), static_cast<T*>(out));
  });
}
