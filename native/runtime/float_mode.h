// The floating-point mode of kernels: denormals count as zero, in and out.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(_M_ARM64)
#include <intrin.h>
#endif

namespace bptt {

// Sets the mode of this thread while it lives and restores what was.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(read()) {
    if ((saved_ & kFlush) != kFlush) write(saved_ | kFlush);
  }
  ~FlushDenormals() {
    if ((saved_ & kFlush) != kFlush) write(saved_);
  }
  FlushDenormals(const FlushDenormals&) = delete;

 private:
#if defined(__x86_64__) || defined(_M_X64)
  static constexpr uint64_t kFlush = 0x8040;  // MXCSR: flush to zero, denormals are zero
  static uint64_t read() { return _mm_getcsr(); }
  static void write(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(_M_ARM64)
  static constexpr uint64_t kFlush = uint64_t{1} << 24;  // FPCR.FZ
  static uint64_t read() { return _ReadStatusReg(ARM64_FPCR); }
  static void write(uint64_t mode) { _WriteStatusReg(ARM64_FPCR, mode); }
#elif defined(__aarch64__)
  static constexpr uint64_t kFlush = uint64_t{1} << 24;  // FPCR.FZ
  static uint64_t read() {
    uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void write(uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
  static constexpr uint64_t kFlush = 0;
  static uint64_t read() { return 0; }
  static void write(uint64_t) {}
#endif

  const uint64_t saved_;
};

}  // namespace bptt
