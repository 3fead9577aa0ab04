// Recurrent layers: rows into a packed sequence, the runs of layers one after another, and
// everything back. A run is one call of cuDNN, with weights in its own layout, or one layer
// of steps.cc. Where cuDNN computes in 16 bits, the caller's tensors are converted
// on their way in and out.
#include "cuda/recurrent/pass.h"

#include <algorithm>

namespace bptt::cuda {

namespace {

// -- weights ---------------------------------------------------------------------

// Copies between the parameters and cuDNN's weight spaces, as many at once as a kernel takes.
class WeightCopies {
 public:
  WeightCopies(Pass& pass, StoredAs in_as, StoredAs out_as, const uint64_t* held = nullptr,
               uint64_t stamp = 0)
      : pass_(pass) {
    parts_.held = held;
    parts_.stamp = stamp;
    parts_.in_as = in_as;
    parts_.out_as = out_as;
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
  // The layout depends on whether there is one run or one per layer, and on the type: the stamp
  // tells them apart.
  stamp = 2 * stamp + (pass.plan.runs.size() > 1 ? 1 : 0);
  stamp = 3 * stamp + static_cast<uint64_t>(pass.plan.stored);
  uint64_t* held = kept ? reinterpret_cast<uint64_t*>(pass.packed) : nullptr;
  WeightCopies copies(pass, kStoredAsT, pass.plan.stored, held, stamp);
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
  WeightCopies copies(pass, pass.plan.stored, kStoredAsT);
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
    for_each_parameter(pass.plan.desc, index,
                       [&](Parameter which, bool, std::initializer_list<int64_t> shape) {
                         void* out = dparams[index].*which;
                         int64_t elements = 1;
                         for (const int64_t size : shape) elements *= size;
                         if (out) pass.then([&] { return zero(pass, out, elements); });
                       });
  }
}

bool any_wanted(const CudaPlan& plan, const bptt_recurrent_params* dparams) {
  return dparams && std::any_of(dparams, dparams + plan.states(), any_given);
}

// -- forward ---------------------------------------------------------------------

void cudnn_forward(Pass& pass, const Run& run, const ForwardRows& rows) {
  const CudaPlan& plan = pass.plan;
  const int64_t first = run.first * plan.desc.D * plan.active_rows;
  const auto h = [&](const void* base) { return pass.run_offset(base, first * plan.Hout); };
  const auto c = [&](const void* base) { return pass.run_offset(base, first * plan.desc.H); };
  const bool training = plan.desc.training != 0;
  pass.then([&] {
    return check(
        pass.context,
        plan.cudnn.cudnnRNNForward(
            pass.device().cudnn_handle, run.rnn,
            training ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE, nullptr, run.x, rows.x,
            run.y, rows.y, run.h, h(rows.h0), h(rows.hn), run.c, c(rows.c0), c(rows.cn),
            run.weight_bytes, pass.weights(run), run.work_bytes, pass.at(pass.work.runs),
            training ? run.reserve_bytes : 0, training ? pass.reserve + run.reserve : nullptr),
        "recurrent forward");
  });
}

void forward_rows(Pass& pass, const bptt_recurrent_forward& args) {
  const CudaPlan& plan = pass.plan;
  const Workspace& work = pass.work;
  pass.then([&] { return upload_maps(pass); });
  if (!plan.own_cell) pack_weights(pass, args.params, args.packed != nullptr, args.stamp);
  ForwardRows rows{};
  rows.x = args.x;
  if (!plan.in_place()) {
    rows.x = pass.at(work.x);
    pass.then([&] { return gather_rows(pass, plan.desc.I, args.x, pass.at(work.x)); });
  }
  rows.h0 = gather_states(pass, plan.Hout, args.h0, work.h[0]);
  rows.c0 = gather_states(pass, plan.desc.H, args.c0, work.c[0]);
  rows.hn = states_target(pass, args.hn, work.h[1]);
  rows.cn = states_target(pass, args.cn, work.c[1]);
  void* top = plan.in_place() ? args.y : pass.at(work.y);
  for (const Run& run : plan.runs) {
    const bool last = run.first + run.layers == plan.desc.L;
    rows.y = last                 ? top
             : plan.desc.training ? pass.reserve + run.saved_y
                                  : pass.at(work.inner[run.first % 2]);
    if (plan.own_cell) {
      steps_forward(pass, run, args.params, rows);
    } else {
      cudnn_forward(pass, run, rows);
    }
    rows.x = rows.y;
    if (!last && plan.desc.dropout > 0) {
      pass.then([&] { return drop(pass, run, args.rng, rows.y, pass.at(work.dropped)); });
      rows.x = pass.at(work.dropped);
    }
  }
  if (!plan.in_place()) pass.then([&] { return scatter_rows(pass, plan.width, top, args.y); });
  scatter_states(pass, plan.Hout, work.h[1], args.h0, args.hn);
  scatter_states(pass, plan.desc.H, work.c[1], args.c0, args.cn);
}

// -- backward --------------------------------------------------------------------

void cudnn_backward(Pass& pass, const Run& run, const BackwardRows& rows, char* dweights) {
  const CudaPlan& plan = pass.plan;
  cudnnHandle_t handle = pass.device().cudnn_handle;
  const int64_t first = run.first * plan.desc.D * plan.active_rows;
  const auto h = [&](const void* base) { return pass.run_offset(base, first * plan.Hout); };
  const auto c = [&](const void* base) { return pass.run_offset(base, first * plan.desc.H); };
  char* reserve = pass.reserve + run.reserve;
  void* scratch = pass.at(pass.work.runs);
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
  pass.then([&] { return upload_maps(pass); });
  if (!plan.own_cell) pack_weights(pass, args.params, args.packed != nullptr, args.stamp);

  const void *x = args.x, *top = args.y, *dtop = args.dy;
  if (!plan.in_place()) {
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
    const auto bytes = static_cast<size_t>(plan.rows * plan.width * plan.element);
    pass.then([&] { return zero_bytes(pass, pass.at(work.dy[0]), bytes); });
  }
  BackwardRows at{};
  at.h0 = gather_states(pass, plan.Hout, args.h0, work.h[0]);
  at.c0 = gather_states(pass, plan.desc.H, args.c0, work.c[0]);
  at.dhn = gather_states(pass, plan.Hout, args.dhn, work.h[1]);
  at.dcn = gather_states(pass, plan.desc.H, args.dcn, work.c[1]);
  at.dh0 = states_target(pass, args.dh0, work.h[2]);
  at.dc0 = states_target(pass, args.dc0, work.c[2]);

  char* dweights = nullptr;
  if (!plan.own_cell && any_wanted(plan, args.dparams)) {
    dweights = static_cast<char*>(pass.at(work.dweights));
    for (const Run& run : plan.runs) {
      pass.then([&] { return zero_bytes(pass, dweights + run.weights, run.weight_bytes); });
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
    if (lowest && args.dx && plan.in_place()) at.dx = args.dx;
    const bool drops = below && plan.desc.dropout > 0;
    if (below) {
      at.x = pass.reserve + below->saved_y;
      at.dx = pass.at(work.dy[(plan.runs.size() - i) % 2]);
    }
    if (drops) {
      pass.then([&] { return drop(pass, *below, args.rng, at.x, pass.at(work.dropped)); });
      at.x = pass.at(work.dropped);
    }
    if (plan.own_cell) {
      steps_backward(pass, run, args.params, args.dparams, at);
    } else {
      cudnn_backward(pass, run, at, dweights);
    }
    if (drops) pass.then([&] { return drop(pass, *below, args.rng, at.dx, at.dx); });
    if (below) {
      at.dy = at.dx;
      at.y = pass.reserve + below->saved_y;
    }
  }
  if (args.dx && !plan.in_place()) {
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
  if (!plan.own_cell) pass.code = use_cudnn(context);
  if (plan.rows > 0) {
    forward_rows(pass, *args);
    return pass.code;
  }
  pass.then([&] { return zero(pass, args->y, plan.desc.T * plan.desc.B * plan.width); });
  pass_states(pass, plan.Hout, args->h0, args->hn);
  if (plan.has_c()) pass_states(pass, plan.desc.H, args->c0, args->cn);
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
  if (!plan.own_cell) pass.code = use_cudnn(context);
  if (plan.rows > 0) {
    backward_rows(pass, *args);
    return pass.code;
  }
  if (args->dx) {
    pass.then([&] { return zero(pass, args->dx, plan.desc.T * plan.desc.B * plan.desc.I); });
  }
  pass_states(pass, plan.Hout, args->dhn, args->dh0);
  if (plan.has_c()) pass_states(pass, plan.desc.H, args->dcn, args->dc0);
  if (args->dparams) zero_gradients(pass, args->dparams);
  return pass.code;
}

}  // namespace bptt::cuda
