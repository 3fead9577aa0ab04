// Conversions, comparisons, masks, and the arithmetic of int32 and bool.
#include <algorithm>

#include "ops.h"

using namespace bptt_test;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();
constexpr int64_t kSizes[] = {0, 1, 7, 33, 1000, 20011};

template <class T>
constexpr bptt_dtype kind_of = std::is_same_v<T, uint8_t> ? BPTT_BOOL : dtype_of<T>;

// Values of T: few, so that many are equal.
template <class T>
Doubles values_of(int64_t n, unsigned seed) {
  Doubles values = random_values(static_cast<size_t>(n), -3, 4, seed);
  for (double& v : values) {
    if (std::is_same_v<T, uint8_t>) v = v > 0;
    if (std::is_same_v<T, int32_t>) v = std::floor(v);
    if (std::is_floating_point_v<T>) v = std::floor(v * 2) / 2;
  }
  if (std::is_floating_point_v<T> && n > 5) values[5] = kNan;
  return values;
}

template <class From, class To>
void test_convert() {
  for (int64_t n : kSizes) {
    Doubles x = values_of<From>(n, 1), expected;
    if (std::is_floating_point_v<From> && n > 9)
      x[0] = kInf, x[1] = -kInf, x[2] = 3e9, x[3] = -3e9, x[4] = -2147483648.0, x[6] = -0.0;
    for (double v : x) {
      const double end = 2147483648.0;
      expected.push_back(std::is_same_v<To, uint8_t>    ? double(v != 0)
                         : !std::is_same_v<To, int32_t> ? v
                         : std::isnan(v) ? 0
                                         : std::clamp(std::trunc(v), -end, end - 1) + 0.0);
    }
    check_everywhere("convert", expected, 0, [&](Backend& b) {
      Array<From> in(x);
      Array<To> out(static_cast<size_t>(n));
      CHECK(b.ops.convert(&b.context, kind_of<From>, kind_of<To>, n, in, out) == BPTT_OK);
      return out.doubles();
    });
  }
}

template <class T>
void test_conversions() {
  test_convert<T, float>();
  test_convert<T, double>();
  test_convert<T, int32_t>();
  test_convert<T, uint8_t>();
}

struct Layout {
  std::vector<int64_t> shape, a, b;
};
const Layout kLayouts[] = {{{}, {}, {}},
                           {{0}, {1}, {0}},
                           {{20011}, {1}, {1}},
                           {{20011}, {1}, {0}},
                           {{20011}, {0}, {1}},
                           {{129, 9}, {1, 0}, {9, 1}},
                           {{33, 65}, {1, 33}, {65, 1}},
                           {{7, 3, 64}, {64, 0, 1}, {0, 64, 1}}};

int64_t extent(const Layout& l, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  for (size_t d = 0; d < l.shape.size(); ++d) last += (l.shape[d] - 1) * strides[d];
  return product(l.shape) == 0 ? 0 : last + 1;
}

// call(backend, l, a, b, out) is an op of two operands, value(a, b) what it computes.
template <class In, class Out, class Value, class CallOp>
void check_pairs(const char* name, const Value& value, const CallOp& call_op) {
  for (const Layout& l : kLayouts) {
    const Doubles a = values_of<In>(extent(l, l.a), 2), b = values_of<In>(extent(l, l.b), 3);
    Doubles expected(static_cast<size_t>(product(l.shape)));
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      expected[i] = value(a[offset_of(at, l.shape, l.a)], b[offset_of(at, l.shape, l.b)]);
    }
    check_everywhere(name, expected, 0, [&](Backend& backend) {
      Array<In> left(a), right(b);
      Array<Out> out(expected.size());
      CHECK(call_op(backend, l, left, right, out) == BPTT_OK);
      return out.doubles();
    });
  }
}

template <class T>
void test_compare() {
  const auto check = [](bptt_comparison op, const auto& value) {
    check_pairs<T, uint8_t>(
        "compare", value, [&](Backend& b, const Layout& l, T* x, T* y, uint8_t* out) {
          return b.ops.compare(&b.context, kind_of<T>, op, static_cast<int>(l.shape.size()),
                               l.shape.data(), x, l.a.data(), y, l.b.data(), out);
        });
  };
  check(BPTT_EQ, [](double a, double b) { return a == b; });
  check(BPTT_NE, [](double a, double b) { return a != b; });
  check(BPTT_LT, [](double a, double b) { return a < b; });
  check(BPTT_LE, [](double a, double b) { return a <= b; });
  check(BPTT_GT, [](double a, double b) { return a > b; });
  check(BPTT_GE, [](double a, double b) { return a >= b; });
}

template <class T, class Value>
void check_binary(bptt_binary_op op, const Value& value) {
  check_pairs<T, T>("binary", value, [&](Backend& b, const Layout& l, T* x, T* y, T* out) {
    return b.ops.binary(&b.context, kind_of<T>, op, static_cast<int>(l.shape.size()),
                        l.shape.data(), x, l.a.data(), y, l.b.data(), out);
  });
}

