#include "emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
extern "C" void bptt_switch_stack(void** save, void* next);
// What a call preserves is pushed on the stack that is left and popped from the other.
asm(R"(
  .text
  .type bptt_switch_stack, @function
bptt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size bptt_switch_stack, .-bptt_switch_stack
)");
#endif

namespace bptt_emulation {
namespace {

// Address space only: pages are taken as they are touched.
constexpr size_t kStackBytes = 512 * 1024;

void prepare(Fiber& fiber, void (*entry)()) {
#if defined(__x86_64__)
  // Six registers, then where to go, then a return address of nowhere.
  void** top = reinterpret_cast<void**>(static_cast<char*>(fiber.bottom) + fiber.size);
  top[-1] = nullptr;
  top[-2] = reinterpret_cast<void*>(entry);
  for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
  fiber.stack_pointer = top - 8;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.bottom;
  fiber.context.uc_stack.ss_size = fiber.size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#endif
}

// Sanitizers follow the stacks: after a switch, the one that was left is known.
void arrived(void* fake_stack, bool on_main, Fiber& main) {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
  if (on_main) return;
  main.bottom = const_cast<void*>(bottom);
  main.size = size;
#else
  (void)fake_stack, (void)on_main, (void)main;
#endif
}

}  // namespace

Fiber* make_fiber(void (*entry)()) {
  const size_t guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, kStackBytes + guard, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  mprotect(memory, guard, PROT_NONE);
  Fiber* fiber = new (std::nothrow) Fiber;
  if (!fiber) return nullptr;
  fiber->bottom = static_cast<char*>(memory) + guard;
  fiber->size = kStackBytes;
  prepare(*fiber, entry);
  return fiber;
}

void fiber_started(Fiber& main) { arrived(nullptr, false, main); }

void switch_fiber(Fiber& from, Fiber& to, Fiber& main) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#if defined(__x86_64__)
  bptt_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
  arrived(from.fake_stack, &from == &main, main);
}

}  // namespace bptt_emulation
