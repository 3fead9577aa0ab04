// Vectors of 4 floats and 2 doubles (AArch64). Included inside the instruction
// set's namespace. vec_baseline.h says what each name means.

constexpr char kIsa[] = "neon";
constexpr int kRegisters = 32;

// Lane masks of the first n lanes are read at offset N - n.
alignas(16) inline constexpr uint32_t kLanes32[8] = {~0u, ~0u, ~0u, ~0u, 0, 0, 0, 0};
alignas(16) inline constexpr uint64_t kLanes64[4] = {~uint64_t(0), ~uint64_t(0), 0, 0};

struct F32 {
  using Scalar = float;
  static constexpr int N = 4;
  struct Mask {
    uint32x4_t v;
  };
  float32x4_t v;

  BPTT_INLINE F32() : v(vdupq_n_f32(0)) {}
  BPTT_INLINE F32(float x) : v(vdupq_n_f32(x)) {}
  BPTT_INLINE F32(float32x4_t x) : v(x) {}

  static BPTT_INLINE F32 load(const float* p) { return vld1q_f32(p); }
  static BPTT_INLINE F32 load(const float* p, int64_t n) {
    float32x4_t r = vdupq_n_f32(0);
    if (n > 0) r = vld1q_lane_f32(p, r, 0);
    if (n > 1) r = vld1q_lane_f32(p + 1, r, 1);
    if (n > 2) r = vld1q_lane_f32(p + 2, r, 2);
    if (n > 3) r = vld1q_lane_f32(p + 3, r, 3);
    return r;
  }
  BPTT_INLINE void store(float* p) const { vst1q_f32(p, v); }
  BPTT_INLINE void store(float* p, int64_t n) const {
    if (n > 0) vst1q_lane_f32(p, v, 0);
    if (n > 1) vst1q_lane_f32(p + 1, v, 1);
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
    if (n > 3) vst1q_lane_f32(p + 3, v, 3);
  }
};

BPTT_INLINE F32 operator+(F32 a, F32 b) { return vaddq_f32(a.v, b.v); }
BPTT_INLINE F32 operator-(F32 a, F32 b) { return vsubq_f32(a.v, b.v); }
BPTT_INLINE F32 operator*(F32 a, F32 b) { return vmulq_f32(a.v, b.v); }
BPTT_INLINE F32 operator/(F32 a, F32 b) { return vdivq_f32(a.v, b.v); }
BPTT_INLINE F32 operator-(F32 a) { return vnegq_f32(a.v); }
BPTT_INLINE F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c.v, a.v, b.v); }
BPTT_INLINE F32 fnma(F32 a, F32 b, F32 c) { return vfmsq_f32(c.v, a.v, b.v); }
BPTT_INLINE F32::Mask lt(F32 a, F32 b) { return {vcltq_f32(a.v, b.v)}; }
BPTT_INLINE F32::Mask le(F32 a, F32 b) { return {vcleq_f32(a.v, b.v)}; }
BPTT_INLINE F32::Mask gt(F32 a, F32 b) { return {vcgtq_f32(a.v, b.v)}; }
BPTT_INLINE F32::Mask ge(F32 a, F32 b) { return {vcgeq_f32(a.v, b.v)}; }
BPTT_INLINE F32::Mask eq(F32 a, F32 b) { return {vceqq_f32(a.v, b.v)}; }
BPTT_INLINE F32::Mask operator&(F32::Mask a, F32::Mask b) { return {vandq_u32(a.v, b.v)}; }
BPTT_INLINE F32::Mask operator|(F32::Mask a, F32::Mask b) { return {vorrq_u32(a.v, b.v)}; }
BPTT_INLINE F32 select(F32::Mask m, F32 a, F32 b) { return vbslq_f32(m.v, a.v, b.v); }
// Not the instructions of that name: those propagate NaN from both sides.
BPTT_INLINE F32 min(F32 a, F32 b) { return select(lt(a, b), a, b); }
BPTT_INLINE F32 max(F32 a, F32 b) { return select(gt(a, b), a, b); }
BPTT_INLINE F32 abs(F32 a) { return vabsq_f32(a.v); }
BPTT_INLINE F32 sqrt(F32 a) { return vsqrtq_f32(a.v); }
BPTT_INLINE F32 copysign(F32 a, F32 b) { return vbslq_f32(vdupq_n_u32(0x80000000u), b.v, a.v); }
BPTT_INLINE F32 keep(F32 a, int64_t n) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.v), vld1q_u32(kLanes32 + 4 - n)));
}

