// The fake driver's queues, failures and counts, and the controls of fake.h.
#include <signal.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver/fake_driver.h"

namespace bptt_fake {
namespace {

struct sigaction previous_action;

// The process is about to end: a message may be made of whatever it takes.
void on_fault(int signal, siginfo_t* info, void*) {
  State& s = state();
  if (!s.arena.contains(info->si_addr)) {
    sigaction(signal, &previous_action, nullptr);  // the access is made again
    return;
  }
  const std::string where = s.arena.describe(info->si_addr);
  if (!s.executing || !pthread_equal(s.executor, pthread_self()))
    violation("the host touched device memory: %s", where.c_str());
  violation("touched %s", where.c_str());
}

void watch_faults() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &previous_action);
}

void read_environment() {
  if (const char* text = std::getenv("BPTT_FAKE_CUDA_MEMORY"))
    fake_cuda_set_memory(std::strtoull(text, nullptr, 10));
  int capability = 0, multiprocessors = 0;
  if (const char* text = std::getenv("BPTT_FAKE_CUDA_DEVICE")) {
    if (std::sscanf(text, "%d:%d", &capability, &multiprocessors) != 2)
      violation("BPTT_FAKE_CUDA_DEVICE: \"%s\" is not CAPABILITY:MULTIPROCESSORS", text);
    fake_cuda_set_device(capability, multiprocessors);
  }
  const char* eager = std::getenv("BPTT_FAKE_CUDA_EAGER");
  state().eager = eager && *eager == '1';
  if (const char* text = std::getenv("BPTT_FAKE_CUDA_BLOCKS"))
    state().most_blocks = static_cast<unsigned>(std::strtoul(text, nullptr, 10));
  const char* text = std::getenv("BPTT_FAKE_CUDA_FAIL");
  std::string failures = text ? text : "";
  for (size_t at = 0; at < failures.size();) {
    const size_t end = std::min(failures.find(',', at), failures.size());
    const std::string item = failures.substr(at, end - at);
    char name[128];
    int nth = 0, code = 0;
    if (std::sscanf(item.c_str(), "%127[^:]:%d:%d", name, &nth, &code) != 3)
      violation("BPTT_FAKE_CUDA_FAIL: \"%s\" is not NAME:NTH:CODE", item.c_str());
    fake_cuda_fail_call(name, nth, code);
    at = end + 1;
  }
}

// "cuMemAlloc" and "cuMemAlloc_v2" are one.
std::string without_version(const char* name) {
  std::string text = name;
  const size_t at = text.rfind("_v");
  if (at != std::string::npos && at + 3 == text.size() && text[at + 2] >= '0' &&
      text[at + 2] <= '9')
    text.resize(at);
  return text;
}

// These leave a context that can only be given up.
bool breaks_context(int code) {
  static const std::set<int> codes = {
      CUDA_ERROR_ECC_UNCORRECTABLE,    CUDA_ERROR_ILLEGAL_ADDRESS,
      CUDA_ERROR_LAUNCH_TIMEOUT,       CUDA_ERROR_ASSERT,
      CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_INSTRUCTION,
      CUDA_ERROR_MISALIGNED_ADDRESS,   CUDA_ERROR_INVALID_ADDRESS_SPACE,
      CUDA_ERROR_INVALID_PC,           CUDA_ERROR_LAUNCH_FAILED};
  return codes.count(code) != 0;
}

void drop_work() {
  State& s = state();
  s.null_stream.work.clear();
  for (CUstream stream : s.streams) stream->work.clear();
}

void break_context(int code) {
  state().broken = static_cast<CUresult>(code);
  drop_work();
}

int injected(const char* name) {
  State& s = state();
  const std::string plain = without_version(name);
  ++s.calls[plain];
  for (Failure& failure : s.failures) {
    if (failure.name != plain || failure.nth <= 0 || --failure.nth != 0) continue;
    if (plain.rfind("cu", 0) == 0 && plain.rfind("cublas", 0) != 0 &&
        plain.rfind("cudnn", 0) != 0 && breaks_context(failure.code))
      break_context(failure.code);
    return failure.code;
  }
  return 0;
}

void check_damage(bool heads) {
  const std::string found = state().arena.damage(heads);
  if (!found.empty()) violation("%s was written", found.c_str());
}

