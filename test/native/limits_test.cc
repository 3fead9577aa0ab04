// The limits are measured on any number of threads. How large they are depends on the machine.
#include "bptt/cpu.h"
#include "check.h"

int main() {
  for (int threads : {1, 2}) {
    bptt::set_num_threads(threads);
    const double flops = bptt::measure_multiply_adds(0.02), bytes = bptt::measure_reads(0.02);
    CHECK(flops > 1e6 && flops < 1e15);
    CHECK(bytes > 1e6 && bytes < 1e15);
  }
  return bptt_test::finish();
}
