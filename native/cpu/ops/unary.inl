// Elementwise operations of one tensor: functions and their gradients.

// clang-format off
struct NegOp { template <class V> BPTT_INLINE V operator()(V x) const { return -x; } };
struct TanhOp { template <class V> BPTT_INLINE V operator()(V x) const { return tanh(x); } };
struct SigmoidOp { template <class V> BPTT_INLINE V operator()(V x) const { return sigmoid(x); } };
// max() takes its second operand when the first is not greater, so NaN stays.
struct ReluOp { template <class V> BPTT_INLINE V operator()(V x) const { return max(V(), x); } };
struct ExpOp { template <class V> BPTT_INLINE V operator()(V x) const { return exp(x); } };
struct LogOp { template <class V> BPTT_INLINE V operator()(V x) const { return log(x); } };
struct SqrtOp { template <class V> BPTT_INLINE V operator()(V x) const { return sqrt(x); } };
struct AbsOp { template <class V> BPTT_INLINE V operator()(V x) const { return abs(x); } };
struct SignOp {
  template <class V> BPTT_INLINE V operator()(V x) const { return select(lt(V(), x), V(1), select(lt(x, V()), V(-1), V())); }
};
template <class S>
struct ScaleOp { S alpha; template <class V> BPTT_INLINE V operator()(V x) const { return V(alpha) * x; } };
template <class S>
struct AddScalarOp { S alpha; template <class V> BPTT_INLINE V operator()(V x) const { return x + V(alpha); } };
struct SquareOp { template <class V> BPTT_INLINE V operator()(V x) const { return x * x; } };
struct FloorOp { template <class V> BPTT_INLINE V operator()(V x) const { return floor(x); } };
struct RoundOp { template <class V> BPTT_INLINE V operator()(V x) const { return round(x); } };
struct CeilOp { template <class V> BPTT_INLINE V operator()(V x) const { return ceil(x); } };
struct SinOp { template <class V> BPTT_INLINE V operator()(V x) const { return sin(x); } };
struct CosOp { template <class V> BPTT_INLINE V operator()(V x) const { return cos(x); } };
struct ErfOp { template <class V> BPTT_INLINE V operator()(V x) const { return erf(x); } };
struct SiluOp { template <class V> BPTT_INLINE V operator()(V x) const { return x * sigmoid(x); } };
template <class S>
struct PowOp { S alpha; template <class V> BPTT_INLINE V operator()(V x) const { return pow(x, V(alpha)); } };
template <class S>
struct LeakyReluOp { S alpha; template <class V> BPTT_INLINE V operator()(V x) const { return select(gt(x, V()), x, V(alpha) * x); } };
// NaN, the second operand, stays.
template <class S>
struct ClampOp { S low, high; template <class V> BPTT_INLINE V operator()(V x) const { return min(V(high), max(V(low), x)); } };
// clang-format on

// x to the power of a whole number, or 1 / x to that: of float32 up to 4 and of float64 up to 64
// products are closer than pow().
struct WholePowOp {
  int power;
  bool inverse;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    V base = inverse ? V(1) / x : x, y = V(1);
    for (int rest = power; rest > 0; rest >>= 1) {
      if (rest & 1) y = y * base;
      base = base * base;
    }
    return y;
  }
};
template <class S>
inline bool is_whole_power(double alpha) {
  const double most = sizeof(S) == 4 ? 4 : 64;
  return alpha >= -most && alpha <= most && static_cast<int>(alpha) == alpha;
}

// gelu is x times the normal distribution's function; float32 computes it in float64.
BPTT_INLINE F64 normal_cdf(F64 x) {
  return F64(0.5) * (F64(1) + erf(x * F64(0.70710678118654752440)));
}
BPTT_INLINE F64 gelu(F64 x) { return x * normal_cdf(x); }
BPTT_INLINE F32 gelu(F32 x) {
  return widened([](F64 v) { return gelu(v); }, x);
}
BPTT_INLINE F64 gelu_derivative(F64 x) {
  const F64 density = F64(0.39894228040143267794) * exp(x * x * F64(-0.5));
  return fma(x, density, normal_cdf(x));
}
BPTT_INLINE F32 gelu_derivative(F32 x) {
  return widened([](F64 v) { return gelu_derivative(v); }, x);
}
struct GeluOp {
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return gelu(x);
  }
};

