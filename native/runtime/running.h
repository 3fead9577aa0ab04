// The op that a thread is running, for loops far inside that ask whether it is still wanted.
#pragma once

#include "backend.h"

namespace bptt {

class RunningOp {
 public:
  explicit RunningOp(const bptt_context* context) { current() = context; }
  ~RunningOp() { current() = nullptr; }
  RunningOp(const RunningOp&) = delete;

  // Null outside of an op of a stream.
  static const bptt_context*& current() {
    thread_local const bptt_context* context = nullptr;
    return context;
  }
};

inline bool is_cancelled(const bptt_context* context) {
  return context && context->cancelled && context->cancelled(context->cancelled_arg);
}

}  // namespace bptt
