// Where cuDNN wants the parameters of a run of layers.
#include <vector>

#include "cuda/recurrent/plan.h"

namespace bptt::cuda {

namespace {

// Where cuDNN wants a weight or bias of a pseudo-layer. Nothing is added where it has none.
bptt_code place_weight(bptt_context* context, const CudaPlan& plan, Run& run, int64_t pseudo,
                       int id, int64_t from, Parameter weight, Parameter bias, int64_t gate) {
  const Cudnn& cudnn = plan.cudnn;
  struct Description {
    const Cudnn& cudnn;
    cudnnTensorDescriptor_t tensor = nullptr;
    ~Description() {
      if (tensor) cudnn.cudnnDestroyTensorDescriptor(tensor);
    }
  } weights{cudnn}, biases{cudnn};
  for (Description* one : {&weights, &biases}) {
    const bptt_code code =
        check(context, cudnn.cudnnCreateTensorDescriptor(&one->tensor), "recurrent plan");
    if (code != BPTT_OK) return code;
  }
  // Addresses are offsets from a base that is never read. It is not null, which says "none".
  char* const base = reinterpret_cast<char*>(static_cast<uintptr_t>(kPlanAlignment));
  void *weight_at = nullptr, *bias_at = nullptr;
  bptt_code code =
      check(context,
            cudnn.cudnnGetRNNWeightParams(device_of(context).plan_handle, run.rnn,
                                          static_cast<int>(pseudo), run.weight_bytes, base, id,
                                          weights.tensor, &weight_at, biases.tensor, &bias_at),
            "recurrent plan: weights");
  const auto add = [&](const Description& one, void* at, Parameter which, int64_t begin) {
    if (code != BPTT_OK || !at || !which) return;
    cudnnDataType_t type;
    int rank, sizes[3], strides[3];
    code = check(context,
                 cudnn.cudnnGetTensorNdDescriptor(one.tensor, 3, &type, &rank, sizes, strides),
                 "recurrent plan: weights");
    if (code != BPTT_OK) return;
    const int64_t size = int64_t{sizes[0]} * sizes[1] * sizes[2];
    const auto offset = static_cast<size_t>(static_cast<char*>(at) - base);
    std::vector<WeightPlace>& places = run.places;
    const int64_t index = run.first * plan.desc.D + pseudo;
    // Gates that lie one after another on both sides are one piece.
    if (!places.empty()) {
      WeightPlace& last = places.back();
      if (last.index == index && last.which == which && last.from + last.size == begin &&
          last.offset + static_cast<size_t>(last.size * plan.element) == offset) {
        last.size += size;
        return;
      }
    }
    places.push_back({index, which, begin, offset, size});
  };
  add(weights, weight_at, weight, from);
  add(biases, bias_at, bias, gate * plan.desc.H);
  return code;
}

}  // namespace

bptt_code place_weights(bptt_context* context, const CudaPlan& plan, Run& run) {
  using Params = bptt_recurrent_params;
  const int gates = static_cast<int>(plan.gates);
  const int64_t D = plan.desc.D, H = plan.desc.H;
  for (int64_t pseudo = 0; pseudo < run.layers * D; ++pseudo) {
    const int64_t input = plan.input(run.first + pseudo / D);
    // Weights first, then biases, so that neighbours meet.
    for (const bool biases : {false, true}) {
      for (int id = 0; id < 2 * gates; ++id) {
        const bool recurrent = id >= gates;
        const int64_t gate = id % gates;
        const auto weight = recurrent ? &Params::weight_hh : &Params::weight_ih;
        const auto bias = recurrent ? &Params::bias_hh : &Params::bias_ih;
        const bptt_code code =
            place_weight(context, plan, run, pseudo, id, gate * H * (recurrent ? plan.Hout : input),
                         biases ? nullptr : weight, biases ? bias : nullptr, gate);
        if (code != BPTT_OK) return code;
      }
    }
    if (plan.desc.P > 0) {
      const bptt_code code =
          place_weight(context, plan, run, pseudo, 2 * gates, 0, &Params::weight_hr, nullptr, 0);
      if (code != BPTT_OK) return code;
    }
  }
  return BPTT_OK;
}

}  // namespace bptt::cuda
