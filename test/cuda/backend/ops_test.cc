// Elementwise operations, random tensors, sums and normalizations of the CUDA backend.
#include <thread>

#include "backend/sides.h"
#include "enums.h"

using namespace bptt_test;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

std::string show(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return "[" + text + "]";
}

// -- fill, unary -------------------------------------------------------------------

// More than one element per thread of the largest grid, at last.
constexpr int64_t kLengths[] = {0, 1, 3, 255, 256, 257, 5000};
constexpr int64_t kMoreThanAGrid = 4096 * 256 + 77;

template <class T>
void test_fill(Comparison& compare) {
  for (int64_t n : kLengths)
    compare("fill", 0, [&](Side& s) {
      Numbers<T> out(s, n + 1);
      s.done(s.ops.fill(&s.context, dtype_of<T>, n, -2.5, out));
      return Outputs{out.read()};
    });
}

template <class T>
void test_unary_values(Comparison& compare, const Doubles& values) {
  for (int op = 0; op < bptt::count_of<bptt_unary_op>; ++op) {
    const auto which = static_cast<bptt_unary_op>(op);
    const std::string name = bptt::name_of(which);
    const int64_t n = static_cast<int64_t>(values.size());
    compare(name, kSideTolerance<T>, [&](Side& s) {
      Numbers<T> x(s, values), out(s, n + 1);
      s.done(s.ops.unary(&s.context, dtype_of<T>, which, 0.75, 1.5, n, x, out));
      s.done(s.ops.unary(&s.context, dtype_of<T>, which, 0.75, 1.5, n, x, x));  // in place
      return Outputs{out.read(), x.read()};
    });
    compare(name + " backward", kSideTolerance<T>, [&](Side& s) {
      Numbers<T> saved(s, values), dout(s, random_values(values.size(), -1, 1, 5)), dx(s, n + 1);
      s.done(s.ops.unary_backward(&s.context, dtype_of<T>, which, 0.75, 1.5, n, saved, dout, dx));
      return Outputs{dx.read()};
    });
  }
}

template <class T>
void test_unary(Comparison& compare) {
  for (int64_t n : kLengths) test_unary_values<T>(compare, random_values(n));
  test_unary_values<T>(compare, {0.0, 0.5, -0.0, 1, -1, kNan});
  test_unary_values<T>(compare, {kInf, -kInf, 3, -3});
  test_unary_values<T>(compare, {20, -20, 1e-3, -1e-3, 9.2, -9.2});
}

void test_large(Comparison& compare) {
  compare("large", kSideTolerance<float>, [&](Side& s) {
    Numbers<float> x(s, random_values(kMoreThanAGrid));
    s.done(s.ops.unary(&s.context, BPTT_FLOAT32, BPTT_SCALE, 3, 0, kMoreThanAGrid, x, x));
    return Outputs{x.read()};
  });
}

// -- binary, copy --------------------------------------------------------------------

struct Layout {
  std::vector<int64_t> shape, a, b;

  int rank() const { return static_cast<int>(shape.size()); }
  int64_t reach(const std::vector<int64_t>& strides) const {
    int64_t last = 0;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d] == 0) return 0;
      last += (shape[d] - 1) * strides[d];
    }
    return last + 1;
  }
};

const Layout kBroadcasts[] = {
    {{}, {}, {}},
    {{1}, {1}, {1}},
    {{300}, {1}, {1}},
    {{300}, {0}, {1}},
    {{17, 33}, {33, 1}, {33, 1}},
    {{17, 33}, {33, 1}, {0, 1}},
    {{17, 33}, {33, 1}, {1, 0}},
    {{17, 33}, {0, 0}, {33, 1}},
    {{17, 33}, {1, 17}, {33, 1}},
    {{5, 6, 7}, {42, 7, 1}, {7, 0, 1}},
    {{5, 6, 7}, {0, 1, 6}, {1, 5, 30}},
    {{2, 1, 3, 2, 1, 2, 2, 3}, {72, 0, 24, 12, 0, 6, 3, 1}, {0, 0, 4, 2, 0, 0, 1, 0}},
    {{0, 5}, {5, 1}, {0, 1}},
    {{5, 0}, {0, 1}, {1, 1}}};

