// A stack of its own and the switch to it: by hand on x86-64, by ucontext elsewhere.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace bptt_emulation {

// One per stack, and one, without a stack, for the thread that runs the others.
struct Fiber {
  void* bottom = nullptr;  // of the stack
  size_t size = 0;
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;  // AddressSanitizer's
  int thread = -1;             // the CUDA thread it runs
};

// A stopped fiber; at its first switch it calls entry(), which never returns and starts
// with fiber_started(). Null where no memory is left.
Fiber* make_fiber(void (*entry)());

// Leaves `from`, which must be running, for `to`; returns when somebody switches back.
// `main` is the fiber without a stack.
void switch_fiber(Fiber& from, Fiber& to, Fiber& main);
void fiber_started(Fiber& main);

}  // namespace bptt_emulation
