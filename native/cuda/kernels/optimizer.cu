// Optimizers, by the formulas of torch.optim, and the norm of all gradients. Blocks take
// chunks of many tensors at once.
#include "functions.h"
#include "reduce.h"
#include "shared/optimizer.h"
#include "shared/range.h"

namespace bptt::cuda {

// The elements of a chunk.
struct Span {
  int tensor;
  int64_t begin, end;
};

template <int kMost>
__device__ inline Span span_of(const Chunks<kMost>& c, int64_t chunk) {
  int low = 0, high = c.count;  // first[low] <= chunk < first[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (c.first[middle] <= chunk ? low : high) = middle;
  }
  const int64_t begin = (chunk - c.first[low]) * kChunk;
  return {low, begin, c.size[low] - begin < kChunk ? c.size[low] : begin + kChunk};
}

// Every chunk, divided among the blocks.
#define BPTT_EACH_CHUNK(chunk, chunks) \
  for (int64_t chunk = blockIdx.x; chunk < (chunks).first[(chunks).count]; chunk += gridDim.x)

// The items of a span, divided among the threads of a block.
#define BPTT_EACH_IN(i, span) \
  for (int64_t i = (span).begin + threadIdx.x; i < (span).end; i += blockDim.x)

// update(value, grad, state, i) is called for every element.
template <class T, class Update>
__device__ inline void update_all(const Optimize& a, const Update& update) {
  BPTT_EACH_CHUNK(chunk, a.chunks) {
    const Span span = span_of(a.chunks, chunk);
    T* value = static_cast<T*>(a.value[span.tensor]);
    const T* grad = static_cast<const T*>(a.grad[span.tensor]);
    T* const state[3] = {static_cast<T*>(a.state[span.tensor][0]),
                         static_cast<T*>(a.state[span.tensor][1]),
                         static_cast<T*>(a.state[span.tensor][2])};
    BPTT_EACH_IN(i, span) update(&value[i], a.options.maximize ? -grad[i] : grad[i], state, i);
  }
}

}  // namespace bptt::cuda

BPTT_KERNEL(sgd, Optimize) {
  if (*a.flag) return;
  const bptt_optimizer& o = a.options;
  const T lr = static_cast<T>(o.lr), weight_decay = static_cast<T>(o.weight_decay);
  const T momentum = static_cast<T>(o.momentum), fresh = static_cast<T>(1 - o.dampening);
  const bool first = *o.step == 0, nesterov = o.nesterov != 0;
  update_all<T>(a, [&](T* value, T g, T* const* state, int64_t i) {
    const T p = *value;
    if (weight_decay != 0) g = fma(weight_decay, p, g);
    if (momentum != 0) {
      const T buffer = first ? g : fma(momentum, state[0][i], fresh * g);
      state[0][i] = buffer;
      g = nesterov ? fma(momentum, buffer, g) : buffer;
    }
    *value = fnma(lr, g, p);
  });
}

// Adam and its kin.
BPTT_KERNEL(adam, Optimize) {
  BPTT_SHARED(AdamNumbers, numbers, 1);
  const bptt_optimizer& o = a.options;
  if (threadIdx.x == 0) numbers[0] = adam_numbers(o, *o.step + 1);
  __syncthreads();
  if (*a.flag) return;
  const AdamNumbers& n = numbers[0];
  const T mean_size = static_cast<T>(n.mean_size), grad_size = static_cast<T>(n.grad_size);
  const T root = static_cast<T>(n.root), eps = static_cast<T>(n.eps);
  const T shrink = static_cast<T>(n.shrink), weight_decay = static_cast<T>(n.weight_decay);
  const bool divided = n.divided, amsgrad = o.amsgrad != 0;
  const T fresh1 = static_cast<T>(1 - o.beta1), beta2 = static_cast<T>(o.beta2);
  const T fresh2 = static_cast<T>(1 - o.beta2);
  update_all<T>(a, [&](T* value, T g, T* const* state, int64_t i) {
    T p = *value * shrink;
    if (weight_decay != 0) g = fma(weight_decay, p, g);
    const T m = lerp(state[0][i], g, fresh1);
    T v = fma(fresh2 * g, g, state[1][i] * beta2);
    state[0][i] = m;
    state[1][i] = v;
    if (amsgrad) state[2][i] = v = max(state[2][i], v);
    const T divisor = divided ? sqrt(v) / root + eps : T(1);
    if (grad_size != 0) p = fnma(grad_size, g / divisor, p);
    *value = fnma(mean_size, m / divisor, p);
  });
}

