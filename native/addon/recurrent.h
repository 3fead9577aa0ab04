// The weights of a recurrent layer, read from JavaScript.
#pragma once

#include <vector>

#include "addon/call.h"
#include "addon/plan.h"

namespace bptt::addon {

constexpr int64_t kWeights = 5;  // of one pseudo-layer

// Elements of weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; 0: the layer has none.
std::vector<int64_t> weight_sizes(const Layer& layer, int64_t index);

// A list of handles, five per pseudo-layer. Required ones may not be missing; those that
// the layer does not have must be.
class Weights {
 public:
  // Reads the list, as Call::optional_handles.
  Weights(Call& call, const Layer& layer);
  // Resolves the handles. They join `operands`.
  std::vector<bptt_recurrent_params> read(Call& call, const Layer& layer, bool required,
                                          std::vector<Operand>* operands) const;

 private:
  std::vector<napi_value> handles_;
};

}  // namespace bptt::addon
