// cumsum: running sums along lines. They add in order, with what rounding loses kept in a second
// number; where a sum leaves the range of the type on the way, the line is summed again with terms
// times a power of two. int32 wraps around.

// A sum and what rounding has lost of it (two-sum); scatter_add (gather.inl) has them too.
template <class T>
struct KeptSum {
  T sum = 0, lost = 0;

  BPTT_INLINE KeptSum() {}
  BPTT_INLINE void add(T x) {
    const T next = sum + x, added = next - sum;
    lost += (sum - (next - added)) + (x - added);
    sum = next;
  }
  BPTT_INLINE T total() const { return lost - lost == 0 ? sum + lost : sum; }
  BPTT_INLINE bool is_finite() const { return sum - sum == 0; }
};

template <>
struct KeptSum<int32_t> {
  uint32_t sum = 0;

  BPTT_INLINE KeptSum() {}
  BPTT_INLINE void add(int32_t x) { sum += static_cast<uint32_t>(x); }
  BPTT_INLINE int32_t total() const { return static_cast<int32_t>(sum); }
  BPTT_INLINE bool is_finite() const { return true; }
};

// -- cumsum ---------------------------------------------------------------------

// `width` neighbouring lines, each with a sum of its own; where there is one, it stays in a
// register. `step` leads from one element of a line to the next. Whether all sums are finite.
template <int kWidth, class T>
static bool cumsum_panel(int64_t n, int64_t step, int64_t width, T part, const T* x, T* out) {
  const int64_t count = kWidth == 1 ? 1 : width;
  const T whole = 1 / part;
  KeptSum<T> sums[kWidth];
  for (int64_t i = 0; i < n; ++i, x += step, out += step) {
    for (int64_t j = 0; j < count; ++j) {
      sums[j].add(x[j] * part);
      out[j] = sums[j].total() * whole;
    }
  }
  bool finite = true;
  for (int64_t j = 0; j < count; ++j) finite = finite && sums[j].is_finite();
  return finite;
}

template <class T>
static bptt_code cumsum_lines(bool reverse, int64_t outer, int64_t n, int64_t inner, const T* x,
                              T* out) {
  const int64_t start = reverse ? most(n - 1, 0) * inner : 0, step = reverse ? -inner : inner;
  const T part = std::is_integral_v<T> ? T(1) : static_cast<T>(power_of_two_part(n));
  for_panels(outer, n, inner, [&](int64_t o, int64_t column, int64_t width) {
    const int64_t at = o * n * inner + start + column;
    const auto run = inner == 1 ? &cumsum_panel<1, T> : &cumsum_panel<kColumns, T>;
    if (!run(n, step, width, T(1), x + at, out + at)) run(n, step, width, part, x + at, out + at);
  });
  return BPTT_OK;
}

static bptt_code cumsum_impl(bptt_context* context, bptt_dtype dtype, int32_t reverse,
                             int64_t outer, int64_t n, int64_t inner, const void* x, void* out) {
  return with_elements(context, dtype, [&]<class T>() {
    return cumsum_lines<T>(reverse != 0, outer, n, inner, static_cast<const T*>(x),
                           static_cast<T*>(out));
  });
}
