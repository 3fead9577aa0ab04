// extreme: the largest or smallest of lines and where it is first. sort: lines in order.
#include "lines.h"

namespace bptt::cuda {

struct Winner {
  int largest;
  template <class E>
  __device__ E operator()(E a, E b) const {
    const bool beyond = largest ? b > a : b < a;
    return beyond || (is_nan(b) && !is_nan(a)) ? b : a;
  }
};
struct Lesser {
  template <class E>
  __device__ E operator()(E a, E b) const {
    return b < a ? b : a;
  }
};

template <class E>
__device__ inline void extreme_lines(const Extreme& a) {
  BPTT_SHARED(E, shared, kBlockThreads);
  BPTT_SHARED(int32_t, places, kBlockThreads);
  const Place p = place_of(a.lines.lanes);
  const int64_t inner = a.lines.inner;
  BPTT_EACH_LINE(line, a.lines.count, p) {
    const bool exists = line < a.lines.count;
    const E* x = static_cast<const E*>(a.x) + (exists ? start_of(a.lines, line) : 0);
    const int64_t length = exists ? a.lines.length : 1;
    E best = x[0];
    for (int64_t i = p.lane; i < length; i += p.lanes) best = Winner{a.largest}(best, x[i * inner]);
    best = combine_lanes(p, best, shared, Winner{a.largest});
    int64_t first = p.lane;
    while (first < length &&
           !(x[first * inner] == best || (is_nan(best) && is_nan(x[first * inner]))))
      first += p.lanes;
    const int32_t none = 0x7fffffff;
    const int32_t at =
        combine_lanes(p, first < length ? static_cast<int32_t>(first) : none, places, Lesser());
    if (!exists || p.lane != 0) continue;
    if (a.values) static_cast<E*>(a.values)[line] = x[at * inner];
    a.index[line] = at;
  }
}

template <class E>
__device__ inline void sort_elements(const Sort& a) {
  const E* x = static_cast<const E*>(a.x);
  E* values = static_cast<E*>(a.values);
  BPTT_EACH(at, a.outer * a.n * a.inner) {
    const int64_t row = at / a.inner, column = at - row * a.inner;
    const int64_t outer = row / a.n, own = row - outer * a.n;
    const E* line = x + outer * a.n * a.inner + column;
    const E value = x[at];
    int64_t rank = 0;
    for (int64_t i = 0; i < a.n; ++i) {
      const E other = line[i * a.inner];
      const bool ahead = a.descending ? is_greater(other, value) : is_greater(value, other);
      const bool behind = a.descending ? is_greater(value, other) : is_greater(other, value);
      rank += ahead || (!behind && i < own);
    }
    if (rank >= a.k) continue;
    const int64_t to = (outer * a.k + rank) * a.inner + column;
    values[to] = value;
    a.index[to] = static_cast<int32_t>(own);
  }
}

}  // namespace bptt::cuda

BPTT_KERNEL(extreme, Extreme) {
  with_elements<T>(a.integer, [&](auto one) { extreme_lines<decltype(one)>(a); });
}

BPTT_KERNEL(sort, Sort) {
  with_elements<T>(a.integer, [&](auto one) { sort_elements<decltype(one)>(a); });
}
