// Streaming inference: one step at a time on the calling thread, with a snapshot
// of the weights and the state carried from step to step.
#include "addon/stepper.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "addon/recurrent.h"
#include "runtime/float_mode.h"

namespace bptt::addon {

namespace {

constexpr napi_type_tag kStepperTag = {0x1b8e07d2c4934a5e, 0xb6a1d3f05e2c4871};

void run(StepperList& room, const Plan& plan, bptt_recurrent_forward& args) {
  FlushDenormals mode;
  const bptt_code code = plan.ops->recurrent_forward(&room.context(), plan.plan, &args);
  if (code != BPTT_OK) throw Error(code, std::string("[step] ") + room.context().message);
}

// Scratch holds the output, then the workspace of a call whose weights are packed.
size_t workspace_offset(const Plan& plan) {
  constexpr size_t kAlignment = 64;
  const size_t output = plan.layer.y_count() * size_of(plan.layer.dtype);
  return (output + kAlignment - 1) / kAlignment * kAlignment;
}

size_t scratch_bytes(const Plan& plan) {
  return workspace_offset(plan) + plan.sizes.forward_workspace_bytes -
         plan.sizes.forward_packing_bytes;
}

// What panels of weights depend on.
auto format_of(const bptt_recurrent& d) {
  return std::tie(d.cell, d.dtype, d.I, d.H, d.P, d.L, d.bias);
}

// Whose weights, and as of when.
struct WeightsKey {
  bptt_recurrent layer;
  std::vector<Operand> tensors;
  uint64_t stamp;  // changes with every write to any of them

  bool operator==(const WeightsKey& other) const {
    const auto same = [](const Operand& a, const Operand& b) {
      return a.block == b.block && a.generation == b.generation;
    };
    return stamp == other.stamp && format_of(layer) == format_of(other.layer) &&
           std::equal(tensors.begin(), tensors.end(), other.tensors.begin(), other.tensors.end(),
                      same);
  }
};

// The parameters of a layer as steps read them: in panels, and those that no panel holds.
class PackedWeights {
 public:
  // Streams of the CPU and of the parameters, both idle: memory is used outside their order, the
  // CPU's from now on. The room is prepared for the plan.
  PackedWeights(Stream& stream, Stream& owner, StepperList& room, const Plan& plan, WeightsKey key,
                std::vector<bptt_recurrent_params> params)
      : key_(std::move(key)), params_(std::move(params)) {
    const size_t element = size_of(plan.layer.dtype);
    const Parameter unit_weights = unit_weights_of(plan.layer.cell).which;
    packed_ = stream.allocate(plan.sizes.packed_bytes);
    const Storage x = stream.allocate(plan.layer.x_count() * element);
    std::vector<Storage> copies;
    for (int64_t layer = 0; layer < plan.layer.layers(); ++layer) {
      for_each_present(plan.layer, layer, [&](Parameter which, int64_t elements) {
        if (which != unit_weights && &owner == &stream) return;
        std::vector<Storage>& kept = which == unit_weights ? unit_weights_ : copies;
        kept.push_back(stream.allocate(elements * element));
        download(owner, kept.back().data(), params_[layer].*which, elements * element);
        params_[layer].*which = kept.back().data();
      });
    }
    std::memset(packed_.data(), 0, packed_.bytes());
    std::memset(x.data(), 0, x.bytes());
    bptt_recurrent_forward args = arguments(room, plan);
    args.x = x.data();
    run(room, plan, args);  // packs
    for (bptt_recurrent_params& all : params_) {
      bptt_recurrent_params rest{};
      if (unit_weights) rest.*unit_weights = all.*unit_weights;
      all = rest;
    }
  }
  PackedWeights(const PackedWeights&) = delete;

  const WeightsKey& key() const { return key_; }

  // Of a step, but for x and the state.
  bptt_recurrent_forward arguments(const StepperList& room, const Plan& plan) const {
    bptt_recurrent_forward args{};
    args.params = params_.data();
    args.packed = packed_.data();
    args.stamp = 1;
    args.y = room.scratch();
    args.workspace = room.scratch() + workspace_offset(plan);
    return args;
  }

 private:
  static void download(Stream& owner, void* host, const void* device, size_t bytes) {
    bptt_context* context = owner.host_context();
    bptt_code code = owner.backend().download(context, host, device, bytes);
    if (code == BPTT_OK) code = owner.backend().wait(context);
    if (code != BPTT_OK) throw Error(code, std::string("[stream] ") + context->message);
  }

