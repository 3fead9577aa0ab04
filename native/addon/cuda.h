// The CUDA backend's shared library, opened where a CUDA device is first asked for.
#pragma once

#include <string>

#include "backend.h"

namespace bptt::addon {

struct CudaBackend {
  const bptt_backend* table;  // null where it cannot be used
  std::string message;        // what was found, or why it cannot be used
};

// The library that the environment variable BPTT_CUDA_LIBRARY names, or else
// bptt_cuda.so beside this addon. Looked for once per process.
const CudaBackend& cuda_backend();

}  // namespace bptt::addon