template <class T>
void test_binary(Comparison& compare) {
  for (const Layout& l : kBroadcasts)
    for (int op = 0; op < bptt::count_of<bptt_binary_op>; ++op)
      compare("binary " + std::to_string(op) + " of " + show(l.shape), kSideTolerance<T>,
              [&](Side& s) {
                Numbers<T> a(s, random_values(l.reach(l.a), -2, 2, 1));
                Numbers<T> b(s, random_values(l.reach(l.b), 0.5, 2, 2));
                Numbers<T> out(s, product(l.shape) + 1);
                s.done(s.ops.binary(&s.context, dtype_of<T>, static_cast<bptt_binary_op>(op),
                                    l.rank(), l.shape.data(), a, l.a.data(), b, l.b.data(), out));
                return Outputs{out.read()};
              });
}

const Layout kCopies[] = {{{}, {}, {}},
                          {{1000}, {1}, {1}},
                          {{300}, {3}, {1}},
                          {{300}, {0}, {2}},
                          {{40, 50}, {1, 40}, {50, 1}},   // transposition
                          {{40, 50}, {60, 1}, {50, 1}},   // slice
                          {{40, 50}, {50, 1}, {120, 1}},  // one part of a concatenation
                          {{40, 50}, {0, 1}, {50, 1}},    // expansion
                          {{3, 40, 70}, {2800, 1, 40}, {2800, 70, 1}},
                          {{33, 64, 9}, {1, 33, 2112}, {576, 9, 1}},
                          {{64, 2, 33}, {2, 1, 128}, {66, 33, 1}},
                          {{7, 5, 6}, {6, 42, 1}, {30, 6, 1}},  // batch first
                          {{4, 5, 6, 3}, {3, 12, 60, 1}, {90, 18, 3, 1}},
                          {{3, 0, 2}, {2, 2, 1}, {2, 2, 1}},
                          {{300}, {-1}, {1}},  // backward
                          {{40, 50}, {50, -1}, {50, 1}},
                          {{3, 40, 70}, {2800, -70, 1}, {2800, 70, 1}},
                          {{40, 50}, {-1, 40}, {50, 1}},
                          {{40, 50}, {1, -40}, {50, 1}},
                          {{20, 30}, {-1, 1}, {30, 1}}};  // diagonals of one value

template <class T>
void test_copy(Comparison& compare) {
  for (const Layout& l : kCopies)
    compare("copy of " + show(l.shape), 0, [&](Side& s) {
      int64_t start = 3;
      std::vector<int64_t> steps;
      for (size_t d = 0; d < l.shape.size(); ++d) {
        steps.push_back(std::abs(l.a[d]));
        if (l.a[d] < 0) start -= (l.shape[d] - 1) * l.a[d];
      }
      Doubles values = random_values(l.reach(steps) + 3, -1000, 1000);
      if (!values.empty() && sizeof(T) == 8) values[0] = kNan;
      Numbers<T> src(s, values), dst(s, l.reach(l.b) + 5);
      s.done(s.ops.copy(&s.context, dtype_of<T>, l.rank(), l.shape.data(), src + start, l.a.data(),
                        dst + 2, l.b.data()));
      return Outputs{dst.read()};  // what lies between stays
    });
}

// -- random numbers --------------------------------------------------------------------

template <class T>
void test_random(Comparison& compare) {
  const bptt_rng sources[] = {{1, 0}, {0x123456789abcdef0u, 77}, {~uint64_t{0}, ~uint64_t{0} - 1}};
  for (const bptt_rng& rng : sources)
    for (int64_t n : {0, 1, 2, 3, 4, 5, 1023, 9999}) {
      for (double p : {0.0, 0.3, 0.999, 1.0})
        compare("dropout", 0, [&](Side& s) {
          Doubles values = random_values(n);
          if (n > 2) values[0] = kInf, values[1] = kNan;
          Numbers<T> x(s, values), out(s, n + 1);
          s.done(s.ops.dropout(&s.context, dtype_of<T>, n, p, rng, x, out));
          return Outputs{out.read()};
        });
      compare("uniform", compare.exact(), [&](Side& s) {
        Numbers<T> out(s, n + 1);
        s.done(s.ops.uniform(&s.context, dtype_of<T>, n, -0.3, 0.7, rng, out));
        return Outputs{out.read()};
      });
      compare("normal", compare.exact(), [&](Side& s) {
        Numbers<T> out(s, n + 1);
        s.done(s.ops.normal(&s.context, dtype_of<T>, n, 1.5, 0.7, rng, out));
        return Outputs{out.read()};
      });
    }
  // So near to each other that rounding would reach the upper end.
  compare("narrow uniform", compare.exact(), [&](Side& s) {
    Numbers<T> out(s, 1000);
    s.done(s.ops.uniform(&s.context, dtype_of<T>, 1000, 1, 1 + 4e-7, {3, 4}, out));
    return Outputs{out.read()};
  });
}

