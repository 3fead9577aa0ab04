// Keeps a result that its type can hold from being lost because a square or a sum on the way to it
// overflows or underflows (docs/numerics.md, Range): the limits beyond which kernels compute again
// with scaled numbers, and the powers of two that they scale by. Every backend includes it.
#pragma once

#include <string.h>

#include <cstdint>
#include <limits>

#include "shared/host_device.h"

namespace bptt {

template <class S>
struct FloatRange {
  static constexpr S kSmallest = std::numeric_limits<S>::min();  // of the normal numbers
  static constexpr S kLargest = std::numeric_limits<S>::max();
  static constexpr S kEpsilon = std::numeric_limits<S>::epsilon();

  // Layer norm: the least variance in which squares that underflowed do not show, and the least
  // rstd that surely has all its digits.
  static constexpr S kLeastSpread = kSmallest / (kEpsilon * kEpsilon);
  static constexpr S kLeastRstd = kSmallest / kEpsilon;
  // The largest mean^2 / variance at which the rounding of the mean does not show in the variance.
  static constexpr S kFarMean = 64;
};

// The least sum of squares, in double, in which squares that underflowed do not show.
constexpr double kLeastSquares = 1e-290;

// Added to a norm before it divides, as PyTorch does.
constexpr double kClipEpsilon = 1e-6;

// A power of two that brings numbers up to `largest` below 4, and the largest to 1 or more.
template <class S>
BPTT_HOST_DEVICE inline S scale_to_one(double largest) {
  constexpr double kLargest = FloatRange<S>::kLargest;
  constexpr int kLeast = std::numeric_limits<S>::min_exponent;
  constexpr int kMost = std::numeric_limits<S>::max_exponent - 1;
  if (!(largest > 0 && largest <= kLargest)) return 1;
  uint64_t bits;
  memcpy(&bits, &largest, sizeof(bits));
  int exponent = static_cast<int>(bits >> 52) - 1022;  // largest < 2^exponent
  if (exponent < kLeast) exponent = kLeast;
  if (exponent > kMost) exponent = kMost;
  bits = static_cast<uint64_t>(1 - exponent + 1023) << 52;
  double scale;
  memcpy(&scale, &bits, sizeof(scale));
  return static_cast<S>(scale);
}

// A power of two whose product with n, a count, is 1 at most.
inline double power_of_two_part(int64_t n) {
  double part = 1;
  for (int64_t parts = 1; parts < n; parts *= 2) part /= 2;
  return part;
}

// A power of two whose square's product with n is 1 at most.
inline double root_of_part(int64_t n) {
  double root = 1;
  for (int64_t parts = 1; parts < n; parts *= 4) root /= 2;
  return root;
}

}  // namespace bptt
