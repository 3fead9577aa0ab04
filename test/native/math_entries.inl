// Vectors, functions and sums of one instruction set, callable from outside it.
template <class V>
void apply(Function function, int64_t n, const typename V::Scalar* x, typename V::Scalar* out) {
  for (int64_t i = 0; i < n; i += V::N) {
    const int64_t count = n - i < V::N ? n - i : V::N;
    const V v = V::load(x + i, count);
    V y;
    switch (function) {
      case kExp:
        y = exp(v);
        break;
      case kLog:
        y = log(v);
        break;
      case kLog1p:
        y = log1p(v);
        break;
      case kTanh:
        y = tanh(v);
        break;
      case kSigmoid:
        y = sigmoid(v);
        break;
      case kSin:
        y = sin(v);
        break;
      case kCos:
        y = cos(v);
        break;
      case kErf:
        y = erf(v);
        break;
      case kRound:
        y = round(v);
        break;
      case kFloor:
        y = floor(v);
        break;
      case kCeil:
        y = ceil(v);
        break;
    }
    y.store(out + i, count);
  }
}

template <class V>
void apply_pow(const typename V::Scalar* x, const typename V::Scalar* y, typename V::Scalar* out) {
  pow(V::load(x), V::load(y)).store(out);
}

// out [kPrimitives, N], in the order of the scalar versions in math_test.cc;
// a, b, c [N]
template <class V>
void primitives(const typename V::Scalar* a, const typename V::Scalar* b,
                const typename V::Scalar* c, typename V::Scalar* out) {
  const V x = V::load(a), y = V::load(b), z = V::load(c), one = V(1);
  const V results[kPrimitives] = {
      x + y,
      x - y,
      x * y,
      x / y,
      -x,
      fma(x, y, z),
      fnma(x, y, z),
      min(x, y),
      max(x, y),
      abs(x),
      sqrt(abs(x)),
      copysign(x, y),
      select(lt(x, y), one, V()),
      select(le(x, y), one, V()),
      select(gt(x, y), one, V()),
      select(ge(x, y), one, V()),
      select(eq(x, y), one, V()),
      select(lt(x, y) & lt(y, z), x, z),
      select(lt(x, y) | lt(y, z), x, z),
      keep(x, 1),
      keep(x, 0),
      keep(x, V::N),
      V::load(a, 1),
      V::load(a, V::N - 1),
      V::load(a, V::N),
  };
  for (int i = 0; i < kPrimitives; ++i) results[i].store(out + i * V::N);
}

// exponents and powers; x [N] positive and normal
template <class V>
void binary_parts(const typename V::Scalar* x, typename V::Scalar* exponents,
                  typename V::Scalar* mantissas, typename V::Scalar* powers) {
  const V n = exponent(V::load(x));
  n.store(exponents);
  mantissa(V::load(x)).store(mantissas);
  pow2(n).store(powers);
}

template <class V>
void store_first(const typename V::Scalar* x, int64_t n, typename V::Scalar* out) {
  V::load(x).store(out, n);
}

const Entries entries = {
    {F32::N, &apply<F32>, &apply_pow<F32>, &primitives<F32>, &binary_parts<F32>, &store_first<F32>},
    {F64::N, &apply<F64>, &apply_pow<F64>, &primitives<F64>, &binary_parts<F64>, &store_first<F64>},
};
