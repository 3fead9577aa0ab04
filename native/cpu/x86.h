// What this x86-64 processor and its operating system can run.
#pragma once

#include "cpu/target.h"

#if BPTT_X86
#include <immintrin.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

namespace bptt::cpu {

#if defined(_MSC_VER) && !defined(__clang__)

// Whether the bits of leaf 7's ebx are there, and FMA, and the operating system
// saves the registers named in state (XCR0).
inline bool x86_has(unsigned extensions, unsigned long long state) {
  constexpr int kFma = 1 << 12, kSaves = 1 << 27;
  int leaf[4];
  __cpuid(leaf, 0);
  if (leaf[0] < 7) return false;
  __cpuid(leaf, 1);
  if ((leaf[2] & kFma) == 0 || (leaf[2] & kSaves) == 0) return false;
  if ((_xgetbv(0) & state) != state) return false;
  __cpuidex(leaf, 7, 0);
  return (static_cast<unsigned>(leaf[1]) & extensions) == extensions;
}
inline bool has_avx2() { return x86_has(1u << 5, 0x6); }
inline bool has_avx512() {
  return has_avx2() && x86_has(1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, 0xe6);
}

#else

inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
inline bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#endif

}  // namespace bptt::cpu

#endif
