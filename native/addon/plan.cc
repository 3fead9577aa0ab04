#include "addon/plan.h"

#include <algorithm>

#include "addon/call.h"
#include "cells.h"

namespace bptt::addon {

namespace {

constexpr int64_t kMostLayers = 4096;

bptt_recurrent read_desc(std::span<const double> values) {
  Numbers numbers(values);
  bptt_recurrent desc{};
  desc.cell = static_cast<bptt_cell>(numbers.integer(0, BPTT_GRU_RESET_BEFORE));
  desc.dtype = static_cast<bptt_dtype>(numbers.integer(0, BPTT_FLOAT64));
  desc.T = numbers.count();
  desc.B = numbers.count();
  desc.I = numbers.count();
  desc.H = numbers.count();
  desc.P = numbers.count();
  desc.L = numbers.integer(1, kMostLayers);
  desc.D = numbers.integer(1, 2);
  desc.bias = static_cast<int>(numbers.integer(0, 1));
  desc.batch_first = static_cast<int>(numbers.integer(0, 1));
  desc.training = static_cast<int>(numbers.integer(0, 1));
  desc.dropout = numbers.number();
  if (!(desc.dropout >= 0 && desc.dropout <= 1)) broken("dropout is not in [0, 1]");
  return desc;
}

}  // namespace

Plan::Plan(Stream& stream, const bptt_recurrent& d) : ops(&stream.ops()), desc(d) {
  bptt_context* context = stream.host_context();
  const bptt_code code = ops->plan_create(context, &desc, &plan);
  if (code != BPTT_OK) throw Error(code, context->message);
  ops->plan_sizes(plan, &sizes);
  desc.lengths = nullptr;
}

int64_t Plan::gates() const {
#define BPTT_GATES(Name, enumerator, gates, states) \
  if (desc.cell == enumerator) return gates;
  BPTT_CELLS(BPTT_GATES)
#undef BPTT_GATES
  return 0;
}

int64_t Plan::x() const { return product({desc.T, desc.B, desc.I}); }
int64_t Plan::y() const { return product({desc.T, desc.B, desc.D, output_size()}); }
int64_t Plan::h() const { return product({layers(), desc.B, output_size()}); }
int64_t Plan::c() const { return product({layers(), desc.B, desc.H}); }

std::shared_ptr<const Plan> PlanCache::get(Stream& stream, std::span<const double> numbers,
                                           const std::span<const int32_t>* lengths) {
  if (numbers.size() != kNumbers) broken("a layer is described by 13 numbers");
  if (!lengths) {
    for (const Entry& entry : entries_) {
      if (std::equal(numbers.begin(), numbers.end(), entry.key.begin())) return entry.plan;
    }
  }
  bptt_recurrent desc = read_desc(numbers);
  if (lengths) {
    if (static_cast<int64_t>(lengths->size()) != desc.B) broken("one length per row is needed");
    for (const int32_t length : *lengths) {
      if (length < 0 || length > desc.T) broken("a length is not in [0, T]");
    }
    desc.lengths = lengths->data();
    return std::make_shared<const Plan>(stream, desc);
  }
  Entry entry{{}, std::make_shared<const Plan>(stream, desc)};
  std::copy(numbers.begin(), numbers.end(), entry.key.begin());
  if (entries_.size() < kEntries) {
    entries_.push_back(entry);
  } else {
    entries_[oldest_++ % kEntries] = entry;
  }
  return entry.plan;
}

}  // namespace bptt::addon
