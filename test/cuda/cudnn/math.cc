#include "cudnn/math.h"

#include <algorithm>
#include <cmath>

#include "cudnn/number.h"

namespace fake_cudnn {
namespace {

double sigmoid(double a) { return 1 / (1 + std::exp(-a)); }

double factor(const Pass& pass, double value) { return pass.tf32 ? rounded_to_tf32(value) : value; }

double dot(const Pass& pass, const double* a, const double* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += factor(pass, a[i]) * factor(pass, b[i]);
  return sum;
}

void add_scaled(const Pass& pass, double* out, double scale, const double* a, int n) {
  scale = factor(pass, scale);
  for (int i = 0; i < n; ++i) out[i] += scale * factor(pass, a[i]);
}

void add(double* out, const double* a, int n) {
  for (int i = 0; i < n; ++i) out[i] += a[i];
}

void round_all(const Pass& pass, std::vector<double>& values) {
  for (double& value : values) value = rounded(pass.type, value);
}

// One row of the batch through one pseudo-layer.
struct Sequence {
  Sequence(Pass& pass, int layer, int direction, int b)
      : pass(pass),
        shape(pass.shape),
        reserve(pass.shape),
        layer(layer),
        direction(direction),
        b(b),
        pseudo(layer * shape.D + direction),
        state(size_t(pseudo) * shape.B + b) {}

  int length() const { return shape.lengths[b]; }
  // The time of a step; the reverse direction begins at the row's own end.
  int time(int step) const { return direction == 0 ? step : length() - 1 - step; }

  const double* matrix(int id) const {
    const Part& part = pass.layout.matrices[pseudo][id];
    return part.rows ? pass.weights.data() + part.offset : nullptr;
  }
  double bias(int id, int j) const {
    const Part& part = pass.layout.biases[pseudo][id];
    return part.rows ? pass.weights[part.offset + j] : 0;
  }
  const double* input(int t) const {
    const std::vector<double>& from = layer == 0 ? pass.x : pass.reserve;
    const size_t offset = layer == 0 ? 0 : reserve.outputs[layer - 1];
    return from.data() + offset + shape.row(t, b) * shape.input(layer);
  }
  double* output(int t) {
    const bool top = layer == shape.L - 1;
    double* to = top ? pass.y.data() : pass.reserve.data() + reserve.outputs[layer];
    return to + shape.row(t, b) * shape.D * shape.P + direction * shape.P;
  }
  double* saved(int t, int value) {
    return pass.reserve.data() + reserve.gates[pseudo] +
           (shape.row(t, b) * ReserveLayout::kSaved + value) * shape.H;
  }
  double* cell(int t) {
    return pass.reserve.data() + reserve.cells[pseudo] + shape.row(t, b) * shape.H;
  }
  double* projected(int t) {
    return pass.reserve.data() + reserve.projections[pseudo] + shape.row(t, b) * shape.P;
  }

  // State before a step.
  std::vector<double> before(int step, const std::vector<double>& initial, int n, bool is_cell) {
    if (step > 0) {
      const double* from = is_cell ? cell(time(step - 1)) : output(time(step - 1));
      return {from, from + n};
    }
    if (initial.empty()) return std::vector<double>(n, 0.0);
    return {initial.begin() + state * n, initial.begin() + (state + 1) * n};
  }
  std::vector<double> h_before(int step) { return before(step, pass.hx, shape.P, false); }
  std::vector<double> c_before(int step) { return before(step, pass.cx, shape.H, true); }

