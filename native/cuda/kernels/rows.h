// Means and sums of squares of rows of any magnitude, for layer norm and folds.
//
// The lanes of a row are whole warps, or the whole block, and agree on its sums: so each row
// may take a way of its own through combine_lanes().
#pragma once

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
  // The mean of terms; where their sum leaves the range of the type, of terms times least_part.
  template <class Term>
  __device__ T mean(T least_part, const Term& term) const {
    for (T part = 1;; part = least_part) {
      const T total = sum([&](int64_t j) { return term(j) * part; });
      if (is_finite(total) || part == least_part) return total / (static_cast<T>(cols) * part);
    }
  }
};

// Where a row taken as it is (plain) leaves the range of the type, or its mean is far from 0, it
// is scaled to about 1, and the rounding of the mean corrected by the mean of the deviations.
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
