// What cuDNN checks on the host before it starts a pass over a recurrent layer.
#include <algorithm>

#include "cudnn/fake_cudnn.h"

namespace fake_cudnn {
namespace {

// Whether to refuse what the real library's checks let pass, though the call is wrong.
bool stricter() { return !checks_only(); }

bool ragged(const cudnnRNNDataStruct& data) {
  return std::any_of(data.lengths.begin(), data.lengths.end(), [&](int n) { return n < data.T; });
}

// x and y against each other.
cudnnStatus_t check_same(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& x,
                         const cudnnRNNDataStruct& y) {
  FAKE_CUDNN_BAD(x.type != y.type);
  FAKE_CUDNN_BAD(x.layout != y.layout);
  FAKE_CUDNN_BAD(x.T != y.T || x.B != y.B);
  FAKE_CUDNN_BAD(x.lengths != y.lengths);
  FAKE_CUDNN_BAD(y.V != rnn.D() * rnn.P);
  return CUDNN_STATUS_SUCCESS;
}

// x against the layer.
cudnnStatus_t check_input(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& x) {
  FAKE_CUDNN_BAD(x.type != rnn.type);
  FAKE_CUDNN_BAD(x.V != rnn.I);
  const bool padded = x.layout == CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED ||
                      (x.layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED && ragged(x));
  FAKE_CUDNN_BAD(padded && !rnn.padded_io);
  return CUDNN_STATUS_SUCCESS;
}

// A state: [L*D, B, n], dense.
cudnnStatus_t check_state(const cudnnRNNStruct& rnn, int B, int n, const cudnnTensorStruct& desc) {
  FAKE_CUDNN_BAD(stricter() && desc.type != rnn.type);
  FAKE_CUDNN_BAD(desc.dims.size() < 3 || (stricter() && desc.dims.size() > 3));
  FAKE_CUDNN_BAD(desc.dims[0] != rnn.L * rnn.D());
  FAKE_CUDNN_BAD(desc.dims[1] != B);
  FAKE_CUDNN_BAD(desc.dims[2] != n);
  const int dense[] = {B * n, n, 1};
  for (int i = 0; i < 3; ++i) FAKE_CUDNN_BAD(desc.dims[i] > 1 && desc.strides[i] != dense[i]);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_spaces(const Call& call) {
  const cudnnRNNStruct& rnn = *call.rnn;
  const TempSizes sizes = temp_sizes(rnn, call.mode, *call.x_desc);
  FAKE_CUDNN_BAD(!call.weights);
  FAKE_CUDNN_BAD(call.weight_bytes < WeightLayout(rnn).elements * size_of(rnn.type));
  FAKE_CUDNN_BAD(!call.workspace);
  FAKE_CUDNN_BAD(call.workspace_bytes < sizes.workspace);
  if (call.mode == CUDNN_FWD_MODE_TRAINING) {
    FAKE_CUDNN_BAD(!call.reserve);
    FAKE_CUDNN_BAD(call.reserve_bytes < sizes.reserve);
  }
  return CUDNN_STATUS_SUCCESS;
}

// Persistent kernels do not do everything.
cudnnStatus_t check_algorithm(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& x) {
  if (rnn.algo == CUDNN_RNN_ALGO_STANDARD) return CUDNN_STATUS_SUCCESS;
  FAKE_CUDNN_UNSUPPORTED(rnn.algo == CUDNN_RNN_ALGO_PERSIST_DYNAMIC);
  FAKE_CUDNN_UNSUPPORTED(ragged(x));
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

#define FAKE_CUDNN_CHECK(call)                         \
  do {                                                 \
    const cudnnStatus_t status = call;                 \
    if (status != CUDNN_STATUS_SUCCESS) return status; \
  } while (0)

cudnnStatus_t check(const Call& call) {
  FAKE_CUDNN_BAD(!call.handle || !call.rnn || !call.x_desc || !call.y_desc);
  const cudnnRNNStruct& rnn = *call.rnn;
  const bool of_weights = call.pass == PassKind::backward_weights;
  FAKE_CUDNN_BAD(of_weights && call.x_desc->type != call.y_desc->type);
  const bool fails_without_device = checks_only() && rnn.asks_device;
  FAKE_CUDNN_UNSUPPORTED(fails_without_device &&
                         (!of_weights || rnn.algo != CUDNN_RNN_ALGO_STANDARD));
  FAKE_CUDNN_BAD(!rnn.set || !call.x_desc->set || !call.y_desc->set);
  FAKE_CUDNN_BAD(stricter() &&
                 (call.mode < CUDNN_FWD_MODE_INFERENCE || call.mode > CUDNN_FWD_MODE_TRAINING));
  FAKE_CUDNN_BAD(call.pass == PassKind::forward && rnn.input_mode == CUDNN_SKIP_INPUT &&
                 rnn.I != rnn.H);
  FAKE_CUDNN_CHECK(check_same(rnn, *call.x_desc, *call.y_desc));
  FAKE_CUDNN_UNSUPPORTED(fails_without_device);
  FAKE_CUDNN_CHECK(check_input(rnn, *call.x_desc));
  FAKE_CUDNN_BAD(call.needs_h && !call.h_desc);
  if (call.needs_h) FAKE_CUDNN_CHECK(check_state(rnn, call.x_desc->B, rnn.P, *call.h_desc));
  // Required for every cell, though only the LSTM uses it.
  FAKE_CUDNN_BAD(call.needs_c && !call.c_desc);
  if (call.needs_c) FAKE_CUDNN_CHECK(check_state(rnn, call.x_desc->B, rnn.H, *call.c_desc));
  FAKE_CUDNN_CHECK(check_spaces(call));
  return check_algorithm(rnn, *call.x_desc);
}

}  // namespace fake_cudnn
