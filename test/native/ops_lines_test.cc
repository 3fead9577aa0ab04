// Ops along an axis: extreme, sort, cumsum, gather, scatter_add and fold.
#include <algorithm>
#include <numeric>

#include "ops.h"

using namespace bptt_test;

namespace {

const double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

std::string name_of(const char* op, const Lines& s) {
  return std::string(op) + " of " + std::to_string(s.outer) + "," + std::to_string(s.classes) +
         "," + std::to_string(s.inner);
}

// Whole numbers with ties and, of floats, NaN.
template <class T>
Doubles tied_values(const Lines& s, bool nans) {
  Doubles x = random_values(s.size(), -9, 9);
  for (double& v : x) v = std::trunc(v);
  if (nans && !std::is_integral_v<T>)
    for (size_t i = 0; i < x.size(); i += 11) x[i] = kNan;
  return x;
}

// NaN is greater than all numbers.
bool is_greater(double a, double b) { return std::isnan(a) ? !std::isnan(b) : a > b; }

// The places of a line's elements in order.
std::vector<int64_t> order_of(const Lines& s, const Doubles& x, int64_t r, bool descending) {
  std::vector<int64_t> places(s.classes);
  std::iota(places.begin(), places.end(), 0);
  std::stable_sort(places.begin(), places.end(), [&](int64_t a, int64_t b) {
    const double left = x[s.at(r, a)], right = x[s.at(r, b)];
    return descending ? is_greater(left, right) : is_greater(right, left);
  });
  return places;
}

template <class T>
Doubles together(const Array<T>& values, const Array<int32_t>& index) {
  Doubles all = values.doubles();
  for (double v : index.doubles()) all.push_back(v);
  return all;
}

// -- extreme and sort ---------------------------------------------------------------

template <class T>
void test_extreme(const Lines& s, bptt_extreme kind, bool nans) {
  const Doubles x = tied_values<T>(s, nans);
  Doubles values, places;
  for (int64_t r = 0; r < s.rows(); ++r) {
    int64_t best = 0;
    for (int64_t c = 1; c < s.classes; ++c) {
      const double value = x[s.at(r, c)], so_far = x[s.at(r, best)];
      const bool beyond = kind == BPTT_LARGEST ? value > so_far : value < so_far;
      if (!std::isnan(so_far) && (beyond || std::isnan(value))) best = c;
    }
    values.push_back(x[s.at(r, best)]);
    places.push_back(static_cast<double>(best));
  }
  Doubles expected = values;
  expected.insert(expected.end(), places.begin(), places.end());
  check_everywhere(name_of("extreme", s), expected, 0, [&](Backend& b) {
    Array<T> in(x), out(s.rows());
    Array<int32_t> index(s.rows());
    CHECK(b.ops.extreme(&b.context, dtype_of<T>, kind, s.outer, s.classes, s.inner, in,
                        static_cast<T*>(out), index) == BPTT_OK);
    CHECK(b.ops.extreme(&b.context, dtype_of<T>, kind, s.outer, s.classes, s.inner, in, nullptr,
                        index) == BPTT_OK);
    return together(out, index);
  });
}

template <class T>
void test_sort(const Lines& s, int64_t k, bool descending) {
  const Doubles x = tied_values<T>(s, true);
  Doubles expected(2 * s.outer * k * s.inner);
  for (int64_t r = 0; r < s.rows(); ++r) {
    const std::vector<int64_t> places = order_of(s, x, r, descending);
    for (int64_t i = 0; i < k; ++i) {
      const int64_t to = Lines{s.outer, k, s.inner}.at(r, i);
      expected[to] = x[s.at(r, places[i])];
      expected[s.outer * k * s.inner + to] = static_cast<double>(places[i]);
    }
  }
  check_everywhere(name_of("sort", s) + " k " + std::to_string(k), expected, 0, [&](Backend& b) {
    Array<T> in(x), out(s.outer * k * s.inner);
    Array<int32_t> index(s.outer * k * s.inner);
    CHECK(b.ops.sort(&b.context, dtype_of<T>, descending, k, s.outer, s.classes, s.inner, in, out,
                     index) == BPTT_OK);
    return together(out, index);
  });
}

template <class T>
void test_order() {
  for (const Lines& s : kLines) {
    for (bptt_extreme kind : {BPTT_LARGEST, BPTT_SMALLEST})
      for (bool nans : {false, true}) test_extreme<T>(s, kind, nans);
    for (bool descending : {false, true})
      for (int64_t k : {int64_t{1}, int64_t{5}, int64_t{100}, s.classes})
        if (k <= s.classes) test_sort<T>(s, k, descending);
  }
}

// -- cumsum ---------------------------------------------------------------------------

template <class T>
void test_cumsum(const Lines& s, bool reverse) {
  Doubles x = random_values(s.size(), -1, 3), expected(s.size());
  if (std::is_integral_v<T>)
    for (double& v : x) v = std::trunc(v * 100);
  for (int64_t r = 0; r < s.rows(); ++r) {
    double sum = 0;
    for (int64_t i = 0; i < s.classes; ++i) {
      const int64_t at = s.at(r, reverse ? s.classes - 1 - i : i);
      expected[at] = sum += x[at];
    }
  }
  check_everywhere(name_of("cumsum", s), expected, std::is_integral_v<T> ? 0 : kTolerance<T>,
                   [&](Backend& b) {
                     Array<T> in(x), out(s.size());
                     CHECK(b.ops.cumsum(&b.context, dtype_of<T>, reverse, s.outer, s.classes,
                                        s.inner, in, out) == BPTT_OK);
                     return out.doubles();
                   });
}

template <class T>
void test_far_cumsum() {
  const double most = std::numeric_limits<T>::max() / 4 * 3;
  check_everywhere("cumsum that leaves the range", {most, kInfinity, most, 0, 1}, 1e-6,
                   [&](Backend& b) {
                     Array<T> in(Doubles{most, most, -most, -most, 1}), out(5);
                     CHECK(b.ops.cumsum(&b.context, dtype_of<T>, 0, 1, 5, 1, in, out) == BPTT_OK);
                     return out.doubles();
                   });
  check_everywhere("cumsum of infinities", {1, kInfinity, kInfinity, kNan}, 0, [&](Backend& b) {
    Array<T> in(Doubles{1, kInfinity, 1, -kInfinity}), out(4);
    CHECK(b.ops.cumsum(&b.context, dtype_of<T>, 0, 1, 4, 1, in, out) == BPTT_OK);
    return out.doubles();
  });
}

// -- gather and scatter_add -------------------------------------------------------------

template <class T>
void test_picks(const Lines& s, int64_t m, bptt_pick kind) {
  const bool shared = kind == BPTT_INDEX_SELECT;
  const Lines picked{s.outer, m, s.inner};
  std::vector<int32_t> index(shared ? m : picked.size());
  for (size_t i = 0; i < index.size(); ++i)
    index[i] = static_cast<int32_t>(i * i * 7 % static_cast<size_t>(s.classes));
  Doubles x = random_values(s.size()), source = random_values(picked.size(), -1, 3, 4);
  if (std::is_integral_v<T>) {
    for (double& v : x) v = std::trunc(v * 100);
    for (double& v : source) v = std::trunc(v * 100);
  }
  Doubles gathered(picked.size()), added = x;
  for (int64_t r = 0; r < picked.rows(); ++r) {
    for (int64_t j = 0; j < m; ++j) {
      const int64_t at = picked.at(r, j), from = s.at(r, index[shared ? j : at]);
      gathered[at] = x[from];
      added[from] += source[at];
    }
  }
  check_everywhere(name_of("gather", s), gathered, 0, [&](Backend& b) {
    Array<T> in(x), out(picked.size());
    CHECK(b.ops.gather(&b.context, dtype_of<T>, kind, s.outer, s.classes, s.inner, m, in,
                       index.data(), out) == BPTT_OK);
    return out.doubles();
  });
  check_everywhere(
      name_of("scatter_add", s), added, std::is_integral_v<T> ? 0 : kTolerance<T>, [&](Backend& b) {
        Array<T> base(x), from(source), out(s.size());
        CHECK(b.ops.scatter_add(&b.context, dtype_of<T>, kind, s.outer, s.classes, s.inner, m,
                                index.data(), static_cast<T*>(base), from, out) == BPTT_OK);
        return out.doubles();
      });
}

template <class T>
void test_pick_failures() {
  for (const int32_t bad : {-1, 3}) {
    for (const bptt_ops* table : cpu_tables()) {
      Backend b(table);
      Array<T> x(6), out(2);
      const int32_t index[] = {0, bad};
      CHECK(b.ops.gather(&b.context, dtype_of<T>, BPTT_GATHER, 1, 3, 2, 1, x, index, out) ==
            BPTT_INDEX);
      CHECK(std::strstr(b.context.message, "gather: index[1]"));
      CHECK(out.doubles() == Doubles(2, -77));  // nothing is written
      CHECK(b.ops.scatter_add(&b.context, dtype_of<T>, BPTT_ONE_HOT, 1, 3, 2, 1, index, nullptr,
                              out, x) == BPTT_INDEX);
    }
  }
}

template <class T>
void test_far_scatter_add() {
  const double most = std::numeric_limits<T>::max() / 4 * 3;
  check_everywhere("scatter_add that leaves the range", {0, most}, 1e-6, [&](Backend& b) {
    const std::vector<int32_t> index{1, 1, 1};
    Array<T> source(Doubles{most, most, -most}), out(2);
    CHECK(b.ops.scatter_add(&b.context, dtype_of<T>, BPTT_SCATTER_ADD, 1, 2, 1, 3, index.data(),
                            nullptr, source, out) == BPTT_OK);
    return out.doubles();
  });
}

// -- folds ------------------------------------------------------------------------------

double fold(const Doubles& x, bptt_fold kind, double alpha) {
  const double n = static_cast<double>(x.size());
  double sum = 0, squares = 0, product = 1, most = -kInfinity, exps = 0;
  for (double v : x) {
    sum += v;
    product *= v;
    most = std::fmax(most, v);
  }
  if (kind == BPTT_PROD) return product;
  if (kind == BPTT_LOG_SUM_EXP) {
    for (double v : x) exps += std::exp(v - most);
    return most + std::log(exps);
  }
  const double mean = kind == BPTT_NORM ? 0 : sum / n;
  for (double v : x) squares += (v - mean) * (v - mean);
  if (kind == BPTT_NORM) return std::sqrt(squares);
  const double variance = squares / std::fmax(n - alpha, 0);
  return kind == BPTT_STD ? std::sqrt(variance) : variance;
}

constexpr bptt_fold kFolds[] = {BPTT_PROD, BPTT_VARIANCE, BPTT_STD, BPTT_NORM, BPTT_LOG_SUM_EXP};

template <class T>
void test_fold(const Lines& s, bptt_fold kind, double alpha) {
  if (s.classes == 0) return;
  // Factors near 1, so that their product stays a number.
  const Doubles x =
      kind == BPTT_PROD ? random_values(s.size(), 0.9, 1.1) : random_values(s.size(), -1, 3);
  Doubles expected;
  for (int64_t r = 0; r < s.rows(); ++r) {
    Doubles line;
    for (int64_t c = 0; c < s.classes; ++c) line.push_back(x[s.at(r, c)]);
    expected.push_back(fold(line, kind, alpha));
  }
  const double tolerance = kind == BPTT_PROD ? 20 * kTolerance<T> : 2 * kTolerance<T>;
  check_everywhere(name_of("fold", s) + " " + std::to_string(kind), expected, tolerance,
                   [&](Backend& b) {
                     Array<T> in(x), out(s.rows());
                     CHECK(b.ops.fold(&b.context, dtype_of<T>, kind, alpha, s.outer, s.classes,
                                      s.inner, in, out) == BPTT_OK);
                     return out.doubles();
                   });
}

template <class T>
void test_fold_of(const char* name, bptt_fold kind, const Doubles& x, double expected) {
  check_everywhere(name, {expected}, 4 * kTolerance<T>, [&](Backend& b) {
    Array<T> in(x), out(1);
    const auto n = static_cast<int64_t>(x.size());
    CHECK(b.ops.fold(&b.context, dtype_of<T>, kind, 1, 1, n, 1, in, out) == BPTT_OK);
    return out.doubles();
  });
}

template <class T>
void test_far_folds() {
  // A power of two whose square leaves the range, and one whose square is 0.
  const double large = sizeof(T) == 4 ? 0x1p100 : 0x1p900, small = 1 / large;
  test_fold_of<T>("std of large", BPTT_STD, {large, 2 * large, 3 * large}, large);
  test_fold_of<T>("std of small", BPTT_STD, {small, 2 * small, 3 * small}, small);
  test_fold_of<T>("variance of large", BPTT_VARIANCE, {large, 2 * large, 3 * large}, kInfinity);
  test_fold_of<T>("std of a far mean", BPTT_STD, {4096.25, 4096.5, 4096.75}, 0.25);
  test_fold_of<T>("std of a constant", BPTT_STD, Doubles(7, 0.1f), 0);
  test_fold_of<T>("std of one", BPTT_STD, {5}, kNan);
  test_fold_of<T>("std of none", BPTT_STD, {}, kNan);
  test_fold_of<T>("std of infinity", BPTT_STD, {1, kInfinity}, kNan);
  test_fold_of<T>("norm of large", BPTT_NORM, {3 * large, 4 * large}, 5 * large);
  test_fold_of<T>("norm of small", BPTT_NORM, {3 * small, 4 * small}, 5 * small);
  test_fold_of<T>("norm of zeros", BPTT_NORM, {0, 0}, 0);
  test_fold_of<T>("norm of none", BPTT_NORM, {}, 0);
  test_fold_of<T>("norm of infinity", BPTT_NORM, {-kInfinity, 1}, kInfinity);
  test_fold_of<T>("norm of NaN", BPTT_NORM, {kNan, large}, kNan);
  test_fold_of<T>("prod of large and small", BPTT_PROD, {large, large, -small, small}, -1);
  test_fold_of<T>("prod of large and zero", BPTT_PROD, {large, large, 0}, 0);
  test_fold_of<T>("prod beyond the range", BPTT_PROD, {large, -large}, -kInfinity);
  test_fold_of<T>("prod of infinity and zero", BPTT_PROD, {kInfinity, 0}, kNan);
  test_fold_of<T>("prod of infinity", BPTT_PROD, {kInfinity, -2}, -kInfinity);
  test_fold_of<T>("prod of none", BPTT_PROD, {}, 1);
  test_fold_of<T>("prod of many", BPTT_PROD, Doubles(3000, 0.5), std::ldexp(1, -3000));
  test_fold_of<T>("logSumExp of large", BPTT_LOG_SUM_EXP, {1000, 1000}, 1000 + std::log(2));
  test_fold_of<T>("logSumExp of small", BPTT_LOG_SUM_EXP, {-1000, -kInfinity}, -1000);
  test_fold_of<T>("logSumExp of -inf", BPTT_LOG_SUM_EXP, {-kInfinity, -kInfinity}, -kInfinity);
  test_fold_of<T>("logSumExp of inf", BPTT_LOG_SUM_EXP, {1, kInfinity}, kInfinity);
  test_fold_of<T>("logSumExp of NaN", BPTT_LOG_SUM_EXP, {kNan, kInfinity}, kNan);
  test_fold_of<T>("logSumExp of none", BPTT_LOG_SUM_EXP, {}, -kInfinity);
}

// The sum of squares by the tree of docs/numerics.md.
template <class T>
void test_norm_order() {
  for (int64_t n : {7, 300, 5000}) {
    const Doubles x = random_values(n, -1, 3);
    std::vector<T> squares;
    for (double v : x) squares.push_back(static_cast<T>(v) * static_cast<T>(v));
    check_everywhere("order of a norm's sum", {std::sqrt(tree_sum<T>(squares.data(), n))}, 0,
                     [&](Backend& b) {
                       Array<T> in(x), out(1);
                       b.ops.fold(&b.context, dtype_of<T>, BPTT_NORM, 0, 1, n, 1, in, out);
                       return out.doubles();
                     });
  }
}

template <class T>
void test_sums() {
  for (const Lines& s : kLines) {
    for (bool reverse : {false, true}) test_cumsum<T>(s, reverse);
    for (int64_t m : {0, 1, 40})
      for (bptt_pick kind : {BPTT_GATHER, BPTT_INDEX_SELECT}) test_picks<T>(s, m, kind);
  }
  test_pick_failures<T>();
}

void test_bools() {
  const uint8_t x[] = {1, 0, 0, 1};
  const std::vector<int32_t> index{3, 1};
  check_everywhere("gather of bool", {1, 0}, 0, [&](Backend& b) {
    uint8_t out[2];
    CHECK(b.ops.gather(&b.context, BPTT_BOOL, BPTT_GATHER, 1, 4, 1, 2, x, index.data(), out) ==
          BPTT_OK);
    int32_t places[1];
    CHECK(b.ops.extreme(&b.context, BPTT_BOOL, BPTT_LARGEST, 1, 4, 1, x, out, places) ==
          BPTT_INTERNAL);
    return Doubles(out, out + 2);
  });
}

template <class T>
void test_floats() {
  test_order<T>();
  test_sums<T>();
  test_far_cumsum<T>();
  test_far_scatter_add<T>();
  for (const Lines& s : kLines)
    for (bptt_fold kind : kFolds)
      for (double alpha : {0., 1.}) test_fold<T>(s, kind, alpha);
  test_far_folds<T>();
  test_norm_order<T>();
}

}  // namespace

int main() {
  test_floats<float>();
  test_floats<double>();
  test_order<int32_t>();
  test_sums<int32_t>();
  test_bools();
  return finish();
}
