// The fake cuDNN against the real one, without a GPU: over random configurations of recurrent
// layers both must accept and refuse the same, with the same status, and say the same of where
// weights lie. So what the fake lets the backend do, the real library's own host checks allow.
//
//   cudnn_contract_test [configurations] [first seed]
//
// BPTT_CUDA_PATH names the folder of the fakes, BPTT_CUDA_LIBRARIES that of NVIDIA's libraries.
// Without a driver the real library gives no handle, yet its checks run for any block of
// zeros, and its first CUDA call then fails: "execution failed, cudart" is what a call that
// passed them returns. That is nowhere documented, so each library answers in a process of its own.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <map>

#include "cudnn/questions.h"
#include "native/check.h"

namespace bptt_test {
namespace {

// Stands for a handle, and for device memory that no check looks into.
alignas(64) uint8_t zeros[1 << 20];

// The descriptors of one configuration, and the calls with them.
class Interview {
 public:
  Interview(const CudnnLibrary& cudnn, const Configuration& of, const Answer& answer)
      : cudnn(cudnn), of(of), answer(answer) {
    cudnn.cudnnCreateRNNDescriptor(&rnn);
    for (auto* desc : {&x_desc, &y_desc}) cudnn.cudnnCreateRNNDataDescriptor(desc);
    for (auto* desc : {&h_desc, &c_desc, &matrix, &bias}) cudnn.cudnnCreateTensorDescriptor(desc);
  }
  ~Interview() {
    for (auto desc : {h_desc, c_desc, matrix, bias}) cudnn.cudnnDestroyTensorDescriptor(desc);
    for (auto desc : {x_desc, y_desc}) cudnn.cudnnDestroyRNNDataDescriptor(desc);
    cudnn.cudnnDestroyRNNDescriptor(rnn);
  }

  void run() {
    if (!set_rnn()) return;
    ask_clip();
    ask_weights();
    if (!set_data() || !set_states()) return;
    ask_sizes();
    ask_passes();
  }

 private:
  bool say(const std::string& question, cudnnStatus_t status, const std::string& more = "") {
    char words[256] = "";
    if (status != CUDNN_STATUS_SUCCESS) cudnn.cudnnGetLastErrorString(words, sizeof words);
    for (char& c : words) c = c == '\n' || c == '\t' ? ' ' : c;
    answer(question, std::to_string(status) + more + "\t" + words);
    return status == CUDNN_STATUS_SUCCESS;
  }

  cudnnHandle_t handle() const {
    return of.has(Fault::handle_null) ? nullptr : reinterpret_cast<cudnnHandle_t>(zeros);
  }
  void* memory() const { return zeros + 4096; }
  void* unless(Fault fault) const { return of.has(fault) ? nullptr : memory(); }

  bool set_rnn() {
    return say("SetRNNDescriptor_v8",
               cudnn.cudnnSetRNNDescriptor_v8(
                   of.has(Fault::rnn_null) ? nullptr : rnn, cudnnRNNAlgo_t(of.algo),
                   cudnnRNNMode_t(of.cell), cudnnRNNBiasMode_t(of.bias),
                   cudnnDirectionMode_t(of.direction), cudnnRNNInputMode_t(of.input_mode),
                   cudnnDataType_t(of.type), cudnnDataType_t(of.precision),
                   cudnnMathType_t(of.math), of.I, of.H, of.P, of.L, nullptr, of.flags));
  }

  void ask_clip() {
    const auto set = [&](int mode, double left, double right) {
      say("RNNSetClip_v9", cudnn.cudnnRNNSetClip_v9(rnn, cudnnRNNClipMode_t(mode), left, right));
    };
    if (of.has(Fault::clip)) set(CUDNN_RNN_CLIP_MINMAX, -1, 1);
    if (of.has(Fault::clip_reversed)) set(CUDNN_RNN_CLIP_MINMAX, 1, -1);
    if (of.has(Fault::clip_nan)) set(CUDNN_RNN_CLIP_MINMAX, NAN, 1);
    if (of.has(Fault::clip_mode_bad)) set(2, -1, 1);
  }

  static long offset(void* address) {
    return address ? static_cast<uint8_t*>(address) - zeros - 4096 : -1;
  }

  std::string shape_of(cudnnTensorDescriptor_t desc) const {
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    int rank = 0, dims[8] = {}, strides[8] = {};
    cudnn.cudnnGetTensorNdDescriptor(desc, 8, &type, &rank, dims, strides);
    std::string text;
    for (int i = 0; i < 3; ++i) text += (i ? "," : "") + std::to_string(dims[i]);
    return text;
  }

