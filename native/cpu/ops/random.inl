// Dropout and random tensors. Draws come from Philox by the element's index
// (shared/philox.h), so they depend on neither threads nor vector width.

// Philox blocks that are drawn together, so that the compiler can make vectors of them.
constexpr int kDrawBlocks = 16;
constexpr int kDraws = 4 * kDrawBlocks;

// The words of elements [4 * block, 4 * block + kDraws).
static void draw_words(bptt_rng rng, uint32_t stream, int64_t block, uint32_t* words) {
  uint32_t c[4][kDrawBlocks];
  for (int b = 0; b < kDrawBlocks; ++b) {
    const uint64_t counter = rng.offset + static_cast<uint64_t>(block + b);
    c[0][b] = static_cast<uint32_t>(counter);
    c[1][b] = static_cast<uint32_t>(counter >> 32);
    c[2][b] = stream;
    c[3][b] = 0;
  }
  // Rounds outside, blocks inside: the compiler makes vectors of the blocks.
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const PhiloxKey key = philox_key(rng.seed, round);
    for (int b = 0; b < kDrawBlocks; ++b) {
      const PhiloxBlock next = philox_round({{c[0][b], c[1][b], c[2][b], c[3][b]}}, key);
      for (int w = 0; w < 4; ++w) c[w][b] = next.word[w];
    }
  }
  for (int b = 0; b < kDrawBlocks; ++b)
    for (int w = 0; w < 4; ++w) words[4 * b + w] = c[w][b];
}

// draws[d] = f.draw(words[d], low[d]). f by value: loads of its members from a
// caller's object would keep the loop from becoming vectors.
template <class S, class F>
static void convert_draws(const F f, const uint32_t* words, const uint32_t* low, S* draws) {
  for (int d = 0; d < kDraws; ++d) draws[d] = f.draw(words[d], low[d]);
}

// out[i] = f(draw of element i, in[i]...) for i in [begin, end), begin % 4 == 0.
template <class V, class F, class... In>
static void draw_range(bptt_rng rng, int64_t begin, int64_t end, const F& f,
                       typename V::Scalar* out, const In*... in) {
  using S = typename V::Scalar;
  uint32_t words[kDraws], low[kDraws] = {};
  S draws[kDraws];
  for (int64_t i = begin; i < end; i += kDraws) {
    draw_words(rng, 0, i / 4, words);
    if constexpr (F::kWide) draw_words(rng, 1, i / 4, low);
    convert_draws(f, words, low, draws);
    const int64_t count = least(end - i, kDraws);
    map_range<V>(0, count, f, out + i, draws, (in + i)...);
  }
}

template <class V, class F, class... In>
static bptt_code draw(bptt_rng rng, int64_t n, const F& f, typename V::Scalar* out,
                      const In*... in) {
  Team::instance().parallel_for(n, kGrain / 4, [&](int64_t begin, int64_t end) {
    draw_range<V>(rng, begin, end, f, out, in...);
  });
  return BPTT_OK;
}

template <class S>
struct DropoutDraw {
  static constexpr bool kWide = false;
  uint32_t threshold;
  S scale;
  BPTT_INLINE S draw(uint32_t word, uint32_t) const { return word >= threshold ? scale : S(0); }
  // A dropped element is 0 even if x is not finite.
  template <class V>
  BPTT_INLINE V operator()(V factor, V x) const {
    return select(eq(factor, V()), V(), factor * x);
  }
};

template <class V>
static bptt_code dropout_impl(bptt_context*, int64_t n, double p, bptt_rng rng, const void* x,
                              void* out) {
  using S = typename V::Scalar;
  // The scale of p = 1 is 0, so a word that its threshold lets pass is dropped too.
  const uint64_t threshold = dropout_threshold(p);
  const DropoutDraw<S> f{static_cast<uint32_t>(threshold > 0xffffffff ? 0xffffffff : threshold),
                         static_cast<S>(dropout_scale(p))};
  return draw<V>(rng, n, f, static_cast<S*>(out), static_cast<const S*>(x));
}

template <class S>
struct UniformDraw {
  static constexpr bool kWide = sizeof(S) == 8;
  S low, high, width;
  BPTT_INLINE S draw(uint32_t word, uint32_t low_word) const {
    return kWide ? static_cast<S>(uniform_float64(word, low_word))
                 : static_cast<S>(uniform_float32(word));
  }
  // Rounding may reach high, which the interval leaves out.
  template <class V>
  BPTT_INLINE V operator()(V u) const {
    const V x = V(low) + u * V(width);
    return select(lt(x, V(high)), x, V(low));
  }
};

