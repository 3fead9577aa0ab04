// Reductions of a row to one number: product, variance, standard deviation, Euclidean norm and the
// logarithm of the sum of exponentials.
#include "rows.h"

namespace bptt::cuda {

struct Multiply {
  template <class N>
  __device__ N operator()(N a, N b) const {
    return a * b;
  }
};

// The product as a fraction and an integral exponent: nothing overflows on the way.
template <class T>
__device__ inline T far_product(const Row<T>& r, double* fractions, int64_t* exponents) {
  double fraction = 1;
  int64_t exponent = 0;
  for (int64_t j = r.p.lane; j < r.cols; j += r.p.lanes) {
    int own = 0, more = 0;
    fraction = ::frexp(fraction * ::frexp(static_cast<double>(r.x[j]), &own), &more);
    exponent += own + more;
  }
  fraction = combine_lanes(r.p, fraction, fractions, Multiply());
  exponent = combine_lanes(r.p, exponent, exponents, Add());
  constexpr int64_t kBeyond = 5000;  // far past the exponents of every type, and within int
  const int64_t within = exponent < -kBeyond ? -kBeyond : exponent > kBeyond ? kBeyond : exponent;
  return static_cast<T>(::ldexp(fraction, static_cast<int>(within)));
}

template <class T>
__device__ inline T product(const Row<T>& r, double* fractions, int64_t* exponents) {
  T factor = 1;
  for (int64_t j = r.p.lane; j < r.cols; j += r.p.lanes) factor *= r.x[j];
  factor = combine_lanes(r.p, factor, r.shared, Multiply());
  const T size = abs(factor);
  const bool plain = size >= FloatRange<T>::kSmallest && size <= FloatRange<T>::kLargest;
  return plain ? factor : far_product(r, fractions, exponents);
}

template <class T>
__device__ inline T squares(const Row<T>& r, const Normalize<T>& row) {
  return r.sum([&](int64_t j) {
    const T d = row.deviation(r.x[j]);
    return d * d;
  });
}

template <class T>
__device__ inline T variance(const Row<T>& r, bool root, double correction) {
  const double freedom = static_cast<double>(r.cols) - correction;
  const Normalize<T> row = normalize_row(r, T(0), T(0), true);
  const T variance = squares(r, row) / static_cast<T>(freedom > 0 ? freedom : 0);
  return root ? sqrt(variance) / row.scale : variance / row.scale / row.scale;
}

template <class T>
__device__ inline T norm(const Row<T>& r) {
  Normalize<T> row{1, T(-0.0), 1};
  T sum = squares(r, row);
  if (!(sum >= FloatRange<T>::kLeastSpread && sum <= FloatRange<T>::kLargest)) {
    row.scale = scale_to_one<T>(r.largest_magnitude());
    sum = squares(r, row);
  }
  return sqrt(sum) / row.scale;
}

template <class T>
__device__ inline T log_sum_exp(const Row<T>& r) {
  T largest, sum;
  max_and_sum(r.p, r.x, r.cols, 1, r.shared, &largest, &sum, [](int64_t, T) {});
  if (is_finite(largest)) return largest + log(sum);
  // An infinity, unless there is a NaN, which the largest passes over.
  const T nans = r.sum([&](int64_t j) { return r.x[j] == r.x[j] ? T(0) : T(1); });
  return nans > T(0) ? largest - largest : largest;
}

}  // namespace bptt::cuda

BPTT_KERNEL(fold, Fold) {
  BPTT_SHARED(T, shared, kBlockThreads);
  BPTT_SHARED(double, fractions, kBlockThreads);
  BPTT_SHARED(int64_t, exponents, kBlockThreads);
  const Place p = place_of(a.lanes);
  BPTT_EACH_LINE(line, a.rows, p) {
    if (line >= a.rows) continue;
    const Row<T> row{p, a.cols, static_cast<const T*>(a.x) + line * a.cols, shared};
    T result = 0;
    switch (a.fold) {
      case BPTT_PROD:
        result = product(row, fractions, exponents);
        break;
      case BPTT_VARIANCE:
        result = variance(row, false, a.alpha);
        break;
      case BPTT_STD:
        result = variance(row, true, a.alpha);
        break;
      case BPTT_NORM:
        result = norm(row);
        break;
      case BPTT_LOG_SUM_EXP:
        result = log_sum_exp(row);
        break;
    }
    if (p.lane == 0) static_cast<T*>(a.out)[line] = result;
  }
}