  const WeightsKey key_;
  std::vector<bptt_recurrent_params> params_;  // pointers into unit_weights_
  Storage packed_;
  std::vector<Storage> unit_weights_;
};

}  // namespace

// What steppers of one layer read; updated for all of them at once.
struct SharedWeights {
  std::shared_ptr<const PackedWeights> packed;
};

namespace {

// Steps that one call of a kernel takes: as many as possible of the largest first.
constexpr std::array<int64_t, 3> kBlocks = {64, 8, 1};
constexpr size_t kOneStep = kBlocks.size() - 1;

class Stepper {
 public:
  // The CPU's stream, idle: its memory is used outside its order from now on. The room is prepared
  // for the plan.
  Stepper(Stream& stream, std::shared_ptr<StepperList> room, std::shared_ptr<const Plan> plan,
          std::shared_ptr<SharedWeights> weights)
      : room_(std::move(room)), weights_(std::move(weights)) {
    plans_[kOneStep] = std::move(plan);
    const size_t element = size_of(layer().dtype);
    h_ = stream.allocate(layer().h_count() * element);
    if (layer().has_c()) c_ = stream.allocate(layer().c_count() * element);
    reset(nullptr, 0);
  }

  // Of one step.
  const Layer& layer() const { return plans_[kOneStep]->layer; }
  const std::shared_ptr<SharedWeights>& weights() const { return weights_; }
  size_t bytes() const { return h_.bytes() + c_.bytes(); }

  // x: [steps,B,I], out: [steps,B,Hout]
  void step(Call& call, int64_t steps, const View& x, const View& out) {
    const size_t element = size_of(layer().dtype);
    const size_t x_bytes = layer().x_count() * element, y_bytes = layer().y_count() * element;
    const auto fits = [steps](const View& view, size_t bytes) {
      return bytes == 0 || static_cast<size_t>(steps) <= view.bytes / bytes;
    };
    if (!fits(x, x_bytes) || !fits(out, y_bytes)) broken("too short an array for the steps");
    if (y_bytes == 0) return;  // no rows: any number of steps fits
    // Where memory runs out, it does so before the state changes.
    int64_t rest = steps;
    for (size_t block = 0; block < kBlocks.size(); ++block) {
      if (rest >= kBlocks[block]) plan_of(call, block);
      rest %= kBlocks[block];
    }
    const char* from = static_cast<const char*>(x.data);
    char* to = static_cast<char*>(out.data);
    for (size_t block = 0; block < kBlocks.size(); ++block) {
      const int64_t n = kBlocks[block];
      for (; steps >= n; steps -= n) {
        const Plan& plan = plan_of(call, block);
        bptt_recurrent_forward args = weights_->packed->arguments(*room_, plan);
        args.x = from;
        args.h0 = args.hn = h_.data();
        args.c0 = args.cn = c_.data();
        run(*room_, plan, args);
        std::memmove(to, args.y, n * y_bytes);
        from += n * x_bytes;
        to += n * y_bytes;
      }
    }
  }

  // Copies h, and c where there is one, out of the state or into it.
  void copy_state(const View& h, const View* c, bool out) {
    if (h.bytes < h_.bytes() || (c != nullptr) != layer().has_c() || (c && c->bytes < c_.bytes())) {
      broken("arrays that do not fit the state");
    }
    copy(h_, h, out);
    if (c) copy(c_, *c, out);
  }

  // Zeroes the state of `count` rows, or of all with null.
  void reset(const int32_t* rows, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      if (rows && (rows[i] < 0 || rows[i] >= layer().B)) broken("a row that is not there");
    }
    zero(h_, output_size(layer()), rows, count);
    if (layer().has_c()) zero(c_, layer().H, rows, count);
  }

 private:
  const Plan& plan_of(Call& call, size_t block) {
    if (!plans_[block]) {
      Layer of_block = layer();
      of_block.T = kBlocks[block];
      Stream& stream = call.environment().stream();
      auto plan = call.environment().plans().get(stream, of_block);
      stream.wait();  // the room uses memory outside its order
      room_->prepare(stream, scratch_bytes(*plan));
      plans_[block] = std::move(plan);
    }
    return *plans_[block];
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
    const size_t row_bytes = size * size_of(layer().dtype);
    for (int64_t index = 0; index < layer().layers(); ++index) {
      for (size_t i = 0; i < count; ++i) {
        std::memset(bytes + (index * layer().B + rows[i]) * row_bytes, 0, row_bytes);
      }
    }
  }

