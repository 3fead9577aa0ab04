// Elementwise operations, strided copies and random numbers.
#include "ops.h"

#include "shared/philox.h"

using namespace bptt_test;

namespace {

constexpr int64_t kSizes[] = {0, 1, 3, 7, 8, 9, 17, 64, 129, 20011};
const double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

struct Unary {
  const char* name;
  bptt_unary_op op;
  double alpha, beta, low, high;
  double (*value)(double);
  double (*derivative)(double);  // of what is saved
};

double relu(double x) { return x > 0 ? x : 0; }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double flat(double) { return 0; }
const double kPi = 3.14159265358979323846;
double normal(double x) { return 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }
double gelu_inner(double x) { return std::sqrt(2 / kPi) * (x + 0.044715 * x * x * x); }
bool saves_result(bptt_unary_op op) {
  return op == BPTT_TANH || op == BPTT_SIGMOID || op == BPTT_RELU || op == BPTT_EXP ||
         op == BPTT_SQRT;
}

const Unary kUnary[] = {
    {"neg", BPTT_NEG, 0, 0, -2, 2, [](double x) { return -x; }, [](double) { return -1.0; }},
    {"tanh", BPTT_TANH, 0, 0, -5, 5, [](double x) { return std::tanh(x); },
     [](double y) { return 1 - y * y; }},
    {"sigmoid", BPTT_SIGMOID, 0, 0, -9, 9, sigmoid, [](double y) { return y * (1 - y); }},
    {"relu", BPTT_RELU, 0, 0, -2, 2, relu, [](double y) { return y > 0 ? 1.0 : 0.0; }},
    {"exp", BPTT_EXP, 0, 0, -5, 5, [](double x) { return std::exp(x); },
     [](double y) { return y; }},
    {"log", BPTT_LOG, 0, 0, 0.1, 9, [](double x) { return std::log(x); },
     [](double x) { return 1 / x; }},
    {"sqrt", BPTT_SQRT, 0, 0, 0.1, 9, [](double x) { return std::sqrt(x); },
     [](double y) { return 0.5 / y; }},
    {"abs", BPTT_ABS, 0, 0, -2, 2, [](double x) { return std::abs(x); },
     [](double x) { return x > 0   ? 1.0
                           : x < 0 ? -1.0
                                   : 0.0; }},
    {"scale", BPTT_SCALE, -1.5, 0, -2, 2, [](double x) { return -1.5 * x; },
     [](double) { return -1.5; }},
    {"add_scalar", BPTT_ADD_SCALAR, 0.75, 0, -2, 2, [](double x) { return x + 0.75; },
     [](double) { return 1.0; }},
    {"sign", BPTT_SIGN, 0, 0, -2, 2, [](double x) { return double((x > 0) - (x < 0)); }, flat},
    {"square", BPTT_SQUARE, 0, 0, -2, 2, [](double x) { return x * x; },
     [](double x) { return 2 * x; }},
    {"floor", BPTT_FLOOR, 0, 0, -9, 9, [](double x) { return std::floor(x); }, flat},
    {"round", BPTT_ROUND, 0, 0, -9, 9, [](double x) { return std::nearbyint(x); }, flat},
    {"ceil", BPTT_CEIL, 0, 0, -9, 9, [](double x) { return std::ceil(x); }, flat},
    {"sin", BPTT_SIN, 0, 0, -99, 99, [](double x) { return std::sin(x); },
     [](double x) { return std::cos(x); }},
    {"cos", BPTT_COS, 0, 0, -99, 99, [](double x) { return std::cos(x); },
     [](double x) { return -std::sin(x); }},
    {"erf", BPTT_ERF, 0, 0, -4, 4, [](double x) { return std::erf(x); },
     [](double x) { return 2 / std::sqrt(kPi) * std::exp(-x * x); }},
    {"gelu", BPTT_GELU, 0, 0, -6, 6, [](double x) { return x * normal(x); },
     [](double x) { return normal(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * kPi); }},
    {"gelu tanh", BPTT_GELU_TANH, 0, 0, -6, 6,
     [](double x) { return 0.5 * x * (1 + std::tanh(gelu_inner(x))); },
     [](double x) {
       const double t = std::tanh(gelu_inner(x));
       return 0.5 * (1 + t) +
              0.5 * x * (1 - t * t) * std::sqrt(2 / kPi) * (1 + 3 * 0.044715 * x * x);
     }},
    {"silu", BPTT_SILU, 0, 0, -9, 9, [](double x) { return x * sigmoid(x); },
     [](double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }},
    {"softplus", BPTT_SOFTPLUS, 2, 3, -4, 4,
     [](double x) { return 2 * x > 3 ? x : std::log1p(std::exp(2 * x)) / 2; },
     [](double x) { return 2 * x > 3 ? 1 : sigmoid(2 * x); }},
    {"leaky relu", BPTT_LEAKY_RELU, 0.125, 0, -2, 2, [](double x) { return x > 0 ? x : x / 8; },
     [](double x) { return x > 0 ? 1 : 0.125; }},
    {"elu", BPTT_ELU, 1.5, 0, -4, 4, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); },
     [](double x) { return x > 0 ? 1 : 1.5 * std::exp(x); }},
    {"clamp", BPTT_CLAMP, -0.5, 0.75, -2, 2,
     [](double x) { return std::fmin(std::fmax(x, -0.5), 0.75); },
     [](double x) { return x >= -0.5 && x <= 0.75 ? 1.0 : 0.0; }},
    {"pow", BPTT_POW, 2.5, 0, 0.1, 3, [](double x) { return std::pow(x, 2.5); },
     [](double x) { return 2.5 * std::pow(x, 1.5); }},
};

