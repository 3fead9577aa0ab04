// The fake driver's functions. Their types come from cuda.h: a wrong one does not compile.
#include "driver/fake_driver.h"

#include <cstring>

using bptt_fake::current_context;
using bptt_fake::enqueue;
using bptt_fake::find_stream;
using bptt_fake::state;

namespace {

constexpr int kDriverVersion = 13000;
constexpr unsigned kMostThreads = 1024, kMostBlocksX = 0x7fffffff, kMostBlocksYZ = 65535;
constexpr unsigned kMostSharedBytes = 48 * 1024;

struct ErrorText {
  CUresult code;
  const char *name, *text;
};
#define ERROR(code, text) {code, #code, text}
constexpr ErrorText kErrors[] = {
    ERROR(CUDA_SUCCESS, "no error"),
    ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    ERROR(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR(CUDA_ERROR_NOT_READY, "device not ready"),
    ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    ERROR(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    ERROR(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    ERROR(CUDA_ERROR_ASSERT, "device-side assert triggered"),
    ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    ERROR(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    ERROR(CUDA_ERROR_UNKNOWN, "unknown error"),
};
#undef ERROR

const ErrorText* find_error(CUresult code) {
  for (const ErrorText& error : kErrors)
    if (error.code == code) return &error;
  return nullptr;
}

bool is_device(CUdevice device) {
  return device >= 0 && static_cast<size_t>(device) < state().contexts.size();
}

unsigned char* pointer_of(CUdeviceptr address) { return reinterpret_cast<unsigned char*>(address); }

// Whether it is a range of device memory; one of no bytes may be anywhere.
bool is_range(CUdeviceptr address, size_t bytes) {
  return bytes == 0 || state().arena.holds(pointer_of(address), bytes);
}

bool is_host(const void* pointer, size_t bytes) {
  return bytes == 0 || (pointer && !state().arena.contains(pointer));
}

// The most that a device of compute capability 8.0 takes.
bool fits(uint3 grid, uint3 block) {
  const auto in = [](unsigned n, unsigned most) { return n >= 1 && n <= most; };
  return in(grid.x, kMostBlocksX) && in(grid.y, kMostBlocksYZ) && in(grid.z, kMostBlocksYZ) &&
         in(block.x, kMostThreads) && in(block.y, kMostThreads) && in(block.z, 64) &&
         uint64_t(block.x) * block.y * block.z <= kMostThreads;
}

}  // namespace

// -- driver and devices -------------------------------------------------------------

CUresult CUDAAPI cuInit(unsigned flags) {
  FAKE_CALL(kNothing);
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (state().contexts.empty()) return CUDA_ERROR_NO_DEVICE;
  state().initialised = true;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  FAKE_CALL(kNothing);
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorName(CUresult error, const char** text) {
  const ErrorText* found = find_error(error);
  *text = found ? found->name : nullptr;
  return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char** text) {
  const ErrorText* found = find_error(error);
  *text = found ? found->text : nullptr;
  return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  FAKE_CALL(kInit);
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<int>(state().contexts.size());
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  FAKE_CALL(kInit);
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetName(char* name, int length, CUdevice device) {
  FAKE_CALL(kInit);
  if (!name || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::strncpy(name, "Fake CUDA device", static_cast<size_t>(length));
  name[length - 1] = '\0';
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  FAKE_CALL(kInit);
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::map<int, int> values = {
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, state().capability / 10},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, state().capability % 10},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, state().multiprocessors},
      {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kMostThreads},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, kMostThreads},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, kMostBlocksX},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, kMostSharedBytes},
      {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
  };
  const auto found = values.find(attribute);
  if (found == values.end()) return CUDA_ERROR_INVALID_VALUE;
  *value = found->second;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  FAKE_CALL(kInit);
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = state().arena.limit();
  return CUDA_SUCCESS;
}

// -- contexts -------------------------------------------------------------------------

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  FAKE_CALL(kInit);
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  *context = &state().contexts[static_cast<size_t>(device)];
  ++(*context)->retained;
  fake_cuda_count("context", 1);
  return CUDA_SUCCESS;
}

// The last release ends the context; what still lives in it stays counted as leaked.
CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
  FAKE_CALL(kInit);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  CUctx_st& context = state().contexts[static_cast<size_t>(device)];
  if (context.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  --context.retained;
  fake_cuda_count("context", -1);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
  FAKE_CALL(kInit);
  if (context && context->retained == 0) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  current_context() = context;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext* context) {
  FAKE_CALL(kInit);
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  *context = current_context();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSynchronize(void) {
  FAKE_CALL(kContext);
  return bptt_fake::run_all();
}

// -- modules ----------------------------------------------------------------------------

// Kernels are those linked into this library, whatever the image.
CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
  FAKE_CALL(kContext);
  if (!module || !image) return CUDA_ERROR_INVALID_VALUE;
  *module = new CUmod_st;
  state().modules.insert(*module);
  fake_cuda_count("module", 1);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleUnload(CUmodule module) {
  FAKE_CALL(kContext);
  if (state().modules.erase(module) == 0) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult code = bptt_fake::run_all();
  delete module;
  fake_cuda_count("module", -1);
  return code;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  FAKE_CALL(kContext);
  if (!function || !name) return CUDA_ERROR_INVALID_VALUE;
  if (state().modules.count(module) == 0) return CUDA_ERROR_INVALID_HANDLE;
  const bptt_fake::EmulatedKernel* kernel = bptt_fake::find_kernel(name);
  if (!kernel) return CUDA_ERROR_NOT_FOUND;
  *function = &module->functions.try_emplace(name, CUfunc_st{kernel}).first->second;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared_bytes, CUstream stream,
                                void** parameters, void** extra) {
  FAKE_CALL(kContext);
  uint3 grid = {grid_x, grid_y, grid_z};
  const uint3 block = {block_x, block_y, block_z};
  const bptt_fake::EmulatedKernel* kernel = nullptr;
  for (CUmodule module : state().modules)
    for (const auto& [name, candidate] : module->functions)
      if (&candidate == function) kernel = candidate.kernel;
  if (!kernel || !find_stream(stream)) return CUDA_ERROR_INVALID_HANDLE;
  if (!fits(grid, block)) return CUDA_ERROR_INVALID_VALUE;
  grid.x = std::min(grid.x, state().most_blocks);
  if (extra || !parameters || !parameters[0]) return CUDA_ERROR_INVALID_VALUE;
  if (shared_bytes != 0) return CUDA_ERROR_NOT_SUPPORTED;  // the fake has none
  // One struct is every kernel's only argument.
  const auto* bytes = static_cast<const unsigned char*>(parameters[0]);
  std::shared_ptr<unsigned char[]> copy(new unsigned char[kernel->argument_bytes]);
  std::memcpy(copy.get(), bytes, kernel->argument_bytes);
  return enqueue(stream, {kernel->name, [=] {
                            bptt_emulation::run(kernel->name.c_str(), grid, block, kernel->body,
                                                copy.get());
                          }});
}

// -- memory -----------------------------------------------------------------------------

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  FAKE_CALL(kContext);
  if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  void* memory = state().arena.allocate(bytes);
  if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<CUdeviceptr>(memory);
  return CUDA_SUCCESS;
}

// Waits for all work, as the driver does. In a broken context it reports and frees.
CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
  const bptt_fake::Call call(__func__, bptt_fake::Needs::kContext);
  const bool broken = call.code != CUDA_SUCCESS && call.code == state().broken;
  if (call.code != CUDA_SUCCESS && !broken) return call.code;
  const CUresult code = bptt_fake::run_all();
  if (!state().arena.release(pointer_of(address))) return CUDA_ERROR_INVALID_VALUE;
  return code;
}

