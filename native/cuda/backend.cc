// A CUDA device as a backend: its context, memory, copies, and the tables of its operations.
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "bptt/cuda.h"
#include "cuda/device.h"
#include "cuda/recurrent/plan.h"

// What the driver loads: the compiled kernels (kernel_image.cc).
extern "C" const unsigned char bptt_cuda_kernels[];

namespace bptt::cuda {

bptt_code fail(bptt_context* context, bptt_code code, const char* message) {
  std::snprintf(context->message, sizeof(context->message), "%s", message);
  return code;
}

bptt_code check(bptt_context* context, CUresult result, const char* doing) {
  if (result == CUDA_SUCCESS) return BPTT_OK;
  const Driver& driver = library().driver;
  const char *name = nullptr, *text = nullptr;
  driver.cuGetErrorName(result, &name);
  driver.cuGetErrorString(result, &text);
  std::snprintf(context->message, sizeof(context->message), "%s: the CUDA driver says %s (%s)",
                doing, text ? text : "nothing", name ? name : "unknown error");
  return result == CUDA_ERROR_OUT_OF_MEMORY ? BPTT_OUT_OF_MEMORY : BPTT_DEVICE;
}

bptt_code check(bptt_context* context, cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return BPTT_OK;
  std::snprintf(context->message, sizeof(context->message), "%s: cuBLASLt says %s", doing,
                library().cublas.cublasLtGetStatusString(status));
  return status == CUBLAS_STATUS_ALLOC_FAILED ? BPTT_OUT_OF_MEMORY : BPTT_DEVICE;
}

bptt_code check(bptt_context* context, cudnnStatus_t status, const char* doing) {
  if (status == CUDNN_STATUS_SUCCESS) return BPTT_OK;
  const Cudnn& cudnn = library().cudnn;
  char said[160] = "";
  cudnn.cudnnGetLastErrorString(said, sizeof(said));
  std::snprintf(context->message, sizeof(context->message), "%s: cuDNN says %s%s%s", doing,
                cudnn.cudnnGetErrorString(status), said[0] ? ": " : "", said);
  return BPTT_DEVICE;
}

bptt_code use(bptt_context* context) {
  const CudaDevice& device = device_of(context);
  return check(context, device.driver.cuCtxSetCurrent(device.context), "use of the device");
}

namespace {

bptt_code use_handle(bptt_context* context, cudnnHandle_t& handle) {
  if (handle) return BPTT_OK;
  const CudaDevice& device = device_of(context);
  const Cudnn& cudnn = device.cudnn;
  cudnnHandle_t made = nullptr;
  bptt_code code = check(context, cudnn.cudnnCreate(&made), "recurrent layer");
  if (code != BPTT_OK) return code;
  code = check(context, cudnn.cudnnSetStream(made, device.stream), "recurrent layer");
  if (code == BPTT_OK) {
    handle = made;
  } else {
    cudnn.cudnnDestroy(made);
  }
  return code;
}

}  // namespace

bptt_code use_cudnn(bptt_context* context) {
  return use_handle(context, device_of(context).cudnn_handle);
}
bptt_code use_planning(bptt_context* context) {
  return use_handle(context, device_of(context).plan_handle);
}

// Kernels that still run may use the old memory: cuMemFree waits for them.
bptt_code reserve(bptt_context* context, Scratch& scratch, size_t bytes) {
  if (scratch.bytes >= bytes) return BPTT_OK;
  const Driver& driver = device_of(context).driver;
  if (scratch.data) driver.cuMemFree(scratch.data);
  scratch = {};
  const bptt_code code = check(context, driver.cuMemAlloc(&scratch.data, bytes), "scratch memory");
  if (code == BPTT_OK) scratch.bytes = bytes;
  return code;
}

namespace {

// Words of device.flags; an index out of range is the only thing that kernels report.
constexpr size_t kFlagBytes = 64;

void close(bptt_context* context) {
  std::unique_ptr<CudaDevice> device(static_cast<CudaDevice*>(context->device));
  context->device = nullptr;
  if (!device) return;
  const Driver& driver = device->driver;
  if (device->context && driver.cuCtxSetCurrent(device->context) == CUDA_SUCCESS) {
    if (device->stream) driver.cuStreamSynchronize(device->stream);
    for (cudnnHandle_t handle : {device->cudnn_handle, device->plan_handle}) {
      if (handle) device->cudnn.cudnnDestroy(handle);
    }
    if (device->cublas_handle) device->cublas.cublasLtDestroy(device->cublas_handle);
    for (const Scratch* scratch : {&device->flags, &device->product, &device->reduction}) {
      if (scratch->data) driver.cuMemFree(scratch->data);
    }
    if (device->module) driver.cuModuleUnload(device->module);
    if (device->stream) driver.cuStreamDestroy(device->stream);
    driver.cuCtxSetCurrent(nullptr);
  }
  if (device->context) driver.cuDevicePrimaryCtxRelease(device->number);
}

bptt_code load_kernels(bptt_context* context) {
  CudaDevice& device = device_of(context);
  bptt_code code =
      check(context, device.driver.cuModuleLoadData(&device.module, bptt_cuda_kernels), "kernels");
  const char* const names[] = {
#define BPTT_KERNEL_NAME(name, Arguments) #name,
      BPTT_CUDA_KERNELS(BPTT_KERNEL_NAME)
#undef BPTT_KERNEL_NAME
  };
  for (int i = 0; i < kKernelCount; ++i) {
    for (int wide = 0; wide < 2 && code == BPTT_OK; ++wide) {
      char name[96];
      std::snprintf(name, sizeof(name), "bptt_%s_%s", names[i], wide ? "float64" : "float32");
      code = check(context,
                   device.driver.cuModuleGetFunction(&device.kernels[i][wide], device.module, name),
                   name);
    }
  }
  return code;
}

bptt_code read_attributes(bptt_context* context) {
  CudaDevice& device = device_of(context);
  const auto read = [&](CUdevice_attribute attribute, int* value) {
    return check(context, device.driver.cuDeviceGetAttribute(value, attribute, device.number),
                 "device");
  };
  int major = 0, minor = 0;
  bptt_code code = read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major);
  if (code == BPTT_OK) code = read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor);
  if (code == BPTT_OK) {
    code = read(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &device.multiprocessors);
  }
  device.capability = 10 * major + minor;
  return code;
}