// The tanh of sqrt(2 / pi) (x + 0.044715 x^3). What is left of 1 + tanh is small below 0: float32
// computes it in float64.
BPTT_INLINE F64 gelu_tanh_of(F64 x) {
  return tanh(F64(0.79788456080286535588) * fma(F64(0.044715) * x * x, x, x));
}
BPTT_INLINE F64 gelu_tanh(F64 x) { return F64(0.5) * x * (F64(1) + gelu_tanh_of(x)); }
BPTT_INLINE F32 gelu_tanh(F32 x) {
  return widened([](F64 v) { return gelu_tanh(v); }, x);
}
BPTT_INLINE F64 gelu_tanh_derivative(F64 x) {
  // Beyond 20 the slope of tanh is 0, and x^2 may be infinite.
  const F64 near = max(F64(-20), min(F64(20), x)), t = gelu_tanh_of(near);
  const F64 slope = F64(0.79788456080286535588) * fma(F64(0.134145) * near, near, F64(1));
  return F64(0.5) * fma(near * (F64(1) - t * t), slope, F64(1) + t);
}
BPTT_INLINE F32 gelu_tanh_derivative(F32 x) {
  return widened([](F64 v) { return gelu_tanh_derivative(v); }, x);
}
struct GeluTanhOp {
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return gelu_tanh(x);
  }
};

// Nothing overflows: the exponential is of a number that is not positive.
template <class S>
struct SoftplusOp {
  S beta, threshold;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    const V scaled = V(beta) * x;
    const V y = max(V(), x) + log1p(exp(-abs(scaled))) / V(beta);
    return select(gt(scaled, V(threshold)), x, y);
  }
};

// exp(x) - 1 of the x below 0, where it is -1 from -40 on; NaN stays.
template <class V>
BPTT_INLINE V expm1_below(V x) {
  V n;
  const V q = reduced_expm1(max(V(-40), min(V(), x)), n);
  const V s = pow2(n);
  return fma(q, s, s - V(1));
}
template <class S>
struct EluOp {
  S alpha;
  template <class V>
  BPTT_INLINE V operator()(V x) const {
    return select(gt(x, V()), x, V(alpha) * expm1_below(x));
  }
};

template <class V>
static bptt_code unary_impl(bptt_context*, bptt_unary_op op, double alpha, double beta, int64_t n,
                            const void* x, void* out) {
  using S = typename V::Scalar;
  const auto run = [&](const auto& f) {
    map<V>(n, f, static_cast<S*>(out), static_cast<const S*>(x));
    return BPTT_OK;
  };
  const S a = static_cast<S>(alpha), b = static_cast<S>(beta);
  switch (op) {
    case BPTT_NEG:
      return run(NegOp{});
    case BPTT_TANH:
      return run(TanhOp{});
    case BPTT_SIGMOID:
      return run(SigmoidOp{});
    case BPTT_RELU:
      return run(ReluOp{});
    case BPTT_EXP:
      return run(ExpOp{});
    case BPTT_LOG:
      return run(LogOp{});
    case BPTT_SQRT:
      return run(SqrtOp{});
    case BPTT_ABS:
      return run(AbsOp{});
    case BPTT_SCALE:
      return run(ScaleOp<S>{a});
    case BPTT_ADD_SCALAR:
      return run(AddScalarOp<S>{a});
    case BPTT_SIGN:
      return run(SignOp{});
    case BPTT_SQUARE:
      return run(SquareOp{});
    case BPTT_FLOOR:
      return run(FloorOp{});
    case BPTT_ROUND:
      return run(RoundOp{});
    case BPTT_CEIL:
      return run(CeilOp{});
    case BPTT_SIN:
      return run(SinOp{});
    case BPTT_COS:
      return run(CosOp{});
    case BPTT_ERF:
      return run(ErfOp{});
    case BPTT_GELU:
      return run(GeluOp{});
    case BPTT_GELU_TANH:
      return run(GeluTanhOp{});
    case BPTT_SILU:
      return run(SiluOp{});
    case BPTT_SOFTPLUS:
      return run(SoftplusOp<S>{a, b});
    case BPTT_LEAKY_RELU:
      return run(LeakyReluOp<S>{a});
    case BPTT_ELU:
      return run(EluOp<S>{a});
    case BPTT_CLAMP:
      return run(ClampOp<S>{a, b});
    case BPTT_POW:
      if (is_whole_power<S>(alpha)) {
        const int power = static_cast<int>(alpha);
        return run(WholePowOp{power < 0 ? -power : power, power < 0});
      }
      return run(PowOp<S>{a});
  }
  return BPTT_INTERNAL;
}

