// Ops along an axis of the CUDA backend: extreme, sort, cumsum, gather, scatter_add and fold.
#include "backend/sides.h"

using namespace bptt_test;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

constexpr Lines kCases[] = {{1, 1, 1}, {3, 17, 1},  {2, 700, 1}, {40, 33, 1},
                            {2, 5, 3}, {2, 33, 70}, {0, 3, 1},   {3, 4, 0}};

// Whole numbers with ties and, of floats, NaN.
template <class T>
Doubles tied_values(const Lines& l) {
  Doubles x = random_values(l.size(), -9, 9);
  for (double& v : x) v = std::trunc(v);
  for (size_t i = 0; !std::is_integral_v<T> && i < x.size(); i += 11) x[i] = kNan;
  return x;
}

template <class T>
void test_order(Comparison& compare) {
  for (const Lines& l : kCases) {
    for (bptt_extreme kind : {BPTT_LARGEST, BPTT_SMALLEST})
      compare("extreme", 0, [&](Side& s) {
        Numbers<T> x(s, tied_values<T>(l)), values(s, l.rows() + 1);
        Numbers<int32_t> index(s, l.rows() + 1), alone(s, l.rows() + 1);
        s.done(s.ops.extreme(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, x,
                             static_cast<T*>(values), index));
        s.done(s.ops.extreme(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, x, nullptr,
                             alone));
        return Outputs{values.read(), index.read(), alone.read()};
      });
    for (bool descending : {false, true})
      for (int64_t k : {int64_t{1}, l.classes})
        compare("sort", 0, [&](Side& s) {
          const int64_t n = l.outer * k * l.inner + 1;
          Numbers<T> x(s, tied_values<T>(l)), values(s, n);
          Numbers<int32_t> index(s, n);
          s.done(s.ops.sort(&s.context, dtype_of<T>, descending, k, l.outer, l.classes, l.inner, x,
                            values, index));
          return Outputs{values.read(), index.read()};
        });
  }
}

// Sums in the CPU's order: the same bits.
template <class T>
void test_cumsum(Comparison& compare) {
  for (const Lines& l : kCases)
    for (bool reverse : {false, true})
      compare("cumsum", 0, [&](Side& s) {
        Numbers<T> x(s, random_values(l.size(), -99, 99)), out(s, l.size() + 1);
        s.done(s.ops.cumsum(&s.context, dtype_of<T>, reverse, l.outer, l.classes, l.inner, x, out));
        return Outputs{out.read()};
      });
  if (std::is_integral_v<T>) return;
  constexpr double kMost = Far<T>::kLargest;
  for (const Doubles& far : {Doubles{kMost, kMost, -kMost, -kMost}, Doubles{1, kInf, 1, -kInf}})
    compare("cumsum that leaves the range", 0, [&](Side& s) {
      Numbers<T> x(s, far), out(s, 4);
      s.done(s.ops.cumsum(&s.context, dtype_of<T>, 0, 1, 4, 1, x, out));
      return Outputs{out.read()};
    });
}

template <class T>
void test_picks(Comparison& compare) {
  for (const Lines& l : kCases)
    for (bptt_pick kind : {BPTT_GATHER, BPTT_INDEX_SELECT})
      for (int64_t m : {0, 1, 40}) {
        const Lines picked{l.outer, m, l.inner};
        Doubles index(kind == BPTT_INDEX_SELECT ? m : picked.size());
        for (size_t i = 0; i < index.size(); ++i)
          index[i] = static_cast<double>(i * i * 7 % static_cast<size_t>(l.classes));
        compare("gather and scatter_add", 0, [&](Side& s) {
          Numbers<int32_t> places(s, index);
          Numbers<T> x(s, random_values(l.size(), -99, 99)), out(s, picked.size() + 1);
          Numbers<T> source(s, random_values(picked.size(), -99, 99, 4)), sums(s, l.size() + 1);
          Numbers<T> alone(s, l.size() + 1);
          s.done(s.ops.gather(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, m, x,
                              places, out));
          s.done(s.ops.scatter_add(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, m,
                                   places, static_cast<T*>(x), source, sums));
          s.done(s.ops.scatter_add(&s.context, dtype_of<T>, kind, l.outer, l.classes, l.inner, m,
                                   places, nullptr, source, alone));
          return Outputs{out.read(), sums.read(), alone.read()};
        });
      }
  // Zeros where the index is out of range, an error at the next wait, and all well after it.
  Side& s = compare.cuda();
  Numbers<T> x(s, {1, 2, 3, 4}), out(s, 3), sums(s, 4);
  for (double bad : {4.0, -1.0}) {
    Numbers<int32_t> index(s, {3, bad, 0});
    s.done(s.ops.gather(&s.context, dtype_of<T>, BPTT_GATHER, 1, 4, 1, 3, x, index, out));
    CHECK(s.wait() == BPTT_INDEX);
    check_close("bad index", out.read(), {4, 0, 1}, 0);
    s.done(s.ops.scatter_add(&s.context, dtype_of<T>, BPTT_GATHER, 1, 4, 1, 3, index, nullptr, x,
                             sums));
    CHECK(s.wait() == BPTT_INDEX);
    check_close("bad index of a sum", sums.read(), {3, 0, 0, 1}, 0);
  }
  if (std::is_integral_v<T>) return;
  constexpr double kMost = Far<T>::kLargest;
  compare("scatter_add that leaves the range", 0, [&](Side& side) {
    Numbers<int32_t> index(side, {1, 1, 1});
    Numbers<T> source(side, {kMost, kMost, -kMost}), to(side, 2);
    side.done(side.ops.scatter_add(&side.context, dtype_of<T>, BPTT_SCATTER_ADD, 1, 2, 1, 3, index,
                                   nullptr, source, to));
    return Outputs{to.read()};
  });
}