template <class V>
static bptt_code uniform_impl(bptt_context*, int64_t n, double low, double high, bptt_rng rng,
                              void* out) {
  using S = typename V::Scalar;
  const UniformDraw<S> f{static_cast<S>(low), static_cast<S>(high), static_cast<S>(high - low)};
  return draw<V>(rng, n, f, static_cast<S*>(out));
}

// The quantile of the normal distribution at 1/2 + q, |q| < 1/2, by Wichura's
// algorithm AS 241 (PPND16, relative error about 1e-16).
template <class V>
BPTT_INLINE V normal_quantile(V q) {
  using S = typename V::Scalar;
  const V a = abs(q);
  const V r = fnma(q, q, V(S(0.180625)));
  const V center =
      q *
      polynomial(r, S(3.3871328727963666080e0), S(1.3314166789178437745e2),
                 S(1.9715909503065514427e3), S(1.3731693765509461125e4), S(4.5921953931549871457e4),
                 S(6.7265770927008700853e4), S(3.3430575583588128105e4),
                 S(2.5090809287301226727e3)) /
      polynomial(r, S(1), S(4.2313330701600911252e1), S(6.8718700749205790830e2),
                 S(5.3941960214247511077e3), S(2.1213794301586595867e4), S(3.9307895800092710610e4),
                 S(2.8729085735721942674e4), S(5.2264952788528545610e3));
  const V t = sqrt(-log(V(S(0.5)) - a));
  const V s = t - V(S(1.6));
  V tail = polynomial(s, S(1.42343711074968357734e0), S(4.63033784615654529590e0),
                      S(5.76949722146069140550e0), S(3.64784832476320460504e0),
                      S(1.27045825245236838258e0), S(2.41780725177450611770e-1),
                      S(2.27238449892691845833e-2), S(7.74545014278341407640e-4)) /
           polynomial(s, S(1), S(2.05319162663775882187e0), S(1.67638483018380384940e0),
                      S(6.89767334985100004550e-1), S(1.48103976427480074590e-1),
                      S(1.51986665636164571966e-2), S(5.47593808499534494600e-4),
                      S(1.05075007164441684324e-9));
  if constexpr (sizeof(S) == 8) {  // 24 bits never reach so far into the tail
    const V u = t - V(S(5));
    const V far = polynomial(u, S(6.65790464350110377720e0), S(5.46378491116411436990e0),
                             S(1.78482653991729133580e0), S(2.96560571828504891230e-1),
                             S(2.65321895265761230930e-2), S(1.24266094738807843860e-3),
                             S(2.71155556874348757815e-5), S(2.01033439929228813265e-7)) /
                  polynomial(u, S(1), S(5.99832206555887937690e-1), S(1.36929880922735805310e-1),
                             S(1.48753612908506148525e-2), S(7.86869131145613259100e-4),
                             S(1.84631831751005468180e-5), S(1.42151175831644588870e-7),
                             S(2.04426310338993978564e-15));
    tail = select(le(t, V(S(5))), tail, far);
  }
  return select(le(a, V(S(0.425))), center, copysign(tail, q));
}

template <class S>
struct NormalDraw {
  static constexpr bool kWide = sizeof(S) == 8;
  S mean, std;
  // The middle of the draw's interval less 1/2: symmetric about 0 and exact.
  BPTT_INLINE S draw(uint32_t word, uint32_t low_word) const {
    if (kWide) return static_cast<S>(uniform_float64(word, low_word) - 0.5 + 0x1p-54);
    return static_cast<S>(uniform_float32(word) - 0.5f + 0x1p-25f);
  }
  template <class V>
  BPTT_INLINE V operator()(V q) const {
    return fma(normal_quantile(q), V(std), V(mean));
  }
};

template <class V>
static bptt_code normal_impl(bptt_context*, int64_t n, double mean, double std, bptt_rng rng,
                             void* out) {
  using S = typename V::Scalar;
  return draw<V>(rng, n, NormalDraw<S>{static_cast<S>(mean), static_cast<S>(std)},
                 static_cast<S*>(out));
}
