// The CPU backend and its team of compute threads.
#pragma once

#include <string>
#include <vector>

#include "backend.h"

namespace bptt {

// Kernels of the best instruction set this machine has, or of the one that the
// environment variable BPTT_ISA names. Throws std::invalid_argument where that
// names none, listing what there is. The choice is made once per process.
const bptt_backend* cpu_backend();

// The tables this machine can run, best first.
std::vector<const bptt_ops*> cpu_tables();

// "AMD EPYC ...", or "" where unknown.
std::string cpu_name();

// Threads of the team that all streams of the process share: 1 to kMaxThreads.
constexpr int kMaxThreads = 256;
int num_threads();
void set_num_threads(int threads);

// The machine's limits, measured for about `seconds` with the whole team and the instruction
// set of cpu_backend(): float32 operations per second of fused multiply-adds in registers
// (two operations each), and bytes per second read from memory. The caller waits meanwhile;
// the measurement is of the machine only while nothing else runs on it, no stream of this
// process either.
double measure_multiply_adds(double seconds);
double measure_reads(double seconds);

}  // namespace bptt
