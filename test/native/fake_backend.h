// A backend of host memory that can run out and counts what it holds. It has no
// kernels: tests enqueue lambdas.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "backend.h"

namespace bptt_test {

struct FakeMemory {
  std::atomic<size_t> held{0};  // bytes
  std::atomic<size_t> blocks{0};
  std::atomic<size_t> limit{SIZE_MAX};
  std::atomic<int> open{0};
  std::atomic<int> trims{0};
};
inline FakeMemory fake;

// The size lies before the block.
constexpr size_t kHeader = 64;

inline bptt_code fake_allocate(bptt_context* context, size_t bytes, void** out) {
  if (fake.held + bytes > fake.limit) {
    std::snprintf(context->message, sizeof(context->message), "the fake is full");
    return BPTT_OUT_OF_MEMORY;
  }
  auto* base = static_cast<unsigned char*>(std::malloc(bytes + kHeader));
  std::memcpy(base, &bytes, sizeof(bytes));
  fake.held += bytes;
  ++fake.blocks;
  *out = base + kHeader;
  return BPTT_OK;
}

// Spoils the block first, so that an op which still reads it is seen.
inline void fake_release(bptt_context*, void* pointer) {
  unsigned char* base = static_cast<unsigned char*>(pointer) - kHeader;
  size_t bytes;
  std::memcpy(&bytes, base, sizeof(bytes));
  std::memset(pointer, 0xdd, bytes);
  fake.held -= bytes;
  --fake.blocks;
  std::free(base);
}

inline bptt_code fake_copy_in(bptt_context*, void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
  return BPTT_OK;
}

inline bptt_code fake_copy_out(bptt_context*, void* host, const void* device, size_t bytes) {
  std::memcpy(host, device, bytes);
  return BPTT_OK;
}

inline const bptt_backend* fake_backend() {
  static const bptt_backend backend = [] {
    bptt_backend b{};
    b.version = BPTT_BACKEND_VERSION;
    b.name = "fake";
    b.open = [](bptt_context* context, int index) -> bptt_code {
      if (index != 0) {
        std::snprintf(context->message, sizeof(context->message), "no device %d", index);
        return BPTT_DEVICE;
      }
      ++fake.open;
      return BPTT_OK;
    };
    b.close = [](bptt_context*) { --fake.open; };
    b.allocate = fake_allocate;
    b.release = fake_release;
    b.trim = [](bptt_context*) { ++fake.trims; };
    b.upload = fake_copy_in;
    b.download = fake_copy_out;
    b.wait = [](bptt_context*) -> bptt_code { return BPTT_OK; };
    return b;
  }();
  return &backend;
}

// Makes an op wait until the test lets it go.
class Gate {
 public:
  void open() {
    open_.store(true);
    open_.notify_all();
  }
  void pass() { open_.wait(false); }

 private:
  std::atomic<bool> open_{false};
};

}  // namespace bptt_test
