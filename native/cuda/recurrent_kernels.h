// The arguments of kernels/recurrent.cu; kernels.h lists them.
#pragma once

#include <stdint.h>

namespace bptt::cuda {

// Rows between the caller's order and a packed sequence's, in groups of their own.
struct MoveRows {
  int64_t groups, rows, rows_in, columns;
  const int32_t* index;   // [rows]: row of `in`, or below 0
  const void* in;         // T[groups, rows_in, columns]
  const void* otherwise;  // T[groups, rows, columns], may be null
  void* out;              // T[groups, rows, columns]
};

struct DropoutRows {
  int64_t rows, columns;
  const int32_t* index;  // [rows]: row of the unsorted [T,B]; null: the same
  uint64_t threshold;
  double scale;
  uint64_t seed, offset;
  const void* in;  // T[rows, columns]
  void* out;       // T[rows, columns], may be in
};

constexpr int kMostParts = 40;

struct CopyParts {
  const uint64_t* held;  // may be null: always copied
  uint64_t stamp;
  int count;
  struct {
    const void* in;  // T[size]
    void* out;
    int64_t size;
  } part[kMostParts];
};

struct HoldStamp {
  uint64_t* held;
  uint64_t stamp;
};

#define BPTT_CUDA_RECURRENT_KERNELS(KERNEL) \
  KERNEL(move_rows, MoveRows)               \
  KERNEL(dropout_rows, DropoutRows) KERNEL(copy_parts, CopyParts) KERNEL(hold_stamp, HoldStamp)

}  // namespace bptt::cuda
