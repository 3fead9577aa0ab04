// What one JavaScript environment (the main thread or a worker) owns: its streams, one
// per device, its promises and its error class.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "addon/handles.h"
#include "addon/plan.h"
#include "bptt/bptt.h"

namespace bptt::addon {

// CPU_DEVICE of lib/binding.ts; from 0 on, CUDA devices.
constexpr int kCpuDevice = -1;

class Environment {
 public:
  // Created at load; deleted by Node with the environment.
  static Environment* create(napi_env env);
  ~Environment();

  napi_env env() const { return env_; }
  // The stream of a device, opened at its first call. Throws where there is no such device.
  Stream& stream(int device = kCpuDevice);
  PlanCache& plans() { return plans_; }
  HandleTable& handles() { return *handles_; }

  void set_error_class(Napi::Function error_class);
  Napi::Value make_error(const char* code, const char* message);

  // Tells V8 of native memory, in steps of a MiB. Called where memory changes hands.
  void report_memory();

  // A promise that the stream settles from a new turn of the event loop and that
  // keeps the process alive. It resolves with the buffer, or undefined without one.
  class Promise;
  Promise* make_promise(Napi::Value buffer = {});

  // Reused by each call for the operands of its op.
  std::vector<Operand> inputs, outputs;

 private:
  explicit Environment(napi_env env) : env_(env) {}
  void close();
  static void wake(Napi::Env env, Napi::Function, Environment* environment, void*);
  void settled(Promise* promise);
  void settle_all();
  void settle(Promise& promise);

  Napi::Env env_;
  Napi::FunctionReference error_class_;
  std::map<int, std::unique_ptr<Stream>> streams_;  // by device
  PlanCache plans_;
  HandleTable* handles_ = new HandleTable;
  int64_t reported_bytes_ = 0;

  Napi::TypedThreadSafeFunction<Environment, void, wake> wake_;
  size_t pending_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Promise>> settled_;  // guarded by mutex_
  bool closed_ = false;                            // guarded by mutex_
};

class Environment::Promise {
 public:
  explicit Promise(Environment* environment)
      : environment_(environment), deferred_(environment->env_) {}
  Napi::Value value() const { return deferred_.Promise(); }
  // On the executor, once.
  void settle(const FailurePtr& failure) {
    failure_ = failure;
    environment_->settled(this);
  }

 private:
  friend class Environment;
  Environment* environment_;
  Napi::Promise::Deferred deferred_;
  Napi::Reference<Napi::Value> buffer_;
  FailurePtr failure_;
};

// The name of a code in lib/errors.ts.
const char* code_name(bptt_code code);

}  // namespace bptt::addon
