// Embedding.
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/reduction.h"

namespace bptt::cuda {

bptt_code embedding(bptt_context* context, bptt_dtype dtype, int64_t n, int64_t rows, int64_t cols,
                    const void* table, const int32_t* index, void* out) {
  return launch(
      context, embedding_kernel, dtype, grid_of(n * cols),
      Embedding{n, rows, cols, table, index, out, pointer<int32_t>(device_of(context).flags)});
}

bptt_code embedding_backward(bptt_context* context, bptt_dtype dtype, int64_t n, int64_t rows,
                             int64_t cols, int64_t padding, const int32_t* index, const void* dout,
                             void* dtable) {
  CudaDevice& device = device_of(context);
  if (const bptt_code code = fill(context, dtype, rows * cols, 0, dtable)) return code;
  const size_t bytes = 2 * static_cast<size_t>(n) * sizeof(int64_t);
  if (const bptt_code code = reserve(context, device.reduction, bytes)) return code;
  int64_t* next = pointer<int64_t>(device.reduction);
  int64_t* follows = next + n;
  // A double of 0 is 8 bytes of 0.
  if (const bptt_code code = fill(context, BPTT_FLOAT64, n, 0, follows)) return code;
  if (const bptt_code code =
          launch(context, embedding_links_kernel, dtype, grid_of(n),
                 EmbeddingLinks{n, rows, index, next, follows, pointer<int32_t>(device.flags)}))
    return code;
  return launch(context, embedding_backward_kernel, dtype, grid_of(n * cols),
                EmbeddingBackward{n, rows, cols, padding, index, next, follows, dout, dtable});
}

}  // namespace bptt::cuda
