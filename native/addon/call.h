// One call from JavaScript: reads and checks arguments, and enqueues the op.
//
// TypeScript has checked what a user can get wrong. Here every pointer is checked
// against the size of its storage, so that no mistake in between can crash, nor any other
// caller. JavaScript runs in the middle of a call where it reads a list (getters), and may
// then release, resize or call anything: lists come first, before storages and views. Memory
// that other threads see is read once, and what was read is checked.
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
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "addon/environment.h"
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

constexpr int64_t kLargestCount = int64_t{1} << 53;

constexpr size_t size_of(bptt_dtype dtype) { return dtype == BPTT_FLOAT64 ? 8 : 4; }
// The product of counts; throws where it is not exact in a number of JavaScript.
int64_t product(std::initializer_list<int64_t> counts);
int64_t to_integer(double value, int64_t least, int64_t most);

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
  napi_value argument(size_t i) const { return arguments_[i]; }
  bool is_null(size_t i) const { return is_null(arguments_[i]); }

  double number(size_t i) const;
  int64_t integer(size_t i, int64_t least, int64_t most) const {
    return to_integer(number(i), least, most);
  }
  int64_t count(size_t i) const { return integer(i, 0, kLargestCount); }
  bool flag(size_t i) const;
  // An enumerator, up to the last.
  template <class Enum>
  Enum option(size_t i, Enum last) const {
    return static_cast<Enum>(integer(i, 0, last));
  }
  bptt_dtype dtype(size_t i) const { return option(i, BPTT_INT32); }
  bptt_rng rng(size_t i) const;  // seed and offset
  View view(size_t i) const;
  std::span<const double> numbers(size_t i) const;
  std::vector<int32_t> int32s(size_t i) const;  // a copy
  // Lists of handles; optional ones are null where an element is null or undefined.
  // Getters run: before any storage or view is read.
  std::vector<napi_value> handles(size_t i, size_t least, size_t most = SIZE_MAX) const {
    return list(i, least, most, false);
  }
  std::vector<napi_value> optional_handles(size_t i, size_t count) const {
    return list(i, count, count, true);
  }

  // -- storages, of at least `count` elements; the op's operands ---------------
  void* input(size_t i, int64_t count, bptt_dtype dtype) {
    return operand(arguments_[i], count, dtype, &environment_->inputs);
  }
  void* output(size_t i, int64_t count, bptt_dtype dtype) {
    return operand(arguments_[i], count, dtype, &environment_->outputs);
  }
  void* optional_input(size_t i, int64_t count, bptt_dtype dtype) {
    return is_null(i) ? nullptr : input(i, count, dtype);
  }
  void* optional_output(size_t i, int64_t count, bptt_dtype dtype) {
    return is_null(i) ? nullptr : output(i, count, dtype);
  }
  // With null for `operands`, poison neither comes from the storage nor goes there.
  void* operand(napi_value handle, int64_t count, bptt_dtype dtype, std::vector<Operand>* operands);
  bool is_null(napi_value value) const;
  // An output over what a kernel takes positions from, which it checks before it writes.
  void refuse_overlap(const void* positions, std::initializer_list<const void*> outputs) const {
    for (const void* out : outputs) {
      if (out == positions) broken("an output over the indices or targets of its op");
    }
  }

  // What follows may be of another device than what came before.
  void leave_device() { stream_ = nullptr; }
  Storage& storage(size_t i) { return storage_of(arguments_[i]); }
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

  std::vector<napi_value> list(size_t i, size_t least, size_t most, bool optional) const;

  Environment* environment_;
  Stream* stream_ = nullptr;
  napi_value arguments_[kMaxArguments];
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
