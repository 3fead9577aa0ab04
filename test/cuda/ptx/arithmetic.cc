// What PTX instructions compute (NVIDIA's PTX ISA manual, "Instruction Set"). Sums and products
// of floats are single operations: the file is compiled without contraction.
#include <bit>
#include <cfenv>
#include <cmath>
#include <functional>
#include <limits>

#include "ptx/thread.h"

namespace bptt_ptx {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;

// -- how many operands ---------------------------------------------------------

template <class T, auto kOperation>
void unary(Thread& t, const Instruction& i) {
  t.set<T>(i.operands[0], kOperation(t.get<T>(i.operands[1])));
}
template <class T, auto kOperation>
void binary(Thread& t, const Instruction& i) {
  t.set<T>(i.operands[0], kOperation(t.get<T>(i.operands[1]), t.get<T>(i.operands[2])));
}
template <class T, auto kOperation>
void ternary(Thread& t, const Instruction& i) {
  t.set<T>(i.operands[0],
           kOperation(t.get<T>(i.operands[1]), t.get<T>(i.operands[2]), t.get<T>(i.operands[3])));
}
template <class T, auto kOperation>
void compare(Thread& t, const Instruction& i) {
  t.set<bool>(i.operands[0], kOperation(t.get<T>(i.operands[1]), t.get<T>(i.operands[2])));
}
// The amount is 32 bits wide whatever T is.
template <class T, auto kOperation>
void shift(Thread& t, const Instruction& i) {
  t.set<T>(i.operands[0], kOperation(t.get<T>(i.operands[1]), t.get<uint32_t>(i.operands[2])));
}
template <class T>
void select(Thread& t, const Instruction& i) {
  t.set<T>(i.operands[0], t.get<T>(i.operands[t.get<bool>(i.operands[3]) ? 1 : 2]));
}
template <class T>
void move(Thread& t, const Instruction& i) {
  t.set<T>(i.operands[0], t.get<T>(i.operands[1]));
}

// -- integers --------------------------------------------------------------------

// Products of 16-bit numbers would be made as int, which can overflow.
template <class T>
T times(T a, T b) {
  return static_cast<T>(uint64_t{a} * uint64_t{b});
}
template <class T>
T shift_left(T value, uint32_t by) {
  return by < 8 * sizeof(T) ? static_cast<T>(value << by) : T{0};
}
template <class T>
T shift_right(T value, uint32_t by) {
  constexpr uint32_t most = 8 * sizeof(T) - 1;
  if (std::is_signed_v<T>) return static_cast<T>(value >> (by < most ? by : most));
  return by <= most ? static_cast<T>(value >> by) : T{0};
}

// What a division by zero gives is not defined.
template <class T, bool kRemainder>
void divide(Thread& t, const Instruction& i) {
  const T a = t.get<T>(i.operands[1]), b = t.get<T>(i.operands[2]);
  if (b == 0) t.fail(i, "a division by zero");
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) {  // the least by -1 would overflow
    const auto negated = static_cast<T>(Unsigned<T>(0) - Unsigned<T>(a));
    return t.set<T>(i.operands[0], kRemainder ? T{0} : negated);
  }
  t.set<T>(i.operands[0], static_cast<T>(kRemainder ? a % b : a / b));
}

template <class Narrow, class Wide>
void multiply_wide(Thread& t, const Instruction& i) {
  const auto a = static_cast<Wide>(t.get<Narrow>(i.operands[1]));
  t.set<Wide>(i.operands[0],
              static_cast<Wide>(a * static_cast<Wide>(t.get<Narrow>(i.operands[2]))));
}
template <class Narrow, class Wide>
void multiply_add_wide(Thread& t, const Instruction& i) {
  const auto a = static_cast<Wide>(t.get<Narrow>(i.operands[1]));
  const auto product = static_cast<Wide>(a * static_cast<Wide>(t.get<Narrow>(i.operands[2])));
  t.set<Wide>(i.operands[0],
              static_cast<Wide>(Unsigned<Wide>(product) + t.get<Unsigned<Wide>>(i.operands[3])));
}
template <class T, class Wide>
void multiply_high(Thread& t, const Instruction& i) {
  const auto a = static_cast<Wide>(t.get<T>(i.operands[1]));
  const auto b = static_cast<Wide>(t.get<T>(i.operands[2]));
  t.set<T>(i.operands[0], static_cast<T>((a * b) >> (8 * sizeof(T))));
}

