// A thread that interprets PTX: its registers and what it may touch.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "ptx/ptx.h"

namespace bptt_ptx {

class Thread {
 public:
  Thread(const Kernel& kernel, const void* arguments);

  // The value of an operand as a T: the lowest bytes of a register, any bit of a predicate.
  template <class T>
  T get(const Operand& operand) const {
    const uint64_t bits = operand.kind == Operand::kRegister ? registers_[operand.value]
                          : operand.kind == Operand::kValue  ? operand.value
                                                             : *operand.special;
    if constexpr (std::is_same_v<T, bool>) return bits != 0;
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
  }
  template <class T>
  void set(const Operand& operand, T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    registers_[operand.value] = bits;
  }

  void run();
  void call(const Instruction& instruction);
  void jump(uint64_t instruction) { next_ = instruction; }
  void end() { next_ = kernel_.code.size(); }

  // Host memory of an address that bytes may be read at, or written. The process ends as a
  // broken contract where they may not.
  void* global(const Instruction& instruction, uint64_t address, size_t bytes) const;
  void* shared(const Instruction& instruction, uint64_t address, size_t bytes) const;
  void* local(const Instruction& instruction, uint64_t address, size_t bytes);
  const void* constants(const Instruction& instruction, uint64_t address, size_t bytes) const;
  const void* argument(const Instruction& instruction, uint64_t address, size_t bytes) const;

  bool carry = false;  // the flag CC.CF

  [[noreturn]] void fail(const Instruction& instruction, const std::string& what) const;
  const Kernel& kernel() const { return kernel_; }

 private:
  const Kernel& kernel_;
  const void* arguments_;
  std::vector<uint64_t> registers_;
  std::vector<unsigned char> local_;
  size_t next_ = 0;
};

using Handlers = std::map<std::string, Handler>;
void add_arithmetic(Handlers& handlers);
void add_conversions(Handlers& handlers);

}  // namespace bptt_ptx
