// Makes chosen allocations and threads of a process fail. Preloaded into Node (LD_PRELOAD) it
// stands between the addon and the C library; required as an addon it has the controls:
//
//   memory({ at, run, odds, least, everywhere })  from now on calls number at .. at+run-1 (from 1)
//                    fail, and each other with probability odds; only sizes of `least` bytes and
//                    more count, and only the addon's calls, unless everywhere
//   threads(count)   the addon gets so many threads more
//   off()            nothing fails; returns how many allocations counted and how many failed
//
// For glibc, whose own functions have a second name (__libc_malloc).
#include <dlfcn.h>
#include <link.h>
#include <node_api.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

struct Range {
  uintptr_t begin = 0, end = 0;
  bool has(const void* place) const {
    const auto at = reinterpret_cast<uintptr_t>(place);
    return at >= begin && at < end;
  }
};

// The addon's code. Written while nothing is to fail.
Range addon;

struct Memory {
  std::atomic<bool> armed{false};
  bool everywhere = false;
  size_t least = 0;
  uint64_t first = 0, last = 0;
  uint64_t odds = 0;  // of 2^32
  std::atomic<uint64_t> counted{0}, failed{0};
} memory;

std::atomic<int> threads_left{INT_MAX};

// A hash, so that a number fails in every run or in none; where threads race, a call may have
// another number in another run.
uint64_t scrambled(uint64_t n) {
  n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
  n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
  return (n ^ (n >> 31)) & 0xffffffffu;
}

bool fails(size_t bytes, const void* caller) {
  if (!memory.armed.load(std::memory_order_acquire)) return false;
  if (bytes < memory.least || !(memory.everywhere || addon.has(caller))) return false;
  const uint64_t number = memory.counted.fetch_add(1) + 1;
  const bool fail =
      (number >= memory.first && number <= memory.last) || scrambled(number) < memory.odds;
  if (fail) {
    memory.failed.fetch_add(1);
    errno = ENOMEM;
  }
  return fail;
}

int find_addon(dl_phdr_info* info, size_t, void*) {
  constexpr const char kName[] = "/bptt.node";
  const size_t length = std::strlen(info->dlpi_name), tail = sizeof(kName) - 1;
  if (length < tail || std::strcmp(info->dlpi_name + length - tail, kName) != 0) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    addon.begin = info->dlpi_addr + part.p_vaddr;
    addon.end = addon.begin + part.p_memsz;
  }
  return 1;
}

}  // namespace

#define CALLER __builtin_return_address(0)
#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void* malloc(size_t bytes) { return fails(bytes, CALLER) ? nullptr : __libc_malloc(bytes); }

EXPORT void* calloc(size_t count, size_t bytes) {
  return fails(count * bytes, CALLER) ? nullptr : __libc_calloc(count, bytes);
}

EXPORT void* realloc(void* old, size_t bytes) {
  return fails(bytes, CALLER) ? nullptr : __libc_realloc(old, bytes);
}

EXPORT void* aligned_alloc(size_t alignment, size_t bytes) {
  return fails(bytes, CALLER) ? nullptr : __libc_memalign(alignment, bytes);
}

EXPORT int posix_memalign(void** out, size_t alignment, size_t bytes) {
  void* block = fails(bytes, CALLER) ? nullptr : __libc_memalign(alignment, bytes);
  if (!block) return ENOMEM;
  *out = block;
  return 0;
}

EXPORT void* mmap(void* place, size_t bytes, int access, int flags, int file, off_t offset) {
  if (fails(bytes, CALLER)) return MAP_FAILED;
  return reinterpret_cast<void*>(syscall(SYS_mmap, place, bytes, access, flags, file, offset));
}

EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                          void* argument) {
  if (addon.has(CALLER) && threads_left.fetch_sub(1) <= 0) return EAGAIN;
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, body, argument);
}

namespace {

double number(napi_env env, napi_value object, const char* name, double otherwise) {
  napi_value value;
  double result;
  return napi_get_named_property(env, object, name, &value) == napi_ok &&
                 napi_get_value_double(env, value, &result) == napi_ok
             ? result
             : otherwise;
}

napi_value set_memory(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value options;
  napi_get_cb_info(env, info, &count, &options, nullptr, nullptr);
  memory.armed = false;
  dl_iterate_phdr(find_addon, nullptr);
  memory.first = static_cast<uint64_t>(number(env, options, "at", 0));
  memory.last = memory.first + static_cast<uint64_t>(number(env, options, "run", 1)) - 1;
  if (memory.first == 0) memory.last = 0;
  memory.odds = static_cast<uint64_t>(number(env, options, "odds", 0) * 4294967296.0);
  memory.least = static_cast<size_t>(number(env, options, "least", 0));
  memory.everywhere = number(env, options, "everywhere", 0) != 0;
  memory.counted = memory.failed = 0;
  memory.armed.store(true, std::memory_order_release);
  return nullptr;
}

napi_value set_threads(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value value;
  int32_t left = 0;
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  napi_get_value_int32(env, value, &left);
  dl_iterate_phdr(find_addon, nullptr);
  threads_left = left;
  return nullptr;
}

napi_value set_off(napi_env env, napi_callback_info) {
  memory.armed = false;
  threads_left = INT_MAX;
  napi_value result, value;
  napi_create_object(env, &result);
  napi_create_double(env, static_cast<double>(memory.counted), &value);
  napi_set_named_property(env, result, "counted", value);
  napi_create_double(env, static_cast<double>(memory.failed), &value);
  napi_set_named_property(env, result, "failed", value);
  return result;
}

}  // namespace

EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"memory", nullptr, set_memory, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"threads", nullptr, set_threads, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"off", nullptr, set_off, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, 3, properties);
  return exports;
}
