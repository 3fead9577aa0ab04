// The fake cuBLASLt: products against loops over indices, and what it refuses.
#include <cmath>
#include <random>

#include "cuda/library.h"
#include "driver/fake.h"
#include "driver/fake_test.h"

using namespace bptt_fake_test;

namespace {

// The fake, as the backend finds it: in BPTT_CUDA_PATH.
const bptt::cuda::CublasLt& lt() { return bptt::cuda::library().cublas; }

#define LT(expression) CHECK((expression) == CUBLAS_STATUS_SUCCESS)

// A matrix as the library sees it, with a gap after each line.
struct Shape {
  int rows, cols;
  bool row_order;
  int gap;
  int batches;

  int ld() const { return (row_order ? cols : rows) + gap; }
  int64_t matrix() const { return int64_t(ld()) * (row_order ? rows : cols); }
  size_t size() const { return static_cast<size_t>(matrix() * batches); }
  size_t at(int batch, int i, int j) const {
    const int64_t place = row_order ? int64_t(i) * ld() + j : int64_t(j) * ld() + i;
    return static_cast<size_t>(batch * matrix() + place);
  }
};

struct Case {
  int m, n, k;
  bool transpose_a, transpose_b;
  bool rows_a, rows_b, rows_d;
  int gap, batches;
  double alpha, beta;
  bool bias;
};

template <class T>
constexpr cudaDataType_t kType = sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F;
template <class T>
constexpr cublasComputeType_t kCompute = sizeof(T) == 8 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;

template <class T>
cublasLtMatrixLayout_t layout_of(const Shape& shape) {
  cublasLtMatrixLayout_t made = nullptr;
  LT(lt().cublasLtMatrixLayoutCreate(&made, kType<T>, uint64_t(shape.rows), uint64_t(shape.cols),
                                     shape.ld()));
  const cublasLtOrder_t order = shape.row_order ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
  const int32_t batches = shape.batches;
  const int64_t stride = shape.matrix();
  LT(lt().cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_ORDER, &order,
                                           sizeof(order)));
  LT(lt().cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batches,
                                           sizeof(batches)));
  LT(lt().cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                           &stride, sizeof(stride)));
  return made;
}

template <class T>
std::vector<T> random_values(size_t n) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<T> values(n);
  for (T& x : values) x = static_cast<T>(uniform(random));
  return values;
}

// One product with everything around it.
template <class T>
struct Run {
  explicit Run(const Case& c)
      : c(c),
        a{c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, c.rows_a, c.gap, c.batches},
        b{c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, c.rows_b, c.gap, c.batches},
        d{c.m, c.n, c.rows_d, c.gap, c.batches},
        A(random_values<T>(a.size())),
        B(random_values<T>(b.size())),
        C(random_values<T>(d.size())),
        bias(random_values<T>(size_t(c.m))) {
    LT(lt().cublasLtCreate(&handle));
    LT(lt().cublasLtMatmulDescCreate(&description, kCompute<T>, kType<T>));
    const cublasOperation_t yes = CUBLAS_OP_T;
    if (c.transpose_a) LT(set(CUBLASLT_MATMUL_DESC_TRANSA, yes));
    if (c.transpose_b) LT(set(CUBLASLT_MATMUL_DESC_TRANSB, yes));
    layouts[0] = layout_of<T>(a);
    layouts[1] = layout_of<T>(b);
    layouts[2] = layout_of<T>(d);
    LT(lt().cublasLtMatmulPreferenceCreate(&preference));
    const uint64_t workspace_bytes = 1 << 16;
    LT(lt().cublasLtMatmulPreferenceSetAttribute(preference,
                                                 CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                 &workspace_bytes, sizeof(workspace_bytes)));
  }
  ~Run() {
    for (cublasLtMatrixLayout_t layout : layouts) LT(lt().cublasLtMatrixLayoutDestroy(layout));
    LT(lt().cublasLtMatmulPreferenceDestroy(preference));
    LT(lt().cublasLtMatmulDescDestroy(description));
    LT(lt().cublasLtDestroy(handle));
  }
  template <class Value>
  cublasStatus_t set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    return lt().cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(value));
  }

  cublasStatus_t find() {
    int found = 0;
    const cublasStatus_t status =
        lt().cublasLtMatmulAlgoGetHeuristic(handle, description, layouts[0], layouts[1], layouts[2],
                                            layouts[2], preference, 1, &result, &found);
    CHECK(found == (status == CUBLAS_STATUS_SUCCESS));
    return status;
  }

  cublasStatus_t multiply(CUdeviceptr x, CUdeviceptr y, CUdeviceptr in, CUdeviceptr out) {
    const T alpha = T(c.alpha), beta = T(c.beta);
    if (!workspace) workspace = session.allocate(1 << 16);
    return lt().cublasLtMatmul(handle, description, &alpha, reinterpret_cast<void*>(x), layouts[0],
                               reinterpret_cast<void*>(y), layouts[1], &beta,
                               reinterpret_cast<void*>(in), layouts[2],
                               reinterpret_cast<void*>(out), layouts[2], &result.algo,
                               reinterpret_cast<void*>(workspace), 1 << 16, session.stream);
  }

  double expected(int batch, int i, int j) const {
    double sum = 0;
    for (int k = 0; k < c.k; ++k)
      sum += double(A[c.transpose_a ? a.at(batch, k, i) : a.at(batch, i, k)]) *
             B[c.transpose_b ? b.at(batch, j, k) : b.at(batch, k, j)];
    return c.alpha * sum + c.beta * C[d.at(batch, i, j)] + (c.bias ? bias[size_t(i)] : T(0));
  }

  Session session;
  Case c;
  Shape a, b, d;
  std::vector<T> A, B, C, bias;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t description = nullptr;
  cublasLtMatrixLayout_t layouts[3] = {};
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatmulHeuristicResult_t result = {};
  CUdeviceptr workspace = 0;
};

