// Elementwise operations.
#include "cuda/launch.h"
#include "cuda/ops.h"

namespace bptt::cuda {

namespace {

// Axes of size 1 are dropped and axes that both operands walk as one are merged.
void append(Axes& axes, int64_t size, int64_t a_stride, int64_t b_stride) {
  axes.n *= size;
  if (size == 1) return;
  const int last = axes.rank - 1;
  if (axes.rank > 0 && axes.a[last] == a_stride * size && axes.b[last] == b_stride * size) {
    axes.shape[last] *= size;
  } else {
    axes.shape[axes.rank++] = size;
  }
  axes.a[axes.rank - 1] = a_stride;
  axes.b[axes.rank - 1] = b_stride;
}

// The axis along which src is most nearly adjacent, which has index `inner`, becomes the
// last but one.
Axes transposed(const Axes& axes, int inner) {
  Axes result = axes;
  const int last = axes.rank - 1;
  for (int d = 0; d < last; ++d) {
    const int axis = d == last - 1 ? inner : d < inner ? d : d + 1;
    result.shape[d] = axes.shape[axis];
    result.a[d] = axes.a[axis];
    result.b[d] = axes.b[axis];
  }
  return result;
}

constexpr int64_t kLeastTile = 8;  // a shorter axis leaves most of a tile empty

int64_t tiles_of(int64_t n) { return (n + kCopyTile - 1) / kCopyTile; }

Axes no_axes() {
  Axes axes{};
  axes.n = 1;
  return axes;
}

// A scalar becomes one axis of size 1.
void finish(Axes& axes) {
  if (axes.rank == 0) axes.shape[axes.rank++] = 1;
}

}  // namespace

bptt_code fill(bptt_context* context, bptt_dtype dtype, int64_t n, double value, void* out) {
  const bool integer = dtype == BPTT_INT32;
  return launch(context, fill_kernel, integer ? BPTT_FLOAT32 : dtype, grid_of(n),
                Fill{n, value, out, integer});
}

bptt_code unary(bptt_context* context, bptt_dtype dtype, bptt_unary_op op, double alpha, int64_t n,
                const void* x, void* out) {
  return launch(context, unary_kernel, dtype, grid_of(n), Unary{op, alpha, n, x, out});
}

bptt_code unary_backward(bptt_context* context, bptt_dtype dtype, bptt_unary_op op, int64_t n,
                         const void* saved, const void* dout, void* dx) {
  if (op == BPTT_SCALE)  // needs alpha, which unary() takes
    return fail(context, BPTT_INTERNAL, "unary_backward: scale is its own backward");
  return launch(context, unary_backward_kernel, dtype, grid_of(n),
                UnaryBackward{op, n, saved, dout, dx});
}

bptt_code binary(bptt_context* context, bptt_dtype dtype, bptt_binary_op op, int rank,
                 const int64_t* shape, const void* a, const int64_t* a_strides, const void* b,
                 const int64_t* b_strides, void* out) {
  Axes axes = no_axes();
  for (int d = 0; d < rank; ++d) append(axes, shape[d], a_strides[d], b_strides[d]);
  finish(axes);
  return launch(context, binary_kernel, dtype, grid_of(axes.n), Binary{op, axes, a, b, out});
}

bptt_code copy(bptt_context* context, bptt_dtype dtype, int rank, const int64_t* shape,
               const void* src, const int64_t* src_strides, void* dst, const int64_t* dst_strides) {
  // The axes in descending order of dst's strides: neighbouring threads write neighbours.
  int order[BPTT_MAX_RANK];
  for (int d = 0; d < rank; ++d) {
    int at = d;
    for (; at > 0 && dst_strides[order[at - 1]] < dst_strides[d]; --at) order[at] = order[at - 1];
    order[at] = d;
  }
  Axes axes = no_axes();
  for (int d = 0; d < rank; ++d)
    append(axes, shape[order[d]], src_strides[order[d]], dst_strides[order[d]]);
  finish(axes);
  // Words of 4 bytes are words of 4 bytes.
  const bptt_dtype words = dtype == BPTT_INT32 ? BPTT_FLOAT32 : dtype;
  const int last = axes.rank - 1;
  int inner = last;
  for (int d = 0; d < axes.rank; ++d)
    if (axes.a[d] != 0 && axes.a[d] < axes.a[inner]) inner = d;
  const int64_t P = axes.shape[inner], Q = axes.shape[last];
  if (axes.n == 0 || axes.a[last] == 0 || inner == last || P < kLeastTile || Q < kLeastTile)
    return launch(context, copy_kernel, words, grid_of(axes.n), Copy{axes, src, dst});
  const int64_t tiles = axes.n / (P * Q) * tiles_of(P) * tiles_of(Q);
  return launch(context, copy_tiles_kernel, words, {tiles < kMostBlocks ? tiles : kMostBlocks},
                Copy{transposed(axes, inner), src, dst});
}

}  // namespace bptt::cuda
