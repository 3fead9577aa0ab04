// What int32 and bool compute, in plain loops: conversions, comparisons, masks, and arithmetic
// that wraps.

// Rounds toward zero and saturates; NaN becomes 0.
template <class From>
BPTT_INLINE int32_t to_int32(From x) {
  if constexpr (std::is_integral_v<From>) {
    return x;
  } else {
    constexpr From kEnd = 2147483648;
    return x >= kEnd ? INT32_MAX : x < -kEnd ? INT32_MIN : x == x ? static_cast<int32_t>(x) : 0;
  }
}

template <class To, class From>
BPTT_INLINE To converted(From x) {
  if constexpr (std::is_same_v<To, uint8_t>) {
    return x != 0;
  } else if constexpr (std::is_same_v<To, int32_t>) {
    return to_int32(x);
  } else {
    return static_cast<To>(x);
  }
}

template <class To, class From>
static bptt_code convert_elements(int64_t n, const void* x, void* out) {
  const From* from = static_cast<const From*>(x);
  To* to = static_cast<To*>(out);
  Team::instance().parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = converted<To>(from[i]);
  });
  return BPTT_OK;
}

template <class From>
static bptt_code convert_from(bptt_dtype to, int64_t n, const void* x, void* out) {
  switch (to) {
    case BPTT_FLOAT32:
      return convert_elements<float, From>(n, x, out);
    case BPTT_FLOAT64:
      return convert_elements<double, From>(n, x, out);
    case BPTT_INT32:
      return convert_elements<int32_t, From>(n, x, out);
    case BPTT_BOOL:
      return convert_elements<uint8_t, From>(n, x, out);
  }
  return BPTT_INTERNAL;
}

static bptt_code convert_impl(bptt_context*, bptt_dtype from, bptt_dtype to, int64_t n,
                              const void* x, void* out) {
  switch (from) {
    case BPTT_FLOAT32:
      return convert_from<float>(to, n, x, out);
    case BPTT_FLOAT64:
      return convert_from<double>(to, n, x, out);
    case BPTT_INT32:
      return convert_from<int32_t>(to, n, x, out);
    case BPTT_BOOL:
      return convert_from<uint8_t>(to, n, x, out);
  }
  return BPTT_INTERNAL;
}

// -- two operands, broadcasting --------------------------------------------------

// out[i] = f(a, b) for i in [begin, end) of the axes.
template <class Out, class In, class F>
static void combine_range(const Axes& axes, int64_t begin, int64_t end, const F& f, const In* a,
                          const In* b, Out* out) {
  const int64_t a_stride = axes.a[axes.rank - 1], b_stride = axes.b[axes.rank - 1];
  for_rows(axes, begin, end, [&](int64_t i, int64_t n, int64_t at_a, int64_t at_b) {
    const In *x = a + at_a, *y = b + at_b;
    Out* to = out + i;
    if (a_stride == 1 && b_stride == 1) {
      for (int64_t j = 0; j < n; ++j) to[j] = f(x[j], y[j]);
    } else if (a_stride == 1 && b_stride == 0) {
      const In one = *y;
      for (int64_t j = 0; j < n; ++j) to[j] = f(x[j], one);
    } else {
      for (int64_t j = 0; j < n; ++j) to[j] = f(x[j * a_stride], y[j * b_stride]);
    }
  });
}

template <class Out, class In, class F>
static bptt_code combine(const Axes& axes, const F& f, const void* a, const void* b, void* out) {
  Team::instance().parallel_for(axes.n, kGrain, [&](int64_t begin, int64_t end) {
    combine_range(axes, begin, end, f, static_cast<const In*>(a), static_cast<const In*>(b),
                  static_cast<Out*>(out));
  });
  return BPTT_OK;
}

template <class In>
static bptt_code compare_elements(bptt_comparison op, const Axes& axes, const void* a,
                                  const void* b, void* out) {
  switch (op) {
    case BPTT_EQ:
      return combine<uint8_t, In>(axes, [](In x, In y) -> uint8_t { return x == y; }, a, b, out);
    case BPTT_NE:
      return combine<uint8_t, In>(axes, [](In x, In y) -> uint8_t { return x != y; }, a, b, out);
    case BPTT_LT:
      return combine<uint8_t, In>(axes, [](In x, In y) -> uint8_t { return x < y; }, a, b, out);
    case BPTT_LE:
      return combine<uint8_t, In>(axes, [](In x, In y) -> uint8_t { return x <= y; }, a, b, out);
    case BPTT_GT:
      return combine<uint8_t, In>(axes, [](In x, In y) -> uint8_t { return x > y; }, a, b, out);
    case BPTT_GE:
      return combine<uint8_t, In>(axes, [](In x, In y) -> uint8_t { return x >= y; }, a, b, out);
  }
  return BPTT_INTERNAL;
}