CUresult CUDAAPI cuMemGetInfo(size_t* free_bytes, size_t* total) {
  FAKE_CALL(kContext);
  if (!free_bytes || !total) return CUDA_ERROR_INVALID_VALUE;
  *total = state().arena.limit();
  *free_bytes = *total - state().arena.live_bytes();
  return CUDA_SUCCESS;
}

// Pageable memory is copied before it returns.
CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes,
                                   CUstream stream) {
  FAKE_CALL(kContext);
  if (!is_range(to, bytes) || !is_host(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
  const auto* data = static_cast<const unsigned char*>(from);
  auto staged = std::make_shared<std::vector<unsigned char>>(data, data + bytes);
  return enqueue(stream, {"cuMemcpyHtoDAsync", [=] {
                            if (bytes) std::memcpy(pointer_of(to), staged->data(), bytes);
                          }});
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  FAKE_CALL(kContext);
  if (!is_range(from, bytes) || !is_host(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(stream, {"cuMemcpyDtoHAsync", [=] {
                            if (bytes) std::memcpy(to, pointer_of(from), bytes);
                          }});
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                   CUstream stream) {
  FAKE_CALL(kContext);
  if (!is_range(to, bytes) || !is_range(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (bytes && to < from + bytes && from < to + bytes)
    bptt_fake::violation("cuMemcpyDtoDAsync: the ranges overlap, the result is undefined");
  return enqueue(stream, {"cuMemcpyDtoDAsync", [=] {
                            if (bytes) std::memcpy(pointer_of(to), pointer_of(from), bytes);
                          }});
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
                                 CUstream stream) {
  FAKE_CALL(kContext);
  if (!is_range(to, count)) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(stream, {"cuMemsetD8Async", [=] {
                            if (count) std::memset(pointer_of(to), value, count);
                          }});
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  FAKE_CALL(kContext);
  if (count > SIZE_MAX / 4 || !is_range(to, 4 * count) || to % 4 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  return enqueue(stream, {"cuMemsetD32Async", [=] {
                            auto* words = reinterpret_cast<unsigned*>(pointer_of(to));
                            for (size_t i = 0; i < count; ++i) words[i] = value;
                          }});
}

// -- streams ----------------------------------------------------------------------------

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned flags) {
  FAKE_CALL(kContext);
  if (!stream || (flags != CU_STREAM_DEFAULT && flags != CU_STREAM_NON_BLOCKING))
    return CUDA_ERROR_INVALID_VALUE;
  *stream = new CUstream_st;
  state().streams.insert(*stream);
  fake_cuda_count("stream", 1);
  return CUDA_SUCCESS;
}

// Its work is still done. In a broken context it reports and destroys.
CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  const bptt_fake::Call call(__func__, bptt_fake::Needs::kContext);
  const bool broken = call.code != CUDA_SUCCESS && call.code == state().broken;
  if (call.code != CUDA_SUCCESS && !broken) return call.code;
  if (state().streams.count(stream) == 0) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult code = bptt_fake::run(*stream);
  state().streams.erase(stream);
  delete stream;
  fake_cuda_count("stream", -1);
  return code;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream stream) {
  FAKE_CALL(kContext);
  CUstream_st* queue = find_stream(stream);
  return queue ? bptt_fake::run(*queue) : CUDA_ERROR_INVALID_HANDLE;
}

// A query that finds work does it and reports that it was not ready: the next one finds it done.
CUresult CUDAAPI cuStreamQuery(CUstream stream) {
  FAKE_CALL(kContext);
  CUstream_st* queue = find_stream(stream);
  if (!queue) return CUDA_ERROR_INVALID_HANDLE;
  if (queue->work.empty()) return CUDA_SUCCESS;
  const CUresult code = bptt_fake::run(*queue);
  return code == CUDA_SUCCESS ? CUDA_ERROR_NOT_READY : code;
}
