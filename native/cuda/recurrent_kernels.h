// The arguments of kernels/recurrent.cu; kernels.h lists them.
#pragma once

#include <stdint.h>

namespace bptt::cuda {

// How a buffer holds its numbers: the caller's as T, those that a layer computes with
// perhaps in 16 bits. "S" below is the type so told.
enum StoredAs : int { kStoredAsT, kStoredFloat16, kStoredBfloat16 };

// Rows between the caller's order and a packed sequence's, in groups of their own.
struct MoveRows {
  int64_t groups, rows, rows_in, columns;
  const int32_t* index;  // [rows]: row of `in`, or below 0; null: the same
  StoredAs in_as, out_as;
  const void* in;         // S[groups, rows_in, columns]
  const void* otherwise;  // T[groups, rows, columns], may be null
  void* out;              // S[groups, rows, columns]
};

struct DropoutRows {
  int64_t rows, columns;
  const int32_t* index;  // [rows]: row of the unsorted [T,B]; null: the same
  uint64_t threshold;
  double scale;
  uint64_t seed, offset;
  StoredAs as;
  const void* in;  // S[rows, columns]
  void* out;       // S[rows, columns], may be in
};

constexpr int kMostParts = 40;

struct CopyParts {
  const uint64_t* held;  // may be null: always copied
  uint64_t stamp;
  StoredAs in_as, out_as;
  int count;
  struct {
    const void* in;  // S[size]
    void* out;       // S[size]
    int64_t size;
  } part[kMostParts];
};

struct HoldStamp {
  uint64_t* held;
  uint64_t stamp;
};

// A step of the GRU that resets before its product, for rows of H units.
struct ResetBefore {
  int64_t rows, H;
  const void* bias;  // T[3H], b_hh; may be null
  void* gates;       // T[rows, 3H]
  void* state;       // T[rows, H]: h_prev, then h
  void* operand;     // T[rows, H]: r * h_prev
  void* saved;       // T[rows, H]: h_prev for backward; may be null
  void* y;           // T[rows, H] in rows of y_row
  int64_t y_row;
};

struct ResetBeforeBackward {
  int64_t rows, H;
  void* gates;         // T[rows, 3H]: r z n, then their gradients
  const void* h_prev;  // T[rows, H]
  const void* dy;      // T[rows, H] in rows of dy_row
  int64_t dy_row;
  void* dstate;          // T[rows, H]: gradient of h, then of h_prev
  void* operand;         // T[rows, H]: r * h_prev, for the weights' gradient
  const void* doperand;  // T[rows, H]
};

#define BPTT_CUDA_RECURRENT_KERNELS(KERNEL)            \
  KERNEL(move_rows, MoveRows)                          \
  KERNEL(dropout_rows, DropoutRows)                    \
  KERNEL(copy_parts, CopyParts)                        \
  KERNEL(hold_stamp, HoldStamp)                        \
  KERNEL(reset_before_r, ResetBefore)                  \
  KERNEL(reset_before_h, ResetBefore)                  \
  KERNEL(reset_before_h_backward, ResetBeforeBackward) \
  KERNEL(reset_before_r_backward, ResetBeforeBackward)

}  // namespace bptt::cuda