// Of 32 bits, with the thread's carry flag (in subtractions, borrow): added where kIn, set where
// kOut.
template <bool kIn, bool kOut>
void carry_add(Thread& t, const Instruction& i, uint64_t a, uint64_t b) {
  const uint64_t sum = a + b + (kIn && t.carry ? 1 : 0);
  if (kOut) t.carry = sum >> 32 != 0;
  t.set<uint32_t>(i.operands[0], static_cast<uint32_t>(sum));
}
template <bool kIn, bool kOut>
void add_with_carry(Handlers& h, const std::string& suffix) {
  h["add" + suffix] = [](Thread& t, const Instruction& i) {
    carry_add<kIn, kOut>(t, i, t.get<uint32_t>(i.operands[1]), t.get<uint32_t>(i.operands[2]));
  };
  h["sub" + suffix] = [](Thread& t, const Instruction& i) {
    const uint64_t a = t.get<uint32_t>(i.operands[1]), b = t.get<uint32_t>(i.operands[2]);
    const uint64_t difference = a - b - (kIn && t.carry ? 1 : 0);
    if (kOut) t.carry = difference >> 63 != 0;
    t.set<uint32_t>(i.operands[0], static_cast<uint32_t>(difference));
  };
  const size_t begin = suffix.find('.');  // after the c of madc
  h["mad" + suffix.substr(0, begin) + ".lo" + suffix.substr(begin)] = [](Thread& t,
                                                                         const Instruction& i) {
    const uint32_t product = t.get<uint32_t>(i.operands[1]) * t.get<uint32_t>(i.operands[2]);
    carry_add<kIn, kOut>(t, i, product, t.get<uint32_t>(i.operands[3]));
  };
  h["mad" + suffix.substr(0, begin) + ".hi" + suffix.substr(begin)] = [](Thread& t,
                                                                         const Instruction& i) {
    const uint64_t product =
        uint64_t{t.get<uint32_t>(i.operands[1])} * t.get<uint32_t>(i.operands[2]);
    carry_add<kIn, kOut>(t, i, product >> 32, t.get<uint32_t>(i.operands[3]));
  };
}

// bfi d, a, b, c, e: b with its `e` bits from c on replaced by the lowest of a.
void insert_bits(Thread& t, const Instruction& i) {
  const auto a = t.get<uint64_t>(i.operands[1]), b = t.get<uint64_t>(i.operands[2]);
  const uint32_t position = t.get<uint32_t>(i.operands[3]) & 0xff;
  const uint32_t length = t.get<uint32_t>(i.operands[4]) & 0xff;
  const uint64_t mask = shift_left(~shift_left(~uint64_t{0}, length), position);
  t.set<uint64_t>(i.operands[0], (b & ~mask) | (shift_left(a, position) & mask));
}

