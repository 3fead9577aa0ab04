// Calls of every function of the driver, cuBLASLt and cuDNN fail once, and every piece of queued
// work breaks the context once, in a training step of all kinds of work: each time the step says
// so, a second attempt gives what an undisturbed one does, and nothing is left behind.
#include <cuda.h>

#include <array>
#include <cmath>
#include <list>

#include "backend/cuda_backend.h"
#include "cuda/library.h"
#include "driver/fake.h"
#include "native/ops.h"
#include "recurrent_layer.h"

using namespace bptt_test;

namespace {

constexpr int64_t kT = 3, kB = 2, kI = 2, kH = 3, kL = 2, kClasses = 4;

// -- a training step --------------------------------------------------------------------

// Keeps the first failure; after it nothing more is done.
class Attempt {
 public:
  Attempt(const bptt_backend& backend, bptt_context& context)
      : backend_(backend), context_(context) {}
  ~Attempt() {
    for (bptt_plan* plan : plans_) backend_.ops.plan_destroy(plan);
    for (void* buffer : buffers_) backend_.release(&context_, buffer);
  }

  template <class Entry, class... Arguments>
  void run(Entry entry, Arguments... arguments) {
    if (code == BPTT_OK) code = entry(&context_, arguments...);
  }
  // Device memory: zeros, or numbers that differ from call to call.
  float* zeros(int64_t n) { return upload(std::vector<float>(static_cast<size_t>(n))); }
  float* numbers(int64_t n) {
    const Doubles values = random_values(static_cast<size_t>(n), -0.5, 0.5, ++seed_);
    return upload(std::vector<float>(values.begin(), values.end()));
  }
  template <class T>
  T* upload(const std::vector<T>& values) {
    const size_t size = values.size() * sizeof(T);
    void* data = bytes(size);
    const auto* first = reinterpret_cast<const unsigned char*>(values.data());
    host_.emplace_back(first, first + size);
    run(backend_.upload, data, static_cast<const void*>(host_.back().data()), size);
    return static_cast<T*>(data);
  }
  void* bytes(size_t size) {
    void* data = nullptr;
    run(backend_.allocate, size, &data);
    if (data) buffers_.push_back(data);
    return data;
  }
  bptt_plan* plan(const bptt_recurrent& desc) {
    bptt_plan* made = nullptr;
    run(backend_.ops.plan_create, &desc, &made);
    if (made) plans_.push_back(made);
    return made;
  }
  Doubles download(const float* data, int64_t n) {
    host_.emplace_back(static_cast<size_t>(n) * sizeof(float));
    std::vector<unsigned char>& bytes = host_.back();
    run(backend_.download, static_cast<void*>(bytes.data()), static_cast<const void*>(data),
        bytes.size());
    run(backend_.wait);
    std::vector<float> numbers(static_cast<size_t>(n));
    std::memcpy(numbers.data(), bytes.data(), bytes.size());
    return Doubles(numbers.begin(), numbers.end());
  }

  const bptt_ops& ops() const { return backend_.ops; }
  bptt_code code = BPTT_OK;