  const std::shared_ptr<StepperList> room_;
  std::array<std::shared_ptr<const Plan>, kBlocks.size()> plans_;  // of kBlocks; made when needed
  const std::shared_ptr<SharedWeights> weights_;
  Storage h_, c_;  // [L,B,Hout] and [L,B,H]; a step writes the new state over the old
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
    if (list->handles_.empty()) list->scratch_.release();
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

std::vector<std::shared_ptr<SharedWeights>> StepperList::weights() {
  std::vector<std::shared_ptr<SharedWeights>> live;
  for (const std::weak_ptr<SharedWeights>& one : weights_) {
    if (auto shared = one.lock()) live.push_back(std::move(shared));
  }
  weights_.assign(live.begin(), live.end());
  return live;
}

void StepperList::add(const std::shared_ptr<SharedWeights>& weights) {
  weights_.push_back(weights);
}

void StepperList::prepare(Stream& stream, size_t scratch_bytes) {
  if (!device_) {
    device_ = std::make_shared<Device>(&stream.backend(), 0);
    context_ = device_->context();
  }
  if (scratch_.bytes() < scratch_bytes) scratch_ = stream.allocate(scratch_bytes);
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

const View& checked(const View& view, const Layer& layer) {
  const int type = layer.dtype == BPTT_FLOAT64 ? napi_float64_array : napi_float32_array;
  if (view.type != type) broken("an array of another type than the layer's");
  return view;
}

napi_value copy_state(Call& call, bool out) {
  Stepper& stepper = read_stepper(call);
  const View h = checked(call.view(), stepper.layer());
  const std::optional<View> c = call.optional_view();
  stepper.copy_state(h, c ? &checked(*c, stepper.layer()) : nullptr, out);
  return nullptr;
}

// What the arguments `desc, parameters, stamp` say of weights.
struct WeightsCall {
  explicit WeightsCall(Call& call) : layer(call.numbers()), list(call), stamp(call.count()) {
    if (layer.T != 1 || layer.D != 1 || layer.training) {
      broken("a stepper is for one direction, one step and no training");
    }
    params = list.read(call, layer, true, &operands);
  }

  // Those that are packed already, or packed now, with room for the plan.
  std::shared_ptr<const PackedWeights> packed(Call& call, const Plan& plan) {
    StepperList& room = *call.environment().steppers();
    Stream& stream = call.environment().stream();
    stream.wait();
    room.prepare(stream, scratch_bytes(plan));
    WeightsKey key = {layer, operands, static_cast<uint64_t>(stamp)};
    for (const std::shared_ptr<SharedWeights>& shared : room.weights()) {
      if (shared->packed->key() == key) return shared->packed;
    }
    Stream& owner = call.stream();
    owner.wait();
    for (const Operand& operand : operands) {
      if (const FailurePtr* poison = operand.poison()) throw Error(**poison);
    }
    return std::make_shared<const PackedWeights>(stream, owner, room, plan, std::move(key),
                                                 std::move(params));
  }

  const Layer layer;
  Parameters list;
  int64_t stamp;
  std::vector<Operand> operands;
  std::vector<bptt_recurrent_params> params;
};

// The steppers of a layer whose weights have not changed share them.
std::shared_ptr<SharedWeights> share(StepperList& room,
                                     std::shared_ptr<const PackedWeights> packed) {
  for (const std::shared_ptr<SharedWeights>& shared : room.weights()) {
    if (shared->packed == packed) return shared;
  }
  auto shared = std::make_shared<SharedWeights>(SharedWeights{std::move(packed)});
  room.add(shared);
  return shared;
}

}  // namespace

napi_value createStepper(Call& call) {
  WeightsCall weights_call(call);
  Environment& environment = call.environment();
  const std::shared_ptr<StepperList>& room = environment.steppers();
  room->sweep_if_grown(call.env());
  auto handle = std::make_unique<StepperHandle>(call.env(), room);  // keeps the scratch
  Stream& stream = environment.stream();
  auto plan = environment.plans().get(stream, weights_call.layer);
  auto weights = share(*room, weights_call.packed(call, *plan));
  handle->stepper = std::make_unique<Stepper>(stream, room, std::move(plan), std::move(weights));
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
  const int64_t steps = call.count();
  const View x = checked(call.view(), stepper.layer());
  const View out = checked(call.view(), stepper.layer());
  stepper.step(call, steps, x, out);
  call.environment().keep_house();
  return nullptr;
}

napi_value updateSteppers(Call& call) {
  Stepper& stepper = read_stepper(call);
  const std::shared_ptr<SharedWeights> shared = stepper.weights();
  WeightsCall given(call);
  if (format_of(shared->packed->key().layer) != format_of(given.layer)) {
    broken("weights of another layer");
  }
  auto plan = call.environment().plans().get(call.environment().stream(), given.layer);
  auto packed = given.packed(call, *plan);
  shared->packed = std::move(packed);
  call.environment().report_memory();
  return nullptr;
}

napi_value stepperBytes(Call& call) {
  napi_value value;
  check(napi_create_double(call.env(), static_cast<double>(read_stepper(call).bytes()), &value));
  return value;
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
