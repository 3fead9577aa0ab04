// One recurrent layer through the functions of a libcudnn whose device memory is the
// host's, as the fake's is while work runs at once.
#pragma once

#include "cudnn/number.h"
#include "cudnn/open.h"
#include "native/recurrent_run.h"

namespace bptt_test {

using Bytes = std::vector<uint8_t>;

inline CudnnLibrary* cudnn;  // set by the test

inline void run_now(cudaStream_t, void (*run)(void*), void* data) { run(data); }

struct Case {
  RecurrentCase at;  // lengths are given, and positive
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  cudnnMathType_t math = CUDNN_FMA_MATH;
  cudnnRNNDataLayout_t layout = CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED;
  cudnnRNNBiasMode_t bias = CUDNN_RNN_DOUBLE_BIAS;
  bool fill = false;         // y's padding is 7
  bool dev_lengths = false;  // else null
};

inline cudnnRNNMode_t mode_of(bptt_cell cell) {
  return static_cast<cudnnRNNMode_t>(bptt::facts_of(cell).cudnn);
}

inline size_t bytes_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_DOUBLE ? 8 : type == CUDNN_DATA_FLOAT ? 4 : 2;
}

inline Bytes stored(cudnnDataType_t type, const std::vector<double>& values) {
  Bytes out(values.size() * bytes_of(type));
  for (size_t i = 0; i < values.size(); ++i) fake_cudnn::store(type, out.data(), i, values[i]);
  return out;
}

inline std::vector<double> loaded(cudnnDataType_t type, const Bytes& bytes) {
  std::vector<double> out(bytes.size() / bytes_of(type));
  for (size_t i = 0; i < out.size(); ++i) out[i] = fake_cudnn::load(type, bytes.data(), i);
  return out;
}

#define OK(call) CHECK((call) == CUDNN_STATUS_SUCCESS)

// The descriptors and spaces of a case, and its three passes over memory of its own.
class Layer {
 public:
  explicit Layer(const Case& of) : of(of), at(of.at) {
    OK(cudnn->cudnnCreate(&handle));
    OK(cudnn->cudnnCreateRNNDescriptor(&rnn));
    OK(cudnn->cudnnCreateRNNDataDescriptor(&x_desc));
    OK(cudnn->cudnnCreateRNNDataDescriptor(&y_desc));
    for (auto* desc : {&h_desc, &c_desc, &part}) OK(cudnn->cudnnCreateTensorDescriptor(desc));
    OK(cudnn->cudnnSetRNNDescriptor_v8(
        rnn, CUDNN_RNN_ALGO_STANDARD, mode_of(at.cell), of.bias,
        at.D == 2 ? CUDNN_BIDIRECTIONAL : CUDNN_UNIDIRECTIONAL, CUDNN_LINEAR_INPUT, of.type,
        of.type == CUDNN_DATA_DOUBLE ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT, of.math, at.I, at.H,
        at.Hout(), at.L, nullptr, CUDNN_RNN_PADDED_IO_ENABLED));
    Bytes seven = stored(of.type, {7});
    OK(cudnn->cudnnSetRNNDataDescriptor(x_desc, of.type, of.layout, at.T, at.B, at.I,
                                        at.lengths.data(), nullptr));
    OK(cudnn->cudnnSetRNNDataDescriptor(y_desc, of.type, of.layout, at.T, at.B, at.D * at.Hout(),
                                        at.lengths.data(), of.fill ? seven.data() : nullptr));
    set_state(h_desc, at.Hout());
    set_state(c_desc, at.H);
    OK(cudnn->cudnnGetRNNWeightSpaceSize(handle, rnn, &weight_bytes));
    OK(cudnn->cudnnGetRNNTempSpaceSizes(handle, rnn, CUDNN_FWD_MODE_TRAINING, x_desc,
                                        &workspace_bytes, &reserve_bytes));
    weights.assign(weight_bytes, 0xff);
    dweights.assign(weight_bytes, 0);
    workspace.assign(workspace_bytes, 0);
    reserve.assign(reserve_bytes, 0);
    y = Bytes(rows() * at.D * at.Hout() * bytes_of(of.type), 0x5a);
    dx = Bytes(rows() * at.I * bytes_of(of.type), 0x5a);
    hy = dhx = Bytes(at.L * at.D * at.B * at.Hout() * bytes_of(of.type), 0x5a);
    cy = dcx = Bytes(at.L * at.D * at.B * at.H * bytes_of(of.type), 0x5a);
  }
  ~Layer() { destroy(); }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  void destroy() {
    if (!handle) return;
    for (auto desc : {h_desc, c_desc, part}) cudnn->cudnnDestroyTensorDescriptor(desc);
    cudnn->cudnnDestroyRNNDataDescriptor(y_desc);
    cudnn->cudnnDestroyRNNDataDescriptor(x_desc);
    cudnn->cudnnDestroyRNNDescriptor(rnn);
    cudnn->cudnnDestroy(handle);
    handle = nullptr;
  }

