// The table of this instruction set. An entry `foo` that takes a dtype calls
// foo_impl<F32> or foo_impl<F64>; fill and copy also serve int32 and choose
// themselves.

template <auto Float32, auto Float64>
struct ByDtype;

template <class... Args, bptt_code (*Float32)(bptt_context*, Args...),
          bptt_code (*Float64)(bptt_context*, Args...)>
struct ByDtype<Float32, Float64> {
  static bptt_code call(bptt_context* context, bptt_dtype dtype, Args... args) {
    if (dtype == BPTT_FLOAT32) return Float32(context, args...);
    if (dtype == BPTT_FLOAT64) return Float64(context, args...);
    std::snprintf(context->message, sizeof context->message, "no kernel for dtype %d",
                  static_cast<int>(dtype));
    return BPTT_INTERNAL;
  }
};

static bptt_code recurrent_forward(bptt_context* context, const bptt_plan* plan,
                                   const bptt_recurrent_forward* call) {
  return plan->desc.dtype == BPTT_FLOAT32 ? recurrent_forward_impl<F32>(context, plan, call)
                                          : recurrent_forward_impl<F64>(context, plan, call);
}

static bptt_code recurrent_backward(bptt_context* context, const bptt_plan* plan,
                                    const bptt_recurrent_backward* call) {
  return plan->desc.dtype == BPTT_FLOAT32 ? recurrent_backward_impl<F32>(context, plan, call)
                                          : recurrent_backward_impl<F64>(context, plan, call);
}

#define BPTT_BY_DTYPE(name) &ByDtype<&name##_impl<F32>, &name##_impl<F64>>::call

const bptt_ops ops = {
    kIsa,
    &fill_impl,
    BPTT_BY_DTYPE(unary),
    BPTT_BY_DTYPE(unary_backward),
    BPTT_BY_DTYPE(binary),
    &copy_impl,
    BPTT_BY_DTYPE(dropout),
    BPTT_BY_DTYPE(uniform),
    BPTT_BY_DTYPE(normal),
    BPTT_BY_DTYPE(sum),
    BPTT_BY_DTYPE(softmax),
    BPTT_BY_DTYPE(softmax_backward),
    BPTT_BY_DTYPE(layer_norm),
    BPTT_BY_DTYPE(layer_norm_backward),
    BPTT_BY_DTYPE(matmul),
    BPTT_BY_DTYPE(embedding),
    BPTT_BY_DTYPE(embedding_backward),
    BPTT_BY_DTYPE(cross_entropy),
    BPTT_BY_DTYPE(cross_entropy_backward),
    BPTT_BY_DTYPE(pairwise_loss),
    BPTT_BY_DTYPE(pairwise_loss_backward),
    BPTT_BY_DTYPE(optimize),
    BPTT_BY_DTYPE(grad_norm),
    BPTT_BY_DTYPE(clip_grads),
    &plan_create_impl,
    &plan_destroy,
    &plan_sizes,
    &recurrent_forward,
    &recurrent_backward,
};

#undef BPTT_BY_DTYPE