void test_binary() {
  check_binary<int32_t>(BPTT_ADD, [](double a, double b) { return a + b; });
  check_binary<int32_t>(BPTT_SUB, [](double a, double b) { return a - b; });
  check_binary<int32_t>(BPTT_MUL, [](double a, double b) { return a * b; });
  check_binary<int32_t>(BPTT_MAXIMUM, [](double a, double b) { return std::max(a, b); });
  check_binary<int32_t>(BPTT_MINIMUM, [](double a, double b) { return std::min(a, b); });
  check_binary<uint8_t>(BPTT_MAXIMUM, [](double a, double b) { return a != 0 || b != 0; });
  check_binary<uint8_t>(BPTT_MINIMUM, [](double a, double b) { return a != 0 && b != 0; });
  Backend b(cpu_tables().front());
  const int64_t n = 1, stride = 1;
  Array<int32_t> x(Doubles{6}), out(1);
  CHECK(b.ops.binary(&b.context, BPTT_INT32, BPTT_DIV, 1, &n, x, &stride, x, &stride, out) ==
        BPTT_INTERNAL);
  CHECK(b.ops.binary(&b.context, BPTT_BOOL, BPTT_ADD, 1, &n, x, &stride, x, &stride, out) ==
        BPTT_INTERNAL);
  CHECK(b.ops.unary(&b.context, BPTT_INT32, BPTT_EXP, 0, 0, 1, x, out) == BPTT_INTERNAL);
}

// Wrapping is that of two's complement.
void test_unary() {
  const Doubles x{0, 1, -1, 7, 2147483647, -2147483648.0, 65536};
  const auto check = [&](bptt_unary_op op, double alpha, const Doubles& expected) {
    check_everywhere("int32 unary", expected, 0, [&](Backend& b) {
      Array<int32_t> in(x), out(x.size());
      CHECK(b.ops.unary(&b.context, BPTT_INT32, op, alpha, 0, static_cast<int64_t>(x.size()), in,
                        out) == BPTT_OK);
      return out.doubles();
    });
  };
  check(BPTT_NEG, 0, {0, -1, 1, -7, -2147483647, -2147483648.0, -65536});
  check(BPTT_ABS, 0, {0, 1, 1, 7, 2147483647, -2147483648.0, 65536});
  check(BPTT_SIGN, 0, {0, 1, -1, 1, 1, -1, 1});
  check(BPTT_SCALE, 65536, {0, 65536, -65536, 458752, -65536, 0, 0});
  check(BPTT_ADD_SCALAR, 1, {1, 2, 0, 8, -2147483648.0, -2147483647, 65537});
  check(BPTT_ADD_SCALAR, -1, {-1, 0, -2, 6, 2147483646, 2147483647, 65535});
}

template <class T>
void test_masked_copy() {
  for (const Layout& l : kLayouts) {
    const Doubles mask = values_of<uint8_t>(extent(l, l.a), 4), x = values_of<T>(extent(l, l.b), 5);
    const auto n = static_cast<size_t>(product(l.shape));
    const Doubles before = values_of<T>(static_cast<int64_t>(n), 6);
    Doubles expected = before;
    for (size_t i = 0; i < n; ++i) {
      const auto at = static_cast<int64_t>(i);
      if (mask[offset_of(at, l.shape, l.a)] != 0) expected[i] = x[offset_of(at, l.shape, l.b)];
    }
    check_everywhere("masked copy", expected, 0, [&](Backend& b) {
      Array<uint8_t> chosen(mask);
      Array<T> src(x), out(before);
      CHECK(b.ops.masked_copy(&b.context, kind_of<T>, static_cast<int>(l.shape.size()),
                              l.shape.data(), chosen, l.a.data(), src, l.b.data(), out) == BPTT_OK);
      return out.doubles();
    });
  }
}

void test_sum() {
  const struct {
    std::vector<int64_t> shape;
    std::vector<int> reduced;
  } cases[] = {
      {{}, {}},           {{0}, {1}},         {{20011}, {1}},         {{70, 30}, {0, 1}},
      {{70, 30}, {1, 0}}, {{70, 30}, {1, 1}}, {{5, 6, 7}, {1, 0, 1}}, {{5, 0, 7}, {0, 1, 0}}};
  for (const auto& c : cases) {
    const int64_t n = product(c.shape);
    Doubles x = values_of<int32_t>(n, 7);
    if (n > 2) x[0] = x[1] = 2147483647;
    std::vector<int64_t> kept;
    for (size_t d = 0; d < c.shape.size(); ++d)
      if (!c.reduced[d]) kept.push_back(c.shape[d]);
    std::vector<uint32_t> sums(static_cast<size_t>(product(kept)));
    for (int64_t i = 0; i < n; ++i) {
      int64_t at = 0, step = 1, rest = i;
      for (size_t d = c.shape.size(); d-- > 0; rest /= c.shape[d]) {
        if (c.reduced[d]) continue;
        at += rest % c.shape[d] * step;
        step *= c.shape[d];
      }
      sums[at] += static_cast<uint32_t>(static_cast<int32_t>(x[i]));
    }
    Doubles expected;
    for (uint32_t sum : sums) expected.push_back(static_cast<int32_t>(sum));
    check_everywhere("int32 sum", expected, 0, [&](Backend& b) {
      Array<int32_t> in(x), out(expected.size());
      CHECK(b.ops.sum(&b.context, BPTT_INT32, static_cast<int>(c.shape.size()), c.shape.data(),
                      c.reduced.data(), 1, in, out) == BPTT_OK);
      return out.doubles();
    });
  }
}

template <class T>
void test_all() {
  test_conversions<T>();
  test_compare<T>();
  test_masked_copy<T>();
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  test_all<int32_t>();
  test_all<uint8_t>();
  test_binary();
  test_unary();
  test_sum();
  return finish();
}
