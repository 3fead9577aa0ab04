// The fake cuDNN's handle, descriptors and errors.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "cudnn/fake_cudnn.h"

namespace fake_cudnn {
namespace {

thread_local std::string last_error;
std::atomic<bool> only_checks = false;
std::atomic<fake_cudnn_queue> test_queue = nullptr;

std::mutex complaint_mutex;
std::string complaint;

using Work = std::function<void()>;
void run(void* data) { (*static_cast<Work*>(data))(); }
void drop(void* data) { delete static_cast<Work*>(data); }
void run_and_drop(void* data) {
  run(data);
  drop(data);
}

const char* kind_of(cudnnHandle_t) { return "cudnn handle"; }
const char* kind_of(cudnnTensorDescriptor_t) { return "cudnn tensor descriptor"; }
const char* kind_of(cudnnDropoutDescriptor_t) { return "cudnn dropout descriptor"; }
const char* kind_of(cudnnRNNDescriptor_t) { return "cudnn RNN descriptor"; }
const char* kind_of(cudnnRNNDataDescriptor_t) { return "cudnn RNN data descriptor"; }

template <class Struct>
cudnnStatus_t create(Struct** out) {
  FAKE_CUDNN_BAD(!out);
  *out = new Struct();
  fake_cuda_count(kind_of(*out), 1);
  return CUDNN_STATUS_SUCCESS;
}

template <class Struct>
cudnnStatus_t destroy(Struct* descriptor) {
  if (descriptor) fake_cuda_count(kind_of(descriptor), -1);
  delete descriptor;
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

cudnnStatus_t refuse(cudnnStatus_t status, const char* reason) {
  last_error = reason;
  return status;
}

bool checks_only() { return only_checks; }
bool over_driver() { return !test_queue; }

void complain(const char* what) {
  if (over_driver()) fake_cuda_violation(what);
  const std::lock_guard lock(complaint_mutex);
  if (complaint.empty()) complaint = what;
}

cudnnStatus_t enqueue(cudnnHandle_t handle, const char* name, Work work) {
  FAKE_CUDNN_REFUSE(CUDNN_STATUS_EXECUTION_FAILED_CUDART,
                    checks_only() || (over_driver() && fake_cuda_broken()));
  auto* data = new Work(std::move(work));
  if (const fake_cudnn_queue queue = test_queue) {
    queue(handle->stream, run_and_drop, data);
  } else {
    fake_cuda_enqueue_named(handle->stream, name, run, drop, data);
  }
  return CUDNN_STATUS_SUCCESS;
}

size_t size_of(cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_DOUBLE:
      return 8;
    case CUDNN_DATA_HALF:
    case CUDNN_DATA_BFLOAT16:
      return 2;
    default:
      return 4;
  }
}

bool is_rnn_type(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_DOUBLE || type == CUDNN_DATA_HALF ||
         type == CUDNN_DATA_BFLOAT16;
}

}  // namespace fake_cudnn

using namespace fake_cudnn;

size_t cudnnRNNDataStruct::at(int t, int b) const {
  if (layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED) return (size_t(t) * B + b) * V;
  if (layout == CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED) return (size_t(b) * T + t) * V;
  size_t rows = b;
  for (int length : lengths) rows += std::min(length, t);
  return rows * V;
}

size_t cudnnRNNDataStruct::elements() const {
  if (layout != CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED) return size_t(T) * B * V;
  size_t rows = 0;
  for (int length : lengths) rows += length;
  return rows * V;
}

void fake_cudnn_set_queue(fake_cudnn_queue queue) { test_queue = queue; }
void fake_cudnn_set_checks_only(int on) { only_checks = on != 0; }

const char* fake_cudnn_complaint() {
  static thread_local std::string taken;
  const std::lock_guard lock(complaint_mutex);
  taken = std::move(complaint);
  complaint.clear();
  return taken.c_str();
}

// -- library and handle -------------------------------------------------------

size_t cudnnGetVersion() {
  const char* version = std::getenv("BPTT_FAKE_CUDNN_VERSION");
  return version ? std::strtoull(version, nullptr, 10) : CUDNN_VERSION;
}
cudnnStatus_t cudnnAdvVersionCheck() { return CUDNN_STATUS_SUCCESS; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (static_cast<int>(status)) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
      return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    case CUDNN_STATUS_EXECUTION_FAILED_CUDART:
      return "CUDNN_STATUS_EXECUTION_FAILED_CUDART";
    default:
      return "CUDNN_STATUS_INTERNAL_ERROR";
  }
}

void cudnnGetLastErrorString(char* message, size_t max_size) {
  if (message && max_size > 0) std::snprintf(message, max_size, "%s", last_error.c_str());
  last_error.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  FAKE_CUDNN_ENTER();
  // The real one would make itself a context, where the caller has set none.
  FAKE_CUDNN_REFUSE(CUDNN_STATUS_NOT_INITIALIZED, over_driver() && !fake_cuda_has_context());
  return create(handle);
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!handle);
  FAKE_CUDNN_BAD(over_driver() && stream && !fake_cuda_is_stream(stream));
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

