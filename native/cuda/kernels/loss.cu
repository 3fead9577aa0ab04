// Losses and their gradients, each in one pass over its inputs.
#include "functions.h"
#include "reduce.h"

// -- cross entropy ---------------------------------------------------------------
//   m = max(x),  l = log(sum(exp(x - m))),  loss = (m - x[target]) + l
//   dx = (exp((x - m) - l) - onehot(target)) * dloss
// Lines whose target is `ignore` have no loss and no gradient.

BPTT_KERNEL(cross_entropy, CrossEntropy) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lines.lanes);
  T *losses = static_cast<T*>(a.losses), *saved = static_cast<T*>(a.log_sum);
  T* counted = static_cast<T*>(a.counted);
  BPTT_EACH_LINE(line, a.lines.count, p) {
    const bool exists = line < a.lines.count;
    const T* x = static_cast<const T*>(a.logits) + (exists ? start_of(a.lines, line) : 0);
    T largest, sum;
    max_and_sum(p, x, exists ? a.lines.length : 0, a.lines.inner, shared, &largest, &sum,
                [](int64_t, T) {});
    if (!exists || p.lane != 0) continue;
    const int32_t target = a.target[line];
    const bool counts = target != a.ignore;
    const bool valid = counts && target >= 0 && target < a.lines.length;
    const T log_sum = log(sum);
    saved[line] = valid ? log_sum : T(0);
    losses[line] = valid ? (largest - x[target * a.lines.inner]) + log_sum : T(0);
    counted[line] = counts ? T(1) : T(0);
    if (counts && !valid) *a.flag = 1;
  }
}

BPTT_KERNEL(cross_entropy_total, CrossEntropyTotal) {
  BPTT_EACH(i, 1) {
    const T *sums = static_cast<const T*>(a.sums), *small = static_cast<const T*>(a.small);
    const T divisor = a.mean ? sums[1] : T(1);
    *static_cast<T*>(a.loss) =
        is_finite(sums[0]) ? sums[0] / divisor : small[0] / (divisor * static_cast<T>(a.part));
    *static_cast<T*>(a.counted) = sums[1];
  }
}

BPTT_KERNEL(cross_entropy_backward, CrossEntropyBackward) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lines.lanes);
  const T *log_sum = static_cast<const T*>(a.log_sum), *dloss = static_cast<const T*>(a.dloss);
  const int64_t inner = a.lines.inner;
  const T divisor = a.reduction == BPTT_MEAN ? log_sum[a.lines.count] : T(1);
  BPTT_EACH_LINE(line, a.lines.count, p) {
    const bool exists = line < a.lines.count;
    const int64_t start = exists ? start_of(a.lines, line) : 0;
    const T* x = static_cast<const T*>(a.logits) + start;
    const T largest = largest_of(p, x, exists ? a.lines.length : 0, inner, shared);
    if (!exists) continue;
    T* dx = static_cast<T*>(a.dlogits) + start;
    const int32_t target = a.target[line];
    const bool counts = target != a.ignore;
    const bool valid = counts && target >= 0 && target < a.lines.length;
    if (counts && !valid) *a.flag = 1;
    // A line that does not count has g = 0, whatever its logits.
    const T g = valid ? dloss[a.reduction == BPTT_NONE ? line : 0] / divisor : T(0);
    for (int64_t i = p.lane; i < a.lines.length; i += p.lanes) {
      const T share = g == T(0) ? T(0) : exp((x[i * inner] - largest) - log_sum[line]) * g;
      dx[i * inner] = valid && i == target ? share - g : share;
    }
  }
}

// -- losses of pairs (x, t) --------------------------------------------------------

namespace bptt::cuda {

template <class T>
__device__ inline T pairwise_of(bptt_pairwise_loss loss, T x, T t) {
  if (loss == BPTT_MSE) return (x - t) * (x - t);
  // -t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), without overflow
  return fnma(x, t, max(T(0), x)) + log1p(exp(-abs(x)));
}

// The loss, of which `value` is known, times root^2.
template <class T>
__device__ inline T small_pairwise_of(bptt_pairwise_loss loss, T x, T t, T value, T root) {
  return loss == BPTT_MSE ? pairwise_of(loss, x * root, t * root) : value * root * root;
}

// The slopes times g.
template <class T>
__device__ inline T pairwise_dx_of(bptt_pairwise_loss loss, T x, T t, T g) {
  return loss == BPTT_MSE ? (x - t) * (g + g) : (sigmoid(x) - t) * g;
}

template <class T>
__device__ inline T pairwise_dtarget_of(bptt_pairwise_loss loss, T x, T t, T g) {
  return loss == BPTT_MSE ? (t - x) * (g + g) : -x * g;
}

}  // namespace bptt::cuda

BPTT_KERNEL(pairwise_loss, PairwiseLoss) {
  const T *x = static_cast<const T*>(a.x), *t = static_cast<const T*>(a.target);
  T* out = static_cast<T*>(a.out);
  BPTT_EACH(i, a.n) out[i] = pairwise_of(a.loss, x[i], t[i]);
}

BPTT_KERNEL(pairwise_loss_sum, PairwiseLossSum) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of({kBlockThreads, 1});
  const T *x = static_cast<const T*>(a.x), *t = static_cast<const T*>(a.target);
  const T root = static_cast<T>(a.root);
  BPTT_EACH_LINE(chunk, a.chunks, p) {
    const int64_t begin = chunk * kChunk;
    const int64_t end = a.n - begin < kChunk ? a.n : begin + kChunk;
    T sum = 0, small = 0;
    for (int64_t i = begin + p.lane; i < end; i += p.lanes) {
      const T value = pairwise_of(a.loss, x[i], t[i]);
      sum += value;
      small += small_pairwise_of(a.loss, x[i], t[i], value, root);
    }
    sum = combine_lanes(p, sum, shared, Add());
    small = combine_lanes(p, small, shared, Add());
    if (p.lane != 0) continue;
    static_cast<T*>(a.out)[chunk] = sum;
    static_cast<T*>(a.out_small)[chunk] = small;
  }
}

BPTT_KERNEL(pairwise_loss_backward, PairwiseLossBackward) {
  const T *x = static_cast<const T*>(a.x), *t = static_cast<const T*>(a.target);
  const T* dloss = static_cast<const T*>(a.dloss);
  T *dx = static_cast<T*>(a.dx), *dtarget = static_cast<T*>(a.dtarget);
  const T n = static_cast<T>(a.n);
  BPTT_EACH(i, a.n) {
    const T g = a.reduction == BPTT_NONE   ? dloss[i]
                : a.reduction == BPTT_MEAN ? dloss[0] / n
                                           : dloss[0];
    if (dx) dx[i] = pairwise_dx_of(a.loss, x[i], t[i], g);
    if (dtarget) dtarget[i] = pairwise_dtarget_of(a.loss, x[i], t[i], g);
  }
}
