// Memory: handles, uploads, reads, and what the process runs on.
#include <napi.h>

#include "addon/call.h"
#include "addon/cuda.h"
#include "bptt/cpu.h"
#include "bptt/version.h"

namespace bptt::addon {

namespace {

double seconds_to_wait(Call& call) {
  const double seconds = call.number();
  if (!(seconds > 0 && seconds <= 60)) broken("a measurement takes more than 0 and at most 60 s");
  return seconds;
}

std::string compiler() {
#if defined(__clang__)
  const std::string version = __clang_version__;  // vendors add words, or nothing after a space
  return "Clang " + version.substr(0, version.find_last_not_of(' ') + 1);
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
  return call.environment().make_buffer(bytes, data);
}

}  // namespace

napi_value setErrorClass(Call& call) {
  call.environment().set_error_class(call.next());
  return nullptr;
}

napi_value info(Call& call) {
  Napi::Array isas = Napi::Array::New(call.env());
  for (const bptt_ops* table : cpu_tables()) isas.Set(isas.Length(), table->isa);
  Napi::Object info = Napi::Object::New(call.env());
  info.Set("version", BPTT_VERSION);
  info.Set("isa", cpu_backend()->ops.isa);
  info.Set("isas", isas);
  info.Set("threads", num_threads());
  info.Set("cpu", cpu_name());
  info.Set("compiler", compiler());
  return info;
}

napi_value stats(Call& call) {
  Stream& stream = call.device();
  const Allocator& allocator = stream.allocator();
  Napi::Object stats = Napi::Object::New(call.env());
  const auto set = [&](const char* name, size_t count) {
    stats.Set(name, static_cast<double>(count));
  };
  set("allocatedBytes", allocator.allocated_bytes());
  set("cachedBytes", allocator.cached_bytes());
  set("liveStorages", allocator.live_storages());
  set("queuedOps", stream.queued());
  return stats;
}

napi_value cuda(Call& call) {
  const CudaBackend& backend = cuda_backend();
  Napi::Object found = Napi::Object::New(call.env());
  found.Set("available", backend.table != nullptr);
  found.Set("message", backend.message);
  return found;
}

napi_value setNumThreads(Call& call) {
  set_num_threads(static_cast<int>(call.integer(1, kMaxThreads)));
  return nullptr;
}

napi_value getNumThreads(Call& call) { return Napi::Number::New(call.env(), num_threads()); }

napi_value measureMultiplyAdds(Call& call) {
  return Napi::Number::New(call.env(), measure_multiply_adds(seconds_to_wait(call)));
}

napi_value measureReads(Call& call) {
  return Napi::Number::New(call.env(), measure_reads(seconds_to_wait(call)));
}

napi_value emptyCache(Call& call) {
  call.environment().sweep();
  call.device().empty_cache();
  call.environment().report_memory();
  return nullptr;
}

napi_value allocate(Call& call) {
  Stream& stream = call.device();
  return call.make_handle(stream.allocate(static_cast<size_t>(call.count())));
}

napi_value release(Call& call) {
  call.environment().handles().release(call.env(), call.next());
  call.environment().report_memory();
  return nullptr;
}

napi_value upload(Call& call) {
  const Storage& storage = call.storage();
  const View view = call.view();
  if (view.bytes > storage.bytes()) {
    broken("an upload of " + std::to_string(view.bytes) + " bytes into a storage of " +
           std::to_string(storage.bytes()));
  }
  if (view.bytes > 0) call.stream().upload(storage, view.data, view.bytes);
  return nullptr;
}

napi_value read(Call& call) {
  const Storage& storage = call.storage();
  const auto bytes = static_cast<size_t>(call.count());
  void* data;
  const napi_value buffer = make_buffer(call, storage, bytes, &data);
  return call.environment().promise(
      buffer, [&](auto done) { call.stream().read(storage, data, bytes, done); });
}

napi_value readSync(Call& call) {
  const Storage& storage = call.storage();
  const auto bytes = static_cast<size_t>(call.count());
  void* data;
  const napi_value buffer = make_buffer(call, storage, bytes, &data);
  call.stream().read_sync(storage, data, bytes);
  return buffer;
}

napi_value synchronize(Call& call) {
  Stream& stream = call.device();
  return call.environment().promise(nullptr, [&](auto done) { stream.synchronize(done); });
}

}  // namespace bptt::addon
