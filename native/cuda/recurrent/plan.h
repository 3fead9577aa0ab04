// A stack of recurrent layers as runs of layers: one call of cuDNN for all of them, or one
// per layer where our dropout lies between them, or one per layer of a cell of our own;
// what follows from shapes and lengths alone.
//
// Runs get packed sequences only: sorted rows of at least one step. So padding is never
// read, rows of no steps need no care of it, and any order of the caller's rows will do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "recurrent_layer.h"
#include "shared/packed_sequence.h"

namespace bptt::cuda {

// Where a parameter of a pseudo-layer lies in cuDNN's weight space.
struct WeightPlace {
  int64_t index;  // layer * D + direction of the whole stack
  Parameter which;
  int64_t from;   // first element of the parameter
  size_t offset;  // bytes in the weight space
  int64_t size;   // elements
};

// Layers that run in one call. The descriptors are cuDNN's, null for a cell of our own.
struct Run {
  Run(int64_t first_layer, int64_t count, int64_t input_size)
      : first(first_layer), layers(count), input(input_size) {}

  int64_t first, layers, input;
  cudnnRNNDescriptor_t rnn = nullptr;
  cudnnRNNDataDescriptor_t x = nullptr, y = nullptr;
  cudnnTensorDescriptor_t h = nullptr, c = nullptr;
  std::vector<WeightPlace> places;
  size_t weights = 0, weight_bytes = 0;  // offset in packed, size
  size_t reserve = 0, reserve_bytes = 0;
  size_t saved_y = 0;  // in the reserve: [rows,D*Hout], where another run follows
  size_t work_bytes = 0;
};

// Byte offsets of scratch. A slice that a plan does not need is empty.
struct Workspace {
  size_t index;       // int32 maps, as CudaPlan::index has them
  size_t weights;     // for a caller without a packed buffer
  size_t dweights;    // gradients in cuDNN's layout
  size_t x, y;        // [rows,I], [rows,D*Hout]
  size_t dx, dy[2];   // [rows,I], [rows,D*Hout]
  size_t inner[2];    // [rows,D*Hout], runs in turn, where no reserve serves
  size_t dropped;     // [rows,D*Hout]
  size_t h[4], c[4];  // [L*D,active,Hout], [L*D,active,H]: in, out, gradients in, out
  size_t runs;        // what each run needs for itself
};

struct CudaPlan : PackedSequence {
  explicit CudaPlan(const Cudnn& functions) : cudnn(functions) {}
  ~CudaPlan();
  CudaPlan(const CudaPlan&) = delete;

  const Cudnn& cudnn;
  bptt_recurrent desc;  // lengths is null
  int64_t gates;
  bool own_cell;        // cuDNN does not have it: steps.cc
  int64_t Hout, width;  // P ? P : H; D * Hout
  int64_t active_rows;  // of the batch: those of at least one step
  // What the runs read and write, and its size in bytes.
  cudnnDataType_t type;
  StoredAs stored;
  int64_t element;
  bool in_order;  // x and y lie as the packed rows do
  bool states_in_order;

  std::vector<Run> runs;
  // int32 maps, one after another, and where each begins:
  std::vector<int32_t> index;
  size_t packed_from_user;  // [rows]: row of x
  size_t user_from_packed;  // [T*B]: packed row, or -1 past a row's length
  size_t unsorted;          // [rows]: row of [T,B], for dropout
  size_t sorted_from_user;  // [active]: row of the batch
  size_t user_from_sorted;  // [B]: sorted row, or -1 where it has no steps
  Workspace forward, backward;
  bptt_plan_sizes sizes{};

  int64_t input(int64_t layer) const { return layer == 0 ? desc.I : width; }
  int64_t states() const { return desc.L * desc.D; }
  bool has_c() const { return states_of(desc.cell) == 2; }
  // The runs use the caller's x, y and states themselves.
  bool in_place() const { return in_order && stored == kStoredAsT; }
  bool states_in_place() const { return states_in_order && stored == kStoredAsT; }
  bool followed(const Run& run) const { return run.first + run.layers < desc.L; }
};

// packed begins with the stamp of what it holds; cuDNN's weight space follows.
constexpr size_t kPackedHeader = 256;

// Of slices in workspaces, reserve and packed weights.
constexpr int64_t kPlanAlignment = 256;

// -- the parts of a plan, in the order in which they are made ------------------------

// choice.cc. Refuses to compute in what the device or its cuDNN lacks.
bptt_code check_compute(bptt_context*, const bptt_recurrent&);
// Sets type, stored and element.
void choose_type(CudaPlan&);
cudnnDataType_t precision_of(cudnnDataType_t);
cudnnMathType_t math_of(const CudaPlan&);
cudnnRNNAlgo_t algorithm_of(const CudaPlan&, const Run&, const CudaDevice&);

// describe.cc. lengths of the active rows, sorted; sizes and weights of the run follow.
bptt_code describe(bptt_context*, const CudaPlan&, Run&, const std::vector<int>& lengths);

// weights.cc. Fills the run's places.
bptt_code place_weights(bptt_context*, const CudaPlan&, Run&);

// steps.cc. Scratch and reserve of a layer of a cell of our own.
void size_steps(const CudaPlan&, Run&);

// layout.cc. Fills the maps between the caller's rows and the packed ones.
void map_rows(CudaPlan&);
// Sets the sizes; false when one of them overflows.
bool lay_out(CudaPlan&);

// -- the table's entries ----------------------------------------------------------

bptt_code recurrent_plan_create(bptt_context*, const bptt_recurrent*, bptt_plan**);
void recurrent_plan_destroy(bptt_plan*);
void recurrent_plan_sizes(const bptt_plan*, bptt_plan_sizes*);
bptt_code recurrent_forward(bptt_context*, const bptt_plan*, const bptt_recurrent_forward*);
bptt_code recurrent_backward(bptt_context*, const bptt_plan*, const bptt_recurrent_backward*);

}  // namespace bptt::cuda
