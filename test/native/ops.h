// Runs one operation through the table of every instruction set this machine
// has, on 1, 2 and 3 threads, and compares with a plain computation in double.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "backend.h"
#include "bptt/cpu.h"
#include "check.h"
#include "cpu/device.h"
#include "cpu/threads/team.h"

namespace bptt_test {

using bptt::cpu_tables;

using Doubles = std::vector<double>;

template <class T>
constexpr bptt_dtype dtype_of = sizeof(T) == 4 ? BPTT_FLOAT32 : BPTT_FLOAT64;
template <>
inline constexpr bptt_dtype dtype_of<int32_t> = BPTT_INT32;

// A table with the context that its entries take.
struct Backend {
  const bptt_ops& ops;
  bptt_context context{};
  bptt::cpu::CpuDevice device;

  explicit Backend(const bptt_ops* table) : ops(*table) { context.device = &device; }
};

// Numbers in an array of their own: one element off any alignment, and where the address
// sanitizer sees an access before or past them.
template <class T>
class Array {
 public:
  explicit Array(size_t n, T value = T(-77)) : storage_(n + 1, value) {}
  explicit Array(const Doubles& values) : storage_(values.size() + 1) {
    for (size_t i = 0; i < values.size(); ++i) storage_[i + 1] = static_cast<T>(values[i]);
  }
  operator T*() { return storage_.data() + 1; }
  size_t size() const { return storage_.size() - 1; }
  Doubles doubles() const { return Doubles(storage_.begin() + 1, storage_.end()); }

 private:
  std::vector<T> storage_;
};

// Random values that float and double both hold exactly.
inline Doubles random_values(size_t n, double low = -2, double high = 2, unsigned seed = 1) {
  std::mt19937 engine(seed + static_cast<unsigned>(n));
  std::uniform_real_distribution<double> distribution(low, high);
  Doubles values(n);
  for (double& v : values) v = static_cast<float>(distribution(engine));
  return values;
}

inline bool same_bits(const Doubles& a, const Doubles& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

inline double largest(const Doubles& values) {
  double most = 0;
  for (double v : values)
    if (std::isfinite(v) && std::fabs(v) > most) most = std::fabs(v);
  return most;
}

// |actual - expected| <= tolerance * the largest expected magnitude; NaN and
// infinities must match.
inline void check_close(const std::string& name, const Doubles& actual, const Doubles& expected,
                        double tolerance) {
  CHECK_MSG(actual.size() == expected.size(), "%s: %zu values, expected %zu", name.c_str(),
            actual.size(), expected.size());
  const double allowed = tolerance * largest(expected);
  for (size_t i = 0; i < actual.size() && i < expected.size(); ++i) {
    const double a = actual[i], e = expected[i];
    const bool ok = std::isnan(e)   ? std::isnan(a)
                    : std::isinf(e) ? a == e
                                    : std::fabs(a - e) <= allowed;
    CHECK_MSG(ok, "%s[%zu]: %.17g, expected %.17g, allowed error %g", name.c_str(), i, a, e,
              allowed);
    if (!ok) return;
  }
}

template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 1e-6 : 1e-14;

// run(Backend&) returns the outputs. All thread counts must agree bit for bit, and
// so must all instruction sets with a fused multiply-add.
template <class Run>
void check_everywhere(const std::string& name, const Doubles& expected, double tolerance,
                      const Run& run) {
  Doubles fused;
  for (const bptt_ops* table : cpu_tables()) {
    const std::string where = name + " on " + table->isa;
    Doubles first;
    for (int threads = 1; threads <= 3; ++threads) {
      bptt::cpu::Team::instance().resize(threads, true);
      Backend backend(table);
      const Doubles actual = run(backend);
      if (threads == 1) {
        check_close(where, actual, expected, tolerance);
        first = actual;
      } else {
        CHECK_MSG(same_bits(actual, first), "%s: %d threads give other bits", where.c_str(),
                  threads);
      }
    }
    if (std::strcmp(table->isa, "baseline") == 0) continue;
    if (fused.empty()) fused = first;
    CHECK_MSG(same_bits(first, fused), "%s gives other bits", where.c_str());
  }
}

// Dense row-major strides.
inline std::vector<int64_t> dense(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0; step *= shape[d]) strides[d] = step;
  return strides;
}

inline int64_t product(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

// Offset of flat position i of the shape under the strides.
inline int64_t offset_of(int64_t i, const std::vector<int64_t>& shape,
                         const std::vector<int64_t>& strides) {
  int64_t at = 0;
  for (size_t d = shape.size(); d-- > 0; i /= shape[d]) at += i % shape[d] * strides[d];
  return at;
}

// Rows of classes inside [outer, classes, inner].
struct Lines {
  int64_t outer, classes, inner;
  int64_t size() const { return outer * classes * inner; }
  int64_t rows() const { return outer * inner; }
  // Position of class c of row r.
  int64_t at(int64_t r, int64_t c) const { return (r / inner * classes + c) * inner + r % inner; }
};

inline const Lines kLines[] = {{1, 1, 1},    {4, 3, 1}, {3, 17, 1}, {5, 129, 1}, {400, 65, 1},
                               {2, 5000, 1}, {2, 5, 3}, {3, 17, 8}, {1, 9, 70},  {2, 33, 129},
                               {3, 4200, 5}, {0, 3, 1}, {3, 4, 0},  {2, 1, 9}};

inline double log_sum_exp(const Lines& s, const Doubles& x, int64_t r) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t c = 0; c < s.classes; ++c) most = std::fmax(most, x[s.at(r, c)]);
  for (int64_t c = 0; c < s.classes; ++c) sum += std::exp(x[s.at(r, c)] - most);
  return most + std::log(sum);
}

// The sum of docs/numerics.md, written out.
template <class T>
T pair_sum(std::vector<T> parts) {
  while (parts.size() > 1) {
    std::vector<T> sums;
    for (size_t i = 0; i < parts.size(); i += 2)
      sums.push_back(i + 1 < parts.size() ? parts[i] + parts[i + 1] : parts[i]);
    parts = sums;
  }
  return parts.empty() ? 0 : parts[0];
}

template <class T>
T tree_sum(const T* x, int64_t n) {
  std::vector<T> blocks;
  for (int64_t block = 0; block < n; block += 4096) {
    T lanes[16] = {};
    for (int lane = 0; lane < 16; ++lane) {
      std::vector<T> chunks;
      for (int64_t i = block + lane; i < n && i < block + 4096; i += 16) {
        if ((i - block) % 256 < 16) chunks.push_back(0);
        chunks.back() += x[i];
      }
      lanes[lane] = pair_sum(chunks);
    }
    for (int width = 8; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    blocks.push_back(lanes[0]);
  }
  return pair_sum(blocks);
}

// d loss / d x by central differences of a plain function in double.
template <class F>
Doubles numeric_gradient(Doubles x, const F& loss) {
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i], h = 1e-5;
    x[i] = kept + h;
    const double above = loss(x);
    x[i] = kept - h;
    gradient[i] = (above - loss(x)) / (2 * h);
    x[i] = kept;
  }
  return gradient;
}

}  // namespace bptt_test
