// A libcublasLt.so.13 of the functions that the CUDA backend uses, on the CPU: products of
// float32 and float64 matrices, queued on the fake driver's streams.
//
// The library is made of this folder's files but tests, and links to the fake libcuda.so.1 beside
// it.
#pragma once

#pragma GCC visibility push(default)
#include <cublasLt.h>
#pragma GCC visibility pop

#include <cstdint>

namespace fake_cublaslt {

// What the opaque handles of the library point to.
struct Description {
  cublasComputeType_t compute;
  cudaDataType_t scale_type;
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  cublasLtPointerMode_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;  // [rows of D]
  int64_t bias_stride = 0;     // of batches
  cudaDataType_t bias_type;
};

struct Layout {
  cudaDataType_t type;
  uint64_t rows, cols;
  int64_t ld;
  cublasLtOrder_t order = CUBLASLT_ORDER_COL;
  int32_t batches = 1;
  int64_t batch_stride = 0;

  int64_t row_stride() const { return order == CUBLASLT_ORDER_ROW ? ld : 1; }
  int64_t col_stride() const { return order == CUBLASLT_ORDER_ROW ? 1 : ld; }
  // From the first element to behind the last one.
  size_t bytes() const;
};

struct Preference {
  uint64_t workspace_bytes = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};

inline Description* of(cublasLtMatmulDesc_t handle) {
  return reinterpret_cast<Description*>(handle);
}
inline Layout* of(cublasLtMatrixLayout_t handle) { return reinterpret_cast<Layout*>(handle); }
inline Preference* of(cublasLtMatmulPreference_t handle) {
  return reinterpret_cast<Preference*>(handle);
}

// D = alpha * op(A) * op(B) + beta * C + bias. Plain data, complete: it outlives its call.
struct Product {
  Description description;
  Layout a, b, c, d;
  double alpha, beta;
  const void *A, *B, *C;
  void* D;
  void* workspace;
  size_t workspace_bytes;
};

uint64_t rows_of(const Layout& layout, cublasOperation_t transpose);
uint64_t cols_of(const Layout& layout, cublasOperation_t transpose);
void compute(const Product& product);

}  // namespace fake_cublaslt
