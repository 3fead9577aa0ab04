// Memory of the host in blocks of any size. Large blocks come from the system and go back to
// it: in the heap of C they would leave holes that no one can use, in one arena per thread.
#pragma once

#include <cstddef>
#include <memory>

namespace bptt {

constexpr size_t kHostAlignment = 64;

// Aligned, with undefined contents. Null where there is no memory, or where the blocks of this
// process and this one, once touched, would be more than the machine can give.
void* allocate_host(size_t bytes) noexcept;
void free_host(void* block) noexcept;

// Whether allocate_host() would give so many bytes: for memory that will be had by other means,
// such as a std::vector.
bool host_has(size_t bytes) noexcept;

// Gives free pages of the heap of C back, where its library can.
void trim_heap() noexcept;

struct FreeHost {
  void operator()(void* block) const noexcept { free_host(block); }
};
using HostBlock = std::unique_ptr<unsigned char[], FreeHost>;

}  // namespace bptt