struct TanhGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy * ((V(1) - y) * (V(1) + y));
  }
};
struct SigmoidGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy * (y * (V(1) - y));
  }
};
struct ReluGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return select(le(y, V()), V(), dy);
  }
};
struct ExpGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy * y;
  }
};
struct LogGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy / x;
  }
};
struct SqrtGrad {
  template <class V>
  BPTT_INLINE V operator()(V y, V dy) const {
    return dy / (y + y);
  }
};

struct AbsGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return select(lt(V(), x), dy, select(lt(x, V()), -dy, V()));
  }
};

struct SquareGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy * (x + x);
  }
};
struct SinGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy * cos(x);
  }
};
struct CosGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return -(dy * sin(x));
  }
};
struct ErfGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    using S = typename V::Scalar;
    return dy * (V(S(1.1283791670955125739)) * exp(-(x * x)));
  }
};
struct GeluGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy * gelu_derivative(x);
  }
};
struct GeluTanhGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy * gelu_tanh_derivative(x);
  }
};
struct SiluGrad {
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    const V y = sigmoid(x);
    return dy * (y * fma(x, V(1) - y, V(1)));
  }
};
template <class S>
struct SoftplusGrad {
  S beta, threshold;
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    const V scaled = V(beta) * x;
    return select(gt(scaled, V(threshold)), dy, dy * sigmoid(scaled));
  }
};
template <class S>
struct LeakyReluGrad {
  S alpha;
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return select(gt(x, V()), dy, V(alpha) * dy);
  }
};
template <class S>
struct EluGrad {
  S alpha;
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return select(gt(x, V()), dy, dy * (V(alpha) * exp(min(V(), x))));
  }
};
template <class S>
struct ClampGrad {
  S low, high;
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return select(le(V(low), x) & le(x, V(high)), dy, V());
  }
};
template <class S>
struct PowGrad {
  S alpha, less;  // less: alpha - 1
  template <class V>
  BPTT_INLINE V operator()(V x, V dy) const {
    return dy * (V(alpha) * pow(x, V(less)));
  }
};

template <class V>
static bptt_code unary_backward_impl(bptt_context*, bptt_unary_op op, double alpha, double beta,
                                     int64_t n, const void* saved, const void* dout, void* dx) {
  using S = typename V::Scalar;
  const S* dy = static_cast<const S*>(dout);
  S* to = static_cast<S*>(dx);
  const auto run = [&](const auto& f) {
    map<V>(n, f, to, static_cast<const S*>(saved), dy);
    return BPTT_OK;
  };
  const S a = static_cast<S>(alpha), b = static_cast<S>(beta);
  switch (op) {
    case BPTT_NEG:
      map<V>(n, NegOp{}, to, dy);
      return BPTT_OK;
    case BPTT_SCALE:
      map<V>(n, ScaleOp<S>{a}, to, dy);
      return BPTT_OK;
    case BPTT_ADD_SCALAR:
      map<V>(n, ScaleOp<S>{1}, to, dy);
      return BPTT_OK;
    case BPTT_SIGN:
    case BPTT_FLOOR:
    case BPTT_ROUND:
    case BPTT_CEIL:
      return fill_elements<S>(n, 0, to);
    case BPTT_POW:
      if (alpha == 0) return fill_elements<S>(n, 0, to);
      return run(PowGrad<S>{a, static_cast<S>(alpha - 1)});
    case BPTT_TANH:
      return run(TanhGrad{});
    case BPTT_SIGMOID:
      return run(SigmoidGrad{});
    case BPTT_RELU:
      return run(ReluGrad{});
    case BPTT_EXP:
      return run(ExpGrad{});
    case BPTT_LOG:
      return run(LogGrad{});
    case BPTT_SQRT:
      return run(SqrtGrad{});
    case BPTT_ABS:
      return run(AbsGrad{});
    case BPTT_SQUARE:
      return run(SquareGrad{});
    case BPTT_SIN:
      return run(SinGrad{});
    case BPTT_COS:
      return run(CosGrad{});
    case BPTT_ERF:
      return run(ErfGrad{});
    case BPTT_GELU:
      return run(GeluGrad{});
    case BPTT_GELU_TANH:
      return run(GeluTanhGrad{});
    case BPTT_SILU:
      return run(SiluGrad{});
    case BPTT_SOFTPLUS:
      return run(SoftplusGrad<S>{a, b});
    case BPTT_LEAKY_RELU:
      return run(LeakyReluGrad<S>{a});
    case BPTT_ELU:
      return run(EluGrad<S>{a});
    case BPTT_CLAMP:
      return run(ClampGrad<S>{a, b});
  }
  return BPTT_INTERNAL;
}
