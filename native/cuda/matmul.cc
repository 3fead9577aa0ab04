// Matrix products by cuBLASLt. Its matrices are column-major, so it is asked for the transposed
// product: a row-major [m,n] is a column-major [n,m].
#include <algorithm>

#include "cuda/device.h"

namespace bptt::cuda {

namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;
constexpr uint32_t kMostAlignment = 256;

// One of cuBLASLt's descriptions, destroyed with it.
template <class Handle>
struct Description {
  cublasStatus_t (*destroy)(Handle);
  Handle handle = nullptr;

  explicit Description(cublasStatus_t (*d)(Handle)) : destroy(d) {}
  Description(const Description&) = delete;
  ~Description() {
    if (handle) destroy(handle);
  }
};

// A matrix of the product as it lies in memory: columns of `rows` numbers, `stride` apart.
struct Stored {
  const void* data;
  int64_t rows, columns, stride;
  bool transposed;  // it is the transpose of what the product takes
};

// Matrices of [outer, inner] with these strides; one of the strides is 1.
Stored stored(const void* data, int64_t outer, int64_t inner, int64_t outer_stride,
              int64_t inner_stride) {
  if (inner_stride == 1 || inner <= 1) {
    return {data, inner, outer, std::max(outer_stride, inner), false};
  }
  return {data, outer, inner, std::max(inner_stride, outer), true};
}

// Whether stored() can describe the matrix. A stride along a dimension of one element may be
// anything.
bool can_be_read(int64_t outer, int64_t inner, int64_t outer_stride, int64_t inner_stride) {
  const bool rows = (inner_stride == 1 || inner <= 1) && (outer_stride >= inner || outer <= 1);
  const bool columns = (outer_stride == 1 || outer <= 1) && (inner_stride >= outer || inner <= 1);
  return rows || columns;
}

uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return static_cast<uint32_t>(std::min<uintptr_t>(kMostAlignment, address & (~address + 1)));
}

// The matrices of the innermost batch dimension.
struct Batch {
  int64_t count;
  int64_t left, right, out;  // elements between them
};

class Product {
 public:
  Product(bptt_context* context, bptt_dtype dtype)
      : context_(context), lt_(device_of(context).cublas), dtype_(dtype) {}

  bptt_code run(const bptt_matmul& p, const Batch& batch, const Stored& left, const Stored& right,
                const void* bias, void* out) {
    const bool wide = dtype_ == BPTT_FLOAT64;
    const cudaDataType_t type = wide ? CUDA_R_64F : CUDA_R_32F;
    const cublasComputeType_t compute = wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
    check(lt_.cublasLtMatmulDescCreate(&product_.handle, compute, type));
    set(CUBLASLT_MATMUL_DESC_TRANSA, right.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, left.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    describe(a_, type, right, batch.count, batch.right);
    describe(b_, type, left, batch.count, batch.left);
    const Stored result = {out, p.n, p.m, std::max(p.out_row, p.n), false};
    describe(c_, type, result, batch.count, batch.out);
    check(lt_.cublasLtMatmulPreferenceCreate(&preference_.handle));
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(right.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(left.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(out));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(out));
    if (code_ == BPTT_OK) {
      code_ = reserve(context_, device_of(context_).product, kWorkspaceBytes);
    }
    return code_ == BPTT_OK ? multiply(left.data, right.data, p.accumulate != 0, out) : code_;
  }

 private:
  bptt_code multiply(const void* left, const void* right, bool accumulate, void* out) {
    CudaDevice& device = device_of(context_);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    check(lt_.cublasLtMatmulAlgoGetHeuristic(device.cublas_handle, product_.handle, a_.handle,
                                             b_.handle, c_.handle, c_.handle, preference_.handle, 1,
                                             &found, &count));
    if (code_ == BPTT_OK && count == 0) {
      return fail(context_, BPTT_DEVICE, "matmul: cuBLASLt has no algorithm for it");
    }
    const double one = 1, zero = 0;
    const float one_float = 1, zero_float = 0;
    const bool wide = dtype_ == BPTT_FLOAT64;
    const void* alpha = wide ? static_cast<const void*>(&one) : &one_float;
    const void* none = wide ? static_cast<const void*>(&zero) : &zero_float;
    if (code_ == BPTT_OK) {
      check(lt_.cublasLtMatmul(device.cublas_handle, product_.handle, alpha, right, a_.handle, left,
                               b_.handle, accumulate ? alpha : none, out, c_.handle, out, c_.handle,
                               &found.algo, reinterpret_cast<void*>(device.product.data),
                               device.product.bytes, device.stream));
    }
    return code_;
  }

  void describe(Description<cublasLtMatrixLayout_t>& out, cudaDataType_t type, const Stored& matrix,
                int64_t count, int64_t apart) {
    check(lt_.cublasLtMatrixLayoutCreate(&out.handle, type, static_cast<uint64_t>(matrix.rows),
                                         static_cast<uint64_t>(matrix.columns), matrix.stride));
    const auto batches = static_cast<int32_t>(count);
    if (code_ != BPTT_OK || count == 1) return;
    check(lt_.cublasLtMatrixLayoutSetAttribute(out.handle, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                               &batches, sizeof(batches)));
    check(lt_.cublasLtMatrixLayoutSetAttribute(
        out.handle, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &apart, sizeof(apart)));
  }
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    if (code_ == BPTT_OK) {
      check(lt_.cublasLtMatmulDescSetAttribute(product_.handle, attribute, &value, sizeof(value)));
    }
  }
  template <class Value>
  void prefer(cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
    if (code_ == BPTT_OK) {
      check(lt_.cublasLtMatmulPreferenceSetAttribute(preference_.handle, attribute, &value,
                                                     sizeof(value)));
    }
  }
  void check(cublasStatus_t status) {
    if (code_ == BPTT_OK) code_ = cuda::check(context_, status, "matmul");
  }

