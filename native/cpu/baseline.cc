// The kernels in plain C++, for any processor.
#include "cpu/isa.h"

namespace bptt::cpu::baseline {
// clang-format off: the order matters.
#include "cpu/simd/vec_baseline.h"
#include "cpu/kernels.inl"
// clang-format on
}  // namespace bptt::cpu::baseline

namespace bptt::cpu {
const InstructionSet* baseline_set() { return &baseline::set; }
}  // namespace bptt::cpu
