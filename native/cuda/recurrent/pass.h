// One call of a recurrent layer on a device: its buffers, and the steps that it is made of.
#pragma once

#include "cuda/launch.h"
#include "cuda/recurrent/plan.h"

namespace bptt::cuda {

// One call, forward or backward: the plan with the buffers it was given.
struct Pass {
  bptt_context* context;
  const CudaPlan& plan;
  const Workspace& work;
  char* workspace;
  char* reserve;
  char* packed;  // header and weight spaces
  bptt_code code = BPTT_OK;

  const CudaDevice& device() const { return device_of(context); }
  bptt_dtype dtype() const { return plan.desc.dtype; }
  int64_t scalar() const { return dtype() == BPTT_FLOAT64 ? 8 : 4; }  // of the caller's tensors
  void* at(size_t offset) const { return workspace + offset; }
  const int32_t* map(size_t begin) const {
    return reinterpret_cast<const int32_t*>(workspace + work.index) + begin;
  }
  char* weights(const Run& run) const { return packed + run.weights; }
  void* offset(const void* base, int64_t elements) const {
    return base ? static_cast<char*>(const_cast<void*>(base)) + elements * scalar() : nullptr;
  }

  // The same in the type that runs read and write.
  void* run_offset(const void* base, int64_t elements) const {
    return base ? static_cast<char*>(const_cast<void*>(base)) + elements * plan.element : nullptr;
  }

  // Runs a step of the pass, unless one before it has failed.
  template <class Step>
  void then(Step step) {
    if (code == BPTT_OK) code = step();
  }
};

bptt_code zero_bytes(const Pass&, void* out, size_t bytes);
// The caller's elements.
bptt_code zero(const Pass&, void* out, int64_t elements);
bptt_code copy(const Pass&, void* out, const void* in, int64_t elements);
bptt_code upload_maps(const Pass&);

// The caller's [T,B,columns] or [B,T,columns] as packed rows in the type that runs read and
// write, and back; rows past their length become zero.
bptt_code gather_rows(const Pass&, int64_t columns, const void* user, void* packed);
bptt_code scatter_rows(const Pass&, int64_t columns, const void* packed, void* user);

// Sorts the states of the rows that have a step into the slice, in the type that runs read and
// write, and returns where they are: at the caller's own place where nothing need change.
// Null stays null: zeros.
const void* gather_states(Pass&, int64_t columns, const void* user, size_t slice);
// Where states are written that scatter_states brings to the caller.
void* states_target(const Pass&, void* user, size_t slice);
// Rows of no steps pass their initial state on, or the gradient of their last one.
void scatter_states(Pass&, int64_t columns, size_t slice, const void* passed, void* user);
// Without a step every state passes through.
void pass_states(Pass&, int64_t columns, const void* in, void* out);

// Dropout of a run's output, or of its gradient. out may be in.
bptt_code drop(const Pass&, const Run&, bptt_rng, const void* in, void* out);

// What a run of layers reads and writes, as packed rows and sorted states. The states are
// those of the whole stack.
struct ForwardRows {
  const void *x, *h0, *c0;
  void *y, *hn, *cn;
};
struct BackwardRows {
  const void *x, *y, *dy, *h0, *c0, *dhn, *dcn;
  void *dx, *dh0, *dc0;
};

// -- steps.cc: a layer of a cell that cuDNN does not have ------------------

void steps_forward(Pass&, const Run&, const bptt_recurrent_params* params, const ForwardRows&);
void steps_backward(Pass&, const Run&, const bptt_recurrent_params* params,
                    const bptt_recurrent_params* dparams, const BackwardRows&);

}  // namespace bptt::cuda
