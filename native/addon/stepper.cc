// Streaming inference: one step at a time on the calling thread, with a snapshot
// of the weights and the state carried from step to step.
#include "addon/stepper.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "addon/recurrent.h"
#include "runtime/float_mode.h"

namespace bptt::addon {

namespace {

constexpr napi_type_tag kStepperTag = {0x1b8e07d2c4934a5e, 0xb6a1d3f05e2c4871};

class Stepper {
 public:
  // `stream` is the CPU's, `owner` that of the weights' device. Both must be idle: the weights
  // are read, and memory of the CPU is used for as long as the stepper lives, without a
  // stream's order.
  Stepper(Stream& stream, Stream& owner, std::shared_ptr<const Plan> plan,
          std::vector<bptt_recurrent_params> weights)
      : plan_(std::move(plan)),
        device_(std::make_shared<Device>(&stream.backend(), 0)),
        context_(device_->context()),
        weights_(std::move(weights)) {
    const size_t element = size_of(plan_->layer.dtype);
    packed_ = stream.allocate(plan_->sizes.packed_bytes);
    workspace_ = stream.allocate(plan_->sizes.forward_workspace_bytes);
    x_ = stream.allocate(plan_->layer.x_count() * element);
    y_ = stream.allocate(plan_->layer.y_count() * element);
    for (int i = 0; i < 2; ++i) {
      h_[i] = stream.allocate(plan_->layer.h_count() * element);
      if (plan_->layer.has_c()) c_[i] = stream.allocate(plan_->layer.c_count() * element);
    }
    // All are there before the first is touched: memory runs out before it is taken.
    for (Storage* storage : {&packed_, &workspace_, &x_, &y_, &h_[0], &h_[1], &c_[0], &c_[1]}) {
      if (*storage) std::memset(storage->data(), 0, storage->bytes());
    }
    for (int64_t layer = 0; layer < plan_->layer.layers(); ++layer) {
      for_each_present(plan_->layer, layer, [&](Parameter which, int64_t elements) {
        void*& pointer = weights_[layer].*which;
        copies_.push_back(stream.allocate(elements * element));
        download(owner, copies_.back().data(), pointer, elements * element);
        pointer = copies_.back().data();
      });
    }
    // Packs the weights now rather than in the user's first step.
    step(x_.data(), x_.bytes(), y_.data(), y_.bytes());
    reset(nullptr, 0);
  }

  const Plan& plan() const { return *plan_; }

  void step(const void* x, size_t x_bytes, void* out, size_t out_bytes) {
    if (x_bytes < x_.bytes() || out_bytes < y_.bytes()) broken("too short an array for a step");
    FlushDenormals mode;
    bptt_recurrent_forward args{};
    args.params = weights_.data();
    args.packed = packed_.data();
    args.stamp = stamp_;
    args.x = x;
    args.h0 = h_[now_].data();
    args.c0 = c_[now_].data();
    args.y = y_.data();
    args.hn = h_[1 - now_].data();
    args.cn = c_[1 - now_].data();
    args.workspace = workspace_.data();
    const bptt_code code = plan_->ops->recurrent_forward(&context_, plan_->plan, &args);
    if (code != BPTT_OK) throw Error(code, std::string("[step] ") + context_.message);
    now_ = 1 - now_;
    std::memmove(out, y_.data(), y_.bytes());
  }

  // Copies h, and c where there is one, out of the state or into it.
  void copy_state(const View& h, const View* c, bool out) {
    if (h.bytes < h_[now_].bytes() || (c != nullptr) != plan_->layer.has_c() ||
        (c && c->bytes < c_[now_].bytes())) {
      broken("arrays that do not fit the state");
    }
    copy(h_[now_], h, out);
    if (c) copy(c_[now_], *c, out);
  }

  // Zeroes the state of `count` rows, or of all with null.
  void reset(const int32_t* rows, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      if (rows && (rows[i] < 0 || rows[i] >= plan_->layer.B)) broken("a row that is not there");
    }
    zero(h_[now_], output_size(plan_->layer), rows, count);
    if (plan_->layer.has_c()) zero(c_[now_], plan_->layer.H, rows, count);
  }

 private:
  static void download(Stream& owner, void* host, const void* device, size_t bytes) {
    bptt_context* context = owner.host_context();
    bptt_code code = owner.backend().download(context, host, device, bytes);
    if (code == BPTT_OK) code = owner.backend().wait(context);
    if (code != BPTT_OK) throw Error(code, std::string("[stream] ") + context->message);
  }

  static void copy(const Storage& state, const View& view, bool out) {
    if (state.bytes() == 0) return;
    if (out) {
      std::memcpy(view.data, state.data(), state.bytes());
    } else {
      std::memcpy(state.data(), view.data, state.bytes());
    }
  }

  // state: [L,B,size]
  void zero(const Storage& state, int64_t size, const int32_t* rows, size_t count) {
    auto* bytes = static_cast<unsigned char*>(state.data());
    if (!rows) {
      std::memset(bytes, 0, state.bytes());
      return;
    }
    const size_t row_bytes = size * size_of(plan_->layer.dtype);
    for (int64_t layer = 0; layer < plan_->layer.layers(); ++layer) {
      for (size_t i = 0; i < count; ++i) {
        std::memset(bytes + (layer * plan_->layer.B + rows[i]) * row_bytes, 0, row_bytes);
      }
    }
  }

