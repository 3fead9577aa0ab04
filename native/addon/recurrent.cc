// Recurrent layers: one call for the whole stack.
#include "addon/recurrent.h"

namespace bptt::addon {

namespace {

std::shared_ptr<const Plan> make_plan(Call& call, const Layer& layer,
                                      const std::optional<std::vector<int32_t>>& lengths) {
  if (!lengths) return call.environment().plans().get(call.stream(), layer);
  if (static_cast<int64_t>(lengths->size()) != layer.B) broken("one length per row is needed");
  for (const int32_t length : *lengths) {
    if (length < 0 || length > layer.T) broken("a length is not in [0, T]");
  }
  return std::make_shared<const Plan>(call.stream(), layer, lengths->data());
}

void* optional_c(Call& call, const Layer& layer, bool output) {
  const int64_t count = layer.c_count();
  void* data =
      output ? call.optional_output(count, layer.dtype) : call.optional_input(count, layer.dtype);
  if (data && !layer.has_c()) broken("a state c where the layer has none");
  return data;
}

// What forward and backward are given alike, in the order of RecurrentCall in lib/binding.ts.
struct RecurrentCall {
  // y is an output in forward, and an input in backward.
  RecurrentCall(Call& call, bool y_is_output) : layer(call.numbers()), parameters(call) {
    const std::optional<std::vector<int32_t>> lengths = call.optional_int32s();
    // y has to fit before the plan is made, because a plan takes memory for every row and step.
    const napi_value y_handle = call.next();
    y = call.operand(y_handle, layer.y_count(), layer.dtype, nullptr);
    plan = make_plan(call, layer, lengths);
    weights = parameters.read(call, layer, true, &call.environment().inputs);
    // A cache of the layer: poison does not pass through it.
    if (const Storage* storage = call.optional_storage()) {
      if (storage->bytes() < plan->sizes.packed_bytes) {
        broken("too small a storage for packed weights");
      }
      packed = storage->data();
    }
    stamp = static_cast<uint64_t>(call.count());
    if (packed && stamp == 0) broken("packed weights need a stamp");
    rng = call.rng();
    x = call.input(layer.x_count(), layer.dtype);
    h0 = call.optional_input(layer.h_count(), layer.dtype);
    c0 = optional_c(call, layer, false);
    y_is_output ? call.output(y_handle, layer.y_count(), layer.dtype)
                : call.input(y_handle, layer.y_count(), layer.dtype);
  }

  // Sets in the arguments of either direction what both have, but for the parameters.
  template <class Arguments>
  void give(Arguments& args) const {
    args.packed = packed;
    args.stamp = stamp;
    args.x = x, args.h0 = h0, args.c0 = c0, args.y = y;
    args.rng = rng;
  }

