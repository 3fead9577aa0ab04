// The fake cuDNN's three passes: checked on the host, computed on the stream.
#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "cudnn/fake_cudnn.h"
#include "cudnn/math.h"
#include "cudnn/number.h"

namespace fake_cudnn {
namespace {

constexpr uint64_t kForwardDone = 0xc0d17701, kDataDone = 0xc0d17702, kConsumed = 0xc0d17703;

// A call's descriptors, which the caller may destroy before the work runs.
struct Snapshot {
  explicit Snapshot(const Call& call)
      : rnn(*call.rnn), x(*call.x_desc), y(*call.y_desc), layout(rnn), shape(shape_of(rnn, x)) {}

  size_t states(int n) const { return size_t(shape.L) * shape.D * shape.B * n; }
  size_t h_bytes() const { return states(shape.P) * size_of(rnn.type); }
  size_t c_bytes() const {
    return rnn.cell == CUDNN_LSTM ? states(shape.H) * size_of(rnn.type) : 0;
  }
  size_t lengths_bytes() const { return shape.lengths.size() * sizeof(int32_t); }
  // Tells reserves of different layers apart.
  uint64_t fingerprint() const {
    uint64_t hash = 14695981039346656037u;
    const auto mix = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
    for (int value : {int(rnn.cell), int(rnn.bias), int(rnn.type), int(x.layout), shape.T, shape.B,
                      shape.I, shape.H, shape.P, shape.L, shape.D}) {
      mix(value);
    }
    for (int length : shape.lengths) mix(length);
    return hash;
  }

