// A libcudnn opened by path, real or fake: its functions as typed members.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "cudnn/fake_cudnn.h"

namespace bptt_test {

// clang-format off
#define BPTT_CUDNN_TEST_FUNCTIONS(FUNCTION) \
  FUNCTION(cudnnGetVersion) FUNCTION(cudnnAdvVersionCheck) FUNCTION(cudnnGetErrorString) \
  FUNCTION(cudnnGetLastErrorString) FUNCTION(cudnnCreate) FUNCTION(cudnnDestroy) \
  FUNCTION(cudnnSetStream) FUNCTION(cudnnCreateTensorDescriptor) \
  FUNCTION(cudnnDestroyTensorDescriptor) FUNCTION(cudnnSetTensorNdDescriptor) \
  FUNCTION(cudnnGetTensorNdDescriptor) FUNCTION(cudnnCreateDropoutDescriptor) \
  FUNCTION(cudnnDestroyDropoutDescriptor) FUNCTION(cudnnDropoutGetStatesSize) \
  FUNCTION(cudnnSetDropoutDescriptor) FUNCTION(cudnnRestoreDropoutDescriptor) \
  FUNCTION(cudnnCreateRNNDescriptor) FUNCTION(cudnnDestroyRNNDescriptor) \
  FUNCTION(cudnnSetRNNDescriptor_v8) FUNCTION(cudnnRNNSetClip_v9) \
  FUNCTION(cudnnCreateRNNDataDescriptor) FUNCTION(cudnnDestroyRNNDataDescriptor) \
  FUNCTION(cudnnSetRNNDataDescriptor) FUNCTION(cudnnGetRNNWeightSpaceSize) \
  FUNCTION(cudnnGetRNNWeightParams) FUNCTION(cudnnGetRNNTempSpaceSizes) \
  FUNCTION(cudnnRNNForward) FUNCTION(cudnnRNNBackwardData_v8) \
  FUNCTION(cudnnRNNBackwardWeights_v8)

#define BPTT_CUDNN_FAKE_FUNCTIONS(FUNCTION) \
  FUNCTION(fake_cudnn_set_queue) FUNCTION(fake_cudnn_set_checks_only) \
  FUNCTION(fake_cudnn_complaint) FUNCTION(fake_cuda_fail_call) FUNCTION(fake_cuda_live)
// clang-format on

struct CudnnLibrary {
#define BPTT_MEMBER(name) decltype(&::name) name = nullptr;
  BPTT_CUDNN_TEST_FUNCTIONS(BPTT_MEMBER)
  // Null in the real one. dlsym finds those of the fake driver, too: the fake links to it.
  BPTT_CUDNN_FAKE_FUNCTIONS(BPTT_MEMBER)
#undef BPTT_MEMBER
  std::string error;  // empty: open

  explicit CudnnLibrary(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      error = dlerror();
      return;
    }
#define BPTT_FIND(name)                                           \
  name = reinterpret_cast<decltype(name)>(dlsym(library, #name)); \
  if (!name && std::string(#name).rfind("cudnn", 0) == 0) error = "no symbol " #name;
    BPTT_CUDNN_TEST_FUNCTIONS(BPTT_FIND)
    BPTT_CUDNN_FAKE_FUNCTIONS(BPTT_FIND)
#undef BPTT_FIND
  }
};

// The path of libcudnn in the folder that an environment variable names.
inline std::string cudnn_in(const char* variable) {
  const char* folder = std::getenv(variable);
  return std::string(folder ? folder : ".") + "/libcudnn.so.9";
}

}  // namespace bptt_test
