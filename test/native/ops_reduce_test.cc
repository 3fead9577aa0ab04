// Sums, softmax and layer normalization.
#include "ops.h"

using namespace bptt_test;

namespace {

constexpr int64_t kSizes[] = {0, 1, 3, 7, 8, 9, 17, 64, 129};
const double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

// -- sum ------------------------------------------------------------------------

template <class T>
void test_sum_case(const std::vector<int64_t>& shape, const std::vector<int>& reduced) {
  std::vector<int64_t> out_shape(shape), out_strides;
  for (size_t d = 0; d < shape.size(); ++d)
    if (reduced[d]) out_shape[d] = 1;
  out_strides = dense(out_shape);
  for (size_t d = 0; d < shape.size(); ++d)
    if (reduced[d]) out_strides[d] = 0;
  const int64_t n = product(shape);
  const Doubles x = random_values(n, -1, 3);
  Doubles expected(product(out_shape));
  for (int64_t i = 0; i < n; ++i) expected[offset_of(i, shape, out_strides)] += 0.25 * x[i];
  check_everywhere("sum of " + std::to_string(n), expected, kTolerance<T>, [&](Backend& b) {
    Array<T> in(x), out(expected.size());
    CHECK(b.ops.sum(&b.context, dtype_of<T>, static_cast<int>(shape.size()), shape.data(),
                    reduced.data(), 0.25, in, out) == BPTT_OK);
    return out.doubles();
  });
}

template <class T>
void test_sum() {
  test_sum_case<T>({}, {});
  for (int64_t n : kSizes) {
    test_sum_case<T>({n}, {1});
    test_sum_case<T>({n}, {0});
    test_sum_case<T>({n, 9}, {0, 1});
    test_sum_case<T>({n, 9}, {1, 0});
    test_sum_case<T>({9, n}, {1, 0});
    test_sum_case<T>({3, n, 5}, {0, 1, 0});
  }
  test_sum_case<T>({100003}, {1});
  test_sum_case<T>({9001, 70}, {1, 0});
  test_sum_case<T>({70, 9001}, {0, 1});
  test_sum_case<T>({2, 5000, 130}, {0, 1, 0});
  test_sum_case<T>({17, 9, 33}, {1, 0, 1});  // runs of a row that is not adjacent
  test_sum_case<T>({130, 3, 71}, {1, 0, 1});
  test_sum_case<T>({17, 9, 33}, {0, 1, 0});
  test_sum_case<T>({4, 1, 5, 1}, {1, 0, 1, 1});
  test_sum_case<T>({4, 1, 5, 1}, {0, 1, 0, 0});
  test_sum_case<T>({3, 4, 5, 6, 7}, {1, 0, 1, 0, 1});
  test_sum_case<T>({3, 4, 5, 6, 7}, {0, 1, 0, 1, 0});
}

template <class T>
void test_sum_order() {
  for (int64_t n : {1, 15, 16, 100, 256, 257, 1000, 4096, 4097, 12345, 30000}) {
    const Doubles row = random_values(n, -1, 3);
    Doubles columns(n * 5);
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < 5; ++j) columns[i * 5 + j] = row[i];
    Array<T> x(row);
    const double expected = tree_sum<T>(x, n);
    check_everywhere("order of a row's sum", {expected}, 0, [&](Backend& b) {
      Array<T> in(row), out(1);
      const int reduced = 1;
      b.ops.sum(&b.context, dtype_of<T>, 1, &n, &reduced, 1, in, out);
      return out.doubles();
    });
    check_everywhere("order of a column's sum", Doubles(5, expected), 0, [&](Backend& b) {
      Array<T> in(columns), out(5);
      const int64_t shape[] = {n, 5};
      const int reduced[] = {1, 0};
      b.ops.sum(&b.context, dtype_of<T>, 2, shape, reduced, 1, in, out);
      return out.doubles();
    });
  }
}

// -- softmax --------------------------------------------------------------------

Doubles softmax(const Lines& s, const Doubles& x, bool log) {
  Doubles y(s.size());
  for (int64_t r = 0; r < s.rows(); ++r) {
    const double lse = log_sum_exp(s, x, r);
    for (int64_t c = 0; c < s.classes; ++c) {
      const int64_t i = s.at(r, c);
      y[i] = log ? x[i] - lse : std::exp(x[i] - lse);
    }
  }
  return y;
}