template <class T>
void test_unary() {
  for (const Unary& u : kUnary) {
    for (int64_t n : kSizes) {
      const Doubles x = random_values(n, u.low, u.high), dy = random_values(n, -2, 2, 9);
      Doubles y(n), dx(n);
      const bool of_x = !saves_result(u.op);
      for (int64_t i = 0; i < n; ++i) {
        y[i] = u.value(x[i]);
        const double saved = static_cast<T>(of_x ? x[i] : y[i]);
        dx[i] = dy[i] * u.derivative(saved);
      }
      check_everywhere(u.name, y, kTolerance<T>, [&](Backend& b) {
        Array<T> in(x), out(n);
        CHECK(b.ops.unary(&b.context, dtype_of<T>, u.op, u.alpha, u.beta, n, in, out) == BPTT_OK);
        return out.doubles();
      });
      check_everywhere(std::string(u.name) + " backward", dx, kTolerance<T>, [&](Backend& b) {
        Array<T> saved(of_x ? x : y), grad(dy), out(n);
        CHECK(b.ops.unary_backward(&b.context, dtype_of<T>, u.op, u.alpha, u.beta, n, saved, grad,
                                   out) == BPTT_OK);
        return out.doubles();
      });
    }
  }
  // In place, and the values that need care.
  const Doubles x{kNan, -kInfinity, kInfinity, -0.5, 0.5};
  check_everywhere("relu of specials", {kNan, 0, kInfinity, 0, 0.5}, 0, [&](Backend& b) {
    Array<T> inout(x);
    b.ops.unary(&b.context, dtype_of<T>, BPTT_RELU, 0, 0, 5, inout, inout);
    return inout.doubles();
  });
  const Doubles signs{kNan, -kInfinity, kInfinity, -0.0, 0, -0.5};
  check_everywhere("abs of specials", {kNan, kInfinity, kInfinity, 0, 0, 0.5}, 0, [&](Backend& b) {
    Array<T> in(signs), out(6);
    b.ops.unary(&b.context, dtype_of<T>, BPTT_ABS, 0, 0, 6, in, out);
    for (double y : out.doubles()) CHECK(!std::signbit(y) || std::isnan(y));
    return out.doubles();
  });
  check_everywhere("abs backward of specials", {0, -3, 3, 0, 0, -3}, 0, [&](Backend& b) {
    Array<T> saved(signs), dy(Doubles(6, 3)), out(6);
    b.ops.unary_backward(&b.context, dtype_of<T>, BPTT_ABS, 0, 0, 6, saved, dy, out);
    return out.doubles();
  });
  // A finite result is given, however far its parts are.
  const double far = std::numeric_limits<T>::max();
  const auto check_far = [&](const char* name, bptt_unary_op op, double alpha, double beta,
                             const Doubles& y, const Doubles& slopes) {
    check_everywhere(name, y, 0, [&](Backend& b) {
      Array<T> in(Doubles{far, -far, kNan}), out(3);
      b.ops.unary(&b.context, dtype_of<T>, op, alpha, beta, 3, in, out);
      return out.doubles();
    });
    check_everywhere(name, slopes, 0, [&](Backend& b) {
      Array<T> in(Doubles{far, -far, kNan}), dy(Doubles{1, 1, 1}), out(3);
      b.ops.unary_backward(&b.context, dtype_of<T>, op, alpha, beta, 3, in, dy, out);
      return out.doubles();
    });
  };
  check_far("far gelu", BPTT_GELU, 0, 0, {far, 0, kNan}, {1, 0, kNan});
  check_far("far gelu tanh", BPTT_GELU_TANH, 0, 0, {far, 0, kNan}, {1, 0, kNan});
  check_far("far silu", BPTT_SILU, 0, 0, {far, 0, kNan}, {1, 0, kNan});
  check_far("far softplus", BPTT_SOFTPLUS, 3, 20, {far, 0, kNan}, {1, 0, kNan});
  check_far("softplus without end", BPTT_SOFTPLUS, 1, kInfinity, {far, 0, kNan}, {1, 0, kNan});
  check_far("far elu", BPTT_ELU, 1, 0, {far, -1, kNan}, {1, 0, kNan});
  check_far("far erf", BPTT_ERF, 0, 0, {1, -1, kNan}, {0, 0, kNan});
  check_far("far clamp", BPTT_CLAMP, -1, kInfinity, {far, -1, kNan}, {1, 0, 0});
}

