// The scheduler of emulated threads. One block runs at a time. A fiber runs threads one
// after another for as long as none has to wait; only a thread that waits keeps its fiber.
#include "emulation/emulation.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <vector>

#include "emulation/fiber.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace bptt_emulation {
namespace {

enum class State { kUnstarted, kRunning, kReady, kBarrier, kMeeting, kDone };

struct Thread {
  State state = State::kUnstarted;
  Fiber* fiber = nullptr;
  const char* at = "";  // what it waits at
  Site site = {"", 0};
};

// Lanes write the slots of one phase while slower ones may still read the last one's.
struct Warp {
  int arrived = 0, returned = 0;
  unsigned phase = 0;
  alignas(16) Slot slots[2][warpSize];
};

struct SharedArray {
  const void* key;
  unsigned char* data;
};

constexpr size_t kRedZone = 64;  // between shared arrays

struct Machine {
  std::recursive_mutex mutex;
  uint64_t random = 1;
  const char* kernel = nullptr;  // null: nothing runs
  const Body* body = nullptr;
  const void* arguments = nullptr;

  // The running block.
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<int> order;  // in which threads start
  std::vector<int> ready;
  size_t started = 0;
  int at_barrier = 0, done = 0;
  int current = -1;
  std::vector<SharedArray> arrays;
  size_t shared_bytes = 0, pool_used = 0;
  alignas(256) unsigned char pool[2 * kSharedLimit];

  Fiber main;
  Fiber* running = nullptr;
  std::vector<Fiber*> idle;
};

// Never destroyed: the process may exit in mid-kernel.
Machine& machine() {
  static Machine& only = *[] {
    auto* made = new Machine;
    const char* text = std::getenv("BPTT_EMULATION_SEED");
    made->random = text ? std::strtoull(text, nullptr, 10) : 1;
    return made;
  }();
  return only;
}

uint64_t random_bits() {  // splitmix64
  uint64_t z = machine().random += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void shuffle(std::vector<int>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random_bits() % i]);
}

[[noreturn]] [[gnu::format(printf, 1, 2)]] void fail(const char* format, ...) {
  char where[256];
  describe(where, sizeof(where));
  std::fprintf(stderr, "emulation: %s: ", where);
  va_list list;
  va_start(list, format);
  std::vfprintf(stderr, format, list);
  va_end(list);
  std::fputc('\n', stderr);
  std::fflush(nullptr);
  std::_Exit(kExitCode);
}

uint3 place(int64_t i, uint3 size) {
  const auto at = static_cast<uint64_t>(i);
  return {unsigned(at % size.x), unsigned(at / size.x % size.y), unsigned(at / size.x / size.y)};
}

int64_t count(uint3 size) { return int64_t(size.x) * size.y * size.z; }

void enter(int thread) {
  Machine& m = machine();
  m.current = thread;
  m.threads[thread].state = State::kRunning;
  threadIdx = place(thread, blockDim);
}

void make_ready(int thread) {
  Machine& m = machine();
  m.threads[thread].state = State::kReady;
  m.ready.push_back(thread);
}

// Threads that have returned count as arrived, as they do on a device.
void open_barrier_if_full() {
  Machine& m = machine();
  const int count = static_cast<int>(m.threads.size());
  if (m.at_barrier == 0 || m.at_barrier + m.done < count) return;
  m.at_barrier = 0;
  const Thread* first = nullptr;
  for (int i = 0; i < count; ++i) {
    Thread& thread = m.threads[i];
    if (thread.state != State::kBarrier) continue;
    if (!first) first = &thread;
    if (thread.site.line != first->site.line) {
      m.current = i;
      threadIdx = place(i, blockDim);
      fail("%s at %s:%u met another at line %u", thread.at, thread.site.file, thread.site.line,
           first->site.line);
    }
    make_ready(i);
  }
}

void return_thread() {
  Machine& m = machine();
  const int returned = m.current;
  m.threads[returned].state = State::kDone;
  ++m.done;
  Warp& warp = m.warps[returned / warpSize];
  ++warp.returned;
  if (warp.arrived != 0) {
    const int first = returned / warpSize * warpSize;
    for (int i = first; i < first + warpSize; ++i)
      if (m.threads[i].state == State::kMeeting) {
        m.current = i;
        threadIdx = place(i, blockDim);
        fail("%s at %s:%u is not reached by every lane: thread %d has returned", m.threads[i].at,
             m.threads[i].site.file, m.threads[i].site.line, returned);
      }
  }
  open_barrier_if_full();
}

// What every fiber does.
void work() {
  Machine& m = machine();
  Fiber* const self = m.running;
  fiber_started(m.main);
  for (;;) {
    while (m.started < m.order.size() && m.ready.empty()) {
      const int thread = m.order[m.started++];
      self->thread = thread;
      m.threads[thread].fiber = self;
      enter(thread);
      (*m.body)(m.arguments);
      return_thread();
    }
    m.idle.push_back(self);
    switch_fiber(*self, m.main, m.main);
  }
}

void resume(Fiber* fiber) {
  Machine& m = machine();
  m.running = fiber;
  switch_fiber(m.main, *fiber, m.main);
}

void start_threads() {
  Machine& m = machine();
  Fiber* fiber = nullptr;
  if (m.idle.empty()) {
    fiber = make_fiber(work);
    if (!fiber) fail("no memory for another stack");
  } else {
    fiber = m.idle.back();
    m.idle.pop_back();
  }
  resume(fiber);
}

