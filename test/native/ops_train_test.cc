// Matrix products, embeddings and optimizers.
#include "ops.h"
#include "optimizer_cases.h"

using namespace bptt_test;

namespace {

// -- matrix products ----------------------------------------------------------------

enum class Start { kZero, kBias, kAccumulate };

// Transposed operands have their strides swapped; out has 3 columns to spare.
template <class T>
void test_matmul_case(int64_t m, int64_t n, int64_t k, bool left_t, bool right_t, Start start,
                      const std::vector<int64_t>& batch = {},
                      const std::vector<int64_t>& left_batch = {},
                      const std::vector<int64_t>& right_batch = {}) {
  bptt_matmul p{};
  p.m = m;
  p.n = n;
  p.k = k;
  p.left_row = left_t ? 1 : k;
  p.left_k = left_t ? m : 1;
  p.right_k = right_t ? 1 : n;
  p.right_col = right_t ? k : 1;
  p.out_row = n + 3;
  p.accumulate = start == Start::kAccumulate;
  p.batch_rank = static_cast<int>(batch.size());
  const std::vector<int64_t> out_batch = dense(batch);
  for (size_t d = 0; d < batch.size(); ++d) {
    p.batch_shape[d] = batch[d];
    p.left_batch[d] = left_batch[d] * m * k;  // given in matrices; 0 broadcasts
    p.right_batch[d] = right_batch[d] * k * n;
    p.out_batch[d] = out_batch[d] * m * p.out_row;
  }
  const int64_t batches = product(batch);
  const Doubles a = random_values(batches * m * k, -1, 1, 1);
  const Doubles b = random_values(batches * k * n, -1, 1, 2);
  const Doubles bias = random_values(n, -1, 1, 3), before = random_values(batches * m * p.out_row);
  Doubles expected = before;
  for (int64_t at = 0; at < batches; ++at) {
    int64_t from_a = 0, from_b = 0, rest = at;
    for (size_t d = batch.size(); d-- > 0; rest /= batch[d]) {
      from_a += rest % batch[d] * left_batch[d];
      from_b += rest % batch[d] * right_batch[d];
    }
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double& out = expected[(at * m + i) * p.out_row + j];
        if (start != Start::kAccumulate) out = start == Start::kBias ? bias[j] : 0;
        for (int64_t kk = 0; kk < k; ++kk)
          out += a[from_a * m * k + i * p.left_row + kk * p.left_k] *
                 b[from_b * k * n + kk * p.right_k + j * p.right_col];
      }
    }
  }
  const std::string name = "matmul " + std::to_string(m) + "," + std::to_string(n) + "," +
                           std::to_string(k) + " x" + std::to_string(batches);
  // One accumulator takes all of k.
  const double tolerance = kTolerance<T> * (2 + static_cast<double>(k) / 1000);
  check_everywhere(name, expected, tolerance, [&](Backend& backend) {
    Array<T> left(a), right(b), start_bias(bias), out(before);
    CHECK(backend.ops.matmul(&backend.context, dtype_of<T>, &p, left, right,
                             start == Start::kBias ? static_cast<T*>(start_bias) : nullptr,
                             out) == BPTT_OK);
    return out.doubles();
  });
}

template <class T>
void test_matmul() {
  for (Start start : {Start::kZero, Start::kBias, Start::kAccumulate}) {
    for (int64_t m : {0, 1, 3, 17})
      for (int64_t n : {0, 1, 7, 33})
        for (int64_t k : {0, 1, 9, 64}) test_matmul_case<T>(m, n, k, false, true, start);
    for (bool left_t : {false, true})
      for (bool right_t : {false, true}) {
        test_matmul_case<T>(65, 129, 70, left_t, right_t, start);  // rows divided
        test_matmul_case<T>(5, 700, 80, left_t, right_t, start);   // panels divided
      }
  }
  // More of right than is packed at once, with divided rows and with divided panels.
  test_matmul_case<T>(200, 300, 4500, false, false, Start::kBias);
  test_matmul_case<T>(2, 600, 2500, false, true, Start::kBias);
  test_matmul_case<T>(33, 150, 9000, true, false, Start::kAccumulate);  // several runs
  // Batches: many small, few large, and either side broadcast over an axis.
  test_matmul_case<T>(3, 5, 7, false, false, Start::kZero, {40}, {1}, {1});
  test_matmul_case<T>(20, 30, 40, false, true, Start::kZero, {3, 4}, {4, 1}, {0, 1});
  test_matmul_case<T>(20, 30, 40, true, false, Start::kAccumulate, {3, 4}, {0, 1}, {4, 1});
  test_matmul_case<T>(20, 30, 40, false, false, Start::kZero, {12}, {1}, {0});
  test_matmul_case<T>(70, 80, 90, false, false, Start::kZero, {2}, {1}, {1});
  test_matmul_case<T>(4, 5, 6, false, false, Start::kZero, {0}, {1}, {1});
}

