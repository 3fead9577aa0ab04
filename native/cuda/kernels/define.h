// What every kernel file includes: how a kernel is written, and what blocks share.
//
//   BPTT_KERNEL(fill, Fill) {              // a template over T; `a` are the arguments
//     BPTT_EACH(i, a.n) static_cast<T*>(a.out)[i] = T(a.value);
//   }
#pragma once

#if defined(BPTT_CUDA_EMULATION)
#include "emulation/emulation.h"  // test/cuda
#endif

#include "cuda/kernel_arguments.h"

// An array in shared memory: BPTT_SHARED(T, sums, 32);
#if !defined(BPTT_CUDA_EMULATION)
#define BPTT_SHARED(Type, name, count) __shared__ Type name[count]
#endif

// Arguments are read where the driver puts them, never copied to a thread's memory.
#if defined(BPTT_CUDA_EMULATION)
#define BPTT_ARGUMENTS(Arguments) const bptt::cuda::Arguments
#else
#define BPTT_ARGUMENTS(Arguments) const __grid_constant__ bptt::cuda::Arguments
#endif

// Before a loop whose turns, side by side, would need more registers than there are.
#if defined(BPTT_CUDA_EMULATION)
#define BPTT_ROLLED
#else
#define BPTT_ROLLED _Pragma("unroll 1")
#endif

// A block has kBlockThreads at most, and four of them fit a multiprocessor (resources.mjs).
#define BPTT_GLOBAL extern "C" __global__ void __launch_bounds__(bptt::cuda::kBlockThreads, 4)

#define BPTT_KERNEL(name, Arguments)                                                              \
  namespace bptt::cuda {                                                                          \
  template <class T>                                                                              \
  __device__ void name(const Arguments& a);                                                       \
  }                                                                                               \
  BPTT_GLOBAL bptt_##name##_float32(BPTT_ARGUMENTS(Arguments) a) { bptt::cuda::name<float>(a); }  \
  BPTT_GLOBAL bptt_##name##_float64(BPTT_ARGUMENTS(Arguments) a) { bptt::cuda::name<double>(a); } \
  template <class T>                                                                              \
  __device__ void bptt::cuda::name(const bptt::cuda::Arguments& a)

// Every item in [0, n), divided among all threads of the grid.
#define BPTT_EACH(i, n)                                                     \
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < (n); \
       i += int64_t(gridDim.x) * blockDim.x)
