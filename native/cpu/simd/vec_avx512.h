// Vectors of 16 floats and 8 doubles (AVX-512 F, BW, DQ, VL). Included inside the
// instruction set's namespace, after its target is open. vec_baseline.h says
// what each name means.

constexpr char kIsa[] = "avx512";
constexpr int kRegisters = 32;

// GCC 12 warns of uninitialized values inside its own unmasked intrinsics
// (bug 105593), so these are called with all lanes on: the code is the same.
constexpr unsigned char kAll8 = 0xff;
constexpr unsigned short kAll16 = 0xffff;

struct F32 {
  using Scalar = float;
  static constexpr int N = 16;
  struct Mask {
    __mmask16 v;
  };
  __m512 v;

  BPTT_INLINE F32() : v(_mm512_setzero_ps()) {}
  BPTT_INLINE F32(float x) : v(_mm512_set1_ps(x)) {}
  BPTT_INLINE F32(__m512 x) : v(x) {}

  static BPTT_INLINE F32 load(const float* p) { return _mm512_loadu_ps(p); }
  static BPTT_INLINE F32 load(const float* p, int64_t n) {
    return _mm512_maskz_loadu_ps(first(n), p);
  }
  BPTT_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  BPTT_INLINE void store(float* p, int64_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }

  static BPTT_INLINE __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
};

