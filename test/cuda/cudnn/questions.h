// Questions to a libcudnn about one recurrent layer, for comparing the real library and
// the fake: a random configuration, in which nothing, one or two things may be wrong.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cudnn/open.h"

namespace bptt_test {

// What may be wrong, or at least unusual.
// clang-format off
#define BPTT_CUDNN_FAULTS(FAULT) \
  FAULT(rnn_null) FAULT(algo_bad) FAULT(algo_persist) FAULT(cell_bad) FAULT(bias_bad) \
  FAULT(direction_bad) FAULT(input_mode_bad) FAULT(math_bad) FAULT(flags_bad) \
  FAULT(precision_other) FAULT(type_int8) FAULT(input_zero) FAULT(hidden_negative) \
  FAULT(proj_zero) FAULT(proj_large) FAULT(proj_small) FAULT(layers_zero) FAULT(skip_input) \
  FAULT(clip) FAULT(clip_reversed) FAULT(clip_nan) FAULT(clip_mode_bad) FAULT(data_null) \
  FAULT(data_int8) FAULT(layout_bad) FAULT(time_zero) FAULT(batch_zero) FAULT(vector_zero) \
  FAULT(lengths_null) FAULT(length_large) FAULT(length_negative) FAULT(lengths_unsorted) \
  FAULT(length_zero) FAULT(lengths_all_zero) FAULT(padded_io_off) FAULT(handle_null) \
  FAULT(x_vector) FAULT(x_type) FAULT(y_vector) FAULT(y_type) FAULT(y_layout) FAULT(y_time) \
  FAULT(y_batch) FAULT(y_lengths) FAULT(x_desc_null) FAULT(y_desc_null) FAULT(h_null) \
  FAULT(h_layers) FAULT(h_batch) FAULT(h_size) FAULT(h_type) FAULT(h_strides) FAULT(h_rank) \
  FAULT(c_null) FAULT(c_layers) FAULT(c_batch) FAULT(c_size) FAULT(c_type) FAULT(h_not_set) \
  FAULT(mode_bad) FAULT(weights_null) FAULT(weights_short) FAULT(workspace_null) \
  FAULT(workspace_short) FAULT(reserve_null) FAULT(reserve_short) FAULT(x_null) FAULT(y_null) \
  FAULT(states_null) FAULT(outputs_null) FAULT(dev_lengths_null) FAULT(wgrad_set) \
  FAULT(wgrad_bad)
// clang-format on

enum class Fault {
#define BPTT_FAULT(name) name,
  BPTT_CUDNN_FAULTS(BPTT_FAULT)
#undef BPTT_FAULT
      count
};

inline const char* name_of(Fault fault) {
  static const char* names[] = {
#define BPTT_FAULT(name) #name,
      BPTT_CUDNN_FAULTS(BPTT_FAULT)
#undef BPTT_FAULT
  };
  return names[static_cast<int>(fault)];
}

struct Configuration {
  int algo = CUDNN_RNN_ALGO_STANDARD, cell = 0, bias = 0, direction = 0;
  int input_mode = CUDNN_LINEAR_INPUT, type = 0, precision = 0, math = 0;
  int I = 1, H = 1, P = 1, L = 1, T = 1, B = 1, layout = 0;
  unsigned flags = CUDNN_RNN_PADDED_IO_ENABLED;
  std::vector<int> lengths;
  std::set<Fault> faults;