  bptt_context* context_;
  const CublasLt& lt_;
  bptt_dtype dtype_;
  bptt_code code_ = BPTT_OK;
  Description<cublasLtMatmulDesc_t> product_{lt_.cublasLtMatmulDescDestroy};
  Description<cublasLtMatrixLayout_t> a_{lt_.cublasLtMatrixLayoutDestroy},
      b_{lt_.cublasLtMatrixLayoutDestroy}, c_{lt_.cublasLtMatrixLayoutDestroy};
  Description<cublasLtMatmulPreference_t> preference_{lt_.cublasLtMatmulPreferenceDestroy};
};

// out = bias, or zero: a product over nothing.
bptt_code init_only(bptt_context* context, bptt_dtype dtype, const bptt_matmul& p, const void* bias,
                    void* out) {
  if (p.accumulate) return BPTT_OK;
  int64_t shape[BPTT_MAX_RANK + 2], from[BPTT_MAX_RANK + 2], to[BPTT_MAX_RANK + 2];
  for (int d = 0; d < p.batch_rank; ++d) {
    shape[d] = p.batch_shape[d];
    to[d] = p.out_batch[d];
    from[d] = 0;
  }
  int rank = p.batch_rank;
  shape[rank] = p.m, to[rank] = p.out_row, from[rank++] = 0;
  shape[rank] = p.n, to[rank] = 1, from[rank++] = bias ? 1 : 0;
  if (bias) return copy(context, dtype, rank, shape, bias, from, out, to);
  CudaDevice& device = device_of(context);
  bptt_code code = reserve(context, device.reduction, sizeof(double));
  if (code == BPTT_OK) {
    code = check(
        context,
        device.driver.cuMemsetD8Async(device.reduction.data, 0, sizeof(double), device.stream),
        "matmul");
  }
  return code == BPTT_OK ? copy(context, dtype, rank, shape,
                                reinterpret_cast<const void*>(device.reduction.data), from, out, to)
                         : code;
}

}  // namespace

bptt_code matmul(bptt_context* context, bptt_dtype dtype, const bptt_matmul* product,
                 const void* left, const void* right, const void* bias, void* out) {
  const bptt_matmul& p = *product;
  int64_t batches = 1;
  for (int d = 0; d < p.batch_rank; ++d) batches *= p.batch_shape[d];
  if (p.m == 0 || p.n == 0 || batches == 0) return BPTT_OK;
  if (p.k == 0) return init_only(context, dtype, p, bias, out);
  if (!can_be_read(p.m, p.k, p.left_row, p.left_k) ||
      !can_be_read(p.k, p.n, p.right_k, p.right_col)) {
    return fail(context, BPTT_INTERNAL, "matmul: no side of a matrix is dense");
  }
  // The innermost batch dimension in one call; the others one by one.
  const int inner = p.batch_rank - 1;
  Batch batch = {1, 0, 0, 0};
  if (inner >= 0) {
    batch = {p.batch_shape[inner], p.left_batch[inner], p.right_batch[inner], p.out_batch[inner]};
  }
  const int64_t scalar = dtype == BPTT_FLOAT64 ? 8 : 4;
  const auto at = [&](const void* base, int64_t elements) {
    return static_cast<const char*>(base) + elements * scalar;
  };
  for (int64_t i = 0; i < batches / batch.count; ++i) {
    int64_t rest = i, l = 0, r = 0, o = 0;
    for (int d = inner - 1; d >= 0; --d) {
      const int64_t index = rest % p.batch_shape[d];
      rest /= p.batch_shape[d];
      l += index * p.left_batch[d];
      r += index * p.right_batch[d];
      o += index * p.out_batch[d];
    }
    const Stored a = stored(at(left, l), p.m, p.k, p.left_row, p.left_k);
    const Stored b = stored(at(right, r), p.k, p.n, p.right_k, p.right_col);
    const bptt_code done =
        Product(context, dtype).run(p, batch, a, b, bias, const_cast<char*>(at(out, o)));
    if (done != BPTT_OK) return done;
  }
  return BPTT_OK;
}

}  // namespace bptt::cuda
