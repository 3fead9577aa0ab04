// Vectors, elementary functions and sums of every instruction set: their error
// against a wider type, their special values, and that those with a fused
// multiply-add agree bit for bit, here and, by checksums, on every machine.
//
//   math_test [step]   takes every step-th float32; 1 takes all (minutes), and as many float64
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "runtime/float_mode.h"

// The committed checksums are those of kStep. Instrumented code takes ten times as long.
constexpr uint32_t kStep = 1021;
#if defined(BPTT_SANITIZED)
constexpr uint32_t kUsualStep = 16 * kStep;
#else
constexpr uint32_t kUsualStep = kStep;
#endif

enum Function { kExp, kLog, kLog1p, kTanh, kSigmoid, kSin, kCos, kErf, kRound, kFloor, kCeil };
constexpr int kFunctions = kCeil + 1;
constexpr int kPrimitives = 25;

template <class S>
struct MathEntries {
  int lanes;
  void (*apply)(Function, int64_t n, const S* x, S* out);
  void (*pow)(const S* x, const S* y, S* out);  // of a vector
  void (*primitives)(const S* a, const S* b, const S* c, S* out);
  void (*binary_parts)(const S* x, S* exponents, S* mantissas, S* powers);
  void (*store_first)(const S* x, int64_t n, S* out);
};

struct Entries {
  MathEntries<float> f32;
  MathEntries<double> f64;
};

#define BPTT_ENTRIES "math_entries.inl"
#include "each_isa.inl"

