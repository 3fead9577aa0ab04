// Layer normalization of rows x [rows,cols]: mean, then variance about the mean.
//   xhat = (x - mean) * rstd,  rstd = 1 / sqrt(variance + eps),  y = xhat * gamma + beta
//   g = dy * gamma
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))
//   dgamma = sum over rows of dy * xhat,  dbeta = sum over rows of dy
#include "functions.h"
#include "reduce.h"

BPTT_KERNEL(layer_norm, LayerNorm) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *gamma = static_cast<const T*>(a.gamma), *beta = static_cast<const T*>(a.beta);
  const T n = static_cast<T>(a.cols);
  BPTT_EACH_LINE(row, a.rows, p) {
    const bool exists = row < a.rows;
    const int64_t start = exists ? row * a.cols : 0, cols = exists ? a.cols : 0;
    const T* x = static_cast<const T*>(a.x) + start;
    T* y = static_cast<T*>(a.y) + start;
    T sum = 0, squares = 0;
    for (int64_t j = p.lane; j < cols; j += p.lanes) sum += x[j];
    const T mean = combine_lanes(p, sum, shared, Add()) / n;
    for (int64_t j = p.lane; j < cols; j += p.lanes) squares += (x[j] - mean) * (x[j] - mean);
    const T variance = combine_lanes(p, squares, shared, Add()) / n;
    const T rstd = T(1) / sqrt(variance + static_cast<T>(a.eps));
    for (int64_t j = p.lane; j < cols; j += p.lanes) {
      const T xhat = (x[j] - mean) * rstd;
      y[j] = fma(xhat, gamma ? gamma[j] : T(1), beta ? beta[j] : T(0));
    }
    if (!exists || p.lane != 0) continue;
    if (a.mean) static_cast<T*>(a.mean)[row] = mean;
    if (a.rstd) static_cast<T*>(a.rstd)[row] = rstd;
  }
}

BPTT_KERNEL(layer_norm_backward, LayerNormBackward) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T* gamma = static_cast<const T*>(a.gamma);
  const T n = static_cast<T>(a.cols);
  BPTT_EACH_LINE(row, a.rows, p) {
    const bool exists = row < a.rows;
    const int64_t start = exists ? row * a.cols : 0, cols = exists ? a.cols : 0;
    const T* x = static_cast<const T*>(a.x) + start;
    const T* dy = static_cast<const T*>(a.dy) + start;
    T* dx = static_cast<T*>(a.dx) + start;
    const T mean = exists ? static_cast<const T*>(a.mean)[row] : T(0);
    const T rstd = exists ? static_cast<const T*>(a.rstd)[row] : T(0);
    T sum_g = 0, sum_g_xhat = 0;
    for (int64_t j = p.lane; j < cols; j += p.lanes) {
      const T g = gamma ? dy[j] * gamma[j] : dy[j];
      sum_g += g;
      sum_g_xhat += g * ((x[j] - mean) * rstd);
    }
    const T mean_g = combine_lanes(p, sum_g, shared, Add()) / n;
    const T mean_g_xhat = combine_lanes(p, sum_g_xhat, shared, Add()) / n;
    for (int64_t j = p.lane; j < cols; j += p.lanes) {
      const T g = gamma ? dy[j] * gamma[j] : dy[j];
      dx[j] = rstd * fnma((x[j] - mean) * rstd, mean_g_xhat, g - mean_g);
    }
  }
}

// A line is a column of one chunk of rows.
BPTT_KERNEL(layer_norm_gamma, LayerNormGamma) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *x = static_cast<const T*>(a.x), *dy = static_cast<const T*>(a.dy);
  const T *mean = static_cast<const T*>(a.mean), *rstd = static_cast<const T*>(a.rstd);
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
        sum += dy[at] * ((x[at] - mean[i]) * rstd[i]);
      }
    }
    sum = combine_lanes(p, sum, shared, Add());
    if (line < lines && p.lane == 0) out[line] = sum;
  }
}
