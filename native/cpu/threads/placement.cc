#include "cpu/threads/placement.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace bptt::cpu {

namespace {

bool known(int processor, int words) { return processor >= 0 && processor < words * 64; }

uint64_t bit(int processor) { return uint64_t{1} << (processor % 64); }

}  // namespace

// Whether nobody had it.
bool Placement::take(int processor) {
  if (!known(processor, kWords)) return true;
  const uint64_t before =
      taken_[processor / 64].fetch_or(bit(processor), std::memory_order_relaxed);
  return (before & bit(processor)) == 0;
}

bool Placement::taken(int processor) const {
  return (taken_[processor / 64].load(std::memory_order_relaxed) & bit(processor)) != 0;
}

#if defined(__linux__)

void Placement::begin() {
  for (std::atomic<uint64_t>& word : taken_) word.store(0, std::memory_order_relaxed);
  take(sched_getcpu());
}

void Placement::settle() {
  if (take(sched_getcpu())) return;
  cpu_set_t allowed, free;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  CPU_ZERO(&free);
  for (int processor = 0; processor < CPU_SETSIZE && known(processor, kWords); ++processor) {
    if (CPU_ISSET(processor, &allowed) && !taken(processor)) CPU_SET(processor, &free);
  }
  // Leaving the set that it runs in moves a thread at once; the second call lifts the restriction.
  if (CPU_COUNT(&free) == 0 || sched_setaffinity(0, sizeof(free), &free) != 0) return;
  take(sched_getcpu());
  sched_setaffinity(0, sizeof(allowed), &allowed);
}

#else

void Placement::begin() {}
void Placement::settle() {}

#endif

}  // namespace bptt::cpu