namespace {

const char* const kNames[kFunctions] = {"exp", "log", "log1p", "tanh",  "sigmoid", "sin",
                                        "cos", "erf", "round", "floor", "ceil"};

template <class S>
struct Expected;
template <>
struct Expected<float> {
  using Wide = double;
  using Bits = uint32_t;
  // The bounds that math.inl states.
  static constexpr double kUlps[kFunctions] = {1, 1, 1, 2.5, 2.5, 1, 1, 1, 0, 0, 0};
  // Of the results of sweep() in every instruction set with a fused multiply-add.
  static constexpr uint64_t kChecksums[kFunctions] = {
      0x259fc9f2e8bac6d9, 0x86342b20c0ae4829, 0x5040c7d62649c38c, 0xddcfec957ffe6742,
      0x32316326ca1620c6, 0x4a563adf60ed6d82, 0x0c36ee28ff644c70, 0x8768a9f5e0bd0191,
      0xddac322e4b0f4075, 0xdd43cd3519807e1d, 0x6c1330bf782a023d};
};
template <>
struct Expected<double> {
  using Wide = long double;
  using Bits = uint64_t;
  static constexpr double kUlps[kFunctions] = {1.5, 1, 1, 3, 3, 2.5, 2.5, 1, 0, 0, 0};
  static constexpr uint64_t kChecksums[kFunctions] = {
      0xe2449d1b7b26a532, 0x49921ad8de00edc0, 0x5e342acfcf98be5f, 0xd9aaf8b14eacea68,
      0x18188a3c673b7d59, 0xb5872fa90c9d74f7, 0x27081e950f5dd5e0, 0xa25a3d9ebbfe1865,
      0x2332519a0e8ab827, 0xd67f4a2016fc4fcb, 0x6a2750b23f061f0f};
};

template <class S>
const MathEntries<S>& of(const Isa& isa) {
  if constexpr (sizeof(S) == 4) {
    return isa.entries->f32;
  } else {
    return isa.entries->f64;
  }
}

template <class S>
typename Expected<S>::Bits bits(S x) {
  typename Expected<S>::Bits u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}
template <class S>
S from_bits(typename Expected<S>::Bits u) {
  S x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}
template <class S>
bool same(S a, S b) {
  return bits(a) == bits(b) || (std::isnan(a) && std::isnan(b));
}

uint64_t state = 1;
uint64_t draw() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

template <class W>
W reference(Function function, W x) {
  switch (function) {
    case kExp:
      return std::exp(x);
    case kLog:
      return std::log(x);
    case kLog1p:
      return std::log1p(x);
    case kTanh:
      return std::tanh(x);
    case kSin:
      return std::sin(x);
    case kCos:
      return std::cos(x);
    case kErf:
      return std::erf(x);
    case kRound:
      return std::nearbyint(x);
    case kFloor:
      return std::floor(x);
    case kCeil:
      return std::ceil(x);
    default:
      return 1 / (1 + std::exp(-x));
  }
}

// |y - exact| in units of the last place of a value as large as exact. Where
// exact is infinite, NaN or not normal, 0 when y is what math.inl promises.
template <class S>
double error(S y, typename Expected<S>::Wide exact) {
  using Limits = std::numeric_limits<S>;
  using Wide = typename Expected<S>::Wide;
  const double wrong = std::numeric_limits<double>::infinity();
  const S rounded = static_cast<S>(exact);
  if (std::isnan(exact)) return std::isnan(y) ? 0 : wrong;
  if (std::isinf(rounded) && std::isinf(y))
    return std::signbit(y) == std::signbit(exact) ? 0 : wrong;
  if (std::abs(exact) < Limits::min()) {
    if (std::abs(y) <= Limits::min()) return 0;
    return wrong;
  }
  if (!std::isfinite(y)) return std::isinf(rounded) ? 0 : wrong;
  int exponent;
  std::frexp(exact, &exponent);
  const Wide ulp = std::ldexp(Wide(1), exponent - Limits::digits);
  return static_cast<double>(std::abs(y - exact) / ulp);
}

struct Hash {
  uint64_t value = 14695981039346656037u;
  void add(uint64_t word) { value = (value ^ word) * 1099511628211u; }
};

// Arguments: for float32 every step-th bit pattern; for float64 random ones of
// every exponent and, where the functions bend, dense ones. NaN and denormal
// arguments are left to check_special.
template <class S>
std::vector<S> arguments(uint64_t begin, uint64_t count, uint32_t step) {
  std::vector<S> x;
  for (uint64_t i = begin; i < begin + count; ++i) {
    S value;
    if constexpr (sizeof(S) == 4) {
      if (i * step > 0xffffffffu) break;
      value = from_bits<float>(static_cast<uint32_t>(i * step));
    } else {
      const double unit = static_cast<double>(draw() >> 11) * 0x1p-52 - 1;
      const double scales[4] = {1, 8, 50, 760};
      value = i % 2 ? unit * scales[i / 2 % 4] : from_bits<double>(draw());
    }
    if (std::isnormal(value)) x.push_back(value);
  }
  return x;
}

template <class S>
void sweep(const std::vector<Isa>& isas, uint32_t step) {
  using Wide = typename Expected<S>::Wide;
  // A long double that is no wider leaves the reference's own error in.
  const double slack = std::numeric_limits<Wide>::digits > std::numeric_limits<S>::digits ? 0 : 1;
  const uint64_t total =
      sizeof(S) == 4 ? (uint64_t(1) << 32) / step + 1 : uint64_t(400000) * kStep / step;
  const uint64_t kBlock = 1 << 16;
  std::vector<std::vector<double>> worst(isas.size(), std::vector<double>(kFunctions));
  auto worst_at = worst;
  std::vector<std::vector<Hash>> hashes(isas.size(), std::vector<Hash>(kFunctions));
  state = 1;
  for (uint64_t begin = 0; begin < total; begin += kBlock) {
    const std::vector<S> x = arguments<S>(begin, std::min(kBlock, total - begin), step);
    const int64_t n = static_cast<int64_t>(x.size());
    std::vector<S> y(x.size());
    std::vector<Wide> exact(x.size());
    for (int f = 0; f < kFunctions; ++f) {
      const Function function = static_cast<Function>(f);
      for (int64_t i = 0; i < n; ++i) exact[i] = reference<Wide>(function, x[i]);
      for (size_t a = 0; a < isas.size(); ++a) {
        of<S>(isas[a]).apply(function, n, x.data(), y.data());
        for (int64_t i = 0; i < n; ++i) {
          const double e = error(y[i], exact[i]);
          if (e > worst[a][f]) worst[a][f] = e, worst_at[a][f] = x[i];
          hashes[a][f].add(std::isnan(y[i])                                 ? 1
                           : std::abs(y[i]) < std::numeric_limits<S>::min() ? 0
                                                                            : bits(y[i]));
        }
      }
    }
  }
  for (size_t a = 0; a < isas.size(); ++a) {
    for (int f = 0; f < kFunctions; ++f) {
      const int width = 8 * sizeof(S);
      std::printf("%-8s float%d %-7s %.3f ulp at %.17g, checksum 0x%016llx\n", isas[a].name, width,
                  kNames[f], worst[a][f], worst_at[a][f],
                  static_cast<unsigned long long>(hashes[a][f].value));
      const double bound = Expected<S>::kUlps[f] + (f == kErf && !isas[a].fused ? 0.5 : 0);
      CHECK_MSG(worst[a][f] <= bound + slack, "%s float%d %s: %g ulp at %.17g", isas[a].name, width,
                kNames[f], worst[a][f], worst_at[a][f]);
      if (!isas[a].fused) continue;
      CHECK(hashes[a][f].value == hashes[isas.size() - 1][f].value);
      if (step == kStep) CHECK(hashes[a][f].value == Expected<S>::kChecksums[f]);
    }
  }
}

template <class S>
void check_special(const Isa& isa) {
  using Limits = std::numeric_limits<S>;
  const S inf = Limits::infinity(), nan = Limits::quiet_NaN();
  const S payload = from_bits<S>(bits(nan) | 0x155555);
  const S tiny = Limits::denorm_min(), under = std::nextafter(Limits::min(), S(0));
  const struct {
    Function function;
    S x, y;
  } cases[] = {
      {kExp, 0, 1},
      {kExp, -0.0f, 1},
      {kExp, inf, inf},
      {kExp, -inf, 0},
      {kExp, nan, nan},
      {kExp, payload, nan},
      {kExp, -payload, nan},
      {kExp, tiny, 1},
      {kExp, Limits::max(), inf},
      {kExp, Limits::lowest(), 0},
      {kLog, 1, 0},
      {kLog, 0, -inf},
      {kLog, -0.0f, -inf},
      {kLog, inf, inf},
      {kLog, -inf, nan},
      {kLog, -1, nan},
      {kLog, nan, nan},
      {kLog, payload, nan},
      {kLog, -nan, nan},
      {kLog, tiny, -inf},
      {kLog, under, -inf},
      {kLog1p, 0, 0},
      {kLog1p, -1, -inf},
      {kLog1p, -2, nan},
      {kLog1p, inf, inf},
      {kLog1p, -inf, nan},
      {kLog1p, nan, nan},
      {kTanh, 0, 0},
      {kTanh, -0.0f, -0.0f},
      {kTanh, inf, 1},
      {kTanh, -inf, -1},
      {kTanh, nan, nan},
      {kTanh, payload, nan},
      {kTanh, 20, 1},
      {kTanh, -20, -1},
      {kTanh, Limits::max(), 1},
      {kTanh, Limits::min(), Limits::min()},
      {kSigmoid, 0, 0.5f},
      {kSigmoid, inf, 1},
      {kSigmoid, -inf, 0},
      {kSigmoid, nan, nan},
      {kSigmoid, payload, nan},
      {kSigmoid, 100, 1},
      {kSigmoid, Limits::lowest(), 0},
      {kSigmoid, Limits::max(), 1},
      {kSin, 0, 0},
      {kSin, -0.0f, -0.0f},
      {kSin, inf, nan},
      {kSin, nan, nan},
      {kCos, 0, 1},
      {kCos, -inf, nan},
      {kCos, payload, nan},
      {kErf, 0, 0},
      {kErf, inf, 1},
      {kErf, -inf, -1},
      {kErf, nan, nan},
      {kErf, Limits::max(), 1},
      {kErf, Limits::lowest(), -1},
      {kRound, 0.5f, 0},
      {kRound, -0.5f, -0.0f},
      {kRound, 1.5f, 2},
      {kRound, 2.5f, 2},
      {kRound, -2.5f, -2},
      {kRound, inf, inf},
      {kRound, nan, nan},
      {kRound, Limits::max(), Limits::max()},
      {kFloor, -0.0f, -0.0f},
      {kFloor, -0.25f, -1},
      {kFloor, 2.75f, 2},
      {kFloor, -inf, -inf},
      {kFloor, nan, nan},
      {kCeil, -0.75f, -0.0f},
      {kCeil, 0.25f, 1},
      {kCeil, -2.5f, -2},
      {kCeil, nan, nan},
  };
  for (const auto& c : cases) {
    // A tail of one: its idle lanes hold zeros, and all are treated alike.
    S y;
    of<S>(isa).apply(c.function, 1, &c.x, &y);
    CHECK_MSG(same(y, c.y), "%s float%d %s(%g) is %g, not %g", isa.name,
              static_cast<int>(8 * sizeof(S)), kNames[c.function], static_cast<double>(c.x),
              static_cast<double>(y), static_cast<double>(c.y));
  }
  // Denormals: the argument itself, or zero.
  for (const Function function : {kLog1p, kTanh}) {
    S y;
    of<S>(isa).apply(function, 1, &under, &y);
    CHECK(y == under || y == 0);
  }
}

// pow against the wider type; its special values are those of the C library.
template <class S>
void check_pow(const Isa& isa) {
  using Wide = typename Expected<S>::Wide;
  using Limits = std::numeric_limits<S>;
  const MathEntries<S>& entries = of<S>(isa);
  const size_t lanes = static_cast<size_t>(entries.lanes);
  const double slack = std::numeric_limits<Wide>::digits > Limits::digits ? 0 : 1;
  const auto check = [&](S x, S y) {
    const std::vector<S> bases(lanes, x), exponents(lanes, y);
    std::vector<S> out(lanes);
    entries.pow(bases.data(), exponents.data(), out.data());
    const Wide exact = std::pow(Wide(x), Wide(y));
    const double size = std::abs(static_cast<double>(y) * std::log(std::abs(double(x))));
    const double bound = sizeof(S) == 4 ? 1 : std::isfinite(size) ? 2 + 2 * size : 2;
    const double e = error(out[lanes - 1], exact);
    CHECK_MSG(e <= bound + slack, "%s float%d pow(%g, %g) is %g, not %g: %g ulp", isa.name,
              static_cast<int>(8 * sizeof(S)), static_cast<double>(x), static_cast<double>(y),
              static_cast<double>(out[lanes - 1]), static_cast<double>(exact), e);
  };
  const S special[] = {0,
                       -0.0f,
                       1,
                       -1,
                       2,
                       -2,
                       0.5f,
                       -0.5f,
                       3,
                       -3,
                       2.5f,
                       Limits::infinity(),
                       -Limits::infinity(),
                       Limits::quiet_NaN(),
                       Limits::max(),
                       Limits::lowest(),
                       Limits::min()};
  for (S x : special)
    for (S y : special) check(x, y);
  for (int i = 0; i < 20000; ++i) {
    const double unit = static_cast<double>(draw() >> 11) * 0x1p-52;
    const double exponent = static_cast<double>(draw() >> 11) * 0x1p-52 - 1;
    check(static_cast<S>(i % 2 ? unit * 2 : unit * 1000), static_cast<S>(exponent * 12));
    check(static_cast<S>(-unit * 8), static_cast<S>(i % 9 - 4));
  }
}

template <class S>
S scalar_fma(bool fused, S a, S b, S c) {
  return fused ? std::fma(a, b, c) : a * b + c;
}

template <class S>
void check_primitives(const Isa& isa) {
  using Limits = std::numeric_limits<S>;
  const MathEntries<S>& entries = of<S>(isa);
  const int N = entries.lanes;
  const S special[] = {0,
                       -0.0f,
                       1,
                       -1,
                       Limits::infinity(),
                       -Limits::infinity(),
                       Limits::quiet_NaN(),
                       Limits::max(),
                       Limits::min(),
                       3.5f};
  for (int round = 0; round < 200; ++round) {
    std::vector<S> a(N), b(N), c(N);
    for (auto* v : {&a, &b, &c}) {
      for (S& x : *v) {
        const uint64_t r = draw();
        x = r % 4 ? static_cast<S>(static_cast<int64_t>(r >> 33)) / S(1 << 28) - 4
                  : special[(r >> 8) % 10];
      }
    }
    std::vector<S> out(kPrimitives * N);
    entries.primitives(a.data(), b.data(), c.data(), out.data());
    for (int i = 0; i < N; ++i) {
      const S x = a[i], y = b[i], z = c[i];
      const S expected[kPrimitives] = {
          x + y,
          x - y,
          x * y,
          x / y,
          -x,
          scalar_fma(isa.fused, x, y, z),
          scalar_fma(isa.fused, -x, y, z),
          x < y ? x : y,
          x > y ? x : y,
          std::abs(x),
          std::sqrt(std::abs(x)),
          std::copysign(x, y),
          S(x < y),
          S(x <= y),
          S(x > y),
          S(x >= y),
          S(x == y),
          x < y && y < z ? x : z,
          x < y || y < z ? x : z,
          i < 1 ? x : 0,
          S(0),
          x,
          i < 1 ? x : 0,
          i < N - 1 ? x : 0,
          x,
      };
      for (int p = 0; p < kPrimitives; ++p) {
        CHECK_MSG(same(out[p * N + i], expected[p]),
                  "%s float%d primitive %d of %g %g %g: %g not %g", isa.name,
                  static_cast<int>(8 * sizeof(S)), p, static_cast<double>(x),
                  static_cast<double>(y), static_cast<double>(z),
                  static_cast<double>(out[p * N + i]), static_cast<double>(expected[p]));
      }
    }
  }

  for (int e = Limits::min_exponent - 1; e < Limits::max_exponent; ++e) {
    const S x = std::ldexp(S(1.75), e);
    std::vector<S> in(N, x), exponents(N), mantissas(N), powers(N);
    entries.binary_parts(in.data(), exponents.data(), mantissas.data(), powers.data());
    CHECK(exponents[N - 1] == S(e) && mantissas[N - 1] == S(1.75) &&
          powers[N - 1] == std::ldexp(S(1), e));
  }

  for (int n = 0; n <= N; ++n) {
    std::vector<S> x(N, S(2)), out(N, S(7));
    entries.store_first(x.data(), n, out.data());
    for (int i = 0; i < N; ++i) CHECK(out[i] == S(i < n ? 2 : 7));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t step = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : kUsualStep;
  const std::vector<Isa> isas = each_isa();
  for (const Isa& isa : isas) {
    check_primitives<float>(isa);
    check_primitives<double>(isa);
    check_special<float>(isa);
    check_pow<float>(isa);
    check_pow<double>(isa);
    check_special<double>(isa);
  }
  sweep<float>(isas, step);
  sweep<double>(isas, step);
  {
    // As kernels run: the same bits.
    const bptt::FlushDenormals flush;
    sweep<float>(isas, kUsualStep);
    sweep<double>(isas, kUsualStep);
  }
  return bptt_test::finish();
}
