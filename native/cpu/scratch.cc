#include "cpu/scratch.h"

#include <cstdio>

#include "cpu/device.h"

namespace bptt::cpu {

namespace {

// Scratch grows by whole pages.
constexpr size_t kPage = 4096;

}  // namespace

void* scratch(bptt_context* context, size_t bytes) {
  auto* device = static_cast<CpuDevice*>(context->device);
  if (bytes > device->scratch_bytes || !device->scratch) {
    release_scratch(context);
    const size_t rounded = (bytes + kPage - 1) / kPage * kPage;
    device->scratch.reset(static_cast<unsigned char*>(allocate_host(rounded)));
    if (!device->scratch) {
      std::snprintf(context->message, sizeof(context->message),
                    "out of memory: %zu bytes of scratch asked", bytes);
      return nullptr;
    }
    device->scratch_bytes = rounded;
  }
  return device->scratch.get();
}

void release_scratch(bptt_context* context) {
  auto* device = static_cast<CpuDevice*>(context->device);
  device->scratch.reset();
  device->scratch_bytes = 0;
}

}  // namespace bptt::cpu