  cudnnStatus_t forward() {
    return cudnn->cudnnRNNForward(handle, rnn, CUDNN_FWD_MODE_TRAINING, lengths(), x_desc, x.data(),
                                  y_desc, y.data(), h_desc, pointer(hx), hy.data(), c_desc,
                                  pointer(cx), cy.data(), weight_bytes, weights.data(),
                                  workspace_bytes, workspace.data(), reserve_bytes, reserve.data());
  }
  cudnnStatus_t backward_data() {
    return cudnn->cudnnRNNBackwardData_v8(
        handle, rnn, lengths(), y_desc, y.data(), dy.data(), x_desc, dx.data(), h_desc, pointer(hx),
        pointer(dhy), dhx.data(), c_desc, pointer(cx), pointer(dcy), dcx.data(), weight_bytes,
        weights.data(), workspace_bytes, workspace.data(), reserve_bytes, reserve.data());
  }
  cudnnStatus_t backward_weights() {
    return cudnn->cudnnRNNBackwardWeights_v8(handle, rnn, CUDNN_WGRAD_MODE_ADD, lengths(), x_desc,
                                             x.data(), h_desc, pointer(hx), y_desc, y.data(),
                                             weight_bytes, dweights.data(), workspace_bytes,
                                             workspace.data(), reserve_bytes, reserve.data());
  }

  // Tensors [T,B,n] in the layout of the case, and back; padding is NaN, and back zero.
  Bytes arranged(const std::vector<double>& values, int64_t n) const {
    std::vector<double> out(rows() * n, kNaN);
    for_each_step([&](int64_t from, int64_t to) {
      std::copy_n(values.begin() + from * n, n, out.begin() + to * n);
    });
    return stored(of.type, out);
  }
  std::vector<double> restored(const Bytes& bytes, int64_t n) const {
    const std::vector<double> values = loaded(of.type, bytes);
    std::vector<double> out(at.T * at.B * n, 0.0);
    for_each_step([&](int64_t to, int64_t from) {
      std::copy_n(values.begin() + from * n, n, out.begin() + to * n);
    });
    return out;
  }

  // visit(address or null, numbers, the tensor of torch, offset in it) for each part.
  template <class Visit>
  void for_each_part(Bytes& space, Inputs<double>& tensors, Visit visit) {
    const int64_t G = bptt::gates_of(at.cell), H = at.H;
    for (int64_t p = 0; p < at.L * at.D; ++p) {
      Params<double>& params = tensors.params[p];
      const int64_t n = at.input(p / at.D);
      for (int64_t g = 0; g < G; ++g) {
        part_of(space, p, g, params.weight_ih, g * H * n, params.bias_ih, g * H, visit);
        part_of(space, p, G + g, params.weight_hh, g * H * at.Hout(), params.bias_hh, g * H, visit);
      }
      std::vector<double> none;
      if (at.P > 0) part_of(space, p, 2 * G, params.weight_hr, 0, none, 0, visit);
    }
  }

  const Case of;
  const RecurrentCase& at;
  cudnnHandle_t handle;
  cudnnRNNDescriptor_t rnn;
  cudnnRNNDataDescriptor_t x_desc, y_desc;
  cudnnTensorDescriptor_t h_desc, c_desc, part;
  size_t weight_bytes = 0, workspace_bytes = 0, reserve_bytes = 0;
  Bytes x, hx, cx, y, hy, cy, dx, dhx, dcx, dy, dhy, dcy, weights, dweights, workspace, reserve;

 private:
  int64_t rows() const {
    if (of.layout != CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED) return at.T * at.B;
    int64_t sum = 0;
    for (int length : at.lengths) sum += length;
    return sum;
  }
  // visit(row of [T,B], row of the layout)
  template <class Visit>
  void for_each_step(Visit visit) const {
    int64_t packed = 0;
    for (int64_t t = 0; t < at.T; ++t) {
      for (int64_t b = 0; b < at.B; ++b) {
        if (t >= at.lengths[b]) continue;
        const int64_t row = of.layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED ? packed++
                            : of.layout == CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED
                                ? b * at.T + t
                                : t * at.B + b;
        visit(t * at.B + b, row);
      }
    }
  }
  void set_state(cudnnTensorDescriptor_t desc, int64_t n) {
    const int dims[] = {int(at.L * at.D), int(at.B), int(n)};
    const int strides[] = {dims[1] * dims[2], dims[2], 1};
    OK(cudnn->cudnnSetTensorNdDescriptor(desc, of.type, 3, dims, strides));
  }
  template <class Visit>
  void part_of(Bytes& space, int p, int id, std::vector<double>& matrix, int64_t matrix_offset,
               std::vector<double>& bias, int64_t bias_offset, Visit visit) {
    cudnnTensorDescriptor_t bias_desc = part;
    void *matrix_at = nullptr, *bias_at = nullptr;
    OK(cudnn->cudnnGetRNNWeightParams(handle, rnn, p, space.size(), space.data(), id, part,
                                      &matrix_at, nullptr, nullptr));
    visit(matrix_at, numbers(), matrix, matrix_offset);
    OK(cudnn->cudnnGetRNNWeightParams(handle, rnn, p, space.size(), space.data(), id, nullptr,
                                      nullptr, bias_desc, &bias_at));
    visit(bias_at, numbers(), bias, bias_offset);
  }
  int64_t numbers() const {
    cudnnDataType_t type;
    int rank = 0, dims[3] = {}, strides[3] = {};
    OK(cudnn->cudnnGetTensorNdDescriptor(part, 3, &type, &rank, dims, strides));
    return int64_t(dims[0]) * dims[1] * dims[2];
  }
  const int32_t* lengths() const { return of.dev_lengths ? at.lengths.data() : nullptr; }
  static void* pointer(Bytes& bytes) { return bytes.empty() ? nullptr : bytes.data(); }
};

}  // namespace bptt_test
