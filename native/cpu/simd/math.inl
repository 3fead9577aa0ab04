// Of counts. Not std::min: of its copies for several instruction sets the linker keeps any one.
BPTT_INLINE constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
BPTT_INLINE constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Elementary functions. Each runs the same sequence of operations in
// every instruction set, so those with a fused multiply-add agree bit for bit.
// NaN in, NaN out; arguments and results that are denormal may be taken for zero.
// test/native/math_test.cc asserts the errors stated here.

// c0 + c1 x + c2 x^2 + ..., by Horner's rule
template <class V>
BPTT_INLINE V polynomial(V, typename V::Scalar c0) {
  return V(c0);
}
template <class V, class... Rest>
BPTT_INLINE V polynomial(V x, typename V::Scalar c0, Rest... rest) {
  return fma(polynomial(x, rest...), x, V(c0));
}

// n * kLn2High is exact for the n of any exponent.
template <class Scalar>
struct Ln2;
template <>
struct Ln2<float> {
  static constexpr float kInverse = 1.44269504f, kHigh = 0.693359375f, kLow = -2.12194440e-4f;
  static constexpr float kRound = 12582912.0f;  // adding and subtracting it rounds to integers
  static constexpr float kExpMin = -87.3365448f, kExpMax = 88.7228391f;  // exp is normal between
  static constexpr float kMaxExponent = 127;
};
template <>
struct Ln2<double> {
  static constexpr double kInverse = 1.4426950408889634074, kHigh = 6.93147180369123816490e-1,
                          kLow = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kExpMin = -708.39641853226408, kExpMax = 709.78271289338397;
  static constexpr double kMaxExponent = 1023;
};

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2
BPTT_INLINE F32 exp_tail(F32 r) {
  return polynomial(r, 0.500000004f, 0.166666664f, 0.0416663609f, 0.00833338937f, 0.00139406272f,
                    0.000198458782f);
}
BPTT_INLINE F64 exp_tail(F64 r) {
  return polynomial(r, 0.50000000000000051792, 0.16666666666666589282, 0.041666666666576756318,
                    0.0083333333333895516863, 0.0013888888931564343869, 0.00019841269719004432868,
                    0.000024801505274412426086, 2.7557407547467447211e-6, 2.7626037654732031994e-7,
                    2.5053772735732015316e-8);
}

// n is the integer nearest to x / ln 2, and the result exp(x - n ln 2) - 1.
template <class V>
BPTT_INLINE V reduced_expm1(V x, V& n) {
  using L = Ln2<typename V::Scalar>;
  n = fma(x, V(L::kInverse), V(L::kRound)) - V(L::kRound);
  const V r = fnma(n, V(L::kLow), fnma(n, V(L::kHigh), x));
  return fma(r * r, exp_tail(r), r);
}

// Error at most 1 ulp (float64: 1.5); inf above kExpMax, 0 below kExpMin.
template <class V>
BPTT_INLINE V exp(V x) {
  using L = Ln2<typename V::Scalar>;
  V n;
  const V p = reduced_expm1(max(V(L::kExpMin), min(V(L::kExpMax), x)), n) + V(1);
  // 2^n itself may overflow at the upper end.
  const V top = V(L::kMaxExponent);
  V y = p * select(gt(n, top), V(2), V(1)) * pow2(min(top, n));
  y = select(lt(x, V(L::kExpMin)), V(), y);
  return select(gt(x, V(L::kExpMax)), V(std::numeric_limits<typename V::Scalar>::infinity()), y);
}

// Error at most 2.5 ulp (float64: 3), also where the result is small; 0 below kExpMin.
template <class V>
BPTT_INLINE V sigmoid(V x) {
  using L = Ln2<typename V::Scalar>;
  V n;
  const V q = reduced_expm1(max(V(L::kExpMin), min(V(-L::kExpMin), -x)), n);
  const V y = V(1) / fma(q + V(1), pow2(n), V(1));
  return select(lt(x, V(L::kExpMin)), V(), y);
}

// Error at most 2.5 ulp (float64: 3). tanh |x| = e / (e + 2) where e = exp(2 |x|) - 1.
template <class V>
BPTT_INLINE V tanh(V x) {
  constexpr typename V::Scalar kOne = sizeof(kOne) == 4 ? 9.1 : 19.1;  // rounds to 1 from here
  const V a = min(V(kOne), abs(x));
  V n;
  const V q = reduced_expm1(a + a, n);
  const V s = pow2(n);
  const V e = fma(q, s, s - V(1));
  return copysign(e / (e + V(2)), x);
}