  cudnnRNNStruct rnn;
  cudnnRNNDataStruct x, y;
  WeightLayout layout;
  Shape shape;
};

std::vector<double> load_all(cudnnDataType_t type, const void* from, size_t n) {
  std::vector<double> out(from ? n : 0);
  for (size_t i = 0; i < out.size(); ++i) out[i] = load(type, from, i);
  return out;
}

void store_all(cudnnDataType_t type, void* to, const std::vector<double>& values) {
  for (size_t i = 0; to && i < values.size(); ++i) store(type, to, i, values[i]);
}

// [T,B,V]; padding is NaN, whatever lies there.
std::vector<double> load_data(const cudnnRNNDataStruct& desc, const void* from) {
  std::vector<double> out(size_t(desc.T) * desc.B * desc.V, NAN);
  for (int b = 0; b < desc.B; ++b) {
    for (int t = 0; t < desc.lengths[b]; ++t) {
      const size_t at = desc.at(t, b);
      for (int j = 0; j < desc.V; ++j) {
        out[(size_t(t) * desc.B + b) * desc.V + j] = load(desc.type, from, at + j);
      }
    }
  }
  return out;
}

void store_data(const cudnnRNNDataStruct& desc, void* to, const std::vector<double>& values,
                double padding) {
  const bool packed = desc.layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED;
  for (int b = 0; b < desc.B; ++b) {
    for (int t = 0; t < (packed ? desc.lengths[b] : desc.T); ++t) {
      const size_t at = desc.at(t, b);
      for (int j = 0; j < desc.V; ++j) {
        const double value = values[(size_t(t) * desc.B + b) * desc.V + j];
        store(desc.type, to, at + j, t < desc.lengths[b] ? value : padding);
      }
    }
  }
}

double padding_of(const cudnnRNNDataStruct& desc) {
  return desc.fill.empty() ? NAN : load(desc.type, desc.fill.data(), 0);
}

bool broken(bool condition, const char* rule) {
  if (condition) complain(rule);
  return condition;
}

bool wrong_lengths(const Snapshot& at, const int32_t* lengths) {
  return broken(lengths && !std::equal(at.shape.lengths.begin(), at.shape.lengths.end(), lengths),
                "devSeqLengths differs from the lengths of the data descriptors");
}

// The reserve of the pass before, or NaN.
bool take_reserve(const Snapshot& at, const void* space, uint64_t wanted, std::vector<double>& out,
                  const char* rule) {
  out.resize(ReserveLayout(at.shape).elements);
  std::memcpy(out.data(), space, out.size() * sizeof(double));
  const bool right = std::bit_cast<uint64_t>(out[0]) == wanted &&
                     std::bit_cast<uint64_t>(out[1]) == at.fingerprint();
  if (!right) std::fill(out.begin(), out.end(), NAN);
  return !broken(!right, rule);
}

void leave_reserve(const Snapshot& at, void* space, uint64_t stage, std::vector<double>& reserve) {
  reserve[0] = std::bit_cast<double>(stage);
  reserve[1] = std::bit_cast<double>(at.fingerprint());
  std::memcpy(space, reserve.data(), reserve.size() * sizeof(double));
}

void spoil(std::initializer_list<std::vector<double>*> outputs) {
  for (std::vector<double>* out : outputs) std::fill(out->begin(), out->end(), NAN);
}

struct Range {
  const char* name;
  const void* start;
  size_t bytes;
};

// The real library would fail, or worse, when the work runs.
void need_device_memory(std::initializer_list<Range> ranges) {
  if (checks_only() || !over_driver()) return;
  for (const Range& range : ranges) {
    if (range.start && range.bytes > 0 && !fake_cuda_is_device(range.start, range.bytes)) {
      complain((std::string("cuDNN was given a tensor that is not, or not whole, in device "
                            "memory: ") +
                range.name)
                   .c_str());
    }
  }
}

size_t bytes_of(const cudnnRNNDataStruct& data) { return data.elements() * size_of(data.type); }

// What only the fake lacks; the backend uses none of it.
cudnnStatus_t check_computable(const Call& call) {
  const cudnnRNNStruct& rnn = *call.rnn;
  if (checks_only()) return CUDNN_STATUS_SUCCESS;
  FAKE_CUDNN_UNSUPPORTED("the fake has no SKIP_INPUT" && rnn.input_mode == CUDNN_SKIP_INPUT);
  FAKE_CUDNN_UNSUPPORTED("the fake has no clipping" && rnn.clip);
  FAKE_CUDNN_UNSUPPORTED("the fake has no dropout" && rnn.dropout);
  return CUDNN_STATUS_SUCCESS;
}

// Zero lengths pass the host's checks and fail when the pass is started.
cudnnStatus_t check_lengths(const std::vector<int>& lengths, bool any) {
  if (checks_only()) return CUDNN_STATUS_SUCCESS;
  const auto zero = [](int n) { return n == 0; };
  const bool fails = any ? std::any_of(lengths.begin(), lengths.end(), zero)
                         : std::all_of(lengths.begin(), lengths.end(), zero);
  FAKE_CUDNN_REFUSE(CUDNN_STATUS_EXECUTION_FAILED, "a sequence has no steps" && fails);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_all(const Call& call, bool any_zero_fails) {
  cudnnStatus_t status = check(call);
  if (status == CUDNN_STATUS_SUCCESS) status = check_computable(call);
  if (status == CUDNN_STATUS_SUCCESS) status = check_lengths(call.x_desc->lengths, any_zero_fails);
  return status;
}

}  // namespace
}  // namespace fake_cudnn

using namespace fake_cudnn;

cudnnStatus_t cudnnRNNForward(cudnnHandle_t handle, cudnnRNNDescriptor_t rnnDesc,
                              cudnnForwardMode_t fwdMode, const int32_t devSeqLengths[],
                              cudnnRNNDataDescriptor_t xDesc, const void* x,
                              cudnnRNNDataDescriptor_t yDesc, void* y,
                              cudnnTensorDescriptor_t hDesc, const void* hx, void* hy,
                              cudnnTensorDescriptor_t cDesc, const void* cx, void* cy,
                              size_t weightSpaceSize, const void* weightSpace, size_t workSpaceSize,
                              void* workSpace, size_t reserveSpaceSize, void* reserveSpace) {
  FAKE_CUDNN_ENTER();
  const Call call = {PassKind::forward,
                     handle,
                     rnnDesc,
                     xDesc,
                     yDesc,
                     hDesc,
                     cDesc,
                     hx || hy,
                     cx || cy,
                     weightSpaceSize,
                     weightSpace,
                     workSpaceSize,
                     workSpace,
                     fwdMode,
                     reserveSpaceSize,
                     reserveSpace};
  const cudnnStatus_t status = check_all(call, false);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const Snapshot at(call);
  need_device_memory({{"x", x, bytes_of(at.x)},
                      {"y", y, bytes_of(at.y)},
                      {"hx", hx, at.h_bytes()},
                      {"hy", hy, at.h_bytes()},
                      {"cx", cx, at.c_bytes()},
                      {"cy", cy, at.c_bytes()},
                      {"weightSpace", weightSpace, weightSpaceSize},
                      {"workSpace", workSpace, workSpaceSize},
                      {"reserveSpace", reserveSpace, reserveSpaceSize},
                      {"devSeqLengths", devSeqLengths, at.lengths_bytes()}});
  return enqueue(handle, "cudnnRNNForward", [=] {
    if (broken(!x || !y, "x or y is null")) return;
    const cudnnDataType_t type = at.rnn.type;
    const bool lstm = at.rnn.cell == CUDNN_LSTM, training = fwdMode == CUDNN_FWD_MODE_TRAINING;
    const size_t hs = at.states(at.shape.P), cs = at.states(at.shape.H);
    Pass pass(at.shape, at.layout, at.rnn);
    pass.weights = load_all(type, weightSpace, at.layout.elements);
    pass.x = load_data(at.x, x);
    pass.hx = load_all(type, hx, hs);
    pass.cx = load_all(type, lstm ? cx : nullptr, cs);
    pass.y.assign(size_t(at.shape.T) * at.shape.B * at.y.V, NAN);
    pass.hy.resize(hs);
    pass.cy.resize(lstm ? cs : 0);
    pass.reserve.assign(ReserveLayout(at.shape).elements, NAN);
    std::memset(workSpace, 0xff, workSpaceSize);
    forward(pass);
    if (wrong_lengths(at, devSeqLengths)) spoil({&pass.y, &pass.hy, &pass.cy});
    store_data(at.y, y, pass.y, padding_of(at.y));
    store_all(type, hy, pass.hy);
    if (lstm) store_all(type, cy, pass.cy);
    if (training) leave_reserve(at, reserveSpace, kForwardDone, pass.reserve);
  });
}

cudnnStatus_t cudnnRNNBackwardData_v8(cudnnHandle_t handle, cudnnRNNDescriptor_t rnnDesc,
                                      const int32_t devSeqLengths[], cudnnRNNDataDescriptor_t yDesc,
                                      const void* y, const void* dy, cudnnRNNDataDescriptor_t xDesc,
                                      void* dx, cudnnTensorDescriptor_t hDesc, const void* hx,
                                      const void* dhy, void* dhx, cudnnTensorDescriptor_t cDesc,
                                      const void* cx, const void* dcy, void* dcx,
                                      size_t weightSpaceSize, const void* weightSpace,
                                      size_t workSpaceSize, void* workSpace,
                                      size_t reserveSpaceSize, void* reserveSpace) {
  FAKE_CUDNN_ENTER();
  const Call call = {PassKind::backward_data,
                     handle,
                     rnnDesc,
                     xDesc,
                     yDesc,
                     hDesc,
                     cDesc,
                     hx || dhy || dhx,
                     cx || dcy || dcx,
                     weightSpaceSize,
                     weightSpace,
                     workSpaceSize,
                     workSpace,
                     CUDNN_FWD_MODE_TRAINING,
                     reserveSpaceSize,
                     reserveSpace};
  const cudnnStatus_t status = check_all(call, true);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const Snapshot at(call);
  need_device_memory({{"y", y, bytes_of(at.y)},
                      {"dy", dy, bytes_of(at.y)},
                      {"dx", dx, bytes_of(at.x)},
                      {"hx", hx, at.h_bytes()},
                      {"dhy", dhy, at.h_bytes()},
                      {"dhx", dhx, at.h_bytes()},
                      {"cx", cx, at.c_bytes()},
                      {"dcy", dcy, at.c_bytes()},
                      {"dcx", dcx, at.c_bytes()},
                      {"weightSpace", weightSpace, weightSpaceSize},
                      {"workSpace", workSpace, workSpaceSize},
                      {"reserveSpace", reserveSpace, reserveSpaceSize},
                      {"devSeqLengths", devSeqLengths, at.lengths_bytes()}});
  return enqueue(handle, "cudnnRNNBackwardData_v8", [=] {
    if (broken(!y || !dy || !dx, "y, dy or dx is null")) return;
    const cudnnDataType_t type = at.rnn.type;
    const bool lstm = at.rnn.cell == CUDNN_LSTM;
    const size_t hs = at.states(at.shape.P), cs = at.states(at.shape.H);
    Pass pass(at.shape, at.layout, at.rnn);
    pass.weights = load_all(type, weightSpace, at.layout.elements);
    pass.y = load_data(at.y, y);
    pass.dy = load_data(at.y, dy);
    pass.hx = load_all(type, hx, hs);
    pass.dhy = load_all(type, dhy, hs);
    pass.cx = load_all(type, lstm ? cx : nullptr, cs);
    pass.dcy = load_all(type, lstm ? dcy : nullptr, cs);
    pass.dhx.resize(dhx ? hs : 0);
    pass.dcx.resize(lstm && dcx ? cs : 0);
    std::memset(workSpace, 0xff, workSpaceSize);
    const bool right = take_reserve(at, reserveSpace, kForwardDone, pass.reserve,
                                    "backward data needs the reserve of a forward in training, "
                                    "which no backward has used");
    backward_data(pass);
    if (wrong_lengths(at, devSeqLengths) || !right) spoil({&pass.dx, &pass.dhx, &pass.dcx});
    store_data(at.x, dx, pass.dx, NAN);
    store_all(type, dhx, pass.dhx);
    if (lstm) store_all(type, dcx, pass.dcx);
    leave_reserve(at, reserveSpace, right ? kDataDone : kConsumed, pass.reserve);
  });
}

cudnnStatus_t cudnnRNNBackwardWeights_v8(cudnnHandle_t handle, cudnnRNNDescriptor_t rnnDesc,
                                         cudnnWgradMode_t addGrad, const int32_t devSeqLengths[],
                                         cudnnRNNDataDescriptor_t xDesc, const void* x,
                                         cudnnTensorDescriptor_t hDesc, const void* hx,
                                         cudnnRNNDataDescriptor_t yDesc, const void* y,
                                         size_t weightSpaceSize, void* dweightSpace,
                                         size_t workSpaceSize, void* workSpace,
                                         size_t reserveSpaceSize, void* reserveSpace) {
  FAKE_CUDNN_ENTER();
  FAKE_CUDNN_BAD(addGrad != CUDNN_WGRAD_MODE_ADD && addGrad != CUDNN_WGRAD_MODE_SET);
  FAKE_CUDNN_BAD(!xDesc);
  FAKE_CUDNN_UNSUPPORTED(addGrad == CUDNN_WGRAD_MODE_SET);
  const Call call = {PassKind::backward_weights,
                     handle,
                     rnnDesc,
                     xDesc,
                     yDesc,
                     hDesc,
                     nullptr,
                     hx != nullptr,
                     false,
                     weightSpaceSize,
                     dweightSpace,
                     workSpaceSize,
                     workSpace,
                     CUDNN_FWD_MODE_TRAINING,
                     reserveSpaceSize,
                     reserveSpace};
  const cudnnStatus_t status = check_all(call, true);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const Snapshot at(call);
  need_device_memory({{"x", x, bytes_of(at.x)},
                      {"hx", hx, at.h_bytes()},
                      {"y", y, bytes_of(at.y)},
                      {"dweightSpace", dweightSpace, weightSpaceSize},
                      {"workSpace", workSpace, workSpaceSize},
                      {"reserveSpace", reserveSpace, reserveSpaceSize},
                      {"devSeqLengths", devSeqLengths, at.lengths_bytes()}});
  return enqueue(handle, "cudnnRNNBackwardWeights_v8", [=] {
    if (broken(!x || !y, "x or y is null")) return;
    const cudnnDataType_t type = at.rnn.type;
    Pass pass(at.shape, at.layout, at.rnn);
    pass.dweights = load_all(type, dweightSpace, at.layout.elements);
    pass.x = load_data(at.x, x);
    pass.y = load_data(at.y, y);
    pass.hx = load_all(type, hx, at.states(at.shape.P));
    std::memset(workSpace, 0xff, workSpaceSize);
    const bool right = take_reserve(at, reserveSpace, kDataDone, pass.reserve,
                                    "backward weights comes after backward data, once");
    backward_weights(pass);
    if (wrong_lengths(at, devSeqLengths) || !right) spoil({&pass.dweights});
    store_all(type, dweightSpace, pass.dweights);
    std::fill(pass.reserve.begin(), pass.reserve.end(), NAN);
    leave_reserve(at, reserveSpace, kConsumed, pass.reserve);
  });
}
