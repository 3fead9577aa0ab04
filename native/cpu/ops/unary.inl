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
// clang-format on

template <class V>
static bptt_code unary_impl(bptt_context*, bptt_unary_op op, double alpha, int64_t n, const void* x,
                            void* out) {
  using S = typename V::Scalar;
  const S* in = static_cast<const S*>(x);
  S* to = static_cast<S*>(out);
  const S a = static_cast<S>(alpha);
  switch (op) {
    case BPTT_NEG:
      map<V>(n, NegOp{}, to, in);
      break;
    case BPTT_TANH:
      map<V>(n, TanhOp{}, to, in);
      break;
    case BPTT_SIGMOID:
      map<V>(n, SigmoidOp{}, to, in);
      break;
    case BPTT_RELU:
      map<V>(n, ReluOp{}, to, in);
      break;
    case BPTT_EXP:
      map<V>(n, ExpOp{}, to, in);
      break;
    case BPTT_LOG:
      map<V>(n, LogOp{}, to, in);
      break;
    case BPTT_SQRT:
      map<V>(n, SqrtOp{}, to, in);
      break;
    case BPTT_ABS:
      map<V>(n, AbsOp{}, to, in);
      break;
    case BPTT_SCALE:
      map<V>(n, ScaleOp<S>{a}, to, in);
      break;
    case BPTT_ADD_SCALAR:
      map<V>(n, AddScalarOp<S>{a}, to, in);
      break;
    case BPTT_SIGN:
      map<V>(n, SignOp{}, to, in);
      break;
  }
  return BPTT_OK;
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

template <class V>
static bptt_code unary_backward_impl(bptt_context* context, bptt_unary_op op, int64_t n,
                                     const void* saved, const void* dout, void* dx) {
  using S = typename V::Scalar;
  const S* y = static_cast<const S*>(saved);
  const S* dy = static_cast<const S*>(dout);
  S* to = static_cast<S*>(dx);
  switch (op) {
    case BPTT_NEG:
      map<V>(n, NegOp{}, to, dy);
      break;
    case BPTT_TANH:
      map<V>(n, TanhGrad{}, to, y, dy);
      break;
    case BPTT_SIGMOID:
      map<V>(n, SigmoidGrad{}, to, y, dy);
      break;
    case BPTT_RELU:
      map<V>(n, ReluGrad{}, to, y, dy);
      break;
    case BPTT_EXP:
      map<V>(n, ExpGrad{}, to, y, dy);
      break;
    case BPTT_LOG:
      map<V>(n, LogGrad{}, to, y, dy);
      break;
    case BPTT_SQRT:
      map<V>(n, SqrtGrad{}, to, y, dy);
      break;
    case BPTT_ABS:
      map<V>(n, AbsGrad{}, to, y, dy);
      break;
    case BPTT_ADD_SCALAR:
      map<V>(n, ScaleOp<S>{1}, to, dy);
      break;
    case BPTT_SIGN:
      return fill_elements<S>(n, 0, to);
    case BPTT_SCALE:  // needs alpha, which unary() takes
      std::snprintf(context->message, sizeof context->message,
                    "unary_backward: scale is its own backward");
      return BPTT_INTERNAL;
  }
  return BPTT_OK;
}