// log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + log_tail(s^2))), s = f / (2 + f)
BPTT_INLINE F32 log_tail(F32 z) {
  return z * polynomial(z, 0.66666662693f, 0.40000972152f, 0.28498786688f, 0.24279078841f);
}
BPTT_INLINE F64 log_tail(F64 z) {
  return z * polynomial(z, 6.666666666666735130e-1, 3.999999999940941908e-1,
                        2.857142874366239149e-1, 2.222219843214978396e-1, 1.818357216161805012e-1,
                        1.531383769920937332e-1, 1.479819860511658591e-1);
}

// log(x) + c for a positive normal x and a c far smaller than 1.
template <class V>
BPTT_INLINE V log_plus(V x, V c) {
  using L = Ln2<typename V::Scalar>;
  V n = exponent(x);
  V m = mantissa(x);
  const auto big = gt(m, V(typename V::Scalar(1.41421356237309505)));
  m = select(big, m * V(typename V::Scalar(0.5)), m);
  n = select(big, n + V(1), n);
  const V f = m - V(1);
  const V s = f / (f + V(2));
  const V half = f * f * V(typename V::Scalar(0.5));
  const V low = fma(n, V(L::kLow), fma(s, half + log_tail(s * s), c));
  return fma(n, V(L::kHigh), f - (half - low));
}

// What log(x) is where x is not a positive normal number.
template <class V>
BPTT_INLINE V log_special(V x, V y) {
  using Limits = std::numeric_limits<typename V::Scalar>;
  y = select(lt(x, V(Limits::min())), V(-Limits::infinity()), y);
  y = select(lt(x, V()), V(Limits::quiet_NaN()), y);
  return select(lt(x, V(Limits::infinity())), y, x);
}

// Error at most 1 ulp; -inf at 0, NaN below.
template <class V>
BPTT_INLINE V log(V x) {
  return log_special(x, log_plus(x, V()));
}

// Error at most 1 ulp; -inf at -1, NaN below. c is what rounding 1 + x has lost.
template <class V>
BPTT_INLINE V log1p(V x) {
  const V u = x + V(1);
  const V c = select(lt(x, V(1)), x - (u - V(1)), V(1) - (u - x));
  return log_special(u, log_plus(u, c / u));
}

// -- rounding to integers: exact ------------------------------------------------

// Halves go to the even one.
template <class V>
BPTT_INLINE V round(V x) {
  using Limits = std::numeric_limits<typename V::Scalar>;
  const V far = V(typename V::Scalar(1) / Limits::epsilon());  // integers from here
  const V a = abs(x);
  return select(lt(a, far), copysign((a + far) - far, x), x);
}
template <class V>
BPTT_INLINE V floor(V x) {
  const V r = round(x);
  return select(gt(r, x), r - V(1), r);
}
template <class V>
BPTT_INLINE V ceil(V x) {
  const V r = round(x);
  return copysign(select(lt(r, x), r + V(1), r), x);
}

// -- functions that float32 computes in float64 ------------------------------------

// f of float64, of as many float32.
template <class F, class... In>
BPTT_INLINE F32 widened(const F& f, In... x) {
  constexpr int kWhole = F32::N, kPart = F64::N, kCount = sizeof...(In);
  float narrow[kCount][kWhole];
  double wide[kCount][kWhole];
  int k = 0;
  (x.store(narrow[k++]), ...);
  for (int j = 0; j < kCount; ++j)
    for (int l = 0; l < kWhole; ++l) wide[j][l] = static_cast<double>(narrow[j][l]);
  for (int l = 0; l < kWhole; l += kPart) {
    if constexpr (kCount == 1) {
      f(F64::load(wide[0] + l)).store(wide[0] + l);
    } else {
      f(F64::load(wide[0] + l), F64::load(wide[1] + l)).store(wide[0] + l);
    }
  }
  for (int l = 0; l < kWhole; ++l) narrow[0][l] = static_cast<float>(wide[0][l]);
  return F32::load(narrow[0]);
}

// 2 / pi in words of 32 bits, after two of zeros.
inline constexpr uint32_t kTwoOverPi[] = {
    0x00000000, 0x00000000, 0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599,
    0x3c439041, 0xfe5163ab, 0xdebbc561, 0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c,
    0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484, 0xe99c7026, 0xb45f7e41, 0x3991d639,
    0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f, 0xef2f118b, 0x5a0a6d1f,
    0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7, 0xebe5f17b, 0x3d0739f7,
    0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab, 0xf0cfbc20, 0x9af4361d};

