// Before a function that kernels call too: nvcc compiles it for both sides.
#pragma once

#if defined(__CUDACC__)
#define BPTT_HOST_DEVICE __host__ __device__
#else
#define BPTT_HOST_DEVICE
#endif
