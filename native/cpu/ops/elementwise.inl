// Elementwise operations: fill, unary, binary with broadcasting, strided copy.
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

// -- fill, unary --------------------------------------------------------------

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
  }
  return BPTT_INTERNAL;
}

// clang-format off
struct NegOp { template <class V> BPTT_INLINE V operator()(V x) const { return -x; } };
struct TanhOp { template <class V> BPTT_INLINE V operator()(V x) const { return tanh(x); } };
struct SigmoidOp { template <class V> BPTT_INLINE V operator()(V x) const { return sigmoid(x); } };
// max() takes its second operand when the first is not greater, so NaN stays.
struct ReluOp { template <class V> BPTT_INLINE V operator()(V x) const { return max(V(), x); } };
struct ExpOp { template <class V> BPTT_INLINE V operator()(V x) const { return exp(x); } };
struct LogOp { template <class V> BPTT_INLINE V operator()(V x) const { return log(x); } };
struct SqrtOp { template <class V> BPTT_INLINE V operator()(V x) const { return sqrt(x); } };
struct AbsOp { template <class V> BPTT_INLINE V operator()(V x) const { return abs(x); } };
template <class S>
struct ScaleOp { S alpha; template <class V> BPTT_INLINE V operator()(V x) const { return V(alpha) * x; } };
template <class S>
struct AddScalarOp { S alpha; template <class V> BPTT_INLINE V operator()(V x) const { return x + V(alpha); } };
// clang-format on

template <class V>
static bptt_code unary_impl(bptt_context*, bptt_unary_op op, double alpha, int64_t n, const void* x,
                            void* out) {
  using S = typename V::Scalar;
  const S* in = static_cast<const S*>(x);
  S* to = static_cast<S*>(out);
  const S a = static_cast<S>(alpha);
  switch (op) {
    case BPTT_NEG:
      map<V>(n, NegOp{}, to, in);
      break;
    case BPTT_TANH:
      map<V>(n, TanhOp{}, to, in);
      break;
    case BPTT_SIGMOID:
      map<V>(n, SigmoidOp{}, to, in);
      break;
    case BPTT_RELU:
      map<V>(n, ReluOp{}, to, in);
      break;
    case BPTT_EXP:
      map<V>(n, ExpOp{}, to, in);
      break;
    case BPTT_LOG:
      map<V>(n, LogOp{}, to, in);
      break;
    case BPTT_SQRT:
      map<V>(n, SqrtOp{}, to, in);
      break;
    case BPTT_ABS:
      map<V>(n, AbsOp{}, to, in);
      break;
    case BPTT_SCALE:
      map<V>(n, ScaleOp<S>{a}, to, in);
      break;
    case BPTT_ADD_SCALAR:
      map<V>(n, AddScalarOp<S>{a}, to, in);
      break;
  }
  return BPTT_OK;
}

struct TanhGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy * ((V(1) - y) * (V(1) + y));
  }
};
struct SigmoidGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy * (y * (V(1) - y));
  }
};
struct ReluGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return select(le(y, V()), V(), dy);
  }
};
struct ExpGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy * y;
  }
};
struct LogGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy / x;
  }
};
struct SqrtGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy / (y + y);
  }
};

struct AbsGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return select(lt(V(), x), dy, select(lt(x, V()), -dy, V()));
  }
};

template <class V>
static bptt_code unary_backward_impl(bptt_context* context, bptt_unary_op op, int64_t n,
                                     const void* saved, const void* dout, void* dx) {
  using S = typename V::Scalar;
  const S* y = static_cast<const S*>(saved);
  const S* dy = static_cast<const S*>(dout);
  S* to = static_cast<S*>(dx);
  switch (op) {
    case BPTT_NEG:
      map<V>(n, NegOp{}, to, dy);
      break;
    case BPTT_TANH:
      map<V>(n, TanhGrad{}, to, y, dy);
      break;
    case BPTT_SIGMOID:
      map<V>(n, SigmoidGrad{}, to, y, dy);
      break;
    case BPTT_RELU:
      map<V>(n, ReluGrad{}, to, y, dy);
      break;
    case BPTT_EXP:
      map<V>(n, ExpGrad{}, to, y, dy);
      break;
    case BPTT_LOG:
      map<V>(n, LogGrad{}, to, y, dy);
      break;
    case BPTT_SQRT:
      map<V>(n, SqrtGrad{}, to, y, dy);
      break;
    case BPTT_ABS:
      map<V>(n, AbsGrad{}, to, y, dy);
      break;
    case BPTT_ADD_SCALAR:
      map<V>(n, ScaleOp<S>{1}, to, dy);
      break;
    case BPTT_SCALE:  // needs alpha, which unary() takes
      std::snprintf(context->message, sizeof context->message,
                    "unary_backward: scale is its own backward");
      return BPTT_INTERNAL;
  }
  return BPTT_OK;
}

