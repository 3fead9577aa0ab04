// Elementwise operations, forward beside backward; binary ones broadcast by stride 0.
#include "define.h"
#include "functions.h"
#include "walk.h"

BPTT_KERNEL(fill, Fill) {
  if (a.dtype == BPTT_INT32) {
    BPTT_EACH(i, a.n) static_cast<int32_t*>(a.out)[i] = static_cast<int32_t>(a.value);
  } else if (a.dtype == BPTT_BOOL) {
    BPTT_EACH(i, a.n) static_cast<uint8_t*>(a.out)[i] = static_cast<uint8_t>(a.value);
  } else {
    BPTT_EACH(i, a.n) static_cast<T*>(a.out)[i] = static_cast<T>(a.value);
  }
}

// -- strided copy ----------------------------------------------------------------

namespace bptt::cuda {
template <size_t kBytes>
struct WordOf;
template <>
struct WordOf<4> {
  using Type = uint32_t;
};
template <>
struct WordOf<8> {
  using Type = uint64_t;
};
}  // namespace bptt::cuda

namespace bptt::cuda {
template <class Word>
__device__ inline void copy_words(const Copy& a) {
  const Word* src = static_cast<const Word*>(a.src);
  Word* dst = static_cast<Word*>(a.dst);
  BPTT_EACH(i, a.axes.n) {
    const Offsets at = offsets_of(a.axes, i);
    dst[at.b] = src[at.a];
  }
}
}  // namespace bptt::cuda

BPTT_KERNEL(copy, Copy) { copy_words<typename WordOf<sizeof(T)>::Type>(a); }
BPTT_KERNEL(copy_bytes, Copy) { copy_words<uint8_t>(a); }

// Tiles go through shared memory, so that neighbouring threads read neighbours and write
// neighbours. The column that pads a tile keeps its rows in different banks.
BPTT_KERNEL(copy_tiles, Copy) {
  using Word = typename WordOf<sizeof(T)>::Type;
  constexpr int kTile = kCopyTile, kPadded = kTile + 1;
  constexpr int kRows = static_cast<int>(kBlockThreads) / kTile;
  BPTT_SHARED(Word, tile, kTile * kPadded);
  const Word* src = static_cast<const Word*>(a.src);
  Word* dst = static_cast<Word*>(a.dst);
  const Axes& axes = a.axes;
  const int p = axes.rank - 2, q = axes.rank - 1;
  const int64_t P = axes.shape[p], Q = axes.shape[q];
  const int64_t tiles_p = (P + kTile - 1) / kTile, tiles_q = (Q + kTile - 1) / kTile;
  const int64_t tiles = axes.n / (P * Q) * tiles_p * tiles_q;
  const int x = static_cast<int>(threadIdx.x) % kTile, y = static_cast<int>(threadIdx.x) / kTile;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t row = t / tiles_q, p0 = row % tiles_p * kTile, q0 = t % tiles_q * kTile;
    const Offsets at = offsets_in<uint64_t>(axes, p, static_cast<uint64_t>(row / tiles_p));
    for (int j = y; j < kTile; j += kRows)
      if (p0 + x < P && q0 + j < Q)
        tile[j * kPadded + x] = src[at.a + (p0 + x) * axes.a[p] + (q0 + j) * axes.a[q]];
    __syncthreads();
    for (int i = y; i < kTile; i += kRows)
      if (p0 + i < P && q0 + x < Q)
        dst[at.b + (p0 + i) * axes.b[p] + (q0 + x) * axes.b[q]] = tile[x * kPadded + i];
    __syncthreads();
  }
}

// -- unary -----------------------------------------------------------------------

