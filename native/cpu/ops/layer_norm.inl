// Layer normalization of rows x [rows,cols]: mean, then variance about the mean,
// each by the fixed tree.
//   xhat = (x - mean) * rstd,  rstd = 1 / sqrt(variance + eps),  y = xhat * gamma + beta
//   g = dy * gamma
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))
//   dgamma = sum over rows of dy * xhat,  dbeta = sum over rows of dy

template <class S>
struct RowTerm {
  const S* x;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    return Adjacent<S>{x}.template load<V>(i, count);
  }
};

// xhat = (x - mean) * rstd, as (x * scale + shift) * factor. scale is a power of two: 1, but
// for rows whose squares would leave the range of the type.
template <class S>
struct Normalize {
  S scale, shift, factor;
  template <class V>
  BPTT_INLINE V deviation(V x) const {
    return fma(x, V(scale), V(shift));
  }
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return deviation(x) * V(factor);
  }
  S rstd() const { return factor * scale; }
};
template <class S>
struct Deviation {
  const S* x;
  Normalize<S> normalize;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    return normalize.deviation(Adjacent<S>{x}.template load<V>(i, count));
  }
};
template <class S>
struct SquaredDeviation {
  Deviation<S> deviation;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const V d = deviation.template at<V>(i, count);
    return d * d;
  }
};
struct AffineOp {
  template <class V>
  BPTT_INLINE V operator()(V x, V gamma, V beta) const {
    return fma(x, gamma, beta);
  }
};

// The variance of a row whose mean is known.
template <class V>
static typename V::Scalar variance_of(int64_t cols, const typename V::Scalar* x,
                                      const Normalize<typename V::Scalar>& row) {
  using S = typename V::Scalar;
  return sum_terms<V>(cols, SquaredDeviation<S>{{x, row}}) / static_cast<S>(cols);
}

template <class V>
static typename V::Scalar one_over_root(typename V::Scalar x) {
  typename V::Scalar root;
  sqrt(V(x)).store(&root, 1);
  return 1 / root;
}

// normalize_row() for rows of any magnitude: they are scaled to about 1, and the rounding of the
// mean is corrected by the mean of the deviations.
template <class V>
static Normalize<typename V::Scalar> scaled_row(int64_t cols, double eps,
                                                const typename V::Scalar* x) {
  using S = typename V::Scalar;
  const S n = static_cast<S>(cols);
  const double most = largest_magnitude<V>(x, cols), least = std::sqrt(eps);
  Normalize<S> row{scale_to_one<S>(most > least ? most : least), 0, 1};
  row.shift = -sum_terms<V>(cols, Deviation<S>{x, row}) / n;
  row.shift -= sum_terms<V>(cols, Deviation<S>{x, row}) / n;
  // In double: eps times the square of a small scale leaves the range of float.
  const double spread = variance_of<V>(cols, x, row) + eps * row.scale * row.scale;
  const double factor = 1 / std::sqrt(spread), most_factor = FloatRange<S>::kLargest;
  row.factor = static_cast<S>(spread > 0 && factor > most_factor ? most_factor : factor);
  return row;
}

template <class V>
static Normalize<typename V::Scalar> normalize_row(int64_t cols, double eps,
                                                   const typename V::Scalar* x) {
  using S = typename V::Scalar;
  using R = FloatRange<S>;
  const S mean = sum_terms<V>(cols, RowTerm<S>{x}) / static_cast<S>(cols);
  Normalize<S> row{1, -mean, 1};
  const S spread = variance_of<V>(cols, x, row) + static_cast<S>(eps);
  const bool plain =
      spread >= R::kLeastSpread && spread <= R::kLargest && mean * mean <= R::kFarMean * spread;
  if (!plain) return scaled_row<V>(cols, eps, x);
  row.factor = one_over_root<V>(spread);
  return row;
}

template <class V>
static void layer_norm_rows(int64_t begin, int64_t end, int64_t cols, double eps,
                            const typename V::Scalar* x, const typename V::Scalar* gamma,
                            const typename V::Scalar* beta, typename V::Scalar* y,
                            typename V::Scalar* mean, typename V::Scalar* rstd) {
  using S = typename V::Scalar;
  for (int64_t r = begin; r < end; ++r, x += cols, y += cols) {
    const Normalize<S> row = normalize_row<V>(cols, eps, x);
    map_range<V>(0, cols, row, y, x);
    if (gamma && beta) {
      map_range<V>(0, cols, AffineOp{}, y, y, gamma, beta);
    } else if (gamma) {
      map_range<V>(0, cols, MulOp{}, y, y, gamma);
    } else if (beta) {
      map_range<V>(0, cols, AddOp{}, y, y, beta);
    }
    if (mean) mean[r] = -row.shift / row.scale;
    if (rstd) rstd[r] = row.rstd();
  }
}

template <class V>
static bptt_code layer_norm_impl(bptt_context*, int64_t rows, int64_t cols, double eps,
                                 const void* x, const void* gamma, const void* beta, void* y,
                                 void* mean, void* rstd) {
  using S = typename V::Scalar;
  if (cols == 0 && !mean && !rstd) return BPTT_OK;  // nothing is written, of however many rows
  Team::instance().parallel_for(rows, grain_of(cols), [&](int64_t begin, int64_t end) {
    layer_norm_rows<V>(begin, end, cols, eps, static_cast<const S*>(x) + begin * cols,
                       static_cast<const S*>(gamma), static_cast<const S*>(beta),
                       static_cast<S*>(y) + begin * cols, static_cast<S*>(mean),
                       static_cast<S*>(rstd));
  });
  return BPTT_OK;
}

