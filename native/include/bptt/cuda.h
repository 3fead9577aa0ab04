// The CUDA backend's one entrance. It is a shared library of its own, opened where a CUDA
// device is first asked for.
#pragma once

#include <stddef.h>

#include "backend.h"

#if defined(_WIN32)
#define BPTT_CUDA_EXPORT extern "C" __declspec(dllexport)
#else
#define BPTT_CUDA_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// The table, with what was found (versions, devices) as message; or null, and the message
// says which library is missing, where it was looked for and what the loader said. The
// same at every call.
BPTT_CUDA_EXPORT const bptt_backend* bptt_cuda_backend(char* message, size_t size);