// For a finite |x| > 2^19: x = (n + r) pi / 2 but for a multiple of 2 pi, |r| <= 1/2, and r pi / 2
// is returned. Payne and Hanek: of the product with 2 / pi only the bits are computed that count.
inline double far_remainder(double x, double* n) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int exponent = static_cast<int>(bits >> 52 & 0x7ff) - 1075;  // |x| = mantissa 2^exponent
  const uint64_t mantissa = (bits & 0xfffffffffffff) | 0x10000000000000;
  // Bits before `first` make multiples of 4; what follows the 192 taken is below 2^-137.
  const int first = exponent - 2 + 64, word = first / 32, shift = first % 32;
  uint32_t factor[6], product[6] = {};  // the lowest first
  for (int i = 0; i < 6; ++i) {
    const uint64_t two = uint64_t(kTwoOverPi[word + i]) << 32 | kTwoOverPi[word + i + 1];
    factor[5 - i] = static_cast<uint32_t>(two << shift >> 32);
  }
  for (int half = 0; half < 2; ++half) {
    const uint64_t part = half ? mantissa >> 32 : mantissa & 0xffffffff;
    uint64_t carry = 0;
    for (int i = 0; i + half < 6; ++i) {
      carry += part * factor[i] + product[i + half];
      product[i + half] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
  // Two bits of n, then the fraction; from 1/2 on it is negative.
  int whole = static_cast<int>(product[5] >> 30);
  for (int i = 5; i > 0; --i) product[i] = product[i] << 2 | product[i - 1] >> 30;
  const bool above = product[5] >> 31;
  whole += above;
  double r = 0, unit = 0x1p-160;
  for (int i = 1; i < 6; ++i, unit *= 0x1p32)
    r += static_cast<double>(above ? ~product[i] : product[i]) * unit;
  r *= 1.57079632679489661923;
  const bool negative = bits >> 63;
  *n = negative ? -whole : whole;
  return above != negative ? -r : r;
}

// x = n pi / 2 + high + low but for a multiple of 2 pi, |high| <= pi / 4.
BPTT_INLINE void quarters(F64 x, F64* n, F64* high, F64* low) {
  constexpr double kFar = 0x1p19;
  // Three parts of pi / 2 of 33 bits, whose products with the n of a near x are exact, and the
  // rest.
  constexpr double kParts[4] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69,
                                0x1.b839a252049c1p-104};
  const F64 magic = F64(Ln2<double>::kRound);
  *n = x * F64(0.63661977236758134308) + magic - magic;
  const F64 first = x - *n * F64(kParts[0]), second = *n * F64(kParts[1]);
  const F64 sum = first - second;
  const F64 rest = (first - sum) - second - *n * F64(kParts[2]) - *n * F64(kParts[3]);
  *high = sum + rest;
  *low = (sum - *high) + rest;

  double lanes[F64::N];
  x.store(lanes);
  bool far = false;
  for (double lane : lanes) far |= !(lane <= kFar && lane >= -kFar);
  if (!far) return;
  double whole[F64::N], reduced[F64::N], left[F64::N];
  n->store(whole);
  high->store(reduced);
  low->store(left);
  for (int l = 0; l < F64::N; ++l) {
    if (lanes[l] - lanes[l] != 0 || (lanes[l] <= kFar && lanes[l] >= -kFar)) continue;
    reduced[l] = far_remainder(lanes[l], whole + l);
    left[l] = 0;
  }
  *n = F64::load(whole);
  *high = F64::load(reduced);
  *low = F64::load(left);
}

// Of r + low, |r| <= pi / 4.
BPTT_INLINE F64 near_sin(F64 r, F64 low) {
  const F64 z = r * r;
  const F64 p =
      polynomial(z, -0.16666666666666664611, 0.0083333333333309364825, -0.00019841269836740467589,
                 2.7557316093174525497e-6, -2.5051129892583076679e-8, 1.5917988751669008264e-10);
  return r + fma(z * r, p, low);
}
BPTT_INLINE F64 near_cos(F64 r, F64 low) {
  const F64 z = r * r, half = z * F64(0.5), most = F64(1) - half;
  const F64 p =
      polynomial(z, 0.041666666666666665381, -0.0013888888888887389728, 0.000024801587298754360819,
                 -2.7557317265863143182e-7, 2.0876145046994266408e-9, -1.1382544502902205763e-11);
  return most + (((F64(1) - most) - half) + fma(z * z, p, -(r * low)));
}

