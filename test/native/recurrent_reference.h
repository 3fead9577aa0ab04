// A plain reference of the recurrent layers: scalar loops over one sequence at a
// time, in double precision. Gradients come from a tape that records every
// multiplication, so no derivative of a cell is written down here.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "recurrent_layer.h"
#include "shared/philox.h"

namespace bptt_test {

#define BPTT_CELL(enumerator, ...) enumerator,
inline constexpr bptt_cell kCells[] = {BPTT_CELLS(BPTT_CELL)};
#undef BPTT_CELL

// A cell with c: what may have a projection, too.
constexpr bool has_c(bptt_cell cell) { return bptt::states_of(cell) == 2; }

// One case: what is computed and on which numbers. Everything is time-major;
// batch_first only says how the kernel gets it.
struct RecurrentCase {
  bptt_cell cell = BPTT_LSTM;
  int64_t T = 1, B = 1, I = 1, H = 1, P = 0, L = 1, D = 1;
  bool bias = true, states = true, batch_first = false;
  double dropout = 0;
  std::vector<int32_t> lengths;  // empty: all T
  bptt_rng rng = {42, 1000};

  bool has_c() const { return bptt_test::has_c(cell); }
  int64_t Hout() const { return P > 0 ? P : H; }
  int64_t input(int64_t layer) const { return layer == 0 ? I : D * Hout(); }
  int64_t length(int64_t b) const { return lengths.empty() ? T : lengths[b]; }
};

// Those of cells.h; empty where the layer has none.
template <class Number>
struct Params {
#define BPTT_FIELD(name, ...) std::vector<Number> name;
  BPTT_PARAMETERS(BPTT_FIELD)
#undef BPTT_FIELD
};

// Inputs of a case, and the gradients that come from outside.
template <class Number>
struct Inputs {
  std::vector<Number> x, h0, c0;
  std::vector<Params<Number>> params;
};

struct Results {
  std::vector<double> y, hn, cn;
  Inputs<double> gradients;
};

// -- a scalar that remembers how it came about --------------------------------

struct Tape {
  struct Node {
    int32_t from[2];
    double slope[2];
  };
  std::vector<Node> nodes;
};
inline Tape tape;

struct Variable {
  double value = 0;
  int32_t node = -1;  // -1: constant

  Variable() = default;
  Variable(double v) : value(v) {}
  static Variable leaf(double v) { return Variable(v).record(-1, 0, -1, 0); }

