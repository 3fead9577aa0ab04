// How rows and states go between the caller's order and the packed sequence.
#include "cuda/recurrent/pass.h"
#include "shared/philox.h"

namespace bptt::cuda {

bptt_code zero_bytes(const Pass& pass, void* out, size_t bytes) {
  if (bytes == 0) return BPTT_OK;
  const CudaDevice& device = pass.device();
  return check(
      pass.context,
      device.driver.cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(out), 0, bytes, device.stream),
      "fill with zeros");
}

bptt_code zero(const Pass& pass, void* out, int64_t elements) {
  return zero_bytes(pass, out, static_cast<size_t>(elements * pass.scalar()));
}

bptt_code copy(const Pass& pass, void* out, const void* in, int64_t elements) {
  if (elements == 0) return BPTT_OK;
  const CudaDevice& device = pass.device();
  return check(pass.context,
               device.driver.cuMemcpyDtoDAsync(
                   reinterpret_cast<CUdeviceptr>(out), reinterpret_cast<CUdeviceptr>(in),
                   static_cast<size_t>(elements * pass.scalar()), device.stream),
               "copy");
}

bptt_code upload_maps(const Pass& pass) {
  if (pass.plan.index.empty()) return BPTT_OK;
  const CudaDevice& device = pass.device();
  return check(pass.context,
               device.driver.cuMemcpyHtoDAsync(
                   reinterpret_cast<CUdeviceptr>(pass.at(pass.work.index)), pass.plan.index.data(),
                   pass.plan.index.size() * sizeof(int32_t), device.stream),
               "copy row numbers to the device");
}

namespace {

// Null where the rows keep their order.
const int32_t* map_unless(bool in_order, const Pass& pass, size_t begin) {
  return in_order ? nullptr : pass.map(begin);
}

bptt_code move(const Pass& pass, const MoveRows& rows) {
  return launch(pass.context, move_rows_kernel, pass.dtype(),
                grid_of(rows.groups * rows.rows * rows.columns), rows);
}

}  // namespace

bptt_code gather_rows(const Pass& pass, int64_t columns, const void* user, void* packed) {
  const CudaPlan& plan = pass.plan;
  return move(pass, {1, plan.rows, plan.desc.T * plan.desc.B, columns,
                     map_unless(plan.in_order, pass, plan.packed_from_user), kStoredAsT,
                     plan.stored, user, nullptr, packed});
}

bptt_code scatter_rows(const Pass& pass, int64_t columns, const void* packed, void* user) {
  const CudaPlan& plan = pass.plan;
  return move(pass, {1, plan.desc.T * plan.desc.B, plan.rows, columns,
                     map_unless(plan.in_order, pass, plan.user_from_packed), plan.stored,
                     kStoredAsT, packed, nullptr, user});
}

const void* gather_states(Pass& pass, int64_t columns, const void* user, size_t slice) {
  const CudaPlan& plan = pass.plan;
  if (!user || plan.states_in_place()) return user;
  void* sorted = pass.at(slice);
  pass.then([&] {
    return move(pass, {plan.states(), plan.active_rows, plan.desc.B, columns,
                       map_unless(plan.states_in_order, pass, plan.sorted_from_user), kStoredAsT,
                       plan.stored, user, nullptr, sorted});
  });
  return sorted;
}

void* states_target(const Pass& pass, void* user, size_t slice) {
  return !user || pass.plan.states_in_place() ? user : pass.at(slice);
}

void scatter_states(Pass& pass, int64_t columns, size_t slice, const void* passed, void* user) {
  const CudaPlan& plan = pass.plan;
  if (!user || plan.states_in_place()) return;
  pass.then([&] {
    return move(pass, {plan.states(), plan.desc.B, plan.active_rows, columns,
                       map_unless(plan.states_in_order, pass, plan.user_from_sorted), plan.stored,
                       kStoredAsT, pass.at(slice), passed, user});
  });
}

void pass_states(Pass& pass, int64_t columns, const void* in, void* out) {
  if (!out) return;
  const int64_t elements = pass.plan.states() * pass.plan.desc.B * columns;
  pass.then([&] { return in ? copy(pass, out, in, elements) : zero(pass, out, elements); });
}

bptt_code drop(const Pass& pass, const Run& run, bptt_rng rng, const void* in, void* out) {
  const CudaPlan& plan = pass.plan;
  const bptt_recurrent& desc = plan.desc;
  const uint64_t used = philox_blocks(desc.T * desc.B * plan.width);
  return launch(
      pass.context, dropout_rows_kernel, pass.dtype(), grid_of(plan.rows * plan.width),
      DropoutRows{plan.rows, plan.width, map_unless(plan.in_order, pass, plan.unsorted),
                  dropout_threshold(desc.dropout), dropout_scale(desc.dropout), rng.seed,
                  rng.offset + static_cast<uint64_t>(run.first) * used, plan.stored, in, out});
}

}  // namespace bptt::cuda
