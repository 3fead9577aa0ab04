// Runs one operation on the CUDA backend and on the CPU's, and compares: the CPU's tables are
// proven against plain loops in test/native.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "backend/cuda_backend.h"
#include "bptt/cpu.h"
#include "native/ops.h"

namespace bptt_test {

// A backend with a context of its own.
struct Side {
  const bptt_backend& backend;
  const bptt_ops& ops = backend.ops;
  bptt_context context{};

  explicit Side(const bptt_backend& b) : backend(b) {
    CHECK_MSG(backend.open(&context, 0) == BPTT_OK, "%s: %s", backend.name, context.message);
  }
  Side(const Side&) = delete;
  ~Side() { backend.close(&context); }

  bptt_code wait() { return backend.wait(&context); }
  // An operation's code, which is expected to be BPTT_OK.
  void done(bptt_code code) {
    CHECK_MSG(code == BPTT_OK, "%s: code %d, %s", backend.name, code, context.message);
  }
};

// Numbers in device memory.
template <class T>
class Numbers {
 public:
  // Numbers that no operation should leave where it writes.
  Numbers(Side& side, int64_t n) : Numbers(side, Doubles(static_cast<size_t>(n), -77)) {}
  Numbers(Side& side, const Doubles& values) : side_(side), n_(values.size()) {
    std::vector<T> host(n_);
    for (size_t i = 0; i < n_; ++i) host[i] = static_cast<T>(values[i]);
    void* data = nullptr;
    side.done(side.backend.allocate(&side.context, n_ * sizeof(T), &data));
    data_ = static_cast<T*>(data);
    side.done(side.backend.upload(&side.context, data_, host.data(), n_ * sizeof(T)));
    side.done(side.wait());
  }
  Numbers(Numbers&& other) noexcept : side_(other.side_), n_(other.n_), data_(other.data_) {
    other.data_ = nullptr;
  }
  ~Numbers() {
    if (data_) side_.backend.release(&side_.context, data_);
  }

  operator T*() const { return data_; }
  Doubles read() const {
    std::vector<T> host(n_);
    side_.done(side_.backend.download(&side_.context, host.data(), data_, n_ * sizeof(T)));
    side_.done(side_.wait());
    return Doubles(host.begin(), host.end());
  }

 private:
  Side& side_;
  size_t n_;
  T* data_ = nullptr;
};

template <class T>
constexpr double kSideTolerance = sizeof(T) == 4 ? 2e-6 : 1e-12;

// Numbers whose squares or sums leave the range of the type; of few digits, so that sums of
// them times a power of two are exact.
template <class T>
struct Far {
  static constexpr double kLarge = sizeof(T) == 4 ? 0x1p66 : 0x1p530;
  static constexpr double kLargest = sizeof(T) == 4 ? 0x1.8p127 : 0x1.8p1023;
  static constexpr double kSmall = sizeof(T) == 4 ? 0x1p-100 : 0x1p-960;
};

// run(Side&) returns one or more lists of outputs, each compared on its own.
class Comparison {
 public:
  Comparison(const bptt_backend& cuda, const bptt_backend& cpu) : cuda_(cuda), cpu_(cpu) {}

  template <class Run>
  void operator()(const std::string& name, double tolerance, const Run& run) {
    const std::vector<Doubles> actual = run(cuda_), expected = run(cpu_);
    CHECK(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size() && i < expected.size(); ++i)
      check_close(name + " output " + std::to_string(i), actual[i], expected[i], tolerance);
  }

  Side& cuda() { return cuda_; }
  Side& cpu() { return cpu_; }
  // For results that are the same operation by operation, where the CPU has a fused
  // multiply-add.
  double exact() const { return std::strcmp(cpu_.ops.isa, "baseline") == 0 ? 1e-6 : 0; }

 private:
  Side cuda_, cpu_;
};

using Outputs = std::vector<Doubles>;

}  // namespace bptt_test
