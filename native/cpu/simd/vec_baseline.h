// Portable vectors of 4 floats and 2 doubles in plain loops: for processors
// without a kernel of their own. Here fma rounds twice; everywhere else once.
//
// This file is the reference for what every vec_<isa>.h provides.

constexpr char kIsa[] = "baseline";
constexpr int kRegisters = 16;

// E is the element, U its bits, Width the lanes, Mantissa the stored bits of it.
template <class E, class U, int Width, int Mantissa>
struct Vector {
  using Scalar = E;
  using Bits = U;
  static constexpr int N = Width;
  static constexpr int kMantissa = Mantissa;
  struct Mask {
    bool v[N];

    friend BPTT_INLINE Mask operator&(Mask a, Mask b) {
      for (int i = 0; i < N; ++i) a.v[i] = a.v[i] && b.v[i];
      return a;
    }
    friend BPTT_INLINE Mask operator|(Mask a, Mask b) {
      for (int i = 0; i < N; ++i) a.v[i] = a.v[i] || b.v[i];
      return a;
    }
  };
  E v[N];

  BPTT_INLINE Vector() {
    for (int i = 0; i < N; ++i) v[i] = 0;
  }
  BPTT_INLINE Vector(E x) {
    for (int i = 0; i < N; ++i) v[i] = x;
  }

  static BPTT_INLINE Vector load(const E* p) {
    Vector r;
    for (int i = 0; i < N; ++i) r.v[i] = p[i];
    return r;
  }
  // The first n lanes, 0 <= n <= N; the others are 0 and p[n], ... are not read.
  static BPTT_INLINE Vector load(const E* p, int64_t n) {
    Vector r;
    for (int i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
  }
  BPTT_INLINE void store(E* p) const {
    for (int i = 0; i < N; ++i) p[i] = v[i];
  }
  BPTT_INLINE void store(E* p, int64_t n) const {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }

  template <class F>
  static BPTT_INLINE Vector map(const Vector& a, const Vector& b, F f) {
    Vector r;
    for (int i = 0; i < N; ++i) r.v[i] = f(a.v[i], b.v[i]);
    return r;
  }
  template <class F>
  static BPTT_INLINE Mask test(const Vector& a, const Vector& b, F f) {
    Mask r;
    for (int i = 0; i < N; ++i) r.v[i] = f(a.v[i], b.v[i]);
    return r;
  }
  static BPTT_INLINE U bits(E x) {
    U u;
    std::memcpy(&u, &x, sizeof u);
    return u;
  }
  static BPTT_INLINE E value(U u) {
    E x;
    std::memcpy(&x, &u, sizeof x);
    return x;
  }

  friend BPTT_INLINE Vector operator+(Vector a, Vector b) {
    return map(a, b, [](E x, E y) { return x + y; });
  }
  friend BPTT_INLINE Vector operator-(Vector a, Vector b) {
    return map(a, b, [](E x, E y) { return x - y; });
  }
  friend BPTT_INLINE Vector operator*(Vector a, Vector b) {
    return map(a, b, [](E x, E y) { return x * y; });
  }
  friend BPTT_INLINE Vector operator/(Vector a, Vector b) {
    return map(a, b, [](E x, E y) { return x / y; });
  }
  friend BPTT_INLINE Vector operator-(Vector a) {
    return map(a, a, [](E x, E) { return -x; });
  }
  // a * b + c
  friend BPTT_INLINE Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  // c - a * b
  friend BPTT_INLINE Vector fnma(Vector a, Vector b, Vector c) { return c - a * b; }
  // b where either is NaN, and where both are zero
  friend BPTT_INLINE Vector min(Vector a, Vector b) {
    return map(a, b, [](E x, E y) { return x < y ? x : y; });
  }
  friend BPTT_INLINE Vector max(Vector a, Vector b) {
    return map(a, b, [](E x, E y) { return x > y ? x : y; });
  }
  friend BPTT_INLINE Vector abs(Vector a) {
    return map(a, a, [](E x, E) { return value(bits(x) & ~(U(1) << (8 * sizeof(E) - 1))); });
  }
  friend BPTT_INLINE Vector sqrt(Vector a) {
    return map(a, a, [](E x, E) { return std::sqrt(x); });
  }
  // |a| with the sign of b
  friend BPTT_INLINE Vector copysign(Vector a, Vector b) {
    return map(a, b, [](E x, E y) {
      const U sign = U(1) << (8 * sizeof(E) - 1);
      return value((bits(x) & ~sign) | (bits(y) & sign));
    });
  }
  // Comparisons with NaN are false.
  friend BPTT_INLINE Mask lt(Vector a, Vector b) {
    return test(a, b, [](E x, E y) { return x < y; });
  }
  friend BPTT_INLINE Mask le(Vector a, Vector b) {
    return test(a, b, [](E x, E y) { return x <= y; });
  }
  friend BPTT_INLINE Mask gt(Vector a, Vector b) {
    return test(a, b, [](E x, E y) { return x > y; });
  }
  friend BPTT_INLINE Mask ge(Vector a, Vector b) {
    return test(a, b, [](E x, E y) { return x >= y; });
  }
  friend BPTT_INLINE Mask eq(Vector a, Vector b) {
    return test(a, b, [](E x, E y) { return x == y; });
  }
  friend BPTT_INLINE Vector select(Mask m, Vector a, Vector b) {
    Vector r;
    for (int i = 0; i < N; ++i) r.v[i] = m.v[i] ? a.v[i] : b.v[i];
    return r;
  }
  // The first n lanes of a; the others become 0.
  friend BPTT_INLINE Vector keep(Vector a, int64_t n) {
    Vector r;
    for (int i = 0; i < N; ++i) r.v[i] = i < n ? a.v[i] : 0;
    return r;
  }

  // 2^n for an integral n whose power is a normal number.
  friend BPTT_INLINE Vector pow2(Vector n) {
    constexpr U kBias = (U(1) << (8 * sizeof(E) - 2 - Mantissa)) - 1;
    constexpr E kMagic = E(U(3) << (Mantissa - 1)) + E(kBias);
    return map(n, n, [](E x, E) { return value(bits(x + kMagic) << Mantissa); });
  }
  // For a positive normal x: x == mantissa(x) * pow2(exponent(x)), 1 <= mantissa(x) < 2.
  friend BPTT_INLINE Vector exponent(Vector x) {
    constexpr U kBias = (U(1) << (8 * sizeof(E) - 2 - Mantissa)) - 1;
    return map(x, x, [](E e, E) { return E(bits(e) >> Mantissa) - E(kBias); });
  }
  friend BPTT_INLINE Vector mantissa(Vector x) {
    constexpr U kMask = (U(1) << Mantissa) - 1;
    return map(x, x, [](E e, E) { return value((bits(e) & kMask) | bits(E(1))); });
  }
};

using F32 = Vector<float, uint32_t, 4, 23>;
using F64 = Vector<double, uint64_t, 2, 52>;
