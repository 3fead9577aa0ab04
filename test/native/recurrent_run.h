// Runs a recurrent case on a kernel table, with buffers of exactly the sizes that
// the plan asks for, full of NaN, and tensors that are aligned to nothing.
#pragma once

#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>

#include "check.h"
#include "recurrent_reference.h"

namespace bptt_test {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// 64-byte aligned, filled with NaN.
class Block {
 public:
  explicit Block(size_t bytes) : bytes_(bytes) {
    data_ = ::operator new(bytes, std::align_val_t(64));
    std::memset(data_, 0xff, bytes);
  }
  ~Block() { ::operator delete(data_, std::align_val_t(64)); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* data() { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  void* data_;
};

// A tensor of the kernel's type one element past an aligned address.
template <class Scalar>
class Buffer {
 public:
  Buffer() : data_(1, Scalar(0)) {}
  explicit Buffer(size_t n) : data_(n + 1, static_cast<Scalar>(kNaN)) {}
  explicit Buffer(const std::vector<double>& from) : Buffer(from.size()) {
    for (size_t i = 0; i < from.size(); ++i) data_[i + 1] = static_cast<Scalar>(from[i]);
  }
  Scalar* data() { return size() > 0 ? data_.data() + 1 : nullptr; }
  size_t size() const { return data_.size() - 1; }
  std::vector<double> values() const { return {data_.begin() + 1, data_.end()}; }

 private:
  std::vector<Scalar> data_;
};

// What a run is asked for besides the case.
struct RunOptions {
  bool training = true;
  bool backward = true;
  bool packed = true;       // keep packed weights, else the workspace
  bool outer = true;        // dy, dhn and dcn are given
  uint64_t wanted = ~0ull;  // bit i: gradient number i of for_each_tensor
  bptt_code expected = BPTT_OK;
  bptt_compute compute = BPTT_COMPUTE_DTYPE;
};

struct Problem {
  RecurrentCase at;
  Inputs<double> in;
  std::vector<double> dy, dhn, dcn;
};

// Numbers that float32 holds exactly, uniform in (-scale, scale).
inline std::vector<double> numbers(std::mt19937& random, int64_t n, double scale) {
  std::vector<double> out(n);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (double& v : out) v = static_cast<float>(scale) * uniform(random);
  for (double& v : out) v = static_cast<float>(v);
  return out;
}

inline bptt_recurrent describe(const RecurrentCase& at, bptt_dtype dtype, bool training) {
  bptt_recurrent desc = {};
  desc.cell = at.cell;
  desc.dtype = dtype;
  desc.T = at.T;
  desc.B = at.B;
  desc.I = at.I;
  desc.H = at.H;
  desc.P = at.P;
  desc.L = at.L;
  desc.D = at.D;
  desc.bias = at.bias;
  desc.batch_first = at.batch_first;
  desc.training = training;
  desc.dropout = training ? at.dropout : 0;
  desc.lengths = at.lengths.empty() ? nullptr : at.lengths.data();
  return desc;
}

// Elements of a parameter of pseudo-layer i; 0: the layer has none.
inline int64_t size_of(const bptt_recurrent& desc, int64_t i, bptt::Parameter wanted) {
  int64_t elements = 0;
  bptt::for_each_parameter(
      desc, i, [&](bptt::Parameter which, bool present, std::initializer_list<int64_t> shape) {
        if (which != wanted || !present) return;
        elements = 1;
        for (const int64_t size : shape) elements *= size;
      });
  return elements;
}

inline Problem make_problem(const RecurrentCase& at, uint32_t seed) {
  std::mt19937 random(seed);
  Problem problem;
  problem.at = at;
  const int64_t states = at.L * at.D * at.B, Hout = at.Hout();
  problem.in.x = numbers(random, at.T * at.B * at.I, 1.5);
  if (at.states) {
    problem.in.h0 = numbers(random, states * Hout, 1);
    problem.in.c0 = numbers(random, at.has_c() ? states * at.H : 0, 1);
    if (!at.has_c()) problem.in.c0.assign(states * at.H, 0.0);
  }
  const double scale = 1.5 / std::sqrt(static_cast<double>(at.H));
  const bptt_recurrent desc = describe(at, BPTT_FLOAT64, true);
  problem.in.params.resize(at.L * at.D);
  for (int64_t i = 0; i < at.L * at.D; ++i) {
    Params<double>& p = problem.in.params[i];
#define BPTT_DRAW(name, ...) \
  p.name = numbers(random, size_of(desc, i, &bptt_recurrent_params::name), scale);
    BPTT_PARAMETERS(BPTT_DRAW)
#undef BPTT_DRAW
  }
  problem.dy = numbers(random, at.T * at.B * at.D * Hout, 1);
  problem.dhn = numbers(random, states * Hout, 1);
  problem.dcn = numbers(random, states * at.H, 1);
  return problem;
}

// The kernel's layout of a time-major tensor of n columns, and back. Padding is NaN.
inline std::vector<double> to_user(const RecurrentCase& at, int64_t n, const std::vector<double>& v,
                                   bool pad = true) {
  std::vector<double> out(v.size());
  for (int64_t t = 0; t < at.T; ++t) {
    for (int64_t b = 0; b < at.B; ++b) {
      const int64_t row = at.batch_first ? b * at.T + t : t * at.B + b;
      for (int64_t j = 0; j < n; ++j) {
        out[row * n + j] = pad && t >= at.length(b) ? kNaN : v[(t * at.B + b) * n + j];
      }
    }
  }
  return out;
}

inline std::vector<double> from_user(const RecurrentCase& at, int64_t n,
                                     const std::vector<double>& v) {
  std::vector<double> out(v.size());
  for (int64_t t = 0; t < at.T; ++t) {
    for (int64_t b = 0; b < at.B; ++b) {
      const int64_t row = at.batch_first ? b * at.T + t : t * at.B + b;
      for (int64_t j = 0; j < n && !v.empty(); ++j) {
        out[(t * at.B + b) * n + j] = v[row * n + j];
      }
    }
  }
  return out;
}

struct PlanOwner {
  const bptt_ops* ops;
  bptt_plan* plan = nullptr;
  ~PlanOwner() {
    if (plan) ops->plan_destroy(plan);
  }
};

template <class Scalar>
Results run(const bptt_ops* ops, const Problem& problem, const RunOptions& options = {},
            bptt_context context = {}) {
  const RecurrentCase& at = problem.at;
  const bptt_dtype dtype = sizeof(Scalar) == 8 ? BPTT_FLOAT64 : BPTT_FLOAT32;
  const bool has_c = at.has_c();
  const int64_t width = at.D * at.Hout();
  Results results;
  bptt_recurrent desc = describe(at, dtype, options.training);
  desc.compute = options.compute;
  PlanOwner owner = {ops};
  if (!CHECK(ops->plan_create(&context, &desc, &owner.plan) == BPTT_OK)) return results;
  bptt_plan_sizes sizes;
  ops->plan_sizes(owner.plan, &sizes);
  CHECK(options.training || (sizes.reserve_bytes == 0 && sizes.backward_workspace_bytes == 0));

  std::vector<Buffer<Scalar>> tensors;
  for_each_tensor(problem.in, problem.in,
                  [&](const std::vector<double>& v, const auto&) { tensors.emplace_back(v); });
  tensors[0] = Buffer<Scalar>(to_user(at, at.I, problem.in.x));
  Buffer<Scalar> y(problem.dy.size()), hn(problem.dhn.size()), cn(problem.dcn.size());
  Buffer<Scalar> dy(to_user(at, width, problem.dy)), dhn(problem.dhn), dcn(problem.dcn);
  std::vector<Buffer<Scalar>> grads;
  for (Buffer<Scalar>& tensor : tensors) grads.emplace_back(tensor.size());
  const auto params_of = [&](std::vector<Buffer<Scalar>>& from, uint64_t mask) {
    std::vector<bptt_recurrent_params> params;
    const auto pointer = [&](size_t i) -> void* {
      return mask >> (i % 64) & 1 ? from[i].data() : nullptr;
    };
    for (size_t i = 3; i < from.size();) {
#define BPTT_POINTER(name, ...) pointer(i++),
      params.push_back({BPTT_PARAMETERS(BPTT_POINTER)});
#undef BPTT_POINTER
    }
    return params;
  };
  const std::vector<bptt_recurrent_params> params = params_of(tensors, ~0ull);
  const std::vector<bptt_recurrent_params> dparams = params_of(grads, options.wanted);

  Block packed(sizes.packed_bytes), reserve(sizes.reserve_bytes);
  std::memset(packed.data(), 0, 64);
  {
    Block workspace(sizes.forward_workspace_bytes -
                    (options.packed ? sizes.forward_packing_bytes : 0));
    bptt_recurrent_forward call = {};
    call.params = params.data();
    call.packed = options.packed ? packed.data() : nullptr;
    call.stamp = 7;
    call.x = tensors[0].data();
    call.h0 = at.states ? tensors[1].data() : nullptr;
    call.c0 = at.states && has_c ? tensors[2].data() : nullptr;
    call.y = y.data();
    call.hn = hn.data();
    call.cn = has_c ? cn.data() : nullptr;
    call.reserve = reserve.data();
    call.workspace = workspace.data();
    call.rng = at.rng;
    const bptt_code code = ops->recurrent_forward(&context, owner.plan, &call);
    CHECK(code == (options.backward ? BPTT_OK : options.expected));
    if (code != BPTT_OK) return results;
  }
  results.y = from_user(at, width, y.values());
  results.hn = hn.values();
  if (has_c) results.cn = cn.values();
  if (!options.backward) return results;

  Block workspace(sizes.backward_workspace_bytes -
                  (options.packed ? sizes.backward_packing_bytes : 0));
  bptt_recurrent_backward call = {};
  call.params = params.data();
  call.packed = options.packed ? packed.data() : nullptr;
  call.stamp = 7;
  call.x = tensors[0].data();
  call.h0 = at.states ? tensors[1].data() : nullptr;
  call.c0 = at.states && has_c ? tensors[2].data() : nullptr;
  call.y = y.data();
  call.dy = options.outer ? dy.data() : nullptr;
  call.dhn = options.outer ? dhn.data() : nullptr;
  call.dcn = options.outer && has_c ? dcn.data() : nullptr;
  call.dx = options.wanted & 1 ? grads[0].data() : nullptr;
  call.dh0 = options.wanted & 2 ? grads[1].data() : nullptr;
  call.dc0 = options.wanted & 4 && has_c ? grads[2].data() : nullptr;
  call.dparams = dparams.data();
  call.reserve = reserve.data();
  call.workspace = workspace.data();
  call.rng = at.rng;
  const bptt_code code = ops->recurrent_backward(&context, owner.plan, &call);
  CHECK(code == options.expected);
  if (code != BPTT_OK) return results;
  results.gradients.params.resize(at.L * at.D);
  size_t i = 0;
  for_each_tensor(results.gradients, results.gradients,
                  [&](std::vector<double>& to, auto&) { to = grads[i++].values(); });
  if (!has_c) results.gradients.c0.assign(results.gradients.c0.size(), 0.0);
  results.gradients.x = from_user(at, at.I, results.gradients.x);
  return results;
}

inline std::string name_of(const RecurrentCase& at) {
#define BPTT_NAME(enumerator, name, ...) #name,
  static const char* cells[] = {BPTT_CELLS(BPTT_NAME)};
#undef BPTT_NAME
  char text[256];
  std::snprintf(
      text, sizeof text, "%s T%d B%d I%d H%d P%d L%d D%d bias%d states%d bf%d drop%.1f len%d",
      cells[at.cell], int(at.T), int(at.B), int(at.I), int(at.H), int(at.P), int(at.L), int(at.D),
      at.bias, at.states, at.batch_first, at.dropout, at.lengths.empty() ? -1 : int(at.lengths[0]));
  return text;
}

// Largest difference over largest magnitude, or over 0.1 where a tensor of few
// numbers happens to be near zero; NaN anywhere gives infinity.
inline double error_of(const std::vector<double>& got, const std::vector<double>& want) {
  if (got.size() != want.size()) return HUGE_VAL;
  double error = 0, most = 0.1;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!(std::fabs(got[i] - want[i]) < HUGE_VAL)) return HUGE_VAL;
    error = std::fmax(error, std::fabs(got[i] - want[i]));
    most = std::fmax(most, std::fabs(want[i]));
  }
  return error / most;
}

inline bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

inline bool same_bits(const Results& a, const Results& b) {
  bool same = same_bits(a.y, b.y) && same_bits(a.hn, b.hn) && same_bits(a.cn, b.cn) &&
              a.gradients.params.size() == b.gradients.params.size();
  if (!same) return false;
  for_each_tensor(a.gradients, b.gradients,
                  [&](const auto& x, const auto& y) { same = same && same_bits(x, y); });
  return same;
}

}  // namespace bptt_test