// Opens device memory for as long as it lives.
struct Execution {
  explicit Execution(State& s) : state(s), outermost(!s.executing) {
    if (!outermost) return;
    state.executing = true;
    state.executor = pthread_self();
    state.arena.open();
  }
  ~Execution() {
    if (!outermost) return;
    state.arena.close();
    state.executing = false;
    state.operation.clear();
  }
  State& state;
  bool outermost;
};

}  // namespace

// Never destroyed: the process may exit while work runs.
State& state() {
  static State& only = *new State;
  return only;
}

void violation(const char* format, ...) {
  State& s = state();
  char where[256] = "";
  if (s.executing && pthread_equal(s.executor, pthread_self())) {
    bptt_emulation::describe(where, sizeof(where));
    if (!*where) std::snprintf(where, sizeof(where), "%s", s.operation.c_str());
  }
  std::fprintf(stderr, "fake CUDA: %s%s", where, *where ? ": " : "");
  va_list list;
  va_start(list, format);
  std::vfprintf(stderr, format, list);
  va_end(list);
  std::fputc('\n', stderr);
  std::fflush(nullptr);
  std::_Exit(FAKE_CUDA_EXIT_CODE);
}

CUcontext& current_context() {
  static thread_local CUcontext current = nullptr;
  return current;
}

Call::Call(const char* name, Needs needs) : code(CUDA_SUCCESS), lock_(state().mutex) {
  State& s = state();
  const int failure = injected(name);
  if (failure) {
    code = static_cast<CUresult>(failure);
  } else if (s.executing) {
    code = CUDA_ERROR_NOT_PERMITTED;  // a driver call from within queued work
  } else if (needs != Needs::kNothing && !s.initialised) {
    code = CUDA_ERROR_NOT_INITIALIZED;
  } else if (needs == Needs::kContext && s.broken != CUDA_SUCCESS) {
    code = s.broken;
  } else if (needs == Needs::kContext && !current_context()) {
    code = CUDA_ERROR_INVALID_CONTEXT;
  } else if (needs == Needs::kContext && current_context()->retained == 0) {
    code = CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
}

CUstream_st* find_stream(CUstream stream) {
  State& s = state();
  if (!stream || stream == CU_STREAM_LEGACY) return &s.null_stream;
  return s.streams.count(stream) ? stream : nullptr;
}

CUresult enqueue(CUstream stream, Operation operation) {
  CUstream_st* queue = find_stream(stream);
  if (!queue) return CUDA_ERROR_INVALID_HANDLE;
  queue->work.push_back(std::move(operation));
  return state().eager ? run(*queue) : CUDA_SUCCESS;
}

CUresult run(CUstream_st& stream) {
  State& s = state();
  if (s.broken != CUDA_SUCCESS) return s.broken;
  if (stream.work.empty()) return CUDA_SUCCESS;
  const Execution execution(s);
  while (!stream.work.empty()) {
    const Operation operation = std::move(stream.work.front());
    stream.work.pop_front();
    s.operation = operation.name;
    if (s.work_failure.nth > 0 && --s.work_failure.nth == 0) {
      break_context(s.work_failure.code);
      return s.broken;
    }
    operation.run();
    check_damage(false);
  }
  check_damage(true);
  return CUDA_SUCCESS;
}

CUresult run_all() {
  State& s = state();
  CUresult code = run(s.null_stream);
  for (CUstream stream : s.streams)
    if (code == CUDA_SUCCESS) code = run(*stream);
  return code;
}

namespace {

// At load: signals are watched before the first buffer is made.
__attribute__((constructor)) void prepare() {
  watch_faults();
  read_environment();
}

// Where the process ends by exit(), as a test program or Node does.
__attribute__((destructor)) void write_report() {
  const char* path = std::getenv("BPTT_FAKE_CUDA_REPORT");
  std::FILE* file = path && *path ? std::fopen(path, "w") : nullptr;
  if (!file) return;
  char text[2048];
  fake_cuda_report(text, sizeof(text));
  std::fputs(text, file);
  std::fclose(file);
}

}  // namespace
}  // namespace bptt_fake

// -- the controls -----------------------------------------------------------------

using bptt_fake::state;
using Lock = std::lock_guard<std::recursive_mutex>;

