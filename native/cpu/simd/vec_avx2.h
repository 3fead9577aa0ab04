// Vectors of 8 floats and 4 doubles. Included inside the instruction set's
// namespace, after its target is open. vec_baseline.h says what each name means.

constexpr char kIsa[] = "avx2";
constexpr int kRegisters = 16;

// Lane masks of the first n lanes are read at offset N - n.
alignas(32) inline constexpr int32_t kLanes32[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                     0,  0,  0,  0,  0,  0,  0,  0};
alignas(32) inline constexpr int64_t kLanes64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

struct F32 {
  using Scalar = float;
  static constexpr int N = 8;
  struct Mask {
    __m256 v;
  };
  __m256 v;

  BPTT_INLINE F32() : v(_mm256_setzero_ps()) {}
  BPTT_INLINE F32(float x) : v(_mm256_set1_ps(x)) {}
  BPTT_INLINE F32(__m256 x) : v(x) {}

  static BPTT_INLINE F32 load(const float* p) { return _mm256_loadu_ps(p); }
  static BPTT_INLINE F32 load(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  BPTT_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  // The masked store is slow on some processors, and callers pass whole vectors too.
  BPTT_INLINE void store(float* p, int64_t n) const {
    if (n == N) {
      store(p);
    } else {
      _mm256_maskstore_ps(p, first(n), v);
    }
  }

  static BPTT_INLINE __m256i first(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLanes32 + 8 - n));
  }
};

