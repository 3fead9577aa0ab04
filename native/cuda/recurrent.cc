// Recurrent layers by cuDNN: rows into a packed sequence, weights into its weight space,
// its calls, and everything back.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/recurrent_plan.h"
#include "runtime/philox.h"

namespace bptt::cuda {

namespace {

// One call, forward or backward: the plan with the buffers it was given.
struct Pass {
  bptt_context* context;
  const CudaPlan& plan;
  const Workspace& work;
  char* workspace;
  char* reserve;
  char* packed;  // header and weight spaces
  bptt_code code = BPTT_OK;

  const CudaDevice& device() const { return device_of(context); }
  bptt_dtype dtype() const { return plan.desc.dtype; }
  int64_t scalar() const { return dtype() == BPTT_FLOAT64 ? 8 : 4; }
  void* at(size_t offset) const { return workspace + offset; }
  const int32_t* map(size_t begin) const {
    return reinterpret_cast<const int32_t*>(workspace + work.index) + begin;
  }
  char* weights(const Run& run) const { return packed + run.weights; }
  void* offset(const void* base, int64_t elements) const {
    return base ? static_cast<char*>(const_cast<void*>(base)) + elements * scalar() : nullptr;
  }

  // Every step of a pass is skipped once one has failed.
  template <class Step>
  void then(Step step) {
    if (code == BPTT_OK) code = step();
  }
};

bptt_code zero(const Pass& pass, void* out, int64_t elements) {
  if (elements == 0) return BPTT_OK;
  const CudaDevice& device = pass.device();
  return check(
      pass.context,
      device.driver.cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(out), 0,
                                    static_cast<size_t>(elements * pass.scalar()), device.stream),
      "fill with zeros");
}

bptt_code copy(const Pass& pass, void* out, const void* in, int64_t elements) {
  if (elements == 0) return BPTT_OK;
  const CudaDevice& device = pass.device();
  return check(pass.context,
               device.driver.cuMemcpyDtoDAsync(
                   reinterpret_cast<CUdeviceptr>(out), reinterpret_cast<CUdeviceptr>(in),
                   static_cast<size_t>(elements * pass.scalar()), device.stream),
               "copy");
}

bptt_code upload_maps(const Pass& pass) {
  if (pass.plan.index.empty()) return BPTT_OK;
  const CudaDevice& device = pass.device();
  return check(pass.context,
               device.driver.cuMemcpyHtoDAsync(
                   reinterpret_cast<CUdeviceptr>(pass.at(pass.work.index)), pass.plan.index.data(),
                   pass.plan.index.size() * sizeof(int32_t), device.stream),
               "copy row numbers to the device");
}

// -- rows and states -------------------------------------------------------------

bptt_code move(const Pass& pass, const MoveRows& rows) {
  return launch(pass.context, move_rows_kernel, pass.dtype(),
                grid_of(rows.groups * rows.rows * rows.columns), rows);
}

// The caller's [T,B,columns] or [B,T,columns] as packed rows.
bptt_code gather_rows(const Pass& pass, int64_t columns, const void* user, void* packed) {
  const CudaPlan& plan = pass.plan;
  return move(pass, {1, plan.rows, plan.desc.T * plan.desc.B, columns,
                     pass.map(plan.packed_from_user), user, nullptr, packed});
}

// And back; rows past their length become zero.
bptt_code scatter_rows(const Pass& pass, int64_t columns, const void* packed, void* user) {
  const CudaPlan& plan = pass.plan;
  return move(pass, {1, plan.desc.T * plan.desc.B, plan.rows, columns,
                     pass.map(plan.user_from_packed), packed, nullptr, user});
}

// States of rows that have a step, sorted: where they lie then. Null stays null: zeros.
const void* gather_states(Pass& pass, int64_t columns, const void* user, size_t slice) {
  const CudaPlan& plan = pass.plan;
  if (!user || plan.states_in_place) return user;
  void* sorted = pass.at(slice);
  pass.then([&] {
    return move(pass, {plan.states(), plan.active_rows, plan.desc.B, columns,
                       pass.map(plan.sorted_from_user), user, nullptr, sorted});
  });
  return sorted;
}

// Where cuDNN writes states that scatter_states brings to the caller.
void* states_target(const Pass& pass, void* user, size_t slice) {
  return !user || pass.plan.states_in_place ? user : pass.at(slice);
}

// Rows of no steps pass their initial state on, or the gradient of their last one.
void scatter_states(Pass& pass, int64_t columns, size_t slice, const void* passed, void* user) {
  const CudaPlan& plan = pass.plan;
  if (!user || plan.states_in_place) return;
  pass.then([&] {
    return move(pass, {plan.states(), plan.desc.B, plan.active_rows, columns,
                       pass.map(plan.user_from_sorted), pass.at(slice), passed, user});
  });
}

// Without a step every state passes through.
void pass_states(Pass& pass, int64_t columns, const void* in, void* out) {
  if (!out) return;
  const int64_t elements = pass.plan.states() * pass.plan.desc.B * columns;
  pass.then([&] { return in ? copy(pass, out, in, elements) : zero(pass, out, elements); });
}

bptt_code drop(const Pass& pass, const Run& run, bptt_rng rng, const void* in, void* out) {
  const CudaPlan& plan = pass.plan;
  const bptt_recurrent& desc = plan.desc;
  const uint64_t used = philox_blocks(desc.T * desc.B * plan.width);
  return launch(
      pass.context, dropout_rows_kernel, pass.dtype(), grid_of(plan.rows * plan.width),
      DropoutRows{plan.rows, plan.width, plan.in_place ? nullptr : pass.map(plan.unsorted),
                  dropout_threshold(desc.dropout), dropout_scale(desc.dropout), rng.seed,
                  rng.offset + static_cast<uint64_t>(run.first) * used, in, out});
}

// -- weights ---------------------------------------------------------------------

// Copies between the parameters and cuDNN's weight spaces, as many at once as a kernel takes.
class WeightCopies {
 public:
  WeightCopies(Pass& pass, const uint64_t* held, uint64_t stamp) : pass_(pass) {
    parts_.held = held;
    parts_.stamp = stamp;
    parts_.count = 0;
  }
  void add(const void* in, void* out, int64_t size) {
    parts_.part[parts_.count] = {in, out, size};
    largest_ = std::max(largest_, size);
    if (++parts_.count == kMostParts) run();
  }
  void run() {
    if (parts_.count == 0) return;
    pass_.then([&] {
      return launch(pass_.context, copy_parts_kernel, pass_.dtype(), grid_of(largest_), parts_);
    });
    parts_.count = 0;
    largest_ = 0;
  }

