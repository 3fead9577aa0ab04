// Plans of recurrent layers, as the ops and the stepper use them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bptt/bptt.h"

namespace bptt::addon {

// A backend's plan with what it was made from. Queued ops share it.
struct Plan {
  Plan(Stream& stream, const bptt_recurrent& desc);
  ~Plan() { ops->plan_destroy(plan); }
  Plan(const Plan&) = delete;

  const bptt_ops* ops;
  bptt_recurrent desc;  // its lengths are not kept
  bptt_plan* plan = nullptr;
  bptt_plan_sizes sizes{};

  // -- counts of elements -------------------------------------------------------
  int64_t layers() const { return desc.L * desc.D; }
  int64_t output_size() const { return desc.P > 0 ? desc.P : desc.H; }  // Hout
  int64_t gates() const;
  int64_t layer_input(int64_t layer) const {
    return layer < desc.D ? desc.I : desc.D * output_size();
  }
  bool has_cell() const { return desc.cell == BPTT_LSTM; }
  int64_t x() const;
  int64_t y() const;
  int64_t h() const;
  int64_t c() const;
};

// Makes plans from the numbers of lib/binding.ts and remembers the last few.
class PlanCache {
 public:
  static constexpr size_t kNumbers = 13;

  // lengths: [B], or empty with has_lengths false.
  std::shared_ptr<const Plan> get(Stream& stream, std::span<const double> numbers,
                                  const std::span<const int32_t>* lengths);
  void clear() { entries_.clear(); }

 private:
  struct Entry {
    std::array<double, kNumbers> key;
    std::shared_ptr<const Plan> plan;
  };
  static constexpr size_t kEntries = 16;
  std::vector<Entry> entries_;
  size_t oldest_ = 0;
};

}  // namespace bptt::addon