// -- embedding -------------------------------------------------------------------------

template <class T>
void test_embedding_case(int64_t n, int64_t rows, int64_t cols, int64_t padding) {
  const Doubles table = random_values(rows * cols), dout = random_values(n * cols, -1, 1, 4);
  std::vector<int32_t> index(n);
  for (int64_t i = 0; i < n; ++i) index[i] = static_cast<int32_t>(i * i * 7 % rows);
  Doubles expected(n * cols), dtable(rows * cols);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      expected[i * cols + j] = table[index[i] * cols + j];
      if (index[i] != padding) dtable[index[i] * cols + j] += dout[i * cols + j];
    }
  check_everywhere("embedding", expected, 0, [&](Backend& b) {
    Array<T> from(table), out(n * cols);
    CHECK(b.ops.embedding(&b.context, dtype_of<T>, n, rows, cols, from, index.data(), out) ==
          BPTT_OK);
    return out.doubles();
  });
  check_everywhere("embedding backward", dtable, kTolerance<T>, [&](Backend& b) {
    Array<T> grad(dout), out(rows * cols);
    CHECK(b.ops.embedding_backward(&b.context, dtype_of<T>, n, rows, cols, padding, index.data(),
                                   grad, out) == BPTT_OK);
    return out.doubles();
  });
}

template <class T>
void test_embedding() {
  for (int64_t n : {0, 1, 9, 129})
    for (int64_t cols : {0, 1, 7, 17, 64}) test_embedding_case<T>(n, 5, cols, -1);
  test_embedding_case<T>(100, 5, 9, 3);
  test_embedding_case<T>(3000, 700, 65, 0);
  Backend b(cpu_tables().front());
  Array<T> from(size_t{12}, T(1)), out(size_t{12});
  for (int32_t bad : {4, -1}) {
    const int32_t index[] = {0, 3, bad};
    for (bool backward : {false, true}) {
      b.context.message[0] = 0;
      CHECK((backward
                 ? b.ops.embedding_backward(&b.context, dtype_of<T>, 3, 4, 3, -1, index, from, out)
                 : b.ops.embedding(&b.context, dtype_of<T>, 3, 4, 3, from, index, out)) ==
            BPTT_INDEX);
      CHECK(std::strstr(b.context.message, bad == 4 ? "index[2] = 4" : "index[2] = -1"));
      CHECK(std::strstr(b.context.message, "[0, 4)"));
    }
  }
}

// -- optimizers --------------------------------------------------------------------------

// One element under torch.optim's single-tensor algorithm, as its documentation
// writes it.
struct Element {
  double value, m = 0, v = 0, extra = 0, product = 1;