bptt_code open_device(bptt_context* context, int device_index) {
  CudaDevice& device = device_of(context);
  const Driver& driver = device.driver;
  bptt_code code = check(context, driver.cuDeviceGet(&device.number, device_index), "device");
  if (code == BPTT_OK) code = read_attributes(context);
  if (code == BPTT_OK) {
    code =
        check(context, driver.cuDevicePrimaryCtxRetain(&device.context, device.number), "context");
  }
  if (code == BPTT_OK) code = use(context);
  if (code == BPTT_OK) {
    code = check(context, driver.cuStreamCreate(&device.stream, CU_STREAM_NON_BLOCKING), "stream");
  }
  if (code == BPTT_OK) code = load_kernels(context);
  if (code == BPTT_OK) {
    code = check(context, device.cublas.cublasLtCreate(&device.cublas_handle), "cuBLASLt");
  }
  if (code == BPTT_OK) code = reserve(context, device.flags, kFlagBytes);
  if (code == BPTT_OK) {
    code = check(context, driver.cuMemsetD8Async(device.flags.data, 0, kFlagBytes, device.stream),
                 "flags");
  }
  return code;
}

bptt_code open(bptt_context* context, int device_index) {
  const Library& found = library();
  if (device_index < 0 || device_index >= found.devices) {
    std::snprintf(context->message, sizeof(context->message),
                  "there is no CUDA device %d: the driver sees %d", device_index, found.devices);
    return BPTT_DEVICE;
  }
  context->device = new (std::nothrow) CudaDevice(found);
  if (!context->device) return fail(context, BPTT_OUT_OF_MEMORY, "out of memory");
  const bptt_code code = open_device(context, device_index);
  if (code != BPTT_OK) close(context);
  return code;
}

bptt_code allocate(bptt_context* context, size_t bytes, void** out) {
  CUdeviceptr data = 0;
  bptt_code code = use(context);
  if (code == BPTT_OK) {
    code = check(context, device_of(context).driver.cuMemAlloc(&data, bytes > 0 ? bytes : 1),
                 "device memory");
  }
  *out = reinterpret_cast<void*>(data);
  return code;
}