BPTT_INLINE F32 operator+(F32 a, F32 b) { return _mm512_add_ps(a.v, b.v); }
BPTT_INLINE F32 operator-(F32 a, F32 b) { return _mm512_sub_ps(a.v, b.v); }
BPTT_INLINE F32 operator*(F32 a, F32 b) { return _mm512_mul_ps(a.v, b.v); }
BPTT_INLINE F32 operator/(F32 a, F32 b) { return _mm512_div_ps(a.v, b.v); }
BPTT_INLINE F32 operator-(F32 a) { return _mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f)); }
BPTT_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
BPTT_INLINE F32 fnma(F32 a, F32 b, F32 c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }
BPTT_INLINE F32 min(F32 a, F32 b) { return _mm512_maskz_min_ps(kAll16, a.v, b.v); }
BPTT_INLINE F32 max(F32 a, F32 b) { return _mm512_maskz_max_ps(kAll16, a.v, b.v); }
BPTT_INLINE F32 abs(F32 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v); }
BPTT_INLINE F32 sqrt(F32 a) { return _mm512_maskz_sqrt_ps(kAll16, a.v); }
BPTT_INLINE F32 copysign(F32 a, F32 b) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return _mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, b.v));
}
BPTT_INLINE F32::Mask lt(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
BPTT_INLINE F32::Mask le(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
BPTT_INLINE F32::Mask gt(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
BPTT_INLINE F32::Mask ge(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
BPTT_INLINE F32::Mask eq(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
BPTT_INLINE F32::Mask operator&(F32::Mask a, F32::Mask b) {
  return {static_cast<__mmask16>(a.v & b.v)};
}
BPTT_INLINE F32::Mask operator|(F32::Mask a, F32::Mask b) {
  return {static_cast<__mmask16>(a.v | b.v)};
}
BPTT_INLINE F32 select(F32::Mask m, F32 a, F32 b) { return _mm512_mask_blend_ps(m.v, b.v, a.v); }
BPTT_INLINE F32 keep(F32 a, int64_t n) { return _mm512_maskz_mov_ps(F32::first(n), a.v); }

BPTT_INLINE F32 pow2(F32 n) {
  const __m512 sum = _mm512_add_ps(n.v, _mm512_set1_ps(0x1.8p23f + 127));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll16, _mm512_castps_si512(sum), 23));
}
BPTT_INLINE F32 exponent(F32 x) {
  const __m512i biased = _mm512_maskz_srli_epi32(kAll16, _mm512_castps_si512(x.v), 23);
  const __m512 sum = _mm512_or_ps(_mm512_castsi512_ps(biased), _mm512_set1_ps(0x1p23f));
  return _mm512_sub_ps(sum, _mm512_set1_ps(0x1p23f + 127));
}
BPTT_INLINE F32 mantissa(F32 x) {
  const __m512 bits = _mm512_castsi512_ps(_mm512_set1_epi32(0x007fffff));
  return _mm512_or_ps(_mm512_and_ps(x.v, bits), _mm512_set1_ps(1.0f));
}

struct F64 {
  using Scalar = double;
  static constexpr int N = 8;
  struct Mask {
    __mmask8 v;
  };
  __m512d v;

  BPTT_INLINE F64() : v(_mm512_setzero_pd()) {}
  BPTT_INLINE F64(double x) : v(_mm512_set1_pd(x)) {}
  BPTT_INLINE F64(__m512d x) : v(x) {}

  static BPTT_INLINE F64 load(const double* p) { return _mm512_loadu_pd(p); }
  static BPTT_INLINE F64 load(const double* p, int64_t n) {
    return _mm512_maskz_loadu_pd(first(n), p);
  }
  BPTT_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  BPTT_INLINE void store(double* p, int64_t n) const { _mm512_mask_storeu_pd(p, first(n), v); }

  static BPTT_INLINE __mmask8 first(int64_t n) { return static_cast<__mmask8>((1u << n) - 1u); }
};

BPTT_INLINE F64 operator+(F64 a, F64 b) { return _mm512_add_pd(a.v, b.v); }
BPTT_INLINE F64 operator-(F64 a, F64 b) { return _mm512_sub_pd(a.v, b.v); }
BPTT_INLINE F64 operator*(F64 a, F64 b) { return _mm512_mul_pd(a.v, b.v); }
BPTT_INLINE F64 operator/(F64 a, F64 b) { return _mm512_div_pd(a.v, b.v); }
BPTT_INLINE F64 operator-(F64 a) { return _mm512_xor_pd(a.v, _mm512_set1_pd(-0.0)); }
BPTT_INLINE F64 fma(F64 a, F64 b, F64 c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }
BPTT_INLINE F64 fnma(F64 a, F64 b, F64 c) { return _mm512_fnmadd_pd(a.v, b.v, c.v); }
BPTT_INLINE F64 min(F64 a, F64 b) { return _mm512_maskz_min_pd(kAll8, a.v, b.v); }
BPTT_INLINE F64 max(F64 a, F64 b) { return _mm512_maskz_max_pd(kAll8, a.v, b.v); }
BPTT_INLINE F64 abs(F64 a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a.v); }
BPTT_INLINE F64 sqrt(F64 a) { return _mm512_maskz_sqrt_pd(kAll8, a.v); }
BPTT_INLINE F64 copysign(F64 a, F64 b) {
  const __m512d sign = _mm512_set1_pd(-0.0);
  return _mm512_or_pd(_mm512_andnot_pd(sign, a.v), _mm512_and_pd(sign, b.v));
}
BPTT_INLINE F64::Mask lt(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
BPTT_INLINE F64::Mask le(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)}; }
BPTT_INLINE F64::Mask gt(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)}; }
BPTT_INLINE F64::Mask ge(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GE_OQ)}; }
BPTT_INLINE F64::Mask eq(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }
BPTT_INLINE F64::Mask operator&(F64::Mask a, F64::Mask b) {
  return {static_cast<__mmask8>(a.v & b.v)};
}
BPTT_INLINE F64::Mask operator|(F64::Mask a, F64::Mask b) {
  return {static_cast<__mmask8>(a.v | b.v)};
}
BPTT_INLINE F64 select(F64::Mask m, F64 a, F64 b) { return _mm512_mask_blend_pd(m.v, b.v, a.v); }
BPTT_INLINE F64 keep(F64 a, int64_t n) { return _mm512_maskz_mov_pd(F64::first(n), a.v); }

BPTT_INLINE F64 pow2(F64 n) {
  const __m512d sum = _mm512_add_pd(n.v, _mm512_set1_pd(0x1.8p52 + 1023));
  return _mm512_castsi512_pd(_mm512_maskz_slli_epi64(kAll8, _mm512_castpd_si512(sum), 52));
}
BPTT_INLINE F64 exponent(F64 x) {
  const __m512i biased = _mm512_maskz_srli_epi64(kAll8, _mm512_castpd_si512(x.v), 52);
  const __m512d sum = _mm512_or_pd(_mm512_castsi512_pd(biased), _mm512_set1_pd(0x1p52));
  return _mm512_sub_pd(sum, _mm512_set1_pd(0x1p52 + 1023));
}
BPTT_INLINE F64 mantissa(F64 x) {
  const __m512d bits = _mm512_castsi512_pd(_mm512_set1_epi64(0x000fffffffffffff));
  return _mm512_or_pd(_mm512_and_pd(x.v, bits), _mm512_set1_pd(1.0));
}
