#include "cpu/threads/thread_clock.h"

#include <chrono>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <intrin.h>
#include <windows.h>
#else
#include <ctime>
#endif

namespace bptt::cpu {

double elapsed_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#if defined(_WIN32) && (defined(_M_X64) || defined(__x86_64__))

// Thread times come in steps of 16 ms there, thread cycles are exact: cycles of the time stamp
// counter, whose speed is measured once.
double processor_seconds() {
  static const double second = [] {
    const double start = elapsed_seconds();
    const unsigned long long cycles = __rdtsc();
    double passed;
    while ((passed = elapsed_seconds() - start) < 1e-3) continue;
    return static_cast<double>(__rdtsc() - cycles) / passed;
  }();
  ULONG64 cycles;
  if (!QueryThreadCycleTime(GetCurrentThread(), &cycles)) return elapsed_seconds();
  return static_cast<double>(cycles) / second;
}

#elif defined(_WIN32)

double processor_seconds() { return elapsed_seconds(); }

#else

double processor_seconds() {
  timespec time;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0) return elapsed_seconds();
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

#endif

}  // namespace bptt::cpu
