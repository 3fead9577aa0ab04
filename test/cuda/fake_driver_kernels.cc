// The kernels that the fake driver can launch: those of the lists, by name.
#include "cuda/kernels.h"
#include "fake_driver.h"

// Weak: a library without some of the kernel files has no such functions.
#define DECLARE(name, Arguments)                                                                 \
  extern "C" [[gnu::weak]] void bptt_##name##_float32(const bptt::cuda::Arguments);              \
  extern "C" [[gnu::weak]] void bptt_##name##_float64(const bptt::cuda::Arguments);              \
  static_assert(sizeof(bptt::cuda::Arguments) <= 4096, "more than a driver passes to a kernel"); \
  static_assert(std::is_trivially_copyable_v<bptt::cuda::Arguments>);
BPTT_CUDA_KERNELS(DECLARE)
#undef DECLARE

namespace bptt_fake {
namespace {

using Kernels = std::map<std::string, EmulatedKernel>;

template <class Arguments, void (*kKernel)(const Arguments)>
void add(Kernels& kernels, const char* name) {
  if (!kKernel) return;
  kernels[name] = {name, sizeof(Arguments),
                   [](const void* a) { kKernel(*static_cast<const Arguments*>(a)); }};
}

Kernels& kernels() {
  static Kernels& all = *[] {
    auto* made = new Kernels;
#define ADD(name, Arguments)                                                          \
  add<bptt::cuda::Arguments, bptt_##name##_float32>(*made, "bptt_" #name "_float32"); \
  add<bptt::cuda::Arguments, bptt_##name##_float64>(*made, "bptt_" #name "_float64");
    BPTT_CUDA_KERNELS(ADD)
#undef ADD
    return made;
  }();
  return all;
}

}  // namespace

const EmulatedKernel* find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

}  // namespace bptt_fake

void fake_cuda_add_kernel(const char* name, size_t argument_bytes,
                          void (*body)(const void* arguments)) {
  const std::lock_guard lock(bptt_fake::state().mutex);
  bptt_fake::kernels()[name] = {name, argument_bytes, body};
}
