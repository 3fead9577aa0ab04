// Losses.
#include <algorithm>

#include "ops.h"

using namespace bptt_test;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

// -- cross entropy ----------------------------------------------------------------

constexpr int32_t kIgnore = -100;

// Losses per row, 0 where ignored.
Doubles cross_entropy(const Lines& s, const Doubles& x, const std::vector<int32_t>& target) {
  Doubles losses(s.rows());
  for (int64_t r = 0; r < s.rows(); ++r)
    if (target[r] != kIgnore) losses[r] = log_sum_exp(s, x, r) - x[s.at(r, target[r])];
  return losses;
}

template <class T>
void test_cross_entropy_case(const Lines& s, bptt_reduction reduction, int ignored_of) {
  const Doubles x = random_values(s.size(), -6, 6);
  std::vector<int32_t> target(s.rows());
  double counted = 0;
  for (int64_t r = 0; r < s.rows(); ++r) {
    target[r] = r % 5 < ignored_of ? kIgnore : static_cast<int32_t>(r * 7 % s.classes);
    counted += target[r] != kIgnore;
  }
  const auto reduce = [&](const Doubles& losses) {
    double sum = 0;
    for (double v : losses) sum += v;
    return reduction == BPTT_MEAN ? sum / counted : sum;
  };
  const Doubles losses = cross_entropy(s, x, target);
  Doubles expected = reduction == BPTT_NONE ? losses : Doubles{reduce(losses)};
  const size_t outputs = expected.size();
  const auto most = [&](int64_t r) {
    double largest = x[s.at(r, 0)];
    for (int64_t c = 1; c < s.classes; ++c) largest = std::fmax(largest, x[s.at(r, c)]);
    return largest;
  };
  for (int64_t r = 0; r < s.rows(); ++r)
    expected.push_back(target[r] == kIgnore ? 0 : log_sum_exp(s, x, r) - most(r));
  expected.push_back(counted);
  const std::string name = "cross_entropy " + std::to_string(reduction) + " of " +
                           std::to_string(s.outer) + "," + std::to_string(s.classes) + "," +
                           std::to_string(s.inner);
  check_everywhere(name, expected, 2 * kTolerance<T>, [&](Backend& b) {
    Array<T> logits(x), loss(outputs), log_sum(s.rows() + 1);
    CHECK(b.ops.cross_entropy(&b.context, dtype_of<T>, reduction, s.outer, s.classes, s.inner,
                              kIgnore, logits, target.data(), loss, log_sum) == BPTT_OK);
    Doubles all = loss.doubles();
    for (double v : log_sum.doubles()) all.push_back(v);
    return all;
  });

  const Doubles dloss = random_values(outputs, 0.5, 2, 3);
  const Doubles log_sum(expected.begin() + static_cast<int64_t>(outputs), expected.end());
  Doubles dx(s.size());
  for (int64_t r = 0; r < s.rows(); ++r) {
    if (target[r] == kIgnore) continue;
    const double g = reduction == BPTT_NONE   ? dloss[r]
                     : reduction == BPTT_MEAN ? dloss[0] / counted
                                              : dloss[0];
    for (int64_t c = 0; c < s.classes; ++c)
      dx[s.at(r, c)] = (std::exp(x[s.at(r, c)] - most(r) - log_sum[r]) - (c == target[r])) * g;
  }
  check_everywhere(name + " backward", dx, 4 * kTolerance<T>, [&](Backend& b) {
    Array<T> logits(x), saved(log_sum), grad(dloss), out(s.size());
    CHECK(b.ops.cross_entropy_backward(&b.context, dtype_of<T>, reduction, s.outer, s.classes,
                                       s.inner, kIgnore, logits, target.data(), saved, grad,
                                       out) == BPTT_OK);
    return out.doubles();
  });
  if (s.size() > 200 || reduction == BPTT_NONE || counted == 0) return;
  check_close(
      name + " against differences", dx,
      numeric_gradient(
          x, [&](const Doubles& at) { return dloss[0] * reduce(cross_entropy(s, at, target)); }),
      1e-6);
}

