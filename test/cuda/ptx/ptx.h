// nvcc's own code for the kernels, run on the CPU: the PTX text is parsed, and each thread of
// the emulation interprets it. Every access must lie within one live buffer, one array of shared
// or local memory, one table of constants or the arguments, and be aligned; an instruction that is
// not known here is refused.
//
// Registers are all ones until they are written: NaN, if they are read as a float.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bptt_ptx {

class Thread;
struct Instruction;
struct Kernel;
using Handler = void (*)(Thread&, const Instruction&);

struct Operand {
  enum Kind { kRegister, kValue, kSpecial } kind = kValue;
  uint64_t value = 0;                 // register number, or what is read
  const unsigned* special = nullptr;  // %tid.x and others
};

constexpr size_t kMostOperands = 6;

// Operands in the order of the text. "[base+offset]" is two of them, a vector as many as it
// has elements, "%r1|%p1" two; a branch has the number of its target. A call has the addresses of
// the variable that takes its result and of its arguments.
struct Instruction {
  Handler handler = nullptr;
  std::array<Operand, kMostOperands> operands;
  const Kernel* callee = nullptr;
  int guard = -1;  // predicate register
  bool guard_negated = false;
  int line = 0;
};

// The spaces of addresses that are not the host's: arguments, shared memory, and what each thread
// has of its own in a kernel or function.
constexpr uint64_t kArgumentsBegin = 0x10000, kSharedBegin = 0x100, kLocalBegin = 0x100000;

// A variable of shared or local memory.
struct Array {
  std::string name;
  uint64_t begin;
  size_t bytes, alignment;
};

// Or a function that kernels call, of one result.
struct Kernel {
  std::string name;
  std::vector<Array> arguments;
  size_t argument_bytes = 0;
  int registers = 0;
  std::vector<Instruction> code;
  std::vector<Array> shared;
  std::vector<Array> local;  // a function's result is the first
  uint64_t local_end = kLocalBegin;
  const class Module* module = nullptr;
};

// Constants of a module.
struct Table {
  struct alignas(16) Line {
    unsigned char bytes[16];
  };
  std::vector<Line> lines;
  size_t bytes = 0;

  uint64_t address() const { return reinterpret_cast<uint64_t>(lines.data()); }
};

class Module {
 public:
  // Throws std::runtime_error with the line and what is wrong with it.
  Module(const std::string& text, std::string name);
  Module(const Module&) = delete;

  const Kernel* find(const std::string& kernel) const;
  // Whether the address is one of constants, `bytes` of which follow.
  bool has_constants(uint64_t address, size_t bytes) const;
  // "kernels.ptx:12: ret;"
  std::string describe(int line) const;
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::vector<std::string> lines_;
  std::map<std::string, Kernel> kernels_, functions_;
  std::map<std::string, Table> tables_;
};

// One thread, from the first instruction to its return.
void run_thread(const Kernel& kernel, const void* arguments);

// Null where the name is not known: "add.s64", "mov.b64 {2}@0" (operand 0 is a pair).
Handler find_handler(const std::string& name);
// The place of "%tid.x" and others, or null.
const unsigned* find_special(const std::string& name);

}  // namespace bptt_ptx