  void step(const bptt_optimizer& o, double g, int t) {
    if (o.kind == BPTT_AVERAGE) {
      const double weight = t == 1 ? 1 : o.alpha < 0 ? 1.0 / t : 1 - o.alpha;
      value += (g - value) * weight;
      return;
    }
    if (o.maximize) g = -g;
    if (o.kind == BPTT_ADAMW || o.decoupled) {
      value -= o.lr * o.weight_decay * value;
    } else {
      g += o.weight_decay * value;
    }
    if (o.kind == BPTT_SGD) {
      if (o.momentum != 0) {
        m = t == 1 ? g : o.momentum * m + (1 - o.dampening) * g;
        g = o.nesterov ? g + o.momentum * m : m;
      }
      value -= o.lr * g;
    } else if (o.kind == BPTT_RMSPROP) {
      m = o.alpha * m + (1 - o.alpha) * g * g;  // square_avg
      double average = m;
      if (o.centered) {
        extra = o.alpha * extra + (1 - o.alpha) * g;  // grad_avg
        average -= extra * extra;
      }
      g /= std::sqrt(average) + o.eps;
      v = o.momentum * v + g;  // momentum_buffer
      value -= o.lr * (o.momentum > 0 ? v : g);
    } else if (o.kind == BPTT_ADAGRAD) {
      m += g * g;  // sum
      value -= o.lr / (1 + (t - 1) * o.lr_decay) * g / (std::sqrt(m) + o.eps);
    } else if (o.kind == BPTT_NADAM || o.kind == BPTT_RADAM) {
      m = o.beta1 * m + (1 - o.beta1) * g;
      v = o.beta2 * v + (1 - o.beta2) * g * g;
      const double rest = 1 - std::pow(o.beta2, t);
      if (o.kind == BPTT_NADAM) {
        const double mu = o.beta1 * (1 - 0.5 * std::pow(o.mu_decay, t));
        const double next = o.beta1 * (1 - 0.5 * std::pow(o.mu_decay, t + 1));
        product *= mu;
        const double divisor = std::sqrt(v / rest) + o.eps;
        value -= o.lr * (1 - mu) / (1 - product) * g / divisor;
        value -= o.lr * next / (1 - product * next) * m / divisor;
        return;
      }
      const double most = 2 / (1 - o.beta2) - 1;
      const double length = most - 2 * t * std::pow(o.beta2, t) / rest;
      double size = o.lr / (1 - std::pow(o.beta1, t));
      if (length > 5) {
        size *= std::sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length));
        size *= std::sqrt(rest) / (std::sqrt(v) + o.eps);
      }
      value -= size * m;
    } else {
      m = o.beta1 * m + (1 - o.beta1) * g;
      v = o.beta2 * v + (1 - o.beta2) * g * g;
      extra = std::fmax(extra, v);  // max_exp_avg_sq
      const double corrected = (o.amsgrad ? extra : v) / (1 - std::pow(o.beta2, t));
      value -= o.lr * m / (1 - std::pow(o.beta1, t)) / (std::sqrt(corrected) + o.eps);
    }
  }
};

constexpr int64_t kParameterSizes[] = {1, 9, 5000, 0, 129};
constexpr int kSteps = 7;  // RAdam is rectified from the sixth on

Doubles gradient_at(int64_t n, int t) { return random_values(n, -1, 1.5, 100 + t); }

template <class T>
void test_optimizer(const char* name, const bptt_optimizer& options, double tolerance) {
  Doubles expected;
  for (int64_t n : kParameterSizes) {
    const Doubles value = random_values(n, -2, 2);
    for (int64_t i = 0; i < n; ++i) {
      Element element{value[i]};
      for (int t = 1; t <= kSteps; ++t) element.step(options, gradient_at(n, t)[i], t);
      expected.push_back(element.value);
      if (n > 1000) i += 40;  // the reference recomputes gradients: a sample will do
    }
  }
  check_everywhere(name, expected, tolerance, [&](Backend& b) {
    std::vector<Array<T>> values, states;
    for (int64_t n : kParameterSizes) {
      values.emplace_back(random_values(n, -2, 2));
      for (int s = 0; s < 3; ++s) states.emplace_back(static_cast<size_t>(n), T(0));
    }
    double step = 0;
    bptt_optimizer o = options;
    o.step = &step;
    for (int t = 1; t <= kSteps; ++t) {
      std::vector<Array<T>> grads;
      std::vector<bptt_parameter> parameters;
      for (int64_t n : kParameterSizes) grads.emplace_back(gradient_at(n, t));
      const auto needed = needed_states(o);
      for (size_t i = 0; i < grads.size(); ++i) {
        bptt_parameter p{kParameterSizes[i], values[i], grads[i], {}};
        for (size_t s = 0; s < 3; ++s)
          if (needed[s]) p.state[s] = static_cast<T*>(states[3 * i + s]);
        parameters.push_back(p);
      }
      CHECK(b.ops.optimize(&b.context, dtype_of<T>, &o, static_cast<int64_t>(parameters.size()),
                           parameters.data()) == BPTT_OK);
      CHECK(step == t);
    }
    Doubles all;
    for (Array<T>& value : values) {
      const Doubles numbers = value.doubles();
      for (size_t i = 0; i < numbers.size(); ++i) {
        all.push_back(numbers[i]);
        if (numbers.size() > 1000) i += 40;
      }
    }
    return all;
  });
}