 private:
  Pass& pass_;
  CopyParts parts_;
  int64_t largest_ = 0;
};

void pack_weights(Pass& pass, const bptt_recurrent_params* params, bool kept, uint64_t stamp) {
  // One run and one per layer lie differently.
  stamp = 2 * stamp + (pass.plan.runs.size() > 1 ? 1 : 0);
  uint64_t* held = kept ? reinterpret_cast<uint64_t*>(pass.packed) : nullptr;
  WeightCopies copies(pass, held, stamp);
  for (const Run& run : pass.plan.runs) {
    for (const WeightPlace& place : run.places) {
      copies.add(pass.offset(params[place.index].*place.which, place.from),
                 pass.weights(run) + place.offset, place.size);
    }
  }
  copies.run();
  if (held) {
    pass.then([&] {
      return launch(pass.context, hold_stamp_kernel, BPTT_FLOAT32, Grid{1, 32},
                    HoldStamp{held, stamp});
    });
  }
}

void unpack_gradients(Pass& pass, const bptt_recurrent_params* dparams, const char* dweights) {
  WeightCopies copies(pass, nullptr, 0);
  for (const Run& run : pass.plan.runs) {
    for (const WeightPlace& place : run.places) {
      void* out = dparams[place.index].*place.which;
      if (!out) continue;
      copies.add(dweights + run.weights + place.offset, pass.offset(out, place.from), place.size);
    }
  }
  copies.run();
}

void zero_gradients(Pass& pass, const bptt_recurrent_params* dparams) {
  for (int64_t index = 0; index < pass.plan.states(); ++index) {
    const int64_t input = pass.plan.input(index / pass.plan.desc.D);
    const bptt_recurrent_params& p = dparams[index];
    const int64_t gates = pass.plan.gates * pass.plan.desc.H;
    const auto clear = [&](void* out, int64_t elements) {
      if (out) pass.then([&] { return zero(pass, out, elements); });
    };
    clear(p.weight_ih, gates * input);
    clear(p.weight_hh, gates * pass.plan.Hout);
    clear(p.bias_ih, gates);
    clear(p.bias_hh, gates);
    clear(p.weight_hr, pass.plan.desc.P * pass.plan.desc.H);
  }
}

bool any_wanted(const CudaPlan& plan, const bptt_recurrent_params* dparams) {
  for (int64_t i = 0; dparams && i < plan.states(); ++i) {
    const bptt_recurrent_params& p = dparams[i];
    if (p.weight_ih || p.weight_hh || p.bias_ih || p.bias_hh || p.weight_hr) return true;
  }
  return false;
}

// -- forward ---------------------------------------------------------------------

void run_forward(Pass& pass, const Run& run, const void* x, void* y, const void* h0, const void* c0,
                 void* hn, void* cn) {
  const CudaPlan& plan = pass.plan;
  const int64_t first = run.first * plan.desc.D * plan.active_rows;
  pass.then([&] {
    return check(
        pass.context,
        plan.cudnn.cudnnRNNForward(
            pass.device().cudnn_handle, run.rnn,
            plan.desc.training ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE, nullptr, run.x,
            x, run.y, y, run.h, pass.offset(h0, first * plan.Hout),
            pass.offset(hn, first * plan.Hout), run.c, pass.offset(c0, first * plan.desc.H),
            pass.offset(cn, first * plan.desc.H), run.weight_bytes, pass.weights(run),
            run.work_bytes, pass.at(pass.work.cudnn), plan.desc.training ? run.reserve_bytes : 0,
            plan.desc.training ? pass.reserve + run.reserve : nullptr),
        "recurrent forward");
  });
}

void forward_rows(Pass& pass, const bptt_recurrent_forward& args) {
  const CudaPlan& plan = pass.plan;
  const Workspace& work = pass.work;
  pass.then([&] { return upload_maps(pass); });
  pack_weights(pass, args.params, args.packed != nullptr, args.stamp);
  const void* x = args.x;
  if (!plan.in_place) {
    x = pass.at(work.x);
    pass.then([&] { return gather_rows(pass, plan.desc.I, args.x, pass.at(work.x)); });
  }
  const void* h0 = gather_states(pass, plan.Hout, args.h0, work.h[0]);
  const void* c0 = gather_states(pass, plan.desc.H, args.c0, work.c[0]);
  void* hn = states_target(pass, args.hn, work.h[1]);
  void* cn = states_target(pass, args.cn, work.c[1]);
  void* top = plan.in_place ? args.y : pass.at(work.y);
  for (const Run& run : plan.runs) {
    void* y = plan.drops(run) ? pass.reserve + run.saved_y : top;
    run_forward(pass, run, x, y, h0, c0, hn, cn);
    if (plan.drops(run)) {
      pass.then([&] { return drop(pass, run, args.rng, y, pass.at(work.dropped)); });
      x = pass.at(work.dropped);
    }
  }
  if (!plan.in_place) pass.then([&] { return scatter_rows(pass, plan.width, top, args.y); });
  scatter_states(pass, plan.Hout, work.h[1], args.h0, args.hn);
  scatter_states(pass, plan.desc.H, work.c[1], args.c0, args.cn);
}

// -- backward --------------------------------------------------------------------

// What a run of layers reads and writes, as packed rows and sorted states.
struct BackwardRows {
  const void *x, *y, *dy, *h0, *c0, *dhn, *dcn;
  void *dx, *dh0, *dc0;
};

void run_backward(Pass& pass, const Run& run, const BackwardRows& rows, char* dweights) {
  const CudaPlan& plan = pass.plan;
  cudnnHandle_t handle = pass.device().cudnn_handle;
  const int64_t first = run.first * plan.desc.D * plan.active_rows;
  const auto h = [&](const void* base) { return pass.offset(base, first * plan.Hout); };
  const auto c = [&](const void* base) { return pass.offset(base, first * plan.desc.H); };
  char* reserve = pass.reserve + run.reserve;
  void* scratch = pass.at(pass.work.cudnn);
  pass.then([&] {
    return check(
        pass.context,
        plan.cudnn.cudnnRNNBackwardData_v8(
            handle, run.rnn, nullptr, run.y, rows.y, rows.dy, run.x, rows.dx, run.h, h(rows.h0),
            h(rows.dhn), h(rows.dh0), run.c, c(rows.c0), c(rows.dcn), c(rows.dc0), run.weight_bytes,
            pass.weights(run), run.work_bytes, scratch, run.reserve_bytes, reserve),
        "recurrent backward: data");
  });
  if (!dweights) return;
  // It adds to what is there, and must come after the data's, which rewrites the reserve.
  pass.then([&] {
    return check(pass.context,
                 plan.cudnn.cudnnRNNBackwardWeights_v8(
                     handle, run.rnn, CUDNN_WGRAD_MODE_ADD, nullptr, run.x, rows.x, run.h,
                     h(rows.h0), run.y, rows.y, run.weight_bytes, dweights + run.weights,
                     run.work_bytes, scratch, run.reserve_bytes, reserve),
                 "recurrent backward: weights");
  });
}

void backward_rows(Pass& pass, const bptt_recurrent_backward& args) {
  const CudaPlan& plan = pass.plan;
  const Workspace& work = pass.work;
  const int64_t rows = plan.rows;
  pass.then([&] { return upload_maps(pass); });
  pack_weights(pass, args.params, args.packed != nullptr, args.stamp);

  const void *x = args.x, *top = args.y, *dtop = args.dy;
  if (!plan.in_place) {
    x = pass.at(work.x);
    top = pass.at(work.y);
    pass.then([&] { return gather_rows(pass, plan.desc.I, args.x, pass.at(work.x)); });
    pass.then([&] { return gather_rows(pass, plan.width, args.y, pass.at(work.y)); });
    if (args.dy) {
      dtop = pass.at(work.dy[0]);
      pass.then([&] { return gather_rows(pass, plan.width, args.dy, pass.at(work.dy[0])); });
    }
  }
  if (!args.dy) {
    dtop = pass.at(work.dy[0]);
    pass.then([&] { return zero(pass, pass.at(work.dy[0]), rows * plan.width); });
  }
  BackwardRows at{};
  at.h0 = gather_states(pass, plan.Hout, args.h0, work.h[0]);
  at.c0 = gather_states(pass, plan.desc.H, args.c0, work.c[0]);
  at.dhn = gather_states(pass, plan.Hout, args.dhn, work.h[1]);
  at.dcn = gather_states(pass, plan.desc.H, args.dcn, work.c[1]);
  at.dh0 = states_target(pass, args.dh0, work.h[2]);
  at.dc0 = states_target(pass, args.dc0, work.c[2]);

  char* dweights = nullptr;
  if (any_wanted(plan, args.dparams)) {
    dweights = static_cast<char*>(pass.at(work.dweights));
    for (const Run& run : plan.runs) {
      pass.then([&] {
        return zero(pass, dweights + run.weights,
                    static_cast<int64_t>(run.weight_bytes) / pass.scalar());
      });
    }
  }
  at.y = top;
  at.dy = dtop;
  for (size_t i = plan.runs.size(); i-- > 0;) {
    const Run& run = plan.runs[i];
    const bool lowest = i == 0;
    const Run* below = lowest ? nullptr : &plan.runs[i - 1];
    at.x = x;
    at.dx = pass.at(work.dx);
    if (lowest && args.dx && plan.in_place) at.dx = args.dx;
    if (below) {
      at.x = pass.at(work.dropped);
      at.dx = pass.at(work.dy[(plan.runs.size() - i) % 2]);
      pass.then([&] {
        return drop(pass, *below, args.rng, pass.reserve + below->saved_y, pass.at(work.dropped));
      });
    }
    run_backward(pass, run, at, dweights);
    if (below) {
      pass.then([&] { return drop(pass, *below, args.rng, at.dx, at.dx); });
      at.dy = at.dx;
      at.y = pass.reserve + below->saved_y;
    }
  }
  if (args.dx && !plan.in_place) {
    pass.then([&] { return scatter_rows(pass, plan.desc.I, at.dx, args.dx); });
  }
  scatter_states(pass, plan.Hout, work.h[2], args.dhn, args.dh0);
  scatter_states(pass, plan.desc.H, work.c[2], args.dcn, args.dc0);
  if (dweights) unpack_gradients(pass, args.dparams, dweights);
}

char* packed_of(void* packed, char* workspace, const Workspace& work) {
  return packed ? static_cast<char*>(packed) : workspace + work.weights;
}

}  // namespace