// The terms of the two means of dx.
template <class S>
struct GammaGrad {
  const S *dy, *gamma;  // gamma may be null
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const V d = Adjacent<S>{dy}.template load<V>(i, count);
    return gamma ? d * Adjacent<S>{gamma}.template load<V>(i, count) : d;
  }
};
template <class S>
struct GammaGradXhat {
  GammaGrad<S> g;
  const S* x;
  Normalize<S> normalize;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    return g.template at<V>(i, count) * normalize(Adjacent<S>{x}.template load<V>(i, count));
  }
};
template <class S>
struct LayerNormGrad {
  Normalize<S> normalize;
  S rstd, mean_g, mean_g_xhat;
  template <class V>
  BPTT_INLINE V operator()(V x, V g) const {
    return V(rstd) * fnma(normalize(x), V(mean_g_xhat), g - V(mean_g));
  }
  template <class V>
  BPTT_INLINE V operator()(V x, V dy, V gamma) const {
    return (*this)(x, dy * gamma);
  }
};

// How forward normalized rows [begin, end): by what it saved, except rows so large that their rstd
// is denormal and lost digits, which are normalized anew.
template <class V>
static void saved_rows(int64_t begin, int64_t end, int64_t cols, const typename V::Scalar* x,
                       const typename V::Scalar* mean, const typename V::Scalar* rstd,
                       Normalize<typename V::Scalar>* out) {
  using S = typename V::Scalar;
  for (int64_t r = begin; r < end; ++r) {
    out[r] = rstd[r] >= FloatRange<S>::kLeastRstd ? Normalize<S>{1, -mean[r], rstd[r]}
                                                  : scaled_row<V>(cols, 0, x + r * cols);
  }
}

template <class V>
static void layer_norm_dx(int64_t begin, int64_t end, int64_t cols, const typename V::Scalar* x,
                          const typename V::Scalar* gamma,
                          const Normalize<typename V::Scalar>* rows, const typename V::Scalar* dy,
                          typename V::Scalar* dx) {
  using S = typename V::Scalar;
  for (int64_t row = begin; row < end; ++row) {
    const S *xr = x + row * cols, *dyr = dy + row * cols;
    const GammaGrad<S> g{dyr, gamma};
    const LayerNormGrad<S> f{rows[row], rows[row].rstd(), mean_terms<V>(cols, g),
                             mean_terms<V>(cols, GammaGradXhat<S>{g, xr, rows[row]})};
    if (gamma) {
      map_range<V>(0, cols, f, dx + row * cols, xr, dyr, gamma);
    } else {
      map_range<V>(0, cols, f, dx + row * cols, xr, dyr);
    }
  }
}

// dy, or dy * xhat when x is given, of one row and neighbouring columns.
template <class S>
struct AffineGradTerm {
  int64_t cols;
  const S *dy, *x;
  const Normalize<S>* rows;
  template <class V>
  BPTT_INLINE V at(int64_t row, int64_t j, int64_t count) const {
    const V d = Adjacent<S>{dy + row * cols}.template load<V>(j, count);
    if (!x) return d;
    return d * rows[row](Adjacent<S>{x + row * cols}.template load<V>(j, count));
  }
};

// Panels of kColumns columns of dgamma or dbeta.
template <class V>
static void affine_grad_panels(int64_t begin, int64_t end, int64_t rows,
                               const AffineGradTerm<typename V::Scalar>& f,
                               typename V::Scalar* out) {
  typename V::Scalar total[kColumns];
  for (int64_t column = begin * kColumns; column < end * kColumns && column < f.cols;
       column += kColumns) {
    const int64_t width = least(f.cols - column, kColumns);
    sum_columns<V>(rows, column, width, f, total);
    for (int64_t j = 0; j < width; ++j) out[column + j] = total[j];
  }
}

template <class V>
static void affine_grad(int64_t rows, const AffineGradTerm<typename V::Scalar>& f, void* out) {
  if (!out) return;
  const int64_t panels = (f.cols + kColumns - 1) / kColumns;
  Team::instance().parallel_for(panels, grain_of(rows * kColumns), [&](int64_t begin, int64_t end) {
    affine_grad_panels<V>(begin, end, rows, f, static_cast<typename V::Scalar*>(out));
  });
}

template <class V>
static bptt_code layer_norm_backward_impl(bptt_context* context, int64_t rows, int64_t cols,
                                          const void* x, const void* gamma, const void* mean,
                                          const void* rstd, const void* dy, void* dx, void* dgamma,
                                          void* dbeta) {
  using S = typename V::Scalar;
  const S *in = static_cast<const S*>(x), *d = static_cast<const S*>(dy);
  auto* saved = static_cast<Normalize<S>*>(
      scratch(context, static_cast<size_t>(rows) * sizeof(Normalize<S>)));
  if (!saved) return BPTT_OUT_OF_MEMORY;
  Team::instance().parallel_for(rows, grain_of(cols), [&](int64_t begin, int64_t end) {
    saved_rows<V>(begin, end, cols, in, static_cast<const S*>(mean), static_cast<const S*>(rstd),
                  saved);
    if (dx)
      layer_norm_dx<V>(begin, end, cols, in, static_cast<const S*>(gamma), saved, d,
                       static_cast<S*>(dx));
  });
  affine_grad<V>(rows, {cols, d, in, saved}, dgamma);
  affine_grad<V>(rows, {cols, d, nullptr, saved}, dbeta);
  return BPTT_OK;
}
