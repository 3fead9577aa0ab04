#include "addon/cuda.h"

#include <cstdlib>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace bptt::addon {

namespace {

#if defined(_WIN32)

CudaBackend open_backend() {
  return {nullptr, "the CUDA backend is built for Linux only; use device 'cpu'"};
}

#else

std::string library_path() {
  if (const char* named = std::getenv("BPTT_CUDA_LIBRARY"); named && *named) return named;
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&cuda_backend), &info) == 0 || !info.dli_fname) return {};
  const std::string addon = info.dli_fname;
  return addon.substr(0, addon.rfind('/') + 1) + "bptt_cuda.so";
}

CudaBackend open_backend() {
  const std::string path = library_path();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* error = dlerror();
    return {nullptr, "this installation has no CUDA backend: " +
                         std::string(error ? error : path + " cannot be opened") +
                         "; build it with `npm run build:cuda`, or use device 'cpu'"};
  }
  const auto entrance =
      reinterpret_cast<const bptt_backend* (*)(char*, size_t)>(dlsym(library, "bptt_cuda_backend"));
  if (!entrance) return {nullptr, path + " is not bptt's CUDA backend"};
  char message[4096] = "";
  const bptt_backend* table = entrance(message, sizeof(message));
  if (table && table->version != BPTT_BACKEND_VERSION) {
    return {nullptr, path + " is of another version of bptt"};
  }
  return {table, message};
}

#endif

}  // namespace

const CudaBackend& cuda_backend() {
  static const CudaBackend backend = open_backend();
  return backend;
}

}  // namespace bptt::addon
