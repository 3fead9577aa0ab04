// Elementwise operations.
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ops_integers.h"

namespace bptt::cuda {

namespace {

constexpr int64_t kLeastTile = 8;  // a shorter axis leaves most of a tile empty

int64_t tiles_of(int64_t n) { return (n + kCopyTile - 1) / kCopyTile; }

}  // namespace

bptt_code fill(bptt_context* context, bptt_dtype dtype, int64_t n, double value, void* out) {
  return launch(context, fill_kernel, is_float(dtype) ? dtype : BPTT_FLOAT32, grid_of(n),
                Fill{n, value, out, dtype});
}

bptt_code unary(bptt_context* context, bptt_dtype dtype, bptt_unary_op op, double alpha,
                double beta, int64_t n, const void* x, void* out) {
  const Unary arguments{op, alpha, beta, n, x, out};
  return is_float(dtype) ? launch(context, unary_kernel, dtype, grid_of(n), arguments)
                         : unary_integers(context, dtype, arguments);
}

bptt_code unary_backward(bptt_context* context, bptt_dtype dtype, bptt_unary_op op, double alpha,
                         double beta, int64_t n, const void* saved, const void* dout, void* dx) {
  return launch(context, unary_backward_kernel, dtype, grid_of(n),
                UnaryBackward{op, alpha, beta, n, saved, dout, dx});
}

bptt_code binary(bptt_context* context, bptt_dtype dtype, bptt_binary_op op, int rank,
                 const int64_t* shape, const void* a, const int64_t* a_strides, const void* b,
                 const int64_t* b_strides, void* out) {
  const Axes axes = axes_of(rank, shape, a_strides, b_strides);
  return is_float(dtype)
             ? launch(context, binary_kernel, dtype, grid_of(axes.n), Binary{op, axes, a, b, out})
             : binary_integers(context, {dtype, op, axes, a, b, out});
}

bptt_code copy(bptt_context* context, bptt_dtype dtype, int rank, const int64_t* shape,
               const void* src, const int64_t* src_strides, void* dst, const int64_t* dst_strides) {
  // Neighbouring threads write neighbours.
  const Axes axes = axes_in_order_of_b(rank, shape, src_strides, dst_strides);
  if (dtype == BPTT_BOOL)
    return launch(context, copy_bytes_kernel, BPTT_FLOAT32, grid_of(axes.n), Copy{axes, src, dst});
  // The kernel of float32 copies int32 too: both are words of 4 bytes.
  const bptt_dtype words = dtype == BPTT_INT32 ? BPTT_FLOAT32 : dtype;
  const int last = axes.rank - 1, inner = nearest_axis_of_a(axes);
  const int64_t P = axes.shape[inner], Q = axes.shape[last];
  if (axes.n == 0 || axes.a[last] == 0 || inner == last || P < kLeastTile || Q < kLeastTile)
    return launch(context, copy_kernel, words, grid_of(axes.n), Copy{axes, src, dst});
  const int64_t tiles = axes.n / (P * Q) * tiles_of(P) * tiles_of(Q);
  return launch(context, copy_tiles_kernel, words, {tiles < kMostBlocks ? tiles : kMostBlocks},
                Copy{transposed(axes, inner), src, dst});
}

}  // namespace bptt::cuda