BPTT_INLINE F32 operator+(F32 a, F32 b) { return _mm256_add_ps(a.v, b.v); }
BPTT_INLINE F32 operator-(F32 a, F32 b) { return _mm256_sub_ps(a.v, b.v); }
BPTT_INLINE F32 operator*(F32 a, F32 b) { return _mm256_mul_ps(a.v, b.v); }
BPTT_INLINE F32 operator/(F32 a, F32 b) { return _mm256_div_ps(a.v, b.v); }
BPTT_INLINE F32 operator-(F32 a) { return _mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f)); }
BPTT_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
BPTT_INLINE F32 fnma(F32 a, F32 b, F32 c) { return _mm256_fnmadd_ps(a.v, b.v, c.v); }
BPTT_INLINE F32 min(F32 a, F32 b) { return _mm256_min_ps(a.v, b.v); }
BPTT_INLINE F32 max(F32 a, F32 b) { return _mm256_max_ps(a.v, b.v); }
BPTT_INLINE F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v); }
BPTT_INLINE F32 sqrt(F32 a) { return _mm256_sqrt_ps(a.v); }
BPTT_INLINE F32 copysign(F32 a, F32 b) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(sign, a.v), _mm256_and_ps(sign, b.v));
}
BPTT_INLINE F32::Mask lt(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
BPTT_INLINE F32::Mask le(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
BPTT_INLINE F32::Mask gt(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
BPTT_INLINE F32::Mask ge(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
BPTT_INLINE F32::Mask eq(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
BPTT_INLINE F32::Mask operator&(F32::Mask a, F32::Mask b) { return {_mm256_and_ps(a.v, b.v)}; }
BPTT_INLINE F32::Mask operator|(F32::Mask a, F32::Mask b) { return {_mm256_or_ps(a.v, b.v)}; }
BPTT_INLINE F32 select(F32::Mask m, F32 a, F32 b) { return _mm256_blendv_ps(b.v, a.v, m.v); }
BPTT_INLINE F32 keep(F32 a, int64_t n) {
  return _mm256_and_ps(a.v, _mm256_castsi256_ps(F32::first(n)));
}

BPTT_INLINE F32 pow2(F32 n) {
  const __m256i biased = _mm256_castps_si256(_mm256_add_ps(n.v, _mm256_set1_ps(0x1.8p23f + 127)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
// The biased exponent as the last bits of 2^23 (of doubles, 2^52): subtracting that makes a number
// of it without a conversion.
BPTT_INLINE F32 exponent(F32 x) {
  const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(x.v), 23);
  const __m256 base = _mm256_set1_ps(0x1p23f);
  const __m256 sum = _mm256_or_ps(_mm256_castsi256_ps(biased), base);
  return _mm256_sub_ps(sum, _mm256_set1_ps(0x1p23f + 127));
}
BPTT_INLINE F32 mantissa(F32 x) {
  const __m256 bits = _mm256_castsi256_ps(_mm256_set1_epi32(0x007fffff));
  return _mm256_or_ps(_mm256_and_ps(x.v, bits), _mm256_set1_ps(1.0f));
}

struct F64 {
  using Scalar = double;
  static constexpr int N = 4;
  struct Mask {
    __m256d v;
  };
  __m256d v;

  BPTT_INLINE F64() : v(_mm256_setzero_pd()) {}
  BPTT_INLINE F64(double x) : v(_mm256_set1_pd(x)) {}
  BPTT_INLINE F64(__m256d x) : v(x) {}

  static BPTT_INLINE F64 load(const double* p) { return _mm256_loadu_pd(p); }
  static BPTT_INLINE F64 load(const double* p, int64_t n) {
    return _mm256_maskload_pd(p, first(n));
  }
  BPTT_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  BPTT_INLINE void store(double* p, int64_t n) const {
    if (n == N) {
      store(p);
    } else {
      _mm256_maskstore_pd(p, first(n), v);
    }
  }

  static BPTT_INLINE __m256i first(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLanes64 + 4 - n));
  }
};

BPTT_INLINE F64 operator+(F64 a, F64 b) { return _mm256_add_pd(a.v, b.v); }
BPTT_INLINE F64 operator-(F64 a, F64 b) { return _mm256_sub_pd(a.v, b.v); }
BPTT_INLINE F64 operator*(F64 a, F64 b) { return _mm256_mul_pd(a.v, b.v); }
BPTT_INLINE F64 operator/(F64 a, F64 b) { return _mm256_div_pd(a.v, b.v); }
BPTT_INLINE F64 operator-(F64 a) { return _mm256_xor_pd(a.v, _mm256_set1_pd(-0.0)); }
BPTT_INLINE F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a.v, b.v, c.v); }
BPTT_INLINE F64 fnma(F64 a, F64 b, F64 c) { return _mm256_fnmadd_pd(a.v, b.v, c.v); }
BPTT_INLINE F64 min(F64 a, F64 b) { return _mm256_min_pd(a.v, b.v); }
BPTT_INLINE F64 max(F64 a, F64 b) { return _mm256_max_pd(a.v, b.v); }
BPTT_INLINE F64 abs(F64 a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v); }
BPTT_INLINE F64 sqrt(F64 a) { return _mm256_sqrt_pd(a.v); }
BPTT_INLINE F64 copysign(F64 a, F64 b) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return _mm256_or_pd(_mm256_andnot_pd(sign, a.v), _mm256_and_pd(sign, b.v));
}
BPTT_INLINE F64::Mask lt(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
BPTT_INLINE F64::Mask le(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)}; }
BPTT_INLINE F64::Mask gt(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_GT_OQ)}; }
BPTT_INLINE F64::Mask ge(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_GE_OQ)}; }
BPTT_INLINE F64::Mask eq(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)}; }
BPTT_INLINE F64::Mask operator&(F64::Mask a, F64::Mask b) { return {_mm256_and_pd(a.v, b.v)}; }
BPTT_INLINE F64::Mask operator|(F64::Mask a, F64::Mask b) { return {_mm256_or_pd(a.v, b.v)}; }
BPTT_INLINE F64 select(F64::Mask m, F64 a, F64 b) { return _mm256_blendv_pd(b.v, a.v, m.v); }
BPTT_INLINE F64 keep(F64 a, int64_t n) {
  return _mm256_and_pd(a.v, _mm256_castsi256_pd(F64::first(n)));
}

BPTT_INLINE F64 pow2(F64 n) {
  const __m256d magic = _mm256_set1_pd(0x1.8p52 + 1023);
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(_mm256_add_pd(n.v, magic)), 52));
}
BPTT_INLINE F64 exponent(F64 x) {
  const __m256i biased = _mm256_srli_epi64(_mm256_castpd_si256(x.v), 52);
  const __m256d base = _mm256_set1_pd(0x1p52);
  const __m256d sum = _mm256_or_pd(_mm256_castsi256_pd(biased), base);
  return _mm256_sub_pd(sum, _mm256_set1_pd(0x1p52 + 1023));
}
BPTT_INLINE F64 mantissa(F64 x) {
  const __m256d bits = _mm256_castsi256_pd(_mm256_set1_epi64x(0x000fffffffffffff));
  return _mm256_or_pd(_mm256_and_pd(x.v, bits), _mm256_set1_pd(1.0));
}
