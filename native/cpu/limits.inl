// What one thread can do at most: fused multiply-adds with nothing to wait for,
// and reads with nothing to compute.

// The accumulators are named one by one, as in a tile (gemm.inl), to stay in registers.
template <class V, int... S>
BPTT_INLINE V multiply_adds(std::integer_sequence<int, S...>, int64_t rounds) {
  const V half(typename V::Scalar(0.5));
  V sums[] = {V(typename V::Scalar(S))...};
  for (int64_t round = 0; round < rounds; ++round) ((sums[S] = fma(half, sums[S], half)), ...);
  V total;
  ((total = total + sums[S]), ...);
  return total;
}

template <class V, int... S>
BPTT_INLINE V reads(std::integer_sequence<int, S...>, const typename V::Scalar* x, int64_t n) {
  V sums[] = {(static_cast<void>(S), V())...};
  for (int64_t i = 0; i < n; i += static_cast<int64_t>(sizeof...(S)) * V::N) {
    ((sums[S] = sums[S] + V::load(x + i + S * V::N)), ...);
  }
  V total;
  ((total = total + sums[S]), ...);
  return total;
}

// A result that depends on all that was computed.
template <class V>
double first_lane(V x) {
  typename V::Scalar lanes[V::N];
  x.store(lanes);
  return static_cast<double>(lanes[0]);
}

// Enough independent sums to hide the latency of each.
constexpr int kLimitSums = kRegisters == 32 ? 24 : 12;

inline double run_multiply_adds(int64_t rounds) {
  return first_lane(multiply_adds<F32>(std::make_integer_sequence<int, kLimitSums>(), rounds));
}

inline double run_reads(const float* x, int64_t n) {
  constexpr int kSums = 8;
  static_assert(kReadGrain % (kSums * F32::N) == 0);
  return first_lane(reads<F32>(std::make_integer_sequence<int, kSums>(), x, n));
}

const Limits limits = {2.0 * kLimitSums * F32::N, &run_multiply_adds, &run_reads};
