#include "cuda/library.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace bptt::cuda {

namespace {

namespace fs = std::filesystem;

#if defined(_WIN32)
constexpr char kListSeparator = ';';
constexpr const char* kDriverName = "nvcuda.dll";
constexpr const char* kCublasName = "cublasLt64_13.dll";
constexpr const char* kCudnnName = "cudnn64_9.dll";
constexpr const char* kFolder = "bin";

void* open_library(const std::string& path, std::string& message) {
  if (HMODULE module = LoadLibraryA(path.c_str())) return reinterpret_cast<void*>(module);
  message = "error " + std::to_string(GetLastError());
  return nullptr;
}
void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}
#else
constexpr char kListSeparator = ':';
constexpr const char* kDriverName = "libcuda.so.1";
constexpr const char* kCublasName = "libcublasLt.so.13";
constexpr const char* kCudnnName = "libcudnn.so.9";
constexpr const char* kFolder = "lib";

void* open_library(const std::string& path, std::string& message) {
  if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  const char* error = dlerror();
  message = error ? error : "unknown error";
  return nullptr;
}
void* find_symbol(void* library, const char* name) { return dlsym(library, name); }
#endif

constexpr int kOldestDriver = 13000;    // CUDA 13.0, as cuDriverGetVersion counts
constexpr size_t kOldestCudnn = 90000;  // 9.0.0, as cudnnGetVersion counts

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<fs::path> folders_in(const fs::path& parent) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(parent, error), end; !error && at != end; at.increment(error)) {
    found.push_back(at->path());
  }
  return found;
}

// The nvidia/*/lib of every python3.* below root/lib.
void add_wheels(const fs::path& root, std::vector<fs::path>& folders) {
  for (const fs::path& python : folders_in(root / "lib")) {
    if (python.filename().string().rfind("python3", 0) != 0) continue;
    for (const char* packages : {"site-packages", "dist-packages"}) {
      for (const fs::path& package : folders_in(python / packages / "nvidia")) {
        folders.push_back(package / kFolder);
      }
    }
  }
}

std::vector<fs::path> named_folders() {
  std::vector<fs::path> folders;
  std::istringstream list(variable("BPTT_CUDA_PATH"));
  for (std::string folder; std::getline(list, folder, kListSeparator);) {
    if (!folder.empty()) folders.emplace_back(folder);
  }
  return folders;
}

std::vector<fs::path> usual_folders() {
  std::vector<fs::path> folders;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const std::string root = variable(name);
    if (root.empty()) continue;
    folders.push_back(fs::path(root) / "lib64");
    folders.push_back(fs::path(root) / kFolder);
  }
  folders.emplace_back("/usr/local/cuda/lib64");
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string root = variable(name); !root.empty()) add_wheels(root, folders);
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    add_wheels(fs::path(home) / ".local", folders);
  }
  add_wheels("/usr/local", folders);
  add_wheels("/usr", folders);
  return folders;
}

// Null where it is nowhere; then `message` says where it was looked for and what the loader said.
void* find_library(const char* name, std::string& message) {
  std::string said;
  const auto try_in = [&](const std::vector<fs::path>& folders) -> void* {
    for (const fs::path& folder : folders) {
      const fs::path file = folder / name;
      std::error_code error;
      if (!fs::exists(file, error)) {
        message += "; not in " + folder.string();
        continue;
      }
      if (void* found = open_library(file.string(), said)) return found;
      message += "; " + file.string() + ": " + said;
    }
    return nullptr;
  };
  if (void* found = try_in(named_folders())) return found;
  if (void* found = open_library(name, said)) return found;
  message += "; " + said;
  return try_in(usual_folders());
}

// Whether the library has the function.
template <class Function>
bool bind(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(find_symbol(library, name));
  return function != nullptr;
}

#define BPTT_TEXT(name) #name
#define BPTT_SYMBOL(name) BPTT_TEXT(name)
#define BPTT_BIND(name) \
  if (!bind(found, BPTT_SYMBOL(name), table.name)) return BPTT_SYMBOL(name);

