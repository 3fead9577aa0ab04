// Starts a kernel of kernel_arguments.h on a device's stream.
#pragma once

#include "cuda/device.h"
#include "cuda/kernel_arguments.h"
#include "enums.h"

namespace bptt::cuda {

// Blocks and threads; a block never has more than kBlockThreads.
struct Grid {
  int64_t blocks;
  unsigned threads = kBlockThreads;
};

// Enough blocks for one thread per item, or fewer where the threads stride: kernels
// loop over their items, so any number of blocks is right.
inline Grid grid_of(int64_t items) {
  const int64_t blocks = (items + kBlockThreads - 1) / kBlockThreads;
  return {blocks < kMostBlocks ? blocks : kMostBlocks};
}

// Nothing is started for 0 blocks. The arguments are copied before it returns.
template <class Arguments>
bptt_code launch(bptt_context* context, Kernel<Arguments> kernel, bptt_dtype dtype, Grid grid,
                 const Arguments& arguments) {
  if (!is_float(dtype))
    return fail(context, BPTT_INTERNAL, "there is no such kernel of int32 or bool");
  if (grid.blocks == 0) return BPTT_OK;
  const CudaDevice& device = device_of(context);
  void* parameters[] = {const_cast<Arguments*>(&arguments)};
  return check(context,
               device.driver.cuLaunchKernel(device.kernels[kernel.index][dtype == BPTT_FLOAT64],
                                            static_cast<unsigned>(grid.blocks), 1, 1, grid.threads,
                                            1, 1, 0, device.stream, parameters, nullptr),
               kernel.name);
}

}  // namespace bptt::cuda
