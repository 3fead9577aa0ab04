// Random recurrent layers, and how a device's results are compared with the plain reference's.
#pragma once

#include "native/recurrent_run.h"

namespace bptt_test {

struct Limit {
  double output, gradient;
};

// Returns the larger errors of outputs and of gradients.
inline Limit compare(const Results& got, const Results& want, Limit limit,
                     const RecurrentCase& at) {
  Limit most = {0, 0};
  const auto check = [&](const auto& a, const auto& b, const std::string& name) {
    const bool gradient = name[0] == 'd';
    const double error = error_of(a, b), allowed = gradient ? limit.gradient : limit.output;
    CHECK_MSG(error <= allowed, "%s: %s is off by %g", name_of(at).c_str(), name.c_str(), error);
    double& larger = gradient ? most.gradient : most.output;
    larger = std::fmax(larger, error);
  };
  check(got.y, want.y, "y");
  check(got.hn, want.hn, "hn");
  check(got.cn, want.cn, "cn");
  int i = 0;
  for_each_tensor(got.gradients, want.gradients,
                  [&](const auto& a, const auto& b) { check(a, b, gradient_name(i++)); });
  return most;
}

inline void check_case(const bptt_ops* ops, const RecurrentCase& at, uint32_t seed,
                       const RunOptions& options = {}) {
  const Problem problem = make_problem(at, seed);
  const Results want = reference(at, problem.in, problem.dy, problem.dhn, problem.dcn);
  compare(run<float>(ops, problem, options), want, {5e-6, 5e-6}, at);
  compare(run<double>(ops, problem, options), want, {1e-12, 1e-12}, at);
}

inline RecurrentCase random_case(std::mt19937& random) {
  const auto below = [&](int n) { return static_cast<int64_t>(random() % n); };
  RecurrentCase at;
  at.cell = kCells[below(bptt::kCells)];
  at.T = 1 + below(5), at.B = 1 + below(4), at.I = 1 + below(5), at.H = 1 + below(6);
  at.L = 1 + below(3), at.D = 1 + below(2);
  if (at.has_c() && at.H > 1 && below(2)) at.P = 1 + below(static_cast<int>(at.H) - 1);
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

}  // namespace bptt_test
