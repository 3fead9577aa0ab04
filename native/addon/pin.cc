#include "addon/pin.h"

#if defined(_WIN32)

#include <windows.h>

namespace bptt::addon {

void pin_library() {
  HMODULE module;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCWSTR>(&pin_library), &module);
}

}  // namespace bptt::addon

#else

#include <dlfcn.h>

namespace bptt::addon {

void pin_library() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&pin_library), &info) != 0 && info.dli_fname) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
}

}  // namespace bptt::addon

#endif
