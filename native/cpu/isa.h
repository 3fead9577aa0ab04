// What every <isa>.cc includes before it opens its instruction set: all headers
// of the standard library and of this project. After the target pragma only
// .inl files and intrinsics may follow, so no library function is compiled for
// an instruction set that the machine may lack.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "backend.h"
#include "cpu/recurrent/plan.h"
#include "cpu/scratch.h"
#include "cpu/threads/team.h"
#include "enums.h"
#include "recurrent_layer.h"
#include "shared/axes.h"
#include "shared/optimizer.h"
#include "shared/philox.h"
#include "shared/range.h"

#if defined(BPTT_SANITIZED)
// Instrumented code inlined by force takes compilers many minutes.
#define BPTT_INLINE inline
#elif defined(_MSC_VER) && !defined(__clang__)
#define BPTT_INLINE __forceinline
#else
#define BPTT_INLINE inline __attribute__((always_inline))
#endif

// Before a loop of whose body four copies fit the registers. Not in instrumented code, as above.
#if defined(BPTT_SANITIZED)
#define BPTT_UNROLL_4
#elif defined(__clang__)
#define BPTT_UNROLL_4 _Pragma("unroll 4")
#elif defined(__GNUC__)
#define BPTT_UNROLL_4 _Pragma("GCC unroll 4")
#else
#define BPTT_UNROLL_4
#endif

// Prefetches the cache line at p, which may lie past any buffer, into the second-level cache.
#if defined(__GNUC__) || defined(__clang__)
#define BPTT_PREFETCH(p) __builtin_prefetch(p, 0, 2)
#else
#define BPTT_PREFETCH(p) _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1)
#endif

namespace bptt::cpu {

constexpr int64_t kReadGrain = 256;

// Loops that run at the limits of one thread (limits.inl).
struct Limits {
  double operations;                           // floating-point, of one round of multiply_adds
  double (*multiply_adds)(int64_t rounds);     // in registers
  double (*reads)(const float* x, int64_t n);  // x [n], n a multiple of kReadGrain
};

// What <isa>.cc makes of kernels.inl.
struct InstructionSet {
  const bptt_ops* kernels;
  const Limits* limits;
};
// Null where this build or this machine lacks it.
const InstructionSet* avx512_set();
const InstructionSet* avx2_set();
const InstructionSet* neon_set();
const InstructionSet* baseline_set();

// All of them, the best first.
inline constexpr const InstructionSet* (*kInstructionSets[])() = {&avx512_set, &avx2_set, &neon_set,
                                                                  &baseline_set};

}  // namespace bptt::cpu
