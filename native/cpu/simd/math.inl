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
