// Vectors of 4 floats and 2 doubles in the vector extensions of GCC and Clang: for
// processors without kernels of their own. Here fma rounds twice; everywhere else once.
//
// This file is the reference for what every vec_<isa>.h provides.

constexpr char kIsa[] = "baseline";
constexpr int kRegisters = 16;

template <class T, int Width>
struct LanesOf {
  typedef T Type __attribute__((vector_size(Width * sizeof(T))));
};

// E is the element, U its bits, Width the lanes, Mantissa the stored bits of it.
template <class E, class U, int Width, int Mantissa>
struct Vector {
  using Scalar = E;
  using Lanes = typename LanesOf<E, Width>::Type;
  using Bits = typename LanesOf<U, Width>::Type;
  static constexpr int N = Width;
  static constexpr int kMantissa = Mantissa;
  static constexpr U kSign = U(1) << (8 * sizeof(E) - 1);
  static constexpr U kBias = (U(1) << (8 * sizeof(E) - 2 - Mantissa)) - 1;
  struct Mask {
    Bits v;  // of a lane all bits, or none

    friend BPTT_INLINE Mask operator&(Mask a, Mask b) { return {a.v & b.v}; }
    friend BPTT_INLINE Mask operator|(Mask a, Mask b) { return {a.v | b.v}; }
  };
  Lanes v;

  BPTT_INLINE Vector() : v{} {}
  BPTT_INLINE Vector(E x) : v(x - Lanes{}) {}  // not 0 + x: that makes 0 of -0
  BPTT_INLINE Vector(Lanes x) : v(x) {}
  explicit BPTT_INLINE Vector(Bits x) : v(reinterpret_cast<Lanes>(x)) {}
  BPTT_INLINE Bits bits() const { return reinterpret_cast<Bits>(v); }

  static BPTT_INLINE Vector load(const E* p) {
    Vector r;
    std::memcpy(&r.v, p, sizeof r.v);
    return r;
  }
  // The first n lanes, 0 <= n <= N; the others are 0 and p[n], ... are not read.
  static BPTT_INLINE Vector load(const E* p, int64_t n) {
    Vector r;
    for (int i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
  }
  BPTT_INLINE void store(E* p) const { std::memcpy(p, &v, sizeof v); }
  BPTT_INLINE void store(E* p, int64_t n) const {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }

  friend BPTT_INLINE Vector operator+(Vector a, Vector b) { return a.v + b.v; }
  friend BPTT_INLINE Vector operator-(Vector a, Vector b) { return a.v - b.v; }
  friend BPTT_INLINE Vector operator*(Vector a, Vector b) { return a.v * b.v; }
  friend BPTT_INLINE Vector operator/(Vector a, Vector b) { return a.v / b.v; }
  friend BPTT_INLINE Vector operator-(Vector a) { return -a.v; }
  // a * b + c
  friend BPTT_INLINE Vector fma(Vector a, Vector b, Vector c) { return a.v * b.v + c.v; }
  // c - a * b
  friend BPTT_INLINE Vector fnma(Vector a, Vector b, Vector c) { return c.v - a.v * b.v; }
  // Comparisons with NaN are false.
  friend BPTT_INLINE Mask lt(Vector a, Vector b) { return {Bits(a.v < b.v)}; }
  friend BPTT_INLINE Mask le(Vector a, Vector b) { return {Bits(a.v <= b.v)}; }
  friend BPTT_INLINE Mask gt(Vector a, Vector b) { return {Bits(a.v > b.v)}; }
  friend BPTT_INLINE Mask ge(Vector a, Vector b) { return {Bits(a.v >= b.v)}; }
  friend BPTT_INLINE Mask eq(Vector a, Vector b) { return {Bits(a.v == b.v)}; }
  friend BPTT_INLINE Vector select(Mask m, Vector a, Vector b) {
    return Vector((m.v & a.bits()) | (~m.v & b.bits()));
  }
  // b where either is NaN, and where both are zero
  friend BPTT_INLINE Vector min(Vector a, Vector b) { return select(lt(a, b), a, b); }
  friend BPTT_INLINE Vector max(Vector a, Vector b) { return select(gt(a, b), a, b); }
  friend BPTT_INLINE Vector abs(Vector a) { return Vector(a.bits() & ~kSign); }
  friend BPTT_INLINE Vector sqrt(Vector a) {
    for (int i = 0; i < N; ++i) a.v[i] = std::sqrt(a.v[i]);
    return a;
  }
  // |a| with the sign of b
  friend BPTT_INLINE Vector copysign(Vector a, Vector b) {
    return Vector((a.bits() & ~kSign) | (b.bits() & kSign));
  }
  // The first n lanes of a; the others become 0.
  friend BPTT_INLINE Vector keep(Vector a, int64_t n) {
    for (int i = 0; i < N; ++i) a.v[i] = i < n ? a.v[i] : 0;
    return a;
  }

  // 2^n for an integral n whose power is a normal number. Beside 1.5 * 2^Mantissa the last bit of a
  // sum counts ones: n + bias comes to stand in the low bits, and a shift makes it the exponent.
  friend BPTT_INLINE Vector pow2(Vector n) {
    constexpr E kMagic = E(U(3) << (Mantissa - 1)) + E(kBias);
    return Vector((n + Vector(kMagic)).bits() << Mantissa);
  }
  // For a positive normal x: x == mantissa(x) * pow2(exponent(x)), 1 <= mantissa(x) < 2.
  friend BPTT_INLINE Vector exponent(Vector x) {
    constexpr E kBase = E(U(1) << Mantissa);  // whose low bits count ones
    const Vector sum((x.bits() >> Mantissa) | Vector(kBase).bits());
    return sum - Vector(kBase + E(kBias));
  }
  friend BPTT_INLINE Vector mantissa(Vector x) {
    constexpr U kStored = (U(1) << Mantissa) - 1;
    return Vector((x.bits() & kStored) | Vector(E(1)).bits());
  }
};

using F32 = Vector<float, uint32_t, 4, 23>;
using F64 = Vector<double, uint64_t, 2, 52>;
