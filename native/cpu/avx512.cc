// The kernels for x86-64 with AVX-512 (F, BW, DQ, VL).
#include "cpu/isa.h"
#include "cpu/simd/target.h"
#include "cpu/simd/x86.h"

#if BPTT_X86 && !defined(BPTT_WITHOUT_AVX512)
namespace bptt::cpu::avx512 {
extern const InstructionSet set;
}  // namespace bptt::cpu::avx512

namespace bptt::cpu {
// Before the target opens: this runs on processors that lack it.
const InstructionSet* avx512_set() { return has_avx512() ? &avx512::set : nullptr; }
}  // namespace bptt::cpu

BPTT_BEGIN_TARGET(BPTT_AVX512_TARGET)
namespace bptt::cpu::avx512 {
// clang-format off: the order matters.
#include "cpu/simd/vec_avx512.h"
#include "cpu/kernels.inl"
// clang-format on
}  // namespace bptt::cpu::avx512
BPTT_END_TARGET

#else

namespace bptt::cpu {
const InstructionSet* avx512_set() { return nullptr; }
}  // namespace bptt::cpu

#endif
