// Layers of cells that cuDNN does not have, step by step: products by cuBLASLt, equations by
// kernels of the cell (kernels/<cell>.cu). The cell is data: its stages
// (kernel_arguments.h), and gates, states and weights per unit (cells.h).
//
// The states of a direction are carried in buffers of their own, [active,Hout] and [active,H].
// Rows are sorted by length, so those of a step are its first ones in either direction:
// forwards, rows leave them as they end; backwards, they join them with their initial state.
#include <algorithm>
#include <iterator>

#include "cuda/device.h"
#include "cuda/recurrent/pass.h"

namespace bptt::cuda {

namespace {

// One line of BPTT_CUDA_STAGES.
struct Stage {
  bptt_cell cell;
  bool of_h;
  int64_t gate, count;
  Kernel<CellStep> forward;
  Kernel<CellStepBackward> backward;
};

#define BPTT_STAGE(KERNEL, kernel, ...) {__VA_ARGS__, kernel##_kernel, kernel##_backward_kernel},
constexpr Stage kStages[] = {BPTT_CUDA_STAGES(BPTT_STAGE, )};
#undef BPTT_STAGE

// Calls visit for each stage of a cell, in its order or backwards.
template <class Visit>
void for_each_stage(bptt_cell cell, bool backwards, Visit visit) {
  constexpr size_t count = std::size(kStages);
  for (size_t i = 0; i < count; ++i) {
    const Stage& stage = kStages[backwards ? count - 1 - i : i];
    if (stage.cell == cell) visit(stage);
  }
}

bool has_operand(bptt_cell cell) {
  bool has = false;
  for_each_stage(cell, false, [&](const Stage& stage) { has = has || !stage.of_h; });
  return has;
}

// What the buffers of a direction hold, in elements; 0: the layer has none. Rows are those of
// all steps, `active` those of the batch that have a step.
struct Sizes {
  explicit Sizes(const CudaPlan& plan, bool backward) {
    const bptt_recurrent& desc = plan.desc;
    const int64_t rows = plan.rows, active = plan.active_rows, H = desc.H;
    const bool projected = desc.P > 0, training = desc.training != 0;
    const bool carries = has_operand(desc.cell) || projected;
    gates = rows * plan.gates * H;
    saved_h = training ? rows * plan.Hout : 0;
    saved_c = training && plan.has_c() ? rows * H : 0;
    h = active * plan.Hout;
    c = plan.has_c() ? active * H : 0;
    operand = carries ? (backward ? rows : active) * H : 0;
    if (!backward) return;
    doperand = carries ? active * H : 0;
    dh_rows = projected ? rows * plan.Hout : 0;
    dunit_weights = rows * unit_weights_of(desc.cell).count * H;
  }
  int64_t reserve(bool training) const { return training ? gates + saved_h + saved_c : 0; }
  int64_t work(bool training) const {
    return (training ? 0 : gates) + h + c + operand + doperand + dh_rows + dunit_weights;
  }

  int64_t gates, saved_h, saved_c;  // saved, in training
  int64_t h, c, operand;
  int64_t doperand = 0, dh_rows = 0, dunit_weights = 0;
};

// One direction of a layer. Strides count elements. Null: the layer has none.
struct Direction {
  Pass& pass;
  const Run& run;
  const bptt_recurrent_params& params;
  int64_t index;  // of the layer and direction in the stack
  bool reverse;
  char* gates = nullptr;     // [rows,G*H]
  char* h_prev = nullptr;    // [rows,Hout], saved; null in inference
  char* c_prev = nullptr;    // [rows,H], saved; null in inference
  char* h = nullptr;         // [active,Hout]; backward: its gradient
  char* c = nullptr;         // [active,H]; backward: its gradient
  char* operand = nullptr;   // [active,H] of a second stage or the projection; backward: [rows,H]
  char* doperand = nullptr;  // [active,H], its gradient
  char* dh_rows = nullptr;   // [rows,P], of a projection: the gradients of h
  char* dunit_weights = nullptr;  // [rows,n*H]

