// The process-wide team of compute threads, shared by every stream.
//
// A region runs a body once per member; the caller is member 0. The team is
// taken by try-lock: a caller that finds it taken runs its body alone, as the
// only member. Kernels divide outputs, never a sum, so the bits are the same.
// The team is never destroyed: process.exit() may come in mid-region.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "cpu/threads/crowding.h"
#include "runtime/running.h"

namespace bptt::cpu {

class Barrier;

struct Member {
  int index;  // 0 .. count-1; 0 is the caller
  int count;
  Barrier* rendezvous;
  // Waits for other members that outlasted their spin, and the seconds slept in them.
  int late = 0;
  double slept = 0;

  // Returns when every member of the region has called it; memory written
  // before it by any member is visible after it to all.
  void barrier();
  // Counts a wait for other members in which this one slept so long; 0: they were in time.
  void was_late(double seconds);
};

class Team {
 public:
  static Team& instance();

  int size() const;
  // Takes effect for regions that begin later; at most kMaxThreads. With `always` every region
  // has as many, however crowded the processors are.
  void resize(int threads, bool always = false);

  // body(Member&) must not throw. Denormals are flushed to zero inside and the
  // caller's floating-point state is restored after. Where other threads use the
  // processors too a region may have fewer members (crowding.h).
  template <class Body>
  void run(Body&& body) {
    run(&call<std::remove_reference_t<Body>>, address(body));
  }

  // body(begin, end) over [0, n) in contiguous ranges whose bounds are multiples
  // of grain; runs on the caller alone when there is only one grain's work. Ends early
  // where the op that the caller runs is cancelled.
  template <class Body>
  void parallel_for(int64_t n, int64_t grain, Body&& body) {
    if (n <= 0) return;
    const bptt_context* op = RunningOp::current();
    auto share = [&](Member& member) {
      const int64_t grains = (n + grain - 1) / grain;
      const int64_t begin = grains * member.index / member.count * grain;
      const int64_t end = grains * (member.index + 1) / member.count * grain;
      for (int64_t at = begin; at < end && !is_cancelled(op); at += kGrainsPerLook * grain) {
        const int64_t stop = at + kGrainsPerLook * grain < end ? at + kGrainsPerLook * grain : end;
        body(at, stop < n ? stop : n);
      }
    };
    if (n <= grain) {
      run_alone([](void* arg, Member& m) { (*static_cast<decltype(share)*>(arg))(m); }, &share);
    } else {
      run(share);
    }
  }

 private:
  static constexpr int64_t kGrainsPerLook = 128;

  using Function = void (*)(void* arg, Member&);
  class Workers;

  template <class Body>
  static void call(void* arg, Member& member) {
    (*static_cast<Body*>(arg))(member);
  }
  template <class Body>
  static void* address(Body& body) {
    return const_cast<void*>(static_cast<const void*>(&body));
  }

  Team();
  void run(Function, void* arg);
  bool gather(int size);
  void run_alone(Function, void* arg);

  std::atomic<int> size_{1};
  std::atomic<bool> always_{false};
  std::atomic<bool> taken_{false};
  // Touched only by whoever has taken the team: a new size takes effect at its next region.
  std::unique_ptr<Workers> workers_;
  int gathered_for_ = 1;
  Crowding crowding_;
  bool watched_ = false;  // the next region is measured: members were late in the last one
};

}  // namespace bptt::cpu