template <class T>
void test_cross_entropy() {
  for (const Lines& s : kLines)
    for (bptt_reduction reduction : {BPTT_NONE, BPTT_MEAN, BPTT_SUM})
      for (int ignored_of : {0, 2, 5}) test_cross_entropy_case<T>(s, reduction, ignored_of);
  Backend b(cpu_tables().front());
  Array<T> logits(12, T(0)), loss(4), lse(5), grad(12);
  const int32_t bad[] = {0, 1, 3, 0}, negative[] = {0, -1, 1, 2};
  CHECK(b.ops.cross_entropy(&b.context, dtype_of<T>, BPTT_MEAN, 4, 3, 1, kIgnore, logits, bad, loss,
                            lse) == BPTT_INDEX);
  CHECK(std::strstr(b.context.message, "target[2] = 3") &&
        std::strstr(b.context.message, "[0, 3)"));
  CHECK(b.ops.cross_entropy(&b.context, dtype_of<T>, BPTT_NONE, 2, 3, 2, kIgnore, logits, negative,
                            loss, lse) == BPTT_INDEX);
  CHECK(std::strstr(b.context.message, "target[1] = -1"));
  CHECK(b.ops.cross_entropy_backward(&b.context, dtype_of<T>, BPTT_SUM, 4, 3, 1, kIgnore, logits,
                                     bad, lse, loss, grad) == BPTT_INDEX);
}

// -- losses of pairs --------------------------------------------------------------

double pair_loss(bptt_pairwise_loss kind, double x, double t) {
  if (kind == BPTT_MSE) return (x - t) * (x - t);
  return std::max(x, 0.0) - x * t + std::log1p(std::exp(-std::fabs(x)));
}

template <class T>
void test_pairwise_case(bptt_pairwise_loss kind, bptt_reduction reduction, int64_t n) {
  const Doubles x = random_values(n, -30, 30), t = random_values(n, 0, 1, 5);
  const auto reduce = [&](const Doubles& at, const Doubles& target) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += pair_loss(kind, at[i], target[i]);
    return reduction == BPTT_MEAN ? sum / static_cast<double>(n) : sum;
  };
  Doubles expected{reduce(x, t)};
  if (reduction == BPTT_NONE) {
    expected.resize(n);
    for (int64_t i = 0; i < n; ++i) expected[i] = pair_loss(kind, x[i], t[i]);
  }
  const Doubles dloss = random_values(expected.size(), 0.5, 2, 3);
  Doubles both(2 * n);
  for (int64_t i = 0; i < n; ++i) {
    const double g = reduction == BPTT_NONE   ? dloss[i]
                     : reduction == BPTT_MEAN ? dloss[0] / static_cast<double>(n)
                                              : dloss[0];
    both[i] = g * (kind == BPTT_MSE ? 2 * (x[i] - t[i]) : 1 / (1 + std::exp(-x[i])) - t[i]);
    both[n + i] = g * (kind == BPTT_MSE ? 2 * (t[i] - x[i]) : -x[i]);
  }
  const std::string name = "pairwise " + std::to_string(kind) + std::to_string(reduction);
  check_everywhere(name, expected, kTolerance<T>, [&](Backend& b) {
    Array<T> in(x), target(t), loss(expected.size());
    CHECK(b.ops.pairwise_loss(&b.context, dtype_of<T>, kind, reduction, n, in, target, loss) ==
          BPTT_OK);
    return loss.doubles();
  });
  check_everywhere(name + " backward", both, kTolerance<T>, [&](Backend& b) {
    Array<T> in(x), target(t), grad(dloss), dx(n), dt(n), again(n);
    const auto backward = [&](T* to_x, T* to_t) {
      CHECK(b.ops.pairwise_loss_backward(&b.context, dtype_of<T>, kind, reduction, n, in, target,
                                         grad, to_x, to_t) == BPTT_OK);
    };
    backward(dx, nullptr);
    backward(nullptr, dt);
    backward(again, dt);
    CHECK(same_bits(dx.doubles(), again.doubles()));
    Doubles all = dx.doubles();
    for (double v : dt.doubles()) all.push_back(v);
    return all;
  });
  if (n == 0 || n > 20 || reduction == BPTT_NONE) return;
  Doubles dx(both.begin(), both.begin() + n);
  check_close(name + " against differences", dx,
              numeric_gradient(x, [&](const Doubles& at) { return dloss[0] * reduce(at, t); }),
              1e-6);
}

