// Control, memory, and exchange between threads; arithmetic is in arithmetic.cc.
#include <algorithm>

#include "driver/fake_driver.h"
#include "emulation/emulation.h"
#include "ptx/thread.h"

namespace bptt_ptx {
namespace {

// No kernel of a test takes a thread this long.
constexpr int64_t kMostSteps = 200'000'000;

enum class Space { kGlobal, kShared, kLocal, kParameters };

template <class T, int kCount, Space kSpace>
void load(Thread& thread, const Instruction& i) {
  const uint64_t at =
      thread.get<uint64_t>(i.operands[kCount]) + thread.get<uint64_t>(i.operands[kCount + 1]);
  constexpr size_t bytes = kCount * sizeof(T);
  const void* memory = nullptr;
  if constexpr (kSpace == Space::kGlobal) {
    memory = thread.constants(i, at, bytes);
    if (!memory) memory = thread.global(i, at, bytes);
  }
  // Addresses of shared memory are 32 bits wide; a register may have more above them.
  if constexpr (kSpace == Space::kShared) memory = thread.shared(i, uint32_t(at), bytes);
  if constexpr (kSpace == Space::kLocal) memory = thread.local(i, at, bytes);
  if constexpr (kSpace == Space::kParameters)  // the caller's, or of a function that is called
    memory = at < kLocalBegin ? thread.argument(i, at, bytes) : thread.local(i, at, bytes);
  T values[kCount];
  std::memcpy(values, memory, bytes);
  for (int k = 0; k < kCount; ++k) {
    // A register may be wider than what is loaded into it.
    if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      thread.set<int64_t>(i.operands[k], values[k]);
    } else {
      thread.set<T>(i.operands[k], values[k]);
    }
  }
}

template <class T, int kCount, Space kSpace>
void store(Thread& thread, const Instruction& i) {
  const uint64_t at = thread.get<uint64_t>(i.operands[0]) + thread.get<uint64_t>(i.operands[1]);
  constexpr size_t bytes = kCount * sizeof(T);
  T values[kCount];
  for (int k = 0; k < kCount; ++k) values[k] = thread.get<T>(i.operands[2 + k]);
  if constexpr (kSpace == Space::kGlobal) std::memcpy(thread.global(i, at, bytes), values, bytes);
  if constexpr (kSpace == Space::kShared)
    std::memcpy(thread.shared(i, uint32_t(at), bytes), values, bytes);
  if constexpr (kSpace == Space::kLocal || kSpace == Space::kParameters)
    std::memcpy(thread.local(i, at, bytes), values, bytes);
}

template <class T, Space kSpace>
void add_loads(Handlers& handlers, const std::string& name, const std::string& type) {
  handlers[name + "." + type] = load<T, 1, kSpace>;
  handlers[name + ".v2." + type + " {2}@0"] = load<T, 2, kSpace>;
  handlers[name + ".v4." + type + " {4}@0"] = load<T, 4, kSpace>;
}

template <class T, Space kSpace>
void add_stores(Handlers& handlers, const std::string& name, const std::string& type) {
  handlers[name + "." + type] = store<T, 1, kSpace>;
  handlers[name + ".v2." + type + " {2}@1"] = store<T, 2, kSpace>;
  handlers[name + ".v4." + type + " {4}@1"] = store<T, 4, kSpace>;
}

template <class T>
void add_accesses(Handlers& handlers, const std::string& type) {
  add_loads<T, Space::kGlobal>(handlers, "ld.global", type);
  add_loads<T, Space::kGlobal>(handlers, "ld.global.nc", type);
  add_loads<T, Space::kShared>(handlers, "ld.shared", type);
  add_loads<T, Space::kLocal>(handlers, "ld.local", type);
  add_loads<T, Space::kParameters>(handlers, "ld.param", type);
  add_stores<T, Space::kGlobal>(handlers, "st.global", type);
  add_stores<T, Space::kShared>(handlers, "st.shared", type);
  add_stores<T, Space::kLocal>(handlers, "st.local", type);
  add_stores<T, Space::kParameters>(handlers, "st.param", type);
}

bptt_emulation::Site site_of(const Thread& thread, const Instruction& i) {
  return {thread.kernel().module->name().c_str(), static_cast<unsigned>(i.line)};
}

void barrier(Thread& thread, const Instruction& i) {
  if (thread.get<uint32_t>(i.operands[0]) != 0) thread.fail(i, "there is one barrier, of number 0");
  bptt_emulation::barrier("bar.sync", site_of(thread, i));
}

void sync_warp(Thread& thread, const Instruction& i) {
  bptt_emulation::meet(nullptr, 0, thread.get<uint32_t>(i.operands[0]), "bar.warp.sync",
                       site_of(thread, i));
}

// d|p, a, b, c, mask, as the PTX manual defines them (section "shfl.sync").
enum class Exchange { kUp, kDown, kButterfly, kIndex };
template <Exchange kExchange>
void shuffle(Thread& thread, const Instruction& i) {
  const auto value = thread.get<uint32_t>(i.operands[2]);
  const int b = thread.get<uint32_t>(i.operands[3]) & 31;
  const uint32_t c = thread.get<uint32_t>(i.operands[4]);
  const int clamp = c & 31, segment = c >> 8 & 31, lane = bptt_emulation::lane();
  const int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
  int source = 0;
  bool inside = false;
  if constexpr (kExchange == Exchange::kUp) inside = (source = lane - b) >= last;
  if constexpr (kExchange == Exchange::kDown) inside = (source = lane + b) <= last;
  if constexpr (kExchange == Exchange::kButterfly) inside = (source = lane ^ b) <= last;
  if constexpr (kExchange == Exchange::kIndex) inside = (source = first | (b & ~segment)) <= last;
  const bptt_emulation::Slot* slots = bptt_emulation::meet(
      &value, sizeof(value), thread.get<uint32_t>(i.operands[5]), "shfl.sync", site_of(thread, i));
  uint32_t result;
  std::memcpy(&result, slots[inside ? source : lane], sizeof(result));
  thread.set<uint32_t>(i.operands[0], result);
  thread.set<bool>(i.operands[1], inside);
}

Handlers make_handlers() {
  Handlers handlers;
  add_arithmetic(handlers);
  add_conversions(handlers);
  for (const char* kind : {"b", "u"}) {
    add_accesses<uint16_t>(handlers, kind + std::string("16"));
    add_accesses<uint32_t>(handlers, kind + std::string("32"));
    add_accesses<uint64_t>(handlers, kind + std::string("64"));
  }
  for (const char* type : {"b8", "u8"}) add_accesses<uint8_t>(handlers, type);
  add_accesses<int8_t>(handlers, "s8");
  add_accesses<int16_t>(handlers, "s16");
  add_accesses<int32_t>(handlers, "s32");
  add_accesses<int64_t>(handlers, "s64");
  add_accesses<float>(handlers, "f32");
  add_accesses<double>(handlers, "f64");
  handlers["bra"] = [](Thread& t, const Instruction& i) { t.jump(i.operands[0].value); };
  handlers["call"] = [](Thread& t, const Instruction& i) { t.call(i); };
  handlers["ret"] = [](Thread& t, const Instruction&) { t.end(); };
  handlers["bar.sync"] = handlers["barrier.sync"] = barrier;
  handlers["bar.warp.sync"] = sync_warp;
  handlers["shfl.sync.up.b32"] = shuffle<Exchange::kUp>;
  handlers["shfl.sync.down.b32"] = shuffle<Exchange::kDown>;
  handlers["shfl.sync.bfly.b32"] = shuffle<Exchange::kButterfly>;
  handlers["shfl.sync.idx.b32"] = shuffle<Exchange::kIndex>;
  return handlers;
}

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string many(size_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

Handler find_handler(const std::string& name) {
  static const Handlers& handlers = *new Handlers(make_handlers());
  const auto found = handlers.find(name);
  return found == handlers.end() ? nullptr : found->second;
}

const unsigned* find_special(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos || name.size() != dot + 2) return nullptr;
  const std::string base = name.substr(0, dot);
  uint3* place = base == "%tid"      ? &threadIdx
                 : base == "%ntid"   ? &blockDim
                 : base == "%ctaid"  ? &blockIdx
                 : base == "%nctaid" ? &gridDim
                                     : nullptr;
  if (!place) return nullptr;
  switch (name.back()) {
    case 'x':
      return &place->x;
    case 'y':
      return &place->y;
    case 'z':
      return &place->z;
    default:
      return nullptr;
  }
}

Thread::Thread(const Kernel& kernel, const void* arguments)
    : kernel_(kernel),
      arguments_(arguments),
      registers_(static_cast<size_t>(kernel.registers), ~uint64_t{0}),
      local_(kernel.local_end - kLocalBegin, 0xff) {}

void Thread::run() {
  for (int64_t steps = 0; next_ < kernel_.code.size(); ++steps) {
    const Instruction& i = kernel_.code[next_++];
    if (i.guard >= 0 && (registers_[static_cast<size_t>(i.guard)] != 0) == i.guard_negated)
      continue;
    i.handler(*this, i);
    if (steps > kMostSteps) fail(i, "the thread does not end");
  }
}

void Thread::call(const Instruction& i) {
  const Kernel& callee = *i.callee;
  std::vector<unsigned char> arguments(callee.argument_bytes);
  for (size_t k = 0; k < callee.arguments.size(); ++k) {
    const Array& to = callee.arguments[k];
    std::memcpy(arguments.data() + (to.begin - kArgumentsBegin),
                local(i, i.operands[1 + k].value, to.bytes), to.bytes);
  }
  Thread inner(callee, arguments.data());
  inner.run();
  const Array& result = callee.local.front();
  std::memcpy(local(i, i.operands[0].value, result.bytes),
              inner.local(i, result.begin, result.bytes), result.bytes);
}

void* Thread::global(const Instruction& i, uint64_t address, size_t bytes) const {
  void* const pointer = reinterpret_cast<void*>(address);
  const auto& arena = bptt_fake::state().arena;
  if (address % bytes != 0) fail(i, hex(address) + " is not aligned to " + many(bytes));
  if (!arena.holds(pointer, bytes))
    fail(i, many(bytes) + " at " + hex(address) + ": " + arena.describe(pointer));
  return pointer;
}

void* Thread::shared(const Instruction& i, uint64_t address, size_t bytes) const {
  if (address % bytes != 0) fail(i, hex(address) + " is not aligned to " + many(bytes));
  for (const Array& array : kernel_.shared) {
    if (address < array.begin || address + bytes > array.begin + array.bytes) continue;
    auto* data = static_cast<unsigned char*>(
        bptt_emulation::shared(&array, array.bytes, array.alignment, array.name.c_str()));
    return data + (address - array.begin);
  }
  fail(i, many(bytes) + " at " + hex(address) + " are in no array of shared memory");
}

void* Thread::local(const Instruction& i, uint64_t address, size_t bytes) {
  for (const Array& array : kernel_.local) {
    if (address < array.begin || address + bytes > array.begin + array.bytes) continue;
    if (address % std::min(bytes, array.alignment) != 0)
      fail(i, hex(address) + " is not aligned to " + many(bytes));
    return local_.data() + (address - kLocalBegin);
  }
  fail(i, many(bytes) + " at " + hex(address) + " are in no variable of the thread's own memory");
}

const void* Thread::constants(const Instruction& i, uint64_t address, size_t bytes) const {
  if (!kernel_.module->has_constants(address, bytes)) return nullptr;
  if (address % bytes != 0) fail(i, hex(address) + " is not aligned to " + many(bytes));
  return reinterpret_cast<const void*>(address);
}

const void* Thread::argument(const Instruction& i, uint64_t address, size_t bytes) const {
  const uint64_t offset = address - kArgumentsBegin;
  if (address % bytes != 0) fail(i, hex(address) + " is not aligned to " + many(bytes));
  if (address < kArgumentsBegin || offset + bytes > kernel_.argument_bytes)
    fail(i, many(bytes) + " at byte " + std::to_string(static_cast<int64_t>(offset)) + " of " +
                many(kernel_.argument_bytes) + " of arguments");
  return static_cast<const unsigned char*>(arguments_) + offset;
}

void Thread::fail(const Instruction& i, const std::string& what) const {
  bptt_fake::violation("%s: %s", kernel_.module->describe(i.line).c_str(), what.c_str());
}

void run_thread(const Kernel& kernel, const void* arguments) { Thread(kernel, arguments).run(); }

}  // namespace bptt_ptx
