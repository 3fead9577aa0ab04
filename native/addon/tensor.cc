// Memory: handles, uploads, reads, and what the process runs on.
#include "addon/call.h"
#include "addon/cuda.h"

namespace bptt::addon {

namespace {

Stream& read_device(Call& call, size_t i) {
  return call.environment().stream(static_cast<int>(call.integer(i, kCpuDevice, 1 << 20)));
}

double seconds_to_wait(Call& call, size_t i) {
  const double seconds = call.number(i);
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

napi_value make(Call& call, double number) {
  napi_value value;
  check(napi_create_double(call.env(), number, &value));
  return value;
}

napi_value make(Call& call, const std::string& text) {
  napi_value value;
  check(napi_create_string_utf8(call.env(), text.data(), text.size(), &value));
  return value;
}

napi_value make(Call& call, bool flag) {
  napi_value value;
  check(napi_get_boolean(call.env(), flag, &value));
  return value;
}

struct Property {
  const char* name;
  napi_value value;
};

napi_value make_object(Call& call, std::initializer_list<Property> properties) {
  napi_value object;
  check(napi_create_object(call.env(), &object));
  for (const auto& [name, value] : properties) {
    check(napi_set_named_property(call.env(), object, name, value));
  }
  return object;
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
  call.environment().set_error_class(call.argument(0));
  return nullptr;
}

napi_value info(Call& call) {
  napi_value isas;
  check(napi_create_array(call.env(), &isas));
  uint32_t count = 0;
  for (const bptt_ops* table : cpu_tables()) {
    check(napi_set_element(call.env(), isas, count++, make(call, std::string(table->isa))));
  }
  return make_object(call, {{"version", make(call, std::string(BPTT_VERSION))},
                            {"isa", make(call, std::string(cpu_backend()->ops.isa))},
                            {"isas", isas},
                            {"threads", make(call, static_cast<double>(num_threads()))},
                            {"cpu", make(call, cpu_name())},
                            {"compiler", make(call, compiler())}});
}

napi_value stats(Call& call) {
  Stream& stream = read_device(call, 0);
  const Allocator& allocator = stream.allocator();
  const auto number = [&](size_t count) { return make(call, static_cast<double>(count)); };
  return make_object(call, {{"allocatedBytes", number(allocator.allocated_bytes())},
                            {"cachedBytes", number(allocator.cached_bytes())},
                            {"liveStorages", number(allocator.live_storages())},
                            {"queuedOps", number(stream.queued())}});
}

napi_value cuda(Call& call) {
  const CudaBackend& backend = cuda_backend();
  return make_object(call, {{"available", make(call, backend.table != nullptr)},
                            {"words", make(call, backend.words)}});
}

napi_value setNumThreads(Call& call) {
  set_num_threads(static_cast<int>(call.integer(0, 1, 256)));
  return nullptr;
}

napi_value getNumThreads(Call& call) { return make(call, static_cast<double>(num_threads())); }

napi_value measureMultiplyAdds(Call& call) {
  return make(call, measure_multiply_adds(seconds_to_wait(call, 0)));
}

napi_value measureReads(Call& call) { return make(call, measure_reads(seconds_to_wait(call, 0))); }

napi_value allocate(Call& call) {
  return call.make_handle(read_device(call, 0).allocate(static_cast<size_t>(call.count(1))));
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
  return call.environment().promise(
      buffer, [&](auto done) { call.stream().read(storage, data, bytes, done); });
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
  Stream& stream = read_device(call, 0);
  return call.environment().promise(nullptr, [&](auto done) { stream.synchronize(done); });
}

}  // namespace bptt::addon