  Variable record(int32_t a, double slope_a, int32_t b = -1, double slope_b = 0) const {
    Variable out(value);
    out.node = static_cast<int32_t>(tape.nodes.size());
    tape.nodes.push_back({{a, b}, {slope_a, slope_b}});
    return out;
  }
};

inline Variable operator+(Variable a, Variable b) {
  return Variable(a.value + b.value).record(a.node, 1, b.node, 1);
}
inline Variable operator-(Variable a, Variable b) {
  return Variable(a.value - b.value).record(a.node, 1, b.node, -1);
}
inline Variable operator*(Variable a, Variable b) {
  return Variable(a.value * b.value).record(a.node, b.value, b.node, a.value);
}
inline double tanh_of(double a) { return std::tanh(a); }
inline Variable tanh_of(Variable a) {
  const double y = std::tanh(a.value);
  return Variable(y).record(a.node, 1 - y * y);
}
inline double sigmoid_of(double a) { return 1 / (1 + std::exp(-a)); }
inline Variable sigmoid_of(Variable a) {
  const double y = sigmoid_of(a.value);
  return Variable(y).record(a.node, y * (1 - y));
}
inline double relu_of(double a) { return a > 0 ? a : 0; }
inline Variable relu_of(Variable a) {
  return Variable(relu_of(a.value)).record(a.node, a.value > 0 ? 1 : 0);
}

// Gradient of each node of the tape, with respect to node `of`.
inline std::vector<double> gradients_of(Variable of) {
  std::vector<double> grad(tape.nodes.size(), 0.0);
  if (of.node < 0) return grad;
  grad[of.node] = 1;
  for (int32_t i = of.node; i >= 0; --i) {
    for (int k = 0; k < 2; ++k) {
      const int32_t from = tape.nodes[i].from[k];
      if (from >= 0) grad[from] += grad[i] * tape.nodes[i].slope[k];
    }
  }
  return grad;
}

// -- the layers ---------------------------------------------------------------

template <class Number>
struct Outputs {
  std::vector<Number> y, hn, cn;
};

// Row `row` of a matrix of n columns, times v.
template <class Number>
Number row_times(const std::vector<Number>& matrix, int64_t row, const std::vector<Number>& v) {
  Number sum = 0;
  const int64_t n = static_cast<int64_t>(v.size());
  for (int64_t j = 0; j < n; ++j) sum = sum + matrix[row * n + j] * v[j];
  return sum;
}

// One step of one sequence: h and c become the new state.
template <class Number>
void reference_step(const RecurrentCase& at, const Params<Number>& p, const std::vector<Number>& x,
                    std::vector<Number>& h, std::vector<Number>& c) {
  const int64_t H = at.H;
  const auto of_x = [&](int gate, int64_t j) {
    const Number a = row_times(p.weight_ih, gate * H + j, x);
    return at.bias ? a + p.bias_ih[gate * H + j] : a;
  };
  const auto of_h = [&](int gate, int64_t j, const std::vector<Number>& state) {
    const Number a = row_times(p.weight_hh, gate * H + j, state);
    return at.bias ? a + p.bias_hh[gate * H + j] : a;
  };
  std::vector<Number> next(H);
  std::vector<Number> gated(H);
  if (at.cell == BPTT_GRU_RESET_BEFORE) {
    for (int64_t j = 0; j < H; ++j) gated[j] = sigmoid_of(of_x(0, j) + of_h(0, j, h)) * h[j];
  }
  for (int64_t j = 0; j < H; ++j) {
    switch (at.cell) {
      case BPTT_RNN_TANH:
        next[j] = tanh_of(of_x(0, j) + of_h(0, j, h));
        break;
      case BPTT_RNN_RELU:
        next[j] = relu_of(of_x(0, j) + of_h(0, j, h));
        break;
      case BPTT_LSTM: {
        const Number i = sigmoid_of(of_x(0, j) + of_h(0, j, h));
        const Number f = sigmoid_of(of_x(1, j) + of_h(1, j, h));
        const Number g = tanh_of(of_x(2, j) + of_h(2, j, h));
        const Number o = sigmoid_of(of_x(3, j) + of_h(3, j, h));
        c[j] = f * c[j] + i * g;
        next[j] = o * tanh_of(c[j]);
        break;
      }
      case BPTT_LSTM_PEEPHOLE: {
        const auto peephole = [&](int64_t row) { return p.weight_ch[row * H + j] * c[j]; };
        const Number i = sigmoid_of(of_x(0, j) + of_h(0, j, h) + peephole(0));
        const Number f = sigmoid_of(of_x(1, j) + of_h(1, j, h) + peephole(1));
        const Number g = tanh_of(of_x(2, j) + of_h(2, j, h));
        c[j] = f * c[j] + i * g;
        const Number o = sigmoid_of(of_x(3, j) + of_h(3, j, h) + peephole(2));
        next[j] = o * tanh_of(c[j]);
        break;
      }
      case BPTT_GRU: {
        const Number r = sigmoid_of(of_x(0, j) + of_h(0, j, h));
        const Number z = sigmoid_of(of_x(1, j) + of_h(1, j, h));
        const Number n = tanh_of(of_x(2, j) + r * of_h(2, j, h));
        next[j] = (Number(1) - z) * n + z * h[j];
        break;
      }
      case BPTT_GRU_RESET_BEFORE: {
        const Number z = sigmoid_of(of_x(1, j) + of_h(1, j, h));
        const Number n = tanh_of(of_x(2, j) + of_h(2, j, gated));
        next[j] = (Number(1) - z) * n + z * h[j];
        break;
      }
    }
  }
  if (at.P > 0) {
    h.assign(at.P, Number(0));
    for (int64_t p_row = 0; p_row < at.P; ++p_row) h[p_row] = row_times(p.weight_hr, p_row, next);
  } else {
    h = next;
  }
}

template <class Number>
Outputs<Number> reference_forward(const RecurrentCase& at, const Inputs<Number>& in) {
  const int64_t Hout = at.Hout(), width = at.D * Hout;
  Outputs<Number> out;
  out.hn.resize(at.L * at.D * at.B * Hout);
  out.cn.resize(at.L * at.D * at.B * at.H);
  std::vector<Number> x = in.x;
  for (int64_t layer = 0; layer < at.L; ++layer) {
    const int64_t input = at.input(layer);
    std::vector<Number> y(at.T * at.B * width, Number(0));
    for (int64_t d = 0; d < at.D; ++d) {
      const int64_t index = layer * at.D + d;
      for (int64_t b = 0; b < at.B; ++b) {
        std::vector<Number> h(Hout, Number(0)), c(at.H, Number(0));
        const int64_t state = index * at.B + b;
        if (at.states) {
          h.assign(in.h0.begin() + state * Hout, in.h0.begin() + (state + 1) * Hout);
          c.assign(in.c0.begin() + state * at.H, in.c0.begin() + (state + 1) * at.H);
        }
        const int64_t length = at.length(b);
        for (int64_t s = 0; s < length; ++s) {
          const int64_t t = d == 0 ? s : length - 1 - s;
          const auto from = x.begin() + (t * at.B + b) * input;
          reference_step(at, in.params[index], std::vector<Number>(from, from + input), h, c);
          std::copy(h.begin(), h.end(), y.begin() + (t * at.B + b) * width + d * Hout);
        }
        std::copy(h.begin(), h.end(), out.hn.begin() + state * Hout);
        std::copy(c.begin(), c.end(), out.cn.begin() + state * at.H);
      }
    }
    if (layer + 1 < at.L && at.dropout > 0) {
      const int64_t n = at.T * at.B * width;
      const uint64_t offset = at.rng.offset + layer * bptt::philox_blocks(n);
      for (int64_t i = 0; i < n; ++i) {
        const double word = bptt::philox_word(at.rng.seed, offset, i);
        const bool kept = word >= std::floor(at.dropout * 4294967296.0);
        y[i] = kept ? y[i] * Number(1 / (1 - at.dropout)) : Number(0);
      }
    }
    x = y;
  }
  out.y = x;
  return out;
}

// The names of the tensors of two Inputs, in the order of for_each_tensor.
inline constexpr const char* kInputNames[] = {"x", "h0", "c0"};
#define BPTT_NAME(name, ...) #name,
inline constexpr const char* kParameterNames[] = {BPTT_PARAMETERS(BPTT_NAME)};
#undef BPTT_NAME
inline std::string gradient_name(int i) {
  return std::string("d") + (i < 3 ? kInputNames[i] : kParameterNames[(i - 3) % bptt::kParameters]);
}

// Calls visit(vector of a, vector of b) for each tensor of two Inputs.
template <class A, class B, class F>
void for_each_tensor(A& a, B& b, F visit) {
  visit(a.x, b.x);
  visit(a.h0, b.h0);
  visit(a.c0, b.c0);
  for (size_t i = 0; i < a.params.size(); ++i) {
#define BPTT_VISIT(name, ...) visit(a.params[i].name, b.params[i].name);
    BPTT_PARAMETERS(BPTT_VISIT)
#undef BPTT_VISIT
  }
}

// Outputs, and gradients of sum(y * dy) + sum(hn * dhn) + sum(cn * dcn).
inline Results reference(const RecurrentCase& at, const Inputs<double>& in,
                         const std::vector<double>& dy, const std::vector<double>& dhn,
                         const std::vector<double>& dcn) {
  tape.nodes.clear();
  Inputs<Variable> leaves;
  leaves.params.resize(in.params.size());
  for_each_tensor(in, leaves, [](const std::vector<double>& from, std::vector<Variable>& to) {
    for (double v : from) to.push_back(Variable::leaf(v));
  });
  const Outputs<Variable> out = reference_forward(at, leaves);
  Variable loss;
  Results results;
  const auto add = [&](const std::vector<Variable>& values, const std::vector<double>& d,
                       std::vector<double>& plain) {
    for (size_t i = 0; i < values.size(); ++i) {
      plain.push_back(values[i].value);
      if (values[i].node >= 0) loss = loss + values[i] * Variable(d[i]);
    }
  };
  add(out.y, dy, results.y);
  add(out.hn, dhn, results.hn);
  if (at.has_c()) add(out.cn, dcn, results.cn);
  const std::vector<double> grad = gradients_of(loss);
  results.gradients.params.resize(in.params.size());
  for_each_tensor(leaves, results.gradients,
                  [&](const std::vector<Variable>& from, std::vector<double>& to) {
                    for (const Variable& v : from) to.push_back(grad[v.node]);
                  });
  return results;
}

}  // namespace bptt_test