template <class T>
void test_softmax() {
  for (const Lines& s : kLines) {
    for (bptt_softmax_kind kind : {BPTT_SOFTMAX, BPTT_LOG_SOFTMAX}) {
      const bool log = kind == BPTT_LOG_SOFTMAX;
      const std::string name = std::string(log ? "log-" : "") + "softmax of " +
                               std::to_string(s.outer) + "," + std::to_string(s.classes) + "," +
                               std::to_string(s.inner);
      const Doubles x = random_values(s.size(), -6, 6), dy = random_values(s.size(), -1, 1, 5);
      const Doubles y = softmax(s, x, log);
      check_everywhere(name, y, 2 * kTolerance<T>, [&](Backend& b) {
        Array<T> in(x), out(s.size());
        CHECK(b.ops.softmax(&b.context, dtype_of<T>, kind, s.outer, s.classes, s.inner, in, out) ==
              BPTT_OK);
        return out.doubles();
      });
      Doubles dx(s.size());
      for (int64_t r = 0; r < s.rows(); ++r) {
        double sum = 0;
        for (int64_t c = 0; c < s.classes; ++c) sum += dy[s.at(r, c)] * (log ? 1 : y[s.at(r, c)]);
        for (int64_t c = 0; c < s.classes; ++c) {
          const int64_t i = s.at(r, c);
          dx[i] = log ? dy[i] - std::exp(y[i]) * sum : y[i] * (dy[i] - sum);
        }
      }
      check_everywhere(name + " backward", dx, 5 * kTolerance<T>, [&](Backend& b) {
        Array<T> saved(y), grad(dy), out(s.size());
        CHECK(b.ops.softmax_backward(&b.context, dtype_of<T>, kind, s.outer, s.classes, s.inner,
                                     saved, grad, out) == BPTT_OK);
        return out.doubles();
      });
    }
  }
  // Large logits do not overflow; NaN spreads over its own row only.
  const Doubles x{1000, 999, -1000, 1, kNan, 2, 0, -kInfinity, 0};
  const double e = 1 / (1 + std::exp(-1));
  check_everywhere("softmax of specials", {e, 1 - e, 0, kNan, kNan, kNan, 0.5, 0, 0.5},
                   kTolerance<T>, [&](Backend& b) {
                     Array<T> in(x), out(9);
                     b.ops.softmax(&b.context, dtype_of<T>, BPTT_SOFTMAX, 3, 3, 1, in, out);
                     return out.doubles();
                   });
}

// -- layer normalization ----------------------------------------------------------

struct NormCase {
  int64_t rows, cols;
  Doubles gamma, beta;
};

Doubles layer_norm(const NormCase& c, const Doubles& x, Doubles* mean, Doubles* rstd) {
  Doubles y(x.size());
  for (int64_t r = 0; r < c.rows; ++r) {
    double m = 0, v = 0;
    for (int64_t j = 0; j < c.cols; ++j) m += x[r * c.cols + j];
    m /= static_cast<double>(c.cols);
    for (int64_t j = 0; j < c.cols; ++j) v += std::pow(x[r * c.cols + j] - m, 2);
    v /= static_cast<double>(c.cols);
    const double s = 1 / std::sqrt(v + 1e-3);
    for (int64_t j = 0; j < c.cols; ++j) {
      y[r * c.cols + j] = (x[r * c.cols + j] - m) * s * (c.gamma.empty() ? 1 : c.gamma[j]) +
                          (c.beta.empty() ? 0 : c.beta[j]);
    }
    mean->push_back(m);
    rstd->push_back(s);
  }
  return y;
}

