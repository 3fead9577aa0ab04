#include "runtime/memory.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "runtime/memory_limit.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace bptt {

namespace {

// Blocks of this size on come from the system, smaller ones from the heap.
constexpr size_t kFromSystem = size_t{256} << 10;
// Before a block of this size on, what the machine can give is always looked up.
constexpr int64_t kAlwaysLook = int64_t{64} << 20;
// The most that is ever asked of the system: sums of a few such sizes cannot overflow.
constexpr size_t kMost = SIZE_MAX / 4;

// Lies before a block, which begins within kSlack of what was given.
struct Header {
  void* base;
  size_t bytes;
  bool from_system;
};
constexpr size_t kSlack = sizeof(Header) + kHostAlignment;

unsigned char* block_in(void* base) {
  const auto first = reinterpret_cast<uintptr_t>(base) + sizeof(Header);
  return reinterpret_cast<unsigned char*>((first + kHostAlignment - 1) / kHostAlignment *
                                          kHostAlignment);
}

void* from_system(size_t bytes) {
#if defined(_WIN32)
  return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
#else
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
#endif
}

void back_to_system(void* data, size_t bytes) {
#if defined(_WIN32)
  (void)bytes;
  VirtualFree(data, 0, MEM_RELEASE);
#else
  munmap(data, bytes);
#endif
}

// Bytes in the blocks of all streams of the process, touched or not.
std::atomic<int64_t> held{0};
// Up to this total no look is needed: looking is dear, so one serves for an eighth of the room
// that it found.
std::atomic<int64_t> granted{0};

bool can_hold(int64_t total, int64_t more) {
  if (more < kAlwaysLook && total <= granted.load(std::memory_order_relaxed)) return true;
  int64_t limit = memory_limit();
  limit -= limit / 16;  // for what others take meanwhile: the machine must never have none
  if (total > limit) return false;
  granted.store(total + (limit - total) / 8, std::memory_order_relaxed);
  return true;
}

}  // namespace

bool host_has(size_t bytes) noexcept {
  const auto more = static_cast<int64_t>(std::min(bytes, kMost));
  return bytes <= kMost && can_hold(held.load(std::memory_order_relaxed) + more, more);
}

void* allocate_host(size_t bytes) noexcept {
  if (bytes > kMost) return nullptr;
  const size_t whole = bytes + kSlack;
  const auto more = static_cast<int64_t>(whole);
  const int64_t total = held.fetch_add(more, std::memory_order_relaxed) + more;
  void* data = nullptr;
  bool mapped = false;
  if (can_hold(total, more)) {
    if (whole >= kFromSystem) data = from_system(whole);
    mapped = data != nullptr;
    // Not aligned by the heap: glibc's does not give an aligned block twice.
    if (!mapped) data = std::malloc(whole);
  }
  if (!data) {
    held.fetch_sub(more, std::memory_order_relaxed);
    return nullptr;
  }
  unsigned char* block = block_in(data);
  new (block - sizeof(Header)) Header{data, whole, mapped};
  return block;
}

void free_host(void* block) noexcept {
  if (!block) return;
  const Header was = *(static_cast<const Header*>(block) - 1);
  held.fetch_sub(static_cast<int64_t>(was.bytes), std::memory_order_relaxed);
  if (was.from_system) {
    back_to_system(was.base, was.bytes);
  } else {
    std::free(was.base);
  }
}

void trim_heap() noexcept {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace bptt