namespace bptt::cuda {

// The smaller, b where a is not smaller.
template <class T>
__device__ inline T min(T a, T b) {
  return a < b ? a : b;
}

template <class T>
__device__ inline T normal_cdf(T x) {
  return T(0.5) * (T(1) + erf(x * T(0.70710678118654752440)));
}

template <class T>
__device__ inline T gelu_tanh_of(T x) {
  return tanh(T(0.79788456080286535588) * fma(T(0.044715) * x * x, x, x));
}

template <class T>
__device__ inline T unary_of(bptt_unary_op op, T alpha, T beta, T x) {
  switch (op) {
    case BPTT_NEG:
      return -x;
    case BPTT_TANH:
      return tanh(x);
    case BPTT_SIGMOID:
      return sigmoid(x);
    case BPTT_RELU:
      return max(T(0), x);
    case BPTT_EXP:
      return exp(x);
    case BPTT_LOG:
      return log(x);
    case BPTT_SQRT:
      return sqrt(x);
    case BPTT_ABS:
      return abs(x);
    case BPTT_SCALE:
      return alpha * x;
    case BPTT_ADD_SCALAR:
      return x + alpha;
    case BPTT_SIGN:
      return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
    case BPTT_SQUARE:
      return x * x;
    case BPTT_FLOOR:
      return floor(x);
    case BPTT_ROUND:
      return round(x);
    case BPTT_CEIL:
      return ceil(x);
    case BPTT_SIN:
      return sin(x);
    case BPTT_COS:
      return cos(x);
    case BPTT_ERF:
      return erf(x);
    case BPTT_GELU:
      return x * normal_cdf(x);
    case BPTT_GELU_TANH:
      return T(0.5) * x * (T(1) + gelu_tanh_of(x));
    case BPTT_SILU:
      return x * sigmoid(x);
    case BPTT_SOFTPLUS:
      return alpha * x > beta ? x : max(T(0), x) + log1p(exp(-abs(alpha * x))) / alpha;
    case BPTT_LEAKY_RELU:
      return x > T(0) ? x : alpha * x;
    case BPTT_ELU:
      return x > T(0) ? x : alpha * expm1(x);
    case BPTT_CLAMP:  // NaN stays
      return min(beta, max(alpha, x));
    case BPTT_POW:
      return pow(x, alpha);
  }
  return x;
}

// y is the forward's x or result, as backend.h says.
template <class T>
__device__ inline T unary_gradient_of(bptt_unary_op op, T alpha, T beta, T y, T dy) {
  switch (op) {
    case BPTT_NEG:
      return -dy;
    case BPTT_TANH:
      return dy * ((T(1) - y) * (T(1) + y));
    case BPTT_SIGMOID:
      return dy * (y * (T(1) - y));
    case BPTT_RELU:
      return y <= T(0) ? T(0) : dy;
    case BPTT_EXP:
      return dy * y;
    case BPTT_LOG:
      return dy / y;
    case BPTT_SQRT:
      return dy / (y + y);
    case BPTT_ABS:
      return y > T(0) ? dy : y < T(0) ? -dy : T(0);
    case BPTT_SCALE:
      return alpha * dy;
    case BPTT_ADD_SCALAR:
      return dy;
    case BPTT_SIGN:
    case BPTT_FLOOR:
    case BPTT_ROUND:
    case BPTT_CEIL:
      return T(0);
    case BPTT_SQUARE:
      return dy * (y + y);
    case BPTT_SIN:
      return dy * cos(y);
    case BPTT_COS:
      return -(dy * sin(y));
    case BPTT_ERF:
      return dy * (T(1.1283791670955125739) * exp(-(y * y)));
    case BPTT_GELU:
      return dy * fma(y, T(0.39894228040143267794) * exp(y * y * T(-0.5)), normal_cdf(y));
    case BPTT_GELU_TANH: {
      // Beyond 20 the slope of tanh is 0, and x^2 may be infinite.
      const T near = max(T(-20), min(T(20), y)), t = gelu_tanh_of(near);
      const T slope = T(0.79788456080286535588) * fma(T(0.134145) * near, near, T(1));
      return dy * (T(0.5) * fma(near * (T(1) - t * t), slope, T(1) + t));
    }
    case BPTT_SILU: {
      const T s = sigmoid(y);
      return dy * (s * fma(y, T(1) - s, T(1)));
    }
    case BPTT_SOFTPLUS:
      return alpha * y > beta ? dy : dy * sigmoid(alpha * y);
    case BPTT_LEAKY_RELU:
      return y > T(0) ? dy : alpha * dy;
    case BPTT_ELU:
      return y > T(0) ? dy : dy * (alpha * exp(min(T(0), y)));
    case BPTT_CLAMP:
      return alpha <= y && y <= beta ? dy : T(0);
    case BPTT_POW:
      return alpha == T(0) ? T(0) : dy * (alpha * pow(y, alpha - T(1)));
  }
  return dy;
}

}  // namespace bptt::cuda

BPTT_KERNEL(unary, Unary) {
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  const T alpha = static_cast<T>(a.alpha), beta = static_cast<T>(a.beta);
  BPTT_EACH(i, a.n) out[i] = unary_of(a.op, alpha, beta, x[i]);
}

BPTT_KERNEL(unary_backward, UnaryBackward) {
  const T *y = static_cast<const T*>(a.saved), *dy = static_cast<const T*>(a.dout);
  T* dx = static_cast<T*>(a.dx);
  const T alpha = static_cast<T>(a.alpha), beta = static_cast<T>(a.beta);
  BPTT_EACH(i, a.n) dx[i] = unary_gradient_of(a.op, alpha, beta, y[i], dy[i]);
}

// -- binary ----------------------------------------------------------------------

BPTT_KERNEL(binary, Binary) {
  const T *left = static_cast<const T*>(a.a), *right = static_cast<const T*>(a.b);
  T* out = static_cast<T*>(a.out);
  BPTT_EACH(i, a.axes.n) {
    const Offsets at = offsets_of(a.axes, i);
    const T x = left[at.a], y = right[at.b];
    switch (a.op) {
      case BPTT_ADD:
        out[i] = x + y;
        break;
      case BPTT_SUB:
        out[i] = x - y;
        break;
      case BPTT_MUL:
        out[i] = x * y;
        break;
      case BPTT_DIV:
        out[i] = x / y;
        break;
      case BPTT_MAXIMUM:  // max() takes the second where either is NaN
        out[i] = x == x ? max(x, y) : x;
        break;
      case BPTT_MINIMUM:
        out[i] = x == x ? min(x, y) : x;
        break;
      case BPTT_POWER:
        out[i] = pow(x, y);
        break;
    }
  }
}
