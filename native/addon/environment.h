// What one JavaScript environment (the main thread or a worker) owns: its streams, one
// per device, its promises, its error class and the class of its buffers.
#pragma once

#include <node_api.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "addon/handles.h"
#include "addon/plan.h"
#include "addon/stepper.h"
#include "runtime/stream.h"

namespace bptt::addon {

// The number of the CPU in calls of the addon (CPU_DEVICE in lib/enums.ts, by generate.mjs); from 0
// on they are CUDA devices.
constexpr int kCpuDevice = -1;

class Environment {
 public:
  // Created at load; deleted by Node with the environment.
  static Environment& create(napi_env env);
  // Null where creating it has failed.
  static Environment* of(napi_env env);
  Environment(const Environment&) = delete;

  napi_env env() const { return env_; }
  // The stream of a device, opened at its first call. Throws where there is no such device.
  Stream& stream(int device = kCpuDevice);
  PlanCache& plans() { return plans_; }
  HandleTable& handles() { return *handles_; }
  const std::shared_ptr<StepperList>& steppers() const { return steppers_; }

  void set_error_class(napi_value error_class);
  napi_value make_error(const char* code, const char* message);

  // A fresh ArrayBuffer. Throws Error(BPTT_OUT_OF_MEMORY) where there is no memory for it:
  // napi_create_arraybuffer would end the process.
  napi_value make_buffer(size_t bytes, void** data);

  // Lets go of what the collector has found to be forgotten.
  void sweep() {
    handles_->sweep(env_);
    steppers_->sweep(env_);
  }
  // Lets what the streams cache age.
  void keep_house();
  // Tells V8 of native memory, in steps of kReportStep. Called where memory changes hands.
  void report_memory();

  // A promise of what enqueue(done) puts on a stream. The stream settles it by
  // done(const FailurePtr&) from a new turn of the event loop, and until then it keeps the
  // process alive. It resolves with the buffer, or undefined without one. Throws what
  // enqueue throws.
  template <class Enqueue>
  napi_value promise(napi_value buffer, Enqueue enqueue) {
    auto promise = std::make_unique<Promise>(*this, buffer);
    enqueue([promise = promise.get()](const FailurePtr& failure) { promise->settle(failure); });
    return expect(promise.release());
  }

  // Reused by each call for the operands of its op.
  std::vector<Operand> inputs, outputs;

 private:
  class Promise {
   public:
    Promise(Environment& environment, napi_value buffer);
    ~Promise();
    Promise(const Promise&) = delete;
    // On the executor, once.
    void settle(const FailurePtr& failure) noexcept;

   private:
    friend class Environment;
    Environment& environment_;
    napi_deferred deferred_ = nullptr;
    napi_ref buffer_ = nullptr;
    FailurePtr failure_;
    std::unique_ptr<Promise> next_;
  };

  explicit Environment(napi_env env) : env_(env) {}
  ~Environment();
  void close();
  StreamHooks hooks();
  void close_streams();
  void collect();
  void wake_up();  // on any thread
  napi_value expect(Promise* promise);
  void settle_all();
  void settle(const Promise& promise);

  const napi_env env_;
  napi_ref error_class_ = nullptr;
  napi_ref array_buffer_ = nullptr;                 // the class, as it was at load
  std::map<int, std::unique_ptr<Stream>> streams_;  // by device
  PlanCache plans_;
  HandleTable* handles_ = new HandleTable;
  const std::shared_ptr<StepperList> steppers_ = std::make_shared<StepperList>();
  int64_t reported_bytes_ = 0;

  napi_threadsafe_function wake_ = nullptr;
  size_t pending_ = 0;
  std::mutex mutex_;
  // Guarded by mutex_. The promise that was settled last, linked to the one before it.
  std::unique_ptr<Promise> settled_;
  bool closed_ = false;
};

// The name of a code in lib/errors.ts.
const char* code_name(bptt_code code);

}  // namespace bptt::addon
