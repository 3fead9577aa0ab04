// Includes BPTT_ENTRIES, which defines `const Entries entries`, once per
// instruction set of this build, and lists those this machine can run.
#include <algorithm>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/isa.h"
#include "cpu/simd/target.h"
#include "cpu/simd/x86.h"
#if BPTT_ARM64
#include <arm_neon.h>
#endif

// clang-format off: each include needs the one before it.
namespace baseline {
#include "cpu/simd/vec_baseline.h"

#include "cpu/simd/math.inl"
#include "cpu/gemm.inl"
#include BPTT_ENTRIES
}  // namespace baseline

#if BPTT_X86
BPTT_BEGIN_TARGET(BPTT_AVX2_TARGET)
namespace avx2 {
#include "cpu/simd/vec_avx2.h"

#include "cpu/simd/math.inl"
#include "cpu/gemm.inl"
#include BPTT_ENTRIES
}  // namespace avx2
BPTT_END_TARGET

BPTT_BEGIN_TARGET(BPTT_AVX512_TARGET)
namespace avx512 {
#include "cpu/simd/vec_avx512.h"

#include "cpu/simd/math.inl"
#include "cpu/gemm.inl"
#include BPTT_ENTRIES
}  // namespace avx512
BPTT_END_TARGET
#endif

#if BPTT_ARM64
namespace neon {
#include "cpu/simd/vec_neon.h"

#include "cpu/simd/math.inl"
#include "cpu/gemm.inl"
#include BPTT_ENTRIES
}  // namespace neon
#endif
// clang-format on

struct Isa {
  const char* name;
  bool fused;  // fma rounds once
  const Entries* entries;
};

inline std::vector<Isa> each_isa() {
  std::vector<Isa> list = {{baseline::kIsa, false, &baseline::entries}};
#if BPTT_X86
  if (bptt::cpu::has_avx2()) list.push_back({avx2::kIsa, true, &avx2::entries});
  if (bptt::cpu::has_avx512()) list.push_back({avx512::kIsa, true, &avx512::entries});
#endif
#if BPTT_ARM64
  list.push_back({neon::kIsa, true, &neon::entries});
#endif
  for (const auto find : bptt::cpu::kInstructionSets) {
    const bptt::cpu::InstructionSet* set = find();
    const auto same = [&](const Isa& isa) { return std::string(isa.name) == set->kernels->isa; };
    CHECK(!set || std::any_of(list.begin(), list.end(), same));  // none is missing above
  }
  return list;
}