template <class T>
void test_optimizers() {
  for_each_optimizer([](const char* name, const bptt_optimizer& options) {
    // The first steps of Adam and RMSprop divide by a root of small sums.
    test_optimizer<T>(name, options, 4 * kTolerance<T>);
  });
}

// -- gradient norm -------------------------------------------------------------------------

template <class T>
void test_clip_case(double magnitude, double max_norm) {
  Doubles all;
  for (int64_t n : kParameterSizes)
    for (double v : random_values(n)) all.push_back(static_cast<T>(v * magnitude));
  double squares = 0;
  for (double v : all) squares += v * v;
  const double norm = std::sqrt(squares), ratio = max_norm / (norm + 1e-6);
  for (double& v : all) v *= ratio < 1 ? ratio : 1;
  all.push_back(norm);
  check_everywhere("clip", all, kTolerance<T>, [&](Backend& b) {
    std::vector<Array<T>> grads;
    std::vector<void*> pointers;
    for (int64_t n : kParameterSizes) {
      Doubles g = random_values(n);
      for (double& v : g) v *= magnitude;
      grads.emplace_back(g);
    }
    for (Array<T>& g : grads) pointers.push_back(static_cast<T*>(g));
    Array<T> total(size_t{1});
    const int64_t count = static_cast<int64_t>(grads.size());
    CHECK(b.ops.grad_norm(&b.context, dtype_of<T>, count, pointers.data(), kParameterSizes,
                          total) == BPTT_OK);
    CHECK(b.ops.clip_grads(&b.context, dtype_of<T>, count, pointers.data(), kParameterSizes,
                           max_norm, total) == BPTT_OK);
    Doubles result;
    for (Array<T>& g : grads)
      for (double v : g.doubles()) result.push_back(v);
    result.push_back(total[0]);
    return result;
  });
}

template <class T>
void test_clip() {
  test_clip_case<T>(1, 5);
  test_clip_case<T>(1, 1e9);
  test_clip_case<T>(1e-25, 1);  // squares below the range of float
  test_clip_case<T>(1e25, 1);   // and above it
  // NaN spreads to every gradient.
  Backend b(cpu_tables().front());
  Array<T> grad(Doubles{1, std::nan(""), 3}), norm(size_t{1});
  void* pointer = static_cast<T*>(grad);
  const int64_t size = 3;
  b.ops.grad_norm(&b.context, dtype_of<T>, 1, &pointer, &size, norm);
  b.ops.clip_grads(&b.context, dtype_of<T>, 1, &pointer, &size, 1, norm);
  CHECK(std::isnan(norm[0]) && std::isnan(grad[0]) && std::isnan(grad[2]));
  // By value, without a norm.
  check_everywhere("clamp", {-1.5, -1.5, -1, 0, 1.5, 1.5}, 0, [](Backend& each) {
    Array<T> grads(Doubles{-HUGE_VAL, -2, -1, 0, 1.5, 7});
    void* first = static_cast<T*>(grads);
    const int64_t six = 6;
    CHECK(each.ops.clip_grads(&each.context, dtype_of<T>, 1, &first, &six, 1.5, nullptr) ==
          BPTT_OK);
    return grads.doubles();
  });
  Array<T> bad(Doubles{3, std::nan("")});
  pointer = static_cast<T*>(bad);
  const int64_t two = 2;
  b.ops.clip_grads(&b.context, dtype_of<T>, 1, &pointer, &two, 1, nullptr);
  CHECK(bad[0] == 1 && std::isnan(bad[1]));
  // No gradients at all have norm 0.
  CHECK(b.ops.grad_norm(&b.context, dtype_of<T>, 0, nullptr, nullptr, norm) == BPTT_OK);
  CHECK(norm[0] == 0);
}

template <class T>
void test_all() {
  test_matmul<T>();
  test_embedding<T>();
  test_optimizers<T>();
  test_clip<T>();
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return finish();
}
