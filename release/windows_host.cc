// Windows, built by zig: the addon takes Node's functions from the program that
// loads it, under whatever name that runs (Electron, a single-file executable).
// An import library would ask for a file called node.exe. Microsoft's linker has
// delay-loading with a hook for this; zig's has not.
#include <windows.h>

// A function declared dllimport is called through a pointer, __imp_ and its name,
// which import libraries define otherwise. CMakeLists.txt makes the list, of all
// functions of Node-API.
#define FUNCTION(name) FARPROC __imp_##name;
extern "C" {
#include "node_functions.inc"
}
#undef FUNCTION

namespace {

// What an older Node lacks stays null; NAPI_VERSION keeps the addon from calling it.
struct Imports {
  Imports() {
    // Some programs have Node in a library beside them.
    HMODULE library = GetModuleHandleW(L"libnode.dll");
    HMODULE node = library ? library : GetModuleHandleW(nullptr);
#define FUNCTION(name) __imp_##name = GetProcAddress(node, #name);
#include "node_functions.inc"
#undef FUNCTION
  }
} imports;

}  // namespace
