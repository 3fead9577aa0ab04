// Operations of any dtype, and those of int32 and bool.
#include "cuda/ops_integers.h"

#include "cuda/launch.h"
#include "enums.h"

namespace bptt::cuda {

namespace {

// These kernels find the types in their arguments; that of float32 is launched.
constexpr bptt_dtype kAny = BPTT_FLOAT32;

bptt_code no_kernel(bptt_context* context) {
  return fail(context, BPTT_INTERNAL, "there is no such kernel of integers");
}

}  // namespace

bptt_code convert(bptt_context* context, bptt_dtype from, bptt_dtype to, int64_t n, const void* x,
                  void* out) {
  return launch(context, convert_kernel, kAny, grid_of(n), Convert{from, to, n, x, out});
}

bptt_code compare(bptt_context* context, bptt_dtype dtype, bptt_comparison op, int rank,
                  const int64_t* shape, const void* a, const int64_t* a_strides, const void* b,
                  const int64_t* b_strides, void* out) {
  const Axes axes = axes_of(rank, shape, a_strides, b_strides);
  return launch(context, compare_kernel, kAny, grid_of(axes.n),
                Compare{dtype, op, axes, a, b, static_cast<uint8_t*>(out)});
}

bptt_code masked_copy(bptt_context* context, bptt_dtype dtype, int rank, const int64_t* shape,
                      const void* mask, const int64_t* mask_strides, const void* src,
                      const int64_t* src_strides, void* out) {
  const Axes axes = axes_of(rank, shape, mask_strides, src_strides);
  return launch(context, masked_copy_kernel, kAny, grid_of(axes.n),
                MaskedCopy{static_cast<int>(size_of(dtype)), axes,
                           static_cast<const uint8_t*>(mask), src, out});
}

bptt_code unary_integers(bptt_context* context, bptt_dtype dtype, const Unary& arguments) {
  switch (arguments.op) {
    case BPTT_NEG:
    case BPTT_ABS:
    case BPTT_SIGN:
    case BPTT_SCALE:
    case BPTT_ADD_SCALAR:
      if (dtype == BPTT_INT32)
        return launch(context, integer_unary_kernel, kAny, grid_of(arguments.n), arguments);
      return no_kernel(context);
    default:
      return no_kernel(context);
  }
}

bptt_code binary_integers(bptt_context* context, const IntegerBinary& arguments) {
  const bool extreme = arguments.op == BPTT_MAXIMUM || arguments.op == BPTT_MINIMUM;
  if (!extreme && (arguments.dtype == BPTT_BOOL || arguments.op > BPTT_MUL))
    return no_kernel(context);
  return launch(context, integer_binary_kernel, kAny, grid_of(arguments.axes.n), arguments);
}

bptt_code sum_integers(bptt_context* context, bptt_dtype dtype, const SumAxes& axes, const void* x,
                       void* out) {
  if (dtype != BPTT_INT32) return no_kernel(context);
  const int64_t outputs = axes.outer.size() * axes.inner;
  return launch(context, integer_sum_kernel, kAny, grid_of(outputs),
                IntegerSum{axes.outer, axes.reduced, outputs, axes.inner, axes.reduced.size(),
                           static_cast<const int32_t*>(x), static_cast<int32_t*>(out)});
}

}  // namespace bptt::cuda
