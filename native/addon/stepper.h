// The steppers of an environment and what they have in common: weights, by those who step through
// the same, and scratch, since they step one after the other on the environment's thread.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "runtime/storage.h"

namespace bptt::addon {

struct StepperHandle;
struct SharedWeights;

// Belongs to the environment and to the handles, whose finalizers may run later. A stepper that
// JavaScript forgets has a finalizer, which waits for a turn of the event loop; where many have
// come, the forgotten ones are let go of before.
class StepperList {
 public:
  StepperList() = default;
  StepperList(const StepperList&) = delete;

  void sweep(napi_env env);
  void sweep_if_grown(napi_env env) {
    if (handles_.size() >= 2 * kept_ + kGrowth) sweep(env);
  }

  // Those of live steppers; others are forgotten.
  std::vector<std::shared_ptr<SharedWeights>> weights();
  void add(const std::shared_ptr<SharedWeights>& weights);

  // For steps of the CPU: a context of this thread, and scratch that is made at least so large.
  void prepare(Stream& stream, size_t scratch_bytes);
  bptt_context& context() { return context_; }
  char* scratch() const { return static_cast<char*>(scratch_.data()); }

 private:
  friend struct StepperHandle;
  static constexpr size_t kGrowth = 16;

  std::vector<StepperHandle*> handles_;  // those that hold a stepper
  size_t kept_ = 0;                      // by the last sweep
  std::vector<std::weak_ptr<SharedWeights>> weights_;
  std::shared_ptr<Device> device_;
  bptt_context context_{};
  Storage scratch_;
};

}  // namespace bptt::addon