// n modulo 4, from -2 to 2.
BPTT_INLINE F64 quadrant(F64 n) { return n - F64(4) * round(n * F64(0.25)); }

// Error at most 1 ulp (float64: 2.5), for every finite x; NaN of infinities.
BPTT_INLINE F64 sin(F64 x) {
  F64 n, r, low;
  quarters(x, &n, &r, &low);
  const F64 q = quadrant(n);
  const F64 y = select(eq(abs(q), F64(1)), near_cos(r, low), near_sin(r, low));
  const F64 turned = select(eq(q, F64(-1)) | eq(abs(q), F64(2)), -y, y);
  return select(lt(abs(x), F64(1e-8)), x, turned);
}
BPTT_INLINE F64 cos(F64 x) {
  F64 n, r, low;
  quarters(x, &n, &r, &low);
  const F64 q = quadrant(n);
  const F64 y = select(eq(abs(q), F64(1)), near_sin(r, low), near_cos(r, low));
  return select(eq(q, F64(1)) | eq(abs(q), F64(2)), -y, y);
}

// Error at most 1 ulp (float64 without a fused multiply-add: 1.5). Beyond 1 it is 1 - exp(-x^2)
// p((x - 3) / (x + 3)).
BPTT_INLINE F64 erf(F64 x) {
  const F64 z = x * x;
  const F64 small =
      fma(x,
          polynomial(z, 0.1283791670955125738, -0.37612638903183748056, 0.11283791670954878666,
                     -0.026866170645076793248, 0.0052239776248180144673, -0.00085483269808337899052,
                     0.00012055331111642710923, -0.000014925595266831181565,
                     1.6461000484121368033e-6, -1.6350312701054695011e-7, 1.4659775274047435814e-8,
                     -1.137284885679167367e-9, 5.9571761477489114044e-11),
          x);
  const F64 a = min(F64(6), abs(x));
  const F64 t = (a - F64(3)) / (a + F64(3));
  const F64 p =
      polynomial(t, 0.17900115118138995043, -0.32623356004303723386, 0.24560380171233087786,
                 -0.15011593650077567217, 0.071665837197977992586, -0.024392499318797286979,
                 0.0042691363328431607993, 0.00070774644356341977752, -0.00059706194756381534531,
                 0.000045255206664490135761, 0.000064056510074075994803, -0.00001285946280912837503,
                 -7.9773201466238435417e-6, 2.1134096515353965389e-6, 1.2454867861347614611e-6,
                 -2.7203485414120930426e-7, -2.0561561751722628455e-7);
  const F64 y = select(lt(abs(x), F64(1)), small, copysign(fnma(exp(-(a * a)), p, F64(1)), x));
  // Where the second term of the sum may be denormal, and nothing else counts.
  return select(lt(abs(x), F64(1e-9)), x * F64(1.1283791670955125739), y);
}

// Error at most 1 ulp (float64: 2 + 2 |y log x|). As IEEE 754: 1 where y is 0 or x is 1, NaN where
// a finite x is negative and y no integer.
BPTT_INLINE F64 pow(F64 x, F64 y) {
  using Limits = std::numeric_limits<double>;
  const F64 half = y * F64(0.5), size = abs(x), nearest = round(half);
  const auto whole = eq(round(y), y);
  const auto odd = whole & (lt(nearest, half) | gt(nearest, half));
  F64 power = exp(select(eq(size, F64(1)), F64(), y * log(size)));
  power = select(odd, copysign(power, x), power);
  const auto negative = lt(x, F64()) & gt(x, F64(-Limits::infinity()));
  power = select(negative, select(whole, power, F64(Limits::quiet_NaN())), power);
  power = select(eq(x, x) & eq(y, y), power, x + y);
  return select(eq(y, F64()) | eq(x, F64(1)), F64(1), power);
}

BPTT_INLINE F32 sin(F32 x) {
  return widened([](F64 v) { return sin(v); }, x);
}
BPTT_INLINE F32 cos(F32 x) {
  return widened([](F64 v) { return cos(v); }, x);
}
BPTT_INLINE F32 erf(F32 x) {
  return widened([](F64 v) { return erf(v); }, x);
}
BPTT_INLINE F32 pow(F32 x, F32 y) {
  return widened([](F64 a, F64 b) { return pow(a, b); }, x, y);
}
