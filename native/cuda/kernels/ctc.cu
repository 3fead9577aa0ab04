// The loss of connectionist temporal classification and its gradient: cpu/ops/ctc.inl says of
// what. One block a row; its threads share out the states of a step: label i is state i, blank
// j is state labels + j.
#include "functions.h"
#include "reduce.h"

namespace bptt::cuda {

// log(exp(a) + exp(b) + exp(c)), -inf where all are.
template <class T>
__device__ inline T log_add(T a, T b, T c = -kInfinity<T>) {
  const T most = max(max(c, b), a), base = most > -kInfinity<T> ? most : T(0);
  T sum = 0;
  BPTT_ROLLED
  for (int i = 0; i < 3; ++i) sum += exp((i == 0 ? a : i == 1 ? b : c) - base);
  return log(sum) + base;
}

// A row of the batch, as the lanes of its block see it.
template <class T>
struct CtcRow {
  const CtcRows& a;
  const Place& p;
  int64_t b;
  int steps, labels, states;
  const int32_t* target;
  T* shared;

  __device__ CtcRow(const CtcRows& rows, const Place& place, int64_t row, T* room)
      : a(rows),
        p(place),
        b(row),
        steps(rows.layout[row]),
        labels(rows.layout[rows.B + row]),
        states(2 * labels + 1),
        target(rows.targets + rows.layout[2 * rows.B + row]),
        shared(room) {}

  // Every lane looks at all labels: what they do next hangs on it.
  __device__ bool valid() const {
    const int64_t first = a.layout[2 * a.B + b];
    bool valid = a.blank >= 0 && a.blank < a.C && steps >= 0 && steps <= a.T && labels >= 0 &&
                 labels <= a.S && first >= 0 && first <= a.total - labels;
    for (int i = 0; valid && i < labels; ++i)
      valid = target[i] >= 0 && target[i] < a.C && target[i] != a.blank;
    return valid;
  }
  __device__ int64_t place(int64_t t) const { return (t * a.B + b) * a.C; }
  __device__ const T* log_probs(int64_t t) const {
    return static_cast<const T*>(a.log_probs) + place(t);
  }
  // What state i emits at a step.
  __device__ T emitted(const T* log_prob, int i) const {
    return log_prob[i < labels ? target[i] : a.blank];
  }
  // Whether label i may follow label i - 1 at once.
  __device__ bool skips(int i) const { return i > 0 && i < labels && target[i] != target[i - 1]; }
  // Where there is none, -inf.
  __device__ T label(const T* of_states, int i) const {
    return i >= 0 && i < labels ? of_states[i] : -kInfinity<T>;
  }
  __device__ T from_before(const T* last, int i) const {
    if (i >= labels) return log_add(last[i], label(last, i - labels - 1));
    return log_add(last[i], last[labels + i], skips(i) ? last[i - 1] : -kInfinity<T>);
  }
  __device__ T from_after(const T* next, int i) const {
    if (i >= labels) return log_add(next[i], label(next, i - labels));
    return log_add(next[i], next[labels + i + 1], skips(i + 1) ? next[i + 1] : -kInfinity<T>);
  }
  __device__ bool is_first(int i) const { return i == 0 || i == labels; }
  __device__ bool is_last(int i) const { return i == labels - 1 || i == states - 1; }

  // What the next step's states are made relative to; this thread has seen `most` of its own.
  __device__ T scale(T most) const {
    const T largest = combine_lanes(p, most, shared, Greater());
    return is_finite(largest) ? largest : T(0);
  }
  // alpha ends with what its states lack.
  __device__ double lacks(const T* alpha) const {
    return static_cast<double>(alpha[states]) + alpha[states + 1];
  }
  __device__ double log_likelihood(const T* alpha) const {
    return lacks(alpha) + log_add(alpha[states - 1], label(alpha, labels - 1));
  }
};

}  // namespace bptt::cuda

