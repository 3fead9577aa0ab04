// Recurrent layers of the CUDA backend against the plain reference: our own host code and
// kernels, with the libraries by their contract (the fakes of this folder) or on a GPU.
#include "backend/device_run.h"
#include "backend/recurrent_cases.h"

using namespace bptt_test;

namespace {

void test_random(const bptt_ops* ops) {
  std::mt19937 random(11);
  for (uint32_t i = 0; i < 200; ++i) {
    RunOptions options;
    options.packed = i % 3 != 0;
    check_case(ops, random_case(random), i, options);
  }
}

// No step, no row, and no row with a step.
void test_empty(const bptt_ops* ops) {
  for (const bptt_cell cell : kCells) {
    RecurrentCase at;
    at.cell = cell;
    at.B = 3, at.I = 2, at.H = 3, at.L = 2, at.D = 2;
    at.T = 0;
    check_case(ops, at, 1);
    at.T = 2, at.B = 0;
    check_case(ops, at, 2);
    at.B = 3, at.lengths = {0, 0, 0};
    check_case(ops, at, 3);
  }
}

// More units than a block has threads, several times: kernels stride (BPTT_FAKE_CUDA_BLOCKS).
void test_wide(const bptt_ops* ops) {
  for (const bptt_cell cell : {BPTT_LSTM, BPTT_GRU_RESET_BEFORE, BPTT_LSTM_PEEPHOLE}) {
    for (const bool plain : {true, false}) {
      RecurrentCase at;
      at.cell = cell;
      at.T = 2, at.B = 37, at.I = 3, at.H = 43, at.L = 2;
      at.bias = at.states = !plain;
      if (!plain) {
        at.dropout = 0.3;
        for (int64_t b = 0; b < at.B; ++b) at.lengths.push_back(static_cast<int32_t>(b % 3));
      }
      check_case(ops, at, 3);
    }
  }
}

}  // namespace

int main() {
  return test_on_device([](const bptt_backend&, const bptt_ops* ops) {
    test_random(ops);
    test_empty(ops);
    test_wide(ops);
  });
}
