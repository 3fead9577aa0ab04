// What the tests of the fakes share: a context to work in, and children for the bugs that
// end a process.
#pragma once

#include <cuda.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "driver/fake.h"
#include "native/check.h"

#define OK(expression) CHECK((expression) == CUDA_SUCCESS)

namespace bptt_fake_test {

constexpr char kImage[] = "any image";

// A fresh driver with a context and a stream.
struct Session {
  Session() {
    fake_cuda_reset();
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuModuleLoadData(&module, kImage));
  }
  ~Session() { fake_cuda_reset(); }

  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr made = 0;
    OK(cuMemAlloc(&made, bytes));
    return made;
  }
  template <class T>
  CUdeviceptr upload(const std::vector<T>& values) {
    const CUdeviceptr made = allocate(values.size() * sizeof(T));
    OK(cuMemcpyHtoDAsync(made, values.data(), values.size() * sizeof(T), stream));
    return made;
  }
  template <class T>
  std::vector<T> download(CUdeviceptr from, size_t n) {
    std::vector<T> values(n);
    OK(cuMemcpyDtoHAsync(values.data(), from, n * sizeof(T), stream));
    OK(cuStreamSynchronize(stream));
    return values;
  }
  template <class Arguments>
  CUresult launch(const char* kernel, unsigned blocks, unsigned threads, Arguments arguments) {
    CUfunction function = nullptr;
    OK(cuModuleGetFunction(&function, module, kernel));
    void* parameters[] = {&arguments};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, parameters, nullptr);
  }

  CUcontext context = nullptr;
  CUstream stream = nullptr;
  CUmodule module = nullptr;
};

// A kernel of a test: body(arguments) is one thread.
template <class Arguments, void (*kBody)(const Arguments&)>
void add_kernel(const char* name) {
  fake_cuda_add_kernel(name, sizeof(Arguments),
                       [](const void* a) { kBody(*static_cast<const Arguments*>(a)); });
}

struct Outcome {
  int status;  // of the exit, or 128 + signal
  std::string words;
};

// Runs body in a child of its own.
template <class Body>
Outcome in_child(Body body) {
  int ends[2];
  if (pipe(ends) != 0) return {-1, "no pipe"};
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    body();
    _exit(0);
  }
  close(ends[1]);
  Outcome outcome = {};
  char text[512];
  for (ssize_t n; (n = read(ends[0], text, sizeof(text))) > 0;)
    outcome.words.append(text, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

#define CHECK_CAUGHT(outcome, text)                                                               \
  CHECK_MSG(                                                                                      \
      (outcome).status == FAKE_CUDA_EXIT_CODE && (outcome).words.find(text) != std::string::npos, \
      "status %d, not \"%s\": %s", (outcome).status, text, (outcome).words.c_str())

// Caught by the fakes, or in an instrumented build by AddressSanitizer, which sees it first.
#if defined(__SANITIZE_ADDRESS__)
#define CHECK_CAUGHT_OR_POISONED(outcome, text)                                \
  CHECK_MSG((outcome).words.find(text) != std::string::npos ||                 \
                (outcome).words.find("AddressSanitizer") != std::string::npos, \
            "status %d: %s", (outcome).status, (outcome).words.c_str())
#else
#define CHECK_CAUGHT_OR_POISONED(outcome, text) CHECK_CAUGHT(outcome, text)
#endif

}  // namespace bptt_fake_test
