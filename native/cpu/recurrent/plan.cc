#include "cpu/recurrent/plan.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>

#include "runtime/memory.h"
#include "shared/recurrent_description.h"
#include "shared/slices.h"

namespace bptt::cpu {
namespace {

constexpr int64_t kLimit = Slices::kLimit;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

bptt_code fail(bptt_context* context, bptt_code code, const char* message) {
  std::snprintf(context->message, sizeof context->message, "recurrent plan: %s", message);
  return code;
}

// Sizes so large that even sums of a few of their products could overflow.
bool too_large(const bptt_recurrent& desc) {
  constexpr int64_t kMost = int64_t{1} << 40;
  for (int64_t size : {desc.T, desc.B, desc.I, desc.H, desc.P, desc.L}) {
    if (size > kMost) return true;
  }
  const double rows = static_cast<double>(desc.T) * static_cast<double>(desc.B);
  return rows > static_cast<double>(kMost) || desc.L > kMostLayers;
}

// Sets the sizes; false when one of them overflows.
bool lay_out(bptt_plan& plan, int64_t panel) {
  const bptt_recurrent& desc = plan.desc;
  const CellShape& cell = plan.cell;
  const int64_t scalar = desc.dtype == BPTT_FLOAT64 ? 8 : 4;
  const int64_t B = desc.B, H = desc.H, P = desc.P, G = cell.gates;
  const int64_t rows = plan.rows, Hout = plan.Hout, width = plan.width;
  const int64_t stride = plan.gate_stride;
  const bool inner_dropout = desc.dropout > 0 && desc.L > 1;
  const auto padded = [&](int64_t n) { return round_up(n, panel); };

  Slices forward(scalar), backward(scalar), reserve(scalar);
  plan.packed.resize(desc.L * desc.D);
  plan.saved.resize(desc.L * desc.D);
  for (int64_t i = 0; i < desc.L * desc.D; ++i) {
    const int64_t input = plan.input(i / desc.D);
    PackedLayer& packed = plan.packed[i];
    packed.ih = forward.take({G, input, padded(H)});
    packed.hh = forward.take({G, Hout, padded(H)});
    packed.hr = forward.take({H, padded(P)});
    packed.bias = forward.take({cell.groups, H});
    if (!desc.training) continue;
    packed.back_ih = backward.take({G, H, padded(input)});
    packed.back_hh = backward.take({G, H, padded(Hout)});
    packed.back_hr = backward.take({P, padded(H)});
    if (cell.saves_groups) plan.saved[i].gates = reserve.take({rows, stride});
    if (cell.states == 2) plan.saved[i].c = reserve.take({rows, H});
  }
  plan.saved_y.resize(desc.L - 1);
  if (desc.training) {
    for (size_t& y : plan.saved_y) y = reserve.take({rows, width});
  }

  bool own_y[2] = {false, false};
  for (int64_t layer = 0; layer < desc.L; ++layer) {
    const bool elsewhere = layer == desc.L - 1 ? plan.in_place : desc.training != 0;
    own_y[layer % 2] = own_y[layer % 2] || !elsewhere;
  }
  Slices f(scalar);
  plan.forward.x = f.take({rows, plan.in_place ? 0 : desc.I});
  for (int i = 0; i < 2; ++i) plan.forward.y[i] = f.take({rows, own_y[i] ? width : 0});
  plan.forward.dropped = f.take({rows, inner_dropout ? width : 0});
  const bool saves = desc.training && cell.saves_groups;
  plan.forward.gates = f.take({saves ? 0 : plan.chunk_rows, stride});
  plan.forward.h0 = f.take({B, Hout});
  plan.forward.c0 = f.take({B, cell.states == 2 ? H : 0});
  plan.forward.c = f.take({B, cell.states == 2 && !desc.training ? H : 0});
  plan.forward.operand = f.take({B, cell.second_operand ? H : 0});
  plan.forward.m = f.take({B, P > 0 ? H : 0});
  plan.forward.packed = f.take_bytes(forward.bytes());

  Slices b(scalar);
  plan.backward.x = b.take({rows, plan.in_place ? 0 : desc.I});
  plan.backward.y = b.take({rows, plan.in_place ? 0 : width});
  plan.backward.dy[0] = b.take({rows, width});
  plan.backward.dy[1] = b.take({rows, desc.L > 1 ? width : 0});
  plan.backward.dx = b.take({rows, plan.in_place ? 0 : desc.I});
  plan.backward.dropped = b.take({rows, inner_dropout ? width : 0});
  plan.backward.gates = b.take({rows, cell.saves_groups ? 0 : stride});
  plan.backward.operand_rows = b.take({rows, cell.second_operand ? H : 0});
  plan.backward.doperand = b.take({B, cell.second_operand ? H : 0});
  plan.backward.dm = b.take({B, P > 0 ? H : 0});
  plan.backward.h0 = b.take({B, Hout});
  plan.backward.dh0 = b.take({B, Hout});
  plan.backward.c0 = b.take({B, cell.states == 2 ? H : 0});
  plan.backward.dc = b.take({B, cell.states == 2 ? H : 0});
  plan.backward.bias = b.take({stride});
  plan.backward.unit_weights = b.take({rows, cell.unit_weights * H});
  const int64_t columns = std::max({desc.I, desc.L > 1 ? width : 0, Hout, H});
  plan.backward.block = b.take({std::min(rows, kBlockRows), padded(columns)});
  const int64_t several = rows > kRunRows ? 1 : 0;
  plan.backward.run = b.take({several, G * H, columns});
  plan.backward.lost = b.take({several, G * H, columns});
  plan.backward.packed = b.take_bytes(backward.bytes());

  plan.packed_forward_bytes = static_cast<size_t>(forward.bytes());
  plan.packed_backward_bytes = static_cast<size_t>(backward.bytes());
  plan.sizes.packed_bytes = kPackedHeader + plan.packed_forward_bytes + plan.packed_backward_bytes;
  plan.sizes.reserve_bytes = static_cast<size_t>(reserve.bytes());
  plan.sizes.forward_workspace_bytes = static_cast<size_t>(f.bytes());
  plan.sizes.forward_packing_bytes = plan.sizes.forward_workspace_bytes - plan.forward.packed;
  if (desc.training) {
    plan.sizes.backward_workspace_bytes = static_cast<size_t>(b.bytes());
    plan.sizes.backward_packing_bytes = plan.sizes.backward_workspace_bytes - plan.backward.packed;
  }
  for (const Slices* slices : {&forward, &backward, &reserve, &f, &b}) {
    if (slices->overflow()) return false;
  }
  return forward.bytes() <= kLimit - backward.bytes();
}

// Rows begin on a cache line, and not all in the same few cache sets.
int64_t pad_stride(int64_t n) {
  n = round_up(n, 16);
  return n % 256 == 0 ? n + 16 : n;
}

}  // namespace

bptt_code make_plan(bptt_context* context, const bptt_recurrent* desc, CellShape cell,
                    int64_t panel, bptt_plan** out) {
  *out = nullptr;
  if (const char* message = mistake_in(*desc)) return fail(context, BPTT_INTERNAL, message);
  if (desc->compute != BPTT_COMPUTE_DTYPE) {
    return fail(context, BPTT_UNSUPPORTED,
                "the CPU computes in the layer's dtype alone; mixed precision needs a CUDA device");
  }
  // Of the packed sequence: two numbers per row and one per step.
  if (too_large(*desc) ||
      !host_has((2 * static_cast<size_t>(desc->B) + static_cast<size_t>(desc->T)) * 8)) {
    return fail(context, BPTT_OUT_OF_MEMORY, "its sizes are larger than memory");
  }
  try {
    auto plan = std::make_unique<bptt_plan>();
    plan->desc = *desc;
    plan->cell = cell;
    plan->Hout = output_size(*desc);
    plan->width = desc->D * plan->Hout;
    plan->gate_stride = pad_stride(cell.groups * desc->H);
    static_cast<PackedSequence&>(*plan) = PackedSequence(desc->T, desc->B, desc->lengths);
    plan->in_place = plan->full && (!desc->batch_first || desc->T == 1 || desc->B == 1);
    plan->desc.lengths = nullptr;
    const int64_t scalar = desc->dtype == BPTT_FLOAT64 ? 8 : 4;
    const double step_bytes = static_cast<double>(std::max<int64_t>(desc->B, 1)) *
                              static_cast<double>(plan->gate_stride * scalar);
    plan->chunk_steps = std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / step_bytes));
    plan->chunk_steps = std::min(plan->chunk_steps, std::max<int64_t>(plan->steps, 1));
    plan->chunk_rows = plan->chunk_steps * desc->B;
    if (!lay_out(*plan, panel)) {
      return fail(context, BPTT_OUT_OF_MEMORY, "its sizes are larger than memory");
    }
    *out = plan.release();
    return BPTT_OK;
  } catch (const std::bad_alloc&) {
    return fail(context, BPTT_OUT_OF_MEMORY, "out of memory");
  }
}

void plan_destroy(bptt_plan* plan) { delete plan; }

void plan_sizes(const bptt_plan* plan, bptt_plan_sizes* sizes) { *sizes = plan->sizes; }

}  // namespace bptt::cpu
