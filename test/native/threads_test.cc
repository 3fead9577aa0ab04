// Recurrent layers on more threads than rows divide by, over several chunks of
// time, ragged and not: for ThreadSanitizer, and for bits that one thread gives.

#include "cpu/isa.h"
#include "recurrent_run.h"

namespace {

using namespace bptt_test;

struct Size {
  int64_t T, B, I, H;
};

// Rows split among threads, units split among threads, and a chunk of many steps.
constexpr Size kSizes[] = {{48, 37, 11, 66}, {9, 3, 11, 100}, {30, 20, 5, 64}};

RecurrentCase make_case(bptt_cell cell, const Size& size, bool ragged, bool projected) {
  RecurrentCase at;
  at.cell = cell;
  at.T = size.T;
  at.B = size.B;
  at.I = size.I;
  at.H = size.H;
  at.P = projected ? size.H / 2 : 0;
  at.L = 2;
  at.D = 2;
  at.dropout = 0.25;
  for (int64_t b = 0; ragged && b < size.B; ++b) {
    at.lengths.push_back(static_cast<int32_t>((b * 5 + 3) % (size.T + 1)));
  }
  return at;
}

void test(const bptt_ops* ops, const RecurrentCase& at) {
  bptt::cpu::Team& team = bptt::cpu::Team::instance();
  const Problem problem = make_problem(at, 3);
  for (bool training : {false, true}) {
    RunOptions options;
    options.training = options.backward = training;
    team.resize(1);
    const Results alone = run<float>(ops, problem, options);
    for (int threads : {2, 3}) {
      team.resize(threads, true);
      CHECK_MSG(same_bits(run<float>(ops, problem, options), alone), "%s %s, %d threads%s",
                name_of(at).c_str(), ops->isa, threads, training ? ", training" : "");
    }
  }
}

}  // namespace

int main() {
  const bptt_ops* ops = bptt::cpu::baseline_set()->kernels;
  for (const auto* better : {bptt::cpu::neon_set(), bptt::cpu::avx2_set()}) {
    if (better) ops = better->kernels;
  }
  for (bptt_cell cell : {BPTT_RNN_TANH, BPTT_LSTM, BPTT_GRU, BPTT_GRU_RESET_BEFORE}) {
    for (const Size& size : kSizes) {
      for (bool ragged : {false, true}) test(ops, make_case(cell, size, ragged, false));
    }
  }
  test(ops, make_case(BPTT_LSTM, kSizes[0], true, true));
  return finish();
}
