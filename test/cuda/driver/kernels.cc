// The kernels that the fake driver can launch: those of the lists, by name. They are compiled
// by the host's compiler, or interpreted from what nvcc made of them (BPTT_FAKE_CUDA_PTX).
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "cuda/kernel_arguments.h"
#include "driver/fake_driver.h"
#include "ptx/ptx.h"

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

const bptt_ptx::Module& read_ptx(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty()) violation("BPTT_FAKE_CUDA_PTX: %s cannot be read", path.c_str());
  try {
    return *new bptt_ptx::Module(text, path.substr(path.rfind('/') + 1));
  } catch (const std::runtime_error& error) {
    violation("%s: %s", path.c_str(), error.what());
  }
}

// Host and device must agree about the arguments, too.
void take_from_ptx(Kernels& kernels, const bptt_ptx::Module& module) {
  for (auto& [name, kernel] : kernels) {
    const bptt_ptx::Kernel* compiled = module.find(name);
    if (!compiled) violation("%s has no kernel %s", module.name().c_str(), name.c_str());
    if (compiled->argument_bytes != kernel.argument_bytes)
      violation("%s: %s takes %zu bytes of arguments, the host has %zu", module.name().c_str(),
                name.c_str(), compiled->argument_bytes, kernel.argument_bytes);
    kernel.body = [compiled](const void* a) { bptt_ptx::run_thread(*compiled, a); };
  }
}

Kernels& kernels() {
  static Kernels& all = *[] {
    auto* made = new Kernels;
#define ADD(name, Arguments)                                                          \
  add<bptt::cuda::Arguments, bptt_##name##_float32>(*made, "bptt_" #name "_float32"); \
  add<bptt::cuda::Arguments, bptt_##name##_float64>(*made, "bptt_" #name "_float64");
    BPTT_CUDA_KERNELS(ADD)
#undef ADD
    const char* ptx = std::getenv("BPTT_FAKE_CUDA_PTX");
    if (ptx && *ptx) take_from_ptx(*made, read_ptx(ptx));
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