// -- sums ------------------------------------------------------------------------------

template <class T>
void test_sum_case(Comparison& compare, const std::vector<int64_t>& shape, unsigned mask,
                   double scale, const Doubles& values) {
  std::vector<int> reduced(shape.size());
  int64_t outputs = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    reduced[d] = mask >> d & 1;
    if (!reduced[d]) outputs *= shape[d];
  }
  compare("sum of " + show(shape) + " mask " + std::to_string(mask), kSideTolerance<T>,
          [&](Side& s) {
            Numbers<T> x(s, values), out(s, outputs + 1);
            s.done(s.ops.sum(&s.context, dtype_of<T>, static_cast<int>(shape.size()), shape.data(),
                             reduced.data(), scale, x, out));
            return Outputs{out.read()};
          });
}

template <class T>
void test_sum(Comparison& compare) {
  const std::vector<int64_t> shapes[] = {
      {},           {1},          {33},          {5000},
      {100000},     {3, 4, 5, 6}, {7, 1, 33, 2}, {600, 40},
      {2, 1100, 3}, {0, 3},       {3, 0},        {2, 3, 1, 2, 2, 1, 3, 2}};
  for (const std::vector<int64_t>& shape : shapes)
    for (unsigned mask = 0; mask < 1u << shape.size(); ++mask)
      test_sum_case<T>(compare, shape, mask, mask % 2 ? 0.25 : 1,
                       random_values(product(shape), -1, 2));
  test_sum_case<T>(compare, {300000, 2}, 1, 1, random_values(600000, -1, 2));  // three passes
}

// Sums that leave the range of the type on the way, beside such that do not.
template <class T>
void test_far_sum(Comparison& compare) {
  constexpr double kMost = Far<T>::kLargest;
  const std::vector<int64_t> shapes[] = {{5}, {100000}, {600, 3}, {5000, 4}, {3, 5000}};
  for (const std::vector<int64_t>& shape : shapes)
    for (unsigned mask = 1; mask < 1u << shape.size(); ++mask) {
      const auto n = static_cast<size_t>(product(shape));
      int64_t length = 1;
      for (size_t d = 0; d < shape.size(); ++d) length *= mask >> d & 1 ? shape[d] : 1;
      const double scale = 1 / static_cast<double>(length);
      Doubles halves(n, kMost);
      test_sum_case<T>(compare, shape, mask, scale, halves);
      test_sum_case<T>(compare, shape, mask, 1, halves);  // infinity
      for (size_t i = n / 2; i < n; ++i) halves[i] = -kMost;
      test_sum_case<T>(compare, shape, mask, 1, halves);
      Doubles some = random_values(n, -1, 2);
      for (size_t i = 0; i < n; i += 2) some[i] = kMost;
      some[n / 2 + 1] = kNan;
      test_sum_case<T>(compare, shape, mask, scale, some);
    }
}

// -- softmax -----------------------------------------------------------------------------

template <class T>
void test_softmax_values(Comparison& compare, const Lines& l, const Doubles& values) {
  for (bptt_softmax_kind kind : {BPTT_SOFTMAX, BPTT_LOG_SOFTMAX}) {
    const std::string name = std::string(kind == BPTT_LOG_SOFTMAX ? "log-softmax" : "softmax") +
                             " of " + show({l.outer, l.classes, l.inner});
    compare(name, kSideTolerance<T>, [&](Side& s) {
      Numbers<T> x(s, values), out(s, l.size() + 1);
      s.done(s.ops.softmax(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, x, out));
      return Outputs{out.read()};
    });
    compare(name + " backward", kSideTolerance<T>, [&](Side& s) {
      Numbers<T> y(s, random_values(l.size(), -4, 0)), dy(s, random_values(l.size(), -1, 1, 3));
      Numbers<T> dx(s, l.size() + 1);
      s.done(s.ops.softmax_backward(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, y,
                                    dy, dx));
      return Outputs{dx.read()};
    });
  }
}

template <class T>
void test_softmax(Comparison& compare) {
  for (const Lines& l : kLines) test_softmax_values<T>(compare, l, random_values(l.size(), -9, 9));
  for (const Lines& l : {Lines{4, 5, 1}, Lines{1, 5, 4}}) {
    Doubles values = random_values(l.size());
    values[static_cast<size_t>(l.at(0, 2))] = -kInf;
    values[static_cast<size_t>(l.at(1, 0))] = kNan;
    for (int64_t c = 0; c < 5; ++c) values[static_cast<size_t>(l.at(2, c))] = -kInf;
    values[static_cast<size_t>(l.at(3, 3))] = kInf;
    test_softmax_values<T>(compare, l, values);
  }
  test_softmax_values<T>(compare, {3, 0, 2}, {});
}