// -- binary -------------------------------------------------------------------

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

template <class V, class F, class A, class B>
static void binary_row(int64_t n, const F& f, const A& a, const B& b, typename V::Scalar* out) {
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N)
    f(a.template load<V>(i, V::N), b.template load<V>(i, V::N)).store(out + i);
  if (i < n) f(a.template load<V>(i, n - i), b.template load<V>(i, n - i)).store(out + i, n - i);
}

template <class V, class F>
static void broadcast_range(const Axes& axes, int64_t begin, int64_t end, const F& f,
                            const typename V::Scalar* a, const typename V::Scalar* b,
                            typename V::Scalar* out) {
  using S = typename V::Scalar;
  const int64_t a_stride = axes.a[axes.rank - 1], b_stride = axes.b[axes.rank - 1];
  for_rows(axes, begin, end, [&](int64_t i, int64_t n, int64_t at_a, int64_t at_b) {
    if (a_stride == 1 && b_stride == 1) {
      binary_row<V>(n, f, Adjacent<S>{a + at_a}, Adjacent<S>{b + at_b}, out + i);
    } else if (a_stride == 1 && b_stride == 0) {
      binary_row<V>(n, f, Adjacent<S>{a + at_a}, Repeated<S>{b + at_b}, out + i);
    } else if (a_stride == 0 && b_stride == 1) {
      binary_row<V>(n, f, Repeated<S>{a + at_a}, Adjacent<S>{b + at_b}, out + i);
    } else {
      binary_row<V>(n, f, Strided<S>{a + at_a, a_stride}, Strided<S>{b + at_b, b_stride}, out + i);
    }
  });
}

template <class V, class F>
static bptt_code broadcast(const Axes& axes, const F& f, const void* a, const void* b, void* out) {
  using S = typename V::Scalar;
  Team::instance().parallel_for(axes.n, kGrain, [&](int64_t begin, int64_t end) {
    broadcast_range<V>(axes, begin, end, f, static_cast<const S*>(a), static_cast<const S*>(b),
                       static_cast<S*>(out));
  });
  return BPTT_OK;
}

// clang-format off
struct AddOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return a + b; } };
struct SubOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return a - b; } };
struct MulOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return a * b; } };
struct DivOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return a / b; } };
// clang-format on

template <class V>
static bptt_code binary_impl(bptt_context*, bptt_binary_op op, int rank, const int64_t* shape,
                             const void* a, const int64_t* a_strides, const void* b,
                             const int64_t* b_strides, void* out) {
  const Axes axes = axes_of(rank, shape, a_strides, b_strides);
  switch (op) {
    case BPTT_ADD:
      return broadcast<V>(axes, AddOp{}, a, b, out);
    case BPTT_SUB:
      return broadcast<V>(axes, SubOp{}, a, b, out);
    case BPTT_MUL:
      return broadcast<V>(axes, MulOp{}, a, b, out);
    case BPTT_DIV:
      return broadcast<V>(axes, DivOp{}, a, b, out);
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

constexpr int64_t kTile = 16;

// The last two axes, [P,Q], are a transposition: src is adjacent in P and dst in
// Q. Blocks of kTile rows of P, over all planes, are numbered from begin to end;
// square tiles keep the lines of both sides in the first-level cache.
template <class T>
static void transpose_range(const Axes& axes, int64_t begin, int64_t end, const T* src, T* dst) {
  const int p = axes.rank - 2, q = axes.rank - 1;
  const int64_t P = axes.shape[p], Q = axes.shape[q], blocks = (P + kTile - 1) / kTile;
  for (int64_t block = begin; block < end; ++block) {
    int64_t plane = block / blocks, at_src = 0, at_dst = 0;
    for (int d = p - 1; d >= 0; --d) {
      at_src += plane % axes.shape[d] * axes.a[d];
      at_dst += plane % axes.shape[d] * axes.b[d];
      plane /= axes.shape[d];
    }
    const int64_t p0 = block % blocks * kTile, p1 = least(p0 + kTile, P);
    for (int64_t q0 = 0; q0 < Q; q0 += kTile) {
      const int64_t q1 = least(q0 + kTile, Q);
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
  const int64_t blocks = n / (P * Q) * ((P + kTile - 1) / kTile);
  Team::instance().parallel_for(blocks, grain_of(kTile * Q), [&](int64_t begin, int64_t end) {
    transpose_range(tiled, begin, end, from, to);
  });
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
  }
  return BPTT_INTERNAL;
}
