// The fake driver: that it works, and that each bug it is there for is caught.
#include "driver/fake_test.h"

#include <cmath>
#include <cstring>

#include "driver/fake.h"
#include "emulation/emulation.h"

using namespace bptt_fake_test;

namespace {

struct Scale {
  int n;
  float factor;
  float* data;
};

void scale(const Scale& a) {
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < unsigned(a.n);
       i += gridDim.x * blockDim.x)
    a.data[i] *= a.factor;
}

// n is one too many.
void scale_past_end(const Scale& a) {
  if (threadIdx.x == 0)
    for (int i = 0; i <= a.n; ++i) a.data[i] = a.factor;
}

float* floats(CUdeviceptr address) { return reinterpret_cast<float*>(address); }

std::vector<float> counting(size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i);
  return values;
}

// -- what works -------------------------------------------------------------------

void copies_and_launches() {
  Session s;
  add_kernel<Scale, scale>("scale");
  const std::vector<float> values = counting(1000);
  const CUdeviceptr a = s.upload(values), b = s.allocate(4000);
  OK(s.launch("scale", 3, 64, Scale{1000, 2.0f, floats(a)}));
  OK(cuMemcpyDtoDAsync(b, a, 4000, s.stream));
  OK(cuMemsetD32Async(a, 7, 999, s.stream));
  OK(cuMemsetD8Async(a + 3996, 1, 4, s.stream));
  CHECK(fake_cuda_pending() == 5);
  const std::vector<float> out = s.download<float>(b, 1000);
  const std::vector<int> words = s.download<int>(a, 1000);
  CHECK(fake_cuda_pending() == 0);
  int wrong = 0;
  for (int i = 0; i < 1000; ++i) wrong += out[i] != 2.0f * values[i];
  for (int i = 0; i < 1000; ++i) wrong += words[i] != (i < 999 ? 7 : 0x01010101);
  CHECK_MSG(wrong == 0, "%d wrong", wrong);
}

void new_memory_is_nan_and_aligned() {
  Session s;
  for (size_t n : {1, 3, 64, 65, 5000}) {
    const CUdeviceptr a = s.allocate(4 * n);
    CHECK(a % 256 == 0);
    int numbers = 0;
    for (float x : s.download<float>(a, n)) numbers += !std::isnan(x);
    CHECK(numbers == 0);
  }
}

void arguments_and_uploads_are_copied_at_the_call() {
  Session s;
  add_kernel<Scale, scale>("scale");
  std::vector<float> values = counting(4);
  const CUdeviceptr a = s.upload(values);
  values.assign(4, 99.0f);
  Scale arguments = {4, 10.0f, floats(a)};
  CUfunction function = nullptr;
  OK(cuModuleGetFunction(&function, s.module, "scale"));
  void* parameters[] = {&arguments};
  OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, s.stream, parameters, nullptr));
  arguments.factor = 1000.0f;
  CHECK(s.download<float>(a, 4) == (std::vector<float>{0, 10, 20, 30}));
}

void reading_early_shows_old_data() {
  Session s;
  const CUdeviceptr a = s.upload(counting(4));
  std::vector<float> out(4, -1.0f);
  OK(cuMemcpyDtoHAsync(out.data(), a, 16, s.stream));
  CHECK(out == std::vector<float>(4, -1.0f));
  OK(cuStreamSynchronize(s.stream));
  CHECK(out == counting(4));
}

// A wait for one stream does nothing on another; the null stream is another.
void streams_are_separate() {
  Session s;
  CUstream other = nullptr;
  OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  const CUdeviceptr a = s.allocate(4), b = s.allocate(4), c = s.allocate(4);
  OK(cuMemsetD8Async(a, 0, 4, s.stream));
  OK(cuMemsetD8Async(b, 0, 4, other));
  OK(cuMemsetD8Async(c, 0, 4, nullptr));
  OK(cuStreamSynchronize(s.stream));
  CHECK(fake_cuda_pending() == 2);
  OK(cuStreamDestroy(other));
  CHECK(fake_cuda_pending() == 1);
  OK(cuMemFree(a));  // waits for everything
  CHECK(fake_cuda_pending() == 0);
}

