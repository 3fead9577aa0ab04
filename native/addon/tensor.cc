// Memory: handles, uploads, reads, and what the process runs on.
#include "addon/call.h"

namespace bptt::addon {

namespace {

void check_device(Call& call, size_t i) {
  if (call.integer(i, -1, 1 << 20) != -1) {
    throw JsError("ERR_BPTT_DEVICE", "this build of bptt has no CUDA backend; use device 'cpu'");
  }
}

class Object {
 public:
  explicit Object(napi_env env) : env_(env) { check(napi_create_object(env, &object_)); }

  void set(const char* name, napi_value value) {
    check(napi_set_named_property(env_, object_, name, value));
  }
  void set(const char* name, const std::string& text) { set(name, string(text)); }
  void set(const char* name, double number) {
    napi_value value;
    check(napi_create_double(env_, number, &value));
    set(name, value);
  }
  napi_value string(const std::string& text) {
    napi_value value;
    check(napi_create_string_utf8(env_, text.data(), text.size(), &value));
    return value;
  }
  operator napi_value() const { return object_; }

 private:
  napi_env env_;
  napi_value object_;
};

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#elif defined(_MSC_VER)
  return "MSVC " + std::to_string(_MSC_FULL_VER);
#else
  return "";
#endif
}

// A fresh ArrayBuffer for as much of the storage as is asked.
napi_value make_buffer(Call& call, const Storage& storage, size_t bytes, void** data) {
  if (bytes > storage.bytes()) {
    broken("a read of " + std::to_string(bytes) + " bytes from a storage of " +
           std::to_string(storage.bytes()));
  }
  napi_value buffer;
  check(napi_create_arraybuffer(call.env(), bytes, data, &buffer));
  return buffer;
}

}  // namespace

napi_value setErrorClass(Call& call) {
  napi_valuetype type;
  check(napi_typeof(call.env(), call.argument(0), &type));
  if (type != napi_function) broken("the error class is not a class");
  call.environment().set_error_class(call.argument(0));
  return nullptr;
}

napi_value info(Call& call) {
  Object info(call.env());
  info.set("version", BPTT_VERSION);
  info.set("isa", cpu_backend()->ops.isa);
  napi_value isas;
  check(napi_create_array(call.env(), &isas));
  uint32_t count = 0;
  for (const bptt_ops* table : cpu_tables()) {
    check(napi_set_element(call.env(), isas, count++, info.string(table->isa)));
  }
  info.set("isas", isas);
  info.set("threads", num_threads());
  info.set("cpu", cpu_name());
  info.set("compiler", compiler());
  return info;
}

napi_value stats(Call& call) {
  Object stats(call.env());
  Stream& stream = call.stream();
  stats.set("allocatedBytes", static_cast<double>(stream.allocator().allocated_bytes()));
  stats.set("cachedBytes", static_cast<double>(stream.allocator().cached_bytes()));
  stats.set("liveStorages", static_cast<double>(stream.allocator().live_storages()));
  stats.set("queuedOps", static_cast<double>(stream.queued()));
  return stats;
}

napi_value setNumThreads(Call& call) {
  set_num_threads(static_cast<int>(call.integer(0, 1, 256)));
  return nullptr;
}

napi_value getNumThreads(Call& call) {
  napi_value value;
  check(napi_create_int32(call.env(), num_threads(), &value));
  return value;
}

napi_value allocate(Call& call) {
  check_device(call, 0);
  return call.make_handle(call.stream().allocate(static_cast<size_t>(call.count(1))));
}

napi_value release(Call& call) {
  call.environment().handles().release(call.env(), call.argument(0));
  call.environment().report_memory();
  return nullptr;
}

napi_value upload(Call& call) {
  const Storage& storage = call.storage(0);
  const View view = call.view(1);
  if (view.bytes > storage.bytes()) {
    broken("an upload of " + std::to_string(view.bytes) + " bytes into a storage of " +
           std::to_string(storage.bytes()));
  }
  if (view.bytes > 0) call.stream().upload(storage, view.data, view.bytes);
  return nullptr;
}

napi_value read(Call& call) {
  const Storage& storage = call.storage(0);
  const auto bytes = static_cast<size_t>(call.count(1));
  void* data;
  const napi_value buffer = make_buffer(call, storage, bytes, &data);
  napi_value result;
  Environment::Promise* promise = call.environment().make_promise(buffer, &result);
  call.stream().read(storage, data, bytes,
                     [promise](const FailurePtr& failure) { promise->settle(failure); });
  return result;
}

napi_value readSync(Call& call) {
  const Storage& storage = call.storage(0);
  const auto bytes = static_cast<size_t>(call.count(1));
  void* data;
  const napi_value buffer = make_buffer(call, storage, bytes, &data);
  call.stream().read_sync(storage, data, bytes);
  return buffer;
}

napi_value synchronize(Call& call) {
  check_device(call, 0);
  napi_value result;
  Environment::Promise* promise = call.environment().make_promise(nullptr, &result);
  call.stream().synchronize([promise](const FailurePtr& failure) { promise->settle(failure); });
  return result;
}

}  // namespace bptt::addon
