// The CUDA libraries, reached without linking to them: tables of functions whose types
// come from NVIDIA's headers, so that a wrong prototype does not compile.
#pragma once

#include <cublasLt.h>
#include <cuda.h>
#include <cudnn.h>

#include <string>

namespace bptt::cuda {

// cuda.h maps some names to later versions (cuMemAlloc to cuMemAlloc_v2); the lists
// expand such names, so that type and symbol agree.
// clang-format off
#define BPTT_DRIVER_FUNCTIONS(FUNCTION) \
  FUNCTION(cuInit) FUNCTION(cuDriverGetVersion) FUNCTION(cuGetErrorName) \
  FUNCTION(cuGetErrorString) FUNCTION(cuDeviceGetCount) FUNCTION(cuDeviceGet) \
  FUNCTION(cuDeviceGetName) FUNCTION(cuDeviceGetAttribute) \
  FUNCTION(cuDevicePrimaryCtxRetain) FUNCTION(cuDevicePrimaryCtxRelease) \
  FUNCTION(cuCtxSetCurrent) FUNCTION(cuModuleLoadData) FUNCTION(cuModuleUnload) \
  FUNCTION(cuModuleGetFunction) FUNCTION(cuMemAlloc) FUNCTION(cuMemFree) \
  FUNCTION(cuMemcpyHtoDAsync) FUNCTION(cuMemcpyDtoHAsync) FUNCTION(cuMemcpyDtoDAsync) \
  FUNCTION(cuMemsetD8Async) FUNCTION(cuStreamCreate) \
  FUNCTION(cuStreamDestroy) FUNCTION(cuStreamSynchronize) FUNCTION(cuLaunchKernel)

#define BPTT_CUBLASLT_FUNCTIONS(FUNCTION) \
  FUNCTION(cublasLtCreate) FUNCTION(cublasLtDestroy) FUNCTION(cublasLtGetVersion) \
  FUNCTION(cublasLtGetStatusString) FUNCTION(cublasLtMatmulDescCreate) \
  FUNCTION(cublasLtMatmulDescDestroy) FUNCTION(cublasLtMatmulDescSetAttribute) \
  FUNCTION(cublasLtMatrixLayoutCreate) FUNCTION(cublasLtMatrixLayoutDestroy) \
  FUNCTION(cublasLtMatrixLayoutSetAttribute) FUNCTION(cublasLtMatmulPreferenceCreate) \
  FUNCTION(cublasLtMatmulPreferenceDestroy) FUNCTION(cublasLtMatmulPreferenceSetAttribute) \
  FUNCTION(cublasLtMatmulAlgoGetHeuristic) FUNCTION(cublasLtMatmul)

#define BPTT_CUDNN_FUNCTIONS(FUNCTION) \
  FUNCTION(cudnnGetVersion) FUNCTION(cudnnGetErrorString) FUNCTION(cudnnGetLastErrorString) \
  FUNCTION(cudnnCreate) FUNCTION(cudnnDestroy) FUNCTION(cudnnSetStream) \
  FUNCTION(cudnnCreateTensorDescriptor) FUNCTION(cudnnDestroyTensorDescriptor) \
  FUNCTION(cudnnSetTensorNdDescriptor) FUNCTION(cudnnGetTensorNdDescriptor) \
  FUNCTION(cudnnCreateRNNDescriptor) FUNCTION(cudnnDestroyRNNDescriptor) \
  FUNCTION(cudnnSetRNNDescriptor_v8) FUNCTION(cudnnCreateRNNDataDescriptor) \
  FUNCTION(cudnnDestroyRNNDataDescriptor) FUNCTION(cudnnSetRNNDataDescriptor) \
  FUNCTION(cudnnGetRNNWeightSpaceSize) FUNCTION(cudnnGetRNNWeightParams) \
  FUNCTION(cudnnGetRNNTempSpaceSizes) FUNCTION(cudnnRNNForward) \
  FUNCTION(cudnnRNNBackwardData_v8) FUNCTION(cudnnRNNBackwardWeights_v8)
// clang-format on

#define BPTT_MEMBER(name) decltype(&::name) name = nullptr;
struct Driver {
  BPTT_DRIVER_FUNCTIONS(BPTT_MEMBER)
};
struct CublasLt {
  BPTT_CUBLASLT_FUNCTIONS(BPTT_MEMBER)
};
struct Cudnn {
  BPTT_CUDNN_FUNCTIONS(BPTT_MEMBER)
};
#undef BPTT_MEMBER

struct Library {
  Driver driver;
  CublasLt cublas;
  Cudnn cudnn;
  int driver_version = 0;  // 1000 * major + 10 * minor of the CUDA it knows
  size_t cublas_version = 0, cudnn_version = 0;
  int devices = 0;
  bool usable = false;
  std::string message;  // what was found, or why it cannot be used
};

// Opened at the first call and never closed. Each library is looked for, in this order:
//   1. in the folders of the environment variable BPTT_CUDA_PATH
//   2. by the system's loader
//   3. where the CUDA toolkit is installed: CUDA_HOME, CUDA_PATH, /usr/local/cuda
//   4. where NVIDIA's Python wheels put it: nvidia/*/lib of the site-packages of
//      VIRTUAL_ENV, CONDA_PREFIX, ~/.local, /usr/local and /usr
const Library& library();

}  // namespace bptt::cuda
