// The kernels for x86-64 with AVX2 and FMA.
#include "cpu/isa.h"
#include "cpu/simd/target.h"
#include "cpu/simd/x86.h"

#if BPTT_X86 && !defined(BPTT_WITHOUT_AVX2)
namespace bptt::cpu::avx2 {
extern const InstructionSet set;
}  // namespace bptt::cpu::avx2

namespace bptt::cpu {
// Before the target opens: this runs on processors that lack it.
const InstructionSet* avx2_set() { return has_avx2() ? &avx2::set : nullptr; }
}  // namespace bptt::cpu

BPTT_BEGIN_TARGET(BPTT_AVX2_TARGET)
namespace bptt::cpu::avx2 {
// clang-format off: the order matters.
#include "cpu/simd/vec_avx2.h"
#include "cpu/kernels.inl"
// clang-format on
}  // namespace bptt::cpu::avx2
BPTT_END_TARGET

#else

namespace bptt::cpu {
const InstructionSet* avx2_set() { return nullptr; }
}  // namespace bptt::cpu

#endif