// -- calls that the driver refuses --------------------------------------------------

void bad_copies_are_refused() {
  Session s;
  std::vector<unsigned char> host(4096);
  const CUdeviceptr a = s.allocate(100), b = s.allocate(100);
  const CUdeviceptr host_address = reinterpret_cast<CUdeviceptr>(host.data());
  void* device_pointer = reinterpret_cast<void*>(a);
  CHECK(cuMemcpyHtoDAsync(a, host.data(), 101, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemcpyHtoDAsync(a + 1, host.data(), 100, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemcpyDtoHAsync(host.data(), a - 1, 1, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemcpyDtoDAsync(a, b, 101, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemsetD8Async(a, 0, 101, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemcpyHtoDAsync(host_address, host.data(), 4, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemcpyDtoHAsync(device_pointer, b, 4, s.stream) == CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree(b));
  CHECK(cuMemcpyDtoHAsync(host.data(), b, 4, s.stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemFree(b) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemFree(a + 4) == CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr none = 0;
  CHECK(cuMemAlloc(&none, 0) == CUDA_ERROR_INVALID_VALUE);
  OK(cuMemcpyHtoDAsync(a, host.data(), 0, s.stream));
}

void bad_launches_are_refused() {
  Session s;
  add_kernel<Scale, scale>("scale");
  const Scale none = {0, 1.0f, nullptr};
  CHECK(s.launch("scale", 0, 32, none) == CUDA_ERROR_INVALID_VALUE);
  CHECK(s.launch("scale", 1, 0, none) == CUDA_ERROR_INVALID_VALUE);
  CHECK(s.launch("scale", 1, 1025, none) == CUDA_ERROR_INVALID_VALUE);
  CHECK(s.launch("scale", 0x80000000u, 32, none) == CUDA_ERROR_INVALID_VALUE);
  CUfunction function = nullptr;
  CHECK(cuModuleGetFunction(&function, s.module, "bptt_nothing") == CUDA_ERROR_NOT_FOUND);
  CHECK(cuLaunchKernel(nullptr, 1, 1, 1, 32, 1, 1, 0, s.stream, nullptr, nullptr) ==
        CUDA_ERROR_INVALID_HANDLE);
}

void a_context_is_needed() {
  fake_cuda_reset();
  CUdeviceptr a = 0;
  int count = 0;
  CHECK(cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED);
  CHECK(cuMemAlloc(&a, 4) == CUDA_ERROR_NOT_INITIALIZED);
  OK(cuInit(0));
  CHECK(cuMemAlloc(&a, 4) == CUDA_ERROR_INVALID_CONTEXT);
  CUcontext context = nullptr;
  OK(cuDevicePrimaryCtxRetain(&context, 0));
  CHECK(cuDevicePrimaryCtxRetain(&context, 1) == CUDA_ERROR_INVALID_DEVICE);
  OK(cuCtxSetCurrent(context));
  OK(cuMemAlloc(&a, 4));
  OK(cuDevicePrimaryCtxRelease(0));
  CHECK(cuMemAlloc(&a, 4) == CUDA_ERROR_CONTEXT_IS_DESTROYED);
  fake_cuda_reset();
}

// -- failures that a test asks for -------------------------------------------------

void the_nth_call_fails() {
  Session s;
  CUdeviceptr a = 0;
  fake_cuda_fail_call("cuMemAlloc_v2", 2, CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemAlloc(&a, 4));
  CHECK(cuMemAlloc(&a, 4) == CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemAlloc(&a, 4));
  CHECK(fake_cuda_calls("cuMemAlloc") == 3 && fake_cuda_live_buffers() == 2);
  fake_cuda_set_memory(1000);
  CHECK(cuMemAlloc(&a, 993) == CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemAlloc(&a, 992));
  fake_cuda_set_memory(size_t{4} << 30);
}

void a_broken_context_stays_broken() {
  Session s;
  const CUdeviceptr a = s.upload(counting(4));
  fake_cuda_fail_work(1, CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuStreamSynchronize(s.stream) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuMemsetD8Async(a, 0, 4, s.stream) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuStreamSynchronize(s.stream) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuMemFree(a) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(fake_cuda_live_buffers() == 0);
  const char* text = nullptr;
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  CHECK(std::strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
}

void leaks_are_reported() {
  Session s;
  s.allocate(100);
  CHECK(fake_cuda_live_buffers() == 1 && fake_cuda_live_bytes() == 100);
  CHECK(fake_cuda_live("stream") == 1 && fake_cuda_live("module") == 1);
  OK(cuStreamDestroy(s.stream));
  OK(cuModuleUnload(s.module));
  OK(cuDevicePrimaryCtxRelease(0));
  char text[200];
  fake_cuda_report(text, sizeof(text));
  CHECK_MSG(std::strcmp(text, "buffer: 1 (100 bytes)\n") == 0, "%s", text);
}

// -- bugs that end the process --------------------------------------------------------

void the_host_touches_device_memory() {
  const Outcome wrote = in_child([] {
    Session s;
    floats(s.allocate(400))[3] = 1.0f;
  });
  CHECK_CAUGHT(wrote, "the host touched device memory: byte 12 of buffer 1 (400 bytes)");
  const Outcome read = in_child([] {
    Session s;
    const CUdeviceptr a = s.upload(counting(4));
    OK(cuStreamSynchronize(s.stream));
    if (floats(a)[0] == 1.0f) std::puts("");
  });
  CHECK_CAUGHT(read, "the host touched device memory: byte 0 of buffer 1 (16 bytes)");
  const Outcome freed = in_child([] {
    Session s;
    const CUdeviceptr a = s.allocate(400);
    OK(cuMemFree(a));
    floats(a)[0] = 1.0f;
  });
  CHECK_CAUGHT(freed, "byte 0 of buffer 1 (400 bytes, freed)");
}

Outcome past_end(int n, bool sync) {
  return in_child([=] {
    Session s;
    add_kernel<Scale, scale_past_end>("past_end");
    const CUdeviceptr a = s.allocate(4 * static_cast<size_t>(n));
    OK(s.launch("past_end", 1, 32, Scale{n, 1.0f, floats(a)}));
    sync ? cuStreamSynchronize(s.stream) : cuMemFree(a);
  });
}

void a_kernel_writes_past_a_buffer() {
  CHECK_CAUGHT(past_end(64, true),
               "kernel past_end, block (0,0,0), thread (0,0,0): touched 0 bytes"
               " past buffer 1 (256 bytes)");
  CHECK_CAUGHT_OR_POISONED(past_end(65, true), "past_end: 0 bytes past buffer 1 (260 bytes)");
  CHECK_CAUGHT_OR_POISONED(past_end(65, false), "past_end: 0 bytes past buffer 1 (260 bytes)");
}

void a_kernel_uses_freed_memory() {
  const Outcome outcome = in_child([] {
    Session s;
    add_kernel<Scale, scale>("scale");
    const CUdeviceptr a = s.upload(counting(4));
    OK(cuMemFree(a));
    OK(s.launch("scale", 1, 32, Scale{4, 1.0f, floats(a)}));
    cuStreamSynchronize(s.stream);
  });
  CHECK_CAUGHT(outcome, "kernel scale, block (0,0,0), thread (");
  CHECK_CAUGHT(outcome, "of buffer 1 (16 bytes, freed)");
}

void copies_overlap() {
  const Outcome outcome = in_child([] {
    Session s;
    const CUdeviceptr a = s.allocate(100);
    cuMemcpyDtoDAsync(a, a + 50, 51 - 1, s.stream);
    _exit(cuMemcpyDtoDAsync(a, a + 20, 40, s.stream));
  });
  CHECK_CAUGHT(outcome, "the ranges overlap");
}

}  // namespace

int main() {
  copies_and_launches();
  new_memory_is_nan_and_aligned();
  arguments_and_uploads_are_copied_at_the_call();
  reading_early_shows_old_data();
  streams_are_separate();
  bad_copies_are_refused();
  bad_launches_are_refused();
  a_context_is_needed();
  the_nth_call_fails();
  a_broken_context_stays_broken();
  leaks_are_reported();
  the_host_touches_device_memory();
  a_kernel_writes_past_a_buffer();
  a_kernel_uses_freed_memory();
  copies_overlap();
  return bptt_test::finish();
}
