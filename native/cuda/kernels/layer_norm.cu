// Layer normalization of rows x [rows,cols]: mean, then variance about the mean.
//   xhat = (x - mean) * rstd,  rstd = 1 / sqrt(variance + eps),  y = xhat * gamma + beta
//   g = dy * gamma
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))
//   dgamma = sum over rows of dy * xhat,  dbeta = sum over rows of dy
#include "rows.h"

BPTT_KERNEL(layer_norm, LayerNorm) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *gamma = static_cast<const T*>(a.gamma), *beta = static_cast<const T*>(a.beta);
  const T eps = static_cast<T>(a.eps), root_eps = static_cast<T>(a.root_eps);
  BPTT_EACH_LINE(row, a.rows, p) {
    if (row >= a.rows) continue;
    const T* x = static_cast<const T*>(a.x) + row * a.cols;
    T* y = static_cast<T*>(a.y) + row * a.cols;
    const Normalize<T> normalize = normalize_row(Row<T>{p, a.cols, x, shared}, eps, root_eps, true);
    for (int64_t j = p.lane; j < a.cols; j += p.lanes)
      y[j] = fma(normalize(x[j]), gamma ? gamma[j] : T(1), beta ? beta[j] : T(0));
    if (p.lane != 0) continue;
    if (a.mean) static_cast<T*>(a.mean)[row] = -normalize.shift / normalize.scale;
    if (a.rstd) static_cast<T*>(a.rstd)[row] = normalize.rstd();
  }
}

// How forward normalized the rows: by what it saved, except rows so large that their rstd is
// denormal and lost digits, which are normalized anew.
BPTT_KERNEL(layer_norm_saved, LayerNormSaved) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  BPTT_EACH_LINE(row, a.rows, p) {
    if (row >= a.rows) continue;
    const T mean = static_cast<const T*>(a.mean)[row], rstd = static_cast<const T*>(a.rstd)[row];
    Normalize<T> normalize{1, -mean, rstd};
    if (!(rstd >= FloatRange<T>::kLeastRstd)) {
      const T* x = static_cast<const T*>(a.x) + row * a.cols;
      normalize = normalize_row(Row<T>{p, a.cols, x, shared}, T(0), T(0), false);
    }
    if (p.lane == 0) static_cast<Normalize<T>*>(a.normalize)[row] = normalize;
  }
}

BPTT_KERNEL(layer_norm_backward, LayerNormBackward) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *gamma = static_cast<const T*>(a.gamma), part = static_cast<T>(a.part);
  BPTT_EACH_LINE(row, a.rows, p) {
    if (row >= a.rows) continue;
    const T* x = static_cast<const T*>(a.x) + row * a.cols;
    const T* dy = static_cast<const T*>(a.dy) + row * a.cols;
    T* dx = static_cast<T*>(a.dx) + row * a.cols;
    const Row<T> r{p, a.cols, x, shared};
    const Normalize<T> normalize = static_cast<const Normalize<T>*>(a.normalize)[row];
    const auto g = [&](int64_t j) { return gamma ? dy[j] * gamma[j] : dy[j]; };
    const T mean_g = r.mean(part, g);
    const T mean_g_xhat = r.mean(part, [&](int64_t j) { return g(j) * normalize(x[j]); });
    for (int64_t j = p.lane; j < a.cols; j += p.lanes)
      dx[j] = normalize.rstd() * fnma(normalize(x[j]), mean_g_xhat, g(j) - mean_g);
  }
}

// A line is a column of one chunk of rows.
BPTT_KERNEL(layer_norm_gamma, LayerNormGamma) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *x = static_cast<const T*>(a.x), *dy = static_cast<const T*>(a.dy);
  const auto* normalize = static_cast<const Normalize<T>*>(a.normalize);
  T* out = static_cast<T*>(a.out);
  const int64_t lines = a.chunks * a.cols;
  BPTT_EACH_LINE(line, lines, p) {
    T sum = 0;
    if (line < lines) {
      const int64_t chunk = line / a.cols, column = line - chunk * a.cols;
      const int64_t begin = chunk * a.chunk_rows;
      const int64_t end = a.rows - begin < a.chunk_rows ? a.rows : begin + a.chunk_rows;
      for (int64_t i = begin + p.lane; i < end; i += p.lanes) {
        const int64_t at = i * a.cols + column;
        sum += dy[at] * normalize[i](x[at]);
      }
    }
    sum = combine_lanes(p, sum, shared, Add());
    if (line < lines && p.lane == 0) out[line] = sum;
  }
}
