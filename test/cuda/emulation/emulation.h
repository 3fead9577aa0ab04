// CUDA C++ for g++: a kernel file compiles as C++ and runs on the CPU, each CUDA thread a
// fiber. What kernel files include in place of nvcc's built-in names.
//
// Blocks run one after another. The order of blocks, threads and lanes is shuffled by a
// seed (BPTT_EMULATION_SEED). A barrier or an exchange between lanes that cannot be
// completed ends the process with the kernel, block and thread.
#pragma once

#include <math.h>
#include <stdint.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
// __shared__ is not defined: shared memory is written BPTT_SHARED.

struct uint3 {
  unsigned x, y, z;
};
extern uint3 threadIdx, blockIdx, blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace bptt_emulation {

// Leaves the process: a broken contract of kernel or host code.
constexpr int kExitCode = 77;

constexpr unsigned kFullMask = 0xffffffffu;
constexpr size_t kSharedLimit = 48 * 1024;  // static shared memory of a block
constexpr size_t kSlotBytes = 16;           // what a lane can exchange

using Body = std::function<void(const void* arguments)>;  // one thread
using Slot = unsigned char[kSlotBytes];

// Where a thread waits: threads that meet must have come to the same place.
struct Site {
  const char* file;
  unsigned line;
  Site(const char* file_name, unsigned line_number) : file(file_name), line(line_number) {}
  Site(const std::source_location& at) : Site(at.file_name(), at.line()) {}
};

// Runs body for every thread of the grid.
void run(const char* kernel, uint3 grid, uint3 block, const Body& body, const void* arguments);
void seed(uint64_t value);
// "kernel NAME, block (0,0,0), thread (3,0,0)", or an empty string outside a kernel.
void describe(char* out, size_t size);

void barrier(const char* name, const Site& site);
// Every lane of the warp meets here; the slots of all lanes, valid until the next meeting.
const Slot* meet(const void* value, size_t bytes, unsigned mask, const char* name,
                 const Site& site);
int lane();
// The block's memory for a key: filled with 0xFF when a block first asks.
void* shared(const void* key, size_t bytes, size_t alignment, const char* name);

template <class T>
T exchange(T value, int source, unsigned mask, const char* name, const Site& site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kSlotBytes);
  const auto* slots = meet(&value, sizeof(T), mask, name, site);
  std::memcpy(&value, slots[source], sizeof(T));
  return value;
}

}  // namespace bptt_emulation

#define BPTT_SHARED(Type, name, count)               \
  static char name##_key;                            \
  Type(&name)[count] = *static_cast<Type(*)[count]>( \
      ::bptt_emulation::shared(&name##_key, sizeof(Type) * (count), alignof(Type), #name))

// -- barriers and exchanges between the lanes of a full warp -----------------

inline void __syncthreads(const bptt_emulation::Site& site = std::source_location::current()) {
  bptt_emulation::barrier("__syncthreads", site);
}

inline void __syncwarp(unsigned mask = bptt_emulation::kFullMask,
                       const bptt_emulation::Site& site = std::source_location::current()) {
  bptt_emulation::meet(nullptr, 0, mask, "__syncwarp", site);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   const bptt_emulation::Site& site = std::source_location::current()) {
  const int lane = bptt_emulation::lane();
  const bool inside = lane % width + int64_t(delta) < width;
  return bptt_emulation::exchange(value, inside ? lane + int(delta) : lane, mask,
                                  "__shfl_down_sync", site);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 const bptt_emulation::Site& site = std::source_location::current()) {
  const int lane = bptt_emulation::lane();
  const bool inside = lane % width - int64_t(delta) >= 0;
  return bptt_emulation::exchange(value, inside ? lane - int(delta) : lane, mask, "__shfl_up_sync",
                                  site);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize,
                  const bptt_emulation::Site& site = std::source_location::current()) {
  const int lane = bptt_emulation::lane(), other = (lane ^ lane_mask) % warpSize;
  const bool inside = other / width <= lane / width;
  return bptt_emulation::exchange(value, inside ? other : lane, mask, "__shfl_xor_sync", site);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              const bptt_emulation::Site& site = std::source_location::current()) {
  const int base = bptt_emulation::lane() / width * width;
  return bptt_emulation::exchange(value, base + (source & (width - 1)), mask, "__shfl_sync", site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const bptt_emulation::Site& site = std::source_location::current()) {
  const unsigned char vote = predicate != 0;
  const auto* slots = bptt_emulation::meet(&vote, 1, mask, "__ballot_sync", site);
  unsigned votes = 0;
  for (int i = 0; i < warpSize; ++i) votes |= unsigned(slots[i][0]) << i;
  return votes;
}

inline int __any_sync(unsigned mask, int predicate,
                      const bptt_emulation::Site& site = std::source_location::current()) {
  return __ballot_sync(mask, predicate, site) != 0;
}

inline int __all_sync(unsigned mask, int predicate,
                      const bptt_emulation::Site& site = std::source_location::current()) {
  return __ballot_sync(mask, predicate, site) == bptt_emulation::kFullMask;
}

inline void __threadfence() {}
inline void __threadfence_block() {}

// -- atomics: integers only, sums of floats have a fixed order ----------------
// Threads switch at barriers only, so a plain update is whole.

#define BPTT_EMULATION_ATOMIC(Name, expression)       \
  template <class T>                                  \
    requires std::is_integral_v<T>                    \
  T Name(T* address, std::type_identity_t<T> value) { \
    const T old = *address;                           \
    *address = static_cast<T>(expression);            \
    return old;                                       \
  }
BPTT_EMULATION_ATOMIC(atomicExch, value)
BPTT_EMULATION_ATOMIC(atomicAdd, old + value)
BPTT_EMULATION_ATOMIC(atomicOr, old | value)
BPTT_EMULATION_ATOMIC(atomicAnd, old& value)
BPTT_EMULATION_ATOMIC(atomicMin, old < value ? old : value)
BPTT_EMULATION_ATOMIC(atomicMax, old > value ? old : value)
#undef BPTT_EMULATION_ATOMIC

template <class T>
  requires std::is_integral_v<T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == compare) *address = value;
  return old;
}

#include "emulation/math.h"