  void ask_weights() {
    if (!say("GetRNNWeightSpaceSize",
             cudnn.cudnnGetRNNWeightSpaceSize(handle(), rnn, &weight_bytes))) {
      return;
    }
    answer("weight space", std::to_string(weight_bytes));
    const size_t bytes = weight_bytes - (of.has(Fault::weights_short) ? 4 : 0);
    for (int pseudo = -1; pseudo <= of.L * of.D(); ++pseudo) {
      for (int id = -1; id <= 9; ++id) {
        void* at[2] = {zeros, zeros};
        const cudnnStatus_t status =
            cudnn.cudnnGetRNNWeightParams(handle(), rnn, pseudo, bytes, unless(Fault::weights_null),
                                          id, matrix, &at[0], bias, &at[1]);
        std::string more;
        if (status == CUDNN_STATUS_SUCCESS && !of.has(Fault::weights_null)) {
          more =
              " matrix " + std::to_string(offset(at[0])) + " bias " + std::to_string(offset(at[1]));
          if (at[0]) more += " matrix " + shape_of(matrix);
          if (at[1]) more += " bias " + shape_of(bias);
        }
        say("GetRNNWeightParams " + std::to_string(pseudo) + " " + std::to_string(id), status,
            more);
      }
    }
  }

  bool set_data() {
    const auto set = [&](const char* name, cudnnRNNDataDescriptor_t desc, int type, int layout,
                         int T, int B, int V, const std::vector<int>& lengths) {
      std::vector<int> enough = lengths;
      enough.resize(lengths.size() + 2, lengths.empty() ? 1 : lengths.back());
      return say(name, cudnn.cudnnSetRNNDataDescriptor(
                           of.has(Fault::data_null) ? nullptr : desc,
                           of.has(Fault::data_int8) ? CUDNN_DATA_INT8 : cudnnDataType_t(type),
                           cudnnRNNDataLayout_t(layout), T, B, of.has(Fault::vector_zero) ? 0 : V,
                           of.has(Fault::lengths_null) ? nullptr : enough.data(), nullptr));
    };
    const auto other = [](int type) { return type == CUDNN_DATA_FLOAT ? 1 : 0; };
    const int width = of.D() * of.P;
    std::vector<int> lengths = of.lengths;
    if (of.has(Fault::y_lengths) && !lengths.empty()) lengths.back() = lengths.back() == 1 ? 2 : 1;
    return set("SetRNNDataDescriptor x", x_desc, of.has(Fault::x_type) ? other(of.type) : of.type,
               of.layout, of.T, of.B, of.I + of.has(Fault::x_vector), of.lengths) &&
           set("SetRNNDataDescriptor y", y_desc, of.has(Fault::y_type) ? other(of.type) : of.type,
               of.has(Fault::y_layout) ? (of.layout == 0 ? 2 : 0) : of.layout,
               of.T + of.has(Fault::y_time), of.B + of.has(Fault::y_batch),
               width + of.has(Fault::y_vector), lengths);
  }

  bool set_state(const char* name, cudnnTensorDescriptor_t desc, int L, int B, int n, int type) {
    int dims[] = {L, B, n, 1}, strides[] = {B * n, n, 1, 1};
    if (of.has(Fault::h_strides)) strides[0] += 1;
    return say(name,
               cudnn.cudnnSetTensorNdDescriptor(desc, cudnnDataType_t(type),
                                                of.has(Fault::h_rank) ? 4 : 3, dims, strides));
  }

  bool set_states() {
    const int L = of.L * of.D(), other = of.type == CUDNN_DATA_FLOAT ? 1 : 0;
    if (of.has(Fault::h_not_set)) return true;
    return set_state("SetTensorNdDescriptor h", h_desc, L + of.has(Fault::h_layers),
                     of.B + of.has(Fault::h_batch), of.P + of.has(Fault::h_size),
                     of.has(Fault::h_type) ? other : of.type) &&
           set_state("SetTensorNdDescriptor c", c_desc, L + of.has(Fault::c_layers),
                     of.B + of.has(Fault::c_batch), of.H + of.has(Fault::c_size),
                     of.has(Fault::c_type) ? other : of.type);
  }

  void ask_sizes() {
    for (int mode = 0; mode < 2 + of.has(Fault::mode_bad); ++mode) {
      size_t workspace = 0, reserve = 0;
      const cudnnStatus_t status = cudnn.cudnnGetRNNTempSpaceSizes(
          handle(), rnn, cudnnForwardMode_t(mode), x_desc, &workspace, &reserve);
      say("GetRNNTempSpaceSizes " + std::to_string(mode), status,
          std::string(workspace ? " workspace" : "") + (reserve ? " reserve" : ""));
      if (workspace > 0) workspace_bytes[mode] = workspace;
      if (reserve > 0) reserve_bytes[mode] = reserve;
    }
  }

