// The marketing name of the processor, for `bptt info` and benchmark reports.
#include <cstdint>
#include <string>

#include "bptt/cpu.h"
#include "cpu/simd/x86.h"

namespace bptt {

#if BPTT_X86

// 48 letters in the registers of three leaves, padded with blanks.
std::string cpu_name() {
  constexpr uint32_t kBrand = 0x80000002;
  uint32_t registers[4 * 3 + 1] = {};
  cpu::cpuid(0x80000000, registers);
  if (registers[0] < kBrand + 2) return "";
  for (uint32_t i = 0; i < 3; ++i) cpu::cpuid(kBrand + i, registers + size_t{4} * i);
  registers[12] = 0;
  const std::string name(reinterpret_cast<const char*>(registers));
  const size_t begin = name.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return name.substr(begin, name.find_last_not_of(' ') + 1 - begin);
}

#else

std::string cpu_name() { return ""; }

#endif

}  // namespace bptt