template <class T>
void test_fill() {
  for (int64_t n : kSizes)
    check_everywhere("fill", Doubles(n, -3), 0, [&](Backend& b) {
      Array<T> out(n);
      CHECK(b.ops.fill(&b.context, dtype_of<T>, n, -3, out) == BPTT_OK);
      return out.doubles();
    });
}

// Strides of a broadcast operand: 0 on axes of size 1 of its own shape.
std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& own) {
  std::vector<int64_t> strides = dense(own);
  for (size_t d = 0; d < own.size(); ++d)
    if (own[d] == 1) strides[d] = 0;
  return strides;
}

template <class T>
void test_binary_case(const std::vector<int64_t>& shape, const std::vector<int64_t>& a_shape,
                      const std::vector<int64_t>& a_strides, const std::vector<int64_t>& b_shape,
                      const std::vector<int64_t>& b_strides) {
  const int rank = static_cast<int>(shape.size());
  const int64_t n = product(shape);
  const Doubles a = random_values(product(a_shape), 0.5, 2, 3);
  const Doubles b = random_values(product(b_shape), 0.5, 2, 4);
  for (bptt_binary_op op : {BPTT_ADD, BPTT_SUB, BPTT_MUL, BPTT_DIV, BPTT_MAXIMUM, BPTT_MINIMUM}) {
    Doubles expected(n);
    for (int64_t i = 0; i < n; ++i) {
      const double p = a[offset_of(i, shape, a_strides)], q = b[offset_of(i, shape, b_strides)];
      expected[i] = op == BPTT_ADD       ? p + q
                    : op == BPTT_SUB     ? p - q
                    : op == BPTT_MUL     ? p * q
                    : op == BPTT_DIV     ? p / q
                    : op == BPTT_MAXIMUM ? std::fmax(p, q)
                                         : std::fmin(p, q);
    }
    const std::string name = "binary " + std::to_string(op) + " of " + std::to_string(n);
    check_everywhere(name, expected, kTolerance<T>, [&](Backend& backend) {
      Array<T> left(a), right(b), out(n);
      CHECK(backend.ops.binary(&backend.context, dtype_of<T>, op, rank, shape.data(), left,
                               a_strides.data(), right, b_strides.data(), out) == BPTT_OK);
      return out.doubles();
    });
  }
}

template <class T>
void test_binary() {
  using Shape = std::vector<int64_t>;
  const Shape pairs[][3] = {
      {{}, {}, {}},
      {{0}, {0}, {1}},
      {{17}, {17}, {17}},
      {{20011}, {20011}, {1}},
      {{3, 129}, {3, 129}, {1, 129}},  // row
      {{129, 9}, {129, 9}, {129, 1}},  // column
      {{129, 9}, {129, 1}, {1, 9}},    // outer
      {{7, 3, 64}, {1, 3, 1}, {7, 1, 64}},
      {{2, 3, 5, 7}, {2, 1, 5, 1}, {1, 3, 1, 7}},
      {{301, 67}, {301, 67}, {1, 67}},
      {{3, 0, 2}, {3, 0, 2}, {1, 1, 2}},
      {{5, 1, 9}, {5, 1, 9}, {5, 1, 9}},
      {{64, 8}, {1, 1}, {64, 8}},
  };
  for (const auto& p : pairs)
    test_binary_case<T>(p[0], p[1], broadcast_strides(p[1]), p[2], broadcast_strides(p[2]));
  test_binary_case<T>({33, 65}, {33, 65}, {65, 1}, {65, 33}, {1, 33});  // a transposed operand
  test_binary_case<T>({33, 65}, {65, 33}, {1, 33}, {65, 33}, {1, 33});

  const Doubles a = random_values(100), b = random_values(100, 1, 2);
  Doubles expected(100);
  for (int i = 0; i < 100; ++i) expected[i] = a[i] * b[i];
  check_everywhere("binary in place", expected, kTolerance<T>, [&](Backend& backend) {
    Array<T> inout(a), right(b);
    const int64_t shape = 100, stride = 1;
    backend.ops.binary(&backend.context, dtype_of<T>, BPTT_MUL, 1, &shape, inout, &stride, right,
                       &stride, inout);
    return inout.doubles();
  });
}

