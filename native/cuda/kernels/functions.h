// Elementary functions by overload: float stays float. Fused multiply-adds are written
// out; the build makes no others (-fmad=false, as -ffp-contract=off on the CPU).
#pragma once

#include <math.h>

#include "define.h"

namespace bptt::cuda {

__device__ inline float exp(float x) { return ::expf(x); }
__device__ inline double exp(double x) { return ::exp(x); }
__device__ inline float log(float x) { return ::logf(x); }
__device__ inline double log(double x) { return ::log(x); }
__device__ inline float log1p(float x) { return ::log1pf(x); }
__device__ inline double log1p(double x) { return ::log1p(x); }
__device__ inline float tanh(float x) { return ::tanhf(x); }
__device__ inline double tanh(double x) { return ::tanh(x); }
__device__ inline float sqrt(float x) { return ::sqrtf(x); }
__device__ inline double sqrt(double x) { return ::sqrt(x); }
__device__ inline float abs(float x) { return ::fabsf(x); }
__device__ inline double abs(double x) { return ::fabs(x); }
__device__ inline float sin(float x) { return ::sinf(x); }
__device__ inline double sin(double x) { return ::sin(x); }
__device__ inline float cos(float x) { return ::cosf(x); }
__device__ inline double cos(double x) { return ::cos(x); }
__device__ inline float erf(float x) { return ::erff(x); }
__device__ inline double erf(double x) { return ::erf(x); }
__device__ inline float pow(float x, float y) { return ::powf(x, y); }
__device__ inline double pow(double x, double y) { return ::pow(x, y); }
__device__ inline float expm1(float x) { return ::expm1f(x); }
__device__ inline double expm1(double x) { return ::expm1(x); }
__device__ inline float floor(float x) { return ::floorf(x); }
__device__ inline double floor(double x) { return ::floor(x); }
__device__ inline float ceil(float x) { return ::ceilf(x); }
__device__ inline double ceil(double x) { return ::ceil(x); }
// Halves go to the even one.
__device__ inline float round(float x) { return ::rintf(x); }
__device__ inline double round(double x) { return ::rint(x); }
__device__ inline float copysign(float x, float sign) { return ::copysignf(x, sign); }
__device__ inline double copysign(double x, double sign) { return ::copysign(x, sign); }
__device__ inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
__device__ inline double fma(double a, double b, double c) { return ::fma(a, b, c); }

template <class T>
__device__ inline bool is_finite(T x) {
  return x - x == T(0);
}

// c - a * b
template <class T>
__device__ inline T fnma(T a, T b, T c) {
  return fma(-a, b, c);
}

// b where a is not greater, so max(0, NaN) is NaN; the CPU's vectors do the same.
template <class T>
__device__ inline T max(T a, T b) {
  return a > b ? a : b;
}

template <class T>
__device__ inline T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

// a + weight * (b - a), as torch.lerp rounds it
template <class T>
__device__ inline T lerp(T a, T b, T weight) {
  return weight < T(0.5) ? fma(weight, b - a, a) : fnma(b - a, T(1) - weight, b);
}

template <class T>
constexpr T kInfinity = T(HUGE_VAL);

}  // namespace bptt::cuda
