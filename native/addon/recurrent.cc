// Recurrent layers: one call for the whole stack.
#include "addon/recurrent.h"

namespace bptt::addon {

namespace {

// y's storage has to fit before the plan is made, because a plan takes memory for every row
// and step.
std::shared_ptr<const Plan> read_plan(Call& call, const Layer& layer, napi_value* y) {
  const std::optional<std::vector<int32_t>> lengths = call.optional_int32s();
  *y = call.next();
  call.operand(*y, layer.y_count(), layer.dtype, nullptr);
  if (!lengths) return call.environment().plans().get(call.stream(), layer);
  if (static_cast<int64_t>(lengths->size()) != layer.B) broken("one length per row is needed");
  for (const int32_t length : *lengths) {
    if (length < 0 || length > layer.T) broken("a length is not in [0, T]");
  }
  return std::make_shared<const Plan>(call.stream(), layer, lengths->data());
}

// Packed weights are a cache of the layer: poison does not pass through them.
void* read_packed(Call& call, const Plan& plan) {
  const Storage* storage = call.optional_storage();
  if (!storage) return nullptr;
  if (storage->bytes() < plan.sizes.packed_bytes) broken("too small a storage for packed weights");
  return storage->data();
}

uint64_t read_stamp(Call& call, const void* packed) {
  const auto stamp = static_cast<uint64_t>(call.count());
  if (packed && stamp == 0) broken("packed weights need a stamp");
  return stamp;
}

void* optional_cell(Call& call, const Layer& layer, bool output) {
  const int64_t count = layer.c_count();
  void* data =
      output ? call.optional_output(count, layer.dtype) : call.optional_input(count, layer.dtype);
  if (data && !layer.has_cell()) broken("a cell state where the layer has none");
  return data;
}

}  // namespace

std::vector<int64_t> weight_sizes(const Layer& layer, int64_t index) {
  const int64_t rows = product({layer.gates(), layer.H});
  const int64_t bias = layer.bias ? rows : 0;
  return {product({rows, layer.layer_input(index)}), product({rows, layer.output_size()}), bias,
          bias, product({layer.P, layer.H})};
}

Weights::Weights(Call& call, const Layer& layer)
    : handles_(call.optional_handles(static_cast<size_t>(layer.layers() * kWeights))) {}

std::vector<bptt_recurrent_params> Weights::read(Call& call, const Layer& layer, bool required,
                                                 std::vector<Operand>* operands) const {
  std::vector<bptt_recurrent_params> weights(layer.layers());
  for (int64_t index = 0; index < layer.layers(); ++index) {
    const std::vector<int64_t> sizes = weight_sizes(layer, index);
    const bool bias = layer.bias != 0;
    const bool has[kWeights] = {true, true, bias, bias, layer.P > 0};
    void* pointers[kWeights] = {};
    for (int64_t w = 0; w < kWeights; ++w) {
      const napi_value handle = handles_[index * kWeights + w];
      const bool given = handle != nullptr;
      if (given && !has[w]) broken("a weight that the layer does not have");
      if (!given && has[w] && required) broken("a weight of the layer is missing");
      if (given) pointers[w] = call.operand(handle, sizes[w], layer.dtype, operands);
    }
    weights[index] = {pointers[0], pointers[1], pointers[2], pointers[3], pointers[4]};
  }
  return weights;
}

napi_value packedBytes(Call& call) {
  Layer layer(call.numbers());
  layer.T = layer.B = 1;  // weights depend on neither
  Stream& stream = call.environment().stream(static_cast<int>(call.integer(kCpuDevice, 1 << 20)));
  const auto plan = call.environment().plans().get(stream, layer);
  napi_value value;
  check(napi_create_double(call.env(), static_cast<double>(plan->sizes.packed_bytes), &value));
  return value;
}

napi_value recurrentForward(Call& call) {
  const Layer layer(call.numbers());
  const Weights weight_handles(call, layer);
  napi_value y;
  const std::shared_ptr<const Plan> plan = read_plan(call, layer, &y);
  const bptt_dtype dtype = layer.dtype;
  std::vector<bptt_recurrent_params> weights =
      weight_handles.read(call, layer, true, &call.environment().inputs);
  bptt_recurrent_forward args{};
  args.packed = read_packed(call, *plan);
  args.stamp = read_stamp(call, args.packed);
  args.x = call.input(layer.x_count(), dtype);
  args.h0 = call.optional_input(layer.h_count(), dtype);
  args.c0 = optional_cell(call, layer, false);
  args.y = call.output(y, layer.y_count(), dtype);
  args.hn = call.optional_output(layer.h_count(), dtype);
  args.cn = optional_cell(call, layer, true);
  args.rng = call.rng();

  // The workspace goes back at once: what is enqueued later runs later.
  const Storage workspace = call.stream().allocate(plan->sizes.forward_workspace_bytes);
  args.workspace = workspace.data();
  Storage reserve;
  if (layer.training) {
    reserve = call.stream().allocate(plan->sizes.reserve_bytes);
    args.reserve = reserve.data();
    call.environment().outputs.push_back(reserve.operand());
  }
  call.enqueue("recurrent forward", [plan, args, weights = std::move(weights)](
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
  const Layer layer(call.numbers());
  const Weights weight_handles(call, layer), gradient_handles(call, layer);
  napi_value y;
  const std::shared_ptr<const Plan> plan = read_plan(call, layer, &y);
  const bptt_dtype dtype = layer.dtype;
  if (!layer.training) broken("a backward of a layer that is not in training");
  std::vector<bptt_recurrent_params> weights =
      weight_handles.read(call, layer, true, &call.environment().inputs);
  bptt_recurrent_backward args{};
  args.packed = read_packed(call, *plan);
  args.stamp = read_stamp(call, args.packed);
  args.x = call.input(layer.x_count(), dtype);
  args.h0 = call.optional_input(layer.h_count(), dtype);
  args.c0 = optional_cell(call, layer, false);
  args.y = call.input(y, layer.y_count(), dtype);
  args.dy = call.optional_input(layer.y_count(), dtype);
  args.dhn = call.optional_input(layer.h_count(), dtype);
  args.dcn = optional_cell(call, layer, false);
  args.dx = call.optional_output(layer.x_count(), dtype);
  args.dh0 = call.optional_output(layer.h_count(), dtype);
  args.dc0 = optional_cell(call, layer, true);
  std::vector<bptt_recurrent_params> gradients =
      gradient_handles.read(call, layer, false, &call.environment().outputs);
  const Storage& reserve = call.storage();
  if (reserve.bytes() < plan->sizes.reserve_bytes) broken("a reserve of another forward");
  call.environment().inputs.push_back(reserve.operand());
  args.reserve = reserve.data();
  const bool keep_reserve = call.flag();
  args.rng = call.rng();

  const Storage workspace = call.stream().allocate(plan->sizes.backward_workspace_bytes);
  args.workspace = workspace.data();
  Storage copy;  // of the reserve, which the kernel overwrites
  if (keep_reserve) copy = call.stream().allocate(plan->sizes.reserve_bytes);
  return call.enqueue("recurrent backward",
                      [plan, args, weights = std::move(weights), gradients = std::move(gradients),
                       copy = copy.data()](const bptt_ops& ops, bptt_context* context) mutable {
                        args.params = weights.data();
                        args.dparams = gradients.data();
                        if (copy) {
                          // Blocks come in multiples of 64 bytes.
                          const auto words =
                              static_cast<int64_t>((plan->sizes.reserve_bytes + 3) / 4);
                          const int64_t stride = 1;
                          const bptt_code code = ops.copy(context, BPTT_INT32, 1, &words,
                                                          args.reserve, &stride, copy, &stride);
                          if (code != BPTT_OK) return code;
                          args.reserve = copy;
                        }
                        return ops.recurrent_backward(context, plan->plan, &args);
                      });
}

}  // namespace bptt::addon
