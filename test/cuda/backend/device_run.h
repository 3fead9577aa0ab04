// The recurrent entries of a device as a table over host memory: every call carries its
// tensors to the device and back, so that what runs on the CPU's tables runs on it, too.
#pragma once

#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "backend/cuda_backend.h"
#include "recurrent_layer.h"

namespace bptt_test {

// Device memory that begins as a host buffer and may be written back to it.
class Mirror {
 public:
  Mirror(const bptt_backend& backend, bptt_context* context, const void* host, size_t bytes)
      : backend_(backend), context_(context), bytes_(bytes) {
    if (!host) return;
    if (backend.allocate(context, bytes, &device_) != BPTT_OK) device_ = nullptr;
    CHECK_MSG(device_ != nullptr, "%s", context->message);
    if (device_) CHECK(backend.upload(context, device_, host, bytes) == BPTT_OK);
  }
  Mirror(Mirror&& other) noexcept
      : backend_(other.backend_),
        context_(other.context_),
        bytes_(other.bytes_),
        device_(other.device_) {
    other.device_ = nullptr;
  }
  Mirror(const Mirror&) = delete;
  ~Mirror() {
    if (device_) backend_.release(context_, device_);
  }
  void* device() const { return device_; }
  void write_back(void* host) const {
    if (device_) CHECK(backend_.download(context_, host, device_, bytes_) == BPTT_OK);
  }

 private:
  const bptt_backend& backend_;
  bptt_context* context_;
  size_t bytes_;
  void* device_ = nullptr;
};

class DeviceTable {
 public:
  // Of one device at a time; its entries have no argument that could name another.
  DeviceTable(const bptt_backend& backend, bptt_context& context) {
    current() = {&backend, &context, {}};
    table_.isa = "cuda";
    table_.plan_create = plan_create;
    table_.plan_destroy = plan_destroy;
    table_.plan_sizes = [](const bptt_plan* plan, bptt_plan_sizes* sizes) {
      current().backend->ops.plan_sizes(plan, sizes);
    };
    table_.recurrent_forward = forward;
    table_.recurrent_backward = backward;
  }
  const bptt_ops* table() const { return &table_; }

 private:
  struct State {
    const bptt_backend* backend = nullptr;
    bptt_context* context = nullptr;
    std::map<const bptt_plan*, bptt_recurrent> plans;
  };
  static State& current() {
    static State state;
    return state;
  }

  // Sizes in bytes of what a call of a plan is given.
  struct Sizes {
    const bptt_recurrent& desc;
    int64_t scalar() const { return desc.dtype == BPTT_FLOAT64 ? 8 : 4; }
    int64_t Hout() const { return bptt::output_size(desc); }
    size_t bytes(int64_t elements) const { return static_cast<size_t>(elements * scalar()); }
    size_t x() const { return bytes(desc.T * desc.B * desc.I); }
    size_t y() const { return bytes(desc.T * desc.B * desc.D * Hout()); }
    size_t h() const { return bytes(desc.L * desc.D * desc.B * Hout()); }
    size_t c() const { return bytes(desc.L * desc.D * desc.B * desc.H); }
  };

  // The buffers of one call: those it reads, and those that come back.
  class Call {
   public:
    explicit Call(const bptt_plan* plan) : state_(current()), sizes{state_.plans.at(plan)} {
      state_.backend->ops.plan_sizes(plan, &plan_sizes);
    }
    // The device's counterpart of a host buffer; null stays null.
    void* carry(const void* host, size_t bytes, bool back) {
      if (!host) return nullptr;
      mirrors_.emplace_back(*state_.backend, state_.context, host, bytes);
      if (back) results_.push_back({mirrors_.size() - 1, const_cast<void*>(host)});
      return mirrors_.back().device();
    }
    std::vector<bptt_recurrent_params> carry(const bptt_recurrent_params* params, bool back) {
      std::vector<bptt_recurrent_params> carried;
      for (int64_t i = 0; params && i < sizes.desc.L * sizes.desc.D; ++i) {
        bptt_recurrent_params one = params[i];
        bptt::for_each_parameter(
            sizes.desc, i, [&](bptt::Parameter which, bool, std::initializer_list<int64_t> shape) {
              int64_t elements = 1;
              for (const int64_t size : shape) elements *= size;
              one.*which = carry(one.*which, sizes.bytes(elements), back);
            });
        carried.push_back(one);
      }
      return carried;
    }
    bptt_context* context() const { return state_.context; }
    const bptt_ops& ops() const { return state_.backend->ops; }
    bptt_code finish(bptt_context* caller, bptt_code code) {
      if (code == BPTT_OK) {
        for (const auto& [mirror, host] : results_) mirrors_[mirror].write_back(host);
        code = state_.backend->wait(state_.context);
      }
      if (code != BPTT_OK) {
        std::snprintf(caller->message, sizeof(caller->message), "%s", state_.context->message);
        std::fprintf(stderr, "    %s\n", caller->message);
      }
      return code;
    }

