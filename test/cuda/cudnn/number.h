// Numbers in the types that cuDNN stores, as doubles.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cudnn/fake_cudnn.h"

namespace fake_cudnn {

inline double from_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                : std::ldexp(fraction, -24);
  return bits >> 15 ? -value : value;
}

// To the nearest, ties to even; lrint does so in the default rounding mode.
inline uint16_t to_half(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return 0x7e00;
  const double size = std::fabs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < std::ldexp(1, -14)) return sign | uint16_t(std::lrint(std::ldexp(size, 24)));
  int exponent;
  const double fraction = std::frexp(size, &exponent);  // in [0.5, 1)
  const long rounded = std::lrint(std::ldexp(fraction, 11));
  return sign | uint16_t(((exponent + 13) << 10) + rounded);
}

inline double from_bfloat16(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

inline uint16_t to_bfloat16(double value) {
  const float narrow = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof bits);
  if (std::isnan(narrow)) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Element i of an array of the type; the array need not be aligned.
template <class Stored>
Stored stored_at(const void* array, size_t i) {
  Stored value;
  std::memcpy(&value, static_cast<const uint8_t*>(array) + i * sizeof value, sizeof value);
  return value;
}

template <class Stored>
void store_at(void* array, size_t i, Stored value) {
  std::memcpy(static_cast<uint8_t*>(array) + i * sizeof value, &value, sizeof value);
}

inline double load(cudnnDataType_t type, const void* array, size_t i) {
  switch (type) {
    case CUDNN_DATA_DOUBLE:
      return stored_at<double>(array, i);
    case CUDNN_DATA_HALF:
      return from_half(stored_at<uint16_t>(array, i));
    case CUDNN_DATA_BFLOAT16:
      return from_bfloat16(stored_at<uint16_t>(array, i));
    default:
      return stored_at<float>(array, i);
  }
}

inline void store(cudnnDataType_t type, void* array, size_t i, double value) {
  switch (type) {
    case CUDNN_DATA_DOUBLE:
      return store_at(array, i, value);
    case CUDNN_DATA_HALF:
      return store_at(array, i, to_half(value));
    case CUDNN_DATA_BFLOAT16:
      return store_at(array, i, to_bfloat16(value));
    default:
      return store_at(array, i, static_cast<float>(value));
  }
}

// As the type would hold it.
inline double rounded(cudnnDataType_t type, double value) {
  if (type == CUDNN_DATA_DOUBLE) return value;
  uint8_t held[sizeof(double)];
  store(type, held, 0, value);
  return load(type, held, 0);
}

// As a factor of a product in TF32: 10 bits of mantissa.
inline double rounded_to_tf32(double value) {
  const float narrow = static_cast<float>(value);
  if (!std::isfinite(narrow)) return narrow;
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof bits);
  bits = (bits + 0xfff + (bits >> 13 & 1)) & ~uint32_t(0x1fff);
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

}  // namespace fake_cudnn