  const CudaPlan& plan() const { return pass.plan; }
  int64_t H() const { return plan().desc.H; }
  int64_t P() const { return plan().desc.P; }
  int64_t Hout() const { return plan().Hout; }
  int64_t gate_row() const { return plan().gates * H(); }  // of gates
  int64_t active() const { return plan().active_rows; }
  // Step number s takes this time.
  int64_t time(int64_t s) const { return reverse ? plan().steps - 1 - s : s; }
  char* at(const void* base, int64_t elements) const {
    return static_cast<char*>(pass.offset(base, elements));
  }
  int64_t column() const { return reverse ? Hout() : 0; }  // of y's rows
  UnitWeights unit_weights() const { return unit_weights_of(plan().desc.cell); }
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
  const int64_t index = run.first * plan.desc.D + d;
  const bool training = plan.desc.training != 0;
  const Sizes sizes(plan, backward);
  Direction at = {
      .pass = pass, .run = run, .params = params[index], .index = index, .reverse = d == 1};
  const auto take = [&](char*& from, int64_t elements) -> char* {
    if (elements == 0) return nullptr;
    char* taken = from;
    from += elements * pass.scalar();
    return taken;
  };
  char* scratch = static_cast<char*>(pass.at(pass.work.runs));
  char* saved = pass.reserve + run.reserve + d * sizes.reserve(training) * pass.scalar();
  at.gates = take(training ? saved : scratch, sizes.gates);
  at.h_prev = take(saved, sizes.saved_h);
  at.c_prev = take(saved, sizes.saved_c);
  at.h = take(scratch, sizes.h);
  at.c = take(scratch, sizes.c);
  at.operand = take(scratch, sizes.operand);
  at.doperand = take(scratch, sizes.doperand);
  at.dh_rows = take(scratch, sizes.dh_rows);
  at.dunit_weights = take(scratch, sizes.dunit_weights);
  return at;
}

// A state [active,columns] before the first step, from [states,active,columns] or zeros.
void begin_state(const Direction& at, char* state, int64_t columns, const void* states) {
  const int64_t size = at.active() * columns;
  if (!state) return;
  at.pass.then([&] {
    return states ? copy(at.pass, state, at.at(states, at.index * size), size)
                  : zero(at.pass, state, size);
  });
}

void end_state(const Direction& at, const char* state, int64_t columns, void* states) {
  const int64_t size = at.active() * columns;
  if (!state || !states) return;
  at.pass.then([&] { return copy(at.pass, at.at(states, at.index * size), state, size); });
}

// The rows of a step, from the first one of the packed sequence on.
struct StepRows {
  int64_t m, first;
};

StepRows rows_of(const Direction& at, int64_t t) {
  return {at.plan().active(t), at.plan().offset[t]};
}

// h = W_hr m, into the state and from there to y.
void project_step(const Direction& at, const StepRows& of, const ForwardRows& rows) {
  Pass& pass = at.pass;
  const int64_t H = at.H(), P = at.P(), width = at.plan().width;
  multiply(pass, of.m, P, H, {at.operand, H, 1}, {at.params.weight_hr, 1, H}, nullptr, at.h, P,
           false);
  const int64_t shape[] = {of.m, P}, from[] = {P, 1}, to[] = {width, 1};
  pass.then([&] {
    return copy(pass.context, pass.dtype(), 2, shape, at.h, from,
                at.at(rows.y, of.first * width + at.column()), to);
  });
}

void forward_step(const Direction& at, int64_t t, const ForwardRows& rows) {
  Pass& pass = at.pass;
  const StepRows of = rows_of(at, t);
  const int64_t H = at.H(), Hout = at.Hout(), width = at.plan().width, gate_row = at.gate_row();
  const bool projected = at.P() > 0;
  char* gates = at.at(at.gates, of.first * gate_row);
  const void* weights = at.params.weight_hh;  // [G*H,Hout]
  char* saved_h = static_cast<char*>(at.at(at.h_prev, of.first * Hout));
  const CellStep step = {
      .rows = of.m,
      .H = H,
      .bias = at.params.bias_hh,
      .unit_weights = at.unit_weights().in(at.params),
      .gates = gates,
      .h = projected ? nullptr : at.h,
      .c = at.c,
      .operand = at.operand,
      .saved_h = projected ? nullptr : saved_h,
      .saved_c = at.at(at.c_prev, of.first * H),
      .out = projected ? at.operand : at.at(rows.y, of.first * width + at.column()),
      .out_row = projected ? H : width};
  if (projected && saved_h) {
    pass.then([&] { return copy(pass, saved_h, at.h, of.m * Hout); });
  }
  for_each_stage(at.plan().desc.cell, false, [&](const Stage& stage) {
    const int64_t k = stage.of_h ? Hout : H;
    multiply(pass, of.m, stage.count * H, k, {stage.of_h ? at.h : at.operand, k, 1},
             {at.at(weights, stage.gate * H * k), 1, k}, nullptr, at.at(gates, stage.gate * H),
             gate_row, true);
    pass.then(
        [&] { return launch(pass.context, stage.forward, pass.dtype(), grid_of(of.m * H), step); });
  });
  if (projected) project_step(at, of, rows);
}

// dh, complete, to its row of dh_rows, and dm = dh W_hr to doperand.
void project_step_backward(const Direction& at, const StepRows& of, const BackwardRows& rows) {
  Pass& pass = at.pass;
  const int64_t H = at.H(), P = at.P(), width = at.plan().width;
  char* dh = at.at(at.dh_rows, of.first * P);
  const int64_t shape[] = {of.m, P}, dense[] = {P, 1}, in_y[] = {width, 1};
  pass.then([&] {
    return binary(pass.context, pass.dtype(), BPTT_ADD, 2, shape, at.h, dense,
                  at.at(rows.dy, of.first * width + at.column()), in_y, dh);
  });
  multiply(pass, of.m, H, P, {dh, P, 1}, {at.params.weight_hr, H, 1}, nullptr, at.doperand, H,
           false);
}

void backward_step(const Direction& at, int64_t t, const BackwardRows& rows) {
  Pass& pass = at.pass;
  const StepRows of = rows_of(at, t);
  const int64_t H = at.H(), Hout = at.Hout(), width = at.plan().width, gate_row = at.gate_row();
  const bool projected = at.P() > 0;
  char* gates = at.at(at.gates, of.first * gate_row);
  const void* weights = at.params.weight_hh;  // [G*H,Hout]
  if (projected) project_step_backward(at, of, rows);
  const CellStepBackward step = {
      .rows = of.m,
      .H = H,
      .unit_weights = at.unit_weights().in(at.params),
      .gates = gates,
      .h_prev = at.at(at.h_prev, of.first * Hout),
      .c_prev = at.at(at.c_prev, of.first * H),
      .dy = projected ? nullptr : at.at(rows.dy, of.first * width + at.column()),
      .dy_row = width,
      .dh = projected ? at.doperand : at.h,
      .dc = at.c,
      .operand = at.at(at.operand, of.first * H),
      .doperand = at.doperand,
      .dunit_weights = at.at(at.dunit_weights, of.first * at.unit_weights().count * H)};
  for_each_stage(at.plan().desc.cell, true, [&](const Stage& stage) {
    pass.then([&] {
      return launch(pass.context, stage.backward, pass.dtype(), grid_of(of.m * H), step);
    });
    const int64_t n = stage.of_h ? Hout : H;
    // The kernel has left in h what reaches h_prev beside the product; nothing does past a
    // projection.
    multiply(pass, of.m, n, stage.count * H, {at.at(gates, stage.gate * H), gate_row, 1},
             {at.at(weights, stage.gate * H * n), n, 1}, nullptr, stage.of_h ? at.h : at.doperand,
             n, stage.of_h && !projected);
  });
}

// The sums of the rows of [rows,columns].
void sum_rows(const Direction& at, int64_t columns, const void* rows, void* out) {
  const int64_t shape[] = {at.plan().rows, columns};
  const int reduced[] = {1, 0};
  if (!out) return;
  at.pass.then(
      [&] { return sum(at.pass.context, at.pass.dtype(), 2, shape, reduced, 1, rows, out); });
}

// Of all rows at once, from the gradients that now stand in the gates.
void weight_gradients(const Direction& at, const BackwardRows& rows,
                      const bptt_recurrent_params& wanted) {
  Pass& pass = at.pass;
  const int64_t H = at.H(), n = at.plan().rows, input = at.run.input, gate_row = at.gate_row();
  if (wanted.weight_ih) {
    multiply(pass, gate_row, input, n, {at.gates, 1, gate_row}, {rows.x, input, 1}, nullptr,
             wanted.weight_ih, input, false);
  }
  for_each_stage(at.plan().desc.cell, false, [&](const Stage& stage) {
    if (!wanted.weight_hh) return;
    const int64_t k = stage.of_h ? at.Hout() : H;
    multiply(pass, stage.count * H, k, n, {at.at(at.gates, stage.gate * H), 1, gate_row},
             {stage.of_h ? at.h_prev : at.operand, k, 1}, nullptr,
             at.at(wanted.weight_hh, stage.gate * H * k), k, false);
  });
  if (wanted.weight_hr) {
    multiply(pass, at.P(), H, n, {at.dh_rows, 1, at.P()}, {at.operand, H, 1}, nullptr,
             wanted.weight_hr, H, false);
  }
  for (void* bias : {wanted.bias_ih, wanted.bias_hh}) sum_rows(at, gate_row, at.gates, bias);
  const UnitWeights unit_weights = at.unit_weights();
  sum_rows(at, unit_weights.count * H, at.dunit_weights, unit_weights.in(wanted));
}

}  // namespace

void size_steps(const CudaPlan& plan, Run& run) {
  const int64_t scalar = plan.desc.dtype == BPTT_FLOAT64 ? 8 : 4;
  const bool training = plan.desc.training != 0;
  const Sizes forward(plan, false), backward(plan, training);
  run.reserve_bytes = static_cast<size_t>(plan.desc.D * forward.reserve(training) * scalar);
  run.work_bytes =
      static_cast<size_t>(std::max(forward.work(training), backward.work(training)) * scalar);
}

void steps_forward(Pass& pass, const Run& run, const bptt_recurrent_params* params,
                   const ForwardRows& rows) {
  const CudaPlan& plan = pass.plan;
  for (int64_t d = 0; d < plan.desc.D; ++d) {
    const Direction at = direction_of(pass, run, params, d, false);
    const int64_t gate_row = at.gate_row();
    multiply(pass, plan.rows, gate_row, run.input, {rows.x, run.input, 1},
             {at.params.weight_ih, 1, run.input}, at.params.bias_ih, at.gates, gate_row, false);
    begin_state(at, at.h, at.Hout(), rows.h0);
    begin_state(at, at.c, at.H(), rows.c0);
    for (int64_t s = 0; s < plan.steps && pass.code == BPTT_OK; ++s) {
      forward_step(at, at.time(s), rows);
    }
    end_state(at, at.h, at.Hout(), rows.hn);
    end_state(at, at.c, at.H(), rows.cn);
  }
}

void steps_backward(Pass& pass, const Run& run, const bptt_recurrent_params* params,
                    const bptt_recurrent_params* dparams, const BackwardRows& rows) {
  const CudaPlan& plan = pass.plan;
  for (int64_t d = 0; d < plan.desc.D; ++d) {
    const Direction at = direction_of(pass, run, params, d, true);
    const int64_t gate_row = at.gate_row();
    begin_state(at, at.h, at.Hout(), rows.dhn);
    begin_state(at, at.c, at.H(), rows.dcn);
    for (int64_t s = plan.steps; s-- > 0 && pass.code == BPTT_OK;) {
      backward_step(at, at.time(s), rows);
    }
    end_state(at, at.h, at.Hout(), rows.dh0);
    end_state(at, at.c, at.H(), rows.dc0);
    if (dparams) weight_gradients(at, rows, dparams[at.index]);
    multiply(pass, plan.rows, run.input, gate_row, {at.gates, gate_row, 1},
             {at.params.weight_ih, run.input, 1}, nullptr, rows.dx, run.input, d == 1);
  }
}

}  // namespace bptt::cuda
