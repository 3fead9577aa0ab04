// What follows from a description of recurrent layers by the lists of cells.h.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "backend.h"

namespace bptt {

#define BPTT_ONE_MORE(...) +1
constexpr int kCells = BPTT_CELLS(BPTT_ONE_MORE);
constexpr int kParameters = BPTT_PARAMETERS(BPTT_ONE_MORE);
#undef BPTT_ONE_MORE

// One line of the list of cells.
struct CellFacts {
  int gates, states, cudnn;
};

// A number outside the enum has no gates.
constexpr CellFacts facts_of(bptt_cell cell) {
  switch (cell) {
#define BPTT_FACTS(enumerator, name, Template, gates, states, cudnn) \
  case enumerator:                                                   \
    return {gates, states, cudnn};
    BPTT_CELLS(BPTT_FACTS)
#undef BPTT_FACTS
  }
  return {0, 0, -1};
}

constexpr int gates_of(bptt_cell cell) { return facts_of(cell).gates; }
constexpr int states_of(bptt_cell cell) { return facts_of(cell).states; }
constexpr bool cudnn_has(bptt_cell cell) { return facts_of(cell).cudnn >= 0; }

using Parameter = void* bptt_recurrent_params::*;

constexpr int64_t output_size(const bptt_recurrent& desc) { return desc.P > 0 ? desc.P : desc.H; }

// Calls visit(Parameter, bool present, std::initializer_list<int64_t> shape) for every
// parameter of the list, of pseudo-layer `index` (layer * D + direction).
template <class Visit>
void for_each_parameter(const bptt_recurrent& desc, int64_t index, Visit visit) {
  const int64_t G = gates_of(desc.cell), H = desc.H, P = desc.P, Hout = output_size(desc);
  const int64_t I = index < desc.D ? desc.I : desc.D * Hout;
  const bool bias = desc.bias != 0;
  [[maybe_unused]] const auto is = [&](auto... cells) { return ((desc.cell == cells) || ...); };
#define BPTT_VISIT(name, present, ...) visit(&bptt_recurrent_params::name, present, {__VA_ARGS__});
  BPTT_PARAMETERS(BPTT_VISIT)
#undef BPTT_VISIT
}

// The parameter [n,H] that a cell's equations apply to the units one by one.
struct UnitWeights {
  Parameter which = nullptr;  // null: none
  int64_t count = 0;          // n

  void* in(const bptt_recurrent_params& params) const { return which ? params.*which : nullptr; }
};

constexpr UnitWeights unit_weights_of(bptt_cell cell) {
  // With H = 1 and every other size 0, only a parameter of shape [n,H] has elements: n of them.
  [[maybe_unused]] constexpr int64_t G = 0, H = 1, I = 0, P = 0, Hout = 0;
  [[maybe_unused]] constexpr bool bias = false;
  [[maybe_unused]] const auto is = [&](auto... cells) { return ((cell == cells) || ...); };
  UnitWeights found;
  const auto visit = [&](Parameter which, bool present, std::initializer_list<int64_t> shape) {
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    if (present && elements > 0) found = {which, elements};
  };
#define BPTT_VISIT(name, present, ...) visit(&bptt_recurrent_params::name, present, {__VA_ARGS__});
  BPTT_PARAMETERS(BPTT_VISIT)
#undef BPTT_VISIT
  return found;
}

inline bool any_given(const bptt_recurrent_params& params) {
#define BPTT_OR_GIVEN(name, ...) || params.name
  return false BPTT_PARAMETERS(BPTT_OR_GIVEN);
#undef BPTT_OR_GIVEN
}

}  // namespace bptt
