// Divides a buffer among its uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace bptt {

// Lays slices one after another, each aligned.
class Slices {
 public:
  explicit Slices(int64_t scalar, int64_t alignment = 64)
      : scalar_(scalar), alignment_(alignment) {}

  // Offset in bytes of a slice of so many scalars: the product of sizes.
  size_t take(std::initializer_list<int64_t> sizes) {
    const int64_t begin = bytes_;
    int64_t bytes = scalar_;
    for (int64_t size : sizes) {
      if (size == 0) return static_cast<size_t>(begin);
    }
    for (int64_t size : sizes) {
      if (bytes > kLimit / size) {
        overflow_ = true;
        return 0;
      }
      bytes *= size;
    }
    return take_bytes(bytes);
  }
  size_t take_bytes(int64_t bytes) {
    const int64_t begin = bytes_;
    bytes = (bytes + alignment_ - 1) / alignment_ * alignment_;
    if (bytes_ > kLimit - bytes) {
      overflow_ = true;
      return 0;
    }
    bytes_ += bytes;
    return static_cast<size_t>(begin);
  }

  int64_t bytes() const { return bytes_; }
  bool overflow() const { return overflow_; }
  static constexpr int64_t kLimit = std::numeric_limits<ptrdiff_t>::max() / 2;

 private:
  int64_t scalar_, alignment_;
  int64_t bytes_ = 0;
  bool overflow_ = false;
};

}  // namespace bptt
