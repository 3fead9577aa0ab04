// The controls of the fake CUDA driver, for tests and for the other fake libraries; found
// in the fake libcuda.so.1 by linking to it or by dlsym.
//
// Environment of the process that loads it:
//   BPTT_EMULATION_SEED     order of emulated threads
//   BPTT_FAKE_CUDA_FAIL     "NAME:NTH:CODE,...": fake_cuda_fail_call for each
//   BPTT_FAKE_CUDA_MEMORY   bytes of device memory
//   BPTT_FAKE_CUDA_BLOCKS   the most blocks of a launch: every kernel strides over what is left
//   BPTT_FAKE_CUDA_DEVICE   "CAPABILITY:MULTIPROCESSORS", as fake_cuda_set_device
//   BPTT_FAKE_CUDNN_VERSION what cudnnGetVersion says
//   BPTT_FAKE_CUDA_EAGER    1: queued work runs at once, so that a debugger shows who queued it
//   BPTT_FAKE_CUDA_PTX      a file of PTX: its kernels are interpreted, in place of those linked in
//   BPTT_FAKE_CUDA_REPORT   a file that gets the live objects when the process ends
#pragma once

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

struct CUstream_st;

extern "C" {

// A broken rule of the contract, such as the host touching device memory, ends the
// process with this status and a message.
enum { FAKE_CUDA_EXIT_CODE = 77 };

// As in a new process: no buffers, streams, queued work, failures or counts.
void fake_cuda_reset(void);
void fake_cuda_set_memory(size_t bytes);
void fake_cuda_set_devices(int count);
// What every device says of itself; capability is 10 * major + minor. At first 80 and 4.
void fake_cuda_set_device(int capability, int multiprocessors);
void fake_cuda_seed(uint64_t seed);

// -- failures -----------------------------------------------------------------
// The nth call from now (1: the next) of a function fails with this code: a CUresult, a
// cublasStatus_t, .... Names are symbols, with or without their _v2. A CUresult that
// breaks the context (700 and others) makes every later call fail with it.
void fake_cuda_fail_call(const char* name, int nth, int code);
// The nth operation to run from now breaks the context with this code.
void fake_cuda_fail_work(int nth, int code);

// -- counts -------------------------------------------------------------------
int fake_cuda_calls(const char* name);
size_t fake_cuda_live_buffers(void);
size_t fake_cuda_live_bytes(void);
size_t fake_cuda_pending(void);  // queued operations of all streams
// Objects of a kind ("stream", "module", "context", "cublasLt handle", ...); null: all
// but buffers.
size_t fake_cuda_live(const char* kind);
// One line per kind that is not empty. Returns the length, as snprintf.
int fake_cuda_report(char* out, size_t size);

// -- for the other fake libraries ---------------------------------------------
// Counts a call; the code it must fail with, or 0.
int fake_cuda_call(const char* name);
void fake_cuda_count(const char* kind, int change);
// The code that broke the context, or 0.
int fake_cuda_broken(void);
// The calling thread has a context.
int fake_cuda_has_context(void);
// [pointer, pointer + bytes) lies within one live buffer.
int fake_cuda_is_device(const void* pointer, size_t bytes);
int fake_cuda_is_stream(struct CUstream_st* stream);
// run(data) is called once, when the stream gets to it, and may touch device memory. It
// is not called if the context breaks before.
void fake_cuda_enqueue(struct CUstream_st* stream, void (*run)(void* data), void* data);
// The same; the name goes into messages, and drop(data) always follows, may be null.
void fake_cuda_enqueue_named(struct CUstream_st* stream, const char* name, void (*run)(void* data),
                             void (*drop)(void* data), void* data);
// Ends the process as a broken contract.
void fake_cuda_violation(const char* message);

// -- kernels of a test's own ----------------------------------------------------
// body(arguments) is one thread; cuModuleGetFunction finds it under the name.
void fake_cuda_add_kernel(const char* name, size_t argument_bytes,
                          void (*body)(const void* arguments));
}

#pragma GCC visibility pop