BPTT_INLINE F32 pow2(F32 n) {
  const float32x4_t sum = vaddq_f32(n.v, vdupq_n_f32(0x1.8p23f + 127));
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(sum), 23));
}
BPTT_INLINE F32 exponent(F32 x) {
  const uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(x.v), 23);
  return vsubq_f32(vcvtq_f32_u32(biased), vdupq_n_f32(127));
}
BPTT_INLINE F32 mantissa(F32 x) {
  return vbslq_f32(vdupq_n_u32(0x007fffffu), x.v, vdupq_n_f32(1.0f));
}

struct F64 {
  using Scalar = double;
  static constexpr int N = 2;
  struct Mask {
    uint64x2_t v;
  };
  float64x2_t v;

  BPTT_INLINE F64() : v(vdupq_n_f64(0)) {}
  BPTT_INLINE F64(double x) : v(vdupq_n_f64(x)) {}
  BPTT_INLINE F64(float64x2_t x) : v(x) {}

  static BPTT_INLINE F64 load(const double* p) { return vld1q_f64(p); }
  static BPTT_INLINE F64 load(const double* p, int64_t n) {
    float64x2_t r = vdupq_n_f64(0);
    if (n > 0) r = vld1q_lane_f64(p, r, 0);
    if (n > 1) r = vld1q_lane_f64(p + 1, r, 1);
    return r;
  }
  BPTT_INLINE void store(double* p) const { vst1q_f64(p, v); }
  BPTT_INLINE void store(double* p, int64_t n) const {
    if (n > 0) vst1q_lane_f64(p, v, 0);
    if (n > 1) vst1q_lane_f64(p + 1, v, 1);
  }
};

BPTT_INLINE F64 operator+(F64 a, F64 b) { return vaddq_f64(a.v, b.v); }
BPTT_INLINE F64 operator-(F64 a, F64 b) { return vsubq_f64(a.v, b.v); }
BPTT_INLINE F64 operator*(F64 a, F64 b) { return vmulq_f64(a.v, b.v); }
BPTT_INLINE F64 operator/(F64 a, F64 b) { return vdivq_f64(a.v, b.v); }
BPTT_INLINE F64 operator-(F64 a) { return vnegq_f64(a.v); }
BPTT_INLINE F64 fma(F64 a, F64 b, F64 c) { return vfmaq_f64(c.v, a.v, b.v); }
BPTT_INLINE F64 fnma(F64 a, F64 b, F64 c) { return vfmsq_f64(c.v, a.v, b.v); }
BPTT_INLINE F64::Mask lt(F64 a, F64 b) { return {vcltq_f64(a.v, b.v)}; }
BPTT_INLINE F64::Mask le(F64 a, F64 b) { return {vcleq_f64(a.v, b.v)}; }
BPTT_INLINE F64::Mask gt(F64 a, F64 b) { return {vcgtq_f64(a.v, b.v)}; }
BPTT_INLINE F64::Mask ge(F64 a, F64 b) { return {vcgeq_f64(a.v, b.v)}; }
BPTT_INLINE F64::Mask eq(F64 a, F64 b) { return {vceqq_f64(a.v, b.v)}; }
BPTT_INLINE F64::Mask operator&(F64::Mask a, F64::Mask b) { return {vandq_u64(a.v, b.v)}; }
BPTT_INLINE F64::Mask operator|(F64::Mask a, F64::Mask b) { return {vorrq_u64(a.v, b.v)}; }
BPTT_INLINE F64 select(F64::Mask m, F64 a, F64 b) { return vbslq_f64(m.v, a.v, b.v); }
// Not the instructions of that name: those propagate NaN from both sides.
BPTT_INLINE F64 min(F64 a, F64 b) { return select(lt(a, b), a, b); }
BPTT_INLINE F64 max(F64 a, F64 b) { return select(gt(a, b), a, b); }
BPTT_INLINE F64 abs(F64 a) { return vabsq_f64(a.v); }
BPTT_INLINE F64 sqrt(F64 a) { return vsqrtq_f64(a.v); }
BPTT_INLINE F64 copysign(F64 a, F64 b) {
  return vbslq_f64(vdupq_n_u64(0x8000000000000000u), b.v, a.v);
}
BPTT_INLINE F64 keep(F64 a, int64_t n) {
  return vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(a.v), vld1q_u64(kLanes64 + 2 - n)));
}

BPTT_INLINE F64 pow2(F64 n) {
  const float64x2_t sum = vaddq_f64(n.v, vdupq_n_f64(0x1.8p52 + 1023));
  return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(sum), 52));
}
BPTT_INLINE F64 exponent(F64 x) {
  const uint64x2_t biased = vshrq_n_u64(vreinterpretq_u64_f64(x.v), 52);
  return vsubq_f64(vcvtq_f64_u64(biased), vdupq_n_f64(1023));
}
BPTT_INLINE F64 mantissa(F64 x) {
  return vbslq_f64(vdupq_n_u64(0x000fffffffffffffu), x.v, vdupq_n_f64(1.0));
}