static bptt_code compare_impl(bptt_context*, bptt_dtype dtype, bptt_comparison op, int rank,
                              const int64_t* shape, const void* a, const int64_t* a_strides,
                              const void* b, const int64_t* b_strides, void* out) {
  const Axes axes = axes_of(rank, shape, a_strides, b_strides);
  switch (dtype) {
    case BPTT_FLOAT32:
      return compare_elements<float>(op, axes, a, b, out);
    case BPTT_FLOAT64:
      return compare_elements<double>(op, axes, a, b, out);
    case BPTT_INT32:
      return compare_elements<int32_t>(op, axes, a, b, out);
    case BPTT_BOOL:
      return compare_elements<uint8_t>(op, axes, a, b, out);
  }
  return BPTT_INTERNAL;
}

template <class T>
static void masked_copy_range(const Axes& axes, int64_t begin, int64_t end, const uint8_t* mask,
                              const T* src, T* out) {
  const int64_t step = axes.a[axes.rank - 1], stride = axes.b[axes.rank - 1];
  for_rows(axes, begin, end, [&](int64_t i, int64_t n, int64_t at_mask, int64_t at_src) {
    const uint8_t* chosen = mask + at_mask;
    const T* from = src + at_src;
    T* to = out + i;
    if (step == 1 && stride == 0) {
      const T one = *from;
      for (int64_t j = 0; j < n; ++j) to[j] = chosen[j] ? one : to[j];
    } else if (step == 1 && stride == 1) {
      for (int64_t j = 0; j < n; ++j) to[j] = chosen[j] ? from[j] : to[j];
    } else {
      for (int64_t j = 0; j < n; ++j)
        if (chosen[j * step]) to[j] = from[j * stride];
    }
  });
}

template <class T>
static bptt_code masked_copy_elements(const Axes& axes, const void* mask, const void* src,
                                      void* out) {
  Team::instance().parallel_for(axes.n, kGrain, [&](int64_t begin, int64_t end) {
    masked_copy_range(axes, begin, end, static_cast<const uint8_t*>(mask),
                      static_cast<const T*>(src), static_cast<T*>(out));
  });
  return BPTT_OK;
}

static bptt_code masked_copy_impl(bptt_context*, bptt_dtype dtype, int rank, const int64_t* shape,
                                  const void* mask, const int64_t* mask_strides, const void* src,
                                  const int64_t* src_strides, void* out) {
  const Axes axes = axes_of(rank, shape, mask_strides, src_strides);
  switch (dtype) {
    case BPTT_FLOAT32:
      return masked_copy_elements<float>(axes, mask, src, out);
    case BPTT_FLOAT64:
      return masked_copy_elements<double>(axes, mask, src, out);
    case BPTT_INT32:
      return masked_copy_elements<int32_t>(axes, mask, src, out);
    case BPTT_BOOL:
      return masked_copy_elements<uint8_t>(axes, mask, src, out);
  }
  return BPTT_INTERNAL;
}

// -- arithmetic of int32, and of bool: minimum is `and`, maximum `or` ------------

static bptt_code no_kernel(bptt_context* context, bptt_dtype dtype) {
  std::snprintf(context->message, sizeof context->message, "no kernel for dtype %d",
                static_cast<int>(dtype));
  return BPTT_INTERNAL;
}

// Signed numbers that wrap.
BPTT_INLINE int32_t wrapped(uint32_t x) { return static_cast<int32_t>(x); }
BPTT_INLINE uint32_t bits_of(int32_t x) { return static_cast<uint32_t>(x); }

template <class F>
static bptt_code map_int32(int64_t n, const F& f, const void* x, void* out) {
  const int32_t* in = static_cast<const int32_t*>(x);
  int32_t* to = static_cast<int32_t*>(out);
  Team::instance().parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = f(in[i]);
  });
  return BPTT_OK;
}

