// gather, scatter_add and cumsum. In the latter two one thread takes a line's elements in turn, so
// that each sum has one order.
#include "lines.h"

namespace bptt::cuda {

template <class Word>
__device__ inline void gather_words(const Gather& a) {
  const Word* x = static_cast<const Word*>(a.x);
  Word* out = static_cast<Word*>(a.out);
  BPTT_EACH(at, a.outer * a.m * a.inner) {
    const int64_t row = at / a.inner, column = at - row * a.inner;
    const int64_t outer = row / a.m;
    const int32_t place = a.shared ? a.index[row - outer * a.m] : a.index[at];
    const bool valid = place >= 0 && place < a.n;
    out[at] = valid ? x[(outer * a.n + place) * a.inner + column] : Word(0);
    if (!valid) *a.flag = 1;
  }
}

// Whether all sums are finite.
template <class E>
__device__ inline bool scatter_line(const ScatterAdd& a, int64_t outer, int64_t column, E part) {
  const E *base = static_cast<const E*>(a.base), *source = static_cast<const E*>(a.source);
  E *out = static_cast<E*>(a.out), *lost = static_cast<E*>(a.lost);
  for (int64_t i = 0; i < a.n; ++i) {
    const int64_t to = (outer * a.n + i) * a.inner + column;
    out[to] = base ? base[to] * part : E(0);
    lost[to] = E(0);
  }
  for (int64_t i = 0; i < a.m; ++i) {
    const int64_t from = (outer * a.m + i) * a.inner + column;
    const int32_t place = a.index[a.shared ? i : from];
    if (place < 0 || place >= a.n) {
      *a.flag = 1;
      continue;
    }
    const int64_t to = (outer * a.n + place) * a.inner + column;
    KeptSum<E> kept;
    kept.sum = out[to];
    kept.lost = lost[to];
    kept.add(source[from] * part);
    out[to] = kept.sum;
    lost[to] = kept.lost;
  }
  bool finite = true;
  for (int64_t i = 0; i < a.n; ++i) {
    const int64_t to = (outer * a.n + i) * a.inner + column;
    KeptSum<E> kept;
    kept.sum = out[to];
    kept.lost = lost[to];
    finite = finite && kept.finite();
    out[to] = kept.total() / part;
  }
  return finite;
}

template <class E>
__device__ inline bool cumsum_line(const Cumsum& a, int64_t line, E part) {
  const int64_t inner = a.lines.inner, start = start_of(a.lines, line);
  const E* x = static_cast<const E*>(a.x) + start;
  E* out = static_cast<E*>(a.out) + start;
  KeptSum<E> sum;
  for (int64_t i = 0; i < a.lines.length; ++i) {
    const int64_t at = (a.reverse ? a.lines.length - 1 - i : i) * inner;
    sum.add(x[at] * part);
    out[at] = sum.total() / part;
  }
  return sum.finite();
}

}  // namespace bptt::cuda

BPTT_KERNEL(gather, Gather) {
  if constexpr (sizeof(T) == 8) {
    gather_words<uint64_t>(a);
  } else if (a.bytes == 1) {
    gather_words<uint8_t>(a);
  } else {
    gather_words<uint32_t>(a);
  }
}

// Where a sum leaves the range on the way, the line is summed again with terms times `part`.
BPTT_KERNEL(scatter_add, ScatterAdd) {
  with_elements<T>(a.integer, [&](auto one) {
    using E = decltype(one);
    BPTT_EACH(line, a.outer * a.inner) {
      const int64_t outer = line / a.inner, column = line - outer * a.inner;
      if (!scatter_line<E>(a, outer, column, E(1)))
        scatter_line<E>(a, outer, column, static_cast<E>(a.part));
    }
  });
}

BPTT_KERNEL(cumsum, Cumsum) {
  with_elements<T>(a.integer, [&](auto one) {
    using E = decltype(one);
    BPTT_EACH(line, a.lines.count) {
      if (!cumsum_line<E>(a, line, E(1))) cumsum_line<E>(a, line, static_cast<E>(a.part));
    }
  });
}