template <class T>
void add_bits(Handlers& h) {
  const std::string bits = std::to_string(8 * sizeof(T));
  h["and.b" + bits] = binary<T, [](T a, T b) -> T { return a & b; }>;
  h["or.b" + bits] = binary<T, [](T a, T b) -> T { return a | b; }>;
  h["xor.b" + bits] = binary<T, [](T a, T b) -> T { return a ^ b; }>;
  h["not.b" + bits] = unary<T, [](T a) -> T { return static_cast<T>(~a); }>;
  h["shl.b" + bits] = shift<T, shift_left<T>>;
  h["setp.eq.b" + bits] = compare<T, std::equal_to<>{}>;
  h["setp.ne.b" + bits] = compare<T, std::not_equal_to<>{}>;
  h["shr.b" + bits] = shift<T, shift_right<T>>;
  for (const char* kind : {"b", "u", "s"}) {
    h["mov." + (kind + bits)] = move<T>;
    h["selp." + (kind + bits)] = select<T>;
  }
  for (const char* kind : {"u", "s"}) {
    h["add." + (kind + bits)] = binary<T, [](T a, T b) { return static_cast<T>(a + b); }>;
    h["sub." + (kind + bits)] = binary<T, [](T a, T b) { return static_cast<T>(a - b); }>;
    h["mul.lo." + (kind + bits)] = binary<T, times<T>>;
    h["mad.lo." + (kind + bits)] =
        ternary<T, [](T a, T b, T c) { return static_cast<T>(times(a, b) + c); }>;
  }
  h["neg.s" + bits] = unary<T, [](T a) { return static_cast<T>(T{0} - a); }>;
  // The smallest number, which has no opposite, is its own.
  h["abs.s" + bits] =
      unary<T, [](T a) { return (a >> (8 * sizeof(T) - 1)) != 0 ? static_cast<T>(T{0} - a) : a; }>;
}

// T is signed or unsigned, as the kind says.
template <class T>
void add_numbers(Handlers& h, const char* kind) {
  const std::string type = kind + std::to_string(8 * sizeof(T));
  h["div." + type] = divide<T, false>;
  h["rem." + type] = divide<T, true>;
  h["min." + type] = binary<T, [](T a, T b) { return a < b ? a : b; }>;
  h["max." + type] = binary<T, [](T a, T b) { return a < b ? b : a; }>;
  h["shr." + type] = shift<T, shift_right<T>>;
  h["setp.eq." + type] = compare<T, std::equal_to<>{}>;
  h["setp.ne." + type] = compare<T, std::not_equal_to<>{}>;
  h["setp.lt." + type] = compare<T, std::less<>{}>;
  h["setp.le." + type] = compare<T, std::less_equal<>{}>;
  h["setp.gt." + type] = compare<T, std::greater<>{}>;
  h["setp.ge." + type] = compare<T, std::greater_equal<>{}>;
}

void add_integers(Handlers& h) {
  add_bits<uint16_t>(h);
  add_bits<uint32_t>(h);
  add_bits<uint64_t>(h);
  add_numbers<int16_t>(h, "s");
  add_numbers<int32_t>(h, "s");
  add_numbers<int64_t>(h, "s");
  add_numbers<uint16_t>(h, "u");
  add_numbers<uint32_t>(h, "u");
  add_numbers<uint64_t>(h, "u");
  h["mul.wide.s16"] = multiply_wide<int16_t, int32_t>;
  h["mul.wide.u16"] = multiply_wide<uint16_t, uint32_t>;
  h["mul.wide.s32"] = multiply_wide<int32_t, int64_t>;
  h["mul.wide.u32"] = multiply_wide<uint32_t, uint64_t>;
  h["mad.wide.s32"] = multiply_add_wide<int32_t, int64_t>;
  h["mad.wide.u32"] = multiply_add_wide<uint32_t, uint64_t>;
  h["mul.hi.s32"] = multiply_high<int32_t, int64_t>;
  h["mul.hi.u32"] = multiply_high<uint32_t, uint64_t>;
  add_with_carry<false, true>(h, ".cc.u32");
  add_with_carry<true, true>(h, "c.cc.u32");
  add_with_carry<true, false>(h, "c.u32");
  h["bfi.b64"] = insert_bits;
  h["clz.b64"] = [](Thread& t, const Instruction& i) {
    t.set<uint32_t>(i.operands[0],
                    static_cast<uint32_t>(std::countl_zero(t.get<uint64_t>(i.operands[1]))));
  };
  __extension__ using Wide = __int128;
  __extension__ using UnsignedWide = unsigned __int128;
  h["mul.hi.s64"] = multiply_high<int64_t, Wide>;
  h["mul.hi.u64"] = multiply_high<uint64_t, UnsignedWide>;
}

