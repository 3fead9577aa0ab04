// The fake cuDNN's mathematics against the plain reference of the recurrent layers and
// against numbers published for the real one, and the rules that it enforces.
// BPTT_CUDA_PATH names the folder of the fakes; an argument, the number of random cases.
#include "cudnn/layer.h"

using namespace bptt_test;

namespace {

// -- against the reference ----------------------------------------------------

void fill_layer(Layer& layer, Problem& problem) {
  const RecurrentCase& at = layer.at;
  const cudnnDataType_t type = layer.of.type;
  layer.x = layer.arranged(problem.in.x, at.I);
  layer.dy = layer.arranged(problem.dy, at.D * at.Hout());
  if (at.states) {
    layer.hx = stored(type, problem.in.h0);
    layer.cx = stored(type, problem.in.c0);
  }
  layer.dhy = stored(type, problem.dhn);
  layer.dcy = stored(type, problem.dcn);
  layer.for_each_part(layer.weights, problem.in,
                      [&](void* to, int64_t n, std::vector<double>& from, int64_t offset) {
                        for (int64_t i = 0; to && i < n; ++i) {
                          fake_cudnn::store(type, to, i, from[offset + i]);
                        }
                      });
}

Results read_layer(Layer& layer, const Results& want) {
  const RecurrentCase& at = layer.at;
  const cudnnDataType_t type = layer.of.type;
  const bool has_c = at.has_c();
  Results got;
  got.y = layer.restored(layer.y, at.D * at.Hout());
  got.hn = loaded(type, layer.hy);
  if (has_c) got.cn = loaded(type, layer.cy);
  got.gradients = want.gradients;  // of biases that the mode does not have
  got.gradients.x = layer.restored(layer.dx, at.I);
  if (at.states) {
    got.gradients.h0 = loaded(type, layer.dhx);
    if (has_c) got.gradients.c0 = loaded(type, layer.dcx);
  }
  layer.for_each_part(layer.dweights, got.gradients,
                      [&](void* from, int64_t n, std::vector<double>& to, int64_t offset) {
                        for (int64_t i = 0; from && i < n; ++i) {
                          to[offset + i] = fake_cudnn::load(type, from, i);
                        }
                      });
  return got;
}

struct Tolerance {
  double output, gradient;
};

Tolerance tolerance_of(const Case& of) {
  switch (of.type) {
    case CUDNN_DATA_DOUBLE:
      return {1e-12, 1e-12};
    case CUDNN_DATA_HALF:
      return {2e-3, 2e-2};
    case CUDNN_DATA_BFLOAT16:
      return {1.6e-2, 1.6e-1};
    default:
      return of.math == CUDNN_FMA_MATH ? Tolerance{2e-6, 5e-6} : Tolerance{4e-3, 2e-2};
  }
}

// What the type can hold, and only the biases of the mode.
void narrow(Problem& problem, const Case& of) {
  const auto round = [&](std::vector<double>& values) {
    values = loaded(of.type, stored(of.type, values));
  };
  for_each_tensor(problem.in, problem.in, [&](std::vector<double>& v, auto&) { round(v); });
  for (std::vector<double>* v : {&problem.dy, &problem.dhn, &problem.dcn}) round(*v);
  for (Params<double>& params : problem.in.params) {
    if (of.bias == CUDNN_RNN_SINGLE_INP_BIAS) params.bias_hh.assign(params.bias_hh.size(), 0.0);
    if (of.bias == CUDNN_RNN_SINGLE_REC_BIAS) params.bias_ih.assign(params.bias_ih.size(), 0.0);
  }
}

void check_case(const Case& of, uint32_t seed) {
  Problem problem = make_problem(of.at, seed);
  narrow(problem, of);
  const Results want = reference(of.at, problem.in, problem.dy, problem.dhn, problem.dcn);
  Layer layer(of);
  fill_layer(layer, problem);
  OK(layer.forward());
  OK(layer.backward_data());
  OK(layer.backward_weights());
  const std::string complaint = cudnn->fake_cudnn_complaint();
  CHECK_MSG(complaint.empty(), "%s", complaint.c_str());
  const Results got = read_layer(layer, want);
  const Tolerance limit = tolerance_of(of);
  const auto compare = [&](const std::vector<double>& a, const std::vector<double>& b,
                           double allowed, const char* name) {
    const double error = error_of(a, b);
    CHECK_MSG(error <= allowed, "%s type %d layout %d bias %d: %s is off by %g",
              name_of(of.at).c_str(), of.type, of.layout, of.bias, name, error);
  };
  compare(got.y, want.y, limit.output, "y");
  compare(got.hn, want.hn, limit.output, "hy");
  compare(got.cn, want.cn, limit.output, "cy");
  for_each_tensor(got.gradients, want.gradients, [&](const auto& a, const auto& b) {
    compare(a, b, limit.gradient, "a gradient");
  });
  // Padding of y is filled, or NaN; never plausible numbers.
  if (of.layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED) return;
  const std::vector<double> y = loaded(of.type, layer.y);
  const int64_t width = of.at.D * of.at.Hout();
  for (int64_t t = 0; t < of.at.T; ++t) {
    for (int64_t b = 0; b < of.at.B; ++b) {
      if (t < of.at.lengths[b]) continue;
      const bool batch_major = of.layout == CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED;
      const double value = y[(batch_major ? b * of.at.T + t : t * of.at.B + b) * width];
      CHECK(of.fill ? value == 7 : std::isnan(value));
    }
  }
}

Case random_case(std::mt19937& random) {
  const auto pick = [&](int n) { return static_cast<int>(random() % n); };
  Case of;
  constexpr bptt_cell cells[] = {BPTT_RNN_TANH, BPTT_RNN_RELU, BPTT_LSTM, BPTT_GRU};
  constexpr cudnnDataType_t types[] = {CUDNN_DATA_FLOAT,  CUDNN_DATA_DOUBLE, CUDNN_DATA_FLOAT,
                                       CUDNN_DATA_DOUBLE, CUDNN_DATA_HALF,   CUDNN_DATA_BFLOAT16};
  of.at.cell = cells[pick(4)];
  of.at.T = 1 + pick(5), of.at.B = 1 + pick(4), of.at.I = 1 + pick(6), of.at.H = 1 + pick(6);
  of.at.L = 1 + pick(3), of.at.D = 1 + pick(2);
  if (of.at.cell == BPTT_LSTM && of.at.H > 1 && pick(2)) of.at.P = 1 + pick(int(of.at.H) - 1);
  of.at.states = pick(2);
  of.type = types[pick(6)];
  if (of.type == CUDNN_DATA_FLOAT && pick(3) == 0) of.math = CUDNN_DEFAULT_MATH;
  of.layout = static_cast<cudnnRNNDataLayout_t>(pick(3));
  of.bias = static_cast<cudnnRNNBiasMode_t>(pick(4));
  of.at.bias = of.bias != CUDNN_RNN_NO_BIAS;
  of.fill = pick(2);
  of.dev_lengths = pick(2);
  const bool ragged = pick(3);
  for (int64_t b = 0; b < of.at.B; ++b) {
    of.at.lengths.push_back(ragged ? 1 + pick(int(of.at.T)) : int(of.at.T));
  }
  if (of.layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED) {
    std::sort(of.at.lengths.rbegin(), of.at.lengths.rend());
    of.at.lengths[0] = int32_t(of.at.T);  // as the real one demands
  }
  return of;
}

// -- published numbers ----------------------------------------------------------

// Intel's SYCLomatic tests (cudnn-rnn.cu) hold what the real library gave: ReLU, three
// layers, I = H = 2, B = 3, T = 4, one bias, every number one.
Case published(int64_t D) {
  Case of;
  of.at.cell = BPTT_RNN_RELU;
  of.at.T = 4, of.at.B = 3, of.at.I = 2, of.at.H = 2, of.at.L = 3, of.at.D = D;
  of.at.lengths = {4, 4, 4};
  of.layout = CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED;
  of.bias = CUDNN_RNN_SINGLE_INP_BIAS;
  return of;
}

void fill_with_ones(Layer& layer) {
  const auto ones = [&](size_t bytes) {
    return stored(CUDNN_DATA_FLOAT, std::vector(bytes / 4, 1.0));
  };
  layer.x = ones(layer.dx.size());
  layer.dy = ones(layer.y.size());
  layer.hx = layer.dhy = ones(layer.hy.size());
  layer.weights = ones(layer.weights.size());
}

// A tensor [*,3,D*2] of equal numbers for all rows of the batch and units of a direction.
void check_published(const Bytes& bytes, size_t D, const std::vector<double>& numbers) {
  const std::vector<double> values = loaded(CUDNN_DATA_FLOAT, bytes);
  CHECK(values.size() == numbers.size() * 6);
  for (size_t i = 0; i < values.size(); ++i) {
    const double published = numbers[i / (6 * D) * D + i / 2 % D];
    CHECK_MSG(values[i] == published, "element %zu: %g, published %g", i, values[i], published);
  }
}

void test_published() {
  Layer one(published(1));
  fill_with_ones(one);
  OK(one.forward());
  check_published(one.y, 1, {29, 165, 661, 2229});
  OK(one.backward_data());
  check_published(one.dx, 1, {1672, 496, 124, 22});
  check_published(one.dhx, 1, {1672, 340, 46});
  Layer two(published(2));
  fill_with_ones(two);
  OK(two.forward());
  check_published(two.y, 2, {3719, 47275, 9739, 21779, 21779, 9739, 47275, 3719});
}

// -- rules ------------------------------------------------------------------------

bool complains() { return cudnn->fake_cudnn_complaint()[0] != '\0'; }

Case small_case() {
  Case of;
  of.at.T = 3, of.at.B = 2, of.at.I = 2, of.at.H = 3, of.at.L = 2;
  of.at.lengths = {2, 3};
  return of;
}

void test_reserve() {
  const Case of = small_case();
  Problem problem = make_problem(of.at, 3);
  Layer layer(of);
  fill_layer(layer, problem);
  OK(layer.backward_data());
  CHECK(complains());  // before any forward
  OK(layer.forward());
  OK(layer.backward_weights());
  CHECK(complains());  // before backward data
  CHECK(std::isnan(loaded(of.type, layer.dweights)[0]));
  OK(layer.forward());
  const Bytes kept = layer.reserve;
  OK(layer.backward_data());
  const Bytes dx = layer.dx;
  OK(layer.backward_data());
  CHECK(complains());  // twice
  CHECK(std::isnan(loaded(of.type, layer.dx)[0]));
  layer.reserve = kept;
  layer.dweights.assign(layer.weight_bytes, 0);
  OK(layer.backward_data());
  OK(layer.backward_weights());
  CHECK(!complains() && layer.dx == dx);  // on a copy
  OK(layer.backward_weights());
  CHECK(complains());  // twice
}

void test_lengths() {
  Case of = small_case();
  of.at.lengths = {0, 3};
  Layer some(of);
  Problem problem = make_problem(of.at, 4);
  fill_layer(some, problem);
  OK(some.forward());
  CHECK(some.backward_data() == CUDNN_STATUS_EXECUTION_FAILED);
  CHECK(some.backward_weights() == CUDNN_STATUS_EXECUTION_FAILED);
  of.at.lengths = {0, 0};
  Layer none(of);
  CHECK(none.forward() == CUDNN_STATUS_EXECUTION_FAILED);

  const Case whole = small_case();
  Layer layer(whole);
  fill_layer(layer, problem);
  const int32_t other[] = {3, 2};
  OK(cudnn->cudnnRNNForward(layer.handle, layer.rnn, CUDNN_FWD_MODE_INFERENCE, other, layer.x_desc,
                            layer.x.data(), layer.y_desc, layer.y.data(), layer.h_desc, nullptr,
                            nullptr, layer.c_desc, nullptr, nullptr, layer.weight_bytes,
                            layer.weights.data(), layer.workspace_bytes, layer.workspace.data(), 0,
                            nullptr));
  CHECK(complains());
}

void (*waiting)(void*) = nullptr;
void* waiting_data = nullptr;

// Work waits for the stream; its descriptors need not.
void test_queue() {
  cudnn->fake_cudnn_set_queue([](cudaStream_t, void (*run)(void*), void* data) {
    waiting = run;
    waiting_data = data;
  });
  const Case of = small_case();
  Problem problem = make_problem(of.at, 5);
  Layer layer(of);
  fill_layer(layer, problem);
  OK(layer.forward());
  CHECK(layer.y == Bytes(layer.y.size(), 0x5a));
  layer.destroy();
  waiting(waiting_data);
  CHECK(layer.y != Bytes(layer.y.size(), 0x5a));
  cudnn->fake_cudnn_set_queue(run_now);
}

void test_failures() {
  cudnnRNNDescriptor_t rnn = nullptr;
  cudnn->fake_cuda_fail_call("cudnnRNNSetClip_v9", 1, CUDNN_STATUS_INTERNAL_ERROR);
  OK(cudnn->cudnnCreateRNNDescriptor(&rnn));
  CHECK(cudnn->cudnnRNNSetClip_v9(rnn, CUDNN_RNN_CLIP_NONE, 0, 0) == CUDNN_STATUS_INTERNAL_ERROR);
  char text[256];
  cudnn->cudnnGetLastErrorString(text, sizeof text);
  CHECK(text[0] != '\0');
  OK(cudnn->cudnnRNNSetClip_v9(rnn, CUDNN_RNN_CLIP_NONE, 0, 0));
  CHECK(cudnn->fake_cuda_live("cudnn RNN descriptor") == 1);
  OK(cudnn->cudnnDestroyRNNDescriptor(rnn));
}

void test_numbers() {
  using namespace fake_cudnn;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const double half = from_half(bits), bfloat = from_bfloat16(bits);
    CHECK(std::isnan(half) || to_half(half) == bits);
    CHECK(std::isnan(bfloat) || to_bfloat16(bfloat) == bits);
  }
  CHECK(to_half(1 + std::ldexp(1, -11)) == 0x3c00);  // a tie goes to even
  CHECK(to_half(1 + std::ldexp(3, -11)) == 0x3c02);
  CHECK(to_half(2047.9) == 0x6800);  // carries into the exponent
  CHECK(to_half(std::ldexp(1, -25)) == 0);
  CHECK(to_half(65519) == 0x7bff && to_half(65520) == 0x7c00);
  CHECK(to_bfloat16(1 + std::ldexp(1, -8)) == 0x3f80);
}

}  // namespace

int main(int argc, char** argv) {
  CudnnLibrary library(cudnn_in("BPTT_CUDA_PATH"));
  CHECK_MSG(library.error.empty(), "%s", library.error.c_str());
  if (!library.error.empty()) return finish();
  cudnn = &library;
  cudnn->fake_cudnn_set_queue(run_now);
  const int count = argc > 1 ? std::atoi(argv[1]) : 500;
  std::mt19937 random(20);
  for (int i = 0; i < count; ++i) check_case(random_case(random), i);
  std::printf("%d random cases\n", count);
  test_published();
  test_reserve();
  test_lengths();
  test_queue();
  test_failures();
  test_numbers();
  CHECK(cudnn->fake_cuda_live(nullptr) == 0);
  return finish();
}