// The name of the first function that is missing, or null.
const char* bind_all(void* found, Driver& table) {
  BPTT_DRIVER_FUNCTIONS(BPTT_BIND)
  return nullptr;
}
const char* bind_all(void* found, CublasLt& table) {
  BPTT_CUBLASLT_FUNCTIONS(BPTT_BIND)
  return nullptr;
}
const char* bind_all(void* found, Cudnn& table) {
  BPTT_CUDNN_FUNCTIONS(BPTT_BIND)
  return nullptr;
}
#undef BPTT_BIND
#undef BPTT_SYMBOL
#undef BPTT_TEXT

// Empty, or why the library cannot be used.
template <class Table>
std::string load(const char* name, Table& table) {
  std::string message;
  void* found = find_library(name, message);
  if (!found) return std::string(name) + " cannot be opened" + message;
  if (const char* missing = bind_all(found, table)) {
    return std::string(name) + " is too old: it has no " + missing;
  }
  return {};
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string load_driver(Library& library) {
  if (std::string reason = load(kDriverName, library.driver); !reason.empty()) {
    return "no CUDA driver: " + reason;
  }
  const Driver& driver = library.driver;
  const auto said = [&](const char* what, CUresult result) {
    const char* text = nullptr;
    driver.cuGetErrorString(result, &text);
    return std::string(what) + " failed: " + (text ? text : "unknown error") + " (" +
           std::to_string(static_cast<int>(result)) + ")";
  };
  if (CUresult result = driver.cuInit(0); result != CUDA_SUCCESS) return said("cuInit", result);
  driver.cuDriverGetVersion(&library.driver_version);
  if (library.driver_version < kOldestDriver) {
    return "the CUDA driver knows CUDA " + version_text(library.driver_version) + "; at least " +
           version_text(kOldestDriver) + " is needed";
  }
  if (CUresult result = driver.cuDeviceGetCount(&library.devices); result != CUDA_SUCCESS) {
    return said("cuDeviceGetCount", result);
  }
  return library.devices > 0 ? std::string() : "the CUDA driver sees no device";
}

std::string load_all(Library& library) {
  if (std::string reason = load_driver(library); !reason.empty()) return reason;
  if (std::string reason = load(kCublasName, library.cublas); !reason.empty()) return reason;
  library.cublas_version = library.cublas.cublasLtGetVersion();
  if (std::string reason = load(kCudnnName, library.cudnn); !reason.empty()) return reason;
  library.cudnn_version = library.cudnn.cudnnGetVersion();
  if (library.cudnn_version < kOldestCudnn) {
    return "cuDNN is of version " + std::to_string(library.cudnn_version) + "; 9 is needed";
  }
  return {};
}

std::string description(const Library& library) {
  const size_t cudnn = library.cudnn_version, cublas = library.cublas_version;
  const auto dotted = [](size_t major, size_t minor, size_t patch) {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  };
  std::string message = "driver of CUDA " + version_text(library.driver_version);
  message += ", cuBLASLt " + dotted(cublas / 10000, cublas / 100 % 100, cublas % 100);
  message += ", cuDNN " + dotted(cudnn / 10000, cudnn / 100 % 100, cudnn % 100);
  for (int number = 0; number < library.devices; ++number) {
    char name[128] = "unknown";
    CUdevice device;
    if (library.driver.cuDeviceGet(&device, number) == CUDA_SUCCESS) {
      library.driver.cuDeviceGetName(name, sizeof(name), device);
    }
    message += "; cuda:" + std::to_string(number) + " " + name;
  }
  return message;
}

}  // namespace

const Library& library() {
  static const Library* const loaded = [] {
    auto* fresh = new Library;
    const std::string reason = load_all(*fresh);
    fresh->usable = reason.empty();
    fresh->message = fresh->usable ? description(*fresh) : reason;
    return fresh;
  }();
  return *loaded;
}

}  // namespace bptt::cuda