template <class T>
void test_pairwise() {
  for (bptt_pairwise_loss kind : {BPTT_MSE, BPTT_BCE_WITH_LOGITS})
    for (bptt_reduction reduction : {BPTT_NONE, BPTT_MEAN, BPTT_SUM})
      for (int64_t n : {0, 1, 3, 9, 17, 129, 20011}) test_pairwise_case<T>(kind, reduction, n);
  // The order of the sum is the documented one.
  const Doubles wide = random_values(100003, -30, 30);
  Array<T> squares(wide);
  for (size_t i = 0; i < wide.size(); ++i) squares[i] *= squares[i];
  const double sum = tree_sum<T>(squares, 100003);
  check_everywhere("order of a loss's sum", {sum}, 0, [&](Backend& b) {
    Array<T> in(wide), target(wide.size(), T(0)), loss(size_t{1});
    b.ops.pairwise_loss(&b.context, dtype_of<T>, BPTT_MSE, BPTT_SUM, 100003, in, target, loss);
    return loss.doubles();
  });
  const Doubles x{800, -800, kNan};
  check_everywhere("bce of large logits", {0, 0, kNan}, 0, [&](Backend& b) {
    Array<T> in(x), target(Doubles{1, 0, 1}), loss(3);
    b.ops.pairwise_loss(&b.context, dtype_of<T>, BPTT_BCE_WITH_LOGITS, BPTT_NONE, 3, in, target,
                        loss);
    return loss.doubles();
  });
}

// -- CTC ---------------------------------------------------------------------------------

// Rows b of random labels: some with labels alike, one without steps, one without labels.
struct CtcCase {
  int64_t T, B, C, S;
  int32_t blank;
  std::vector<int32_t> targets, layout;  // [B,S], [3,B]

  CtcCase(int64_t T_, int64_t B_, int64_t C_, int64_t S_, int32_t blank_)
      : T(T_), B(B_), C(C_), S(S_), blank(blank_), targets(B * S), layout(3 * B) {
    for (int64_t b = 0; b < B; ++b) {
      layout[b] = static_cast<int32_t>(b == 1 ? 0 : std::max<int64_t>(T - b % 3, 0));
      layout[B + b] = static_cast<int32_t>(S - b % (S + 1));
      layout[2 * B + b] = static_cast<int32_t>(b * S);
      for (int64_t i = 0; i < S; ++i) {
        const auto c = static_cast<int32_t>((b + i * i) % (C - 1));
        targets[b * S + i] = c < blank ? c : c + 1;
      }
    }
  }
  int64_t at(int64_t t, int64_t b, int64_t c) const { return (t * B + b) * C + c; }

  // By blanks and labels in turn, as the loss is written in books.
  double loss(const Doubles& x, int64_t b) const {
    const int64_t states = 2 * layout[B + b] + 1;
    const auto class_of = [&](int64_t s) { return s % 2 ? targets[b * S + s / 2] : blank; };
    Doubles p(states);
    for (int64_t t = 0; t < layout[b]; ++t) {
      const Doubles last = p;
      for (int64_t s = 0; s < states; ++s) {
        double sum = t == 0 ? s < 2 : last[s];
        if (t > 0 && s > 0) sum += last[s - 1];
        if (t > 0 && s > 1 && s % 2 && class_of(s) != class_of(s - 2)) sum += last[s - 2];
        p[s] = sum * std::exp(x[at(t, b, class_of(s))]);
      }
    }
    if (layout[b] == 0) return states == 1 ? 0 : std::numeric_limits<double>::infinity();
    return -std::log(p[states - 1] + (states > 1 ? p[states - 2] : 0));
  }
};