// Waits for what still uses it.
void release(bptt_context* context, void* pointer) {
  const CudaDevice& device = device_of(context);
  if (device.driver.cuCtxSetCurrent(device.context) == CUDA_SUCCESS) {
    device.driver.cuMemFree(reinterpret_cast<CUdeviceptr>(pointer));
  }
}

// Kernels that still run may use it: cuMemFree waits for them.
void trim(bptt_context* context) {
  CudaDevice& device = device_of(context);
  if (use(context) != BPTT_OK) return;
  for (Scratch* scratch : {&device.product, &device.reduction}) {
    if (scratch->data) device.driver.cuMemFree(scratch->data);
    *scratch = {};
  }
}

bptt_code upload(bptt_context* context, void* target, const void* host, size_t bytes) {
  const CudaDevice& device = device_of(context);
  const bptt_code code = use(context);
  if (code != BPTT_OK || bytes == 0) return code;
  return check(context,
               device.driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(target), host, bytes,
                                               device.stream),
               "copy to the device");
}

bptt_code download(bptt_context* context, void* host, const void* source, size_t bytes) {
  const CudaDevice& device = device_of(context);
  const bptt_code code = use(context);
  if (code != BPTT_OK || bytes == 0) return code;
  return check(context,
               device.driver.cuMemcpyDtoHAsync(host, reinterpret_cast<CUdeviceptr>(source), bytes,
                                               device.stream),
               "copy from the device");
}

// Kernels cannot return a code: what they found wrong is reported here.
bptt_code wait(bptt_context* context) {
  CudaDevice& device = device_of(context);
  const Driver& driver = device.driver;
  int32_t& flag = device.flag;
  flag = 0;
  bptt_code code = use(context);
  if (code == BPTT_OK) {
    code = check(context,
                 driver.cuMemcpyDtoHAsync(&flag, device.flags.data, sizeof(flag), device.stream),
                 "flags");
  }
  if (code == BPTT_OK) {
    code = check(context, driver.cuStreamSynchronize(device.stream), "wait for the device");
  }
  if (code != BPTT_OK || flag == 0) return code;
  code = check(context, driver.cuMemsetD8Async(device.flags.data, 0, kFlagBytes, device.stream),
               "flags");
  return code != BPTT_OK ? code
                         : fail(context, BPTT_INDEX,
                                "an index of an embedding or a class of a target, in an op since "
                                "the last read of this device, is out of range");
}

// An entry of the table with the device's context made the thread's: the owner of a stream
// and its executor both call.
template <auto entry>
struct InContext;
template <class... Arguments, bptt_code (*entry)(bptt_context*, Arguments...)>
struct InContext<entry> {
  static bptt_code call(bptt_context* context, Arguments... arguments) {
    const bptt_code code = use(context);
    return code == BPTT_OK ? entry(context, arguments...) : code;
  }
};

bptt_ops make_ops() {
  bptt_ops ops{};
  ops.isa = "cuda";
#define BPTT_ENTRY(op) ops.op = InContext<op>::call;
  BPTT_OPS(BPTT_ENTRY)
#undef BPTT_ENTRY
  ops.plan_create = InContext<recurrent_plan_create>::call;
  ops.plan_destroy = recurrent_plan_destroy;
  ops.plan_sizes = recurrent_plan_sizes;
  ops.recurrent_forward = InContext<recurrent_forward>::call;
  ops.recurrent_backward = InContext<recurrent_backward>::call;
  return ops;
}

}  // namespace
}  // namespace bptt::cuda

const bptt_backend* bptt_cuda_backend(char* message, size_t size) {
  using namespace bptt::cuda;
  const Library& found = library();
  if (size > 0) std::snprintf(message, size, "%s", found.message.c_str());
  if (!found.usable) return nullptr;
  static const bptt_backend backend = {BPTT_BACKEND_VERSION,
                                       "cuda",
                                       open,
                                       close,
                                       allocate,
                                       release,
                                       trim,
                                       upload,
                                       download,
                                       wait,
                                       make_ops()};
  return &backend;
}
