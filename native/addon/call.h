// One call from JavaScript: reads and checks arguments, and enqueues the op.
//
// TypeScript has checked what a user can get wrong. Here every pointer is checked against the
// size of its storage, so that neither a mistake in lib nor another caller of the addon can
// crash the process. JavaScript runs in the middle of a call where it reads a list (getters),
// and may then release, resize or call anything: lists come first, before storages and before
// views, unless what a view holds is copied at once. Memory that other threads see is read
// once, and what was read is checked.
//
// Ops, and what is kept between calls, go through plain Node-API: its cost counts, and its
// failures are values. node-addon-api builds the objects that describe the process.
//
// Nothing ends the process: whatever throws ends in guarded(), and what runs elsewhere
// (executor, finalizers, hooks) does not throw.
#pragma once

#include <napi.h>

#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "addon/environment.h"
#include "enums.h"
#include "runtime/stream.h"

namespace bptt::addon {

// An error with a code of lib/errors.ts, to be thrown into JavaScript.
struct JsError : std::runtime_error {
  JsError(const char* code_, const std::string& message)
      : std::runtime_error(message), code(code_) {}
  const char* code;
};

// JavaScript already has an exception pending, or may not run any more.
struct PendingException {};

// Arguments that TypeScript should never send.
[[noreturn]] void broken(const std::string& message);

void check(napi_status status);
void throw_error(napi_env env, const char* code, const char* message);

// Calls function() -> napi_value and turns C++ exceptions into JavaScript's.
template <class Function>
napi_value guarded(napi_env env, Function function) {
  try {
    return function();
  } catch (const PendingException&) {
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const JsError& error) {
    throw_error(env, error.code, error.what());
  } catch (const Error& error) {
    throw_error(env, code_name(error.code()), error.what());
  } catch (const std::invalid_argument& error) {
    throw_error(env, "ERR_BPTT_VALUE", error.what());
  } catch (const std::bad_alloc&) {
    throw_error(env, "ERR_BPTT_OOM", "out of memory");
  } catch (const std::exception& error) {
    throw_error(env, "ERR_BPTT_INTERNAL", error.what());
  }
  return nullptr;
}

// Up to here a number of JavaScript holds every integer.
constexpr int64_t kLargestCount = int64_t{1} << 53;

// The product of counts; throws where it is not exact in a number of JavaScript.
int64_t product(std::initializer_list<int64_t> counts);
[[noreturn]] void not_an_integer(double value, int64_t least, int64_t most);
inline int64_t to_integer(double value, int64_t least, int64_t most) {
  if (value >= static_cast<double>(least) && value <= static_cast<double>(most)) {
    const auto integer = static_cast<int64_t>(value);
    if (static_cast<double>(integer) == value) return integer;
  }
  not_an_integer(value, least, most);
}

template <class Enum>
Enum to_enum(double value) {
  return static_cast<Enum>(to_integer(value, 0, count_of<Enum> - 1));
}
bptt_dtype to_float_dtype(double value);

// A copy of adjacent elements.
inline bptt_code copy_adjacent(const bptt_ops& ops, bptt_context* context, bptt_dtype dtype,
                               int64_t count, const void* from, void* to) {
  constexpr int64_t kOne = 1;
  return ops.copy(context, dtype, 1, &count, from, &kOne, to, &kOne);
}

// Reads a Float64Array of numbers one after the other, each once.
class Numbers {
 public:
  explicit Numbers(std::span<const double> values) : values_(values) {}

  size_t size() const { return values_.size(); }
  double number();
  int64_t integer(int64_t least, int64_t most) { return to_integer(number(), least, most); }
  int64_t count() { return integer(0, kLargestCount); }
  void counts(int rank, int64_t* out) {
    for (int i = 0; i < rank; ++i) out[i] = count();
  }
  void steps(int rank, int64_t* out) {
    for (int i = 0; i < rank; ++i) out[i] = integer(-kLargestCount, kLargestCount);
  }
  template <class Enum>
  Enum option() {
    return to_enum<Enum>(number());
  }
  int rank() { return static_cast<int>(integer(0, BPTT_MAX_RANK)); }

 private:
  std::span<const double> values_;
  size_t next_ = 0;
};

// The bytes of a typed array or DataView.
struct View {
  void* data;
  size_t bytes;
  int type;  // napi_typedarray_type, or -1
};

class Call {
 public:
  Call(napi_env env, napi_callback_info info);
  ~Call();
  Call(const Call&) = delete;

