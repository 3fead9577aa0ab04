// Matrix products over packed weights. Each output has one accumulator, which
// starts at its init and takes k ascending by fma: neither the tile an output
// falls in, nor the rows beside it, nor a cut of k that continues with
// kAccumulate changes its bits.

enum class Init { kZero, kBias, kAccumulate };

// Packed weights are [ceil(n / width)][k][width], the columns past n zero.
template <class V>
constexpr int panel_width = 2 * V::N;

template <class V>
int64_t packed_elements(int64_t k, int64_t n) {
  return (n + panel_width<V> - 1) / panel_width<V> * panel_width<V> * k;
}

// Packs panels [panel_begin, panel_end) into their place in out; element (kk, j)
// of the source is b[kk * row + j * col].
template <class V>
void pack_panels(int64_t k, int64_t n, const typename V::Scalar* b, int64_t row, int64_t col,
                 typename V::Scalar* out, int64_t panel_begin, int64_t panel_end) {
  constexpr int64_t kWidth = panel_width<V>;
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int64_t columns = n - panel * kWidth < kWidth ? n - panel * kWidth : kWidth;
    const typename V::Scalar* source = b + panel * kWidth * col;
    typename V::Scalar* target = out + panel * kWidth * k;
    for (int64_t kk = 0; kk < k; ++kk) {
      for (int64_t j = 0; j < columns; ++j) target[kk * kWidth + j] = source[kk * row + j * col];
      for (int64_t j = columns; j < kWidth; ++j) target[kk * kWidth + j] = 0;
    }
  }
}

// c[i * c_row + j] = init + sum over k, ascending, of a[i * a_row + kk * a_k] * B[kk][j],
// for i in [0, m) and the columns j < n of panels [panel_begin, panel_end).
// bias [n] is read with kBias only.
template <class V>
void gemm(int64_t m, int64_t n, int64_t k, const typename V::Scalar* a, int64_t a_row, int64_t a_k,
          const typename V::Scalar* packed, int64_t panel_begin, int64_t panel_end, Init init,
          const typename V::Scalar* bias, typename V::Scalar* c, int64_t c_row) {
  for (int64_t j = panel_begin * panel_width<V>; j < n && j < panel_end * panel_width<V>;
       j += V::N) {
    const int64_t columns = n - j < V::N ? n - j : V::N;
    const typename V::Scalar* b =
        packed + j / panel_width<V> * panel_width<V> * k + j % panel_width<V>;
    for (int64_t i = 0; i < m; ++i) {
      V sum;
      if (init == Init::kBias) sum = V::load(bias + j, columns);
      if (init == Init::kAccumulate) sum = V::load(c + i * c_row + j, columns);
      for (int64_t kk = 0; kk < k; ++kk) {
        sum = fma(V(a[i * a_row + kk * a_k]), V::load(b + kk * panel_width<V>), sum);
      }
      sum.store(c + i * c_row + j, columns);
    }
  }
}