static bptt_code unary_integers(bptt_context* context, bptt_dtype dtype, bptt_unary_op op,
                                double alpha, double, int64_t n, const void* x, void* out) {
  const uint32_t a = bits_of(to_int32(alpha));
  if (dtype != BPTT_INT32) return no_kernel(context, dtype);
  switch (op) {
    case BPTT_NEG:
      return map_int32(n, [](int32_t v) { return wrapped(0 - bits_of(v)); }, x, out);
    case BPTT_ABS:
      return map_int32(n, [](int32_t v) { return v < 0 ? wrapped(0 - bits_of(v)) : v; }, x, out);
    case BPTT_SIGN:
      return map_int32(n, [](int32_t v) { return (v > 0) - (v < 0); }, x, out);
    case BPTT_SCALE:
      return map_int32(n, [a](int32_t v) { return wrapped(a * bits_of(v)); }, x, out);
    case BPTT_ADD_SCALAR:
      return map_int32(n, [a](int32_t v) { return wrapped(bits_of(v) + a); }, x, out);
    default:
      return no_kernel(context, dtype);
  }
}

template <class T>
static bptt_code max_or_min(bptt_binary_op op, const Axes& axes, const void* a, const void* b,
                            void* out) {
  if (op == BPTT_MAXIMUM)
    return combine<T, T>(axes, [](T x, T y) { return x > y ? x : y; }, a, b, out);
  return combine<T, T>(axes, [](T x, T y) { return x < y ? x : y; }, a, b, out);
}

static bptt_code binary_integers(bptt_context* context, bptt_dtype dtype, bptt_binary_op op,
                                 int rank, const int64_t* shape, const void* a,
                                 const int64_t* a_strides, const void* b, const int64_t* b_strides,
                                 void* out) {
  using I = int32_t;
  const Axes axes = axes_of(rank, shape, a_strides, b_strides);
  if (op == BPTT_MAXIMUM || op == BPTT_MINIMUM) {
    return dtype == BPTT_BOOL ? max_or_min<uint8_t>(op, axes, a, b, out)
                              : max_or_min<I>(op, axes, a, b, out);
  }
  if (dtype != BPTT_INT32) return no_kernel(context, dtype);
  switch (op) {
    case BPTT_ADD:
      return combine<I, I>(
          axes, [](I x, I y) { return wrapped(bits_of(x) + bits_of(y)); }, a, b, out);
    case BPTT_SUB:
      return combine<I, I>(
          axes, [](I x, I y) { return wrapped(bits_of(x) - bits_of(y)); }, a, b, out);
    case BPTT_MUL:
      return combine<I, I>(
          axes, [](I x, I y) { return wrapped(bits_of(x) * bits_of(y)); }, a, b, out);
    default:
      return no_kernel(context, dtype);
  }
}

static void sum_integers_range(const SumAxes& axes, int64_t length, int64_t begin, int64_t end,
                               const int32_t* x, int32_t* out) {
  const int64_t step = axes.reduced.rank > 0 ? axes.reduced.stride[0] : 0;
  for (int64_t o = begin; o < end; ++o) {
    const int32_t* from = x + offset_of(axes.outer, o / axes.inner) + o % axes.inner;
    uint32_t total = 0;
    if (axes.reduced.rank <= 1) {
      for (int64_t i = 0; i < length; ++i) total += bits_of(from[i * step]);
    } else {
      for (int64_t i = 0; i < length; ++i) total += bits_of(from[offset_of(axes.reduced, i)]);
    }
    out[o] = wrapped(total);
  }
}

static bptt_code sum_integers(bptt_context* context, bptt_dtype dtype, int rank,
                              const int64_t* shape, const int* reduced, double, const void* x,
                              void* out) {
  if (dtype != BPTT_INT32) return no_kernel(context, dtype);
  const SumAxes axes = sum_axes_of(rank, shape, reduced);
  const int64_t length = axes.reduced.size(), outputs = axes.outer.size() * axes.inner;
  Team::instance().parallel_for(outputs, grain_of(length), [&](int64_t begin, int64_t end) {
    sum_integers_range(axes, length, begin, end, static_cast<const int32_t*>(x),
                       static_cast<int32_t*>(out));
  });
  return BPTT_OK;
}
