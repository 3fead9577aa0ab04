// Numbers kept in 16 bits: float16 is IEEE 754's binary16, bfloat16 a float32 without its
// last 16 bits. Integer arithmetic on bits, so that every compiler of kernels gives the same
// bits: to the nearest, ties to even; too large becomes infinity; NaN stays NaN.
#pragma once

#include <string.h>

#include "define.h"

namespace bptt::cuda {

__device__ inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

__device__ inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// The first 32 - `dropped` bits, rounded; a carry goes into the exponent, as it should.
__device__ inline uint32_t rounded_bits(uint32_t bits, int dropped) {
  const uint32_t odd = bits >> dropped & 1;
  return (bits + (uint32_t(1) << (dropped - 1)) - 1 + odd) >> dropped;
}

__device__ inline uint16_t to_float16(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  uint32_t half;
  if (size > 0x7f800000) {
    half = 0x7e00;  // NaN
  } else if (size >= 0x477ff000) {
    half = 0x7c00;  // from 65520: nearer to 65536 than to the largest, 65504
  } else if (size >= 0x38800000) {
    half = rounded_bits(size - (uint32_t(112) << 23), 13);  // biases of exponents: 127, 15
  } else if (size >= 0x33000000) {
    // Below 2^-14 in steps of 2^-24: the fraction with its leading one, of a power of two.
    half = rounded_bits((size & 0x7fffff) | 0x800000, 126 - static_cast<int>(size >> 23));
  } else {
    half = 0;  // below 2^-25
  }
  return static_cast<uint16_t>(sign | half);
}

__device__ inline float from_float16(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
  if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
  const float size = static_cast<float>(fraction) * 5.9604644775390625e-08f;  // 2^-24, exact
  return float_of(sign | bits_of(size));
}

__device__ inline uint16_t to_bfloat16(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN
  return static_cast<uint16_t>(rounded_bits(bits, 16));
}

__device__ inline float from_bfloat16(uint16_t bfloat) { return float_of(uint32_t(bfloat) << 16); }

// Element i of an array. Only layers of float32 keep anything in 16 bits.
template <class T>
__device__ inline T load(StoredAs as, const void* array, int64_t i) {
  if (as == kStoredAsT) return static_cast<const T*>(array)[i];
  const uint16_t bits = static_cast<const uint16_t*>(array)[i];
  return T(as == kStoredFloat16 ? from_float16(bits) : from_bfloat16(bits));
}

template <class T>
__device__ inline void store(StoredAs as, void* array, int64_t i, T value) {
  if (as == kStoredAsT) {
    static_cast<T*>(array)[i] = value;
    return;
  }
  const float number = static_cast<float>(value);
  static_cast<uint16_t*>(array)[i] =
      as == kStoredFloat16 ? to_float16(number) : to_bfloat16(number);
}

}  // namespace bptt::cuda