  int D() const { return direction == CUDNN_BIDIRECTIONAL ? 2 : 1; }
  bool has(Fault fault) const { return faults.count(fault) > 0; }
};

inline std::string describe(const Configuration& of) {
  std::string text;
  const auto add = [&](const char* name, long value) {
    text += std::string(text.empty() ? "" : " ") + name + " " + std::to_string(value);
  };
  add("algo", of.algo), add("cell", of.cell), add("bias", of.bias), add("dir", of.direction);
  add("input_mode", of.input_mode), add("type", of.type), add("precision", of.precision);
  add("math", of.math), add("I", of.I), add("H", of.H), add("P", of.P), add("L", of.L);
  add("T", of.T), add("B", of.B), add("layout", of.layout), add("flags", of.flags);
  text += " lengths";
  for (int length : of.lengths) text += " " + std::to_string(length);
  for (Fault fault : of.faults) text += std::string(" +") + name_of(fault);
  return text;
}

// Faults that change the configuration itself; the others change a call.
inline void apply(Configuration& of, std::mt19937& random) {
  const auto pick = [&](int n) { return static_cast<int>(random() % n); };
  const auto if_has = [&](Fault fault, auto change) {
    if (of.has(fault)) change();
  };
  if_has(Fault::algo_bad, [&] { of.algo = 4 + pick(3); });
  if_has(Fault::algo_persist, [&] { of.algo = 1 + pick(3); });
  if_has(Fault::cell_bad, [&] { of.cell = 4 + pick(3); });
  if_has(Fault::bias_bad, [&] { of.bias = 4; });
  if_has(Fault::direction_bad, [&] { of.direction = 2; });
  if_has(Fault::input_mode_bad, [&] { of.input_mode = 2; });
  if_has(Fault::math_bad, [&] { of.math = 4 + pick(3); });
  if_has(Fault::flags_bad, [&] { of.flags |= 2u << pick(4); });
  if_has(Fault::precision_other, [&] {
    constexpr int types[] = {CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE, CUDNN_DATA_HALF,
                             CUDNN_DATA_BFLOAT16, CUDNN_DATA_INT32};
    of.precision = types[pick(5)];
  });
  if_has(Fault::type_int8, [&] { of.type = CUDNN_DATA_INT8; });
  if_has(Fault::input_zero, [&] { of.I = 0; });
  if_has(Fault::hidden_negative, [&] { of.H = -1; });
  if_has(Fault::proj_zero, [&] { of.P = 0; });
  if_has(Fault::proj_large, [&] { of.P = of.H + 1; });
  if_has(Fault::proj_small, [&] { of.P = of.H > 1 ? of.H - 1 : of.H; });
  if_has(Fault::layers_zero, [&] { of.L = 0; });
  if_has(Fault::skip_input, [&] { of.input_mode = CUDNN_SKIP_INPUT; });
  if_has(Fault::padded_io_off, [&] { of.flags = 0; });
  if_has(Fault::layout_bad, [&] { of.layout = 3; });
  if_has(Fault::length_large, [&] { of.lengths[pick(of.B)] = of.T + 1; });
  if_has(Fault::length_negative, [&] { of.lengths[pick(of.B)] = -1; });
  if_has(Fault::lengths_unsorted, [&] { std::reverse(of.lengths.begin(), of.lengths.end()); });
  if_has(Fault::length_zero, [&] { of.lengths.back() = 0; });
  if_has(Fault::lengths_all_zero, [&] { std::fill(of.lengths.begin(), of.lengths.end(), 0); });
  if_has(Fault::time_zero, [&] { of.T = 0; });
  if_has(Fault::batch_zero, [&] { of.B = 0; });
}

inline Configuration random_configuration(uint32_t seed) {
  std::mt19937 random(seed);
  const auto pick = [&](int n) { return static_cast<int>(random() % n); };
  constexpr int types[] = {CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE, CUDNN_DATA_HALF,
                           CUDNN_DATA_BFLOAT16};
  Configuration of;
  of.cell = pick(4), of.bias = pick(4), of.direction = pick(2), of.math = pick(4);
  of.type = types[pick(4)];
  const bool half = of.type == CUDNN_DATA_HALF || of.type == CUDNN_DATA_BFLOAT16;
  of.precision = half ? CUDNN_DATA_FLOAT : of.type;
  if (of.type == CUDNN_DATA_HALF && pick(2)) of.precision = CUDNN_DATA_HALF;
  const int most = pick(4) ? 9 : 130;
  of.I = 1 + pick(most), of.P = of.H = 1 + pick(most), of.L = 1 + pick(3);
  if (of.cell == CUDNN_LSTM && of.H > 1 && pick(3) == 0) of.P = 1 + pick(of.H - 1);
  if (pick(16) == 0) of.input_mode = CUDNN_SKIP_INPUT, of.I = of.H;
  of.T = 1 + pick(6), of.B = 1 + pick(5), of.layout = pick(3);
  const bool ragged = pick(3);
  for (int b = 0; b < of.B; ++b) of.lengths.push_back(ragged ? 1 + pick(of.T) : of.T);
  if (of.layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED) {
    std::sort(of.lengths.rbegin(), of.lengths.rend());
    if (pick(8)) of.lengths[0] = of.T;
  }
  const int faults = std::max(0, pick(6) - 3);  // 0 0 0 0 1 2
  for (int i = 0; i < faults + (seed % 2 ? 1 : 0); ++i) {
    of.faults.insert(static_cast<Fault>(pick(static_cast<int>(Fault::count))));
  }
  if (pick(8) == 0) of.faults.insert(Fault::algo_persist);
  // Both types wrong, and equal, is refused with one status or another.
  if (of.has(Fault::x_type)) of.faults.erase(Fault::y_type);
  // In which order the checks of persistent kernels come is nobody's concern either.
  if (of.has(Fault::algo_persist)) of.faults = {Fault::algo_persist};
  apply(of, random);
  return of;
}

// Hears (question, what the library said).
using Answer = std::function<void(const std::string& question, const std::string& said)>;

}  // namespace bptt_test
