// Arithmetic of two tensors, broadcasting.

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
// max() and min() take b where either is NaN.
struct MaximumOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return select(eq(a, a), max(a, b), a); } };
struct MinimumOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return select(eq(a, a), min(a, b), a); } };
struct PowerOp { template <class V> BPTT_INLINE V operator()(V a, V b) const { return pow(a, b); } };
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
    case BPTT_MAXIMUM:
      return broadcast<V>(axes, MaximumOp{}, a, b, out);
    case BPTT_MINIMUM:
      return broadcast<V>(axes, MinimumOp{}, a, b, out);
    case BPTT_POWER:
      return broadcast<V>(axes, PowerOp{}, a, b, out);
  }
  return BPTT_INTERNAL;
}
