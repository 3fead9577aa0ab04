// The kernels for 64-bit ARM, where NEON is always there.
#include "cpu/isa.h"
#include "cpu/simd/target.h"

#if BPTT_ARM64
#include <arm_neon.h>

namespace bptt::cpu::neon {
// clang-format off: the order matters.
#include "cpu/simd/vec_neon.h"
#include "cpu/kernels.inl"
// clang-format on
}  // namespace bptt::cpu::neon

namespace bptt::cpu {
const InstructionSet* neon_set() { return &neon::set; }
}  // namespace bptt::cpu

#else

namespace bptt::cpu {
const InstructionSet* neon_set() { return nullptr; }
}  // namespace bptt::cpu

#endif
