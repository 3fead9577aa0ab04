#include "addon/call.h"

namespace bptt::addon {

void broken(const std::string& message) { throw JsError("ERR_BPTT_INTERNAL", message); }

void check(napi_status status) {
  switch (status) {
    case napi_ok:
      return;
    case napi_pending_exception:
    case napi_closing:
#if NAPI_VERSION >= 10
    case napi_cannot_run_js:
#endif
      throw PendingException();
    default:
      broken("Node-API status " + std::to_string(status));
  }
}

void throw_error(napi_env env, const char* code, const char* message) {
  Environment* environment = Environment::of(env);
  if (!environment) {
    napi_throw_error(env, code, message);
    return;
  }
  try {
    napi_throw(env, environment->make_error(code, message));
  } catch (...) {  // an exception of the error class is pending instead
  }
}

void not_an_integer(double value, int64_t least, int64_t most) {
  broken(std::to_string(value) + " is not an integer in [" + std::to_string(least) + ", " +
         std::to_string(most) + "]");
}

bptt_dtype to_float_dtype(double value) {
  const auto dtype = to_enum<bptt_dtype>(value);
  if (!is_float(dtype)) broken("a float dtype is needed");
  return dtype;
}

int64_t product(std::initializer_list<int64_t> counts) {
  double result = 1;
  for (const int64_t count : counts) result *= static_cast<double>(count);
  return to_integer(result, 0, kLargestCount);
}

double Numbers::number() {
  if (next_ == values_.size()) broken("a layout of " + std::to_string(next_) + " is too short");
  // volatile: another thread may write there, and the compiler may not look twice.
  return const_cast<const volatile double&>(values_[next_++]);
}

Call::Call(napi_env env, napi_callback_info info) : environment_(Environment::of(env)) {
  size_t count = kMaxArguments;
  check(napi_get_cb_info(env, info, &count, arguments_, nullptr, nullptr));
}

Call::~Call() {
  environment_->inputs.clear();
  environment_->outputs.clear();
}

double Call::number() {
  double value;
  if (napi_get_value_double(env(), next(), &value) != napi_ok) broken(last() + " is not a number");
  return value;
}

bool Call::flag() {
  bool value;
  if (napi_get_value_bool(env(), next(), &value) != napi_ok) broken(last() + " is not a boolean");
  return value;
}

bptt_rng Call::rng() {
  return {.seed = static_cast<uint64_t>(count()), .offset = static_cast<uint64_t>(count())};
}

Stream& Call::device() {
  constexpr int kMostDevices = 1 << 20;  // any bound will do: the stream refuses what is not there
  return environment_->stream(static_cast<int>(integer(kCpuDevice, kMostDevices)));
}

View Call::view_of(napi_value value) const {
  constexpr size_t kElement[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  napi_typedarray_type type;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env(), value, &type, &length, &data, nullptr, nullptr) == napi_ok) {
    if (static_cast<size_t>(type) >= std::size(kElement)) broken("an unknown typed array");
    return {data, length * kElement[type], type};
  }
  if (napi_get_dataview_info(env(), value, &length, &data, nullptr, nullptr) == napi_ok) {
    return {data, length, -1};
  }
  broken(last() + " is not a view of an ArrayBuffer");
}

std::optional<View> Call::optional_view() {
  const napi_value value = optional();
  if (!value) return std::nullopt;
  return view_of(value);
}

std::span<const double> Call::numbers() {
  const View view = this->view();
  if (view.type != napi_float64_array) broken("a layout is not a Float64Array");
  return {static_cast<const double*>(view.data), view.bytes / sizeof(double)};
}

std::optional<std::vector<int32_t>> Call::optional_int32s() {
  const std::optional<View> view = optional_view();
  if (!view) return std::nullopt;
  if (view->type != napi_int32_array) broken("not an Int32Array");
  const auto* values = static_cast<const int32_t*>(view->data);
  return std::vector<int32_t>(values, values + view->bytes / sizeof(int32_t));
}

std::vector<napi_value> Call::list(size_t least, size_t most, bool optional) {
  if (stream_) broken("a list is read after a storage");
  const napi_value given = next();
  uint32_t length;
  if (napi_get_array_length(env(), given, &length) != napi_ok) broken(last() + " is not an array");
  if (length < least || length > most) {
    broken("a list of " + std::to_string(length) + " where " + std::to_string(least) + " belong");
  }
  std::vector<napi_value> values;  // grows with what is there: `length` may be of holes
  for (uint32_t k = 0; k < length; ++k) {
    napi_value value;
    check(napi_get_element(env(), given, k, &value));
    if (is_null(value)) value = nullptr;
    if (!value && !optional) broken("a handle is missing in a list");
    values.push_back(value);
  }
  return values;
}

Storage* Call::optional_storage() {
  const napi_value handle = optional();
  return handle ? &storage_of(handle) : nullptr;
}

bool Call::is_null(napi_value value) const {
  if (!value) return true;
  napi_valuetype type;
  check(napi_typeof(env(), value, &type));
  return type == napi_null || type == napi_undefined;
}

Storage& Call::storage_of(napi_value value) {
  Storage* storage = environment_->handles().find(env(), value);
  if (!storage) throw JsError("ERR_BPTT_DISPOSED", "the storage has been released");
  if (stream_ && storage->stream() != stream_) broken("storages of two devices");
  stream_ = storage->stream();
  return *storage;
}

void* Call::operand(napi_value value, int64_t count, bptt_dtype dtype,
                    std::vector<Operand>* operands) {
  Storage& storage = storage_of(value);
  // count is at most 2^53, so the product does not overflow.
  const uint64_t bytes = static_cast<uint64_t>(count) * size_of(dtype);
  if (bytes > storage.bytes()) {
    broken("a storage of " + std::to_string(storage.bytes()) + " bytes where " +
           std::to_string(bytes) + " are needed");
  }
  if (operands) operands->push_back(storage.operand());
  return storage.data();
}

napi_value Call::make_handle(Storage storage) {
  environment_->handles().sweep_if_grown(env());
  const napi_value handle = environment_->handles().add(env(), std::move(storage));
  environment_->report_memory();
  return handle;
}

}  // namespace bptt::addon
