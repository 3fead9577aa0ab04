#include "cuda/recurrent_plan.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <new>

#include "shared/recurrent_description.h"
#include "shared/slices.h"

namespace bptt::cuda {

namespace {

constexpr int64_t kAlignment = 256;

// cuDNN's sizes are 32 bits wide.
bool too_large(const bptt_recurrent& desc) {
  const int64_t most = std::numeric_limits<int32_t>::max();
  for (int64_t size : {desc.T, desc.B, desc.I, desc.H, desc.P, desc.L}) {
    if (size > most) return true;
  }
  return static_cast<double>(desc.T) * static_cast<double>(desc.B) > static_cast<double>(most) ||
         desc.D * desc.H > most || desc.L > (1 << 20);
}

cudnnRNNMode_t mode_of(bptt_cell cell) {
  switch (cell) {
    case BPTT_RNN_TANH:
      return CUDNN_RNN_TANH;
    case BPTT_RNN_RELU:
      return CUDNN_RNN_RELU;
    case BPTT_LSTM:
      return CUDNN_LSTM;
    default:
      return CUDNN_GRU;
  }
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

// What the device or its cuDNN cannot compute in. bfloat16 is in cuDNN's recurrent layers since
// 9.13 (https://github.com/pytorch/pytorch/pull/164411); it and TF32 are in devices since
// capability 8.0 (CUDA C++ Programming Guide, "Compute Capabilities").
bptt_code check_compute(bptt_context* context, const bptt_recurrent& desc) {
  constexpr const char* kNames[] = {"", "tf32", "float16", "bfloat16"};
  constexpr int kCapability = 80;
  constexpr size_t kVersion = 91300;
  const CudaDevice& device = device_of(context);
  const auto refuse = [&](const char* format, auto... values) {
    std::snprintf(context->message, sizeof(context->message), format, kNames[desc.compute],
                  values...);
    return BPTT_UNSUPPORTED;
  };
  if (desc.compute == BPTT_COMPUTE_DTYPE) return BPTT_OK;
  if (desc.cell == BPTT_GRU_RESET_BEFORE) {
    return refuse("recurrent plan: compute '%s' is cuDNN's, which has no GRU that resets before");
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

// Fills the maps between the caller's rows and the packed ones.
void map_rows(CudaPlan& plan) {
  const int64_t T = plan.desc.T, B = plan.desc.B;
  std::vector<int32_t>& index = plan.index;
  const auto map = [&](size_t& begin, int64_t size) {
    begin = index.size();
    index.resize(begin + size, -1);
  };
  const auto row = [](int64_t i) { return static_cast<int32_t>(i); };
  const bool drops = plan.desc.dropout > 0 && plan.desc.L > 1;
  map(plan.packed_from_user, plan.in_order ? 0 : plan.rows);
  map(plan.user_from_packed, plan.in_order ? 0 : T * B);
  map(plan.unsorted, plan.in_order || !drops ? 0 : plan.rows);
  map(plan.sorted_from_user, plan.states_in_order ? 0 : plan.active_rows);
  map(plan.user_from_sorted, plan.states_in_order ? 0 : B);
  if (!plan.in_order) {
    for (int64_t t = 0; t < plan.steps; ++t) {
      for (int64_t r = 0; r < plan.active(t); ++r) {
        const int64_t b = plan.order[r], packed = plan.offset[t] + r;
        const int64_t user = plan.desc.batch_first ? b * T + t : t * B + b;
        index[plan.packed_from_user + packed] = row(user);
        index[plan.user_from_packed + user] = row(packed);
        if (drops) index[plan.unsorted + packed] = row(t * B + b);
      }
    }
  }
  if (!plan.states_in_order) {
    for (int64_t r = 0; r < plan.active_rows; ++r) {
      index[plan.sorted_from_user + r] = row(plan.order[r]);
      index[plan.user_from_sorted + plan.order[r]] = row(r);
    }
  }
}

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

// Where cuDNN wants a weight or bias of a pseudo-layer. Nothing is added where it has none.
bptt_code place_weight(bptt_context* context, const CudaPlan& plan, Run& run, int64_t pseudo,
                       int id, int64_t from, void* bptt_recurrent_params::* weight,
                       void* bptt_recurrent_params::* bias, int64_t gate) {
  const Cudnn& cudnn = plan.cudnn;
  struct Description {
    const Cudnn& cudnn;
    cudnnTensorDescriptor_t tensor = nullptr;
    ~Description() {
      if (tensor) cudnn.cudnnDestroyTensorDescriptor(tensor);
    }
  } weights{cudnn}, biases{cudnn};
  for (Description* one : {&weights, &biases}) {
    const bptt_code code =
        check(context, cudnn.cudnnCreateTensorDescriptor(&one->tensor), "recurrent plan");
    if (code != BPTT_OK) return code;
  }
  // Addresses are offsets from a base that is never read. It is not null, which says "none".
  char* const base = reinterpret_cast<char*>(static_cast<uintptr_t>(kAlignment));
  void *weight_at = nullptr, *bias_at = nullptr;
  bptt_code code =
      check(context,
            cudnn.cudnnGetRNNWeightParams(device_of(context).plan_handle, run.rnn,
                                          static_cast<int>(pseudo), run.weight_bytes, base, id,
                                          weights.tensor, &weight_at, biases.tensor, &bias_at),
            "recurrent plan: weights");
  const auto add = [&](const Description& one, void* at, void* bptt_recurrent_params::* which,
                       int64_t begin) {
    if (code != BPTT_OK || !at || !which) return;
    cudnnDataType_t type;
    int rank, sizes[3], strides[3];
    code = check(context,
                 cudnn.cudnnGetTensorNdDescriptor(one.tensor, 3, &type, &rank, sizes, strides),
                 "recurrent plan: weights");
    if (code != BPTT_OK) return;
    const int64_t size = int64_t{sizes[0]} * sizes[1] * sizes[2];
    const auto offset = static_cast<size_t>(static_cast<char*>(at) - base);
    std::vector<WeightPlace>& places = run.places;
    const int64_t index = run.first * plan.desc.D + pseudo;
    // Gates that lie one after another on both sides are one piece.
    if (!places.empty()) {
      WeightPlace& last = places.back();
      if (last.index == index && last.which == which && last.from + last.size == begin &&
          last.offset + static_cast<size_t>(last.size * plan.element) == offset) {
        last.size += size;
        return;
      }
    }
    places.push_back({index, which, begin, offset, size});
  };
  add(weights, weight_at, weight, from);
  add(biases, bias_at, bias, gate * plan.desc.H);
  return code;
}

bptt_code place_weights(bptt_context* context, const CudaPlan& plan, Run& run) {
  using Params = bptt_recurrent_params;
  const int gates = static_cast<int>(plan.gates);
  const int64_t D = plan.desc.D, H = plan.desc.H;
  for (int64_t pseudo = 0; pseudo < run.layers * D; ++pseudo) {
    const int64_t input = plan.input(run.first + pseudo / D);
    // Weights first, then biases, so that neighbours meet.
    for (const bool biases : {false, true}) {
      for (int id = 0; id < 2 * gates; ++id) {
        const bool recurrent = id >= gates;
        const int64_t gate = id % gates;
        const auto weight = recurrent ? &Params::weight_hh : &Params::weight_ih;
        const auto bias = recurrent ? &Params::bias_hh : &Params::bias_ih;
        const bptt_code code =
            place_weight(context, plan, run, pseudo, id, gate * H * (recurrent ? plan.Hout : input),
                         biases ? nullptr : weight, biases ? bias : nullptr, gate);
        if (code != BPTT_OK) return code;
      }
    }
    if (plan.desc.P > 0) {
      const bptt_code code =
          place_weight(context, plan, run, pseudo, 2 * gates, 0, &Params::weight_hr, nullptr, 0);
      if (code != BPTT_OK) return code;
    }
  }
  return BPTT_OK;
}

bptt_code describe(bptt_context* context, const CudaPlan& plan, Run& run,
                   const std::vector<int>& lengths) {
  const bptt_recurrent& desc = plan.desc;
  const Cudnn& cudnn = plan.cudnn;
  const auto size = [](int64_t n) { return static_cast<int32_t>(n); };
  bptt_code code = check(context, cudnn.cudnnCreateRNNDescriptor(&run.rnn), "recurrent plan");
  if (code != BPTT_OK) return code;
  // A projection as large as the hidden state means none. No dropout descriptor: it is ours.
  code = check(context,
               cudnn.cudnnSetRNNDescriptor_v8(
                   run.rnn, algorithm_of(plan, run, device_of(context)), mode_of(desc.cell),
                   desc.bias ? CUDNN_RNN_DOUBLE_BIAS : CUDNN_RNN_NO_BIAS,
                   desc.D == 2 ? CUDNN_BIDIRECTIONAL : CUDNN_UNIDIRECTIONAL, CUDNN_LINEAR_INPUT,
                   plan.type, precision_of(plan.type), math_of(plan), size(run.input), size(desc.H),
                   size(desc.P > 0 ? desc.P : desc.H), size(run.layers), nullptr, 0),
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

// Sets the sizes; false when one of them overflows.
bool lay_out(CudaPlan& plan) {
  const bptt_recurrent& desc = plan.desc;
  const int64_t rows = plan.rows, active = plan.active_rows;
  Slices packed(1, kAlignment), reserve(plan.element, kAlignment);
  packed.take_bytes(kPackedHeader);
  int64_t work = 0, weights = 0;
  for (Run& run : plan.runs) {
    weights += static_cast<int64_t>(run.weight_bytes);
    run.weights = packed.take_bytes(static_cast<int64_t>(run.weight_bytes));
    if (desc.training) {
      run.reserve = reserve.take_bytes(static_cast<int64_t>(run.reserve_bytes));
      if (plan.followed(run)) run.saved_y = reserve.take({rows, plan.width});
    }
    work = std::max(work, static_cast<int64_t>(run.work_bytes));
  }
  const bool moves = !plan.in_place(), sorts = !plan.states_in_place();
  const bool several = plan.runs.size() > 1, drops = several && desc.dropout > 0;
  const auto lay = [&](Workspace& w, bool backward) {
    Slices s(plan.element, kAlignment);
    w.index = s.take_bytes(static_cast<int64_t>(plan.index.size() * sizeof(int32_t)));
    w.weights = s.take_bytes(packed.bytes());
    w.dweights = s.take_bytes(backward ? packed.bytes() : 0);
    w.x = s.take({moves ? rows : 0, desc.I});
    w.y = s.take({moves ? rows : 0, plan.width});
    // cuDNN wants dx even where the caller does not.
    w.dx = s.take({backward ? rows : 0, desc.I});
    w.dy[0] = s.take({backward ? rows : 0, plan.width});
    w.dy[1] = s.take({backward && several ? rows : 0, plan.width});
    for (size_t& y : w.inner) {
      y = s.take({several && !backward && !desc.training ? rows : 0, plan.width});
    }
    w.dropped = s.take({drops ? rows : 0, plan.width});
    for (int i = 0; i < 4; ++i) {
      const int64_t states = sorts && (i < 2 || backward) ? plan.states() : 0;
      w.h[i] = s.take({states, active, plan.Hout});
      w.c[i] = s.take({plan.has_cell() ? states : 0, active, desc.H});
    }
    w.runs = s.take_bytes(work);
    (backward ? plan.sizes.backward_workspace_bytes : plan.sizes.forward_workspace_bytes) =
        static_cast<size_t>(s.bytes());
    return !s.overflow();
  };
  bool fits = lay(plan.forward, false);
  if (desc.training) fits = lay(plan.backward, true) && fits;
  // The same for one run and for one per layer: a layer keeps one buffer for both.
  weights = (weights + kAlignment - 1) / kAlignment * kAlignment;
  plan.sizes.packed_bytes = kPackedHeader + static_cast<size_t>(weights + desc.L * kAlignment);
  plan.sizes.reserve_bytes = static_cast<size_t>(reserve.bytes());
  return fits && !packed.overflow() && !reserve.overflow();
}

bptt_code make_plan(bptt_context* context, const bptt_recurrent& desc, CudaPlan& plan) {
  plan.desc = desc;
  plan.gates = gates_of(desc.cell);
  plan.Hout = desc.P > 0 ? desc.P : desc.H;
  plan.width = desc.D * plan.Hout;
  static_cast<PackedSequence&>(plan) = PackedSequence(desc.T, desc.B, desc.lengths);
  plan.desc.lengths = nullptr;
  plan.active_rows = plan.steps > 0 ? plan.active(0) : 0;
  choose_type(plan);
  plan.in_order = plan.full && (!desc.batch_first || desc.T == 1 || desc.B == 1);
  plan.states_in_order = plan.sorted && plan.active_rows == desc.B;
  map_rows(plan);

  plan.own_cell = desc.cell == BPTT_GRU_RESET_BEFORE;
  const bool layer_by_layer = desc.L > 1 && (plan.own_cell || (desc.training && desc.dropout > 0));
  for (int64_t layer = 0; layer < desc.L; layer += layer_by_layer ? 1 : desc.L) {
    plan.runs.emplace_back(layer, layer_by_layer ? 1 : desc.L, plan.input(layer));
  }
  // Without any step there is nothing for cuDNN to do, and it would refuse.
  if (plan.rows > 0) {
    std::vector<int> lengths(plan.active_rows);
    for (int64_t r = 0; r < plan.active_rows; ++r) lengths[r] = static_cast<int>(plan.length[r]);
    for (Run& run : plan.runs) {
      if (plan.own_cell) {
        size_steps(plan, run);
        continue;
      }
      const bptt_code code = describe(context, plan, run, lengths);
      if (code != BPTT_OK) return code;
    }
  }
  return lay_out(plan) ? BPTT_OK
                       : fail(context, BPTT_OUT_OF_MEMORY, "recurrent plan: the sizes overflow");
}

}  // namespace

CudaPlan::~CudaPlan() {
  for (const Run& run : runs) {
    if (run.rnn) cudnn.cudnnDestroyRNNDescriptor(run.rnn);
    if (run.x) cudnn.cudnnDestroyRNNDataDescriptor(run.x);
    if (run.y) cudnn.cudnnDestroyRNNDataDescriptor(run.y);
    if (run.h) cudnn.cudnnDestroyTensorDescriptor(run.h);
    if (run.c) cudnn.cudnnDestroyTensorDescriptor(run.c);
  }
}

bptt_code recurrent_plan_create(bptt_context* context, const bptt_recurrent* desc,
                                bptt_plan** out) {
  *out = nullptr;
  if (const char* message = mistake_in(*desc)) {
    std::snprintf(context->message, sizeof(context->message), "recurrent plan: %s", message);
    return BPTT_INTERNAL;
  }
  if (too_large(*desc)) {
    return fail(context, BPTT_OUT_OF_MEMORY, "recurrent plan: the sizes overflow");
  }
  const bptt_code refused = check_compute(context, *desc);
  if (refused != BPTT_OK) return refused;
  try {
    if (desc->cell != BPTT_GRU_RESET_BEFORE) {
      const bptt_code code = use_planning(context);
      if (code != BPTT_OK) return code;
    }
    auto plan = std::make_unique<CudaPlan>(device_of(context).cudnn);
    const bptt_code code = make_plan(context, *desc, *plan);
    if (code == BPTT_OK) *out = reinterpret_cast<bptt_plan*>(plan.release());
    return code;
  } catch (const std::bad_alloc&) {
    return fail(context, BPTT_OUT_OF_MEMORY, "recurrent plan: out of memory");
  }
}

void recurrent_plan_destroy(bptt_plan* plan) { delete reinterpret_cast<CudaPlan*>(plan); }

void recurrent_plan_sizes(const bptt_plan* plan, bptt_plan_sizes* sizes) {
  *sizes = reinterpret_cast<const CudaPlan*>(plan)->sizes;
}

}  // namespace bptt::cuda
