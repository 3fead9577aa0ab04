// Plans of recurrent layers, as the ops and the stepper use them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "recurrent_layer.h"
#include "runtime/stream.h"

namespace bptt::addon {

constexpr int64_t kMostLayers = 4096;

// What the numbers of lib/binding.ts say of a layer, and the counts of elements
// that follow. Its lengths are not kept.
struct Layer : bptt_recurrent {
  explicit Layer(std::span<const double> numbers);

  int64_t layers() const { return L * D; }
  bool has_c() const { return states_of(cell) == 2; }
  int64_t x_count() const;
  int64_t y_count() const;
  int64_t h_count() const;
  int64_t c_count() const;
};

// A backend's plan with what it was made from. Queued ops share it.
struct Plan {
  // lengths: [B], or null.
  Plan(Stream& stream, const Layer& layer, const int32_t* lengths);
  ~Plan() { ops->plan_destroy(plan); }
  Plan(const Plan&) = delete;

  const Stream* stream;
  const bptt_ops* ops;
  const Layer layer;
  bptt_plan* plan = nullptr;
  bptt_plan_sizes sizes{};
};

// Remembers the plans of the last few shapes; those with lengths are made anew.
class PlanCache {
 public:
  std::shared_ptr<const Plan> get(Stream& stream, const Layer& layer);

 private:
  static constexpr size_t kEntries = 16;
  std::vector<std::shared_ptr<const Plan>> plans_;
  size_t oldest_ = 0;
};

}  // namespace bptt::addon