  // Differs from every stamp of a layer: this block may later hold a layer's packed weights, and
  // what it held before must not pass for them.
  static uint64_t next_stamp() {
    static std::atomic<uint64_t> stamps{uint64_t{1} << 63};
    return stamps.fetch_add(1, std::memory_order_relaxed);
  }

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<Device> device_;
  bptt_context context_;
  std::vector<bptt_recurrent_params> weights_;
  std::vector<Storage> copies_;  // of the weights
  const uint64_t stamp_ = next_stamp();
  Storage packed_, workspace_, x_, y_;
  Storage h_[2], c_[2];
  int now_ = 0;  // which of the two holds the state
};

}  // namespace

// What an External holds.
struct StepperHandle {
  StepperHandle(napi_env env_, std::shared_ptr<StepperList> list_)
      : env(env_), list(std::move(list_)), place(list->handles_.size()) {
    list->handles_.push_back(this);
  }
  ~StepperHandle() {
    release();
    if (reference) napi_delete_reference(env, reference);
  }
  StepperHandle(const StepperHandle&) = delete;

  void release() {
    stepper.reset();
    if (released) return;
    released = true;
    StepperHandle* last = list->handles_.back();
    list->handles_[place] = last;
    last->place = place;
    list->handles_.pop_back();
  }
  bool forgotten() const {
    napi_value value = nullptr;
    return reference && napi_get_reference_value(env, reference, &value) == napi_ok && !value;
  }

  const napi_env env;
  const std::shared_ptr<StepperList> list;
  size_t place;  // in the list
  bool released = false;
  napi_ref reference = nullptr;  // weak
  std::unique_ptr<Stepper> stepper;
};

void StepperList::sweep(napi_env env) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  // One that goes is replaced by the last, which has been looked at.
  for (size_t i = handles_.size(); i-- > 0;) {
    if (handles_[i]->forgotten()) handles_[i]->release();
  }
  napi_close_handle_scope(env, scope);
  kept_ = handles_.size();
}

namespace {

StepperHandle& read_handle(Call& call) {
  const napi_value handle = call.next();
  napi_valuetype type;
  bool ours = false;
  void* data;
  check(napi_typeof(call.env(), handle, &type));
  if (type == napi_external) {
    check(napi_check_object_type_tag(call.env(), handle, &kStepperTag, &ours));
  }
  if (!ours) broken("not a handle of a stepper");
  check(napi_get_value_external(call.env(), handle, &data));
  return *static_cast<StepperHandle*>(data);
}

Stepper& read_stepper(Call& call) {
  StepperHandle& handle = read_handle(call);
  if (!handle.stepper) throw JsError("ERR_BPTT_DISPOSED", "the stream has been disposed");
  return *handle.stepper;
}

const View& checked(const View& view, const Plan& plan) {
  const int type = plan.layer.dtype == BPTT_FLOAT64 ? napi_float64_array : napi_float32_array;
  if (view.type != type) broken("an array of another type than the layer's");
  return view;
}

napi_value copy_state(Call& call, bool out) {
  Stepper& stepper = read_stepper(call);
  const View h = checked(call.view(), stepper.plan());
  const std::optional<View> c = call.optional_view();
  stepper.copy_state(h, c ? &checked(*c, stepper.plan()) : nullptr, out);
  return nullptr;
}

}  // namespace

napi_value createStepper(Call& call) {
  const Layer layer(call.numbers());
  if (layer.T != 1 || layer.D != 1 || layer.training) {
    broken("a stepper is for one direction, one step and no training");
  }
  std::vector<Operand> operands;
  std::vector<bptt_recurrent_params> weights = Parameters(call).read(call, layer, true, &operands);
  Stream& owner = call.stream();
  Stream& stream = call.environment().stream();
  owner.wait();
  stream.wait();
  for (const Operand& operand : operands) {
    if (const FailurePtr* poison = operand.poison()) throw Error(**poison);
  }
  const std::shared_ptr<StepperList>& steppers = call.environment().steppers();
  steppers->sweep_if_grown(call.env());
  auto plan = call.environment().plans().get(stream, layer);
  auto handle = std::make_unique<StepperHandle>(call.env(), steppers);
  handle->stepper = std::make_unique<Stepper>(stream, owner, std::move(plan), std::move(weights));
  napi_value external;
  check(napi_create_external(
      call.env(), handle.get(),
      [](napi_env, void* data, void*) { delete static_cast<StepperHandle*>(data); }, nullptr,
      &external));
  StepperHandle* given = handle.release();
  check(napi_create_reference(call.env(), external, 0, &given->reference));
  check(napi_type_tag_object(call.env(), external, &kStepperTag));
  call.environment().report_memory();
  return external;
}

napi_value step(Call& call) {
  Stepper& stepper = read_stepper(call);
  const View x = checked(call.view(), stepper.plan());
  const View out = checked(call.view(), stepper.plan());
  stepper.step(x.data, x.bytes, out.data, out.bytes);
  call.environment().keep_house();
  return nullptr;
}

napi_value getStepperState(Call& call) { return copy_state(call, true); }
napi_value setStepperState(Call& call) { return copy_state(call, false); }

napi_value resetStepper(Call& call) {
  Stepper& stepper = read_stepper(call);
  const std::optional<std::vector<int32_t>> rows = call.optional_int32s();
  if (!rows) {
    stepper.reset(nullptr, 0);
  } else if (!rows->empty()) {
    stepper.reset(rows->data(), rows->size());
  }
  return nullptr;
}

napi_value releaseStepper(Call& call) {
  read_handle(call).release();
  call.environment().report_memory();
  return nullptr;
}

}  // namespace bptt::addon
