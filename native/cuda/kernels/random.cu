// Dropout and random tensors, with the CPU's numbers: what an element draws depends on its
// index alone (shared/philox.h). A thread does the four elements of one Philox block.
#include "define.h"
#include "functions.h"
#include "shared/philox.h"

// Every block b of elements [4 b, 4 b + 4) of [0, n).
#define BPTT_EACH_DRAW(b, n) BPTT_EACH(b, ((n) + 3) / 4)

BPTT_KERNEL(dropout, Dropout) {
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  const T scale = static_cast<T>(a.scale);
  BPTT_EACH_DRAW(b, a.n) {
    const PhiloxBlock block = philox(a.rng.seed, a.rng.offset + static_cast<uint64_t>(b));
    for (int w = 0; w < 4; ++w) {
      const int64_t i = 4 * b + w;
      if (i >= a.n) break;
      // The scale of p = 1 is 0. A dropped element is 0 even if x is not finite.
      const bool kept = block.word[w] >= a.threshold && scale != T(0);
      out[i] = kept ? scale * x[i] : T(0);
    }
  }
}

namespace bptt::cuda {

// The four words of a block, and their low words where T has room for them.
template <class T>
struct Draws {
  PhiloxBlock high, low;
};

template <class T>
__device__ inline Draws<T> draws_of(const bptt_rng& rng, int64_t block) {
  const uint64_t counter = rng.offset + static_cast<uint64_t>(block);
  Draws<T> draws = {philox(rng.seed, counter), {}};
  if (sizeof(T) == 8) draws.low = philox(rng.seed, counter, 1);
  return draws;
}

__device__ inline float uniform_of(const Draws<float>& d, int w) {
  return uniform_float32(d.high.word[w]);
}
__device__ inline double uniform_of(const Draws<double>& d, int w) {
  return uniform_float64(d.high.word[w], d.low.word[w]);
}

}  // namespace bptt::cuda

BPTT_KERNEL(uniform, Uniform) {
  T* out = static_cast<T*>(a.out);
  const T low = static_cast<T>(a.low), high = static_cast<T>(a.high);
  const T width = static_cast<T>(a.high - a.low);
  BPTT_EACH_DRAW(b, a.n) {
    const Draws<T> draws = draws_of<T>(a.rng, b);
    for (int w = 0; w < 4; ++w) {
      const int64_t i = 4 * b + w;
      if (i >= a.n) break;
      // Rounding may reach high, which the interval leaves out.
      const T x = low + uniform_of(draws, w) * width;
      out[i] = x < high ? x : low;
    }
  }
}

// -- normal --------------------------------------------------------------------------
// The logarithm and the quantile of native/cpu, operation by operation: so a tensor has
// the same bits on every device.

namespace bptt::cuda {

// c0 + c1 x + c2 x^2 + ..., by Horner's rule
template <class T>
__device__ inline T polynomial(T, double c0) {
  return static_cast<T>(c0);
}
template <class T, class... Rest>
__device__ inline T polynomial(T x, double c0, Rest... rest) {
  return fma(polynomial(x, rest...), x, static_cast<T>(c0));
}

__device__ inline float log_tail(float z) {
  return z * polynomial(z, 0.66666662693f, 0.40000972152f, 0.28498786688f, 0.24279078841f);
}
__device__ inline double log_tail(double z) {
  return z * polynomial(z, 6.666666666666735130e-1, 3.999999999940941908e-1,
                        2.857142874366239149e-1, 2.222219843214978396e-1, 1.818357216161805012e-1,
                        1.531383769920937332e-1, 1.479819860511658591e-1);
}

__device__ inline float split(float x, int* exponent) { return ::frexpf(x, exponent); }
__device__ inline double split(double x, int* exponent) { return ::frexp(x, exponent); }

template <class T>
constexpr T kLn2High = sizeof(T) == 4 ? T(0.693359375f) : T(6.93147180369123816490e-1);
template <class T>
constexpr T kLn2Low = sizeof(T) == 4 ? T(-2.12194440e-4f) : T(1.90821492927058770002e-10);

// log(x) of a positive normal x. log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + log_tail(s^2))).
template <class T>
__device__ inline T same_log(T x) {
  int exponent;
  T m = split(x, &exponent) * T(2);  // in [1, 2)
  T n = static_cast<T>(exponent - 1);
  if (m > T(1.41421356237309505)) {
    m *= T(0.5);
    n += T(1);
  }
  const T f = m - T(1);
  const T s = f / (f + T(2));
  const T half = f * f * T(0.5);
  const T low = fma(n, kLn2Low<T>, fma(s, half + log_tail(s * s), T(0)));
  return fma(n, kLn2High<T>, f - (half - low));
}

// The quantile of the normal distribution at 1/2 + q, |q| < 1/2, by Wichura's
// algorithm AS 241 (PPND16, relative error about 1e-16).
template <class T>
__device__ inline T normal_quantile(T q) {
  const T distance = abs(q);
  if (distance <= T(0.425)) {
    const T r = fnma(q, q, T(0.180625));
    return q *
           polynomial(r, 3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
                      1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                      3.3430575583588128105e4, 2.5090809287301226727e3) /
           polynomial(r, 1.0, 4.2313330701600911252e1, 6.8718700749205790830e2,
                      5.3941960214247511077e3, 2.1213794301586595867e4, 3.9307895800092710610e4,
                      2.8729085735721942674e4, 5.2264952788528545610e3);
  }
  const T t = sqrt(-same_log(T(0.5) - distance));
  if (t <= T(5)) {
    const T s = t - T(1.6);
    const T tail =
        polynomial(s, 1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                   3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                   2.27238449892691845833e-2, 7.74545014278341407640e-4) /
        polynomial(s, 1.0, 2.05319162663775882187e0, 1.67638483018380384940e0,
                   6.89767334985100004550e-1, 1.48103976427480074590e-1, 1.51986665636164571966e-2,
                   5.47593808499534494600e-4, 1.05075007164441684324e-9);
    return copysign(tail, q);
  }
  const T u = t - T(5);  // 24 bits never reach so far into the tail
  const T far =
      polynomial(u, 6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
                 2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                 2.71155556874348757815e-5, 2.01033439929228813265e-7) /
      polynomial(u, 1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1,
                 1.48753612908506148525e-2, 7.86869131145613259100e-4, 1.84631831751005468180e-5,
                 1.42151175831644588870e-7, 2.04426310338993978564e-15);
  return copysign(far, q);
}

// The middle of the draw's interval less 1/2: symmetric about 0 and exact.
__device__ inline float centered(float u) { return u - 0.5f + 0x1p-25f; }
__device__ inline double centered(double u) { return u - 0.5 + 0x1p-54; }

}  // namespace bptt::cuda

BPTT_KERNEL(normal, Normal) {
  T* out = static_cast<T*>(a.out);
  const T mean = static_cast<T>(a.mean), deviation = static_cast<T>(a.std);
  BPTT_EACH_DRAW(b, a.n) {
    const Draws<T> draws = draws_of<T>(a.rng, b);
    for (int w = 0; w < 4; ++w) {
      const int64_t i = 4 * b + w;
      if (i >= a.n) break;
      out[i] = fma(normal_quantile(centered(uniform_of(draws, w))), deviation, mean);
    }
  }
}
