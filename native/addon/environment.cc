#include "addon/environment.h"

#include <string>
#include <utility>

#include "addon/call.h"
#include "addon/cuda.h"
#include "bptt/cpu.h"

namespace bptt::addon {

namespace {

// Smaller changes of native memory are not worth a call of V8.
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

Environment& Environment::create(napi_env env) {
  auto* environment = new Environment(env);
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); };
  if (napi_set_instance_data(env, environment, finalize, nullptr) != napi_ok) {
    delete environment;
    broken("no place for what belongs to the environment");
  }
  napi_value name, global, array_buffer;
  check(napi_create_string_utf8(env, "bptt", NAPI_AUTO_LENGTH, &name));
  const auto wake = [](napi_env alive, napi_value, void* context, void*) {
    if (!alive) return;
    auto* environment = static_cast<Environment*>(context);
    environment->settle_all();
    guarded(alive, [environment]() -> napi_value {
      environment->keep_house();
      return nullptr;
    });
  };
  check(napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                        environment, wake, &environment->wake_));
  check(napi_unref_threadsafe_function(env, environment->wake_));
  // Hooks run last in, first out: before the one of the thread-safe function, and
  // before the finalizers of handles.
  check(napi_add_env_cleanup_hook(
      env, [](void* closing) { static_cast<Environment*>(closing)->close(); }, environment));
  check(napi_get_global(env, &global));
  check(napi_get_named_property(env, global, "ArrayBuffer", &array_buffer));
  check(napi_create_reference(env, array_buffer, 1, &environment->array_buffer_));
  return *environment;
}

Environment* Environment::of(napi_env env) {
  void* environment = nullptr;
  napi_get_instance_data(env, &environment);
  return static_cast<Environment*>(environment);
}

Environment::~Environment() {
  for (const napi_ref reference : {error_class_, array_buffer_}) {
    if (reference) napi_delete_reference(env_, reference);
  }
  while (settled_) settled_ = std::move(settled_->next_);
  handles_->abandon();
}

void Environment::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  close_streams();
  int64_t total;
  napi_adjust_external_memory(env_, -reported_bytes_, &total);
  reported_bytes_ = 0;
}

void Environment::close_streams() {
  for (auto& [device, stream] : streams_) stream->close();
}

StreamHooks Environment::hooks() {
  // A worker that is terminated cannot leave a wait by itself: it says so where it may not run
  // JavaScript any more, and then nobody wants the results.
  const auto waiting = [this] {
    bool same;
    napi_value null;
    if (napi_get_null(env_, &null) == napi_ok &&
        napi_strict_equals(env_, null, null, &same) == napi_ok)
      return;
    close_streams();
    throw PendingException();
  };
  return {waiting, [this] { wake_up(); }, [this] { collect(); }};
}

void Environment::keep_house() {
  for (auto& [device, stream] : streams_) stream->keep_house();
}

// Garbage collection now, because native memory has run out: V8 collects at once where so much
// is reported.
void Environment::collect() {
  constexpr int64_t kMuch = int64_t{1} << 40;
  int64_t total;
  napi_adjust_external_memory(env_, kMuch, &total);
  napi_adjust_external_memory(env_, -kMuch, &total);
  sweep();
}

