// The fake cuDNN's weight space and sizes.
#include <cstdlib>

#include "cudnn/fake_cudnn.h"
#include "cudnn/math.h"

namespace fake_cudnn {

WeightLayout::WeightLayout(const cudnnRNNStruct& rnn) {
  const int G = rnn.gates(), pseudo_layers = rnn.L * rnn.D();
  const bool projection = rnn.P < rnn.H;
  matrices.assign(pseudo_layers, std::vector<Part>(2 * G + 1));
  biases = matrices;
  const auto place = [&](Part& part, int rows, int cols) {
    part = {elements, rows, cols};
    elements += size_t(rows) * cols;
  };
  for (int p = 0; p < pseudo_layers; ++p) {
    const int layer = p / rnn.D();
    const bool skip = layer == 0 && rnn.input_mode == CUDNN_SKIP_INPUT;
    for (int g = 0; g < G && !skip; ++g) place(matrices[p][g], rnn.H, rnn.input(layer));
    for (int g = 0; g < G; ++g) place(matrices[p][G + g], rnn.H, rnn.P);
    if (projection) place(matrices[p][2 * G], rnn.P, rnn.H);
  }
  const bool of_input = rnn.bias == CUDNN_RNN_DOUBLE_BIAS || rnn.bias == CUDNN_RNN_SINGLE_INP_BIAS;
  const bool of_state = rnn.bias == CUDNN_RNN_DOUBLE_BIAS || rnn.bias == CUDNN_RNN_SINGLE_REC_BIAS;
  for (int p = 0; p < pseudo_layers; ++p) {
    for (int g = 0; g < G && of_input; ++g) place(biases[p][g], rnn.H, 1);
    for (int g = 0; g < G && of_state; ++g) place(biases[p][G + g], rnn.H, 1);
  }
}

TempSizes temp_sizes(const cudnnRNNStruct& rnn, cudnnForwardMode_t mode,
                     const cudnnRNNDataStruct& data) {
  const Shape shape = shape_of(rnn, data);
  // The fake's own needs; the workspace only has to be somewhere.
  return {256 + size_t(data.T) * data.B * rnn.H,
          mode == CUDNN_FWD_MODE_TRAINING ? ReserveLayout(shape).elements * sizeof(double) : 0};
}

namespace {

// [1, rows, cols], or nothing.
void describe(cudnnTensorDescriptor_t desc, cudnnDataType_t type, const Part& part) {
  desc->type = type;
  desc->dims.clear();
  desc->strides.clear();
  if (part.rows == 0) return;
  desc->dims = {1, part.rows, part.cols};
  desc->strides = {part.rows * part.cols, part.cols, 1};
}

size_t end_of(const Part& part, cudnnDataType_t type) {
  return part.rows == 0 ? 0 : (part.offset + size_t(part.rows) * part.cols) * size_of(type);
}

void* address(const void* space, cudnnDataType_t type, const Part& part) {
  if (part.rows == 0) return nullptr;
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(space) + part.offset * size_of(type));
}

// The environment may plant a bug, to see that tests notice it: the first two gates change
// places, as if the backend took them in the wrong order.
int32_t planted(int32_t id, int32_t gates) {
  static const bool swaps = std::getenv("BPTT_FAKE_CUDNN_SWAP_GATES") != nullptr;
  if (!swaps || gates < 2 || id >= 2 * gates || id % gates > 1) return id;
  return id % gates == 0 ? id + 1 : id - 1;
}

}  // namespace
}  // namespace fake_cudnn

using namespace fake_cudnn;

cudnnStatus_t cudnnGetRNNWeightSpaceSize(cudnnHandle_t handle, cudnnRNNDescriptor_t rnnDesc,
                                         size_t* weightSpaceSize) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!handle || !rnnDesc || !weightSpaceSize);
  FAKE_CUDNN_BAD(!rnnDesc->set);
  *weightSpaceSize = WeightLayout(*rnnDesc).elements * size_of(rnnDesc->type);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNWeightParams(cudnnHandle_t handle, cudnnRNNDescriptor_t rnnDesc,
                                      int32_t pseudoLayer, size_t weightSpaceSize,
                                      const void* weightSpace, int32_t linLayerID,
                                      cudnnTensorDescriptor_t mDesc, void** mAddr,
                                      cudnnTensorDescriptor_t bDesc, void** bAddr) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!handle || !rnnDesc);
  FAKE_CUDNN_BAD(!rnnDesc->set);
  const WeightLayout layout(*rnnDesc);
  FAKE_CUDNN_BAD(pseudoLayer < 0 || pseudoLayer >= rnnDesc->L * rnnDesc->D());
  FAKE_CUDNN_BAD(linLayerID < 0 || linLayerID > 2 * rnnDesc->gates());
  FAKE_CUDNN_BAD((mDesc == nullptr) != (mAddr == nullptr));
  FAKE_CUDNN_BAD((bDesc == nullptr) != (bAddr == nullptr));
  const cudnnDataType_t type = rnnDesc->type;
  const int32_t id = planted(linLayerID, rnnDesc->gates());
  const Part matrix = layout.matrices[pseudoLayer][id];
  const Part bias = layout.biases[pseudoLayer][id];
  FAKE_CUDNN_BAD(weightSpaceSize == 0 || weightSpaceSize < end_of(matrix, type) ||
                 weightSpaceSize < end_of(bias, type));
  if (mDesc) {
    describe(mDesc, type, matrix);
    *mAddr = address(weightSpace, type, matrix);
  }
  if (bDesc) {
    describe(bDesc, type, bias);
    *bAddr = address(weightSpace, type, bias);
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNTempSpaceSizes(cudnnHandle_t handle, cudnnRNNDescriptor_t rnnDesc,
                                        cudnnForwardMode_t fwdMode, cudnnRNNDataDescriptor_t xDesc,
                                        size_t* workSpaceSize, size_t* reserveSpaceSize) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!handle || !rnnDesc || !xDesc);
  FAKE_CUDNN_BAD(!rnnDesc->set || !xDesc->set);
  FAKE_CUDNN_BAD(fwdMode < CUDNN_FWD_MODE_INFERENCE || fwdMode > CUDNN_FWD_MODE_TRAINING);
  FAKE_CUDNN_UNSUPPORTED(checks_only() && rnnDesc->asks_device);
  FAKE_CUDNN_BAD(xDesc->V != rnnDesc->I);
  FAKE_CUDNN_BAD(xDesc->type != rnnDesc->type);
  const TempSizes sizes = temp_sizes(*rnnDesc, fwdMode, *xDesc);
  if (workSpaceSize) *workSpaceSize = sizes.workspace;
  if (reserveSpaceSize) *reserveSpaceSize = sizes.reserve;
  if (checks_only()) return refuse(CUDNN_STATUS_EXECUTION_FAILED_CUDART, "no driver");
  return CUDNN_STATUS_SUCCESS;
}
