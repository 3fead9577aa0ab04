// Layer normalization of rows x [rows,cols]: mean, then variance about the mean.
//   xhat = (x - mean) * rstd,  rstd = 1 / sqrt(variance + eps),  y = xhat * gamma + beta
//   g = dy * gamma
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))
//   dgamma = sum over rows of dy * xhat,  dbeta = sum over rows of dy
//
// The lanes of a row are whole warps, or the whole block, and agree on its sums: so each row
// may take a way of its own through combine_lanes().
#include "functions.h"
#include "reduce.h"
#include "shared/range.h"

namespace bptt::cuda {

// xhat = (x * scale + shift) * factor. scale is a power of two: 1, but for rows whose squares
// would leave the range of the type.
template <class T>
struct Normalize {
  T scale, shift, factor;
  __device__ T deviation(T x) const { return fma(x, scale, shift); }
  __device__ T operator()(T x) const { return deviation(x) * factor; }
  __device__ T rstd() const { return factor * scale; }
};
static_assert(sizeof(Normalize<double>) == kNormalizeNumbers * sizeof(double));

// One row, as the lanes of a place see it.
template <class T>
struct Row {
  const Place& p;
  int64_t cols;
  const T* x;
  T* shared;

  template <class Term>
  __device__ T sum(const Term& term) const {
    T total = 0;
    for (int64_t j = p.lane; j < cols; j += p.lanes) total += term(j);
    return combine_lanes(p, total, shared, Add());
  }
  __device__ T mean_deviation(const Normalize<T>& row) const {
    return sum([&](int64_t j) { return row.deviation(x[j]); }) / static_cast<T>(cols);
  }
  __device__ T variance(const Normalize<T>& row) const {
    const T squares = sum([&](int64_t j) {
      const T d = row.deviation(x[j]);
      return d * d;
    });
    return squares / static_cast<T>(cols);
  }
  __device__ T largest_magnitude() const {
    T most = 0;
    for (int64_t j = p.lane; j < cols; j += p.lanes) most = max(abs(x[j]), most);
    return combine_lanes(p, most, shared, Greater());
  }
  // Where the sum leaves the range of the type, of parts of the terms.
  template <class Term>
  __device__ T mean(T least_part, const Term& term) const {
    for (T part = 1;; part = least_part) {
      const T total = sum([&](int64_t j) { return term(j) * part; });
      if (is_finite(total) || part == least_part) return total / (static_cast<T>(cols) * part);
    }
  }
};

// Where a row taken as it is leaves the range, or its mean is far, it is brought near 1, and
// its mean corrected by that of the deviations.
template <class T>
__device__ inline Normalize<T> normalize_row(const Row<T>& r, T eps, T root_eps, bool plain) {
  using R = FloatRange<T>;
  for (;; plain = false) {
    Normalize<T> row{1, T(-0.0), 1};
    if (!plain) row.scale = scale_to_one<T>(max(r.largest_magnitude(), root_eps));
    for (int i = plain ? 1 : 2; i > 0; --i) row.shift -= r.mean_deviation(row);
    const T mean = row.shift, scaled = root_eps * row.scale;
    const T spread = r.variance(row) + (plain ? eps : scaled * scaled);
    row.factor = T(1) / sqrt(spread);
    if (!plain) {
      // Beside large numbers eps becomes 0, but it still keeps a constant row from 0 * infinity.
      if (spread == T(0) && eps > T(0)) row.factor = R::kLargest;
      return row;
    }
    if (spread >= R::kLeastSpread && spread <= R::kLargest && mean * mean <= R::kFarMean * spread)
      return row;
  }
}

}  // namespace bptt::cuda

