// What elementwise operations share (map(), walks along broadcast axes), fill and strided copy.
//
// A kernel is a functor over vectors that map() applies. Tails run the same
// vector code on a partial load, so no value depends on its position.

// Elements per share of a parallel loop, a multiple of every vector width: less
// work than this costs less than waking the team.
constexpr int64_t kGrain = 8192;

// Grain of a loop whose every step handles `elements` elements.
inline int64_t grain_of(int64_t elements) {
  return elements >= kGrain ? 1 : kGrain / (elements + 1) + 1;
}

template <class V, class F, class... In>
static void map_range(int64_t begin, int64_t end, const F& f, typename V::Scalar* out,
                      const In*... in) {
  int64_t i = begin;
  for (; i + V::N <= end; i += V::N) f(V::load(in + i)...).store(out + i);
  if (i < end) f(V::load(in + i, end - i)...).store(out + i, end - i);
}

// out[i] = f(in[i]...) for i in [0,n); out may be one of the inputs.
template <class V, class F, class... In>
static void map(int64_t n, const F& f, typename V::Scalar* out, const In*... in) {
  Team::instance().parallel_for(
      n, kGrain, [&](int64_t begin, int64_t end) { map_range<V>(begin, end, f, out, in...); });
}

// -- axes ---------------------------------------------------------------------

// Calls f(i, count, a_offset, b_offset) for the stretches of [begin, end), in
// the flat order of the axes, that lie in one row of the innermost axis.
template <class F>
static void for_rows(const Axes& axes, int64_t begin, int64_t end, const F& f) {
  const int last = axes.rank - 1;
  int64_t column = begin % axes.shape[last], rest = begin / axes.shape[last];
  int64_t index[BPTT_MAX_RANK] = {}, a = 0, b = 0;
  for (int d = last - 1; d >= 0; --d) {
    index[d] = rest % axes.shape[d];
    rest /= axes.shape[d];
    a += index[d] * axes.a[d];
    b += index[d] * axes.b[d];
  }
  for (int64_t i = begin; i < end;) {
    const int64_t left = axes.shape[last] - column;
    const int64_t count = least(left, end - i);
    f(i, count, a + column * axes.a[last], b + column * axes.b[last]);
    i += count;
    column = 0;
    for (int d = last - 1; d >= 0; --d) {
      a += axes.a[d];
      b += axes.b[d];
      if (++index[d] < axes.shape[d]) break;
      a -= axes.a[d] * axes.shape[d];
      b -= axes.b[d] * axes.shape[d];
      index[d] = 0;
    }
  }
}

// How a row of an operand is read.
template <class S>
struct Adjacent {
  const S* p;
  template <class V>
  BPTT_INLINE V load(int64_t i, int64_t count) const {
    return count == V::N ? V::load(p + i) : V::load(p + i, count);
  }
};
template <class S>
struct Repeated {
  const S* p;
  template <class V>
  BPTT_INLINE V load(int64_t, int64_t) const {
    return V(*p);
  }
};
template <class S>
struct Strided {
  const S* p;
  int64_t stride;
  template <class V>
  BPTT_INLINE V load(int64_t i, int64_t count) const {
    S lanes[V::N] = {};
    for (int64_t l = 0; l < count; ++l) lanes[l] = p[(i + l) * stride];
    return V::load(lanes);
  }
};

// -- fill ---------------------------------------------------------------------

template <class T>
static void fill_range(T* out, int64_t begin, int64_t end, T value) {
  for (int64_t i = begin; i < end; ++i) out[i] = value;
}

template <class T>
static bptt_code fill_elements(int64_t n, double value, void* out) {
  const T element = static_cast<T>(value);
  Team::instance().parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    fill_range(static_cast<T*>(out), begin, end, element);
  });
  return BPTT_OK;
}

static bptt_code fill_impl(bptt_context*, bptt_dtype dtype, int64_t n, double value, void* out) {
  switch (dtype) {
    case BPTT_FLOAT32:
      return fill_elements<float>(n, value, out);
    case BPTT_FLOAT64:
      return fill_elements<double>(n, value, out);
    case BPTT_INT32:
      return fill_elements<int32_t>(n, value, out);
    case BPTT_BOOL:
      return fill_elements<uint8_t>(n, value, out);
  }
  return BPTT_INTERNAL;
}

