#include "cuda/recurrent/plan.h"

#include <cstdio>
#include <limits>
#include <new>

#include "shared/recurrent_description.h"

namespace bptt::cuda {

namespace {

// cuDNN's sizes are 32 bits wide.
bool too_large(const bptt_recurrent& desc) {
  const int64_t most = std::numeric_limits<int32_t>::max();
  for (int64_t size : {desc.T, desc.B, desc.I, desc.H, desc.P, desc.L}) {
    if (size > most) return true;
  }
  return static_cast<double>(desc.T) * static_cast<double>(desc.B) > static_cast<double>(most) ||
         desc.D * desc.H > most || desc.L > kMostLayers;
}

bptt_code make_plan(bptt_context* context, const bptt_recurrent& desc, CudaPlan& plan) {
  plan.desc = desc;
  plan.gates = gates_of(desc.cell);
  plan.Hout = output_size(desc);
  plan.width = desc.D * plan.Hout;
  static_cast<PackedSequence&>(plan) = PackedSequence(desc.T, desc.B, desc.lengths);
  plan.desc.lengths = nullptr;
  plan.active_rows = plan.steps > 0 ? plan.active(0) : 0;
  choose_type(plan);
  plan.in_order = plan.full && (!desc.batch_first || desc.T == 1 || desc.B == 1);
  plan.states_in_order = plan.sorted && plan.active_rows == desc.B;
  map_rows(plan);

  plan.own_cell = !cudnn_has(desc.cell);
  const bool layer_by_layer = desc.L > 1 && (plan.own_cell || (desc.training && desc.dropout > 0));
  for (int64_t layer = 0; layer < desc.L; layer += layer_by_layer ? 1 : desc.L) {
    plan.runs.emplace_back(layer, layer_by_layer ? 1 : desc.L, plan.input(layer));
  }
  // Without any step there is nothing for cuDNN to do, and it would refuse.
  if (plan.rows > 0) {
    std::vector<int> lengths(plan.active_rows);
    for (int64_t r = 0; r < plan.active_rows; ++r) lengths[r] = static_cast<int>(plan.length[r]);
    for (Run& run : plan.runs) {
      if (plan.own_cell) {
        size_steps(plan, run);
        continue;
      }
      const bptt_code code = describe(context, plan, run, lengths);
      if (code != BPTT_OK) return code;
    }
  }
  return lay_out(plan) ? BPTT_OK
                       : fail(context, BPTT_OUT_OF_MEMORY, "recurrent plan: the sizes overflow");
}

}  // namespace

bptt_code recurrent_plan_create(bptt_context* context, const bptt_recurrent* desc,
                                bptt_plan** out) {
  *out = nullptr;
  if (const char* message = mistake_in(*desc)) {
    std::snprintf(context->message, sizeof(context->message), "recurrent plan: %s", message);
    return BPTT_INTERNAL;
  }
  if (too_large(*desc)) {
    return fail(context, BPTT_OUT_OF_MEMORY, "recurrent plan: the sizes overflow");
  }
  const bptt_code refused = check_compute(context, *desc);
  if (refused != BPTT_OK) return refused;
  try {
    if (cudnn_has(desc->cell)) {
      const bptt_code code = use_planning(context);
      if (code != BPTT_OK) return code;
    }
    auto plan = std::make_unique<CudaPlan>(device_of(context).cudnn);
    const bptt_code code = make_plan(context, *desc, *plan);
    if (code == BPTT_OK) *out = reinterpret_cast<bptt_plan*>(plan.release());
    return code;
  } catch (const std::bad_alloc&) {
    return fail(context, BPTT_OUT_OF_MEMORY, "recurrent plan: out of memory");
  }
}

void recurrent_plan_destroy(bptt_plan* plan) { delete reinterpret_cast<CudaPlan*>(plan); }

void recurrent_plan_sizes(const bptt_plan* plan, bptt_plan_sizes* sizes) {
  *sizes = reinterpret_cast<const CudaPlan*>(plan)->sizes;
}

}  // namespace bptt::cuda