void fake_cuda_reset(void) {
  const Lock lock(state().mutex);
  auto& s = state();
  s.null_stream.work.clear();
  for (CUstream stream : s.streams) delete stream;
  for (CUmodule module : s.modules) delete module;
  s.streams.clear();
  s.modules.clear();
  s.arena.release_all();
  for (CUctx_st& context : s.contexts) context.retained = 0;
  bptt_fake::current_context() = nullptr;
  s.initialised = false;
  s.calls.clear();
  s.objects.clear();
  s.failures.clear();
  s.work_failure = {};
  s.broken = CUDA_SUCCESS;
}

void fake_cuda_set_memory(size_t bytes) {
  const Lock lock(state().mutex);
  state().arena.set_limit(bytes);
}

void fake_cuda_set_devices(int count) {
  const Lock lock(state().mutex);
  state().contexts.assign(static_cast<size_t>(count), CUctx_st{});
}

void fake_cuda_set_device(int capability, int multiprocessors) {
  const Lock lock(state().mutex);
  state().capability = capability;
  state().multiprocessors = multiprocessors;
}

void fake_cuda_seed(uint64_t seed) { bptt_emulation::seed(seed); }

void fake_cuda_fail_call(const char* name, int nth, int code) {
  const Lock lock(state().mutex);
  state().failures.push_back({bptt_fake::without_version(name), nth, code});
}

void fake_cuda_fail_work(int nth, int code) {
  const Lock lock(state().mutex);
  state().work_failure = {"", nth, code};
}

int fake_cuda_calls(const char* name) {
  const Lock lock(state().mutex);
  const auto& calls = state().calls;
  const auto found = calls.find(bptt_fake::without_version(name));
  return found == calls.end() ? 0 : found->second;
}

size_t fake_cuda_live_buffers(void) {
  const Lock lock(state().mutex);
  return state().arena.live();
}

size_t fake_cuda_live_bytes(void) {
  const Lock lock(state().mutex);
  return state().arena.live_bytes();
}

size_t fake_cuda_pending(void) {
  const Lock lock(state().mutex);
  size_t pending = state().null_stream.work.size();
  for (CUstream stream : state().streams) pending += stream->work.size();
  return pending;
}

size_t fake_cuda_live(const char* kind) {
  const Lock lock(state().mutex);
  size_t live = 0;
  for (const auto& [name, count] : state().objects)
    if (!kind || name == kind) live += static_cast<size_t>(count);
  return live;
}

int fake_cuda_report(char* out, size_t size) {
  const Lock lock(state().mutex);
  std::string text;
  if (const size_t live = state().arena.live())
    text = "buffer: " + std::to_string(live) + " (" + std::to_string(state().arena.live_bytes()) +
           " bytes)\n";
  for (const auto& [name, count] : state().objects)
    if (count != 0) text += name + ": " + std::to_string(count) + "\n";
  return std::snprintf(out, size, "%s", text.c_str());
}

int fake_cuda_call(const char* name) {
  const Lock lock(state().mutex);
  return bptt_fake::injected(name);
}

void fake_cuda_count(const char* kind, int change) {
  const Lock lock(state().mutex);
  state().objects[kind] += change;
}

int fake_cuda_broken(void) {
  const Lock lock(state().mutex);
  return state().broken;
}

int fake_cuda_has_context(void) {
  const Lock lock(state().mutex);
  return bptt_fake::current_context() && bptt_fake::current_context()->retained > 0;
}

int fake_cuda_is_device(const void* pointer, size_t bytes) {
  const Lock lock(state().mutex);
  return state().arena.holds(pointer, bytes);
}

int fake_cuda_is_stream(CUstream stream) {
  const Lock lock(state().mutex);
  return bptt_fake::find_stream(stream) != nullptr;
}

void fake_cuda_enqueue(CUstream stream, void (*run)(void*), void* data) {
  fake_cuda_enqueue_named(stream, "work of another library", run, nullptr, data);
}

void fake_cuda_enqueue_named(CUstream stream, const char* name, void (*run)(void*),
                             void (*drop)(void*), void* data) {
  const Lock lock(state().mutex);
  const std::shared_ptr<void> owned(data, [drop](void* p) {
    if (drop) drop(p);
  });
  if (!bptt_fake::find_stream(stream)) bptt_fake::violation("%s: no such stream", name);
  if (state().broken == CUDA_SUCCESS)
    bptt_fake::enqueue(stream, {name, [run, owned] { run(owned.get()); }});
}

void fake_cuda_violation(const char* message) { bptt_fake::violation("%s", message); }