   private:
    State& state_;

   public:
    Sizes sizes;
    bptt_plan_sizes plan_sizes;

   private:
    std::vector<Mirror> mirrors_;
    std::vector<std::pair<size_t, void*>> results_;
  };

  static bptt_code plan_create(bptt_context* caller, const bptt_recurrent* desc, bptt_plan** out) {
    State& state = current();
    const bptt_code code = state.backend->ops.plan_create(state.context, desc, out);
    if (code == BPTT_OK) {
      state.plans[*out] = *desc;
    } else {
      std::snprintf(caller->message, sizeof(caller->message), "%s", state.context->message);
    }
    return code;
  }
  static void plan_destroy(bptt_plan* plan) {
    current().plans.erase(plan);
    current().backend->ops.plan_destroy(plan);
  }

  static bptt_code forward(bptt_context* caller, const bptt_plan* plan,
                           const bptt_recurrent_forward* args) {
    Call call(plan);
    bptt_recurrent_forward on = *args;
    const std::vector<bptt_recurrent_params> params = call.carry(args->params, false);
    on.params = params.data();
    on.packed = call.carry(args->packed, call.plan_sizes.packed_bytes, true);
    on.x = call.carry(args->x, call.sizes.x(), false);
    on.h0 = call.carry(args->h0, call.sizes.h(), false);
    on.c0 = call.carry(args->c0, call.sizes.c(), false);
    on.y = call.carry(args->y, call.sizes.y(), true);
    on.hn = call.carry(args->hn, call.sizes.h(), true);
    on.cn = call.carry(args->cn, call.sizes.c(), true);
    on.reserve = call.carry(args->reserve, call.plan_sizes.reserve_bytes, true);
    on.workspace = call.carry(args->workspace, call.plan_sizes.forward_workspace_bytes, false);
    return call.finish(caller, call.ops().recurrent_forward(call.context(), plan, &on));
  }

  static bptt_code backward(bptt_context* caller, const bptt_plan* plan,
                            const bptt_recurrent_backward* args) {
    Call call(plan);
    bptt_recurrent_backward on = *args;
    const std::vector<bptt_recurrent_params> params = call.carry(args->params, false);
    const std::vector<bptt_recurrent_params> dparams = call.carry(args->dparams, true);
    on.params = params.data();
    on.dparams = args->dparams ? dparams.data() : nullptr;
    on.packed = call.carry(args->packed, call.plan_sizes.packed_bytes, true);
    on.x = call.carry(args->x, call.sizes.x(), false);
    on.h0 = call.carry(args->h0, call.sizes.h(), false);
    on.c0 = call.carry(args->c0, call.sizes.c(), false);
    on.y = call.carry(args->y, call.sizes.y(), false);
    on.dy = call.carry(args->dy, call.sizes.y(), false);
    on.dhn = call.carry(args->dhn, call.sizes.h(), false);
    on.dcn = call.carry(args->dcn, call.sizes.c(), false);
    on.dx = call.carry(args->dx, call.sizes.x(), true);
    on.dh0 = call.carry(args->dh0, call.sizes.h(), true);
    on.dc0 = call.carry(args->dc0, call.sizes.c(), true);
    on.reserve = call.carry(args->reserve, call.plan_sizes.reserve_bytes, true);
    on.workspace = call.carry(args->workspace, call.plan_sizes.backward_workspace_bytes, false);
    return call.finish(caller, call.ops().recurrent_backward(call.context(), plan, &on));
  }

  bptt_ops table_{};
};

// body(backend, table) with a table that is open on the first device; the exit code of a test.
template <class Body>
int test_on_device(const Body& body) {
  const bptt_backend* backend = cuda_backend();
  if (!backend) return finish();
  bptt_context context{};
  const bptt_code code = backend->open(&context, 0);
  CHECK_MSG(code == BPTT_OK, "%s", context.message);
  if (code != BPTT_OK) return finish();
  {
    const DeviceTable device(*backend, context);
    body(*backend, device.table());
  }
  backend->close(&context);
  return finish();
}

}  // namespace bptt_test