// -- strided copy -------------------------------------------------------------

template <class T>
static void copy_range(const Axes& axes, int64_t begin, int64_t end, const T* src, T* dst) {
  const int64_t from = axes.a[axes.rank - 1], to = axes.b[axes.rank - 1];
  for_rows(axes, begin, end, [&](int64_t, int64_t n, int64_t at_src, int64_t at_dst) {
    if (from == 1 && to == 1) {
      std::memcpy(dst + at_dst, src + at_src, static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) dst[at_dst + i * to] = src[at_src + i * from];
    }
  });
}

// Square tiles of this size keep the cache lines of both sides in the first-level cache.
constexpr int64_t kTransposeTile = 16;

// The last two axes, [P,Q], are a transposition: src is adjacent in P and dst in Q. A block is
// kTransposeTile rows of P; blocks are numbered over all planes.
template <class T>
static void transpose_range(const Axes& axes, int64_t begin, int64_t end, const T* src, T* dst) {
  const int p = axes.rank - 2, q = axes.rank - 1;
  const int64_t P = axes.shape[p], Q = axes.shape[q],
                blocks = (P + kTransposeTile - 1) / kTransposeTile;
  for (int64_t block = begin; block < end; ++block) {
    int64_t plane = block / blocks, at_src = 0, at_dst = 0;
    for (int d = p - 1; d >= 0; --d) {
      at_src += plane % axes.shape[d] * axes.a[d];
      at_dst += plane % axes.shape[d] * axes.b[d];
      plane /= axes.shape[d];
    }
    const int64_t p0 = block % blocks * kTransposeTile, p1 = least(p0 + kTransposeTile, P);
    for (int64_t q0 = 0; q0 < Q; q0 += kTransposeTile) {
      const int64_t q1 = least(q0 + kTransposeTile, Q);
      for (int64_t i = p0; i < p1; ++i) {
        const T* from = src + at_src + i * axes.a[p];
        T* to = dst + at_dst + i * axes.b[p];
        for (int64_t j = q0; j < q1; ++j) to[j * axes.b[q]] = from[j * axes.a[q]];
      }
    }
  }
}

template <class T>
static bptt_code copy_elements(const Axes& axes, const void* src, void* dst) {
  const T* from = static_cast<const T*>(src);
  T* to = static_cast<T*>(dst);
  const int64_t n = axes.n;
  const int last = axes.rank - 1;
  if (n == 0) return BPTT_OK;
  const int inner = nearest_axis_of_a(axes);
  if (inner == last || axes.a[last] == 0) {
    Team::instance().parallel_for(
        n, kGrain, [&](int64_t begin, int64_t end) { copy_range(axes, begin, end, from, to); });
    return BPTT_OK;
  }
  const Axes tiled = transposed(axes, inner);
  const int64_t P = tiled.shape[last - 1], Q = tiled.shape[last];
  const int64_t blocks = n / (P * Q) * ((P + kTransposeTile - 1) / kTransposeTile);
  Team::instance().parallel_for(
      blocks, grain_of(kTransposeTile * Q),
      [&](int64_t begin, int64_t end) { transpose_range(tiled, begin, end, from, to); });
  return BPTT_OK;
}

static bptt_code copy_impl(bptt_context*, bptt_dtype dtype, int rank, const int64_t* shape,
                           const void* src, const int64_t* src_strides, void* dst,
                           const int64_t* dst_strides) {
  const Axes axes = axes_in_order_of_b(rank, shape, src_strides, dst_strides);
  switch (dtype) {
    case BPTT_FLOAT32:
      return copy_elements<float>(axes, src, dst);
    case BPTT_FLOAT64:
      return copy_elements<double>(axes, src, dst);
    case BPTT_INT32:
      return copy_elements<int32_t>(axes, src, dst);
    case BPTT_BOOL:
      return copy_elements<uint8_t>(axes, src, dst);
  }
  return BPTT_INTERNAL;
}