// -- tensors --------------------------------------------------------------------

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* out) {
  FAKE_CUDNN_ENTER();
  return create(out);
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t desc) { return destroy(desc); }

cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t desc, cudnnDataType_t type,
                                         int rank, const int dims[], const int strides[]) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!desc || !dims || !strides);
  FAKE_CUDNN_BAD(type < CUDNN_DATA_FLOAT || type > CUDNN_DATA_BOOLEAN);
  FAKE_CUDNN_BAD(rank < 2);
  FAKE_CUDNN_UNSUPPORTED(rank > CUDNN_DIM_MAX);
  for (int i = 0; i < rank; ++i) FAKE_CUDNN_BAD(dims[i] <= 0 || strides[i] == 0);
  desc->type = type;
  desc->dims.assign(dims, dims + rank);
  desc->strides.assign(strides, strides + rank);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetTensorNdDescriptor(const cudnnTensorDescriptor_t desc, int requested,
                                         cudnnDataType_t* type, int* rank, int dims[],
                                         int strides[]) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!desc || !type || !rank || !dims || !strides);
  FAKE_CUDNN_BAD(requested < 0 || requested > CUDNN_DIM_MAX);
  *type = desc->type;
  *rank = static_cast<int>(desc->dims.size());
  for (int i = 0; i < std::min(requested, *rank); ++i) {
    dims[i] = desc->dims[i];
    strides[i] = desc->strides[i];
  }
  return CUDNN_STATUS_SUCCESS;
}

// -- dropout: described, never computed -------------------------------------------

cudnnStatus_t cudnnCreateDropoutDescriptor(cudnnDropoutDescriptor_t* out) {
  FAKE_CUDNN_ENTER();
  return create(out);
}

cudnnStatus_t cudnnDestroyDropoutDescriptor(cudnnDropoutDescriptor_t desc) { return destroy(desc); }

cudnnStatus_t cudnnDropoutGetStatesSize(cudnnHandle_t handle, size_t* bytes) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!handle || !bytes);
  *bytes = 1 << 16;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetDropoutDescriptor(cudnnDropoutDescriptor_t desc, cudnnHandle_t handle,
                                        float dropout, void* states, size_t state_bytes,
                                        unsigned long long) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!handle || !desc);
  FAKE_CUDNN_BAD(!(dropout >= 0 && dropout <= 1));
  FAKE_CUDNN_BAD(states && state_bytes < 1 << 16);
  desc->dropout = dropout;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRestoreDropoutDescriptor(cudnnDropoutDescriptor_t desc, cudnnHandle_t handle,
                                            float dropout, void* states, size_t state_bytes,
                                            unsigned long long seed) {
  return cudnnSetDropoutDescriptor(desc, handle, dropout, states, state_bytes, seed);
}

// -- recurrent layers --------------------------------------------------------------

cudnnStatus_t cudnnCreateRNNDescriptor(cudnnRNNDescriptor_t* out) {
  FAKE_CUDNN_ENTER();
  return create(out);
}

cudnnStatus_t cudnnDestroyRNNDescriptor(cudnnRNNDescriptor_t desc) { return destroy(desc); }

namespace {

bool precision_is_known(cudnnDataType_t type, cudnnDataType_t math) {
  switch (type) {
    case CUDNN_DATA_HALF:
      return math == CUDNN_DATA_HALF || math == CUDNN_DATA_FLOAT;
    case CUDNN_DATA_BFLOAT16:
      return math == CUDNN_DATA_FLOAT;
    default:
      return is_rnn_type(type) && math == type;
  }
}

}  // namespace