template <class T>
void test_copy() {
  struct Case {
    std::vector<int64_t> shape, src, dst;
  };
  const Case cases[] = {
      {{}, {}, {}},
      {{0, 3}, {3, 1}, {3, 1}},
      {{9, 7}, {7, 1}, {7, 1}},
      {{129, 65}, {1, 129}, {65, 1}},  // transpose
      {{129, 65}, {65, 1}, {1, 129}},  // its other writing
      {{5, 17, 33}, {17 * 33, 1, 17}, {561, 33, 1}},
      {{5, 17, 33}, {33, 5 * 33, 1}, {561, 33, 1}},  // swap of outer axes
      {{3, 40, 50}, {1, 3, 120}, {2000, 50, 1}},     // three axes reversed
      {{4, 6}, {0, 1}, {6, 1}},                      // expanded rows
      {{40, 60}, {1, 0}, {60, 1}},                   // expanded columns
      {{4, 6}, {12, 2}, {6, 1}},                     // every other element
      {{30, 8}, {8, 1}, {20, 1}},                    // into a slice
      {{2, 1, 300, 40}, {12000, 5, 40, 1}, {12000, 7, 1, 300}},
      {{300}, {-1}, {1}},                            // backward
      {{40, 60}, {-60, -1}, {60, 1}},                // both axes, as one
      {{40, 60}, {60, -1}, {60, 1}},                 // the last axis
      {{7, 40, 60}, {2400, -60, 1}, {2400, 60, 1}},  // one in the middle
      {{129, 65}, {-1, 129}, {65, 1}},               // transposed, backward
      {{129, 65}, {1, -129}, {65, 1}},
      {{20, 30}, {-1, 1}, {30, 1}},  // diagonals of one value
      {{0, 3}, {-3, 1}, {3, 1}},
  };
  for (const Case& c : cases) {
    const int rank = static_cast<int>(c.shape.size());
    const int64_t n = product(c.shape);
    int64_t src_size = 1, dst_size = 1, start = 0;
    for (int d = 0; d < rank; ++d) {
      src_size += (c.shape[d] - 1) * std::abs(c.src[d]);
      dst_size += (c.shape[d] - 1) * c.dst[d];
      if (c.src[d] < 0) start -= (c.shape[d] - 1) * c.src[d];
    }
    if (n == 0) src_size = dst_size = start = 0;
    Doubles source = random_values(src_size, -1000, 1000), expected(dst_size, -77);
    for (double& v : source) v = std::floor(v);
    for (int64_t i = 0; i < n; ++i)
      expected[offset_of(i, c.shape, c.dst)] = source[start + offset_of(i, c.shape, c.src)];
    check_everywhere("copy", expected, 0, [&](Backend& b) {
      Array<T> src(source), dst(dst_size);
      CHECK(b.ops.copy(&b.context, dtype_of<T>, rank, c.shape.data(), src + start, c.src.data(),
                       dst, c.dst.data()) == BPTT_OK);
      return dst.doubles();
    });
  }
}

void test_philox() {
  // Random123's known answers: counter, key, result.
  struct Known {
    uint32_t counter[4], key[2], result[4];
  };
  const Known known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Known& k : known) {
    const bptt::PhiloxBlock block =
        bptt::philox4x32({{k.counter[0], k.counter[1], k.counter[2], k.counter[3]}},
                         uint64_t{k.key[1]} << 32 | k.key[0]);
    CHECK(std::memcmp(block.word, k.result, sizeof k.result) == 0);
  }
  static_assert(bptt::philox(0, 0).word[0] == 0x6627e8d5);
  CHECK(bptt::philox_word(5, 7, 9) == bptt::philox(5, 9).word[1]);
  CHECK(bptt::philox_blocks(0) == 0 && bptt::philox_blocks(4) == 1 && bptt::philox_blocks(5) == 2);
  CHECK(bptt::uniform_float32(0) == 0 && bptt::uniform_float32(~0u) == 1 - 0x1p-24f);
  CHECK(bptt::uniform_float64(0, 0) == 0 && bptt::uniform_float64(~0u, ~0u) == 1 - 0x1p-53);
  CHECK(bptt::dropout_threshold(0) == 0 && bptt::dropout_threshold(1) == uint64_t{1} << 32);
}