BPTT_KERNEL(ctc_loss, CtcLoss) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of({int(kBlockThreads), 1});
  const int64_t stride = 2 * a.rows.S + 4;
  T* loss = static_cast<T*>(a.loss);
  BPTT_EACH_LINE(b, a.rows.B, p) {
    const CtcRow<T> row(a.rows, p, b, shared);
    if (!row.valid()) {
      if (p.lane == 0) loss[b] = T(0), *a.rows.flag = 1;
      continue;
    }
    T* const alpha = static_cast<T*>(a.alpha) + b * a.kept * stride;
    T* now = alpha;
    double scale = 0;
    T seen = -kInfinity<T>;
    for (int t = 0; t < row.steps; ++t) {
      const T* log_prob = row.log_probs(t);
      const T* last = now;
      now = alpha + t % a.kept * stride;
      const T most = t == 0 ? T(0) : row.scale(seen);
      scale += most;
      seen = -kInfinity<T>;
      for (int i = p.lane; i < row.states; i += p.lanes) {
        const T before = t > 0 ? row.from_before(last, i) : row.is_first(i) ? T(0) : -kInfinity<T>;
        now[i] = before + (row.emitted(log_prob, i) - most);
        seen = max(now[i], seen);
      }
      if (p.lane == 0) {
        now[row.states] = static_cast<T>(scale);
        now[row.states + 1] = static_cast<T>(scale - static_cast<T>(scale));
      }
    }
    __syncthreads();
    if (p.lane == 0) {
      const T found = static_cast<T>(row.steps > 0     ? 0 - row.log_likelihood(now)
                                     : row.labels == 0 ? 0.0
                                                       : HUGE_VAL);
      loss[b] = a.zero_infinity && found == kInfinity<T> ? T(0) : found;
    }
  }
}

BPTT_KERNEL(ctc_loss_backward, CtcLossBackward) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of({int(kBlockThreads), 1});
  const int64_t C = a.rows.C, stride = 2 * a.rows.S + 4, width = 2 * a.rows.S + 1;
  T* grads = static_cast<T*>(a.dlog_probs);
  BPTT_EACH_LINE(b, a.rows.B, p) {
    const CtcRow<T> row(a.rows, p, b, shared);
    const bool valid = row.valid();
    if (!valid && p.lane == 0) *a.rows.flag = 1;
    const T* const alphas = static_cast<const T*>(a.alpha) + b * a.rows.T * stride;
    const double likelihood =
        valid && row.steps > 0 ? row.log_likelihood(alphas + (row.steps - 1) * stride) : -HUGE_VAL;
    // Nothing is possible: no direction makes it less so.
    const int counted = likelihood == -HUGE_VAL ? 0 : row.steps;
    for (int64_t t = counted; t < a.rows.T; ++t)
      for (int64_t c = p.lane; c < C; c += p.lanes) grads[row.place(t) + c] = T(0);

    // beta of this step, without what it emits; of the step after it, with; posteriors
    T* const beta = static_cast<T*>(a.room) + b * 3 * width;
    T *const next = beta + width, *const posterior = next + width;
    const T g = static_cast<const T*>(a.dloss)[b];
    double scale = 0;
    for (int t = counted - 1; t >= 0; --t) {
      const T *log_prob = row.log_probs(t), *alpha = alphas + t * stride;
      const T rest = static_cast<T>(row.lacks(alpha) + scale - likelihood);
      T seen = -kInfinity<T>, blanks = 0, total = 0;
      BPTT_ROLLED
      for (int i = p.lane; i < row.states; i += p.lanes) {
        beta[i] = t < counted - 1 ? row.from_after(next, i) : row.is_last(i) ? T(0) : -kInfinity<T>;
        seen = max(beta[i], seen);
        posterior[i] = exp((alpha[i] + beta[i]) + rest);
        total += posterior[i];
        if (i >= row.labels) blanks += posterior[i];
      }
      total = combine_lanes(p, total, shared, Add());
      blanks = combine_lanes(p, blanks, shared, Add());
      const T share = total == T(0) ? T(0) : T(1) / total;
      const T most = row.scale(seen);
      scale += most;
      BPTT_ROLLED
      for (int i = p.lane; i < row.states; i += p.lanes)
        next[i] = beta[i] + (row.emitted(log_prob, i) - most);

      T* grad = grads + row.place(t);
      BPTT_ROLLED
      for (int64_t c = p.lane; c < C; c += p.lanes)
        grad[c] = fnma(c == a.rows.blank ? blanks : T(0), share, exp(log_prob[c])) * g;
      __syncthreads();
      // The first label of a class adds up the others.
      for (int i = p.lane; i < row.labels; i += p.lanes) {
        const int32_t c = row.target[i];
        int j = 0;
        while (row.target[j] != c) ++j;
        if (j < i) continue;
        T sum = 0;
        for (; j < row.labels; ++j)
          if (row.target[j] == c) sum += posterior[j];
        grad[c] = fnma(sum, share, exp(log_prob[c])) * g;
      }
      __syncthreads();
    }
  }
}
