// The fake cuBLASLt's functions: what the library checks on the host is checked here.
#include "cublaslt/fake_cublaslt.h"

#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "driver/fake.h"

using namespace fake_cublaslt;

struct cublasLtContext {};

namespace {

constexpr size_t kVersion = 130101;
constexpr size_t kWorkspaceBytes = 4096;  // what the fake's algorithm takes where it may
constexpr uint64_t kAlgorithm = 0x62707474;

// The status that a test has asked for.
#define ENTER()                                                                              \
  do {                                                                                       \
    if (const int code = fake_cuda_call(__func__)) return static_cast<cublasStatus_t>(code); \
  } while (0)
#define REFUSE(status, condition) \
  do {                            \
    if (condition) return status; \
  } while (0)
#define INVALID(condition) REFUSE(CUBLAS_STATUS_INVALID_VALUE, condition)
#define UNSUPPORTED(condition) REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, condition)

template <class Struct, class Handle>
void create(Handle* out, const Struct& value, const char* kind) {
  *out = reinterpret_cast<Handle>(new Struct(value));
  fake_cuda_count(kind, 1);
}

template <class Handle>
cublasStatus_t destroy(Handle handle, const char* kind) {
  if (handle) fake_cuda_count(kind, -1);
  delete of(handle);
  return CUBLAS_STATUS_SUCCESS;
}

// The library refuses a buffer that is too short for the attribute.
template <class T>
cublasStatus_t set(T* attribute, const void* buffer, size_t bytes) {
  INVALID(!buffer || bytes < sizeof(T));
  std::memcpy(attribute, buffer, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

size_t size_of(cudaDataType_t type) { return type == CUDA_R_64F ? 8 : 4; }

bool is_good(const Layout& layout) {
  const auto least = layout.order == CUBLASLT_ORDER_ROW ? layout.cols : layout.rows;
  return layout.rows > 0 && layout.cols > 0 && layout.ld >= static_cast<int64_t>(least) &&
         layout.batches > 0;
}

// One product's shapes and types.
cublasStatus_t check(const Description& how, const Layout& a, const Layout& b, const Layout& c,
                     const Layout& d) {
  const bool wide = how.compute == CUBLAS_COMPUTE_64F;
  UNSUPPORTED(!wide && how.compute != CUBLAS_COMPUTE_32F &&
              how.compute != CUBLAS_COMPUTE_32F_FAST_TF32);
  const cudaDataType_t type = wide ? CUDA_R_64F : CUDA_R_32F;
  UNSUPPORTED(how.scale_type != type || how.pointer_mode != CUBLASLT_POINTER_MODE_HOST);
  for (const Layout* layout : {&a, &b, &c, &d}) {
    UNSUPPORTED(layout->type != type);
    UNSUPPORTED(layout->order != CUBLASLT_ORDER_COL && layout->order != CUBLASLT_ORDER_ROW);
    INVALID(!is_good(*layout) || layout->batches != d.batches);
  }
  INVALID(rows_of(a, how.transpose_a) != d.rows || cols_of(b, how.transpose_b) != d.cols);
  INVALID(cols_of(a, how.transpose_a) != rows_of(b, how.transpose_b));
  INVALID(c.rows != d.rows || c.cols != d.cols || c.order != d.order);
  UNSUPPORTED(how.epilogue != CUBLASLT_EPILOGUE_DEFAULT && how.epilogue != CUBLASLT_EPILOGUE_BIAS);
  // A bias belongs to D's rows; what it means for D in row order is not documented.
  UNSUPPORTED(how.epilogue == CUBLASLT_EPILOGUE_BIAS && d.order != CUBLASLT_ORDER_COL);
  return CUBLAS_STATUS_SUCCESS;
}

// What the host cannot check and the device would answer with a fault.
void check_range(const char* name, const void* pointer, size_t bytes) {
  char text[160];
  if (fake_cuda_is_device(pointer, bytes)) return;
  std::snprintf(text, sizeof(text),
                "cublasLtMatmul: %s [%zu bytes] does not lie in one live buffer", name, bytes);
  fake_cuda_violation(text);
}

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return x < y + b_bytes && y < x + a_bytes;
}

void check_pointers(const Product& p) {
  check_range("A", p.A, p.a.bytes());
  check_range("B", p.B, p.b.bytes());
  check_range("D", p.D, p.d.bytes());
  if (p.beta != 0) check_range("C", p.C, p.c.bytes());
  const Description& how = p.description;
  if (how.epilogue == CUBLASLT_EPILOGUE_BIAS) {
    const auto last = static_cast<uint64_t>(how.bias_stride) * uint64_t(p.d.batches - 1);
    check_range("bias", how.bias, (last + p.d.rows) * size_of(p.d.type));
  }
  if (p.workspace_bytes) check_range("workspace", p.workspace, p.workspace_bytes);
  if (overlap(p.D, p.d.bytes(), p.A, p.a.bytes()) || overlap(p.D, p.d.bytes(), p.B, p.b.bytes()))
    fake_cuda_violation("cublasLtMatmul: D overlaps A or B");
  if (p.beta != 0 && p.C != p.D && overlap(p.D, p.d.bytes(), p.C, p.c.bytes()))
    fake_cuda_violation("cublasLtMatmul: D overlaps C and does not begin where it does");
  // The batches of D must not lie in one another. Those of a wide matrix may be interleaved.
  if (p.d.batches > 1 && p.d.batch_stride == 0)
    fake_cuda_violation("cublasLtMatmul: all batches of D lie in one place");
}

bool is_aligned(const void* pointer, uint64_t to) {
  return to == 0 || reinterpret_cast<uintptr_t>(pointer) % to == 0;
}

double scalar(const void* pointer, cudaDataType_t type) {
  return type == CUDA_R_64F ? *static_cast<const double*>(pointer)
                            : *static_cast<const float*>(pointer);
}

}  // namespace

namespace fake_cublaslt {

size_t Layout::bytes() const {
  const int64_t last = int64_t(rows - 1) * row_stride() + int64_t(cols - 1) * col_stride() +
                       int64_t(batches - 1) * batch_stride;
  return static_cast<size_t>(last + 1) * size_of(type);
}

uint64_t rows_of(const Layout& layout, cublasOperation_t transpose) {
  return transpose == CUBLAS_OP_N ? layout.rows : layout.cols;
}

uint64_t cols_of(const Layout& layout, cublasOperation_t transpose) {
  return transpose == CUBLAS_OP_N ? layout.cols : layout.rows;
}

}  // namespace fake_cublaslt

// -- handles --------------------------------------------------------------------------

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  ENTER();
  INVALID(!handle);
  REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, !fake_cuda_has_context());
  *handle = new cublasLtContext;
  fake_cuda_count("cublasLt handle", 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  ENTER();
  REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, !handle);
  fake_cuda_count("cublasLt handle", -1);
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void) { return kVersion; }

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an invalid value was used as an argument";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the requested functionality is not supported";
    default:
      return "unknown error";
  }
}

