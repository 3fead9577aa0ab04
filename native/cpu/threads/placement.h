// Where the members of a region run. The system may wake a worker on the processor of
// another member while one is idle, and leave it there for milliseconds: longer than
// most regions last.
#pragma once

#include <atomic>
#include <cstdint>

namespace bptt::cpu {

class Placement {
 public:
  // The leader, before it announces a region: all processors but its own are free.
  void begin();
  // A worker, before its part of the region: takes its processor, or moves to a free one
  // where another member has it. It is not bound to it afterwards.
  void settle();

 private:
  static constexpr int kWords = 16;  // 1024 processors; those beyond are left alone

  bool take(int processor);
  bool taken(int processor) const;

  std::atomic<uint64_t> taken_[kWords] = {};
};

}  // namespace bptt::cpu
