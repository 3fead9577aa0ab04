// cuDNN's descriptors of a run of layers: the layers, their rows and their states.
#include <vector>

#include "cuda/recurrent/plan.h"

namespace bptt::cuda {

namespace {

// What cells.h says is cuDNN's own.
static_assert(facts_of(BPTT_RNN_TANH).cudnn == CUDNN_RNN_TANH);
static_assert(facts_of(BPTT_RNN_RELU).cudnn == CUDNN_RNN_RELU);
static_assert(facts_of(BPTT_LSTM).cudnn == CUDNN_LSTM);
static_assert(facts_of(BPTT_GRU).cudnn == CUDNN_GRU);

cudnnRNNMode_t mode_of(bptt_cell cell) { return static_cast<cudnnRNNMode_t>(facts_of(cell).cudnn); }

bptt_code describe_states(bptt_context* context, const CudaPlan& plan, const Run& run,
                          int64_t columns, cudnnTensorDescriptor_t* out) {
  const Cudnn& cudnn = plan.cudnn;
  bptt_code code = check(context, cudnn.cudnnCreateTensorDescriptor(out), "recurrent plan");
  if (code != BPTT_OK) return code;
  const int sizes[] = {static_cast<int>(run.layers * plan.desc.D),
                       static_cast<int>(plan.active_rows), static_cast<int>(columns)};
  const int strides[] = {sizes[1] * sizes[2], sizes[2], 1};
  return check(context, cudnn.cudnnSetTensorNdDescriptor(*out, plan.type, 3, sizes, strides),
               "recurrent plan: states");
}

bptt_code describe_rows(bptt_context* context, const CudaPlan& plan, int64_t columns,
                        const std::vector<int>& lengths, cudnnRNNDataDescriptor_t* out) {
  const Cudnn& cudnn = plan.cudnn;
  bptt_code code = check(context, cudnn.cudnnCreateRNNDataDescriptor(out), "recurrent plan");
  if (code != BPTT_OK) return code;
  // Rows of one length lie the same either way; PyTorch gives them to persistent kernels so.
  const cudnnRNNDataLayout_t layout =
      plan.full ? CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED : CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED;
  return check(
      context,
      cudnn.cudnnSetRNNDataDescriptor(*out, plan.type, layout, static_cast<int>(plan.steps),
                                      static_cast<int>(plan.active_rows), static_cast<int>(columns),
                                      lengths.data(), nullptr),
      "recurrent plan: rows");
}

}  // namespace

bptt_code describe(bptt_context* context, const CudaPlan& plan, Run& run,
                   const std::vector<int>& lengths) {
  const bptt_recurrent& desc = plan.desc;
  const Cudnn& cudnn = plan.cudnn;
  const auto size = [](int64_t n) { return static_cast<int32_t>(n); };
  bptt_code code = check(context, cudnn.cudnnCreateRNNDescriptor(&run.rnn), "recurrent plan");
  if (code != BPTT_OK) return code;
  // A projection as large as the hidden state means none. No dropout descriptor: dropout is a
  // kernel of ours.
  code = check(context,
               cudnn.cudnnSetRNNDescriptor_v8(
                   run.rnn, algorithm_of(plan, run, device_of(context)), mode_of(desc.cell),
                   desc.bias ? CUDNN_RNN_DOUBLE_BIAS : CUDNN_RNN_NO_BIAS,
                   desc.D == 2 ? CUDNN_BIDIRECTIONAL : CUDNN_UNIDIRECTIONAL, CUDNN_LINEAR_INPUT,
                   plan.type, precision_of(plan.type), math_of(plan), size(run.input), size(desc.H),
                   size(plan.Hout), size(run.layers), nullptr, 0),
               "recurrent plan");
  if (code != BPTT_OK) return code;
  if ((code = describe_rows(context, plan, run.input, lengths, &run.x)) != BPTT_OK ||
      (code = describe_rows(context, plan, plan.width, lengths, &run.y)) != BPTT_OK ||
      (code = describe_states(context, plan, run, plan.Hout, &run.h)) != BPTT_OK ||
      (code = describe_states(context, plan, run, desc.H, &run.c)) != BPTT_OK) {
    return code;
  }
  cudnnHandle_t handle = device_of(context).plan_handle;
  code = check(context, cudnn.cudnnGetRNNWeightSpaceSize(handle, run.rnn, &run.weight_bytes),
               "recurrent plan: weights");
  if (code != BPTT_OK) return code;
  code =
      check(context,
            cudnn.cudnnGetRNNTempSpaceSizes(
                handle, run.rnn, desc.training ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE,
                run.x, &run.work_bytes, &run.reserve_bytes),
            "recurrent plan: workspace");
  return code == BPTT_OK ? place_weights(context, plan, run) : code;
}

CudaPlan::~CudaPlan() {
  for (const Run& run : runs) {
    if (run.rnn) cudnn.cudnnDestroyRNNDescriptor(run.rnn);
    if (run.x) cudnn.cudnnDestroyRNNDataDescriptor(run.x);
    if (run.y) cudnn.cudnnDestroyRNNDataDescriptor(run.y);
    if (run.h) cudnn.cudnnDestroyTensorDescriptor(run.h);
    if (run.c) cudnn.cudnnDestroyTensorDescriptor(run.c);
  }
}

}  // namespace bptt::cuda
