// What is wrong with a description of recurrent layers, whatever backend gets it.
#pragma once

#include <cstdint>

#include "enums.h"
#include "recurrent_layer.h"

namespace bptt {

// More layers are refused, as larger than memory.
constexpr int64_t kMostLayers = int64_t{1} << 20;

// Null where nothing is.
inline const char* mistake_in(const bptt_recurrent& desc) {
  if (gates_of(desc.cell) == 0) return "unknown cell";
  if (desc.T < 0 || desc.B < 0 || desc.I < 0 || desc.H < 1 || desc.P < 0 || desc.L < 1) {
    return "a size is negative or zero";
  }
  if (desc.D != 1 && desc.D != 2) return "directions must be 1 or 2";
  if (!is_float(desc.dtype)) return "dtype must be a float";
  if (!is_enumerator(desc.compute)) return "an unknown type to compute in";
  if (desc.compute != BPTT_COMPUTE_DTYPE && desc.dtype != BPTT_FLOAT32) {
    return "only float32 layers compute in another type";
  }
  if (desc.P > 0 && states_of(desc.cell) != 2) return "only a cell with c can have a projection";
  if (!(desc.dropout >= 0 && desc.dropout <= 1)) return "dropout must be in 0 .. 1";
  if (desc.lengths == nullptr) return nullptr;
  for (int64_t b = 0; b < desc.B; ++b) {
    if (desc.lengths[b] < 0 || desc.lengths[b] > desc.T) return "a length is not in 0 .. T";
  }
  return nullptr;
}

}  // namespace bptt
