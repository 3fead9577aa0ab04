// The functions of the ops.
#pragma once

#include <node_api.h>

#include <span>
#include <string>
#include <string_view>

namespace bptt::addon {

// As JavaScript writes it: layer_norm is layerNorm.
std::string camel_case(std::string_view name);

struct Op {
  std::string name;
  napi_callback function;
};
// One per entry of BPTT_OPS.
std::span<const Op> op_functions();

}  // namespace bptt::addon
