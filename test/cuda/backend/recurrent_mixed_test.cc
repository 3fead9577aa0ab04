// The layer option `compute` over the fakes: results rounded as the type rounds, what cuDNN is
// told, and what is refused.
#include "backend/device_run.h"
#include "backend/recurrent_cases.h"
#include "cudnn/number.h"

using namespace bptt_test;

namespace {

struct Mixed {
  bptt_compute compute;
  const char* name;
  cudnnDataType_t type;
  Limit limit;
  // The largest error of many cases is above this: it does compute in this type.
  double least;
};
constexpr Mixed kMixed[] = {
    {BPTT_COMPUTE_TF32, "tf32", CUDNN_DATA_FLOAT, {6e-3, 2e-2}, 1e-4},
    {BPTT_COMPUTE_FLOAT16, "float16", CUDNN_DATA_HALF, {6e-3, 2e-2}, 1e-4},
    {BPTT_COMPUTE_BFLOAT16, "bfloat16", CUDNN_DATA_BFLOAT16, {4e-2, 8e-2}, 1e-3},
};

// What comes out is of the type; what only passes through is not rounded.
void check_rounding(const Mixed& mixed, const Problem& problem, const Results& got) {
  const RecurrentCase& at = problem.at;
  for (double y : got.y) CHECK(fake_cudnn::rounded(mixed.type, y) == y);
  const int64_t rows = at.L * at.D * at.B, Hout = at.Hout();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < Hout; ++j) {
      const double h = got.hn[row * Hout + j];
      if (at.length(row % at.B) > 0) {
        CHECK(fake_cudnn::rounded(mixed.type, h) == h);
      } else {
        CHECK(h == (at.states ? problem.in.h0[row * Hout + j] : 0));
      }
    }
  }
}

RecurrentCase random_mixed_case(std::mt19937& random) {
  RecurrentCase at;
  do at = random_case(random);
  while (!bptt::cudnn_has(at.cell));
  return at;
}

// Where relu's argument is about zero, rounding decides between two slopes, and its sums of
// large numbers may cancel: numbers above zero alone leave neither.
Problem make_mixed_problem(const RecurrentCase& at, uint32_t seed) {
  Problem problem = make_problem(at, seed);
  if (at.cell != BPTT_RNN_RELU) return problem;
  const auto make_positive = [](std::vector<double>& numbers) {
    for (double& number : numbers) number = std::fabs(number);
  };
  for_each_tensor(problem.in, problem.in, [&](auto& numbers, auto&) { make_positive(numbers); });
  for (std::vector<double>* d : {&problem.dy, &problem.dhn, &problem.dcn}) make_positive(*d);
  return problem;
}

void test_mixed(const bptt_ops* ops, const Mixed& mixed) {
  std::mt19937 random(12);
  Limit most = {0, 0};
  for (uint32_t i = 0; i < 60; ++i) {
    const RecurrentCase at = random_mixed_case(random);
    const Problem problem = make_mixed_problem(at, i);
    RunOptions options;
    options.compute = mixed.compute;
    options.packed = i % 3 != 0;
    const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
    const Results got = run<float>(ops, problem, options);
    const Limit error = compare(got, want, mixed.limit, at);
    most = {std::fmax(most.output, error.output), std::fmax(most.gradient, error.gradient)};
    check_rounding(mixed, problem, got);
    if (at.dropout > 0) continue;
    options.training = options.backward = false;
    const Results inference = run<float>(ops, problem, options);
    CHECK(same_bits(inference.y, got.y) && same_bits(inference.hn, got.hn) &&
          same_bits(inference.cn, got.cn));
  }
  std::printf("%s: outputs are off by %.2g at most, gradients by %.2g\n", mixed.name, most.output,
              most.gradient);
  CHECK(most.output > mixed.least);
}

// Without a step nothing is computed, and nothing rounded.
void test_mixed_empty(const bptt_ops* ops, const Mixed& mixed) {
  RecurrentCase at;
  at.T = 2, at.B = 3, at.I = 2, at.H = 3, at.L = 2, at.D = 2;
  at.lengths = {0, 0, 0};
  const Problem problem = make_problem(at, 4);
  RunOptions options;
  options.compute = mixed.compute;
  const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
  compare(run<float>(ops, problem, options), want, {0, 0}, at);
}

// Gradients that are not asked for, or not given, in the layout of either kind of run.
void test_mixed_wanted(const bptt_ops* ops, const Mixed& mixed) {
  RecurrentCase at;
  at.T = 3, at.B = 2, at.I = 3, at.H = 5, at.L = 2;
  for (const double dropout : {0.0, 0.3}) {
    at.dropout = dropout;
    Problem problem = make_problem(at, 5);
    RunOptions options;
    options.compute = mixed.compute;
    const Results all = run<float>(ops, problem, options);
    options.wanted = 0x29;
    const Results some = run<float>(ops, problem, options);
    CHECK(same_bits(some.gradients.x, all.gradients.x));
    CHECK(same_bits(some.gradients.params[0].weight_ih, all.gradients.params[0].weight_ih));
    CHECK(same_bits(some.gradients.params[0].bias_ih, all.gradients.params[0].bias_ih));
    options.wanted = ~0ull;
    options.outer = false;
    const Results without = run<float>(ops, problem, options);
    CHECK(error_of(without.gradients.x, std::vector<double>(all.gradients.x.size(), 0.0)) == 0);
  }
}

