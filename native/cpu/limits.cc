// The machine's own limits, measured: what a kernel's speed is a share of.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <string>

#include "bptt/cpu.h"
#include "cpu/isa.h"
#include "cpu/threads/team.h"
#include "runtime/memory.h"

namespace bptt {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The best rate of several slices of the time, each run by all members at once:
// a limit is what the machine reaches when nothing disturbs it. work() returns
// how much every member does.
template <class Work>
double best_rate(double seconds, Work work) {
  constexpr int kSlices = 8;
  double best = 0;
  for (int slice = 0; slice < kSlices; ++slice) {
    const Clock::time_point start = Clock::now();
    double done = 0;
    do {
      std::atomic<int> members{0};
      double each = 0;
      cpu::Team::instance().run([&](cpu::Member& member) {
        const double amount = work(member);
        members.fetch_add(1);
        if (member.index == 0) each = amount;
      });
      done += each * members.load();
    } while (seconds_since(start) < seconds / kSlices);
    best = std::max(best, done / seconds_since(start));
  }
  return best;
}

const cpu::Limits& limits_in_use() {
  const std::string isa = cpu_backend()->ops.isa;
  for (const auto find : cpu::kInstructionSets) {
    const cpu::InstructionSet* set = find();
    if (set && isa == set->kernels->isa) return *set->limits;
  }
  return *cpu::baseline_set()->limits;
}

// Takes results, so that the compiler does not find them unused.
std::atomic<double> sink;

}  // namespace

double measure_multiply_adds(double seconds) {
  constexpr int64_t kRounds = 100000;
  const cpu::Limits& limits = limits_in_use();
  return best_rate(seconds, [&](cpu::Member&) {
    sink.store(limits.multiply_adds(kRounds), std::memory_order_relaxed);
    return limits.operations * kRounds;
  });
}

double measure_reads(double seconds) {
  constexpr int64_t kFloats = int64_t{64} << 20;  // past any cache
  constexpr int64_t kPage = 4096;                 // each member reads whole ones
  static_assert(kPage % cpu::kReadGrain == 0);
  const HostBlock buffer(static_cast<unsigned char*>(allocate_host(kFloats * sizeof(float))));
  if (!buffer) throw std::bad_alloc();
  auto* floats = reinterpret_cast<float*>(buffer.get());
  std::fill_n(floats, kFloats, 1.0f);
  const cpu::Limits& limits = limits_in_use();
  return best_rate(seconds, [&](cpu::Member& member) {
    const int64_t n = kFloats / member.count / kPage * kPage;
    sink.store(limits.reads(floats + member.index * n, n), std::memory_order_relaxed);
    return static_cast<double>(n) * sizeof(float);
  });
}

}  // namespace bptt
