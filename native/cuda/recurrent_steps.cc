// Layers of cells that cuDNN does not have, step by step: products by cuBLASLt, equations by
// kernels of the cell (kernels/<cell>.cu). So far one: the GRU that resets before.
//
// The state of a direction is carried in a buffer of its own, [active,H]. Rows are sorted
// by length, so those of a step are its first ones in either direction: forwards, rows
// leave it as they end; backwards, they join it with their initial state.
#include "cuda/device.h"
#include "cuda/recurrent_pass.h"

namespace bptt::cuda {

namespace {

// One direction of a layer. Strides count elements.
struct Direction {
  Pass& pass;
  const Run& run;
  const bptt_recurrent_params& params;
  int64_t index;  // of the layer and direction in the stack
  bool reverse;
  char* gates;     // [rows,3H]
  char* h_prev;    // [rows,H], saved; null in inference
  char* state;     // [active,H]
  char* operand;   // [active,H]; backward: [rows,H]
  char* doperand;  // [active,H], backward only

  const CudaPlan& plan() const { return pass.plan; }
  int64_t H() const { return plan().desc.H; }
  int64_t active() const { return plan().active_rows; }
  // Step number s takes this time.
  int64_t time(int64_t s) const { return reverse ? plan().steps - 1 - s : s; }
  char* at(const void* base, int64_t elements) const {
    return static_cast<char*>(pass.offset(base, elements));
  }
  int64_t column() const { return reverse ? H() : 0; }  // of y's rows
};

struct Side {
  const void* data;
  int64_t row, column;  // strides
};

// out [m,n] = left [m,k] times right [k,n], plus bias, or added to what out holds.
void multiply(Pass& pass, int64_t m, int64_t n, int64_t k, Side left, Side right, const void* bias,
              void* out, int64_t out_row, bool accumulate) {
  bptt_matmul product{};
  product.m = m, product.n = n, product.k = k;
  product.left_row = left.row, product.left_k = left.column;
  product.right_k = right.row, product.right_col = right.column;
  product.out_row = out_row;
  product.accumulate = accumulate;
  pass.then([&] {
    return matmul(pass.context, pass.dtype(), &product, left.data, right.data, bias, out);
  });
}

// Buffers of a direction: the reserve in training, else the workspace.
Direction direction_of(Pass& pass, const Run& run, const bptt_recurrent_params* params, int64_t d,
                       bool backward) {
  const CudaPlan& plan = pass.plan;
  const int64_t H = plan.desc.H, rows = plan.rows, index = run.first * plan.desc.D + d;
  Direction at = {pass,    run,     params[index], index,   d == 1,
                  nullptr, nullptr, nullptr,       nullptr, nullptr};
  char* scratch = static_cast<char*>(pass.at(pass.work.runs));
  const auto take = [&](char*& from, int64_t elements) {
    char* taken = from;
    from += elements * pass.scalar();
    return taken;
  };
  if (plan.desc.training) {
    char* saved = pass.reserve + run.reserve + d * rows * 4 * H * pass.scalar();
    at.gates = take(saved, rows * 3 * H);
    at.h_prev = take(saved, rows * H);
  } else {
    at.gates = take(scratch, rows * 3 * H);
  }
  at.state = take(scratch, plan.active_rows * H);
  at.operand = take(scratch, (backward ? rows : plan.active_rows) * H);
  at.doperand = backward ? take(scratch, plan.active_rows * H) : nullptr;
  return at;
}

// The state before the first step, from [states,active,H] or zeros.
void begin_state(const Direction& at, const void* states) {
  const int64_t size = at.active() * at.H();
  at.pass.then([&] {
    return states ? copy(at.pass, at.state, at.at(states, at.index * size), size)
                  : zero(at.pass, at.state, size);
  });
}

void end_state(const Direction& at, void* states) {
  const int64_t size = at.active() * at.H();
  if (!states) return;
  at.pass.then([&] { return copy(at.pass, at.at(states, at.index * size), at.state, size); });
}

void forward_step(const Direction& at, int64_t t, const ForwardRows& rows) {
  Pass& pass = at.pass;
  const int64_t H = at.H(), m = at.plan().active(t), first = at.plan().offset[t];
  const int64_t width = at.plan().width;
  char* gates = at.at(at.gates, first * 3 * H);
  const void* weights = at.params.weight_hh;  // [3H,H]
  const ResetBefore step = {m,
                            H,
                            at.params.bias_hh,
                            gates,
                            at.state,
                            at.operand,
                            at.h_prev ? at.at(at.h_prev, first * H) : nullptr,
                            at.at(rows.y, first * width + at.column()),
                            width};
  multiply(pass, m, 2 * H, H, {at.state, H, 1}, {weights, 1, H}, nullptr, gates, 3 * H, true);
  pass.then([&] {
    return launch(pass.context, reset_before_r_kernel, pass.dtype(), grid_of(m * H), step);
  });
  multiply(pass, m, H, H, {at.operand, H, 1}, {at.at(weights, 2 * H * H), 1, H}, nullptr,
           at.at(gates, 2 * H), 3 * H, true);
  pass.then([&] {
    return launch(pass.context, reset_before_h_kernel, pass.dtype(), grid_of(m * H), step);
  });
}

void backward_step(const Direction& at, int64_t t, const BackwardRows& rows) {
  Pass& pass = at.pass;
  const int64_t H = at.H(), m = at.plan().active(t), first = at.plan().offset[t];
  const int64_t width = at.plan().width;
  char* gates = at.at(at.gates, first * 3 * H);
  const void* weights = at.params.weight_hh;  // [3H,H]
  const ResetBeforeBackward step = {m,
                                    H,
                                    gates,
                                    at.at(at.h_prev, first * H),
                                    at.at(rows.dy, first * width + at.column()),
                                    width,
                                    at.state,
                                    at.at(at.operand, first * H),
                                    at.doperand};
  pass.then([&] {
    return launch(pass.context, reset_before_h_backward_kernel, pass.dtype(), grid_of(m * H), step);
  });
  multiply(pass, m, H, H, {at.at(gates, 2 * H), 3 * H, 1}, {at.at(weights, 2 * H * H), H, 1},
           nullptr, at.doperand, H, false);
  pass.then([&] {
    return launch(pass.context, reset_before_r_backward_kernel, pass.dtype(), grid_of(m * H), step);
  });
  multiply(pass, m, H, 2 * H, {gates, 3 * H, 1}, {weights, H, 1}, nullptr, at.state, H, true);
}

// Of all rows at once, from the gradients that now stand in the gates.
void weight_gradients(const Direction& at, const BackwardRows& rows,
                      const bptt_recurrent_params& wanted) {
  Pass& pass = at.pass;
  const int64_t H = at.H(), n = at.plan().rows, input = at.run.input;
  if (wanted.weight_ih) {
    multiply(pass, 3 * H, input, n, {at.gates, 1, 3 * H}, {rows.x, input, 1}, nullptr,
             wanted.weight_ih, input, false);
  }
  if (wanted.weight_hh) {
    multiply(pass, 2 * H, H, n, {at.gates, 1, 3 * H}, {at.h_prev, H, 1}, nullptr, wanted.weight_hh,
             H, false);
    multiply(pass, H, H, n, {at.at(at.gates, 2 * H), 1, 3 * H}, {at.operand, H, 1}, nullptr,
             at.at(wanted.weight_hh, 2 * H * H), H, false);
  }
  const int64_t shape[] = {n, 3 * H};
  const int reduced[] = {1, 0};
  for (void* bias : {wanted.bias_ih, wanted.bias_hh}) {
    if (!bias) continue;
    pass.then(
        [&] { return sum(pass.context, pass.dtype(), 2, shape, reduced, 1, at.gates, bias); });
  }
}

}  // namespace

void size_steps(const CudaPlan& plan, Run& run) {
  const int64_t scalar = plan.desc.dtype == BPTT_FLOAT64 ? 8 : 4;
  const int64_t H = plan.desc.H, rows = plan.rows, active = plan.active_rows;
  const int64_t inference = rows * 3 * H + 2 * active * H;
  const int64_t training = rows * H + 3 * active * H;
  run.reserve_bytes = static_cast<size_t>(plan.desc.D * rows * 4 * H * scalar);
  run.work_bytes = static_cast<size_t>((plan.desc.training ? training : inference) * scalar);
}

void steps_forward(Pass& pass, const Run& run, const bptt_recurrent_params* params,
                   const ForwardRows& rows) {
  const CudaPlan& plan = pass.plan;
  const int64_t H = plan.desc.H;
  for (int64_t d = 0; d < plan.desc.D; ++d) {
    const Direction at = direction_of(pass, run, params, d, false);
    multiply(pass, plan.rows, 3 * H, run.input, {rows.x, run.input, 1},
             {at.params.weight_ih, 1, run.input}, at.params.bias_ih, at.gates, 3 * H, false);
    begin_state(at, rows.h0);
    for (int64_t s = 0; s < plan.steps && pass.code == BPTT_OK; ++s) {
      forward_step(at, at.time(s), rows);
    }
    end_state(at, rows.hn);
  }
}

void steps_backward(Pass& pass, const Run& run, const bptt_recurrent_params* params,
                    const bptt_recurrent_params* dparams, const BackwardRows& rows) {
  const CudaPlan& plan = pass.plan;
  const int64_t H = plan.desc.H;
  for (int64_t d = 0; d < plan.desc.D; ++d) {
    const Direction at = direction_of(pass, run, params, d, true);
    begin_state(at, rows.dhn);
    for (int64_t s = plan.steps; s-- > 0 && pass.code == BPTT_OK;) {
      backward_step(at, at.time(s), rows);
    }
    end_state(at, rows.dh0);
    if (dparams) weight_gradients(at, rows, dparams[at.index]);
    multiply(pass, plan.rows, run.input, 3 * H, {at.gates, 3 * H, 1},
             {at.params.weight_ih, run.input, 1}, nullptr, rows.dx, run.input, d == 1);
  }
}

}  // namespace bptt::cuda
