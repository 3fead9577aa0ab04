// Reductions of a line to one number: product, variance, standard deviation, Euclidean norm and
// the logarithm of the sum of exponentials. Sums by the fixed tree; where the plain computation
// leaves the range of the type, it is done again with scaled numbers (docs/numerics.md, Range).

// -- product --------------------------------------------------------------------

// The product as a fraction and an integral exponent: nothing overflows on the way.
template <class S>
static S far_product(int64_t n, const S* x) {
  double fraction = 1;
  int64_t exponent = 0;
  for (int64_t i = 0; i < n; ++i) {
    int own = 0, more = 0;
    fraction = std::frexp(fraction * std::frexp(static_cast<double>(x[i]), &own), &more);
    exponent += own + more;
  }
  constexpr int64_t kBeyond = 5000;  // far past the exponents of every type, and within int
  const int64_t within = least(most(exponent, -kBeyond), kBeyond);
  return static_cast<S>(std::ldexp(fraction, static_cast<int>(within)));
}

// Element i belongs to factor i % 16; then 16 become 8, 4, 2, 1, as in a sum.
template <class S>
static S row_product(int64_t n, const S* x) {
  constexpr int kLanes = 16;
  S factors[kLanes];
  for (S& factor : factors) factor = 1;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) factors[lane] *= x[i + lane];
  for (int lane = 0; i < n; ++lane, ++i) factors[lane] *= x[i];
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) factors[lane] *= factors[lane + width];
  const S product = factors[0], size = product < 0 ? -product : product;
  const bool plain = size >= FloatRange<S>::kSmallest && size <= FloatRange<S>::kLargest;
  return plain ? product : far_product(n, x);
}

// -- moments --------------------------------------------------------------------

template <class V>
static typename V::Scalar scalar_sqrt(typename V::Scalar x) {
  typename V::Scalar root;
  sqrt(V(x)).store(&root, 1);
  return root;
}

// The sum of the squares of (x * scale + shift).
template <class V>
static typename V::Scalar squares_of(int64_t n, const typename V::Scalar* x,
                                     const Normalize<typename V::Scalar>& row) {
  return sum_terms<V>(n, SquaredDeviation<typename V::Scalar>{{x, row}});
}

template <class V>
static typename V::Scalar row_variance(int64_t n, bool root, double correction,
                                       const typename V::Scalar* x) {
  using S = typename V::Scalar;
  const double freedom = static_cast<double>(n) - correction;
  const S divisor = static_cast<S>(freedom > 0 ? freedom : 0);
  const Normalize<S> row = normalize_row<V>(n, 0, x);
  const S variance = squares_of<V>(n, x, row) / divisor;
  return root ? scalar_sqrt<V>(variance) / row.scale : variance / row.scale / row.scale;
}

template <class V>
static typename V::Scalar row_norm(int64_t n, const typename V::Scalar* x) {
  using S = typename V::Scalar;
  using R = FloatRange<S>;
  Normalize<S> row{1, S(-0.0), 1};
  S squares = squares_of<V>(n, x, row);
  if (!(squares >= R::kLeastSpread && squares <= R::kLargest)) {
    row.scale = scale_to_one<S>(largest_magnitude<V>(x, n));
    squares = squares_of<V>(n, x, row);
  }
  return scalar_sqrt<V>(squares) / row.scale;
}

// -- logarithm of a sum ------------------------------------------------------------

template <class V>
static typename V::Scalar row_log_sum_exp(int64_t n, const typename V::Scalar* x) {
  using S = typename V::Scalar;
  S largest, sum;
  row_max_sum<V>(x, n, &largest, &sum, nullptr);
  if (largest - largest == 0) return largest + scalar_log<V>(sum);
  for (int64_t i = 0; i < n; ++i)
    if (!is_number(x[i])) return x[i];
  return largest;
}

template <class V>
static typename V::Scalar fold_row(bptt_fold fold, double alpha, int64_t n,
                                   const typename V::Scalar* x) {
  switch (fold) {
    case BPTT_PROD:
      return row_product(n, x);
    case BPTT_VARIANCE:
      return row_variance<V>(n, false, alpha, x);
    case BPTT_STD:
      return row_variance<V>(n, true, alpha, x);
    case BPTT_NORM:
      return row_norm<V>(n, x);
    case BPTT_LOG_SUM_EXP:
      return row_log_sum_exp<V>(n, x);
  }
  return 0;
}

template <class V>
static void fold_rows(bptt_fold fold, double alpha, int64_t n, int64_t begin, int64_t end,
                      const typename V::Scalar* x, typename V::Scalar* out) {
  for (int64_t row = begin; row < end; ++row) out[row] = fold_row<V>(fold, alpha, n, x + row * n);
}

template <class V>
static bptt_code fold_impl(bptt_context* context, bptt_fold fold, double alpha, int64_t outer,
                           int64_t n, int64_t inner, const void* x, void* out) {
  using S = typename V::Scalar;
  S* room = nullptr;
  if (const size_t bytes = rows_bytes(outer, n, inner, sizeof(S))) {
    room = static_cast<S*>(scratch(context, bytes));
    if (!room) return BPTT_OUT_OF_MEMORY;
  }
  const S* rows = lines_as_rows(outer, n, inner, static_cast<const S*>(x), room);
  Team::instance().parallel_for(outer * inner, grain_of(n), [&](int64_t begin, int64_t end) {
    fold_rows<V>(fold, alpha, n, begin, end, rows, static_cast<S*>(out));
  });
  return BPTT_OK;
}
