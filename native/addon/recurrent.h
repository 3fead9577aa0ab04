// The parameters of a recurrent layer, read from JavaScript.
#pragma once

#include <vector>

#include "addon/call.h"
#include "addon/plan.h"
#include "recurrent_layer.h"

namespace bptt::addon {

// Calls visit(Parameter, elements) for the parameters that the layer has, of one pseudo-layer.
template <class Visit>
void for_each_present(const Layer& layer, int64_t index, Visit visit) {
  for_each_parameter(layer, index,
                     [&](Parameter which, bool present, std::initializer_list<int64_t> shape) {
                       if (present) visit(which, product(shape));
                     });
}

// A list of handles: the parameters that the layer has, one pseudo-layer after the other.
class Parameters {
 public:
  // Reads the list: before any storage.
  explicit Parameters(Call& call);
  // Resolves the handles, of which required ones may not be null. They join `operands`.
  std::vector<bptt_recurrent_params> read(Call& call, const Layer& layer, bool required,
                                          std::vector<Operand>* operands) const;

 private:
  std::vector<napi_value> handles_;
};

}  // namespace bptt::addon