// The same offset + i / 4 wraps from the low into the high counter word here.
constexpr bptt_rng kRng{0x123456789abcdef0, 0xfffffff0};

template <class T>
double draw(int64_t i) {
  const uint32_t word = bptt::philox_word(kRng.seed, kRng.offset, i);
  return sizeof(T) == 4
             ? bptt::uniform_float32(word)
             : bptt::uniform_float64(word, bptt::philox_word(kRng.seed, kRng.offset, i, 1));
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

template <class T>
void test_random() {
  for (int64_t n : kSizes) {
    Doubles uniform(n), dropped(n);
    Doubles x = random_values(n);
    if (n > 3) x[2] = x[3] = kInfinity;
    for (int64_t i = 0; i < n; ++i) {
      uniform[i] = -3 + 8 * draw<T>(i);
      const bool kept = bptt::philox_word(kRng.seed, kRng.offset, i) >= 0.3 * 0x1p32;
      dropped[i] = kept ? x[i] / 0.7 : 0;
    }
    check_everywhere("uniform", uniform, kTolerance<T>, [&](Backend& b) {
      Array<T> out(n);
      CHECK(b.ops.uniform(&b.context, dtype_of<T>, n, -3, 5, kRng, out) == BPTT_OK);
      return out.doubles();
    });
    check_everywhere("dropout", dropped, kTolerance<T>, [&](Backend& b) {
      Array<T> in(x), out(n);
      CHECK(b.ops.dropout(&b.context, dtype_of<T>, n, 0.3, kRng, in, out) == BPTT_OK);
      return out.doubles();
    });
    for (double p : {0.0, 1.0})
      check_everywhere("dropout of all or none", p == 0 ? x : Doubles(n), 0, [&](Backend& b) {
        Array<T> in(x), out(n);
        b.ops.dropout(&b.context, dtype_of<T>, n, p, kRng, in, out);
        return out.doubles();
      });
    // The distribution function, by libm, of each draw gives its uniform number back.
    Doubles middle(n);
    const double half = sizeof(T) == 4 ? 0x1p-25 : 0x1p-54;
    for (int64_t i = 0; i < n; ++i) middle[i] = draw<T>(i) + half;
    check_everywhere("normal", middle, sizeof(T) == 4 ? 4e-7 : 1e-15, [&](Backend& b) {
      Array<T> out(n);
      CHECK(b.ops.normal(&b.context, dtype_of<T>, n, 10, 4, kRng, out) == BPTT_OK);
      Doubles z = out.doubles();
      for (double& v : z) v = normal_cdf((v - 10) / 4);
      return z;
    });
  }
  // The interval is half open even where rounding would reach its end.
  Backend b(cpu_tables().front());
  Array<float> out(100000);
  b.ops.uniform(&b.context, BPTT_FLOAT32, 100000, 1024, 1024.001, {1, 0}, out);
  for (size_t i = 0; i < out.size(); ++i) CHECK(out[i] >= 1024 && out[i] < 1024.001f);
}

// The tail, where the quantile is small and errors would show relatively.
void test_normal_tail() {
  Backend b(cpu_tables().front());
  const int64_t n = 1 << 20;
  Array<double> out(n);
  b.ops.normal(&b.context, BPTT_FLOAT64, n, 0, 1, {42, 0}, out);
  double sum = 0, squares = 0, least = 0;
  int64_t at = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += out[i];
    squares += out[i] * out[i];
    if (out[i] < least) least = out[at = i];
  }
  CHECK(std::fabs(sum / n) < 4e-3 && std::fabs(squares / n - 1) < 6e-3);
  const double u =
      bptt::uniform_float64(bptt::philox_word(42, 0, at), bptt::philox_word(42, 0, at, 1)) +
      0x1p-54;
  CHECK(least < -4);
  CHECK(std::fabs(normal_cdf(least) / u - 1) < 1e-12);
}

}  // namespace

int main() {
  test_unary<float>();
  test_unary<double>();
  test_fill<float>();
  test_fill<double>();
  test_fill<int32_t>();
  test_binary<float>();
  test_binary<double>();
  test_copy<float>();
  test_copy<double>();
  test_copy<int32_t>();
  test_philox();
  test_random<float>();
  test_random<double>();
  test_normal_tail();
  return finish();
}