template <class T>
void test_layer_norm_case(int64_t rows, int64_t cols, bool gamma, bool beta) {
  NormCase c{rows, cols, {}, {}};
  if (gamma) c.gamma = random_values(cols, 0.5, 2, 6);
  if (beta) c.beta = random_values(cols, -1, 1, 7);
  const Doubles x = random_values(rows * cols, -1, 3), dy = random_values(rows * cols, -1, 1, 8);
  Doubles mean, rstd;
  Doubles expected = layer_norm(c, x, &mean, &rstd);
  const Doubles y = expected;
  expected.insert(expected.end(), mean.begin(), mean.end());
  expected.insert(expected.end(), rstd.begin(), rstd.end());
  const std::string name = "layer_norm " + std::to_string(rows) + "," + std::to_string(cols);
  check_everywhere(name, expected, 4 * kTolerance<T>, [&](Backend& b) {
    Array<T> in(x), g(c.gamma), be(c.beta), out(x.size()), m(rows), r(rows);
    CHECK(b.ops.layer_norm(&b.context, dtype_of<T>, rows, cols, 1e-3, in,
                           gamma ? static_cast<T*>(g) : nullptr,
                           beta ? static_cast<T*>(be) : nullptr, out, m, r) == BPTT_OK);
    Doubles all = out.doubles();
    for (double v : m.doubles()) all.push_back(v);
    for (double v : r.doubles()) all.push_back(v);
    return all;
  });

  Doubles dx(x.size()), dgamma(cols), dbeta(cols);
  for (int64_t r = 0; r < rows; ++r) {
    double mean_g = 0, mean_gx = 0;
    const auto xhat = [&](int64_t j) { return (x[r * cols + j] - mean[r]) * rstd[r]; };
    const auto g = [&](int64_t j) { return dy[r * cols + j] * (gamma ? c.gamma[j] : 1); };
    for (int64_t j = 0; j < cols; ++j) {
      mean_g += g(j) / cols;
      mean_gx += g(j) * xhat(j) / cols;
      dgamma[j] += dy[r * cols + j] * xhat(j);
      dbeta[j] += dy[r * cols + j];
    }
    for (int64_t j = 0; j < cols; ++j)
      dx[r * cols + j] = rstd[r] * (g(j) - mean_g - xhat(j) * mean_gx);
  }
  // Rows of one element have rounding noise only.
  if (cols < 3) return;
  const auto backward = [&](Backend& b, T* to_x, T* to_gamma, T* to_beta) {
    Array<T> in(x), g(c.gamma), m(mean), r(rstd), grad(dy);
    CHECK(b.ops.layer_norm_backward(&b.context, dtype_of<T>, rows, cols, in,
                                    gamma ? static_cast<T*>(g) : nullptr, m, r, grad, to_x,
                                    to_gamma, to_beta) == BPTT_OK);
  };
  check_everywhere(name + " dx", dx, 5 * kTolerance<T>, [&](Backend& b) {
    Array<T> out(x.size());
    backward(b, out, nullptr, nullptr);
    return out.doubles();
  });
  check_everywhere(name + " dgamma", dgamma, 5 * kTolerance<T>, [&](Backend& b) {
    Array<T> out(cols), other(cols);
    backward(b, nullptr, out, other);
    return out.doubles();
  });
  check_everywhere(name + " dbeta", dbeta, 5 * kTolerance<T>, [&](Backend& b) {
    Array<T> out(cols);
    backward(b, nullptr, nullptr, out);
    return out.doubles();
  });
  if (x.size() > 200) return;
  const Doubles numeric = numeric_gradient(x, [&](const Doubles& at) {
    Doubles unused[2];
    const Doubles value = layer_norm(c, at, &unused[0], &unused[1]);
    double loss = 0;
    for (size_t i = 0; i < value.size(); ++i) loss += dy[i] * value[i];
    return loss;
  });
  check_close(name + " against differences", dx, numeric, 1e-6);
}

template <class T>
void test_layer_norm() {
  for (int64_t cols : kSizes) test_layer_norm_case<T>(5, cols, true, true);
  test_layer_norm_case<T>(0, 9, true, true);
  test_layer_norm_case<T>(7, 17, false, false);
  test_layer_norm_case<T>(7, 17, true, false);
  test_layer_norm_case<T>(7, 17, false, true);
  test_layer_norm_case<T>(300, 200, true, true);
  test_layer_norm_case<T>(4100, 65, true, true);
}

template <class T>
void test_all() {
  test_sum<T>();
  test_sum_order<T>();
  test_softmax<T>();
  test_layer_norm<T>();
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return finish();
}
