// What hangs on context->device in the CPU backend, and its memory.
#pragma once

#include <cstddef>
#include <new>

namespace bptt::cpu {

constexpr size_t kAlignment = 64;

// Null where there is no memory.
inline void* allocate_aligned(size_t bytes) {
  return ::operator new(bytes, std::align_val_t{kAlignment}, std::nothrow);
}

inline void free_aligned(void* pointer) {
  ::operator delete(pointer, std::align_val_t{kAlignment});
}

struct CpuDevice {
  void* scratch = nullptr;
  size_t scratch_bytes = 0;

  CpuDevice() = default;
  CpuDevice(const CpuDevice&) = delete;
  ~CpuDevice() { free_aligned(scratch); }
};

}  // namespace bptt::cpu
