#include "cpu/threads/team.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "bptt/cpu.h"
#include "cpu/threads/placement.h"
#include "cpu/threads/team_size.h"
#include "cpu/threads/thread_clock.h"
#include "runtime/float_mode.h"
#include "runtime/spin.h"

namespace bptt::cpu {

namespace {

constexpr double kSpinSeconds = std::chrono::duration<double>(kSpinTime).count();

// Spins, then sleeps, until the counter differs from `old`. Returns how long it slept, in seconds.
double await_change(std::atomic<uint32_t>& counter, uint32_t old) {
  if (spin_until([&] { return counter.load(std::memory_order_acquire) != old; })) return 0;
  const double start = elapsed_seconds();
  counter.wait(old, std::memory_order_acquire);
  return elapsed_seconds() - start;
}

}  // namespace

// The last to arrive opens the next phase; a member reads the phase before it
// arrives, so it cannot miss the change.
class Barrier {
 public:
  // Returns how long it slept, in seconds.
  double wait(int count) {
    const uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 != count) {
      return await_change(phase_, phase);
    }
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
    return 0;
  }

 private:
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
};

void Member::barrier() {
  if (count == 1) return;
  was_late(rendezvous->wait(count));
}

void Member::was_late(double seconds) {
  late += seconds > 0;
  slept += seconds;
}

// The threads besides the caller. A region is a new epoch: every worker that is a member
// runs the body once and reports; the next epoch cannot begin before the last report.
class Team::Workers {
 public:
  // May start fewer than asked where the system has no more threads, or no memory for them.
  explicit Workers(int workers) : reports_(static_cast<size_t>(workers) + 1) {
    threads_.reserve(static_cast<size_t>(workers));
    try {
      for (int i = 0; i < workers; ++i) {
        threads_.emplace_back([this, i] { work(i + 1); });
      }
    } catch (const std::exception&) {
    }
  }

  ~Workers() {
    begin(kEnd);
    for (std::thread& thread : threads_) thread.join();
  }

  // Members of the largest region that these threads allow.
  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Whether members slept in a wait for others. With `times` the region is measured.
  bool run(Function body, void* arg, int members, RegionTimes* times) {
    const double start = times ? elapsed_seconds() : 0;
    body_ = body;
    arg_ = arg;
    measured_ = times != nullptr;
    working_.store(static_cast<uint32_t>(members - 1), std::memory_order_relaxed);
    placement_.begin();
    begin(members);
    take_part(0, members);
    bool late = false;
    for (int i = 0; i < members; ++i) {
      const Report& report = reports_[static_cast<size_t>(i)];
      late |= report.late;
      if (!times) continue;
      times->computed += report.computed;
      times->displaced += report.displaced;
    }
    if (times) times->elapsed = elapsed_seconds() - start;
    return late;
  }

 private:
  // An epoch holds the members of its region in its low bits, below a number that grows.
  static constexpr uint32_t kMembers = 511;
  static constexpr uint32_t kEnd = 0;
  static_assert(kMaxThreads <= kMembers);

  struct alignas(64) Report {
    bool late;
    double computed, displaced;
  };

  void begin(uint32_t members) {
    const uint32_t epoch = epoch_.load(std::memory_order_relaxed) | kMembers;
    epoch_.store(epoch + 1 + members, std::memory_order_release);
    epoch_.notify_all();
  }
  void begin(int members) { begin(static_cast<uint32_t>(members)); }

  void take_part(int index, int members) {
    const double start = measured_ ? elapsed_seconds() : 0;
    const double used = measured_ ? processor_seconds() : 0;
    Member member{index, members, &barrier_};
    body_(arg_, member);
    if (index == 0) await_reports(member);
    Report& report = reports_[static_cast<size_t>(index)];
    report.late = member.late > 0;
    if (!measured_) return;
    const double passed = elapsed_seconds() - start, processor = processor_seconds() - used;
    report.computed = std::max(0.0, processor - member.late * kSpinSeconds);
    report.displaced = std::max(0.0, passed - processor - member.slept);
  }

  void await_reports(Member& leader) {
    for (uint32_t left; (left = working_.load(std::memory_order_acquire)) != 0;) {
      leader.was_late(await_change(working_, left));
    }
  }

  void work(int index) {
    FlushDenormals mode;
    bool member = true;
    for (uint32_t epoch = 0;;) {
      if (member) {
        await_change(epoch_, epoch);
      } else {
        epoch_.wait(epoch, std::memory_order_acquire);
      }
      epoch = epoch_.load(std::memory_order_acquire);
      const int members = static_cast<int>(epoch & kMembers);
      if (members == kEnd) return;
      member = index < members;
      if (!member) continue;
      placement_.settle();
      take_part(index, members);
      if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
    }
  }

  std::vector<std::thread> threads_;  // the leader's
  std::vector<Report> reports_;       // [members]
  Function body_ = nullptr;
  void* arg_ = nullptr;
  bool measured_ = false;
  Placement placement_;
  Barrier barrier_;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> working_{0};
};

// Neither this nor running a region can fail: kernels have no way to say so.
Team& Team::instance() {
  alignas(Team) static unsigned char place[sizeof(Team)];
  static Team* team = new (place) Team;
  return *team;
}

Team::Team() {
  try {
    resize(default_team_size());
  } catch (const std::exception&) {  // no memory to look
    resize(static_cast<int>(std::thread::hardware_concurrency()));
  }
}

int Team::size() const { return size_.load(std::memory_order_relaxed); }

void Team::resize(int threads, bool always) {
  always_.store(always, std::memory_order_relaxed);
  size_.store(std::clamp(threads, 1, kMaxThreads), std::memory_order_relaxed);
}

void Team::run(Function body, void* arg) {
  const int size = this->size();
  if (size == 1 || taken_.exchange(true, std::memory_order_acquire)) {
    run_alone(body, arg);
    return;
  }
  const bool always = always_.load(std::memory_order_relaxed);
  const int members = always ? size : crowding_.members(size, elapsed_seconds());
  if (members > 1 && gather(size)) {
    FlushDenormals mode;
    RegionTimes times;
    const bool late =
        workers_->run(body, arg, std::min(members, workers_->size()), watched_ ? &times : nullptr);
    if (watched_) crowding_.ended(size, times, elapsed_seconds());
    watched_ = late && !always;
    taken_.store(false, std::memory_order_release);
  } else {
    taken_.store(false, std::memory_order_release);
    run_alone(body, arg);
  }
}

// Whether there are threads beside the caller.
bool Team::gather(int size) {
  if (gathered_for_ == size) return workers_ && workers_->size() > 1;
  workers_.reset();
  gathered_for_ = size;
  try {
    workers_ = std::make_unique<Workers>(size - 1);
  } catch (const std::bad_alloc&) {
    gathered_for_ = 0;  // to be tried again
    return false;
  }
  return workers_->size() > 1;
}

void Team::run_alone(Function body, void* arg) {
  FlushDenormals mode;
  Member member{0, 1, nullptr};
  body(arg, member);
}

}  // namespace bptt::cpu
