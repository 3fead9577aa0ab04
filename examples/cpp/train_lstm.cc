// Trains an LSTM in C++, without Node: it learns to say the next value of a wave. Every step is
// calls of the table of kernels (bptt/backend.h), which says what each of them takes.
#include <bptt/cpu.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <iterator>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace {

constexpr int64_t T = 24, B = 16, I = 1, H = 32;  // time, batch, input, hidden
constexpr int kSteps = 200;

// The CPU, and the context of all calls.
class Device {
 public:
  Device() { check(backend->open(&context, 0)); }
  ~Device() { backend->close(&context); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void check(bptt_code code) const {
    if (code != BPTT_OK) throw std::runtime_error(context.message);
  }
  // One entry of the table: device.run(&bptt_ops::fill, BPTT_FLOAT32, n, 0, out)
  template <class... Args>
  void run(bptt_code (*bptt_ops::*entry)(bptt_context*, Args...),
           std::type_identity_t<Args>... args) {
    check((backend->ops.*entry)(&context, args...));
  }

  const bptt_backend* const backend = bptt::cpu_backend();
  bptt_context context{};
};

// Device memory.
class Memory {
 public:
  Memory(Device& device, size_t bytes) : device_(device) {
    device.check(device.backend->allocate(&device.context, bytes, &data_));
  }
  ~Memory() { device_.backend->release(&device_.context, data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  operator void*() const { return data_; }

 private:
  Device& device_;
  void* data_ = nullptr;
};

// Numbers of float32 in device memory; zeros at first.
class Floats {
 public:
  Floats(Device& device, int64_t size)
      : size(size), device_(device), memory_(device, static_cast<size_t>(size) * sizeof(float)) {
    device.run(&bptt_ops::fill, BPTT_FLOAT32, size, 0, memory_);
  }
  operator void*() const { return memory_; }

  void set(const std::vector<float>& from) {
    const bptt_backend* backend = device_.backend;
    device_.check(
        backend->upload(&device_.context, memory_, from.data(), from.size() * sizeof(float)));
    device_.check(backend->wait(&device_.context));
  }
  std::vector<float> get() const {
    std::vector<float> to(static_cast<size_t>(size));
    const bptt_backend* backend = device_.backend;
    device_.check(
        backend->download(&device_.context, to.data(), memory_, to.size() * sizeof(float)));
    device_.check(backend->wait(&device_.context));
    return to;
  }

  const int64_t size;

 private:
  Device& device_;
  Memory memory_;
};

// A parameter with its gradient and Adam's state; uniform in [-bound, bound] at first.
struct Parameter {
  Parameter(Device& device, int64_t size, uint64_t seed)
      : value(device, size), grad(device, size), mean(device, size), square(device, size) {
    const double bound = 1 / std::sqrt(static_cast<double>(H));
    device.run(&bptt_ops::uniform, BPTT_FLOAT32, size, -bound, bound, bptt_rng{seed, 0}, value);
  }
  bptt_parameter for_update() const { return {value.size, value, grad, {mean, square, nullptr}}; }

  Floats value, grad, mean, square;
};

// The plan of one layer, for sequences of one length.
class Plan {
 public:
  explicit Plan(Device& device) : device_(device) {
    bptt_recurrent layer{};
    layer.cell = BPTT_LSTM;
    layer.dtype = BPTT_FLOAT32;
    layer.T = T, layer.B = B, layer.I = I, layer.H = H, layer.L = 1, layer.D = 1;
    layer.bias = layer.training = 1;
    device.run(&bptt_ops::plan_create, &layer, &plan_);
    device.backend->ops.plan_sizes(plan_, &sizes);
  }
  ~Plan() { device_.backend->ops.plan_destroy(plan_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  operator const bptt_plan*() const { return plan_; }

  bptt_plan_sizes sizes{};

 private:
  Device& device_;
  bptt_plan* plan_ = nullptr;
};

// out [m,n] = left [m,k] right [k,n], each read by its own strides.
bptt_matmul product(int64_t m, int64_t n, int64_t k, int64_t left_row, int64_t left_k,
                    int64_t right_k, int64_t right_col) {
  bptt_matmul call{};
  call.m = m, call.n = n, call.k = k;
  call.left_row = left_row, call.left_k = left_k;
  call.right_k = right_k, call.right_col = right_col;
  call.out_row = n;
  return call;
}

// Value t of the wave of batch row b.
float wave(int64_t t, int64_t b) {
  const double at = static_cast<double>(t) + 2.7 * static_cast<double>(b);
  return static_cast<float>(0.6 * std::sin(0.3 * at) + 0.4 * std::sin(0.71 * at));
}

// Whether the loss fell.
bool train() {
  Device device;
  Plan plan(device);
  Memory reserve(device, plan.sizes.reserve_bytes);
  Memory forward_workspace(device, plan.sizes.forward_workspace_bytes);
  Memory backward_workspace(device, plan.sizes.backward_workspace_bytes);

  Parameter weight_ih(device, 4 * H * I, 1), weight_hh(device, 4 * H * H, 2);
  Parameter bias_ih(device, 4 * H, 3), bias_hh(device, 4 * H, 4);
  Parameter weight(device, H, 5), bias(device, 1, 6);  // the linear layer on top
  bptt_recurrent_params params{}, dparams{};
  params.weight_ih = weight_ih.value, dparams.weight_ih = weight_ih.grad;
  params.weight_hh = weight_hh.value, dparams.weight_hh = weight_hh.grad;
  params.bias_ih = bias_ih.value, dparams.bias_ih = bias_ih.grad;
  params.bias_hh = bias_hh.value, dparams.bias_hh = bias_hh.grad;
  const std::vector<bptt_parameter> parameters = {weight_ih.for_update(), weight_hh.for_update(),
                                                  bias_ih.for_update(),   bias_hh.for_update(),
                                                  weight.for_update(),    bias.for_update()};

  constexpr int64_t kRows = T * B;
  Floats x(device, kRows), target(device, kRows);
  Floats y(device, kRows * H), dy(device, kRows * H);
  Floats said(device, kRows), dsaid(device, kRows);
  Floats loss(device, 1), one(device, 1);
  std::vector<float> now, next;
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t b = 0; b < B; ++b) now.push_back(wave(t, b)), next.push_back(wave(t + 1, b));
  }
  x.set(now);
  target.set(next);
  one.set({1});

  Memory step(device, sizeof(double));
  device.run(&bptt_ops::fill, BPTT_FLOAT64, 1, 0, step);
  bptt_optimizer adam{};
  adam.kind = BPTT_ADAM;
  adam.lr = 0.01;
  adam.beta1 = 0.9, adam.beta2 = 0.999, adam.eps = 1e-8;
  adam.step = static_cast<double*>(static_cast<void*>(step));

  const bptt_matmul linear = product(kRows, 1, H, H, 1, 1, H);          // y weight^T
  const bptt_matmul linear_dweight = product(1, H, kRows, 1, 1, H, 1);  // dsaid^T y
  const bptt_matmul linear_dy = product(kRows, H, 1, 1, 1, H, 1);       // dsaid weight
  const int64_t row_shape[] = {kRows};
  const int all[] = {1};

  float first = 0, last = 0;
  for (int at = 0; at <= kSteps; ++at) {
    bptt_recurrent_forward forward{};
    forward.params = &params;
    forward.x = x;
    forward.y = y;
    forward.reserve = reserve;
    forward.workspace = forward_workspace;
    device.run(&bptt_ops::recurrent_forward, plan, &forward);
    device.run(&bptt_ops::matmul, BPTT_FLOAT32, &linear, y, weight.value, bias.value, said);
    device.run(&bptt_ops::pairwise_loss, BPTT_FLOAT32, BPTT_MSE, BPTT_MEAN, kRows, said, target,
               loss);
    last = loss.get()[0];
    if (at == 0) first = last;
    if (at % 20 == 0) std::printf("step %3d  loss %.5f\n", at, static_cast<double>(last));

    device.run(&bptt_ops::pairwise_loss_backward, BPTT_FLOAT32, BPTT_MSE, BPTT_MEAN, kRows, said,
               target, one, dsaid, nullptr);
    device.run(&bptt_ops::matmul, BPTT_FLOAT32, &linear_dweight, dsaid, y, nullptr, weight.grad);
    device.run(&bptt_ops::sum, BPTT_FLOAT32, 1, row_shape, all, 1, dsaid, bias.grad);
    device.run(&bptt_ops::matmul, BPTT_FLOAT32, &linear_dy, dsaid, weight.value, nullptr, dy);
    bptt_recurrent_backward backward{};
    backward.params = &params;
    backward.dparams = &dparams;
    backward.x = x;
    backward.y = y;
    backward.dy = dy;
    backward.reserve = reserve;
    backward.workspace = backward_workspace;
    device.run(&bptt_ops::recurrent_backward, plan, &backward);
    device.run(&bptt_ops::optimize, BPTT_FLOAT32, &adam, std::ssize(parameters), parameters.data());
  }
  return last < first / 10;
}

}  // namespace

int main() try {
  if (train()) return 0;
  std::fprintf(stderr, "the loss did not fall to a tenth\n");
  return 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
