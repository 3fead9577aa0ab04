// What follows from shapes and lengths alone: maps between the caller's rows and the packed
// ones, and where everything lies in workspace, reserve and packed weights.
#include <algorithm>
#include <vector>

#include "cuda/recurrent/plan.h"
#include "shared/slices.h"

namespace bptt::cuda {

void map_rows(CudaPlan& plan) {
  const int64_t T = plan.desc.T, B = plan.desc.B;
  std::vector<int32_t>& index = plan.index;
  const auto map = [&](size_t& begin, int64_t size) {
    begin = index.size();
    index.resize(begin + size, -1);
  };
  const auto row = [](int64_t i) { return static_cast<int32_t>(i); };
  const bool drops = plan.desc.dropout > 0 && plan.desc.L > 1;
  map(plan.packed_from_user, plan.in_order ? 0 : plan.rows);
  map(plan.user_from_packed, plan.in_order ? 0 : T * B);
  map(plan.unsorted, plan.in_order || !drops ? 0 : plan.rows);
  map(plan.sorted_from_user, plan.states_in_order ? 0 : plan.active_rows);
  map(plan.user_from_sorted, plan.states_in_order ? 0 : B);
  if (!plan.in_order) {
    for (int64_t t = 0; t < plan.steps; ++t) {
      for (int64_t r = 0; r < plan.active(t); ++r) {
        const int64_t b = plan.order[r], packed = plan.offset[t] + r;
        const int64_t user = plan.desc.batch_first ? b * T + t : t * B + b;
        index[plan.packed_from_user + packed] = row(user);
        index[plan.user_from_packed + user] = row(packed);
        if (drops) index[plan.unsorted + packed] = row(t * B + b);
      }
    }
  }
  if (!plan.states_in_order) {
    for (int64_t r = 0; r < plan.active_rows; ++r) {
      index[plan.sorted_from_user + r] = row(plan.order[r]);
      index[plan.user_from_sorted + plan.order[r]] = row(r);
    }
  }
}

bool lay_out(CudaPlan& plan) {
  const bptt_recurrent& desc = plan.desc;
  const int64_t rows = plan.rows, active = plan.active_rows;
  Slices packed(1, kPlanAlignment), reserve(plan.element, kPlanAlignment);
  packed.take_bytes(kPackedHeader);
  int64_t work = 0, weights = 0;
  for (Run& run : plan.runs) {
    weights += static_cast<int64_t>(run.weight_bytes);
    run.weights = packed.take_bytes(static_cast<int64_t>(run.weight_bytes));
    if (desc.training) {
      run.reserve = reserve.take_bytes(static_cast<int64_t>(run.reserve_bytes));
      if (plan.followed(run)) run.saved_y = reserve.take({rows, plan.width});
    }
    work = std::max(work, static_cast<int64_t>(run.work_bytes));
  }
  const bool moves = !plan.in_place(), sorts = !plan.states_in_place();
  const bool several = plan.runs.size() > 1, drops = several && desc.dropout > 0;
  const auto lay = [&](Workspace& w, bool backward) {
    Slices s(plan.element, kPlanAlignment);
    w.index = s.take_bytes(static_cast<int64_t>(plan.index.size() * sizeof(int32_t)));
    w.weights = s.take_bytes(packed.bytes());
    w.dweights = s.take_bytes(backward ? packed.bytes() : 0);
    w.x = s.take({moves ? rows : 0, desc.I});
    w.y = s.take({moves ? rows : 0, plan.width});
    // cuDNN wants dx even where the caller does not.
    w.dx = s.take({backward ? rows : 0, desc.I});
    w.dy[0] = s.take({backward ? rows : 0, plan.width});
    w.dy[1] = s.take({backward && several ? rows : 0, plan.width});
    for (size_t& y : w.inner) {
      y = s.take({several && !backward && !desc.training ? rows : 0, plan.width});
    }
    w.dropped = s.take({drops ? rows : 0, plan.width});
    for (int i = 0; i < 4; ++i) {
      const int64_t states = sorts && (i < 2 || backward) ? plan.states() : 0;
      w.h[i] = s.take({states, active, plan.Hout});
      w.c[i] = s.take({plan.has_c() ? states : 0, active, desc.H});
    }
    w.runs = s.take_bytes(work);
    (backward ? plan.sizes.backward_workspace_bytes : plan.sizes.forward_workspace_bytes) =
        static_cast<size_t>(s.bytes());
    return !s.overflow();
  };
  bool fits = lay(plan.forward, false);
  if (desc.training) fits = lay(plan.backward, true) && fits;
  // The same for one run and for one per layer: a layer keeps one buffer for both.
  weights = (weights + kPlanAlignment - 1) / kPlanAlignment * kPlanAlignment;
  plan.sizes.packed_bytes = kPackedHeader + static_cast<size_t>(weights + desc.L * kPlanAlignment);
  plan.sizes.reserve_bytes = static_cast<size_t>(reserve.bytes());
  return fits && !packed.overflow() && !reserve.overflow();
}

}  // namespace bptt::cuda