  Pass& pass;
  const Shape& shape;
  const ReserveLayout reserve;
  const int layer, direction, b, pseudo;
  const size_t state;  // row of [L*D,B]
};

// -- forward ------------------------------------------------------------------

// The new state of one unit, before the projection; saves what backward needs.
double unit(Sequence& s, int t, int j, const double* of_x, const double* of_h, double h_prev,
            double c_prev) {
  switch (s.shape.cell) {
    case CUDNN_RNN_RELU: {
      const double a = of_x[0] + of_h[0];
      return a > 0 || std::isnan(a) ? a : 0;
    }
    case CUDNN_RNN_TANH:
      return std::tanh(of_x[0] + of_h[0]);
    case CUDNN_LSTM: {
      const double i = sigmoid(of_x[0] + of_h[0]), f = sigmoid(of_x[1] + of_h[1]);
      const double g = std::tanh(of_x[2] + of_h[2]), o = sigmoid(of_x[3] + of_h[3]);
      const double values[] = {i, f, g, o};
      for (int k = 0; k < 4; ++k) s.saved(t, k)[j] = values[k];
      const double c = rounded(s.pass.type, f * c_prev + i * g);
      s.cell(t)[j] = c;
      return o * std::tanh(c);
    }
    case CUDNN_GRU: {
      const double r = sigmoid(of_x[0] + of_h[0]), i = sigmoid(of_x[1] + of_h[1]);
      const double q = of_h[2], n = std::tanh(of_x[2] + r * q);
      const double values[] = {r, i, n, q};
      for (int k = 0; k < 4; ++k) s.saved(t, k)[j] = values[k];
      return (1 - i) * n + i * h_prev;
    }
  }
  return NAN;
}

void forward_step(Sequence& s, int step) {
  const Shape& shape = s.shape;
  const int t = s.time(step), G = shape.gates, n = shape.input(s.layer);
  const std::vector<double> h = s.h_before(step);
  const std::vector<double> c =
      shape.cell == CUDNN_LSTM ? s.c_before(step) : std::vector<double>(shape.H);
  const double* x = s.input(t);
  std::vector<double> m(shape.H);
  for (int j = 0; j < shape.H; ++j) {
    double of_x[4], of_h[4];
    for (int g = 0; g < G; ++g) {
      of_x[g] = dot(s.pass, s.matrix(g) + size_t(j) * n, x, n) + s.bias(g, j);
      of_h[g] =
          dot(s.pass, s.matrix(G + g) + size_t(j) * shape.P, h.data(), shape.P) + s.bias(G + g, j);
    }
    m[j] = unit(s, t, j, of_x, of_h, shape.projection() ? 0 : h[j], c[j]);
  }
  round_all(s.pass, m);
  double* out = s.output(t);
  for (int j = 0; j < shape.P; ++j) {
    out[j] = m[j];
    if (!shape.projection()) continue;
    const double* row = s.matrix(2 * G) + size_t(j) * shape.H;
    out[j] = rounded(s.pass.type, dot(s.pass, row, m.data(), shape.H));
  }
}

void keep_last(const std::vector<double>& last, std::vector<double>& out, size_t state) {
  if (!out.empty()) std::copy(last.begin(), last.end(), out.begin() + state * last.size());
}

// -- backward -----------------------------------------------------------------

// Gradients at one unit of one step, of what goes into the two products.
struct UnitGradient {
  double of_x[4] = {}, of_h[4] = {};
  double h_prev = 0, c_prev = 0;  // what does not go through the products
};

UnitGradient unit_backward(Sequence& s, int t, int j, double dm, double dc_next, double h,
                           double h_prev, double c_prev) {
  UnitGradient d;
  switch (s.shape.cell) {
    case CUDNN_RNN_RELU:
      d.of_x[0] = h > 0 ? dm : 0;
      break;
    case CUDNN_RNN_TANH:
      d.of_x[0] = dm * (1 - h * h);
      break;
    case CUDNN_LSTM: {
      const double i = s.saved(t, 0)[j], f = s.saved(t, 1)[j], g = s.saved(t, 2)[j];
      const double o = s.saved(t, 3)[j], squashed = std::tanh(s.cell(t)[j]);
      const double dc = dc_next + dm * o * (1 - squashed * squashed);
      d.of_x[0] = dc * g * i * (1 - i);
      d.of_x[1] = dc * c_prev * f * (1 - f);
      d.of_x[2] = dc * i * (1 - g * g);
      d.of_x[3] = dm * squashed * o * (1 - o);
      d.c_prev = dc * f;
      break;
    }
    case CUDNN_GRU: {
      const double r = s.saved(t, 0)[j], i = s.saved(t, 1)[j], n = s.saved(t, 2)[j];
      const double q = s.saved(t, 3)[j];
      const double da_n = dm * (1 - i) * (1 - n * n);
      d.of_x[0] = da_n * q * r * (1 - r);
      d.of_x[1] = dm * (h_prev - n) * i * (1 - i);
      d.of_x[2] = da_n;
      for (int g = 0; g < 2; ++g) d.of_h[g] = d.of_x[g];
      d.of_h[2] = da_n * r;
      d.h_prev = dm * i;
      return d;
    }
  }
  for (int g = 0; g < s.shape.gates; ++g) d.of_h[g] = d.of_x[g];
  return d;
}

// dh [P], dc [H]: of the state after the step, then of the state before it. dinput is added to.
void backward_step(Sequence& s, int step, std::vector<double>& dh, std::vector<double>& dc,
                   double* dinput) {
  const Shape& shape = s.shape;
  const int t = s.time(step), G = shape.gates, n = shape.input(s.layer);
  std::vector<double> dm(shape.H, 0.0);
  if (shape.projection()) {
    round_all(s.pass, dh);
    std::copy(dh.begin(), dh.end(), s.projected(t));
    for (int p = 0; p < shape.P; ++p) {
      add_scaled(s.pass, dm.data(), dh[p], s.matrix(2 * G) + size_t(p) * shape.H, shape.H);
    }
  } else {
    dm = dh;
  }
  const std::vector<double> h = s.h_before(step);
  const std::vector<double> c =
      shape.cell == CUDNN_LSTM ? s.c_before(step) : std::vector<double>(shape.H);
  std::fill(dh.begin(), dh.end(), 0.0);
  for (int j = 0; j < shape.H; ++j) {
    const bool plain = !shape.projection();
    UnitGradient d =
        unit_backward(s, t, j, dm[j], dc[j], plain ? s.output(t)[j] : 0, plain ? h[j] : 0, c[j]);
    for (int g = 0; g < G; ++g) {
      d.of_x[g] = rounded(s.pass.type, d.of_x[g]);
      d.of_h[g] = rounded(s.pass.type, d.of_h[g]);
      add_scaled(s.pass, dinput, d.of_x[g], s.matrix(g) + size_t(j) * n, n);
      add_scaled(s.pass, dh.data(), d.of_h[g], s.matrix(G + g) + size_t(j) * shape.P, shape.P);
    }
    dc[j] = d.c_prev;
    if (plain) dh[j] += d.h_prev;
    // Gradients take the place of the gates, for the pass over the weights.
    if (shape.projection()) {
      s.cell(t)[j] = rounded(s.pass.type, s.saved(t, 3)[j] * std::tanh(s.cell(t)[j]));
    }
    for (int g = 0; g < G; ++g) s.saved(t, g)[j] = d.of_x[g];
    if (shape.cell == CUDNN_GRU) s.saved(t, 3)[j] = d.of_h[2];
  }
}

std::vector<double> gradient_of_last(const std::vector<double>& given, size_t state, int n) {
  if (given.empty()) return std::vector<double>(n, 0.0);
  return {given.begin() + state * n, given.begin() + (state + 1) * n};
}

}  // namespace

Shape shape_of(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& data) {
  return {rnn.cell, data.T, data.B, rnn.I, rnn.H, rnn.P, rnn.L, rnn.D(), rnn.gates(), data.lengths};
}

ReserveLayout::ReserveLayout(const Shape& shape) : elements(kHeader) {
  const size_t rows = size_t(shape.T) * shape.B;
  const auto place = [&](std::vector<size_t>& to, size_t n) {
    to.push_back(elements);
    elements += rows * n;
  };
  for (int p = 0; p < shape.L * shape.D; ++p) {
    place(gates, size_t(kSaved) * shape.H);
    place(cells, shape.H);
    place(projections, shape.projection() ? shape.P : 0);
  }
  for (int layer = 0; layer + 1 < shape.L; ++layer) place(outputs, size_t(shape.D) * shape.P);
}

void forward(Pass& pass) {
  const Shape& shape = pass.shape;
  for (int layer = 0; layer < shape.L; ++layer) {
    for (int direction = 0; direction < shape.D; ++direction) {
      for (int b = 0; b < shape.B; ++b) {
        Sequence s(pass, layer, direction, b);
        for (int step = 0; step < s.length(); ++step) forward_step(s, step);
        keep_last(s.h_before(s.length()), pass.hy, s.state);
        if (shape.cell == CUDNN_LSTM) keep_last(s.c_before(s.length()), pass.cy, s.state);
      }
    }
  }
}

void backward_data(Pass& pass) {
  const Shape& shape = pass.shape;
  std::vector<double> doutput = pass.dy;
  for (int layer = shape.L - 1; layer >= 0; --layer) {
    const int n = shape.input(layer), width = shape.D * shape.P;
    std::vector<double> dinput(size_t(shape.T) * shape.B * n, 0.0);
    for (int direction = 0; direction < shape.D; ++direction) {
      for (int b = 0; b < shape.B; ++b) {
        Sequence s(pass, layer, direction, b);
        std::vector<double> dh = gradient_of_last(pass.dhy, s.state, shape.P);
        std::vector<double> dc = gradient_of_last(pass.dcy, s.state, shape.H);
        for (int step = s.length() - 1; step >= 0; --step) {
          const size_t row = shape.row(s.time(step), b);
          add(dh.data(), doutput.data() + row * width + direction * shape.P, shape.P);
          backward_step(s, step, dh, dc, dinput.data() + row * n);
        }
        keep_last(dh, pass.dhx, s.state);
        keep_last(dc, pass.dcx, s.state);
      }
    }
    round_all(pass, dinput);
    doutput = std::move(dinput);
  }
  pass.dx = std::move(doutput);
}

void backward_weights(Pass& pass) {
  const Shape& shape = pass.shape;
  const int G = shape.gates;
  for (int layer = 0; layer < shape.L; ++layer) {
    for (int direction = 0; direction < shape.D; ++direction) {
      for (int b = 0; b < shape.B; ++b) {
        Sequence s(pass, layer, direction, b);
        const auto add_product = [&](const Part& part, const double* d, const double* from) {
          for (int j = 0; j < part.rows; ++j) {
            double* row = pass.dweights.data() + part.offset + size_t(j) * part.cols;
            add_scaled(pass, row, d[j], from, part.cols);
          }
        };
        const auto add_bias = [&](const Part& part, const double* d) {
          add(pass.dweights.data() + part.offset, d, part.rows);
        };
        const auto& matrices = pass.layout.matrices[s.pseudo];
        const auto& biases = pass.layout.biases[s.pseudo];
        for (int step = 0; step < s.length(); ++step) {
          const int t = s.time(step);
          const std::vector<double> h = s.h_before(step);
          for (int g = 0; g < G; ++g) {
            const double* of_x = s.saved(t, g);
            const double* of_h = shape.cell == CUDNN_GRU && g == 2 ? s.saved(t, 3) : of_x;
            add_product(matrices[g], of_x, s.input(t));
            add_product(matrices[G + g], of_h, h.data());
            add_bias(biases[g], of_x);
            add_bias(biases[G + g], of_h);
          }
          if (shape.projection()) add_product(matrices[2 * G], s.projected(t), s.cell(t));
        }
      }
    }
  }
}

}  // namespace fake_cudnn