 private:
  const bptt_backend& backend_;
  bptt_context& context_;
  // The host's side of copies: where a wait fails, they are made when a buffer is released.
  std::list<std::vector<unsigned char>> host_;
  std::vector<void*> buffers_;
  std::vector<bptt_plan*> plans_;
  unsigned seed_ = 0;
};

// Forward and backward of one stack over x [T,B,I]; returns y and dweights of the first layer.
std::array<float*, 2> recur(Attempt& a, const bptt_recurrent& desc, const float* x, float** dx) {
  std::vector<bptt_recurrent_params> params(kL), dparams(kL);
  for (int64_t layer = 0; layer < kL; ++layer) {
    bptt::for_each_parameter(
        desc, layer,
        [&](bptt::Parameter which, bool present, std::initializer_list<int64_t> shape) {
          if (!present) return;
          int64_t elements = 1;
          for (const int64_t size : shape) elements *= size;
          params[layer].*which = a.numbers(elements);
          dparams[layer].*which = a.zeros(elements);
        });
  }
  const bptt_plan* plan = a.plan(desc);
  bptt_plan_sizes sizes{};
  if (plan) a.ops().plan_sizes(plan, &sizes);
  float* y = a.zeros(kT * kB * kH);
  const bool cell = bptt::states_of(desc.cell) == 2;

  bptt_recurrent_forward forward{};
  forward.params = params.data();
  forward.packed = a.zeros(static_cast<int64_t>(sizes.packed_bytes / sizeof(float) + 1));
  forward.stamp = 5;
  forward.x = x;
  forward.h0 = a.numbers(kL * kB * kH);
  forward.c0 = cell ? a.numbers(kL * kB * kH) : nullptr;
  forward.y = y;
  forward.hn = a.zeros(kL * kB * kH);
  forward.cn = cell ? a.zeros(kL * kB * kH) : nullptr;
  forward.reserve = a.bytes(sizes.reserve_bytes);
  forward.workspace = a.bytes(sizes.forward_workspace_bytes);
  forward.rng = {3, 4};
  a.run(a.ops().recurrent_forward, plan, &forward);

  bptt_recurrent_backward backward{};
  backward.params = params.data();
  backward.packed = forward.packed;
  backward.stamp = forward.stamp;
  backward.x = x, backward.h0 = forward.h0, backward.c0 = forward.c0, backward.y = y;
  backward.dy = a.numbers(kT * kB * kH);
  backward.dx = *dx = a.zeros(kT * kB * kI);
  backward.dh0 = a.zeros(kL * kB * kH);
  backward.dc0 = cell ? a.zeros(kL * kB * kH) : nullptr;
  backward.dparams = dparams.data();
  backward.reserve = forward.reserve;
  backward.workspace = a.bytes(sizes.backward_workspace_bytes);
  backward.rng = forward.rng;
  a.run(a.ops().recurrent_backward, plan, &backward);
  return {y, static_cast<float*>(dparams[0].weight_hh)};
}

Doubles train(Attempt& a) {
  const std::vector<int32_t> index = {1, 0, 2, 2, 1, 3};  // also the targets
  const int64_t n = kT * kB;
  const int32_t* tokens = a.upload(index);
  const float* table = a.numbers(kClasses * kI);
  float* x = a.zeros(n * kI);
  a.run(a.ops().embedding, BPTT_FLOAT32, n, kClasses, kI, static_cast<const void*>(table), tokens,
        static_cast<void*>(x));

  const int32_t lengths[] = {2, 3}, with_empty[] = {0, 3};
  bptt_recurrent desc{};
  desc.dtype = BPTT_FLOAT32;
  desc.T = kT, desc.B = kB, desc.I = kI, desc.H = kH, desc.L = kL, desc.D = 1;
  desc.bias = desc.training = 1;
  desc.cell = BPTT_LSTM, desc.dropout = 0.3, desc.lengths = lengths;
  float *dx = nullptr, *dx_before = nullptr;
  const auto [y, dweights] = recur(a, desc, x, &dx);
  desc.cell = BPTT_GRU_RESET_BEFORE, desc.dropout = 0, desc.lengths = with_empty;
  const auto [y_before, dweights_before] = recur(a, desc, x, &dx_before);

  bptt_matmul product{};
  product.m = n, product.n = kClasses, product.k = kH;
  product.left_row = kH, product.left_k = 1, product.right_k = 1, product.right_col = kH;
  product.out_row = kClasses;
  const float *weight = a.numbers(kClasses * kH), *bias = a.numbers(kClasses);
  float *logits = a.zeros(n * kClasses), *dlogits = a.zeros(n * kClasses);
  a.run(a.ops().matmul, BPTT_FLOAT32, &product, static_cast<const void*>(y),
        static_cast<const void*>(weight), static_cast<const void*>(bias),
        static_cast<void*>(logits));
  float *loss = a.zeros(1), *lse = a.zeros(n + 1);
  const float* one = a.upload(std::vector<float>{1});
  a.run(a.ops().cross_entropy, BPTT_FLOAT32, BPTT_MEAN, n, kClasses, int64_t{1}, -100,
        static_cast<const void*>(logits), tokens, static_cast<void*>(loss),
        static_cast<void*>(lse));
  a.run(a.ops().cross_entropy_backward, BPTT_FLOAT32, BPTT_MEAN, n, kClasses, int64_t{1}, -100,
        static_cast<const void*>(logits), tokens, static_cast<const void*>(lse),
        static_cast<const void*>(one), static_cast<void*>(dlogits));
  float* dtable = a.zeros(kClasses * kI);
  a.run(a.ops().embedding_backward, BPTT_FLOAT32, n, kClasses, kI, int64_t{-1}, tokens,
        static_cast<const void*>(dx), static_cast<void*>(dtable));

  void* grads[] = {dweights, dweights_before, dlogits};
  const int64_t sizes[] = {4 * kH * kH, 3 * kH * kH, n * kClasses};
  float* norm = a.zeros(1);
  a.run(a.ops().grad_norm, BPTT_FLOAT32, int64_t{3}, static_cast<const void* const*>(grads), sizes,
        static_cast<void*>(norm));
  a.run(a.ops().clip_grads, BPTT_FLOAT32, int64_t{3}, static_cast<void* const*>(grads), sizes, 0.1,
        static_cast<const void*>(norm));
  float* value = a.numbers(sizes[0]);
  bptt_parameter parameter = {sizes[0], value, dweights, {a.zeros(sizes[0]), a.zeros(sizes[0])}};
  bptt_optimizer adam{};
  adam.kind = BPTT_ADAM;
  adam.lr = 0.1, adam.beta1 = 0.9, adam.beta2 = 0.99, adam.eps = 1e-8;
  adam.step = a.upload(std::vector<double>{0});
  a.run(a.ops().optimize, BPTT_FLOAT32, &adam, int64_t{1}, &parameter);

  Doubles results;
  const std::pair<const float*, int64_t> parts[] = {
      {y, n * kH}, {y_before, n * kH}, {dtable, kClasses * kI}, {dx_before, n * kI},
      {loss, 1},   {norm, 1},          {value, sizes[0]}};
  for (const auto& [data, count] : parts)
    for (double number : a.download(data, count)) results.push_back(number);
  return results;
}

// -- what goes wrong -------------------------------------------------------------------------

struct Function {
  const char* name;
  int code;  // of its failure
};
#define STRING(...) #__VA_ARGS__
#define DRIVER(name) {STRING(name), CUDA_ERROR_UNKNOWN},
#define CUBLASLT(name) {STRING(name), CUBLAS_STATUS_INTERNAL_ERROR},
#define CUDNN(name) {STRING(name), CUDNN_STATUS_INTERNAL_ERROR},
const Function kFunctions[] = {BPTT_DRIVER_FUNCTIONS(DRIVER) BPTT_CUBLASLT_FUNCTIONS(CUBLASLT)
                                   BPTT_CUDNN_FUNCTIONS(CUDNN)};

// Whether a function gives something back: where it fails, that stays.
bool gives_back(const std::string& name) {
  for (const char* part : {"Destroy", "Free", "Release", "Unload", "CtxSetCurrent"})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

constexpr int kMostCalls = 6;   // of a function that are made to fail, each in a step of its own
constexpr int kWorkStride = 4;  // every fourth piece of work is made to break the context

class Test {
 public:
  explicit Test(const bptt_backend& backend) : backend_(backend) {
    bptt_context context{};
    open(context);
    {
      Attempt undisturbed(backend_, context);
      expected_ = train(undisturbed);
      CHECK_MSG(undisturbed.code == BPTT_OK, "%s", context.message);
    }
    for (double number : expected_) CHECK(std::isfinite(number));
    for (const Function& function : kFunctions) calls_.push_back(fake_cuda_calls(function.name));
    close(context);
  }

  void each_call_fails() {
    int failed = 0;
    for (size_t i = 0; i < std::size(kFunctions); ++i) {
      // Of many calls only some are made to fail: those of one loop are alike.
      const int stride = calls_[i] / kMostCalls + 1;
      for (int nth = 1; nth <= calls_[i]; nth += stride) failed += call_fails(kFunctions[i], nth);
    }
    CHECK_MSG(failed > 100, "only %d calls made a step fail", failed);
  }

  // Nothing but closing helps a context that is broken.
  void work_breaks() {
    int broken = 0;
    for (int nth = 1; work_breaks(nth); nth += kWorkStride) ++broken;
    CHECK_MSG(broken > 20, "only %d pieces of work", broken);
  }

 private:
  void open(bptt_context& context) {
    CHECK_MSG(backend_.open(&context, 0) == BPTT_OK, "%s", context.message);
  }
  void close(bptt_context& context) {
    backend_.close(&context);
    CHECK(fake_cuda_live(nullptr) == 0 && fake_cuda_live_buffers() == 0);
  }
  static void check_words(const char* name, int nth, const bptt_context& context) {
    CHECK_MSG(std::strlen(context.message) > 8, "%s, call %d: \"%s\"", name, nth, context.message);
  }

  // Whether a step has so many pieces of work.
  bool work_breaks(int nth) {
    bptt_context context{};
    open(context);
    fake_cuda_fail_work(nth, CUDA_ERROR_ILLEGAL_ADDRESS);
    bool broken = false;
    {
      Attempt attempt(backend_, context);
      train(attempt);
      broken = attempt.code != BPTT_OK;
      if (broken) {
        check_words("queued work", nth, context);
        Attempt again(backend_, context);
        train(again);
        CHECK_MSG(again.code == BPTT_DEVICE, "work %d: goes on with %d", nth, again.code);
      }
    }
    backend_.close(&context);
    fake_cuda_reset();
    CHECK(cuInit(0) == CUDA_SUCCESS);
    return broken;
  }

  // Whether that made a step fail.
  bool call_fails(const Function& function, int nth) {
    const auto [name, code] = function;
    bptt_context context{};
    fake_cuda_fail_call(name, nth, code);
    const bool opened = backend_.open(&context, 0) == BPTT_OK;
    bool failed = !opened;
    if (failed) check_words(name, nth, context);
    if (!opened) open(context);
    {
      Attempt attempt(backend_, context);
      const Doubles results = train(attempt);
      if (attempt.code != BPTT_OK) {
        failed = true;
        check_words(name, nth, context);
      } else {
        CHECK_MSG(same_bits(results, expected_), "%s, call %d: other results", name, nth);
      }
    }
    {
      Attempt again(backend_, context);
      const Doubles results = train(again);
      CHECK_MSG(again.code == BPTT_OK && same_bits(results, expected_),
                "%s, call %d: not mended at the next attempt: %s", name, nth, context.message);
    }
    backend_.close(&context);
    char left[512] = "";
    fake_cuda_report(left, sizeof(left));
    CHECK_MSG(!*left || gives_back(name), "%s, call %d: left behind: %s", name, nth, left);
    fake_cuda_reset();
    CHECK(cuInit(0) == CUDA_SUCCESS);
    return failed;
  }

  const bptt_backend& backend_;
  Doubles expected_;
  std::vector<int> calls_;  // of each function, in an undisturbed step
};

}  // namespace

int main() {
  const bptt_backend* backend = cuda_backend();
  if (!backend) return finish();
  Test test(*backend);
  test.each_call_fails();
  test.work_breaks();
  return finish();
}
