// Recurrent layers of the CUDA backend against the plain reference, on the fakes of this
// folder: our own host code and kernels, the libraries' parts by their contract.
#include "bptt/cuda.h"
#include "device_run.h"
#include "native/recurrent_run.h"

using namespace bptt_test;

namespace {

constexpr bptt_cell kCells[] = {BPTT_RNN_TANH, BPTT_RNN_RELU, BPTT_LSTM, BPTT_GRU,
                                BPTT_GRU_RESET_BEFORE};
constexpr const char* kGradients[] = {"dx",         "dh0",      "dc0",      "dweight_ih",
                                      "dweight_hh", "dbias_ih", "dbias_hh", "dweight_hr"};

void compare(const Results& got, const Results& want, double limit, const RecurrentCase& at) {
  const auto check = [&](const auto& a, const auto& b, const char* name) {
    const double error = error_of(a, b);
    CHECK_MSG(error <= limit, "%s: %s is off by %g", name_of(at).c_str(), name, error);
  };
  check(got.y, want.y, "y");
  check(got.hn, want.hn, "hn");
  check(got.cn, want.cn, "cn");
  int i = 0;
  for_each_tensor(got.gradients, want.gradients, [&](const auto& a, const auto& b) {
    check(a, b, kGradients[i < 3 ? i : 3 + (i - 3) % 5]);
    ++i;
  });
}

void check_case(const bptt_ops* ops, const RecurrentCase& at, uint32_t seed,
                const RunOptions& options = {}) {
  const Problem problem = make_problem(at, seed);
  const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
  compare(run<float>(ops, problem, options), want, 5e-6, at);
  compare(run<double>(ops, problem, options), want, 1e-12, at);
}

RecurrentCase random_case(std::mt19937& random) {
  const auto below = [&](int n) { return static_cast<int64_t>(random() % n); };
  RecurrentCase at;
  at.cell = kCells[below(5)];
  at.T = 1 + below(5), at.B = 1 + below(4), at.I = 1 + below(5), at.H = 1 + below(6);
  at.L = 1 + below(3), at.D = 1 + below(2);
  if (at.cell == BPTT_LSTM && at.H > 1 && below(2)) at.P = 1 + below(static_cast<int>(at.H) - 1);
  at.bias = below(4) > 0;
  at.states = below(2) > 0;
  at.batch_first = below(2) > 0;
  at.dropout = below(2) ? 0.4 : 0;
  if (below(2)) {
    for (int64_t b = 0; b < at.B; ++b) {
      at.lengths.push_back(static_cast<int32_t>(below(static_cast<int>(at.T) + 1)));
    }
  }
  return at;
}

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
  for (const bptt_cell cell : {BPTT_LSTM, BPTT_GRU_RESET_BEFORE}) {
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
  char message[4096] = "";
  const bptt_backend* backend = bptt_cuda_backend(message, sizeof(message));
  CHECK_MSG(backend, "%s", message);
  if (!backend) return finish();
  bptt_context context{};
  const bptt_code code = backend->open(&context, 0);
  CHECK_MSG(code == BPTT_OK, "%s", context.message);
  if (code != BPTT_OK) return finish();
  {
    const DeviceTable device(*backend, context);
    test_random(device.table());
    test_empty(device.table());
    test_wide(device.table());
  }
  backend->close(&context);
  return finish();
}