bptt_code recurrent_forward(bptt_context* context, const bptt_plan* opaque,
                            const bptt_recurrent_forward* args) {
  const CudaPlan& plan = *reinterpret_cast<const CudaPlan*>(opaque);
  char* workspace = static_cast<char*>(args->workspace);
  Pass pass = {context,
               plan,
               plan.forward,
               workspace,
               static_cast<char*>(args->reserve),
               packed_of(args->packed, workspace, plan.forward)};
  pass.code = use_cudnn(context);
  if (plan.rows > 0) {
    forward_rows(pass, *args);
    return pass.code;
  }
  pass.then([&] { return zero(pass, args->y, plan.desc.T * plan.desc.B * plan.width); });
  pass_states(pass, plan.Hout, args->h0, args->hn);
  if (plan.has_cell()) pass_states(pass, plan.desc.H, args->c0, args->cn);
  return pass.code;
}

bptt_code recurrent_backward(bptt_context* context, const bptt_plan* opaque,
                             const bptt_recurrent_backward* args) {
  const CudaPlan& plan = *reinterpret_cast<const CudaPlan*>(opaque);
  if (!plan.desc.training) {
    return fail(context, BPTT_INTERNAL, "recurrent layer: backward of a forward without training");
  }
  char* workspace = static_cast<char*>(args->workspace);
  Pass pass = {context,
               plan,
               plan.backward,
               workspace,
               static_cast<char*>(args->reserve),
               packed_of(args->packed, workspace, plan.backward)};
  pass.code = use_cudnn(context);
  if (plan.rows > 0) {
    backward_rows(pass, *args);
    return pass.code;
  }
  if (args->dx) {
    pass.then([&] { return zero(pass, args->dx, plan.desc.T * plan.desc.B * plan.desc.I); });
  }
  pass_states(pass, plan.Hout, args->dhn, args->dh0);
  if (plan.has_cell()) pass_states(pass, plan.desc.H, args->dcn, args->dc0);
  if (args->dparams) zero_gradients(pass, args->dparams);
  return pass.code;
}

}  // namespace bptt::cuda
