// Softmax and layer norm.
#include "cuda/device.h"
#include "cuda/reduction.h"

namespace bptt::cuda {

bptt_code softmax(bptt_context* context, bptt_dtype dtype, bptt_softmax_kind kind, int64_t outer,
                  int64_t classes, int64_t inner, const void* x, void* out) {
  if (classes == 0) return BPTT_OK;
  const Lines lines = lines_of(outer, classes, inner);
  return launch(context, softmax_kernel, dtype, grid_of_lines(lines.count, lines.lanes),
                Softmax{lines, kind == BPTT_LOG_SOFTMAX, x, out});
}

bptt_code softmax_backward(bptt_context* context, bptt_dtype dtype, bptt_softmax_kind kind,
                           int64_t outer, int64_t classes, int64_t inner, const void* out,
                           const void* dout, void* dx) {
  if (classes == 0) return BPTT_OK;
  const Lines lines = lines_of(outer, classes, inner);
  return launch(context, softmax_backward_kernel, dtype, grid_of_lines(lines.count, lines.lanes),
                SoftmaxBackward{lines, kind == BPTT_LOG_SOFTMAX, out, dout, dx});
}

bptt_code layer_norm(bptt_context* context, bptt_dtype dtype, int64_t rows, int64_t cols,
                     double eps, const void* x, const void* gamma, const void* beta, void* y,
                     void* mean, void* rstd) {
  if (cols == 0 && !mean && !rstd) return BPTT_OK;  // nothing is written, of however many rows
  const Lanes lanes = lanes_of(cols, true);
  return launch(context, layer_norm_kernel, dtype, grid_of_lines(rows, lanes),
                LayerNorm{rows, cols, lanes, eps, x, gamma, beta, y, mean, rstd});
}

namespace {

// dgamma is summed by chunks of rows, and these by run_sum.
bptt_code layer_norm_gamma(bptt_context* context, bptt_dtype dtype, int64_t rows, int64_t cols,
                           const void* x, const void* mean, const void* rstd, const void* dy,
                           void* dgamma) {
  const int64_t chunk_rows = chunk_length_of(false);
  const int64_t chunks = rows > chunk_rows ? divide_up(rows, chunk_rows) : 1;
  const SumShape rest = sum_of_rows(chunks, cols);
  Scratch& scratch = device_of(context).reduction;
  if (const bptt_code code =
          reserve(context, scratch, bytes_of(dtype, chunks * cols + sum_scratch(rest))))
    return code;
  void* partial = chunks == 1 ? dgamma : pointer<void>(scratch);
  const Lanes lanes = lanes_of(rows, false);
  if (const bptt_code code =
          launch(context, layer_norm_gamma_kernel, dtype, grid_of_lines(chunks * cols, lanes),
                 LayerNormGamma{rows, cols, chunks, chunk_rows, lanes, x, mean, rstd, dy, partial}))
    return code;
  if (chunks == 1) return BPTT_OK;
  return run_sum(context, dtype, rest, 1, partial, dgamma, element(dtype, partial, chunks * cols));
}

}  // namespace

bptt_code layer_norm_backward(bptt_context* context, bptt_dtype dtype, int64_t rows, int64_t cols,
                              const void* x, const void* gamma, const void* mean, const void* rstd,
                              const void* dy, void* dx, void* dgamma, void* dbeta) {
  const Lanes lanes = lanes_of(cols, true);
  bptt_code code = BPTT_OK;
  if (dx)
    code = launch(context, layer_norm_backward_kernel, dtype, grid_of_lines(rows, lanes),
                  LayerNormBackward{rows, cols, lanes, x, gamma, mean, rstd, dy, dx});
  if (!code && dgamma)
    code = layer_norm_gamma(context, dtype, rows, cols, x, mean, rstd, dy, dgamma);
  if (!code && dbeta) {
    const int64_t shape[] = {rows, cols};
    const int reduced[] = {1, 0};
    code = sum(context, dtype, 2, shape, reduced, 1, dy, dbeta);
  }
  return code;
}

}  // namespace bptt::cuda