void resume_thread() {
  Machine& m = machine();
  std::swap(m.ready[random_bits() % m.ready.size()], m.ready.back());
  const int thread = m.ready.back();
  m.ready.pop_back();
  enter(thread);
  resume(m.threads[thread].fiber);
}

// The current thread waits until somebody makes it ready.
void wait(State state, const char* name, const Site& site) {
  Machine& m = machine();
  Thread& thread = m.threads[m.current];
  thread.state = state;
  thread.at = name;
  thread.site = site;
}

void pause() {
  Machine& m = machine();
  switch_fiber(*m.threads[m.current].fiber, m.main, m.main);
}

[[noreturn]] void fail_stuck() {
  Machine& m = machine();
  const Thread* barrier = nullptr;
  for (const Thread& thread : m.threads)
    if (thread.state == State::kBarrier) barrier = &thread;
  for (size_t i = 0; i < m.threads.size(); ++i) {
    const Thread& thread = m.threads[i];
    if (thread.state != State::kMeeting) continue;
    m.current = static_cast<int>(i);
    threadIdx = place(m.current, blockDim);
    fail("%s at %s:%u is not reached by every lane%s%s", thread.at, thread.site.file,
         thread.site.line, barrier ? ": others wait at " : "", barrier ? barrier->at : "");
  }
  fail("no thread can go on");
}

void run_block() {
  Machine& m = machine();
  const auto threads = static_cast<size_t>(count(blockDim));
  m.threads.assign(threads, Thread{});
  m.warps.assign((threads + warpSize - 1) / warpSize, Warp{});
  m.order.resize(threads);
  std::iota(m.order.begin(), m.order.end(), 0);
  shuffle(m.order);
  m.ready.clear();
  m.started = 0;
  m.at_barrier = m.done = 0;
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(m.pool, sizeof(m.pool));
#endif
  m.arrays.clear();
  m.shared_bytes = m.pool_used = 0;
  for (;;) {
    const bool more = m.started < threads;
    if (!m.ready.empty() && (!more || random_bits() % 2))
      resume_thread();
    else if (more)
      start_threads();
    else
      break;
  }
  if (static_cast<size_t>(m.done) != threads) fail_stuck();
}

}  // namespace

void seed(uint64_t value) {
  Machine& m = machine();
  std::lock_guard lock(m.mutex);
  m.random = value;
}

void run(const char* kernel, uint3 grid, uint3 block, const Body& body, const void* arguments) {
  Machine& m = machine();
  std::lock_guard lock(m.mutex);
  if (m.kernel) fail("a kernel starts %s", kernel);
  m.kernel = kernel;
  m.body = &body;
  m.arguments = arguments;
  gridDim = grid;
  blockDim = block;
  const int64_t blocks = count(grid);
  // Blocks beyond a million run in ascending order.
  std::vector<int> order(blocks <= 1 << 20 ? static_cast<size_t>(blocks) : 0);
  std::iota(order.begin(), order.end(), 0);
  shuffle(order);
  for (int64_t i = 0; i < blocks; ++i) {
    blockIdx = place(order.empty() ? i : order[static_cast<size_t>(i)], grid);
    run_block();
  }
  m.kernel = nullptr;
}

void describe(char* out, size_t size) {
  const Machine& m = machine();
  if (!m.kernel) {
    std::snprintf(out, size, "%s", "");
    return;
  }
  std::snprintf(out, size, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", m.kernel, blockIdx.x,
                blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
}

void barrier(const char* name, const Site& site) {
  Machine& m = machine();
  wait(State::kBarrier, name, site);
  ++m.at_barrier;
  open_barrier_if_full();
  pause();
}

int lane() { return machine().current % warpSize; }

const Slot* meet(const void* value, size_t bytes, unsigned mask, const char* name,
                 const Site& site) {
  Machine& m = machine();
  const int thread = m.current, first = thread / warpSize * warpSize;
  Warp& warp = m.warps[thread / warpSize];
  if (mask != kFullMask || first + warpSize > static_cast<int>(m.threads.size()))
    fail("%s at %s:%u: only full warps are supported", name, site.file, site.line);
  if (warp.returned)
    fail("%s at %s:%u is not reached by every lane: %d of the warp have returned", name, site.file,
         site.line, warp.returned);
  const unsigned phase = warp.phase % 2;
  if (bytes) std::memcpy(warp.slots[phase][thread - first], value, bytes);
  wait(State::kMeeting, name, site);
  if (++warp.arrived == warpSize) {
    warp.arrived = 0;
    ++warp.phase;
    for (int i = first; i < first + warpSize; ++i) {
      if (m.threads[i].site.line != site.line)
        fail("%s at %s:%u met %s at line %u", name, site.file, site.line, m.threads[i].at,
             m.threads[i].site.line);
      make_ready(i);
    }
  }
  pause();
  return warp.slots[phase];
}

void* shared(const void* key, size_t bytes, size_t alignment, const char* name) {
  Machine& m = machine();
  for (const SharedArray& array : m.arrays)
    if (array.key == key) return array.data;
  m.shared_bytes += bytes;
  const size_t begin = (m.pool_used + alignment - 1) / alignment * alignment;
  const size_t end = (begin + bytes + kRedZone - 1) / kRedZone * kRedZone + kRedZone;
  if (m.shared_bytes > kSharedLimit || end > sizeof(m.pool))
    fail("%s: %zu bytes of shared memory are more than a block has", name, m.shared_bytes);
  m.pool_used = end;
  unsigned char* data = m.pool + begin;
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
  std::memset(data, 0xff, bytes);
  m.arrays.push_back({key, data});
  return data;
}

}  // namespace bptt_emulation
