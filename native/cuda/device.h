// What context->device points at in the CUDA backend: one stream on one device, with the handles
// of the libraries. It is one CUDA stream: work runs in the order in which it is started.
#pragma once

#include <cstddef>
#include <type_traits>

#include "backend.h"
#include "cuda/kernel_arguments.h"
#include "cuda/library.h"

namespace bptt::cuda {

// Device memory of one use, grown as needed. Growing it waits for what still runs.
struct Scratch {
  CUdeviceptr data = 0;
  size_t bytes = 0;
};

struct CudaDevice {
  explicit CudaDevice(const Library& library)
      : driver(library.driver),
        cublas(library.cublas),
        cudnn(library.cudnn),
        cudnn_version(library.cudnn_version) {}

  const Driver& driver;
  const CublasLt& cublas;
  const Cudnn& cudnn;
  const size_t cudnn_version;  // 10000 * major + 100 * minor + patch

  CUdevice number = 0;
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  CUcontext context = nullptr;  // the primary one, shared with every other library
  CUstream stream = nullptr;
  CUmodule module = nullptr;
  CUfunction kernels[kKernelCount][2] = {};  // float32, float64
  cublasLtHandle_t cublas_handle = nullptr;
  // Made by the first recurrent layer. cuDNN wants one per thread: plans are made on the
  // owner's, layers run on the stream's.
  cudnnHandle_t cudnn_handle = nullptr, plan_handle = nullptr;

  // Kernels set a word of it where an index is out of range; wait() copies it and reports it.
  Scratch flags;
  int32_t flag = 0;   // outlives a wait that fails before its copy is made
  Scratch product;    // cuBLASLt's workspace
  Scratch reduction;  // partial results of sums
};

inline CudaDevice& device_of(bptt_context* context) {
  return *static_cast<CudaDevice*>(context->device);
}

// Code and message of a driver's result; `doing` names the work: "fill", "copy to the device".
bptt_code check(bptt_context*, CUresult, const char* doing);
bptt_code check(bptt_context*, cublasStatus_t, const char* doing);
bptt_code check(bptt_context*, cudnnStatus_t, const char* doing);
bptt_code fail(bptt_context*, bptt_code, const char* message);

// Makes the device's context the thread's; every entry of the table begins with it.
bptt_code use(bptt_context*);
// Makes the cuDNN handle of the stream, or of its owner, where it is not there yet.
bptt_code use_cudnn(bptt_context*);
bptt_code use_planning(bptt_context*);

// At least so many bytes in a scratch.
bptt_code reserve(bptt_context*, Scratch&, size_t bytes);

// The operations, defined in ops_*.cc and matmul.cc; backend.h says what each does. They start
// work and return: an index out of range is found by wait(), and a failed launch by the op.
#define BPTT_DECLARE(op) std::remove_pointer_t<decltype(bptt_ops::op)> op;
BPTT_OPS(BPTT_DECLARE)
#undef BPTT_DECLARE

}  // namespace bptt::cuda
