// Waiting for another thread: a bounded spin first, because what is awaited is
// usually microseconds away; the caller then sleeps by its own means.
#pragma once

#include <chrono>
#include <thread>

#if defined(_M_X64) || defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bptt {

inline void cpu_pause() {
#if defined(_M_X64) || defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  asm volatile("isb" ::: "memory");  // yield is a no-op on most cores
#endif
}

constexpr std::chrono::microseconds kSpinTime{50};

// The clock is read once per burst of so many pauses.
constexpr int kPausesPerBurst = 32;
// Waits shorter than so many bursts do not offer their processor.
constexpr int kShortBursts = 4;

// Whether the condition came true within kSpinTime. After a moment it offers its
// processor between looks: whoever is awaited may be queued on this very one.
template <class Condition>
bool spin_until(Condition condition) {
  if (condition()) return true;
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  int bursts = 0;
  do {
    for (int i = 0; i < kPausesPerBurst; ++i) {
      if (condition()) return true;
      cpu_pause();
    }
    if (++bursts > kShortBursts) std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace bptt
