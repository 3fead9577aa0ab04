# The toolchain of the prebuilt binaries: zig's Clang as a cross-compiler, with its own C
# headers and a C++ runtime that it links in. release/compile.mjs passes BPTT_ZIG (the
# program) and BPTT_ZIG_TARGET (release/targets.json).
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES BPTT_ZIG BPTT_ZIG_TARGET)

if(BPTT_ZIG_TARGET MATCHES windows)
  set(CMAKE_SYSTEM_NAME Windows)
elseif(BPTT_ZIG_TARGET MATCHES macos)
  set(CMAKE_SYSTEM_NAME Darwin)
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR ${BPTT_ZIG_TARGET})

set(CMAKE_CXX_COMPILER ${BPTT_ZIG} c++ -target ${BPTT_ZIG_TARGET})
set(CMAKE_CXX_FLAGS_INIT "-g0 -fno-sanitize=undefined")
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
if(CMAKE_SYSTEM_NAME STREQUAL "Darwin")
  string(APPEND CMAKE_SHARED_LINKER_FLAGS_INIT " -Wl,-x")  # there -s keeps the names of local symbols
endif()
set(CMAKE_AR ${BPTT_ZIG}-ar CACHE FILEPATH "zig's archiver")
set(CMAKE_RANLIB ${BPTT_ZIG}-ranlib CACHE FILEPATH "zig's ranlib")

# Questions to the compiler link nothing: a link makes zig build a whole C++ runtime first.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
# zig's linker does not know --exclude-libs, and shows nothing of its runtime anyway.
set(BPTT_LINKER_EXCLUDES OFF)
