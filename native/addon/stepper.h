// The steppers of an environment. One that JavaScript forgets has a finalizer, which waits for a
// turn of the event loop; where many have come, the forgotten ones are let go of before.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <vector>

namespace bptt::addon {

struct StepperHandle;

// Belongs to the environment and to the handles, whose finalizers may run later.
class StepperList {
 public:
  StepperList() = default;
  StepperList(const StepperList&) = delete;

  void sweep(napi_env env);
  void sweep_if_grown(napi_env env) {
    if (handles_.size() >= 2 * kept_ + kGrowth) sweep(env);
  }

 private:
  friend struct StepperHandle;
  static constexpr size_t kGrowth = 16;

  std::vector<StepperHandle*> handles_;  // those that hold a stepper
  size_t kept_ = 0;                      // by the last sweep
};

}  // namespace bptt::addon
