// What context->device points at in the CPU backend.
#pragma once

#include "runtime/memory.h"

namespace bptt::cpu {

struct CpuDevice {
  HostBlock scratch;
  size_t scratch_bytes = 0;
};

}  // namespace bptt::cpu
