#include "cpu/scratch.h"

#include <cstdio>

#include "cpu/device.h"

namespace bptt::cpu {

void* scratch(bptt_context* context, size_t bytes) {
  auto* device = static_cast<CpuDevice*>(context->device);
  if (bytes > device->scratch_bytes || !device->scratch) {
    free_aligned(device->scratch);
    device->scratch_bytes = 0;
    const size_t rounded = (bytes + 4095) / 4096 * 4096;
    device->scratch = allocate_aligned(rounded > 0 ? rounded : 4096);
    if (!device->scratch) {
      std::snprintf(context->message, sizeof(context->message),
                    "out of memory: %zu bytes of scratch asked", bytes);
      return nullptr;
    }
    device->scratch_bytes = rounded;
  }
  return device->scratch;
}

}  // namespace bptt::cpu