void test_bools(Comparison& compare) {
  compare("gather of bool", 0, [&](Side& s) {
    Numbers<int32_t> index(s, {3, 1, 0});
    Numbers<uint8_t> x(s, {1, 0, 0, 1}), out(s, 3);
    s.done(s.ops.gather(&s.context, BPTT_BOOL, BPTT_GATHER, 1, 4, 1, 3, x, index, out));
    return Outputs{out.read()};
  });
  Side& s = compare.cuda();
  Numbers<uint8_t> x(s, {1, 0});
  Numbers<int32_t> index(s, 1);
  CHECK(s.ops.extreme(&s.context, BPTT_BOOL, BPTT_LARGEST, 1, 2, 1, x, nullptr, index) ==
        BPTT_INTERNAL);
}

template <class T>
void compare_fold(Comparison& compare, bptt_fold kind, const Lines& l, const Doubles& values) {
  compare("fold " + std::to_string(kind), 4 * kSideTolerance<T>, [&](Side& s) {
    Numbers<T> x(s, values), out(s, l.rows() + 1);
    s.done(s.ops.fold(&s.context, dtype_of<T>, kind, 1, l.outer, l.classes, l.inner, x, out));
    return Outputs{out.read()};
  });
}

template <class T>
void test_folds(Comparison& compare) {
  constexpr double kLarge = Far<T>::kLarge, kSmall = 1 / kLarge;
  for (bptt_fold kind : {BPTT_PROD, BPTT_VARIANCE, BPTT_STD, BPTT_NORM, BPTT_LOG_SUM_EXP}) {
    for (const Lines& l : kCases) {
      if (l.classes == 1 && (kind == BPTT_VARIANCE || kind == BPTT_STD)) continue;
      compare_fold<T>(compare, kind, l, random_values(l.size(), 0.5, 2));
    }
    const std::vector<Doubles> far = {
        {},
        {5},
        {0, 0, 0},
        {kLarge, 2 * kLarge, 3 * kLarge},
        {kSmall, 2 * kSmall, 3 * kSmall},
        {kLarge, kLarge, -kSmall, kSmall},
        {kLarge, kLarge, 0},
        {4096.25, 4096.5, 4096.75},
        {1000, 1000},
        {-kInf, -kInf},
        {1, kInf},
        {kNan, kInf},
        Doubles(600, 0.25),
    };
    for (const Doubles& x : far)
      compare_fold<T>(compare, kind, {1, static_cast<int64_t>(x.size()), 1}, x);
  }
}

template <class T>
void test_all(Comparison& compare) {
  test_order<T>(compare);
  test_cumsum<T>(compare);
  test_picks<T>(compare);
}

}  // namespace

int main() {
  if (const bptt_backend* cuda = cuda_backend()) {
    Comparison compare(*cuda, *bptt::cpu_backend());
    test_all<float>(compare);
    test_all<double>(compare);
    test_all<int32_t>(compare);
    test_bools(compare);
    test_folds<float>(compare);
    test_folds<double>(compare);
  }
  return finish();
}
