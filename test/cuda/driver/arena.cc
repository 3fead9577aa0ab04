#include "driver/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)
#define ASAN_UNPOISON_MEMORY_REGION(address, size)
#endif

namespace bptt_fake {
namespace {

constexpr size_t kArenaBytes = size_t{1} << 40;  // addresses only
constexpr size_t kGuardBytes = size_t{1} << 16;
constexpr size_t kAlignment = 256;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// What lies around a buffer: NaN as float32 and as float64, and unlike a buffer's 0xFF.
unsigned char canary(const unsigned char* address) {
  constexpr unsigned char kWord[4] = {0xfd, 0xff, 0xfd, 0x7f};
  return kWord[reinterpret_cast<uintptr_t>(address) % 4];
}

}  // namespace

Arena::Arena() : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
  void* memory =
      mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("fake CUDA: device memory");
    std::abort();
  }
  base_ = static_cast<unsigned char*>(memory);
  end_ = base_ + kArenaBytes;
  next_ = base_ + kGuardBytes;
}

void* Arena::allocate(size_t bytes) {
  // The rounded end of a buffer is the end of its last page: beyond lies the guard.
  const size_t rounded = round_up(bytes, kAlignment), page_bytes = round_up(rounded, page_);
  if (bytes > limit_ || live_bytes_ + bytes > limit_) return nullptr;
  if (page_bytes + kGuardBytes > static_cast<size_t>(end_ - next_)) return nullptr;
  const Buffer made = {next_, next_ + page_bytes - rounded, page_bytes, bytes, ++count_, true};
  next_ += page_bytes + kGuardBytes;
  protect(made, true);
  for (unsigned char* p = made.pages; p < made.data; ++p) *p = canary(p);
  std::memset(made.data, 0xff, bytes);
  for (unsigned char* p = made.data + bytes; p < made.data + rounded; ++p) *p = canary(p);
  ASAN_POISON_MEMORY_REGION(made.pages, size_t(made.data - made.pages));
  ASAN_POISON_MEMORY_REGION(made.data + bytes, rounded - bytes);
  if (!open_) protect(made, false);
  const auto key = reinterpret_cast<uintptr_t>(made.pages);
  live_buffers_[key] = &(buffers_[key] = made);
  ++live_;
  live_bytes_ += bytes;
  return made.data;
}

bool Arena::release(void* pointer) {
  const Buffer* found = find(pointer);
  if (!found || !found->live || found->data != pointer) return false;
  Buffer& buffer = *live_buffers_[reinterpret_cast<uintptr_t>(found->pages)];
  ASAN_UNPOISON_MEMORY_REGION(buffer.pages, buffer.page_bytes);
  // Gives the memory back and keeps the addresses.
  mmap(buffer.pages, buffer.page_bytes, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  buffer.live = false;
  live_buffers_.erase(reinterpret_cast<uintptr_t>(buffer.pages));
  --live_;
  live_bytes_ -= buffer.bytes;
  return true;
}

void Arena::release_all() {
  count_ = 0;
  while (!live_buffers_.empty()) release(live_buffers_.begin()->second->data);
}

void Arena::protect(const Buffer& buffer, bool accessible) const {
  if (mprotect(buffer.pages, buffer.page_bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE)) {
    std::perror("fake CUDA: device memory");
    std::abort();
  }
}

void Arena::open() {
  for (const auto& [key, buffer] : live_buffers_) protect(*buffer, true);
  open_ = true;
}

void Arena::close() {
  for (const auto& [key, buffer] : live_buffers_) protect(*buffer, false);
  open_ = false;
}

const Arena::Buffer* Arena::find(const void* pointer) const {
  auto next = buffers_.upper_bound(reinterpret_cast<uintptr_t>(pointer));
  return next == buffers_.begin() ? nullptr : &std::prev(next)->second;
}

bool Arena::contains(const void* pointer) const {
  const auto* p = static_cast<const unsigned char*>(pointer);
  return p >= base_ && p < end_;
}

bool Arena::holds(const void* pointer, size_t bytes) const {
  const auto* p = static_cast<const unsigned char*>(pointer);
  const Buffer* buffer = find(p);
  return buffer && buffer->live && p >= buffer->data && bytes <= buffer->bytes &&
         p <= buffer->data + (buffer->bytes - bytes);
}

std::string Arena::describe(const void* pointer) const {
  const auto* p = static_cast<const unsigned char*>(pointer);
  const Buffer* buffer = find(p);
  if (!buffer) return "no buffer";
  char text[160];
  const char* freed = buffer->live ? "" : ", freed";
  if (p < buffer->data) {
    std::snprintf(text, sizeof(text), "%td bytes before buffer %d (%zu bytes%s)", buffer->data - p,
                  buffer->number, buffer->bytes, freed);
  } else if (static_cast<size_t>(p - buffer->data) < buffer->bytes) {
    std::snprintf(text, sizeof(text), "byte %td of buffer %d (%zu bytes%s)", p - buffer->data,
                  buffer->number, buffer->bytes, freed);
  } else {
    std::snprintf(text, sizeof(text), "%td bytes past buffer %d (%zu bytes%s)",
                  p - (buffer->data + buffer->bytes), buffer->number, buffer->bytes, freed);
  }
  return text;
}

std::string Arena::damage(bool heads) const {
#if !defined(__SANITIZE_ADDRESS__)  // which sees the access itself
  for (const auto& [key, buffer] : live_buffers_) {
    const unsigned char* tail = buffer->data + buffer->bytes;
    const unsigned char* last = buffer->pages + buffer->page_bytes;
    for (const unsigned char* p = tail; p < last; ++p)
      if (*p != canary(p)) return describe(p);
    if (!heads) continue;
    for (const unsigned char* p = buffer->data; p > buffer->pages; --p)
      if (p[-1] != canary(p - 1)) return describe(p - 1);
  }
#else
  (void)heads;
#endif
  return {};
}

}  // namespace bptt_fake