template <class T>
void product(const Case& c) {
  Run<T> run(c);
  Session& s = run.session;
  const CUdeviceptr x = s.upload(run.A), y = s.upload(run.B), z = s.upload(run.C);
  if (c.bias) {
    LT(run.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS));
    LT(run.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, s.upload(run.bias)));
  }
  LT(run.find());
  LT(run.multiply(x, y, z, z));
  const std::vector<T> out = s.download<T>(z, run.C.size());
  double worst = 0;
  std::vector<T> gaps = run.C;
  for (int batch = 0; batch < c.batches; ++batch)
    for (int i = 0; i < c.m; ++i)
      for (int j = 0; j < c.n; ++j) {
        const size_t at = run.d.at(batch, i, j);
        worst = std::fmax(worst, std::fabs(out[at] - run.expected(batch, i, j)));
        gaps[at] = out[at];
      }
  CHECK_MSG(worst < (sizeof(T) == 8 ? 1e-13 : 1e-6), "%dx%dx%d: error %g", c.m, c.n, c.k, worst);
  CHECK(gaps == out);  // between the lines nothing changed
}

void products() {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % unsigned(n)); };
  for (int i = 0; i < 200; ++i) {
    const bool bias = below(3) == 0;
    const Case c = {1 + below(9),  1 + below(9),  1 + below(9),         below(2) == 1,
                    below(2) == 1, below(2) == 1, below(2) == 1,        !bias && below(2) == 1,
                    below(3),      1 + below(3),  0.5 * (1 + below(3)), 0.5 * below(3),
                    bias};
    product<float>(c);
    product<double>(c);
  }
}

constexpr Case kPlain = {4, 4, 4, false, false, false, false, false, 0, 1, 1, 0, false};

// With beta = 0 what is in D before, such as NaN, does not count.
void old_values_are_not_read() {
  Run<float> run(kPlain);
  Session& s = run.session;
  const CUdeviceptr x = s.upload(run.A), y = s.upload(run.B), out = s.allocate(64);
  LT(run.find());
  LT(run.multiply(x, y, out, out));
  for (float value : s.download<float>(out, 16)) CHECK(!std::isnan(value));
}

void bad_arguments_are_refused() {
  Run<float> run(kPlain);
  Session& s = run.session;
  const int32_t value = 1;
  CHECK(lt().cublasLtMatmulDescSetAttribute(run.description, CUBLASLT_MATMUL_DESC_TRANSA, &value,
                                            3) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(lt().cublasLtMatmulDescSetAttribute(run.description, cublasLtMatmulDescAttributes_t(999),
                                            &value, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(lt().cublasLtMatrixLayoutSetAttribute(run.layouts[0],
                                              CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &value,
                                              4) == CUBLAS_STATUS_INVALID_VALUE);
  const CUdeviceptr x = s.allocate(256), y = s.upload(run.B), z = s.upload(run.C);
  LT(run.find());
  // The algorithm was asked for addresses that are multiples of 256.
  CHECK(run.multiply(x + 4, y, z, z) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(run.multiply(x + 1, y, z, z) == CUBLAS_STATUS_INVALID_VALUE);
  const uint64_t rows = 5;
  LT(lt().cublasLtMatrixLayoutSetAttribute(run.layouts[0], CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, 8));
  CHECK(run.find() == CUBLAS_STATUS_INVALID_VALUE);  // a column of 4 elements cannot hold 5
  const int64_t ld = 5;
  LT(lt().cublasLtMatrixLayoutSetAttribute(run.layouts[0], CUBLASLT_MATRIX_LAYOUT_LD, &ld, 8));
  CHECK(run.find() == CUBLAS_STATUS_INVALID_VALUE);  // D has 4 rows
}

void failures_are_injected() {
  Run<float> run(kPlain);
  Session& s = run.session;
  const CUdeviceptr x = s.upload(run.A), y = s.upload(run.B), z = s.upload(run.C);
  LT(run.find());
  fake_cuda_fail_call("cublasLtMatmul", 1, CUBLAS_STATUS_EXECUTION_FAILED);
  CHECK(run.multiply(x, y, z, z) == CUBLAS_STATUS_EXECUTION_FAILED);
  LT(run.multiply(x, y, z, z));
  CHECK(fake_cuda_live("cublasLt matrix layout") == 3 && fake_cuda_live("cublasLt handle") == 1);
}

template <class Body>
Outcome with_product(Body body) {
  return in_child([&] {
    Run<float> run(kPlain);
    Session& s = run.session;
    const CUdeviceptr x = s.upload(run.A), y = s.upload(run.B), z = s.upload(run.C);
    LT(run.find());
    body(run, x, y, z);
  });
}

void bugs_end_the_process() {
  CHECK_CAUGHT(with_product([](auto& run, auto x, auto y, auto z) {
                 OK(cuMemFree(y));
                 run.multiply(x, y, z, z);
               }),
               "cublasLtMatmul: B [64 bytes] does not lie in one live buffer");
  CHECK_CAUGHT(with_product([](auto& run, auto x, auto y, auto) { run.multiply(x, y, x, x); }),
               "cublasLtMatmul: D overlaps A or B");
}

}  // namespace

int main() {
  const bptt::cuda::Library& found = bptt::cuda::library();
  CHECK_MSG(found.usable, "%s", found.message.c_str());
  if (!found.usable) return bptt_test::finish();
  products();
  old_values_are_not_read();
  bad_arguments_are_refused();
  failures_are_injected();
  bugs_end_the_process();
  return bptt_test::finish();
}