Stream& Environment::stream(int device) {
  if (const auto open = streams_.find(device); open != streams_.end()) return *open->second;
  std::unique_ptr<Stream> stream;
  if (device == kCpuDevice) {
    stream = std::make_unique<Stream>(cpu_backend(), 0, StreamLimits{}, hooks());
  } else {
    const CudaBackend& cuda = cuda_backend();
    if (!cuda.table) throw JsError("ERR_BPTT_DEVICE", cuda.message);
    stream = std::make_unique<Stream>(cuda.table, device, StreamLimits{}, hooks());
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
  int64_t total;
  check(napi_adjust_external_memory(env_, change, &total));
  reported_bytes_ += change;
}

// -- errors and buffers ----------------------------------------------------------

void Environment::set_error_class(napi_value error_class) {
  napi_valuetype type;
  check(napi_typeof(env_, error_class, &type));
  if (type != napi_function) broken("the error class is not a class");
  napi_ref reference;
  check(napi_create_reference(env_, error_class, 1, &reference));
  if (error_class_) napi_delete_reference(env_, error_class_);
  error_class_ = reference;
}

napi_value Environment::make_error(const char* code, const char* message) {
  napi_value arguments[2], error_class, error;
  check(napi_create_string_utf8(env_, code, NAPI_AUTO_LENGTH, &arguments[0]));
  check(napi_create_string_utf8(env_, message, NAPI_AUTO_LENGTH, &arguments[1]));
  if (!error_class_) {
    check(napi_create_error(env_, arguments[0], arguments[1], &error));
    return error;
  }
  check(napi_get_reference_value(env_, error_class_, &error_class));
  check(napi_new_instance(env_, error_class, 2, arguments, &error));
  return error;
}

napi_value Environment::make_buffer(size_t bytes, void** data) {
  napi_value array_buffer, length, buffer, exception;
  check(napi_get_reference_value(env_, array_buffer_, &array_buffer));
  check(napi_create_double(env_, static_cast<double>(bytes), &length));
  if (napi_new_instance(env_, array_buffer, 1, &length, &buffer) != napi_ok) {
    check(napi_get_and_clear_last_exception(env_, &exception));
    throw Error(BPTT_OUT_OF_MEMORY, "out of memory: an ArrayBuffer of " + std::to_string(bytes) +
                                        " bytes cannot be had");
  }
  size_t got = 0;
  if (napi_get_arraybuffer_info(env_, buffer, data, &got) != napi_ok || got != bytes) {
    broken("the class ArrayBuffer makes other objects");
  }
  return buffer;
}

// -- promises --------------------------------------------------------------------

Environment::Promise::Promise(Environment& environment, napi_value buffer)
    : environment_(environment) {
  if (buffer) check(napi_create_reference(environment.env_, buffer, 1, &buffer_));
}

Environment::Promise::~Promise() {
  if (buffer_) napi_delete_reference(environment_.env_, buffer_);
}

void Environment::Promise::settle(const FailurePtr& failure) noexcept {
  failure_ = failure;
  std::lock_guard lock(environment_.mutex_);
  next_ = std::move(environment_.settled_);
  environment_.settled_.reset(this);
  if (!next_ && !environment_.closed_) {
    napi_call_threadsafe_function(environment_.wake_, nullptr, napi_tsfn_nonblocking);
  }
}

void Environment::wake_up() {
  std::lock_guard lock(mutex_);
  if (!closed_) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

// The executor may have settled it already; this thread hears of that later.
napi_value Environment::expect(Promise* promise) {
  if (pending_++ == 0) check(napi_ref_threadsafe_function(env_, wake_));
  napi_value value;
  check(napi_create_promise(env_, &promise->deferred_, &value));
  return value;
}

void Environment::settle_all() {
  std::unique_ptr<Promise> last, first;
  {
    std::lock_guard lock(mutex_);
    last = std::move(settled_);
  }
  while (last) {
    std::unique_ptr<Promise> before = std::move(last->next_);
    last->next_ = std::move(first);
    first = std::move(last);
    last = std::move(before);
  }
  while (first) {
    if (--pending_ == 0) napi_unref_threadsafe_function(env_, wake_);
    napi_handle_scope scope;
    if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
    settle(*first);
    napi_close_handle_scope(env_, scope);
    first = std::move(first->next_);
  }
}

// Whatever happens, the promise does not stay open.
void Environment::settle(const Promise& promise) {
  if (!promise.deferred_) return;
  napi_value value = nullptr;
  if (!promise.failure_) {
    if (promise.buffer_) {
      napi_get_reference_value(env_, promise.buffer_, &value);
    } else {
      napi_get_undefined(env_, &value);
    }
    napi_resolve_deferred(env_, promise.deferred_, value);
    return;
  }
  try {
    const Failure& failure = *promise.failure_;
    value = make_error(code_name(failure.code), failure.message.c_str());
  } catch (...) {  // the error class, which is JavaScript, has thrown
    napi_get_and_clear_last_exception(env_, &value);
  }
  napi_reject_deferred(env_, promise.deferred_, value);
}

}  // namespace bptt::addon