// -- descriptions ---------------------------------------------------------------------

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* out, cublasComputeType_t compute,
                                        cudaDataType_t scale_type) {
  ENTER();
  INVALID(!out);
  Description made = {};
  made.compute = compute;
  made.scale_type = made.bias_type = scale_type;
  create(out, made, "cublasLt matmul descriptor");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  return destroy(handle, "cublasLt matmul descriptor");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* buffer, size_t bytes) {
  ENTER();
  INVALID(!handle);
  Description& how = *of(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return set(&how.compute, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return set(&how.scale_type, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return set(&how.pointer_mode, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(&how.transpose_a, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(&how.transpose_b, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(&how.epilogue, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(&how.bias, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
      return set(&how.bias_stride, buffer, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return set(&how.bias_type, buffer, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* out, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
  ENTER();
  INVALID(!out);
  Layout made = {};
  made.type = type;
  made.rows = rows;
  made.cols = cols;
  made.ld = ld;
  create(out, made, "cublasLt matrix layout");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  return destroy(handle, "cublasLt matrix layout");
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* buffer, size_t bytes) {
  ENTER();
  INVALID(!handle);
  Layout& layout = *of(handle);
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return set(&layout.type, buffer, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return set(&layout.order, buffer, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return set(&layout.rows, buffer, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return set(&layout.cols, buffer, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return set(&layout.ld, buffer, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return set(&layout.batches, buffer, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return set(&layout.batch_stride, buffer, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* out) {
  ENTER();
  INVALID(!out);
  create(out, Preference{}, "cublasLt preference");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  return destroy(handle, "cublasLt preference");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* buffer, size_t bytes) {
  ENTER();
  INVALID(!handle);
  Preference& preference = *of(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(&preference.workspace_bytes, buffer, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set(&preference.alignment[0], buffer, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set(&preference.alignment[1], buffer, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set(&preference.alignment[2], buffer, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(&preference.alignment[3], buffer, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

// -- products -------------------------------------------------------------------------

// The fake has one algorithm, which remembers the alignments that it was promised.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  ENTER();
  REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, !handle);
  INVALID(!description || !a || !b || !c || !d || !preference || !results || !found || wanted < 1);
  *found = 0;
  const cublasStatus_t status = check(*of(description), *of(a), *of(b), *of(c), *of(d));
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  cublasLtMatmulHeuristicResult_t& result = results[0];
  result = {};
  result.workspaceSize = of(preference)->workspace_bytes < kWorkspaceBytes ? 0 : kWorkspaceBytes;
  result.state = CUBLAS_STATUS_SUCCESS;
  result.wavesCount = 1;
  result.algo.data[0] = kAlgorithm;
  result.algo.data[1] = result.workspaceSize;
  for (int i = 0; i < 4; ++i) result.algo.data[2 + i] = of(preference)->alignment[i];
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                              const void* alpha, const void* A, cublasLtMatrixLayout_t a,
                              const void* B, cublasLtMatrixLayout_t b, const void* beta,
                              const void* C, cublasLtMatrixLayout_t c, void* D,
                              cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  ENTER();
  REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, !handle);
  INVALID(!description || !a || !b || !c || !d || !alpha || !beta || !A || !B || !D);
  const Description& how = *of(description);
  const cublasStatus_t status = check(how, *of(a), *of(b), *of(c), *of(d));
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  INVALID(how.epilogue == CUBLASLT_EPILOGUE_BIAS && !how.bias);
  const double factor = scalar(alpha, how.scale_type), keep = scalar(beta, how.scale_type);
  INVALID(keep != 0 && !C);
  INVALID(!is_aligned(A, size_of(of(a)->type)) || !is_aligned(B, size_of(of(b)->type)) ||
          !is_aligned(D, size_of(of(d)->type)));
  size_t used = 0;
  if (algorithm) {
    const uint64_t* promised = algorithm->data;
    INVALID(promised[0] != kAlgorithm);
    used = promised[1];
    INVALID(used > workspace_bytes || (used && !workspace) || !is_aligned(workspace, 16));
    UNSUPPORTED(!is_aligned(A, promised[2]) || !is_aligned(B, promised[3]) ||
                (keep != 0 && !is_aligned(C, promised[4])) || !is_aligned(D, promised[5]));
  }
  REFUSE(CUBLAS_STATUS_EXECUTION_FAILED, fake_cuda_broken() || !fake_cuda_has_context());
  auto* product =
      new Product{how, *of(a), *of(b), *of(c), *of(d), factor, keep, A, B, C, D, workspace, used};
  check_pointers(*product);
  fake_cuda_enqueue_named(
      stream, "cublasLtMatmul", [](void* data) { compute(*static_cast<Product*>(data)); },
      [](void* data) { delete static_cast<Product*>(data); }, product);
  return CUBLAS_STATUS_SUCCESS;
}
