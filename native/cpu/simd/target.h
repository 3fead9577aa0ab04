// Opens an instruction set for the code between BEGIN and END, without -m flags.
// Everything included before BEGIN is compiled for the baseline.
#pragma once

#define BPTT_PRAGMA_(tokens) _Pragma(#tokens)
#define BPTT_PRAGMA(tokens) BPTT_PRAGMA_(tokens)

#if defined(__clang__)
#define BPTT_BEGIN_TARGET(isa) \
  BPTT_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define BPTT_END_TARGET BPTT_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define BPTT_BEGIN_TARGET(isa) BPTT_PRAGMA(GCC push_options) BPTT_PRAGMA(GCC target isa)
#define BPTT_END_TARGET BPTT_PRAGMA(GCC pop_options)
#else
// MSVC compiles any intrinsic anywhere.
#define BPTT_BEGIN_TARGET(isa)
#define BPTT_END_TARGET
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define BPTT_X86 1
#else
#define BPTT_X86 0
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#define BPTT_ARM64 1
#else
#define BPTT_ARM64 0
#endif

#define BPTT_AVX2_TARGET "avx2,fma"
#define BPTT_AVX512_TARGET "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"