  Layer layer;
  Parameters parameters;
  std::shared_ptr<const Plan> plan;
  std::vector<bptt_recurrent_params> weights;
  void* packed = nullptr;
  uint64_t stamp;
  bptt_rng rng;
  void *x, *h0, *c0, *y;
};

}  // namespace

Parameters::Parameters(Call& call)
    : handles_(call.optional_handles_up_to(kMostLayers * 2 * kParameters)) {}

std::vector<bptt_recurrent_params> Parameters::read(Call& call, const Layer& layer, bool required,
                                                    std::vector<Operand>* operands) const {
  std::vector<bptt_recurrent_params> params(layer.layers());
  auto handle = handles_.begin();
  for (int64_t index = 0; index < layer.layers(); ++index) {
    for_each_present(layer, index, [&](Parameter which, int64_t elements) {
      if (handle == handles_.end()) broken("a parameter of the layer is missing");
      if (*handle) {
        params[index].*which = call.operand(*handle, elements, layer.dtype, operands);
      } else if (required) {
        broken("a parameter of the layer is null");
      }
      ++handle;
    });
  }
  if (handle != handles_.end()) broken("a parameter that the layer does not have");
  return params;
}

napi_value packedBytes(Call& call) {
  Layer layer(call.numbers());
  layer.T = layer.B = 1;  // packed weights depend on neither
  Stream& stream = call.device();
  const auto plan = call.environment().plans().get(stream, layer);
  napi_value value;
  check(napi_create_double(call.env(), static_cast<double>(plan->sizes.packed_bytes), &value));
  return value;
}

napi_value recurrentForward(Call& call) {
  RecurrentCall given(call, true);
  const Layer& layer = given.layer;
  bptt_recurrent_forward args{};
  given.give(args);
  args.hn = call.optional_output(layer.h_count(), layer.dtype);
  args.cn = optional_c(call, layer, true);

  // The workspace goes back at once: what is enqueued later runs later.
  const bptt_plan_sizes& sizes = given.plan->sizes;
  const size_t packing = given.packed ? sizes.forward_packing_bytes : 0;
  const Storage workspace = call.stream().allocate(sizes.forward_workspace_bytes - packing);
  args.workspace = workspace.data();
  Storage reserve;
  if (layer.training) {
    reserve = call.stream().allocate(given.plan->sizes.reserve_bytes);
    args.reserve = reserve.data();
    call.environment().outputs.push_back(reserve.operand());
  }
  call.enqueue("recurrent forward", [plan = given.plan, args, weights = std::move(given.weights)](
                                        const bptt_ops& ops, bptt_context* context) mutable {
    args.params = weights.data();
    return ops.recurrent_forward(context, plan->plan, &args);
  });
  if (reserve) return call.make_handle(std::move(reserve));
  napi_value null;
  check(napi_get_null(call.env(), &null));
  return null;
}

napi_value recurrentBackward(Call& call) {
  const Parameters gradient_handles(call);
  RecurrentCall given(call, false);
  const Layer& layer = given.layer;
  const bptt_dtype dtype = layer.dtype;
  if (!layer.training) broken("a backward of a layer that is not in training");
  bptt_recurrent_backward args{};
  given.give(args);
  args.dy = call.optional_input(layer.y_count(), dtype);
  args.dhn = call.optional_input(layer.h_count(), dtype);
  args.dcn = optional_c(call, layer, false);
  args.dx = call.optional_output(layer.x_count(), dtype);
  args.dh0 = call.optional_output(layer.h_count(), dtype);
  args.dc0 = optional_c(call, layer, true);
  std::vector<bptt_recurrent_params> gradients =
      gradient_handles.read(call, layer, false, &call.environment().outputs);
  const Storage& reserve = call.storage();
  const bptt_plan_sizes& sizes = given.plan->sizes;
  if (reserve.bytes() < sizes.reserve_bytes) broken("a reserve of another forward");
  call.environment().inputs.push_back(reserve.operand());
  args.reserve = reserve.data();
  const bool keep_reserve = call.flag();

  const size_t packing = given.packed ? sizes.backward_packing_bytes : 0;
  const Storage workspace = call.stream().allocate(sizes.backward_workspace_bytes - packing);
  args.workspace = workspace.data();
  Storage copy;  // of the reserve, which the kernel overwrites
  if (keep_reserve) copy = call.stream().allocate(sizes.reserve_bytes);
  return call.enqueue(
      "recurrent backward", [plan = given.plan, args, weights = std::move(given.weights),
                             gradients = std::move(gradients), copy = copy.data()](
                                const bptt_ops& ops, bptt_context* context) mutable {
        args.params = weights.data();
        args.dparams = gradients.data();
        if (copy) {
          // Rounding up stays within the block, whose size is a multiple of 64 bytes.
          const auto words = static_cast<int64_t>((plan->sizes.reserve_bytes + 3) / 4);
          const bptt_code code = copy_adjacent(ops, context, BPTT_INT32, words, args.reserve, copy);
          if (code != BPTT_OK) return code;
          args.reserve = copy;
        }
        return ops.recurrent_backward(context, plan->plan, &args);
      });
}

}  // namespace bptt::addon