void add_predicates(Handlers& h) {
  h["and.pred"] = binary<bool, [](bool a, bool b) { return a && b; }>;
  h["or.pred"] = binary<bool, [](bool a, bool b) { return a || b; }>;
  h["xor.pred"] = binary<bool, [](bool a, bool b) { return a != b; }>;
  h["not.pred"] = unary<bool, [](bool a) { return !a; }>;
  h["mov.pred"] = move<bool>;
}

// A pair of registers and one of twice the size; addresses of one space as generic ones.
void add_moves(Handlers& h) {
  h["mov.b64 {2}@0"] = [](Thread& t, const Instruction& i) {
    const auto value = t.get<uint64_t>(i.operands[2]);
    t.set<uint32_t>(i.operands[0], static_cast<uint32_t>(value));
    t.set<uint32_t>(i.operands[1], static_cast<uint32_t>(value >> 32));
  };
  h["mov.b64 {2}@1"] = [](Thread& t, const Instruction& i) {
    t.set<uint64_t>(i.operands[0], t.get<uint32_t>(i.operands[1]) |
                                       uint64_t{t.get<uint32_t>(i.operands[2])} << 32);
  };
  h["mov.b32 {2}@0"] = [](Thread& t, const Instruction& i) {
    const auto value = t.get<uint32_t>(i.operands[2]);
    t.set<uint16_t>(i.operands[0], static_cast<uint16_t>(value));
    t.set<uint16_t>(i.operands[1], static_cast<uint16_t>(value >> 16));
  };
  h["mov.b32 {2}@1"] = [](Thread& t, const Instruction& i) {
    t.set<uint32_t>(i.operands[0], t.get<uint16_t>(i.operands[1]) |
                                       uint32_t{t.get<uint16_t>(i.operands[2])} << 16);
  };
  for (const char* space : {"global", "local"}) {
    h[std::string("cvta.to.") + space + ".u64"] = move<uint64_t>;
    h[std::string("cvta.") + space + ".u64"] = move<uint64_t>;
  }
}

// -- floats ------------------------------------------------------------------------

template <class T>
T flushed(T x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(T{0}, x) : x;
}

// operation() rounded another way than to the nearest.
template <class T, class Operation>
T rounded(int mode, const Operation& operation) {
  const int before = std::fegetround();
  std::fesetround(mode);
  volatile T result = operation();
  std::fesetround(before);
  return result;
}
// Volatile: computed after the mode is set.
template <class T, int kMode>
T add_rounded(T a, T b) {
  volatile T x = a, y = b;
  return rounded<T>(kMode, [&] { return x + y; });
}
template <class T, int kMode>
T multiply_add_rounded(T a, T b, T c) {
  volatile T x = a, y = b, z = c;
  return rounded<T>(kMode, [&] { return std::fma(x, y, z); });
}

// Of min and max: a NaN gives way to the other operand, and -0 is below 0.
template <class T>
T least(T a, T b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return a < b || (a == b && std::signbit(a)) ? a : b;
}
template <class T>
T greatest(T a, T b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return a > b || (a == b && !std::signbit(a)) ? a : b;
}

