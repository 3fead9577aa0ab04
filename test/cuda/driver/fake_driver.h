// A libcuda.so.1 of the functions that the CUDA backend uses, on the CPU. Work is queued
// and runs when somebody waits for it; only then is device memory accessible.
//
// The library is made of the files of driver/, emulation/ and ptx/ but tests, and of the kernels
// of native/cuda/kernels/*.cu, compiled as C++ with -DBPTT_CUDA_EMULATION.
#pragma once

#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop

#include <pthread.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "driver/arena.h"
#include "driver/fake.h"
#include "emulation/emulation.h"

namespace bptt_fake {

struct Operation {
  std::string name;
  std::function<void()> run;
};

struct EmulatedKernel {
  std::string name;
  size_t argument_bytes;
  bptt_emulation::Body body;
};
// Null where there is none of that name.
const EmulatedKernel* find_kernel(const std::string& name);

}  // namespace bptt_fake

// What the driver's handles point to.
struct CUctx_st {
  int retained = 0;
};
struct CUfunc_st {
  const bptt_fake::EmulatedKernel* kernel;
};
struct CUmod_st {
  std::map<std::string, CUfunc_st> functions;
};
// The null stream is one of its own: work on it is not ordered with that of others.
struct CUstream_st {
  std::deque<bptt_fake::Operation> work;
};

namespace bptt_fake {

struct Failure {
  std::string name;
  int nth, code;
};

struct State {
  std::recursive_mutex mutex;
  Arena arena;
  bool initialised = false;
  std::vector<CUctx_st> contexts{1};  // one per device
  int capability = 80, multiprocessors = 4;
  std::set<CUstream> streams;
  CUstream_st null_stream;
  std::set<CUmodule> modules;

  std::map<std::string, int> calls;
  std::map<std::string, int> objects;
  std::vector<Failure> failures;
  Failure work_failure = {};
  CUresult broken = CUDA_SUCCESS;

  // While work runs.
  bool executing = false;
  pthread_t executor{};
  std::string operation;
  bool eager = false;
  unsigned most_blocks = ~0u;
};

State& state();

[[noreturn]] [[gnu::format(printf, 1, 2)]] void violation(const char* format, ...);

enum class Needs { kNothing, kInit, kContext };

// One call of the driver: holds the lock and says what the call must return, if anything.
class Call {
 public:
  Call(const char* name, Needs needs);
  CUresult code;

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};
#define FAKE_CALL(needs)                                             \
  const ::bptt_fake::Call call(__func__, ::bptt_fake::Needs::needs); \
  if (call.code != CUDA_SUCCESS) return call.code

CUcontext& current_context();  // of the calling thread
CUstream_st* find_stream(CUstream stream);
CUresult enqueue(CUstream stream, Operation operation);
CUresult run(CUstream_st& stream);
CUresult run_all();

}  // namespace bptt_fake