// -- layer norm ----------------------------------------------------------------------------

template <class T>
void test_layer_norm_case(Comparison& compare, int64_t rows, int64_t cols, bool gamma, bool beta) {
  const std::string name = "layer_norm of " + show({rows, cols});
  const Doubles x = random_values(rows * cols, -2, 3), weight = random_values(cols, 0.5, 2, 8);
  compare(name, kSideTolerance<T>, [&](Side& s) {
    Numbers<T> in(s, x), g(s, weight), b(s, random_values(cols, -1, 1, 9));
    Numbers<T> y(s, rows * cols), plain(s, rows * cols), mean(s, rows), rstd(s, rows);
    s.done(s.ops.layer_norm(&s.context, dtype_of<T>, rows, cols, 1e-5, in,
                            gamma ? static_cast<T*>(g) : nullptr,
                            beta ? static_cast<T*>(b) : nullptr, y, mean, rstd));
    s.done(s.ops.layer_norm(&s.context, dtype_of<T>, rows, cols, 1e-5, in, nullptr, nullptr, plain,
                            nullptr, nullptr));
    return Outputs{y.read(), mean.read(), rstd.read(), plain.read()};
  });
  compare(name + " backward", kSideTolerance<T>, [&](Side& s) {
    Numbers<T> in(s, x), g(s, weight), dy(s, random_values(rows * cols, -1, 1.5, 4));
    Numbers<T> mean(s, random_values(rows, -0.5, 0.5, 5)), rstd(s, random_values(rows, 0.5, 1, 6));
    Numbers<T> dx(s, rows * cols), dgamma(s, cols), dbeta(s, cols);
    s.done(s.ops.layer_norm_backward(
        &s.context, dtype_of<T>, rows, cols, in, gamma ? static_cast<T*>(g) : nullptr, mean, rstd,
        dy, beta ? nullptr : static_cast<T*>(dx), gamma ? static_cast<T*>(dgamma) : nullptr,
        beta ? static_cast<T*>(dbeta) : nullptr));
    return Outputs{dx.read(), dgamma.read(), dbeta.read()};
  });
}

template <class T>
void test_layer_norm(Comparison& compare) {
  const int64_t sizes[][2] = {{0, 4}, {1, 1}, {5, 7}, {33, 513}, {4, 1000}, {1300, 3}};
  for (const auto& size : sizes)
    for (bool gamma : {false, true})
      for (bool beta : {false, true})
        test_layer_norm_case<T>(compare, size[0], size[1], gamma, beta);
}

// Rows of many magnitudes side by side. Of dx, those that are not denormal.
template <class T>
void test_far_layer_norm_case(Comparison& compare, int64_t cols, double eps) {
  struct Kind {
    double scale, offset;
    bool dx;
  };
  const Kind kinds[] = {{1, 0, true},
                        {Far<T>::kLarge, 0, true},
                        {Far<T>::kLargest / 4, 0, false},
                        {Far<T>::kLargest / 4, 1, false},
                        {1, 1000, true},
                        {Far<T>::kSmall, 0, true},
                        {Far<T>::kLarge, 1000, true}};
  const int64_t rows = 2 * static_cast<int64_t>(std::size(kinds));
  const auto kind_of = [&](int64_t row) { return kinds[row % std::size(kinds)]; };
  Doubles x;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t j = 0; j < cols; ++j)
      x.push_back(kind_of(row).scale * (static_cast<double>(j % 7 - 3) + kind_of(row).offset));
  const std::string name = "layer_norm of far rows of " + std::to_string(cols);
  compare(name, 2 * kSideTolerance<T>, [&](Side& s) {
    Numbers<T> in(s, x), gamma(s, random_values(cols, 0.5, 2, 8));
    Numbers<T> dy(s, random_values(rows * cols, -1, 1.5, 4));
    Numbers<T> y(s, rows * cols), mean(s, rows), rstd(s, rows);
    Numbers<T> dx(s, rows * cols), dgamma(s, cols);
    s.done(s.ops.layer_norm(&s.context, dtype_of<T>, rows, cols, eps, in, nullptr, nullptr, y, mean,
                            rstd));
    s.done(s.ops.layer_norm_backward(&s.context, dtype_of<T>, rows, cols, in, gamma, mean, rstd, dy,
                                     dx, dgamma, nullptr));
    Outputs outputs{y.read(), dgamma.read()};
    const Doubles all = dx.read(), means = mean.read();
    for (int64_t row = 0; row < rows; ++row) {
      outputs.push_back({means[static_cast<size_t>(row)], kind_of(row).scale});
      if (kind_of(row).dx)
        outputs.emplace_back(all.begin() + row * cols, all.begin() + (row + 1) * cols);
    }
    return outputs;
  });
}