// RMSprop and Adagrad.
BPTT_KERNEL(rmsprop, Optimize) {
  if (*a.flag) return;
  const bptt_optimizer& o = a.options;
  const SquareNumbers n = square_numbers(o, *o.step + 1);
  const T lr = static_cast<T>(n.lr), weight_decay = static_cast<T>(o.weight_decay);
  const T alpha = static_cast<T>(n.alpha), fresh = static_cast<T>(n.fresh);
  const T eps = static_cast<T>(o.eps), momentum = static_cast<T>(n.momentum);
  const bool centered = n.centered;
  update_all<T>(a, [&](T* value, T g, T* const* state, int64_t i) {
    const T p = *value;
    if (weight_decay != 0) g = fma(weight_decay, p, g);
    T square = fma(fresh * g, g, state[0][i] * alpha);
    state[0][i] = square;
    if (centered) {
      const T average = lerp(state[2][i], g, fresh);
      state[2][i] = average;
      square = max(T(0), fnma(average, average, square));  // not below 0 by rounding
    }
    T change = g / (sqrt(square) + eps);
    if (momentum != 0) {
      change = fma(momentum, state[1][i], change);
      state[1][i] = change;
    }
    *value = fnma(lr, change, p);
  });
}

// An average of weights, of which grad are the new ones.
BPTT_KERNEL(average, Optimize) {
  if (*a.flag) return;
  const T weight = static_cast<T>(average_weight(a.options, *a.options.step + 1));
  update_all<T>(a, [&](T* value, T fresh, T* const*, int64_t) {
    *value = weight == T(1) ? fresh : lerp(*value, fresh, weight);
  });
}

BPTT_KERNEL(count_step, CountStep) {
  BPTT_EACH(i, 1) {
    if (*a.flag == 0) *a.step += 1;
  }
}

// -- gradient norm ---------------------------------------------------------------
// In double whatever the type: the square of a float neither overflows nor vanishes. Squares
// of a double may, so they are summed of numbers times two powers of two, too.

namespace bptt::cuda {
template <class T>
constexpr int kSquareSums = sizeof(T) == sizeof(double) ? kMostSquareSums : 1;

constexpr double kDown = 0x1p-600, kUp = 0x1p600;

__device__ inline double scale_of_squares(int k) { return k == 0 ? 1 : k == 1 ? kDown : kUp; }
}  // namespace bptt::cuda

BPTT_KERNEL(grad_squares, GradSquares) {
  BPTT_SHARED(double, shared, kBlockThreads);
  const Place p = place_of({kBlockThreads, 1});
  BPTT_EACH_CHUNK(chunk, a.chunks) {
    const Span span = span_of(a.chunks, chunk);
    const T* grad = static_cast<const T*>(a.grad[span.tensor]);
    double sums[kSquareSums<T>] = {};
    BPTT_EACH_IN(i, span) {
      for (int k = 0; k < kSquareSums<T>; ++k) {
        const double g = static_cast<double>(grad[i]) * scale_of_squares(k);
        sums[k] += g * g;
      }
    }
    for (int k = 0; k < kSquareSums<T>; ++k) {
      const double sum = combine_lanes(p, sums[k], shared, Add());
      if (p.lane == 0) a.partial[chunk * kMostSquareSums + k] = sum;
    }
  }
}

// One block.
BPTT_KERNEL(grad_norm, GradNorm) {
  BPTT_SHARED(double, shared, kBlockThreads);
  const Place p = place_of({kBlockThreads, 1});
  double sums[kSquareSums<T>] = {};
  for (int k = 0; k < kSquareSums<T>; ++k) {
    double sum = 0;
    for (int64_t i = p.lane; i < a.n; i += p.lanes) sum += a.partial[i * kMostSquareSums + k];
    sums[k] = combine_lanes(p, sum, shared, Add());
  }
  double norm = sqrt(sums[0]);
  if constexpr (kSquareSums<T> > 1) {
    if (sums[0] < kLeastSquares) norm = sqrt(sums[2]) / kUp;
    if (!is_finite(sums[0])) norm = sqrt(sums[1]) / kDown;
  }
  if (p.lane == 0) *static_cast<T*>(a.norm) = static_cast<T>(norm);
}

BPTT_KERNEL(clamp_grads, ClipGrads) {
  const T most = static_cast<T>(a.most);
  BPTT_EACH_CHUNK(chunk, a.chunks) {
    const Span span = span_of(a.chunks, chunk);
    T* grad = static_cast<T*>(a.grad[span.tensor]);
    BPTT_EACH_IN(i, span) {
      const T g = grad[i];
      grad[i] = g > most ? most : g < -most ? -most : g;  // NaN stays NaN
    }
  }
}

BPTT_KERNEL(clip_grads, ClipGrads) {
  const T norm = *static_cast<const T*>(a.norm), max_norm = static_cast<T>(a.most);
  const T ratio = max_norm / (norm + static_cast<T>(kClipEpsilon));
  if (ratio >= T(1)) return;  // NaN is not, and spreads
  // A ratio below the range of the type is applied in two parts.
  const bool tiny = ratio < FloatRange<T>::kSmallest && is_finite(norm);
  const T half = tiny ? scale_to_one<T>(norm) : T(1);
  const T rest = tiny ? max_norm / (norm * half) : ratio;
  BPTT_EACH_CHUNK(chunk, a.chunks) {
    const Span span = span_of(a.chunks, chunk);
    T* grad = static_cast<T*>(a.grad[span.tensor]);
    BPTT_EACH_IN(i, span) grad[i] = grad[i] * half * rest;
  }
}