  // Where batch-major data has no padding, the real library first works out a grid of blocks,
  // and without a device divides by zero processors. It has passed its checks then.
  template <class Pass>
  cudnnStatus_t pass(const Pass& start) const {
    const bool full = std::all_of(of.lengths.begin(), of.lengths.end(),
                                  [&](int length) { return length == of.T; });
    if (of.layout != CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED || !full) return start();
    static auto* answer = static_cast<cudnnStatus_t*>(mmap(
        nullptr, sizeof(cudnnStatus_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const pid_t child = fork();
    if (child == 0) {
      *answer = start();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status == 0) return *answer;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGFPE ? CUDNN_STATUS_EXECUTION_FAILED_CUDART
                                                             : CUDNN_STATUS_INTERNAL_ERROR;
  }

  void ask_passes() {
    const auto x = of.has(Fault::x_desc_null) ? nullptr : x_desc;
    const auto y = of.has(Fault::y_desc_null) ? nullptr : y_desc;
    const auto h = of.has(Fault::h_null) ? nullptr : h_desc;
    const auto c = of.has(Fault::c_null) ? nullptr : c_desc;
    const auto* lengths = static_cast<const int32_t*>(unless(Fault::dev_lengths_null));
    void *state = unless(Fault::states_null), *out = unless(Fault::outputs_null);
    void *weights = unless(Fault::weights_null), *workspace = unless(Fault::workspace_null);
    void* reserve = unless(Fault::reserve_null);
    size_t workspace_n = 0, reserve_n = 0;
    const size_t weights_n = weight_bytes - (of.has(Fault::weights_short) ? 4 : 0);
    const auto spaces_of = [&](int mode) {
      workspace_n = workspace_bytes[mode] - (of.has(Fault::workspace_short) ? 4 : 0);
      reserve_n = reserve_bytes[mode] - (of.has(Fault::reserve_short) ? 4 : 0);
    };
    for (int mode = 0; mode < 2 + of.has(Fault::mode_bad); ++mode) {
      spaces_of(mode < 2 ? mode : CUDNN_FWD_MODE_INFERENCE);
      say("RNNForward " + std::to_string(mode), pass([&] {
            return cudnn.cudnnRNNForward(handle(), rnn, cudnnForwardMode_t(mode), lengths, x,
                                         unless(Fault::x_null), y, unless(Fault::y_null), h, state,
                                         out, c, state, out, weights_n, weights, workspace_n,
                                         workspace, reserve_n, reserve);
          }));
    }
    spaces_of(CUDNN_FWD_MODE_TRAINING);
    say("RNNBackwardData_v8", pass([&] {
          return cudnn.cudnnRNNBackwardData_v8(handle(), rnn, lengths, y, unless(Fault::y_null),
                                               memory(), x, unless(Fault::x_null), h, state, state,
                                               out, c, state, state, out, weights_n, weights,
                                               workspace_n, workspace, reserve_n, reserve);
        }));
    const int mode = of.has(Fault::wgrad_set) ? 1 : of.has(Fault::wgrad_bad) ? 2 : 0;
    say("RNNBackwardWeights_v8", pass([&] {
          return cudnn.cudnnRNNBackwardWeights_v8(handle(), rnn, cudnnWgradMode_t(mode), lengths, x,
                                                  unless(Fault::x_null), h, state, y,
                                                  unless(Fault::y_null), weights_n, weights,
                                                  workspace_n, workspace, reserve_n, reserve);
        }));
  }

  const CudnnLibrary& cudnn;
  const Configuration& of;
  const Answer& answer;
  cudnnRNNDescriptor_t rnn = nullptr;
  cudnnRNNDataDescriptor_t x_desc = nullptr, y_desc = nullptr;
  cudnnTensorDescriptor_t h_desc = nullptr, c_desc = nullptr, matrix = nullptr, bias = nullptr;
  size_t weight_bytes = 4, workspace_bytes[3] = {4, 4, 4}, reserve_bytes[3] = {4, 4, 4};
};

// One answer: "seed, question, status and numbers, words"; words are not compared.
struct Said {
  uint32_t seed;
  std::string question, what, words;
};

void write_answers(const CudnnLibrary& cudnn, uint32_t seed, FILE* to) {
  const Configuration of = random_configuration(seed);
  const Answer answer = [&](const std::string& question, const std::string& said) {
    std::fprintf(to, "%u\t%s\t%s\n", seed, question.c_str(), said.c_str());
    std::fflush(to);  // an answer is worth most before a crash
  };
  Interview(cudnn, of, answer).run();
}

void write_all_answers(const std::string& path, uint32_t first, int count, FILE* to) {
  const CudnnLibrary cudnn(path);
  if (!cudnn.error.empty()) {
    std::fprintf(to, "0\tcannot be opened\t%s\t\n", cudnn.error.c_str());
    return;
  }
  if (cudnn.fake_cudnn_set_checks_only) cudnn.fake_cudnn_set_checks_only(1);
  std::fprintf(to, "0\tversion\t%zu\t\n", cudnn.cudnnGetVersion());
  for (uint32_t seed = first; seed < first + count; ++seed) write_answers(cudnn, seed, to);
  std::fprintf(to, "0\tend\t\t\n");
}

std::vector<Said> answers_of(const std::string& path, uint32_t first, int count) {
  int ends[2];
  if (!CHECK(pipe(ends) == 0)) return {};
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    FILE* to = fdopen(ends[1], "w");
    write_all_answers(path, first, count, to);
    std::fclose(to);
    _exit(0);
  }
  close(ends[1]);
  FILE* from = fdopen(ends[0], "r");
  std::vector<Said> answers;
  char line[2048];
  while (std::fgets(line, sizeof line, from)) {
    std::vector<std::string> fields(1);
    for (const char* c = line; *c && *c != '\n'; ++c) {
      if (*c == '\t') {
        fields.emplace_back();
      } else {
        fields.back() += *c;
      }
    }
    fields.resize(4);
    answers.push_back({uint32_t(std::stoul(fields[0])), fields[1], fields[2], fields[3]});
  }
  std::fclose(from);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_MSG(status == 0, "%s: the process ended with %d", path.c_str(), status);
  CHECK_MSG(!answers.empty() && answers.back().question == "end", "%s: no last answer",
            path.c_str());
  return answers;
}

// How often each status was the answer, by function.
using Statuses = std::map<std::string, std::map<std::string, int>>;

void compare(const std::vector<Said>& real, const std::vector<Said>& fake, Statuses& statuses) {
  constexpr int kMostShown = 20;
  std::set<uint32_t> wrong;
  for (size_t i = 0, j = 0; i < real.size() && j < fake.size();) {
    const Said &a = real[i], &b = fake[j];
    const uint32_t seed = a.seed;
    if (a.seed == b.seed && a.question == b.question && a.what == b.what) {
      if (a.question != "weight space") {
        ++statuses[a.question.substr(0, a.question.find(' '))][a.what.substr(0, a.what.find(' '))];
      }
      ++checks;
      ++i, ++j;
      continue;
    }
    wrong.insert(seed);
    if (wrong.size() <= kMostShown) {
      CHECK_MSG(false, "seed %u: %s\n    real: %s = %s (%s)\n    fake: %s = %s (%s)", seed,
                describe(random_configuration(seed)).c_str(), a.question.c_str(), a.what.c_str(),
                a.words.c_str(), b.question.c_str(), b.what.c_str(), b.words.c_str());
    } else {
      ++failures;
    }
    while (i < real.size() && real[i].seed == seed) ++i;
    while (j < fake.size() && fake[j].seed == seed) ++j;
  }
  if (!wrong.empty()) std::printf("%zu configurations differ\n", wrong.size());
}

}  // namespace
}  // namespace bptt_test

int main(int argc, char** argv) {
  using namespace bptt_test;
  const int count = argc > 1 ? std::atoi(argv[1]) : 300;
  const uint32_t first = argc > 2 ? static_cast<uint32_t>(std::atol(argv[2])) : 1;
#if defined(__SANITIZE_ADDRESS__)
  std::printf("skipped: NVIDIA's library does not find its parts under AddressSanitizer\n");
  return 0;
#endif
  const std::string path = cudnn_in("BPTT_CUDA_LIBRARIES");
  if (access(path.c_str(), R_OK) != 0) {
    std::printf("skipped: no %s (native/cuda/fetch.mjs --libraries gets it)\n", path.c_str());
    return 0;
  }
  const std::vector<Said> real = answers_of(path, first, count);
  const std::vector<Said> fake = answers_of(cudnn_in("BPTT_CUDA_PATH"), first, count);
  Statuses statuses;
  compare(real, fake, statuses);
  for (const auto& [function, counts] : statuses) {
    std::printf("%-24s", function.c_str());
    for (const auto& [status, n] : counts) std::printf(" %s: %d", status.c_str(), n);
    std::printf("\n");
  }
  // Enough of them pass the checks for the comparison to mean something.
  for (const char* pass : {"RNNForward", "RNNBackwardData_v8", "RNNBackwardWeights_v8"}) {
    CHECK(count < 100 || statuses[pass]["5003"] > count / 10);
  }
  std::printf("%d configurations, %zu answers of the real library\n", count, real.size());
  return finish();
}
