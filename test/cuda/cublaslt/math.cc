// The products themselves: plain loops, k ascending, sums in float64.
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "cublaslt/fake_cublaslt.h"

namespace fake_cublaslt {
namespace {

// A matrix as op() shows it.
template <class T>
struct View {
  T* data;
  int64_t row, col;
  T& at(int64_t i, int64_t j) const { return data[i * row + j * col]; }
};

template <class T, class Pointer>
View<T> view(Pointer pointer, const Layout& layout, cublasOperation_t transpose, int64_t batch) {
  View<T> out = {static_cast<T*>(pointer) + batch * layout.batch_stride, layout.row_stride(),
                 layout.col_stride()};
  if (transpose != CUBLAS_OP_N) std::swap(out.row, out.col);
  return out;
}

// To TF32's 10 bits of mantissa, halves away from zero.
float round_tf32(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

template <class T>
double operand(T x, bool tf32) {
  return tf32 ? round_tf32(static_cast<float>(x)) : x;
}

template <class T>
void compute_as(const Product& p) {
  const Description& how = p.description;
  const auto m = static_cast<int64_t>(p.d.rows), n = static_cast<int64_t>(p.d.cols);
  const auto k = static_cast<int64_t>(cols_of(p.a, how.transpose_a));
  const bool tf32 = how.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const bool biased = how.epilogue == CUBLASLT_EPILOGUE_BIAS;
  std::vector<double> sums(static_cast<size_t>(n));
  for (int64_t batch = 0; batch < p.d.batches; ++batch) {
    const auto a = view<const T>(p.A, p.a, how.transpose_a, batch);
    const auto b = view<const T>(p.B, p.b, how.transpose_b, batch);
    const auto d = view<T>(p.D, p.d, CUBLAS_OP_N, batch);
    const T* bias = static_cast<const T*>(how.bias) + (biased ? batch * how.bias_stride : 0);
    for (int64_t i = 0; i < m; ++i) {
      sums.assign(sums.size(), 0.0);
      for (int64_t l = 0; l < k; ++l) {
        const double left = operand(a.at(i, l), tf32);
        for (int64_t j = 0; j < n; ++j)
          sums[static_cast<size_t>(j)] += left * operand(b.at(l, j), tf32);
      }
      for (int64_t j = 0; j < n; ++j) {
        double value = p.alpha * sums[static_cast<size_t>(j)];
        if (p.beta != 0)  // else C is not read: NaN there does not matter
          value += p.beta * view<const T>(p.C, p.c, CUBLAS_OP_N, batch).at(i, j);
        if (biased) value += bias[i];
        d.at(i, j) = static_cast<T>(value);
      }
    }
  }
}

}  // namespace

void compute(const Product& product) {
  // Whatever was in the workspace is lost.
  if (product.workspace_bytes) std::memset(product.workspace, 0xff, product.workspace_bytes);
  if (product.d.type == CUDA_R_64F)
    compute_as<double>(product);
  else
    compute_as<float>(product);
}

}  // namespace fake_cublaslt
