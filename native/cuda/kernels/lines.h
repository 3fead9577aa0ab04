// What the kernels along an axis share: elements that may be int32, and how they compare.
#pragma once

#include "reduce.h"

namespace bptt::cuda {

// Calls body(E()) for the type E of the elements.
template <class T, class Body>
__device__ inline void with_elements(int integer, const Body& body) {
  if constexpr (sizeof(T) == sizeof(int32_t)) {
    if (integer) return body(int32_t());
  }
  body(T());
}

// NaN is greater than all numbers.
template <class E>
__device__ inline bool is_nan(E x) {
  if constexpr (E(0.5) == E(0)) {
    return false;
  } else {
    return !(x == x);
  }
}
template <class E>
__device__ inline bool is_greater(E a, E b) {
  return a > b || (is_nan(a) && !is_nan(b));
}

// A sum and what rounding has lost of it (two-sum); int32 wraps around.
template <class E>
struct KeptSum {
  E sum = 0, lost = 0;
  __device__ void add(E x) {
    const E next = sum + x, added = next - sum;
    lost += (sum - (next - added)) + (x - added);
    sum = next;
  }
  __device__ E total() const { return lost - lost == E(0) ? sum + lost : sum; }
  __device__ bool finite() const { return sum - sum == E(0); }
};
template <>
struct KeptSum<int32_t> {
  int32_t sum = 0, lost = 0;
  __device__ void add(int32_t x) {
    sum = static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(x));
  }
  __device__ int32_t total() const { return sum; }
  __device__ bool finite() const { return true; }
};

}  // namespace bptt::cuda
