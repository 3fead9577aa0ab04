// A libcudnn.so.9 of the functions that the CUDA backend uses, on the CPU: it refuses
// what NVIDIA's library refuses, with the same status, lays weights out as it does,
// and computes the recurrent layers. cudnn_contract_test.cc holds it to the real one.
//
// The library is made of this folder's files but tests; it needs cudnn.h and links to the fake
// driver, which makes its calls fail, counts its objects and runs its work (fake.h).
// Tensors are device memory: nothing here touches them but work of the handle's stream.
#pragma once

#include "driver/fake.h"

#pragma GCC visibility push(default)
#include <cudnn.h>

extern "C" {

// How work gets onto a stream: run(data) is called once, later or at once.
typedef void (*fake_cudnn_queue)(cudaStream_t stream, void (*run)(void* data), void* data);

// Takes the place of the fake driver's queue, and tensors may lie anywhere; null: the
// driver's again. For tests of this library alone.
void fake_cudnn_set_queue(fake_cudnn_queue queue);

// While on, handles are not looked at and calls that pass the host's checks return
// CUDNN_STATUS_EXECUTION_FAILED_CUDART, as the real library's do without a driver.
void fake_cudnn_set_checks_only(int on);

// The first broken rule that only the device could see, such as a reserve space used
// twice, or an empty string; and forgets it. Over the fake driver it ends the process.
const char* fake_cudnn_complaint(void);

// What cudnnSetRNNDescriptor_v8 was told counts as a call, too: fake_cuda_calls("algo 0 type 0
// precision 0 math 3") is how often these were, by the values of their enumerators.
}
#pragma GCC visibility pop

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

struct cudnnTensorStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  std::vector<int> dims, strides;  // empty: not set
};

struct cudnnDropoutStruct {
  float dropout = 0;
};

struct cudnnRNNStruct {
  bool set = false;
  cudnnRNNAlgo_t algo;
  cudnnRNNMode_t cell;
  cudnnRNNBiasMode_t bias;
  cudnnDirectionMode_t direction;
  cudnnRNNInputMode_t input_mode;
  cudnnDataType_t type;
  int I, H, P, L;  // P = H: no projection
  bool dropout, clip, padded_io;
  bool asks_device;  // what it can do depends on the device, which the checks look at
  bool tf32;         // products of float32 may be TF32's

  int D() const { return direction == CUDNN_BIDIRECTIONAL ? 2 : 1; }
  int gates() const { return cell == CUDNN_LSTM ? 4 : cell == CUDNN_GRU ? 3 : 1; }
  int input(int layer) const { return layer == 0 ? I : D() * P; }
};

struct cudnnRNNDataStruct {
  bool set = false;
  cudnnDataType_t type;
  cudnnRNNDataLayout_t layout;
  int T, B, V;
  std::vector<int> lengths;   // [B]
  std::vector<uint8_t> fill;  // one element of the type; empty: padding is undefined

  // Index of the first element of a step of a row; packed data has no padding to index.
  size_t at(int t, int b) const;
  size_t elements() const;
};

namespace fake_cudnn {

// Returns the status and remembers the reason for cudnnGetLastErrorString.
cudnnStatus_t refuse(cudnnStatus_t status, const char* reason);

#define FAKE_CUDNN_REFUSE(status, condition)                        \
  do {                                                              \
    if (condition) return ::fake_cudnn::refuse(status, #condition); \
  } while (0)
#define FAKE_CUDNN_BAD(condition) FAKE_CUDNN_REFUSE(CUDNN_STATUS_BAD_PARAM, condition)
#define FAKE_CUDNN_UNSUPPORTED(condition) FAKE_CUDNN_REFUSE(CUDNN_STATUS_NOT_SUPPORTED, condition)

// First in every function that returns a status: the failure that a test asks for.
#define FAKE_CUDNN_ENTER()                                                                  \
  do {                                                                                      \
    const int status = fake_cuda_call(__func__);                                            \
    if (status)                                                                             \
      return ::fake_cudnn::refuse(static_cast<cudnnStatus_t>(status), "as the test wants"); \
  } while (0)

bool checks_only();
bool over_driver();  // no test has set a queue of its own
void complain(const char* what);

// Puts work on the handle's stream.
cudnnStatus_t enqueue(cudnnHandle_t handle, const char* name, std::function<void()> work);

size_t size_of(cudnnDataType_t type);
bool is_rnn_type(cudnnDataType_t type);

// One matrix or bias in a weight space, in elements; rows = 0: there is none.
struct Part {
  size_t offset = 0;
  int rows = 0, cols = 0;
};

// Where the weights of an RNN lie: for each pseudo-layer the matrices of the input's gates,
// of the recurrent gates and of the projection; then all biases in the same order.
struct WeightLayout {
  explicit WeightLayout(const cudnnRNNStruct& rnn);

  // [pseudo-layer][linLayerID]; the last is the projection, which may be none.
  std::vector<std::vector<Part>> matrices, biases;
  size_t elements = 0;
};

struct TempSizes {
  size_t workspace, reserve;
};
TempSizes temp_sizes(const cudnnRNNStruct& rnn, cudnnForwardMode_t mode,
                     const cudnnRNNDataStruct& data);

// Arguments that the three passes share; what a pass does not have is null.
enum class PassKind { forward, backward_data, backward_weights };
struct Call {
  PassKind pass;
  cudnnHandle_t handle;
  cudnnRNNDescriptor_t rnn;
  cudnnRNNDataDescriptor_t x_desc, y_desc;
  cudnnTensorDescriptor_t h_desc, c_desc;
  bool needs_h, needs_c;  // the descriptor must be there
  size_t weight_bytes;
  const void* weights;
  size_t workspace_bytes;
  const void* workspace;
  cudnnForwardMode_t mode;
  size_t reserve_bytes;
  const void* reserve;
};
cudnnStatus_t check(const Call& call);

}  // namespace fake_cudnn
