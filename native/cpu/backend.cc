// The CPU as a backend: memory, copies, and the kernels of one instruction set.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "bptt/cpu.h"
#include "cpu/device.h"
#include "cpu/isa.h"
#include "cpu/scratch.h"
#include "cpu/threads/team.h"

namespace bptt {

namespace cpu {
namespace {

bptt_code fail(bptt_context* context, bptt_code code, const char* message) {
  std::snprintf(context->message, sizeof(context->message), "%s", message);
  return code;
}

bptt_code open(bptt_context* context, int device_index) {
  if (device_index != 0) return fail(context, BPTT_DEVICE, "there is one CPU device, number 0");
  context->device = new (std::nothrow) CpuDevice;
  return context->device ? BPTT_OK : fail(context, BPTT_OUT_OF_MEMORY, "out of memory");
}

void close(bptt_context* context) { delete static_cast<CpuDevice*>(context->device); }

bptt_code allocate(bptt_context* context, size_t bytes, void** out) {
  *out = allocate_host(bytes);
  return *out ? BPTT_OK : fail(context, BPTT_OUT_OF_MEMORY, "out of memory");
}

void release(bptt_context*, void* pointer) { free_host(pointer); }

void trim(bptt_context* context) {
  release_scratch(context);
  trim_heap();
}

bptt_code upload(bptt_context*, void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
  return BPTT_OK;
}

bptt_code download(bptt_context*, void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
  return BPTT_OK;
}

bptt_code wait(bptt_context*) { return BPTT_OK; }

const bptt_ops& choose_table() {
  const std::vector<const bptt_ops*> tables = cpu_tables();
  const char* wanted = std::getenv("BPTT_ISA");
  if (!wanted || !*wanted) return *tables.front();
  std::string names;
  for (const bptt_ops* table : tables) {
    if (std::strcmp(table->isa, wanted) == 0) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->isa);
  }
  throw std::invalid_argument("BPTT_ISA=" + std::string(wanted) +
                              " is not an instruction set of this machine, which has " + names);
}

}  // namespace
}  // namespace cpu

const bptt_backend* cpu_backend() {
  static const bptt_backend backend = [] {
    bptt_backend b{};
    b.version = BPTT_BACKEND_VERSION;
    b.name = "cpu";
    b.open = cpu::open;
    b.close = cpu::close;
    b.allocate = cpu::allocate;
    b.release = cpu::release;
    b.trim = cpu::trim;
    b.upload = cpu::upload;
    b.download = cpu::download;
    b.wait = cpu::wait;
    b.ops = cpu::choose_table();
    return b;
  }();
  return &backend;
}

std::vector<const bptt_ops*> cpu_tables() {
  std::vector<const bptt_ops*> tables;
  for (const auto find : cpu::kInstructionSets) {
    if (const cpu::InstructionSet* set = find()) tables.push_back(set->kernels);
  }
  return tables;
}

int num_threads() { return cpu::Team::instance().size(); }
void set_num_threads(int threads) { cpu::Team::instance().resize(threads); }

}  // namespace bptt
