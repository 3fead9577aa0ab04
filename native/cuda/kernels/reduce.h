// Sums and maxima of lines by the threads of a block, in an order that the line's length
// and layout alone decide: elements lane, lane + lanes, ... of a line in turn, then the
// lanes of each warp pairwise, then the warps (or, where lanes are not neighbours, all
// lanes) ascending.
#pragma once

#include "define.h"
#include "functions.h"

namespace bptt::cuda {

// This thread's place in its block.
struct Place {
  int lanes, groups;  // threads of a line, lines of the block
  int lane, group;
  bool along;
};

__device__ inline Place place_of(const Lanes& l) {
  const int thread = static_cast<int>(threadIdx.x), groups = int(kBlockThreads) / l.lanes;
  return l.along ? Place{l.lanes, groups, thread % l.lanes, thread / l.lanes, true}
                 : Place{l.lanes, groups, thread / groups, thread % groups, false};
}

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Greater {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

// The values of a line's lanes combined, for all of them. Every thread of the block
// calls it; shared [kBlockThreads] is free again afterwards.
template <class T, class Combine>
__device__ inline T combine_lanes(const Place& p, T value, T* shared, Combine combine) {
  int parts = p.lanes, part = p.lane;
  if (p.along) {
    for (int step = 16; step > 0; step /= 2)
      value = combine(value, __shfl_xor_sync(0xffffffffu, value, step));
    parts = p.lanes / 32;
    part = p.lane / 32;
    if (parts == 1) return value;
  }
  if (!p.along || p.lane % 32 == 0) shared[part * p.groups + p.group] = value;
  __syncthreads();
  T result = shared[p.group];
  for (int i = 1; i < parts; ++i) result = combine(result, shared[i * p.groups + p.group]);
  __syncthreads();
  return result;
}

// The lines of this thread's group: `line` may be past the last one, for all threads of a
// block must come to combine_lanes().
#define BPTT_EACH_LINE(line, count, place)                                  \
  for (int64_t line = int64_t(blockIdx.x) * (place).groups + (place).group; \
       line - (place).group < (count); line += int64_t(gridDim.x) * (place).groups)

// Position of a line's first element; the others follow at a distance of inner.
__device__ inline int64_t start_of(const Lines& l, int64_t line) {
  if (l.inner == 1) return line * l.length;
  const int64_t outer = line / l.inner;
  return outer * l.length * l.inner + (line - outer * l.inner);
}

// The largest of a line; NaN is passed over.
template <class T>
__device__ inline T largest_of(const Place& p, const T* x, int64_t length, int64_t stride,
                               T* shared) {
  T most = -kInfinity<T>;
  for (int64_t i = p.lane; i < length; i += p.lanes) most = max(x[i * stride], most);
  return combine_lanes(p, most, shared, Greater());
}

// The largest of a line, and the sum of exp(x - largest). NaN is passed over by the
// first and found by the second. each(i, e) is called with every exponential.
template <class T, class Each>
__device__ inline void max_and_sum(const Place& p, const T* x, int64_t length, int64_t stride,
                                   T* shared, T* largest, T* sum, const Each& each) {
  const T most = *largest = largest_of(p, x, length, stride, shared);
  T total = 0;
  for (int64_t i = p.lane; i < length; i += p.lanes) {
    const T e = exp(x[i * stride] - most);
    each(i, e);
    total += e;
  }
  *sum = combine_lanes(p, total, shared, Add());
}

}  // namespace bptt::cuda
