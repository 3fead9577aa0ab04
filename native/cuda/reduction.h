// How sums are divided among blocks and passes: by shape alone, so that the order of a sum
// depends on nothing else.
#pragma once

#include "cuda/launch.h"
#include "shared/range.h"

namespace bptt::cuda {

// 0 for n = 0.
inline int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

inline size_t bytes_of(bptt_dtype dtype, int64_t n) {
  return static_cast<size_t>(n) * (dtype == BPTT_FLOAT64 ? sizeof(double) : sizeof(float));
}

// Element i of an array of dtype.
inline void* element(bptt_dtype dtype, void* data, int64_t i) {
  return static_cast<char*>(data) + bytes_of(dtype, i);
}

template <class T>
T* pointer(const Scratch& scratch) {
  return reinterpret_cast<T*>(static_cast<uintptr_t>(scratch.data));
}

// Lanes of lines whose own elements are adjacent in memory (along), a warp or a whole block of
// them; or of lines that are beside each other.
inline Lanes lanes_of(int64_t length, bool along) {
  constexpr int kAcrossLanes = 8, kWarp = 32;
  constexpr int64_t kWarpLength = 512;  // the longest line that one warp takes
  if (!along) return {kAcrossLanes, 0};
  return {length <= kWarpLength ? kWarp : static_cast<int>(kBlockThreads), 1};
}

inline Lines lines_of(int64_t outer, int64_t length, int64_t inner) {
  return {outer * inner, length, inner, lanes_of(length, inner == 1)};
}

inline Grid grid_of_lines(int64_t count, const Lanes& lanes) {
  const int64_t blocks = divide_up(count, kBlockThreads / lanes.lanes);
  return {blocks < kMostBlocks ? blocks : kMostBlocks};
}

inline Grid grid_of_chunks(int64_t chunks) { return {chunks < kMostBlocks ? chunks : kMostBlocks}; }

// Elements of one chunk of a sum.
inline int64_t chunk_length_of(bool along) { return along ? kChunk : 512; }

// A sum of `length` elements for each of the outputs.
struct SumShape : SumAxes {
  int64_t outputs = 0, length = 0;
};

// Sums over the first axis of a dense [length, outputs].
SumShape sum_of_rows(int64_t length, int64_t outputs);
// Sums over the second axis of a dense [outputs, length].
SumShape sum_of_columns(int64_t outputs, int64_t length);

// The elements: x, and in `small` the same times `part`, a power of two that keeps the sum within
// the range of the type. Where small is null, x is multiplied on the way, and part follows from
// the length of the sum.
struct Terms {
  const void* x;
  const void* small = nullptr;
  double part = 1;
};

// Elements of scratch that run_sum needs.
int64_t sum_scratch(const SumShape&);

// out = scale * sum; or, where out_small is given, out = sum and out_small = part * sum, of
// which either may have left the range of the type. scratch must not hold x or other data of
// the caller's.
bptt_code run_sum(bptt_context*, bptt_dtype, const SumShape&, double scale, Terms, void* out,
                  void* out_small, void* scratch);

}  // namespace bptt::cuda