template <class T>
void test_far_layer_norm(Comparison& compare) {
  for (int64_t cols : {7, 35, 700})
    for (double eps : {0.0, 1e-5}) test_far_layer_norm_case<T>(compare, cols, eps);
  // Constant rows are zeros, whatever their magnitude.
  Side& s = compare.cuda();
  const double values[] = {0, 1000.1, 0.1, Far<T>::kLarge, 1.3 * Far<T>::kLargest};
  for (double value : values) {
    Numbers<T> x(s, Doubles(14, value)), y(s, 14);
    s.done(s.ops.layer_norm(&s.context, dtype_of<T>, 2, 7, 1e-5, x, nullptr, nullptr, y, nullptr,
                            nullptr));
    check_close("layer_norm of a constant row", y.read(), Doubles(14, 0), 0);
  }
  constexpr double kMost = Far<T>::kLargest;
  // A deviation that leaves the range.
  compare("layer_norm of one far apart", kSideTolerance<T>, [](Side& side) {
    Numbers<T> in(side, {-kMost, kMost, kMost}), dy(side, {1, 2, 4}), y(side, 3), dgamma(side, 3);
    Numbers<T> mean(side, 1), rstd(side, 1);
    side.done(side.ops.layer_norm(&side.context, dtype_of<T>, 1, 3, 1e-5, in, nullptr, nullptr, y,
                                  mean, rstd));
    side.done(side.ops.layer_norm_backward(&side.context, dtype_of<T>, 1, 3, in, nullptr, mean,
                                           rstd, dy, nullptr, dgamma, nullptr));
    return Outputs{y.read(), dgamma.read()};
  });
  // Gradients whose sum leaves the range.
  compare("layer_norm backward of far gradients", kSideTolerance<T>, [](Side& side) {
    Numbers<T> in(side, {1, 2, 3, 4}), mean(side, Doubles{2.5}), rstd(side, Doubles{0.125}),
        dx(side, 4);
    Numbers<T> dy(side, {kMost, kMost, kMost, kMost / 2});
    side.done(side.ops.layer_norm_backward(&side.context, dtype_of<T>, 1, 4, in, nullptr, mean,
                                           rstd, dy, dx, nullptr, nullptr));
    return Outputs{dx.read()};
  });
}

// A stream's operations run on a thread of its own, which did not open the device. entry is
// the first that it runs.
template <class Entry>
void test_other_thread(const bptt_backend& cuda, const Entry& entry) {
  Side s(cuda);
  Numbers<float> x(s, 9001);
  std::thread([&] { s.done(entry(s, x)); }).join();
  s.done(s.wait());
}

void test_other_threads(const bptt_backend& cuda) {
  test_other_thread(
      cuda, [](Side& s, float* x) { return s.ops.fill(&s.context, BPTT_FLOAT32, 9000, 1, x); });
  // It needs scratch memory before its first kernel.
  test_other_thread(cuda, [](Side& s, float* x) {
    const int64_t shape[] = {9000};
    const int reduced[] = {1};
    return s.ops.sum(&s.context, BPTT_FLOAT32, 1, shape, reduced, 1, x, x + 9000);
  });
}

template <class T>
void test_all(Comparison& compare) {
  test_fill<T>(compare);
  test_unary<T>(compare);
  test_binary<T>(compare);
  test_copy<T>(compare);
  test_random<T>(compare);
  test_sum<T>(compare);
  test_far_sum<T>(compare);
  test_softmax<T>(compare);
  test_layer_norm<T>(compare);
  test_far_layer_norm<T>(compare);
}

}  // namespace

int main() {
  if (const bptt_backend* cuda = cuda_backend()) {
    Comparison compare(*cuda, *bptt::cpu_backend());
    test_all<float>(compare);
    test_all<double>(compare);
    test_fill<int32_t>(compare);
    test_copy<int32_t>(compare);
    test_large(compare);
    test_other_threads(*cuda);
  }
  return finish();
}