template <class T>
void add_floats(Handlers& h) {
  const std::string type = "f" + std::to_string(8 * sizeof(T));
  for (const char* rounding : {".rn.", "."}) {
    h["add" + (rounding + type)] = binary<T, [](T a, T b) { return a + b; }>;
    h["sub" + (rounding + type)] = binary<T, [](T a, T b) { return a - b; }>;
    h["mul" + (rounding + type)] = binary<T, [](T a, T b) { return a * b; }>;
  }
  h["add.rz." + type] = binary<T, add_rounded<T, FE_TOWARDZERO>>;
  h["add.rm." + type] = binary<T, add_rounded<T, FE_DOWNWARD>>;
  h["add.rp." + type] = binary<T, add_rounded<T, FE_UPWARD>>;
  h["fma.rn." + type] = ternary<T, [](T a, T b, T c) { return std::fma(a, b, c); }>;
  h["fma.rz." + type] = ternary<T, multiply_add_rounded<T, FE_TOWARDZERO>>;
  h["fma.rm." + type] = ternary<T, multiply_add_rounded<T, FE_DOWNWARD>>;
  h["fma.rp." + type] = ternary<T, multiply_add_rounded<T, FE_UPWARD>>;
  h["div.rn." + type] = binary<T, [](T a, T b) { return a / b; }>;
  h["rcp.rn." + type] = unary<T, [](T a) { return 1 / a; }>;
  h["sqrt.rn." + type] = unary<T, [](T a) { return std::sqrt(a); }>;
  h["neg." + type] = unary<T, [](T a) { return -a; }>;
  h["abs." + type] = unary<T, [](T a) { return std::fabs(a); }>;
  h["min." + type] = binary<T, least<T>>;
  h["max." + type] = binary<T, greatest<T>>;
  // The second has the sign of the first.
  h["copysign." + type] = binary<T, [](T a, T b) { return std::copysign(b, a); }>;
  h["mov." + type] = move<T>;
  h["selp." + type] = select<T>;
  h["setp.eq." + type] = compare<T, std::equal_to<>{}>;
  h["setp.ne." + type] = compare<T, [](T a, T b) { return a < b || b < a; }>;
  h["setp.lt." + type] = compare<T, std::less<>{}>;
  h["setp.le." + type] = compare<T, std::less_equal<>{}>;
  h["setp.gt." + type] = compare<T, std::greater<>{}>;
  h["setp.ge." + type] = compare<T, std::greater_equal<>{}>;
  // The same, or either is NaN.
  h["setp.equ." + type] = compare<T, [](T a, T b) { return !(a < b || b < a); }>;
  h["setp.neu." + type] = compare<T, std::not_equal_to<>{}>;
  h["setp.ltu." + type] = compare<T, [](T a, T b) { return !(b <= a); }>;
  h["setp.leu." + type] = compare<T, [](T a, T b) { return !(b < a); }>;
  h["setp.gtu." + type] = compare<T, [](T a, T b) { return !(a <= b); }>;
  h["setp.geu." + type] = compare<T, [](T a, T b) { return !(a < b); }>;
  h["setp.num." + type] = compare<T, [](T a, T b) { return !std::isnan(a) && !std::isnan(b); }>;
  h["setp.nan." + type] = compare<T, [](T a, T b) { return std::isnan(a) || std::isnan(b); }>;
}

// A gross approximation, by the manual: the lower half of the result is 0, for others to refine.
double reciprocal_gross(double x) {
  const double exact = flushed(1 / flushed(x));
  uint64_t bits;
  std::memcpy(&bits, &exact, sizeof(bits));
  bits &= ~uint64_t{0xffffffff};
  double gross;
  std::memcpy(&gross, &bits, sizeof(gross));
  return gross;
}

// Computed to the nearest: what a device's own approximation differs by is not shown.
void add_approximations(Handlers& h) {
  h["ex2.approx.f32"] = unary<float, [](float x) { return std::exp2(x); }>;
  h["ex2.approx.ftz.f32"] = unary<float, [](float x) { return flushed(std::exp2(flushed(x))); }>;
  h["lg2.approx.ftz.f32"] = unary<float, [](float x) { return flushed(std::log2(flushed(x))); }>;
  h["rcp.approx.ftz.f32"] = unary<float, [](float x) { return flushed(1 / flushed(x)); }>;
  h["rcp.approx.ftz.f64"] = unary<double, reciprocal_gross>;
}

// -- conversions -----------------------------------------------------------------------

template <class To, class From>
void convert(Thread& t, const Instruction& i) {
  t.set<To>(i.operands[0], static_cast<To>(t.get<From>(i.operands[1])));
}