  Environment& environment() { return *environment_; }
  // Of the storages that the call has been given so far; the CPU's before the first.
  Stream& stream() { return stream_ ? *stream_ : environment_->stream(); }
  napi_env env() const { return environment_->env(); }

  // -- arguments: each call reads the next one ---------------------------------
  napi_value next() {
    if (next_ == kMaxArguments) broken("a function of too many arguments");
    return arguments_[next_++];
  }
  // Null where it is null or undefined.
  napi_value optional() {
    const napi_value value = next();
    return is_null(value) ? nullptr : value;
  }
  double number();
  int64_t integer(int64_t least, int64_t most) { return to_integer(number(), least, most); }
  int64_t count() { return integer(0, kLargestCount); }
  bool flag();
  template <class Enum>
  Enum option() {
    return to_enum<Enum>(number());
  }
  bptt_dtype dtype() { return option<bptt_dtype>(); }
  bptt_rng rng();    // two arguments: seed and offset
  Stream& device();  // the stream of a device, given by its number
  View view() { return view_of(next()); }
  std::optional<View> optional_view();
  std::span<const double> numbers();
  std::optional<std::vector<int32_t>> optional_int32s();  // a copy
  // Lists of handles; optional ones are null where an element is null or undefined.
  // Getters run: before any storage or view is read.
  std::vector<napi_value> handles(size_t least, size_t most = SIZE_MAX) {
    return list(least, most, false);
  }
  std::vector<napi_value> optional_handles(size_t count) { return list(count, count, true); }
  std::vector<napi_value> optional_handles_up_to(size_t most) { return list(0, most, true); }
  Storage& storage() { return storage_of(next()); }
  Storage* optional_storage();

  // -- storages, of at least `count` elements; the op's operands ---------------
  void* input(int64_t count, bptt_dtype dtype) { return input(next(), count, dtype); }
  void* output(int64_t count, bptt_dtype dtype) { return output(next(), count, dtype); }
  void* optional_input(int64_t count, bptt_dtype dtype) {
    const napi_value handle = optional();
    return handle ? input(handle, count, dtype) : nullptr;
  }
  void* optional_output(int64_t count, bptt_dtype dtype) {
    const napi_value handle = optional();
    return handle ? output(handle, count, dtype) : nullptr;
  }
  // The same of a handle that has been read.
  void* input(napi_value handle, int64_t count, bptt_dtype dtype) {
    return operand(handle, count, dtype, &environment_->inputs);
  }
  void* output(napi_value handle, int64_t count, bptt_dtype dtype) {
    return operand(handle, count, dtype, &environment_->outputs);
  }
  // With null for `operands`, poison neither comes from the storage nor goes there.
  void* operand(napi_value handle, int64_t count, bptt_dtype dtype, std::vector<Operand>* operands);
  bool is_null(napi_value value) const;

  // What follows may be of another device than what came before.
  void leave_device() { stream_ = nullptr; }
  Storage& storage_of(napi_value handle);
  napi_value make_handle(Storage storage);

  // Enqueues kernel(const bptt_ops&, bptt_context*) with the operands read so far.
  template <class Kernel>
  napi_value enqueue(const char* op, Kernel kernel) {
    auto work = [kernel = std::move(kernel), ops = &stream().ops()](bptt_context* context) mutable {
      return kernel(*ops, context);
    };
    stream().enqueue(op, environment_->inputs, environment_->outputs, std::move(work));
    return nullptr;
  }

 private:
  static constexpr size_t kMaxArguments = 20;

  // The number of the argument that was read last, for messages.
  std::string last() const { return "argument " + std::to_string(next_ - 1); }
  View view_of(napi_value value) const;
  std::vector<napi_value> list(size_t least, size_t most, bool optional);

  Environment* environment_;
  Stream* stream_ = nullptr;
  napi_value arguments_[kMaxArguments];
  size_t next_ = 0;
};

// What is exported: `function` as Node-API calls it.
template <napi_value (*function)(Call&)>
napi_value exported(napi_env env, napi_callback_info info) {
  return guarded(env, [&] {
    Call call(env, info);
    return function(call);
  });
}

}  // namespace bptt::addon