cudnnStatus_t cudnnSetRNNDescriptor_v8(cudnnRNNDescriptor_t desc, cudnnRNNAlgo_t algo,
                                       cudnnRNNMode_t cellMode, cudnnRNNBiasMode_t biasMode,
                                       cudnnDirectionMode_t dirMode, cudnnRNNInputMode_t inputMode,
                                       cudnnDataType_t dataType, cudnnDataType_t mathPrec,
                                       cudnnMathType_t mathType, int32_t inputSize,
                                       int32_t hiddenSize, int32_t projSize, int32_t numLayers,
                                       cudnnDropoutDescriptor_t dropoutDesc, uint32_t auxFlags) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!desc);
  FAKE_CUDNN_BAD(algo < 0 || algo >= CUDNN_RNN_ALGO_COUNT);
  FAKE_CUDNN_BAD(cellMode < CUDNN_RNN_RELU || cellMode > CUDNN_GRU);
  FAKE_CUDNN_BAD(biasMode < CUDNN_RNN_NO_BIAS || biasMode > CUDNN_RNN_SINGLE_REC_BIAS);
  FAKE_CUDNN_BAD(dirMode < CUDNN_UNIDIRECTIONAL || dirMode > CUDNN_BIDIRECTIONAL);
  FAKE_CUDNN_BAD(inputMode < CUDNN_LINEAR_INPUT || inputMode > CUDNN_SKIP_INPUT);
  FAKE_CUDNN_BAD(mathType < CUDNN_DEFAULT_MATH || mathType > CUDNN_FMA_MATH);
  FAKE_CUDNN_BAD(inputSize <= 0);
  FAKE_CUDNN_BAD(hiddenSize <= 0);
  FAKE_CUDNN_BAD(projSize <= 0);
  FAKE_CUDNN_BAD(numLayers <= 0);
  if (algo != CUDNN_RNN_ALGO_STANDARD) {
    FAKE_CUDNN_UNSUPPORTED(projSize < hiddenSize);
    FAKE_CUDNN_UNSUPPORTED(biasMode != CUDNN_RNN_DOUBLE_BIAS);
    FAKE_CUDNN_UNSUPPORTED(mathPrec == CUDNN_DATA_HALF);
    FAKE_CUDNN_UNSUPPORTED(dataType == CUDNN_DATA_DOUBLE && algo != CUDNN_RNN_ALGO_PERSIST_DYNAMIC);
  }
  FAKE_CUDNN_BAD(auxFlags & ~CUDNN_RNN_PADDED_IO_ENABLED);
  FAKE_CUDNN_UNSUPPORTED(!precision_is_known(dataType, mathPrec));
  FAKE_CUDNN_UNSUPPORTED(projSize > hiddenSize);
  FAKE_CUDNN_UNSUPPORTED(projSize < hiddenSize && cellMode != CUDNN_LSTM);
  *desc = {true,
           algo,
           cellMode,
           biasMode,
           dirMode,
           inputMode,
           dataType,
           inputSize,
           hiddenSize,
           projSize,
           numLayers,
           dropoutDesc && dropoutDesc->dropout > 0,
           false,
           (auxFlags & CUDNN_RNN_PADDED_IO_ENABLED) != 0,
           mathPrec == CUDNN_DATA_HALF || dataType == CUDNN_DATA_BFLOAT16 ||
               algo != CUDNN_RNN_ALGO_STANDARD,
           dataType == CUDNN_DATA_FLOAT && mathType != CUDNN_FMA_MATH};
  const auto number = [](int value) { return std::to_string(value); };
  const std::string chosen = "algo " + number(algo) + " type " + number(dataType) + " precision " +
                             number(mathPrec) + " math " + number(mathType);
  fake_cuda_call(chosen.c_str());
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRNNSetClip_v9(cudnnRNNDescriptor_t desc, cudnnRNNClipMode_t mode, double lclip,
                                 double rclip) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!desc);
  FAKE_CUDNN_BAD(!checks_only() && mode != CUDNN_RNN_CLIP_NONE && mode != CUDNN_RNN_CLIP_MINMAX);
  FAKE_CUDNN_BAD(!(lclip <= rclip));
  desc->clip = mode == CUDNN_RNN_CLIP_MINMAX;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateRNNDataDescriptor(cudnnRNNDataDescriptor_t* out) {
  FAKE_CUDNN_ENTER();
  return create(out);
}

cudnnStatus_t cudnnDestroyRNNDataDescriptor(cudnnRNNDataDescriptor_t desc) { return destroy(desc); }

cudnnStatus_t cudnnSetRNNDataDescriptor(cudnnRNNDataDescriptor_t desc, cudnnDataType_t dataType,
                                        cudnnRNNDataLayout_t layout, int maxSeqLength,
                                        int batchSize, int vectorSize, const int seqLengthArray[],
                                        void* paddingFill) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(!desc || !seqLengthArray);
  FAKE_CUDNN_UNSUPPORTED(!is_rnn_type(dataType));
  FAKE_CUDNN_BAD(layout < CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED ||
                 layout > CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED);
  FAKE_CUDNN_BAD(maxSeqLength <= 0 || batchSize <= 0 || vectorSize <= 0);
  for (int b = 0; b < batchSize; ++b) {
    FAKE_CUDNN_BAD(seqLengthArray[b] < 0 || seqLengthArray[b] > maxSeqLength);
    FAKE_CUDNN_BAD(layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED && b > 0 &&
                   seqLengthArray[b] > seqLengthArray[b - 1]);
  }
  FAKE_CUDNN_BAD(layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED &&
                 (seqLengthArray[0] != maxSeqLength || seqLengthArray[batchSize - 1] == 0));
  desc->set = true;
  desc->type = dataType;
  desc->layout = layout;
  desc->T = maxSeqLength;
  desc->B = batchSize;
  desc->V = vectorSize;
  desc->lengths.assign(seqLengthArray, seqLengthArray + batchSize);
  const auto* fill = static_cast<const uint8_t*>(paddingFill);
  desc->fill.assign(fill, fill ? fill + size_of(dataType) : fill);
  return CUDNN_STATUS_SUCCESS;
}
