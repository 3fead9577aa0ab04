// Dropout and random tensors.
#include "cuda/device.h"
#include "cuda/launch.h"
#include "shared/philox.h"

namespace bptt::cuda {

namespace {

// A thread per block of four draws.
Grid grid_of_draws(int64_t n) { return grid_of(static_cast<int64_t>(philox_blocks(n))); }

}  // namespace

bptt_code dropout(bptt_context* context, bptt_dtype dtype, int64_t n, double p, bptt_rng rng,
                  const void* x, void* out) {
  // The scale of p = 1 is 0, so a word that its threshold lets pass is dropped too.
  const uint64_t threshold = dropout_threshold(p);
  return launch(
      context, dropout_kernel, dtype, grid_of_draws(n),
      Dropout{rng, n, static_cast<uint32_t>(threshold > 0xffffffff ? 0xffffffff : threshold),
              dropout_scale(p), x, out});
}

bptt_code uniform(bptt_context* context, bptt_dtype dtype, int64_t n, double low, double high,
                  bptt_rng rng, void* out) {
  return launch(context, uniform_kernel, dtype, grid_of_draws(n), Uniform{rng, n, low, high, out});
}

bptt_code normal(bptt_context* context, bptt_dtype dtype, int64_t n, double mean, double std,
                 bptt_rng rng, void* out) {
  return launch(context, normal_kernel, dtype, grid_of_draws(n), Normal{rng, n, mean, std, out});
}

}  // namespace bptt::cuda
