// What this x86-64 processor and its operating system can run.
#pragma once

#include "cpu/simd/target.h"

#if BPTT_X86
#include <immintrin.h>

#include <cstdint>

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

namespace bptt::cpu {

// eax, ebx, ecx and edx of a leaf.
inline void cpuid(uint32_t leaf, uint32_t registers[4]) {
#if defined(_MSC_VER)
  __cpuidex(reinterpret_cast<int*>(registers), static_cast<int>(leaf), 0);
#else
  __cpuid_count(leaf, 0, registers[0], registers[1], registers[2], registers[3]);
#endif
}

// XCR0: which registers the operating system saves; only where CPUID has OSXSAVE.
constexpr uint32_t kSavesYmm = 0x06;  // xmm and ymm
constexpr uint32_t kSavesZmm = 0xe0;  // opmask and zmm
inline uint32_t saved_state() {
#if defined(_MSC_VER)
  return static_cast<uint32_t>(_xgetbv(0));
#else
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

// Extensions in ebx of leaf 7.
constexpr uint32_t kAvx2 = 1u << 5;
constexpr uint32_t kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL

// Whether these extensions are there, and FMA, and the operating system saves the registers of
// `state`. Asked of the processor itself, because the table behind
// __builtin_cpu_supports stays empty with some runtime libraries (zig's).
inline bool x86_has(uint32_t extensions, uint32_t state) {
  constexpr uint32_t kFma = 1u << 12, kSaves = 1u << 27;
  uint32_t registers[4];
  cpuid(0, registers);
  if (registers[0] < 7) return false;
  cpuid(1, registers);
  if ((registers[2] & (kFma | kSaves)) != (kFma | kSaves)) return false;
  if ((saved_state() & state) != state) return false;
  cpuid(7, registers);
  return (registers[1] & extensions) == extensions;
}

inline bool has_avx2() { return x86_has(kAvx2, kSavesYmm); }

inline bool has_avx512() {
#if defined(__APPLE__)
  constexpr uint32_t kState = kSavesYmm;  // macOS sets the other bits at a thread's first use
#else
  constexpr uint32_t kState = kSavesYmm | kSavesZmm;
#endif
  return has_avx2() && x86_has(kAvx512, kState);
}

}  // namespace bptt::cpu

#endif
