// The backend that the tests of this folder run.
#pragma once

#include "bptt/cuda.h"
#include "native/check.h"

namespace bptt_test {

// Null after a failed check.
inline const bptt_backend* cuda_backend() {
  char message[4096] = "";
  const bptt_backend* backend = bptt_cuda_backend(message, sizeof(message));
  CHECK_MSG(backend, "%s", message);
  return backend;
}

}  // namespace bptt_test