enum class Rounding { kNearest, kZero, kDown, kUp };
template <class T, Rounding kRounding>
T to_integral(T x) {
  switch (kRounding) {
    case Rounding::kNearest:
      return std::nearbyint(x);
    case Rounding::kZero:
      return std::trunc(x);
    case Rounding::kDown:
      return std::floor(x);
    default:
      return std::ceil(x);
  }
}

// Values beyond To become its bounds; NaN becomes 0 (of 64 bits: the manual leaves it open).
template <class To, class From, Rounding kRounding>
void to_integer(Thread& t, const Instruction& i) {
  const From x = to_integral<From, kRounding>(t.get<From>(i.operands[1]));
  constexpr To low = std::numeric_limits<To>::min(), high = std::numeric_limits<To>::max();
  const To value = std::isnan(x)                  ? To{0}
                   : x <= static_cast<From>(low)  ? low
                   : x >= static_cast<From>(high) ? high
                                                  : static_cast<To>(x);
  t.set<To>(i.operands[0], value);
}

template <class From, Rounding kRounding>
void add_rounding(Handlers& h, const std::string& how, const std::string& from) {
  h["cvt." + how + ".s32." + from] = to_integer<int32_t, From, kRounding>;
  h["cvt." + how + ".u32." + from] = to_integer<uint32_t, From, kRounding>;
  h["cvt." + how + ".s64." + from] = to_integer<int64_t, From, kRounding>;
  h["cvt." + how + ".u64." + from] = to_integer<uint64_t, From, kRounding>;
  h["cvt." + how + "." + from + "." + from] = unary<From, to_integral<From, kRounding>>;
}

// Between 0 and 1; NaN becomes 0.
template <class T>
T saturated(T x) {
  return x > 0 ? (x < 1 ? x : T{1}) : T{0};
}

template <class From>
void add_conversions_of_float(Handlers& h, const std::string& from) {
  add_rounding<From, Rounding::kNearest>(h, "rni", from);
  add_rounding<From, Rounding::kZero>(h, "rzi", from);
  add_rounding<From, Rounding::kDown>(h, "rmi", from);
  add_rounding<From, Rounding::kUp>(h, "rpi", from);
  h["cvt.sat." + from + "." + from] = unary<From, saturated<From>>;
}

template <class From>
void add_conversions_of(Handlers& h, const std::string& from) {
  h["cvt.u16." + from] = convert<uint16_t, From>;
  h["cvt.s16." + from] = convert<int16_t, From>;
  h["cvt.u32." + from] = convert<uint32_t, From>;
  h["cvt.s32." + from] = convert<int32_t, From>;
  h["cvt.u64." + from] = convert<uint64_t, From>;
  h["cvt.s64." + from] = convert<int64_t, From>;
  h["cvt.rn.f32." + from] = convert<float, From>;
  h["cvt.rn.f64." + from] = convert<double, From>;
}

}  // namespace

void add_arithmetic(Handlers& handlers) {
  add_integers(handlers);
  add_predicates(handlers);
  add_moves(handlers);
  add_floats<float>(handlers);
  add_floats<double>(handlers);
  add_approximations(handlers);
}

void add_conversions(Handlers& handlers) {
  add_conversions_of<uint16_t>(handlers, "u16");
  add_conversions_of<int16_t>(handlers, "s16");
  add_conversions_of<uint32_t>(handlers, "u32");
  add_conversions_of<int32_t>(handlers, "s32");
  add_conversions_of<uint64_t>(handlers, "u64");
  add_conversions_of<int64_t>(handlers, "s64");
  add_conversions_of_float<float>(handlers, "f32");
  add_conversions_of_float<double>(handlers, "f64");
  handlers["cvt.f64.f32"] = convert<double, float>;
  handlers["cvt.rn.f32.f64"] = convert<float, double>;
}

}  // namespace bptt_ptx
