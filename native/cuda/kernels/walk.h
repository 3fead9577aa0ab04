// Where item i of a shape lies under strides.
#pragma once

#include "define.h"

namespace bptt::cuda {

struct Offsets {
  int64_t a, b;
};

// Of the first `rank` axes. Index is the type that i and the shape are divided in: 32 bits
// are several times faster.
template <class Index>
__device__ inline Offsets offsets_in(const Axes& axes, int rank, Index i) {
  Offsets at = {0, 0};
  for (int d = rank - 1; d > 0; --d) {
    const Index size = static_cast<Index>(axes.shape[d]), rest = i / size;
    const int64_t place = static_cast<int64_t>(i - rest * size);
    at.a += place * axes.a[d];
    at.b += place * axes.b[d];
    i = rest;
  }
  at.a += static_cast<int64_t>(i) * axes.a[0];
  at.b += static_cast<int64_t>(i) * axes.b[0];
  return at;
}

__device__ inline Offsets offsets_of(const Axes& axes, int64_t i) {
  return axes.n <= 0xffffffff ? offsets_in<uint32_t>(axes, axes.rank, static_cast<uint32_t>(i))
                              : offsets_in<uint64_t>(axes, axes.rank, static_cast<uint64_t>(i));
}

__device__ inline int64_t offset_of(const Walk& walk, int64_t i) {
  int64_t at = 0;
  for (int d = walk.rank - 1; d > 0; --d) {
    const int64_t rest = i / walk.shape[d];
    at += (i - rest * walk.shape[d]) * walk.stride[d];
    i = rest;
  }
  return walk.rank > 0 ? at + i * walk.stride[0] : 0;
}

}  // namespace bptt::cuda
