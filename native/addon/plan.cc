#include "addon/plan.h"

#include <tuple>

#include "addon/call.h"

namespace bptt::addon {

namespace {

auto key(const bptt_recurrent& d) {
  return std::tie(d.cell, d.dtype, d.T, d.B, d.I, d.H, d.P, d.L, d.D, d.bias, d.batch_first,
                  d.training, d.dropout, d.compute);
}

}  // namespace

Layer::Layer(std::span<const double> values) : bptt_recurrent{} {
  Numbers numbers(values);
  cell = static_cast<bptt_cell>(numbers.integer(0, kCells - 1));
  dtype = to_float_dtype(numbers.number());
  T = numbers.count();
  B = numbers.count();
  I = numbers.count();
  H = numbers.integer(1, kLargestCount);
  P = numbers.count();
  L = numbers.integer(1, kMostLayers);
  D = numbers.integer(1, 2);
  bias = static_cast<int>(numbers.integer(0, 1));
  batch_first = static_cast<int>(numbers.integer(0, 1));
  training = static_cast<int>(numbers.integer(0, 1));
  dropout = numbers.number();
  if (!(dropout >= 0 && dropout <= 1)) broken("dropout is not in [0, 1]");
  compute = numbers.option<bptt_compute>();
}

int64_t Layer::x_count() const { return product({T, B, I}); }
int64_t Layer::y_count() const { return product({T, B, D, output_size(*this)}); }
int64_t Layer::h_count() const { return product({layers(), B, output_size(*this)}); }
int64_t Layer::c_count() const { return product({layers(), B, H}); }

Plan::Plan(Stream& s, const Layer& l, const int32_t* lengths)
    : stream(&s), ops(&s.ops()), layer(l) {
  bptt_recurrent desc = layer;
  desc.lengths = lengths;
  bptt_context* context = s.host_context();
  const bptt_code code = ops->plan_create(context, &desc, &plan);
  if (code != BPTT_OK) throw Error(code, context->message);
  ops->plan_sizes(plan, &sizes);
}

std::shared_ptr<const Plan> PlanCache::get(Stream& stream, const Layer& layer) {
  for (const std::shared_ptr<const Plan>& plan : plans_) {
    if (plan->stream == &stream && key(plan->layer) == key(layer)) return plan;
  }
  auto plan = std::make_shared<const Plan>(stream, layer, nullptr);
  if (plans_.size() < kEntries) {
    plans_.push_back(plan);
  } else {
    plans_[oldest_++ % kEntries] = plan;
  }
  return plan;
}

}  // namespace bptt::addon
