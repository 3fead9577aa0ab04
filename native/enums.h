// The enums of backend.h in C++: how many enumerators there are, and their names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "backend.h"

namespace bptt {

template <class Enum>
struct EnumNames;

#define BPTT_NAME(enumerator, name) #name,
#define BPTT_NAMES(Enum, LIST)                                \
  template <>                                                 \
  struct EnumNames<Enum> {                                    \
    static constexpr const char* names[] = {LIST(BPTT_NAME)}; \
  };
BPTT_NAMES(bptt_dtype, BPTT_DTYPE)
BPTT_NAMES(bptt_unary_op, BPTT_UNARY)
BPTT_NAMES(bptt_binary_op, BPTT_BINARY)
BPTT_NAMES(bptt_comparison, BPTT_COMPARISON)
BPTT_NAMES(bptt_reduction, BPTT_REDUCTION)
BPTT_NAMES(bptt_pairwise_loss, BPTT_PAIRWISE_LOSS)
BPTT_NAMES(bptt_softmax_kind, BPTT_SOFTMAX_KIND)
BPTT_NAMES(bptt_optimizer_kind, BPTT_OPTIMIZER)
BPTT_NAMES(bptt_extreme, BPTT_EXTREME)
BPTT_NAMES(bptt_fold, BPTT_FOLD)
BPTT_NAMES(bptt_pick, BPTT_PICK)
BPTT_NAMES(bptt_compute, BPTT_COMPUTE)
#undef BPTT_NAMES
#undef BPTT_NAME

template <class Enum>
constexpr int64_t count_of = std::size(EnumNames<Enum>::names);

template <class Enum>
constexpr bool is_enumerator(Enum value) {
  const auto number = static_cast<int64_t>(value);
  return number >= 0 && number < count_of<Enum>;
}

template <class Enum>
constexpr const char* name_of(Enum value) {
  return EnumNames<Enum>::names[value];
}

constexpr size_t size_of(bptt_dtype dtype) {
  return dtype == BPTT_FLOAT64 ? 8 : dtype == BPTT_BOOL ? 1 : 4;
}

constexpr bool is_float(bptt_dtype dtype) { return dtype == BPTT_FLOAT32 || dtype == BPTT_FLOAT64; }

}  // namespace bptt
