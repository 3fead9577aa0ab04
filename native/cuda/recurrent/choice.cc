// What cuDNN computes in and how: types, math and the algorithm of a layer, and what a device
// or its cuDNN cannot do.
#include <cstdio>

#include "cuda/recurrent/plan.h"
#include "enums.h"

namespace bptt::cuda {

namespace {

// Whether a layer of float16 pays as one persistent kernel, and is known to work
// (use_persist_common_heuristics and use_persist_device_heuristics in PyTorch's
// aten/src/ATen/native/cudnn/RNN.cpp, for the devices that this backend has code for).
bool persists_in_float16(const CudaPlan& plan, const Run& run, const CudaDevice& device) {
  const bptt_recurrent& desc = plan.desc;
  const int64_t B = plan.active_rows;
  if (run.layers != 1 || desc.D != 1 || desc.H > 1024 || desc.H % 128 || run.input % 128) {
    return false;
  }
  if (device.capability < 80 || device.capability % 10 == 6 || device.multiprocessors < 98) {
    return false;
  }
  if (B % 8 || B > 128 || desc.cell == BPTT_GRU) return false;
  return desc.cell == BPTT_LSTM || B < 96 || desc.H < 896;
}

}  // namespace

// What the device or its cuDNN cannot compute in. bfloat16 is in cuDNN's recurrent layers since
// 9.13 (https://github.com/pytorch/pytorch/pull/164411); it and TF32 are in devices since
// capability 8.0 (CUDA C++ Programming Guide, "Compute Capabilities").
bptt_code check_compute(bptt_context* context, const bptt_recurrent& desc) {
  constexpr int kCapability = 80;
  constexpr size_t kVersion = 91300;
  const CudaDevice& device = device_of(context);
  const auto refuse = [&](const char* format, auto... values) {
    std::snprintf(context->message, sizeof(context->message), format, name_of(desc.compute),
                  values...);
    return BPTT_UNSUPPORTED;
  };
  if (desc.compute == BPTT_COMPUTE_DTYPE) return BPTT_OK;
  if (!cudnn_has(desc.cell)) {
    return refuse("recurrent plan: compute '%s' is cuDNN's, which does not have this cell");
  }
  if (desc.compute != BPTT_COMPUTE_FLOAT16 && device.capability < kCapability) {
    return refuse(
        "recurrent plan: expected a GPU of compute capability 8.0 or later for compute '%s', "
        "got one of %d.%d; make the layer without it",
        device.capability / 10, device.capability % 10);
  }
  if (desc.compute == BPTT_COMPUTE_BFLOAT16 && device.cudnn_version < kVersion) {
    return refuse(
        "recurrent plan: expected cuDNN 9.13 or later for compute '%s', got %zu.%zu; install a "
        "later one, or make the layer with 'float16'",
        device.cudnn_version / 10000, device.cudnn_version / 100 % 100);
  }
  return BPTT_OK;
}

void choose_type(CudaPlan& plan) {
  const auto choose = [&](cudnnDataType_t type, StoredAs stored, int64_t element) {
    plan.type = type, plan.stored = stored, plan.element = element;
  };
  if (plan.desc.compute == BPTT_COMPUTE_FLOAT16) return choose(CUDNN_DATA_HALF, kStoredFloat16, 2);
  if (plan.desc.compute == BPTT_COMPUTE_BFLOAT16) {
    return choose(CUDNN_DATA_BFLOAT16, kStoredBfloat16, 2);
  }
  if (plan.desc.dtype == BPTT_FLOAT64) return choose(CUDNN_DATA_DOUBLE, kStoredAsT, 8);
  choose(CUDNN_DATA_FLOAT, kStoredAsT, 4);
}

// What sums are kept in: 16 bits are for storage alone.
cudnnDataType_t precision_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_DOUBLE ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT;
}

// NVIDIA's manual on cudnnMathType_t and cudnnSetRNNDescriptor_v8: with float32 data, default
// math permits TF32 from capability 8.0 on, FMA math forbids it, and tensor-op math with
// conversion would go through float16; float64 takes default math only. PyTorch's choices for
// float32 and float16 are these, too (aten/src/ATen/cudnn/Descriptors.h).
cudnnMathType_t math_of(const CudaPlan& plan) {
  if (plan.stored != kStoredAsT) return CUDNN_TENSOR_OP_MATH;
  const bool plain = plan.desc.dtype == BPTT_FLOAT32 && plan.desc.compute == BPTT_COMPUTE_DTYPE;
  return plain ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH;
}

// The one rule. The persistent kernels take no projection, no float64, no rows of different
// lengths and no layer without biases, and pay only below these sizes (get_algo in PyTorch's
// aten/src/ATen/native/cudnn/RNN.cpp, for devices of capability 6.0 and later; training is
// bound by its backward). No source says that they take bfloat16.
cudnnRNNAlgo_t algorithm_of(const CudaPlan& plan, const Run& run, const CudaDevice& device) {
  const bptt_recurrent& desc = plan.desc;
  if (desc.P > 0 || plan.type == CUDNN_DATA_DOUBLE || plan.type == CUDNN_DATA_BFLOAT16 ||
      !desc.bias || !plan.full) {
    return CUDNN_RNN_ALGO_STANDARD;
  }
  const bool gated = plan.gates > 1;
  const int64_t most = desc.training ? (gated ? 128 : 256) : (gated ? 192 : 384);
  if (desc.H <= most) return CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H;
  return plan.type == CUDNN_DATA_HALF && persists_in_float16(plan, run, device)
             ? CUDNN_RNN_ALGO_PERSIST_STATIC
             : CUDNN_RNN_ALGO_STANDARD;
}

}  // namespace bptt::cuda
