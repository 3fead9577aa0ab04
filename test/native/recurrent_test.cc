// Recurrent layers of every instruction set of this machine against the plain
// reference, and what docs/equations.md and docs/numerics.md promise of their bits.
#include "bptt/cpu.h"
#include "cpu/isa.h"
#include "recurrent_run.h"

using namespace bptt_test;
using bptt::cpu_tables;

namespace {

// Largest errors of the tensor's largest magnitude; one table with docs/numerics.md.
struct Tolerance {
  double output, gradient;
};
constexpr Tolerance kFloat32 = {2e-6, 5e-6};
constexpr Tolerance kFloat64 = {1e-12, 1e-12};

double worst[2][2];  // [dtype][output, gradient], printed at the end

void compare(const Results& got, const Results& want, bool is64, const char* isa,
             const RecurrentCase& at) {
  const Tolerance& limit = is64 ? kFloat64 : kFloat32;
  const auto check = [&](const std::vector<double>& a, const std::vector<double>& b, bool gradient,
                         const char* name) {
    const double error = error_of(a, b);
    worst[is64][gradient] = std::fmax(worst[is64][gradient], error);
    CHECK_MSG(error <= (gradient ? limit.gradient : limit.output), "%s %s float%d: %s is off by %g",
              name_of(at).c_str(), isa, is64 ? 64 : 32, name, error);
  };
  check(got.y, want.y, false, "y");
  check(got.hn, want.hn, false, "hn");
  check(got.cn, want.cn, false, "cn");
  int i = 0;
  for_each_tensor(got.gradients, want.gradients, [&](const auto& a, const auto& b) {
    check(a, b, true, gradient_name(i++).c_str());
  });
}

void check_case(const RecurrentCase& at, uint32_t seed) {
  const Problem problem = make_problem(at, seed);
  const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
  for (const bptt_ops* ops : cpu_tables()) {
    compare(run<float>(ops, problem), want, false, ops->isa, at);
    compare(run<double>(ops, problem), want, true, ops->isa, at);
  }
}

// The tape's own gradients, against differences of the reference's forward.
void test_reference() {
  for (bptt_cell cell : kCells) {
    RecurrentCase at;
    at.cell = cell;
    at.T = 3, at.B = 2, at.I = 2, at.H = 3, at.L = 2, at.D = 2;
    at.P = has_c(cell) ? 2 : 0;
    at.lengths = {2, 3};
    Problem problem = make_problem(at, 5);
    const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
    const auto loss = [&] {
      const Outputs<double> out = reference_forward(at, problem.in);
      double sum = 0;
      for (size_t i = 0; i < out.y.size(); ++i) sum += out.y[i] * problem.dy[i];
      for (size_t i = 0; i < out.hn.size(); ++i) sum += out.hn[i] * problem.dhn[i];
      for (size_t i = 0; has_c(cell) && i < out.cn.size(); ++i) {
        sum += out.cn[i] * problem.dcn[i];
      }
      return sum;
    };
    for_each_tensor(problem.in, want.gradients, [&](std::vector<double>& v, const auto& grad) {
      for (size_t i = 0; i < v.size(); ++i) {
        const double eps = 1e-5, old = v[i];
        v[i] = old + eps;
        const double up = loss();
        v[i] = old - eps;
        const double down = loss();
        v[i] = old;
        CHECK(std::fabs((up - down) / (2 * eps) - grad[i]) < 1e-7);
      }
    });
  }
}

// Instrumented code takes twenty times as long: of many cases every such one alone.
#if defined(BPTT_SANITIZED)
constexpr uint32_t kEveryCase = 17;  // which no size takes turns with
constexpr uint32_t kEverySeed = 3;
constexpr int kEveryThreads = 2;
#else
constexpr uint32_t kEveryCase = 1;
constexpr uint32_t kEverySeed = 1;
constexpr int kEveryThreads = 1;
#endif

// Every combination of options; the sizes take turns.
void test_grid() {
  const int64_t hidden[] = {1, 3, 7, 9, 17, 8}, inputs[] = {1, 5, 3, 17, 4};
  uint32_t number = 0;
  for (bptt_cell cell : kCells) {
    for (int bits = 0; bits < 128; ++bits) {
      for (int kind = 0; kind < 4; ++kind) {  // none, ragged, zeros among them, all zero
        RecurrentCase at;
        at.cell = cell;
        at.L = 1 + (bits & 1);
        at.D = 1 + (bits >> 1 & 1);
        at.bias = bits >> 2 & 1;
        at.states = bits >> 3 & 1;
        at.batch_first = bits >> 4 & 1;
        at.dropout = bits >> 5 & 1 ? 0.3 : 0;
        at.T = 1 + number % 5;
        at.B = 1 + number % 4;
        at.I = inputs[number % 5];
        at.H = hidden[number % 6];
        if (bits >> 6 & 1) {
          if (!has_c(cell) || at.H == 1) continue;
          at.P = (at.H + 1) / 2;
        }
        if (at.dropout > 0 && at.L == 1) continue;
        if (++number % kEveryCase != 0) continue;
        for (int64_t b = 0; kind > 0 && b < at.B; ++b) {
          const int64_t length =
              kind == 1 ? 1 + (b * 7 + number) % at.T : (b + number) % (at.T + 1);
          at.lengths.push_back(kind == 3 ? 0 : static_cast<int32_t>(length));
        }
        check_case(at, number);
      }
    }
  }
  std::printf("grid: %u cases\n", number);
}

// Sizes past a tile, a panel, a chunk of steps and a block of rows.
void test_large() {
  for (bptt_cell cell : kCells) {
    RecurrentCase at;
    at.cell = cell;
    at.T = 40, at.B = 9, at.I = 10, at.H = 33, at.D = 2;
    at.lengths = {40, 3, 39, 17, 0, 40, 8, 25, 33};
    check_case(at, 1);
    at = {};
    at.cell = cell;
    at.T = 3, at.B = 33, at.I = 65, at.H = 70;
    check_case(at, 2);
    at = {};
    at.cell = cell;
    at.T = 70, at.B = 8, at.I = 3, at.H = 64;
    at.P = has_c(cell) ? 40 : 0;
    check_case(at, 3);
  }
}

// Empty batches and sequences.
void test_empty() {
  for (bptt_cell cell : kCells) {
    for (int i = 0; i < 3; ++i) {
      RecurrentCase at;
      at.cell = cell;
      at.T = i == 0 ? 3 : 0;
      at.B = i == 1 ? 3 : 0;
      at.I = 2, at.H = 5, at.L = 2, at.D = 2;
      check_case(at, 1);
    }
  }
}

Problem shaped(bptt_cell cell, int64_t T, int64_t B, int64_t H, uint32_t seed, bool ragged) {
  RecurrentCase at;
  at.cell = cell;
  at.T = T, at.B = B, at.I = 11, at.H = H, at.L = 2, at.D = 2;
  at.dropout = 0.25;
  at.P = has_c(cell) && seed % 2 ? H / 2 : 0;
  for (int64_t b = 0; ragged && b < B; ++b) at.lengths.push_back(int32_t((b * 5 + 3) % (T + 1)));
  return make_problem(at, seed);
}

// Any number of threads gives the same bits, split by rows or by units.
void test_threads() {
  bptt::cpu::Team& team = bptt::cpu::Team::instance();
  const int before = team.size();
  for (const bptt_ops* ops : cpu_tables()) {
    for (bptt_cell cell : kCells) {
      for (uint32_t seed = 0; seed < 4; seed += kEverySeed) {
        const Problem problem = seed < 2 ? shaped(cell, 6, 37, 64, seed, seed == 1)
                                         : shaped(cell, 5, 3, 260, seed, seed == 3);
        Results first[2];
        for (int threads = 1; threads <= 3; threads += kEveryThreads) {
          team.resize(threads, true);
          const Results a = run<float>(ops, problem);
          const Results b = run<double>(ops, problem);
          if (threads == 1) {
            first[0] = a;
            first[1] = b;
          }
          CHECK_MSG(same_bits(a, first[0]) && same_bits(b, first[1]), "%s %s on %d threads",
                    name_of(problem.at).c_str(), ops->isa, threads);
        }
      }
    }
  }
  team.resize(before, true);
}

// Instruction sets with a fused multiply-add agree bit for bit.
void test_tables() {
  for (bptt_cell cell : kCells) {
    const Problem problem = shaped(cell, 5, 7, 37, 1, true);
    const Results* first = nullptr;
    Results kept;
    for (const bptt_ops* ops : cpu_tables()) {
      if (ops == bptt::cpu::baseline_set()->kernels) continue;
      const Results got = run<float>(ops, problem);
      if (!first) {
        kept = got;
        first = &kept;
      }
      CHECK_MSG(same_bits(got, *first), "%s %s", name_of(problem.at).c_str(), ops->isa);
    }
  }
}

std::vector<double> slice(const std::vector<double>& v, int64_t outer, int64_t rows, int64_t row,
                          int64_t n) {
  std::vector<double> out;
  for (int64_t o = 0; o < outer; ++o) {
    const auto from = v.begin() + (o * rows + row) * n;
    out.insert(out.end(), from, from + n);
  }
  return out;
}

// A row gives the same bits alone as in a batch, with other lengths around it or not.
void test_rows() {
  RunOptions options;
  options.training = options.backward = false;
  for (const bptt_ops* ops : cpu_tables()) {
    for (bptt_cell cell : kCells) {
      for (bool ragged : {false, true}) {
        Problem problem = shaped(cell, 4, 33, 19, 1, ragged);
        const RecurrentCase& at = problem.at;
        const Results all = run<float>(ops, problem, options);
        for (int64_t b = 0; b < at.B; ++b) {
          Problem alone = problem;
          alone.at.B = 1;
          const int64_t states = at.L * at.D, Hout = at.Hout();
          if (ragged) alone.at.lengths = {at.lengths[b]};
          alone.in.x = slice(problem.in.x, at.T, at.B, b, at.I);
          alone.in.h0 = slice(problem.in.h0, states, at.B, b, Hout);
          alone.in.c0 = slice(problem.in.c0, states, at.B, b, at.H);
          alone.dy.resize(at.T * at.D * Hout);
          alone.dhn.resize(states * Hout);
          alone.dcn.resize(states * at.H);
          const Results one = run<float>(ops, alone, options);
          CHECK_MSG(same_bits(one.y, slice(all.y, at.T, at.B, b, at.D * Hout)) &&
                        same_bits(one.hn, slice(all.hn, states, at.B, b, Hout)) &&
                        (all.cn.empty() || same_bits(one.cn, slice(all.cn, states, at.B, b, at.H))),
                    "%s %s row %d", name_of(at).c_str(), ops->isa, int(b));
        }
      }
    }
  }
}

// Step by step with carried state gives the bits of the whole sequence, in training or not.
void test_streaming() {
  RunOptions options;
  options.training = options.backward = false;
  for (const bptt_ops* ops : cpu_tables()) {
    for (bptt_cell cell : kCells) {
      for (int64_t P : {0, 6}) {
        if (P > 0 && !has_c(cell)) continue;
        RecurrentCase at;
        at.cell = cell;
        at.T = 30, at.B = 3, at.I = 5, at.H = 21, at.L = 2, at.P = P;
        const Problem problem = make_problem(at, 3);
        const Results whole = run<float>(ops, problem, options);
        const Results trained = run<float>(ops, problem);
        CHECK_MSG(same_bits(trained.y, whole.y) && same_bits(trained.hn, whole.hn) &&
                      same_bits(trained.cn, whole.cn),
                  "%s %s: training changes bits", name_of(at).c_str(), ops->isa);
        Problem step = problem;
        step.at.T = 1;
        step.dy.resize(at.B * at.Hout());
        std::vector<double> y;
        for (int64_t t = 0; t < at.T; ++t) {
          const auto from = problem.in.x.begin() + t * at.B * at.I;
          step.in.x.assign(from, from + at.B * at.I);
          const Results got = run<float>(ops, step, options);
          y.insert(y.end(), got.y.begin(), got.y.end());
          step.in.h0 = got.hn;
          if (has_c(cell)) step.in.c0 = got.cn;
        }
        CHECK_MSG(same_bits(y, whole.y) && same_bits(step.in.h0, whole.hn), "%s %s",
                  name_of(at).c_str(), ops->isa);
      }
    }
  }
}

// A gradient does not depend on which others are wanted, and absent ones stay untouched.
void test_wanted() {
  for (const bptt_ops* ops : cpu_tables()) {
    for (bptt_cell cell : kCells) {
      const Problem problem = shaped(cell, 4, 5, 12, 1, true);
      const Results all = run<float>(ops, problem);
      for (uint64_t bit = 0; bit < 3 + 4 * bptt::kParameters; ++bit) {
        RunOptions options;
        options.wanted = uint64_t{1} << bit;
        const Results one = run<float>(ops, problem, options);
        uint64_t i = 0;
        for_each_tensor(one.gradients, all.gradients, [&](const auto& got, const auto& want) {
          if (i == bit) {
            CHECK_MSG(same_bits(got, want), "%s %s gradient %d", name_of(problem.at).c_str(),
                      ops->isa, int(i));
          } else if (!(i == 2 && !has_c(cell))) {
            for (double v : got) CHECK(std::isnan(v));
          }
          ++i;
        });
      }
      RunOptions none;
      none.outer = false;
      const Results zero = run<float>(ops, problem, none);
      for_each_tensor(zero.gradients, zero.gradients, [&](const auto& got, const auto&) {
        for (double v : got) CHECK(v == 0);
      });
      RunOptions unpacked;
      unpacked.packed = false;
      CHECK(same_bits(run<float>(ops, problem, unpacked), all));
    }
  }
}

// Packed weights are kept as long as the stamp stays, in inference and in training.
void test_stamp() {
  for (const bptt_ops* ops : cpu_tables()) {
    bptt_context context = {};
    RecurrentCase at;
    at.B = 2, at.I = 3, at.H = 4;
    const bptt_recurrent desc = describe(at, BPTT_FLOAT32, false);
    PlanOwner owner = {ops};
    CHECK(ops->plan_create(&context, &desc, &owner.plan) == BPTT_OK);
    bptt_plan_sizes sizes;
    ops->plan_sizes(owner.plan, &sizes);
    Block packed(sizes.packed_bytes), workspace(sizes.forward_workspace_bytes);
    std::memset(packed.data(), 0, 64);
    std::vector<float> weight_ih(16 * 3, 0.1f), weight_hh(16 * 4, 0.1f), bias(16, 0.1f);
    std::vector<float> x(2 * 3, 1.0f), y(2 * 4);
    bptt_recurrent_params params{};
    params.weight_ih = weight_ih.data(), params.weight_hh = weight_hh.data();
    params.bias_ih = params.bias_hh = bias.data();
    bptt_recurrent_forward call = {};
    call.params = &params;
    call.packed = packed.data();
    call.x = x.data();
    call.y = y.data();
    call.workspace = workspace.data();
    const auto output = [&](uint64_t stamp) {
      call.stamp = stamp;
      CHECK(ops->recurrent_forward(&context, owner.plan, &call) == BPTT_OK);
      return y[0];
    };
    const float first = output(1);
    weight_ih.assign(weight_ih.size(), 0.5f);
    CHECK(output(1) == first);
    const float second = output(2);
    CHECK(second != first);
    CHECK(output(2) == second);
  }
}

// A cancelled call returns at any number of threads, whoever asks first.
void test_cancel() {
  bptt::cpu::Team& team = bptt::cpu::Team::instance();
  const int before = team.size();
  std::atomic<int> left;
  bptt_context context = {};
  context.cancelled = [](void* arg) {
    return static_cast<int>(--*static_cast<std::atomic<int>*>(arg) < 0);
  };
  context.cancelled_arg = &left;
  for (const bptt_ops* ops : cpu_tables()) {
    for (int threads = 1; threads <= 3; ++threads) {
      team.resize(threads, true);
      for (int64_t B : {3, 40}) {
        const Problem problem = shaped(BPTT_LSTM, 8, B, 64, 1, true);
        RunOptions options;
        options.expected = BPTT_CANCELLED;
        options.backward = false;
        for (int polls : {0, 1, 7, 20}) {
          left = polls;
          run<float>(ops, problem, options, context);
        }
      }
    }
  }
  team.resize(before, true);
}

void test_mistakes() {
  for (const bptt_ops* ops : cpu_tables()) {
    const auto code_of = [&](const RecurrentCase& at) {
      bptt_context context = {};
      const bptt_recurrent desc = describe(at, BPTT_FLOAT32, true);
      PlanOwner owner = {ops};
      const bptt_code code = ops->plan_create(&context, &desc, &owner.plan);
      CHECK((code == BPTT_OK) == (owner.plan != nullptr));
      CHECK((code == BPTT_OK) == (context.message[0] == 0));
      return code;
    };
    RecurrentCase at;
    at.B = 2, at.T = 3;
    CHECK(code_of(at) == BPTT_OK);
    bptt_recurrent mixed = describe(at, BPTT_FLOAT32, true);
    bptt_context context = {};
    bptt_plan* none = nullptr;
    for (int compute = BPTT_COMPUTE_TF32; compute <= BPTT_COMPUTE_BFLOAT16; ++compute) {
      mixed.compute = static_cast<bptt_compute>(compute);
      mixed.dtype = BPTT_FLOAT32;
      CHECK(ops->plan_create(&context, &mixed, &none) == BPTT_UNSUPPORTED && !none);
      CHECK(std::strstr(context.message, "CUDA"));
      mixed.dtype = BPTT_FLOAT64;
      CHECK(ops->plan_create(&context, &mixed, &none) == BPTT_INTERNAL && !none);
    }
    at.lengths = {3, 4};
    CHECK(code_of(at) == BPTT_INTERNAL);
    at.lengths = {-1, 1};
    CHECK(code_of(at) == BPTT_INTERNAL);
    at = {};
    at.cell = BPTT_GRU;
    at.P = 1;
    CHECK(code_of(at) == BPTT_INTERNAL);
    at = {};
    at.H = int64_t{1} << 40;
    at.I = int64_t{1} << 40;
    CHECK(code_of(at) == BPTT_OUT_OF_MEMORY);
    at = {};
    at.T = at.B = int64_t{1} << 39;
    CHECK(code_of(at) == BPTT_OUT_OF_MEMORY);
  }
}

}  // namespace

int main() {
  test_reference();
  test_grid();
  test_large();
  test_empty();
  test_threads();
  test_tables();
  test_rows();
  test_streaming();
  test_wanted();
  test_stamp();
  test_cancel();
  test_mistakes();
  std::printf(
      "largest errors: float32 output %.2g gradient %.2g, float64 output %.2g gradient %.2g\n",
      worst[0][0], worst[0][1], worst[1][0], worst[1][1]);
  return finish();
}