// -- what cuDNN is told ---------------------------------------------------------------

// How often a plan of this description gave cuDNN a layer of these numbers.
int chosen(const bptt_ops* ops, const bptt_recurrent& desc, const char* what) {
  const int before = fake_cuda_calls(what);
  bptt_context context = {};
  PlanOwner owner = {ops};
  CHECK_MSG(ops->plan_create(&context, &desc, &owner.plan) == BPTT_OK, "%s", context.message);
  return fake_cuda_calls(what) - before;
}

void test_descriptors(const bptt_ops* ops) {
  RecurrentCase at;
  at.T = 4, at.B = 8, at.I = 128, at.H = 256;
  bptt_recurrent desc = describe(at, BPTT_FLOAT32, true);
  CHECK(chosen(ops, desc, "algo 0 type 0 precision 0 math 3") == 1);
  desc.compute = BPTT_COMPUTE_TF32;
  CHECK(chosen(ops, desc, "algo 0 type 0 precision 0 math 0") == 1);
  desc.compute = BPTT_COMPUTE_BFLOAT16;
  CHECK(chosen(ops, desc, "algo 0 type 9 precision 0 math 1") == 1);
  desc.compute = BPTT_COMPUTE_FLOAT16;
  CHECK(chosen(ops, desc, "algo 1 type 2 precision 0 math 1") == 1);
  desc.L = 2;
  CHECK(chosen(ops, desc, "algo 0 type 2 precision 0 math 1") == 1);
  desc.dropout = 0.5;
  CHECK(chosen(ops, desc, "algo 1 type 2 precision 0 math 1") == 2);
  desc.B = 9;
  CHECK(chosen(ops, desc, "algo 0 type 2 precision 0 math 1") == 2);
  desc.H = 64;
  CHECK(chosen(ops, desc, "algo 3 type 2 precision 0 math 1") == 2);
  desc.compute = BPTT_COMPUTE_BFLOAT16;
  CHECK(chosen(ops, desc, "algo 0 type 9 precision 0 math 1") == 2);
}

// A layer in one persistent kernel of float16 is like any other.
void test_persistent(const bptt_ops* ops) {
  RecurrentCase at;
  at.T = 2, at.B = 8, at.I = 128, at.H = 256;
  const Problem problem = make_problem(at, 6);
  RunOptions options;
  options.compute = BPTT_COMPUTE_FLOAT16;
  const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
  compare(run<float>(ops, problem, options), want, kMixed[1].limit, at);
}

void test_refusals(const bptt_backend* backend, const bptt_ops* ops) {
  RecurrentCase at;
  at.cell = BPTT_GRU_RESET_BEFORE;
  bptt_context context = {};
  bptt_plan* none = nullptr;
  bptt_recurrent desc = describe(at, BPTT_FLOAT32, false);
  desc.compute = BPTT_COMPUTE_FLOAT16;
  CHECK(ops->plan_create(&context, &desc, &none) == BPTT_UNSUPPORTED && !none);
  CHECK(std::strstr(context.message, "does not have this cell"));

  fake_cuda_set_device(75, 40);
  bptt_context older = {};
  CHECK(backend->open(&older, 0) == BPTT_OK);
  desc.cell = BPTT_LSTM;
  for (const bptt_compute compute : {BPTT_COMPUTE_TF32, BPTT_COMPUTE_BFLOAT16}) {
    desc.compute = compute;
    CHECK(backend->ops.plan_create(&older, &desc, &none) == BPTT_UNSUPPORTED && !none);
    CHECK_MSG(std::strstr(older.message, "got one of 7.5"), "%s", older.message);
  }
  desc.compute = BPTT_COMPUTE_FLOAT16;
  CHECK(backend->ops.plan_create(&older, &desc, &none) == BPTT_OK && none);
  backend->ops.plan_destroy(none);
  backend->close(&older);
}

}  // namespace

int main() {
  fake_cuda_set_device(80, 108);
  return test_on_device([](const bptt_backend& backend, const bptt_ops* ops) {
    for (const Mixed& mixed : kMixed) {
      test_mixed(ops, mixed);
      test_mixed_empty(ops, mixed);
      test_mixed_wanted(ops, mixed);
    }
    test_descriptors(ops);
    test_persistent(ops);
    test_refusals(&backend, ops);
  });
}
