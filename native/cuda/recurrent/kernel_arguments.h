// The arguments of the kernels of recurrent layers (kernels/recurrent.cu, kernels/<cell>.cu),
// which cuda/kernel_arguments.h adds to its list.
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

// -- cells that cuDNN does not have --------------------------------------------------

// A stage of a step (steps.cc), for rows of H units. The gates come with their
// products; b_hh is added by the kernel of the gate. Null: what the cell or the call has not.
struct CellStep {
  int64_t rows, H;
  const void* bias;          // T[G*H], b_hh
  const void* unit_weights;  // T[n,H]
  void* gates;               // T[rows, G*H]
  void* h;                   // T[rows, H]: h_prev, then h; null where it is projected
  void* c;                   // T[rows, H]: c_prev, then c
  void* operand;             // T[rows, H]: what the next stage multiplies
  void* saved_h;             // T[rows, H]: h_prev for backward; null where h is projected
  void* saved_c;             // T[rows, H]: c_prev for backward
  void* out;                 // T[rows, H] in rows of out_row: y, or h before its projection
  int64_t out_row;
};

struct CellStepBackward {
  int64_t rows, H;
  const void* unit_weights;
  void* gates;         // T[rows, G*H]: what forward saved, then gradients
  const void* h_prev;  // T[rows, H]
  const void* c_prev;  // T[rows, H]
  const void* dy;      // T[rows, H] in rows of dy_row: added to dh; null where it is there
  int64_t dy_row;
  void* dh;              // T[rows, H]: gradient of h, then that of h_prev so far
  void* dc;              // T[rows, H]: gradient of c, then of c_prev
  void* operand;         // T[rows, H]: what forward multiplied, for the weights' gradient
  const void* doperand;  // T[rows, H]: its gradient
  void* dunit_weights;   // T[rows, n*H]: this step's part
};

// STAGE(KERNEL, kernel, cell, of_h, gate, count): the stages of the cells that cuDNN does not have,
// in their order. Each multiplies count gates of weight_hh, from `gate` on, by h_prev or (not of_h)
// by operand, then runs `kernel`. Backward, `kernel`_backward comes before the products.
#define BPTT_CUDA_STAGES(STAGE, KERNEL)                             \
  STAGE(KERNEL, reset_before_r, BPTT_GRU_RESET_BEFORE, true, 0, 2)  \
  STAGE(KERNEL, reset_before_h, BPTT_GRU_RESET_BEFORE, false, 2, 1) \
  STAGE(KERNEL, lstm_peephole, BPTT_LSTM_PEEPHOLE, true, 0, 4)

#define BPTT_STAGE_KERNELS(KERNEL, kernel, ...) \
  KERNEL(kernel, CellStep) KERNEL(kernel##_backward, CellStepBackward)

#define BPTT_CUDA_RECURRENT_KERNELS(KERNEL) \
  KERNEL(move_rows, MoveRows)               \
  KERNEL(dropout_rows, DropoutRows)         \
  KERNEL(copy_parts, CopyParts)             \
  KERNEL(hold_stamp, HoldStamp)             \
  BPTT_CUDA_STAGES(BPTT_STAGE_KERNELS, KERNEL)

}  // namespace bptt::cuda
