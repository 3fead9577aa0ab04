// Softmax and layer norm.
#include <cmath>

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
                LayerNorm{rows, cols, lanes, eps, std::sqrt(eps), x, gamma, beta, y, mean, rstd});
}

namespace {

// dgamma is summed by chunks of rows, and these by run_sum.
struct GammaSum {
  int64_t chunk_rows = chunk_length_of(false);
  int64_t chunks;
  SumShape rest;
  GammaSum(int64_t rows, int64_t cols)
      : chunks(rows > chunk_rows ? divide_up(rows, chunk_rows) : 1),
        rest(sum_of_rows(chunks, cols)) {}
  int64_t places() const { return chunks * rest.outputs; }
};

bptt_code layer_norm_gamma(bptt_context* context, bptt_dtype dtype, int64_t rows, int64_t cols,
                           const GammaSum& sum, const void* x, const void* normalize,
                           const void* dy, void* dgamma, void* scratch) {
  void* partial = sum.chunks == 1 ? dgamma : scratch;
  const Lanes lanes = lanes_of(rows, false);
  const bptt_code code = launch(
      context, layer_norm_gamma_kernel, dtype, grid_of_lines(sum.places(), lanes),
      LayerNormGamma{rows, cols, sum.chunks, sum.chunk_rows, lanes, x, normalize, dy, partial});
  if (code || sum.chunks == 1) return code;
  return run_sum(context, dtype, sum.rest, 1, {partial}, dgamma, nullptr,
                 element(dtype, scratch, sum.places()));
}

// What needs the rows as the forward normalized them.
bptt_code layer_norm_by_rows(bptt_context* context, bptt_dtype dtype, int64_t rows, int64_t cols,
                             const void* x, const void* gamma, const void* mean, const void* rstd,
                             const void* dy, void* dx, void* dgamma) {
  const Lanes lanes = lanes_of(cols, true);
  const GammaSum sum(rows, cols);
  Scratch& scratch = device_of(context).reduction;
  const int64_t places = kNormalizeNumbers * rows + sum.places() + sum_scratch(sum.rest);
  bptt_code code = reserve(context, scratch, bytes_of(dtype, places));
  if (code) return code;
  void* const normalize = pointer<void>(scratch);
  code = launch(context, layer_norm_saved_kernel, dtype, grid_of_lines(rows, lanes),
                LayerNormSaved{rows, cols, lanes, x, mean, rstd, normalize});
  if (!code && dx)
    code = launch(
        context, layer_norm_backward_kernel, dtype, grid_of_lines(rows, lanes),
        LayerNormBackward{rows, cols, lanes, power_of_two_part(cols), x, gamma, normalize, dy, dx});
  if (!code && dgamma)
    code = layer_norm_gamma(context, dtype, rows, cols, sum, x, normalize, dy, dgamma,
                            element(dtype, normalize, kNormalizeNumbers * rows));
  return code;
}

}  // namespace

bptt_code layer_norm_backward(bptt_context* context, bptt_dtype dtype, int64_t rows, int64_t cols,
                              const void* x, const void* gamma, const void* mean, const void* rstd,
                              const void* dy, void* dx, void* dgamma, void* dbeta) {
  bptt_code code = BPTT_OK;
  if ((dx || dgamma) && cols > 0)
    code = layer_norm_by_rows(context, dtype, rows, cols, x, gamma, mean, rstd, dy, dx, dgamma);
  if (!code && dbeta) {
    const int64_t shape[] = {rows, cols};
    const int reduced[] = {1, 0};
    code = sum(context, dtype, 2, shape, reduced, 1, dy, dbeta);
  }
  return code;
}

}  // namespace bptt::cuda