template <class T>
void test_ctc_case(const CtcCase& c) {
  const Doubles x = random_values(c.T * c.B * c.C, -5, 0), dloss = random_values(c.B, 0.5, 2, 3);
  Doubles expected(c.B);
  for (int64_t b = 0; b < c.B; ++b) expected[b] = c.loss(x, b);
  const auto weighted = [&](const Doubles& at) {
    double sum = 0;
    for (int64_t b = 0; b < c.B; ++b)
      if (std::isfinite(expected[b])) sum += dloss[b] * c.loss(at, b);
    return sum;
  };
  Doubles dx = numeric_gradient(x, weighted);
  for (int64_t b = 0; b < c.B; ++b)
    for (int64_t t = 0; t < c.T; ++t)
      for (int64_t k = 0; k < c.C; ++k)
        if (t < c.layout[b] && std::isfinite(expected[b]))
          dx[c.at(t, b, k)] += std::exp(x[c.at(t, b, k)]) * dloss[b];

  const auto run = [&](Backend& b, bool kept) {
    Array<T> in(x), loss(c.B), alpha(c.B * c.T * (2 * c.S + 4)), grad(dloss), out(x.size());
    const auto total = static_cast<int64_t>(c.targets.size());
    T* saved = alpha;
    CHECK(b.ops.ctc_loss(&b.context, dtype_of<T>, c.T, c.B, c.C, c.S, total, c.blank, 0, in,
                         c.targets.data(), c.layout.data(), loss,
                         kept ? saved : nullptr) == BPTT_OK);
    if (!kept) return loss.doubles();
    CHECK(b.ops.ctc_loss_backward(&b.context, dtype_of<T>, c.T, c.B, c.C, c.S, total, c.blank, in,
                                  c.targets.data(), c.layout.data(), saved, grad, out) == BPTT_OK);
    return out.doubles();
  };
  const std::string name = "ctc_loss of " + std::to_string(c.T) + "," + std::to_string(c.B) + "," +
                           std::to_string(c.C) + "," + std::to_string(c.S);
  check_everywhere(name, expected, 4 * kTolerance<T>, [&](Backend& b) { return run(b, false); });
  check_everywhere(name + " backward", dx, 1e-6 + 8 * kTolerance<T>,
                   [&](Backend& b) { return run(b, true); });
}

template <class T>
void test_ctc() {
  for (const CtcCase& c : {CtcCase(0, 3, 3, 2, 0), CtcCase(1, 2, 2, 0, 1), CtcCase(7, 6, 4, 3, 2),
                           CtcCase(33, 4, 7, 12, 0), CtcCase(60, 1, 30, 19, 29)})
    test_ctc_case<T>(c);
  Backend b(cpu_tables().front());
  Array<T> x(12, T(-1)), loss(2), alpha(24), grad(12);
  const auto refused = [&](int32_t label, const std::vector<int32_t>& layout, const char* words) {
    const int32_t targets[] = {label, 1};
    CHECK(b.ops.ctc_loss(&b.context, dtype_of<T>, 2, 2, 3, 1, 2, 0, 0, x, targets, layout.data(),
                         loss, alpha) == BPTT_INDEX);
    CHECK_MSG(std::strstr(b.context.message, words), "%s", b.context.message);
    CHECK(b.ops.ctc_loss_backward(&b.context, dtype_of<T>, 2, 2, 3, 1, 2, 0, x, targets,
                                  layout.data(), alpha, loss, grad) == BPTT_INDEX);
  };
  for (int32_t label : {-1, 0, 3}) refused(label, {2, 2, 1, 1, 0, 1}, "target 0 of row 0");
  refused(1, {2, 3, 1, 1, 0, 1}, "input length 3 of row 1");
  refused(1, {2, 2, 1, 2, 0, 1}, "target length 2 of row 1");
  refused(1, {2, 2, 1, 1, 0, 2}, "target length 1 of row 1");
  refused(1, {2, 2, 1, 1, -1, 1}, "target length 1 of row 0");
}

}  // namespace

int main() {
  test_cross_entropy<float>();
  test_cross_entropy<double>();
  test_pairwise<float>();
  test_pairwise<double>();
  test_ctc<float>();
  test_ctc<double>();
  return finish();
}
