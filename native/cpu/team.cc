#include "cpu/team.h"

#include <algorithm>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "cpu/placement.h"
#include "cpu/team_size.h"
#include "runtime/float_mode.h"
#include "runtime/spin.h"

namespace bptt::cpu {

namespace {

constexpr int kMaxThreads = 256;

// Late waits at barriers that a brief region may have.
constexpr int kLateWaits = 8;
// Each late region weighs as much as so many punctual ones; from a weight on, so many
// brief regions run alone.
constexpr int kLateWeight = 3;
constexpr int kTooLate = 6;
constexpr int kAloneAfter = 64;

// Spins, then sleeps, until the counter differs from `old`; whether it slept.
bool await_change(std::atomic<uint32_t>& counter, uint32_t old) {
  if (spin_until([&] { return counter.load(std::memory_order_acquire) != old; })) return false;
  counter.wait(old, std::memory_order_acquire);
  return true;
}

}  // namespace

// The last to arrive opens the next phase; a member reads the phase before it
// arrives, so it cannot miss the change.
class Barrier {
 public:
  void wait(int count) {
    const uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      phase_.notify_all();
    } else if (await_change(phase_, phase)) {
      late_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  // Waits so far that outlasted their spin.
  int late() const { return late_.load(std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  std::atomic<int> late_{0};
};

void Member::barrier() {
  if (count > 1) rendezvous->wait(count);
}

// The threads besides the caller. A region is a new epoch: every worker runs the
// body once and reports; the next epoch cannot begin before the last report.
class Team::Crew {
 public:
  // May start fewer than asked where the system has no more threads.
  explicit Crew(int workers) {
    try {
      for (int i = 0; i < workers; ++i) {
        threads_.emplace_back([this, i] { work(i + 1); });
      }
    } catch (const std::system_error&) {
    }
  }

  ~Crew() {
    body_ = nullptr;
    begin();
    for (std::thread& thread : threads_) thread.join();
  }

  // Whether members were late: often at barriers, or once at the end.
  bool run(Function body, void* arg) {
    const int late = barrier_.late();
    body_ = body;
    arg_ = arg;
    begin();
    Member leader{0, count(), &barrier_};
    body(arg, leader);
    bool late_end = false;
    for (uint32_t left; (left = working_.load(std::memory_order_acquire)) != 0;) {
      late_end |= await_change(working_, left);
    }
    return late_end || barrier_.late() - late > kLateWaits;
  }

 private:
  int count() const { return static_cast<int>(threads_.size()) + 1; }

  void begin() {
    count_ = count();
    placement_.begin();
    working_.store(static_cast<uint32_t>(threads_.size()), std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
  }

  void work(int index) {
    FlushDenormals mode;
    for (uint32_t epoch = 0;;) {
      await_change(epoch_, epoch);
      epoch = epoch_.load(std::memory_order_acquire);
      if (!body_) return;
      placement_.settle();
      Member member{index, count_, &barrier_};
      body_(arg_, member);
      if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
    }
  }

  std::vector<std::thread> threads_;  // the leader's
  Function body_ = nullptr;
  void* arg_ = nullptr;
  int count_ = 1;
  Placement placement_;
  Barrier barrier_;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> working_{0};
};

Team& Team::instance() {
  static Team* team = new Team;
  return *team;
}

Team::Team() : size_(std::clamp(default_team_size(), 1, kMaxThreads)) {}

int Team::size() const { return size_.load(std::memory_order_relaxed); }

void Team::resize(int threads) {
  size_.store(std::clamp(threads, 1, kMaxThreads), std::memory_order_relaxed);
}

void Team::run(Function body, void* arg, bool brief) {
  const int size = this->size();
  if (brief && size > 1) {
    // Two streams may both count one region: the count is a rule of thumb.
    const int alone = alone_.load(std::memory_order_relaxed);
    if (alone > 0) {
      alone_.store(alone - 1, std::memory_order_relaxed);
      run_alone(body, arg);
      return;
    }
  }
  if (size == 1 || taken_.exchange(true, std::memory_order_acquire)) {
    run_alone(body, arg);
    return;
  }
  {
    FlushDenormals mode;
    if (crew_size_ != size) {
      crew_.reset();
      crew_ = std::make_unique<Crew>(size - 1);
      crew_size_ = size;
    }
    const bool late = crew_->run(body, arg);
    if (brief) {
      lateness_ = std::max(0, lateness_ + (late ? kLateWeight : -1));
      if (lateness_ >= kTooLate) {
        lateness_ = 0;
        alone_.store(kAloneAfter, std::memory_order_relaxed);
      }
    }
  }
  taken_.store(false, std::memory_order_release);
}

void Team::run_alone(Function body, void* arg) {
  FlushDenormals mode;
  Member member{0, 1, nullptr};
  body(arg, member);
}

}  // namespace bptt::cpu
