// Softmax and log-softmax over the middle axis of [outer, length, inner].
#include "functions.h"
#include "reduce.h"

// log-softmax is (x - largest) - log(sum), softmax the exponentials over their sum.
BPTT_KERNEL(softmax, Softmax) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lines.lanes);
  const int64_t inner = a.lines.inner;
  BPTT_EACH_LINE(line, a.lines.count, p) {
    const bool exists = line < a.lines.count;
    const int64_t start = exists ? start_of(a.lines, line) : 0;
    const int64_t length = exists ? a.lines.length : 0;
    const T* x = static_cast<const T*>(a.x) + start;
    T* out = static_cast<T*>(a.out) + start;
    T largest, sum;
    max_and_sum(p, x, length, inner, shared, &largest, &sum, [&](int64_t i, T e) {
      if (!a.log) out[i * inner] = e;
    });
    const T log_sum = a.log ? log(sum) : T(0);
    for (int64_t i = p.lane; i < length; i += p.lanes)
      out[i * inner] = a.log ? (x[i * inner] - largest) - log_sum : out[i * inner] / sum;
  }
}

// softmax: dx = y * (dy - sum(dy * y)); log-softmax: dx = dy - exp(y) * sum(dy)
BPTT_KERNEL(softmax_backward, SoftmaxBackward) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lines.lanes);
  const int64_t inner = a.lines.inner;
  BPTT_EACH_LINE(line, a.lines.count, p) {
    const bool exists = line < a.lines.count;
    const int64_t start = exists ? start_of(a.lines, line) : 0;
    const int64_t length = exists ? a.lines.length : 0;
    const T* y = static_cast<const T*>(a.out) + start;
    const T* dy = static_cast<const T*>(a.dout) + start;
    T* dx = static_cast<T*>(a.dx) + start;
    T sum = 0;
    for (int64_t i = p.lane; i < length; i += p.lanes)
      sum += a.log ? dy[i * inner] : dy[i * inner] * y[i * inner];
    sum = combine_lanes(p, sum, shared, Add());
    for (int64_t i = p.lane; i < length; i += p.lanes) {
      const T value = y[i * inner], d = dy[i * inner];
      dx[i * inner] = a.log ? fnma(exp(value), sum, d) : value * (d - sum);
    }
  }
}