BPTT_KERNEL(layer_norm, LayerNorm) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *gamma = static_cast<const T*>(a.gamma), *beta = static_cast<const T*>(a.beta);
  const T eps = static_cast<T>(a.eps), root_eps = static_cast<T>(a.root_eps);
  BPTT_EACH_LINE(row, a.rows, p) {
    if (row >= a.rows) continue;
    const T* x = static_cast<const T*>(a.x) + row * a.cols;
    T* y = static_cast<T*>(a.y) + row * a.cols;
    const Normalize<T> normalize = normalize_row(Row<T>{p, a.cols, x, shared}, eps, root_eps, true);
    for (int64_t j = p.lane; j < a.cols; j += p.lanes)
      y[j] = fma(normalize(x[j]), gamma ? gamma[j] : T(1), beta ? beta[j] : T(0));
    if (p.lane != 0) continue;
    if (a.mean) static_cast<T*>(a.mean)[row] = -normalize.shift / normalize.scale;
    if (a.rstd) static_cast<T*>(a.rstd)[row] = normalize.rstd();
  }
}

// What the forward has saved, as it normalized: rstd does not hold that of rows so large that
// it would be denormal.
BPTT_KERNEL(layer_norm_saved, LayerNormSaved) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  BPTT_EACH_LINE(row, a.rows, p) {
    if (row >= a.rows) continue;
    const T mean = static_cast<const T*>(a.mean)[row], rstd = static_cast<const T*>(a.rstd)[row];
    Normalize<T> normalize{1, -mean, rstd};
    if (!(rstd >= FloatRange<T>::kLeastRstd)) {
      const T* x = static_cast<const T*>(a.x) + row * a.cols;
      normalize = normalize_row(Row<T>{p, a.cols, x, shared}, T(0), T(0), false);
    }
    if (p.lane == 0) static_cast<Normalize<T>*>(a.normalize)[row] = normalize;
  }
}

BPTT_KERNEL(layer_norm_backward, LayerNormBackward) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *gamma = static_cast<const T*>(a.gamma), part = static_cast<T>(a.part);
  BPTT_EACH_LINE(row, a.rows, p) {
    if (row >= a.rows) continue;
    const T* x = static_cast<const T*>(a.x) + row * a.cols;
    const T* dy = static_cast<const T*>(a.dy) + row * a.cols;
    T* dx = static_cast<T*>(a.dx) + row * a.cols;
    const Row<T> r{p, a.cols, x, shared};
    const Normalize<T> normalize = static_cast<const Normalize<T>*>(a.normalize)[row];
    const auto g = [&](int64_t j) { return gamma ? dy[j] * gamma[j] : dy[j]; };
    const T mean_g = r.mean(part, g);
    const T mean_g_xhat = r.mean(part, [&](int64_t j) { return g(j) * normalize(x[j]); });
    for (int64_t j = p.lane; j < a.cols; j += p.lanes)
      dx[j] = normalize.rstd() * fnma(normalize(x[j]), mean_g_xhat, g(j) - mean_g);
  }
}

// A line is a column of one chunk of rows.
BPTT_KERNEL(layer_norm_gamma, LayerNormGamma) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *x = static_cast<const T*>(a.x), *dy = static_cast<const T*>(a.dy);
  const auto* normalize = static_cast<const Normalize<T>*>(a.normalize);
  T* out = static_cast<T*>(a.out);
  const int64_t lines = a.chunks * a.cols;
  BPTT_EACH_LINE(line, lines, p) {
    T sum = 0;
    if (line < lines) {
      const int64_t chunk = line / a.cols, column = line - chunk * a.cols;
      const int64_t begin = chunk * a.chunk_rows;
      const int64_t end = a.rows - begin < a.chunk_rows ? a.rows : begin + a.chunk_rows;
      for (int64_t i = begin + p.lane; i < end; i += p.lanes) {
        const int64_t at = i * a.cols + column;
        sum += dy[at] * normalize[i](x[at]);
      }
    }
    sum = combine_lanes(p, sum, shared, Add());
    if (line < lines && p.lane == 0) out[line] = sum;
  }
}
