#include "addon/environment.h"

#include "addon/call.h"

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
    default:
      return "ERR_BPTT_INTERNAL";
  }
}

Environment* Environment::create(napi_env env) {
  auto* environment = new Environment(env);
  check(napi_set_instance_data(
      env, environment, [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); },
      nullptr));
  napi_value name;
  check(napi_create_string_latin1(env, "bptt", NAPI_AUTO_LENGTH, &name));
  check(napi_create_threadsafe_function(
      env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, environment,
      [](napi_env e, napi_value, void* context, void*) {
        if (e) static_cast<Environment*>(context)->settle_all();
      },
      &environment->wake_));
  check(napi_unref_threadsafe_function(env, environment->wake_));
  // Hooks run last in, first out: before the one of the thread-safe function, and
  // before the finalizers of handles.
  check(napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Environment*>(data)->close(); }, environment));
  return environment;
}

Environment::~Environment() { handles_->abandon(); }

void Environment::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  if (stream_) stream_->close();
  int64_t total;
  napi_adjust_external_memory(env_, -reported_bytes_, &total);
  reported_bytes_ = 0;
}

Stream& Environment::stream() {
  if (!stream_) stream_ = std::make_unique<Stream>(cpu_backend());
  return *stream_;
}

void Environment::report_memory() {
  if (!stream_) return;
  const int64_t change =
      static_cast<int64_t>(stream_->allocator().allocated_bytes()) - reported_bytes_;
  if (change < kReportStep && change > -kReportStep) return;
  int64_t total;
  reported_bytes_ += change;
  napi_adjust_external_memory(env_, change, &total);
}

// -- errors --------------------------------------------------------------------

void Environment::set_error_class(napi_value error_class) {
  if (error_class_) check(napi_delete_reference(env_, error_class_));
  error_class_ = nullptr;
  check(napi_create_reference(env_, error_class, 1, &error_class_));
}

napi_value Environment::make_error(const char* code, const char* message) {
  napi_value arguments[2], error = nullptr, error_class;
  check(napi_create_string_utf8(env_, code, NAPI_AUTO_LENGTH, &arguments[0]));
  check(napi_create_string_utf8(env_, message, NAPI_AUTO_LENGTH, &arguments[1]));
  if (error_class_) {
    check(napi_get_reference_value(env_, error_class_, &error_class));
    check(napi_new_instance(env_, error_class, 2, arguments, &error));
  } else {
    check(napi_create_error(env_, arguments[0], arguments[1], &error));
  }
  return error;
}

// -- promises --------------------------------------------------------------------

Environment::Promise* Environment::make_promise(napi_value buffer, napi_value* result) {
  auto promise = std::make_unique<Promise>();
  promise->environment_ = this;
  promise->buffer_ = nullptr;
  if (buffer) check(napi_create_reference(env_, buffer, 1, &promise->buffer_));
  check(napi_create_promise(env_, &promise->deferred_, result));
  if (pending_++ == 0) check(napi_ref_threadsafe_function(env_, wake_));
  return promise.release();
}

void Environment::settled(Promise* promise) {
  std::lock_guard lock(mutex_);
  settled_.emplace_back(promise);
  if (settled_.size() == 1 && !closed_) {
    napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
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
  napi_handle_scope scope;
  check(napi_open_handle_scope(env_, &scope));
  if (--pending_ == 0) check(napi_unref_threadsafe_function(env_, wake_));
  napi_value value;
  if (promise.buffer_) {
    check(napi_get_reference_value(env_, promise.buffer_, &value));
    check(napi_delete_reference(env_, promise.buffer_));
  } else {
    check(napi_get_undefined(env_, &value));
  }
  if (promise.failure_) {
    value = make_error(code_name(promise.failure_->code), promise.failure_->message.c_str());
    check(napi_reject_deferred(env_, promise.deferred_, value));
  } else {
    check(napi_resolve_deferred(env_, promise.deferred_, value));
  }
  check(napi_close_handle_scope(env_, scope));
}

}  // namespace bptt::addon
