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
template <class S>
struct SquaredDeviation {
  const S* x;
  S mean;
  template <class V>
  BPTT_INLINE V at(int64_t i, int64_t count) const {
    const V d = Adjacent<S>{x}.template load<V>(i, count) - V(mean);
    return d * d;
  }
};
template <class S>
struct Normalize {
  S mean, rstd;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return (x - V(mean)) * V(rstd);
  }
};
struct AffineOp {
  template <class V>
  BPTT_INLINE V operator()(V x, V gamma, V beta) const {
    return fma(x, gamma, beta);
  }
};

template <class V>
static void layer_norm_rows(int64_t begin, int64_t end, int64_t cols, typename V::Scalar eps,
                            const typename V::Scalar* x, const typename V::Scalar* gamma,
                            const typename V::Scalar* beta, typename V::Scalar* y,
                            typename V::Scalar* mean, typename V::Scalar* rstd) {
  using S = typename V::Scalar;
  const S n = static_cast<S>(cols);
  for (int64_t row = begin; row < end; ++row, x += cols, y += cols) {
    const S m = sum_terms<V>(cols, RowTerm<S>{x}) / n;
    const S variance = sum_terms<V>(cols, SquaredDeviation<S>{x, m}) / n;
    S root;
    sqrt(V(variance + eps)).store(&root, 1);
    const S r = 1 / root;
    map_range<V>(0, cols, Normalize<S>{m, r}, y, x);
    if (gamma && beta) {
      map_range<V>(0, cols, AffineOp{}, y, y, gamma, beta);
    } else if (gamma) {
      map_range<V>(0, cols, MulOp{}, y, y, gamma);
    } else if (beta) {
      map_range<V>(0, cols, AddOp{}, y, y, beta);
    }
    if (mean) mean[row] = m;
    if (rstd) rstd[row] = r;
  }
}

template <class V>
static bptt_code layer_norm_impl(bptt_context*, int64_t rows, int64_t cols, double eps,
                                 const void* x, const void* gamma, const void* beta, void* y,
                                 void* mean, void* rstd) {
  using S = typename V::Scalar;
  Team::instance().parallel_for(rows, grain_of(cols), [&](int64_t begin, int64_t end) {
    layer_norm_rows<V>(begin, end, cols, static_cast<S>(eps),
                       static_cast<const S*>(x) + begin * cols, static_cast<const S*>(gamma),
                       static_cast<const S*>(beta), static_cast<S*>(y) + begin * cols,
                       static_cast<S*>(mean), static_cast<S*>(rstd));
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
  S mean_g, mean_g_xhat;
  template <class V>
  BPTT_INLINE V operator()(V x, V g) const {
    return V(normalize.rstd) * fnma(normalize(x), V(mean_g_xhat), g - V(mean_g));
  }
  template <class V>
  BPTT_INLINE V operator()(V x, V dy, V gamma) const {
    return (*this)(x, dy * gamma);
  }
};

template <class V>
static void layer_norm_dx(int64_t begin, int64_t end, int64_t cols, const typename V::Scalar* x,
                          const typename V::Scalar* gamma, const typename V::Scalar* mean,
                          const typename V::Scalar* rstd, const typename V::Scalar* dy,
                          typename V::Scalar* dx) {
  using S = typename V::Scalar;
  const S n = static_cast<S>(cols);
  for (int64_t row = begin; row < end; ++row) {
    const Normalize<S> normalize{mean[row], rstd[row]};
    const S *xr = x + row * cols, *dyr = dy + row * cols;
    const GammaGrad<S> g{dyr, gamma};
    const LayerNormGrad<S> f{normalize, sum_terms<V>(cols, g) / n,
                             sum_terms<V>(cols, GammaGradXhat<S>{g, xr, normalize}) / n};
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
  const S *dy, *x, *mean, *rstd;
  template <class V>
  BPTT_INLINE V at(int64_t row, int64_t j, int64_t count) const {
    const V d = Adjacent<S>{dy + row * cols}.template load<V>(j, count);
    if (!x) return d;
    const V xhat =
        Normalize<S>{mean[row], rstd[row]}(Adjacent<S>{x + row * cols}.template load<V>(j, count));
    return d * xhat;
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
    const int64_t width = f.cols - column < kColumns ? f.cols - column : kColumns;
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
static bptt_code layer_norm_backward_impl(bptt_context*, int64_t rows, int64_t cols, const void* x,
                                          const void* gamma, const void* mean, const void* rstd,
                                          const void* dy, void* dx, void* dgamma, void* dbeta) {
  using S = typename V::Scalar;
  const S *in = static_cast<const S*>(x), *d = static_cast<const S*>(dy);
  const S *m = static_cast<const S*>(mean), *r = static_cast<const S*>(rstd);
  if (dx) {
    Team::instance().parallel_for(rows, grain_of(cols), [&](int64_t begin, int64_t end) {
      layer_norm_dx<V>(begin, end, cols, in, static_cast<const S*>(gamma), m, r, d,
                       static_cast<S*>(dx));
    });
  }
  affine_grad<V>(rows, {cols, d, in, m, r}, dgamma);
  affine_grad<V>(rows, {cols, d, nullptr, m, r}, dbeta);
  return BPTT_OK;
}
