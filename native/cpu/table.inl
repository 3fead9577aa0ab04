// The table of this instruction set. An entry `foo` calls foo_impl<F32>, foo_impl<F64> or, of
// ops on numbers, foo_integers; those of any dtype choose themselves.

template <auto Float32, auto Float64, auto Others>
struct ByDtype;

template <class... Args, bptt_code (*Float32)(bptt_context*, Args...),
          bptt_code (*Float64)(bptt_context*, Args...), auto Others>
struct ByDtype<Float32, Float64, Others> {
  static bptt_code call(bptt_context* context, bptt_dtype dtype, Args... args) {
    if (dtype == BPTT_FLOAT32) return Float32(context, args...);
    if (dtype == BPTT_FLOAT64) return Float64(context, args...);
    if constexpr (std::is_null_pointer_v<decltype(Others)>) {
      return no_kernel(context, dtype);
    } else {
      return Others(context, dtype, args...);
    }
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

static constexpr bptt_ops make_ops() {
  bptt_ops table{};
  table.isa = kIsa;
#define BPTT_ENTRY(op) table.op = &op##_impl;
  BPTT_ANY_DTYPE_OPS(BPTT_ENTRY)
#undef BPTT_ENTRY
#define BPTT_ENTRY(op) table.op = &ByDtype<&op##_impl<F32>, &op##_impl<F64>, &op##_integers>::call;
  BPTT_NUMBER_OPS(BPTT_ENTRY)
#undef BPTT_ENTRY
#define BPTT_ENTRY(op) table.op = &ByDtype<&op##_impl<F32>, &op##_impl<F64>, nullptr>::call;
  BPTT_FLOAT_OPS(BPTT_ENTRY)
#undef BPTT_ENTRY
  table.plan_create = &plan_create_impl;
  table.plan_destroy = &plan_destroy;
  table.plan_sizes = &plan_sizes;
  table.recurrent_forward = &recurrent_forward;
  table.recurrent_backward = &recurrent_backward;
  return table;
}

constinit const bptt_ops ops = make_ops();
