#include "addon/environment.h"

#include "addon/call.h"
#include "addon/cuda.h"

namespace bptt::addon {

namespace {

constexpr int64_t kReportStep = int64_t{1} << 20;

}  // namespace

const char* code_name(bptt_code code) {
  switch (code) {
    case BPTT_OUT_OF_MEMORY:
      return "ERR_BPTT_OOM";
    case BPTT_INDEX:
      return "ERR_BPTT_INDEX";
    case BPTT_CANCELLED:
      return "ERR_BPTT_CANCELLED";
    case BPTT_DEVICE:
      return "ERR_BPTT_CUDA";
    case BPTT_UNSUPPORTED:
      return "ERR_BPTT_DEVICE";
    default:
      return "ERR_BPTT_INTERNAL";
  }
}

Environment* Environment::create(napi_env env) {
  auto* environment = new Environment(env);
  environment->env_.SetInstanceData(environment);
  environment->wake_ = decltype(wake_)::New(environment->env_, "bptt", 0, 1, environment);
  environment->wake_.Unref(environment->env_);
  // Hooks run last in, first out: before the one of the thread-safe function, and
  // before the finalizers of handles.
  environment->env_.AddCleanupHook([](Environment* closing) { closing->close(); }, environment);
  return environment;
}

void Environment::wake(Napi::Env env, Napi::Function, Environment* environment, void*) {
  if (static_cast<napi_env>(env)) environment->settle_all();
}

Environment::~Environment() { handles_->abandon(); }

void Environment::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  for (auto& [device, stream] : streams_) stream->close();
  Napi::MemoryManagement::AdjustExternalMemory(env_, -reported_bytes_);
  reported_bytes_ = 0;
}

Stream& Environment::stream(int device) {
  if (const auto open = streams_.find(device); open != streams_.end()) return *open->second;
  std::unique_ptr<Stream> stream;
  if (device == kCpuDevice) {
    stream = std::make_unique<Stream>(cpu_backend());
  } else {
    const CudaBackend& cuda = cuda_backend();
    if (!cuda.table) throw JsError("ERR_BPTT_DEVICE", cuda.words);
    stream = std::make_unique<Stream>(cuda.table, device);
  }
  return *streams_.emplace(device, std::move(stream)).first->second;
}

// Memory of the host: the collector cannot help a device by running earlier, and V8
// would take its size for the process's.
void Environment::report_memory() {
  const auto cpu = streams_.find(kCpuDevice);
  if (cpu == streams_.end()) return;
  const int64_t change =
      static_cast<int64_t>(cpu->second->allocator().allocated_bytes()) - reported_bytes_;
  if (change < kReportStep && change > -kReportStep) return;
  reported_bytes_ += change;
  Napi::MemoryManagement::AdjustExternalMemory(env_, change);
}

// -- errors --------------------------------------------------------------------

void Environment::set_error_class(Napi::Function error_class) {
  error_class_ = Napi::Persistent(error_class);
}

Napi::Value Environment::make_error(const char* code, const char* message) {
  if (!error_class_.IsEmpty()) {
    return error_class_.New({Napi::String::New(env_, code), Napi::String::New(env_, message)});
  }
  Napi::Error error = Napi::Error::New(env_, message);
  error.Set("code", code);
  return error.Value();
}

// -- promises --------------------------------------------------------------------

Environment::Promise* Environment::make_promise(Napi::Value buffer) {
  auto promise = std::make_unique<Promise>(this);
  if (!buffer.IsEmpty()) promise->buffer_ = Napi::Reference<Napi::Value>::New(buffer, 1);
  if (pending_++ == 0) wake_.Ref(env_);
  return promise.release();
}

void Environment::settled(Promise* promise) {
  std::lock_guard lock(mutex_);
  settled_.emplace_back(promise);
  if (settled_.size() == 1 && !closed_) {
    wake_.NonBlockingCall();
  }
}

void Environment::settle_all() {
  std::vector<std::unique_ptr<Promise>> settled;
  {
    std::lock_guard lock(mutex_);
    settled.swap(settled_);
  }
  for (const std::unique_ptr<Promise>& promise : settled) {
    guarded(*this, [&] {
      settle(*promise);
      return nullptr;
    });
  }
}

void Environment::settle(Promise& promise) {
  const Napi::HandleScope scope(env_);
  if (--pending_ == 0) wake_.Unref(env_);
  if (promise.failure_) {
    const Failure& failure = *promise.failure_;
    promise.deferred_.Reject(make_error(code_name(failure.code), failure.message.c_str()));
  } else if (promise.buffer_.IsEmpty()) {
    promise.deferred_.Resolve(env_.Undefined());
  } else {
    promise.deferred_.Resolve(promise.buffer_.Value());
  }
}

}  // namespace bptt::addon
