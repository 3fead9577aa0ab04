// Checks for the C++ test programs: a failed check is printed and counted, and
// finish() returns the exit status. A test ends with `return bptt_test::finish();`.
#pragma once

#include <cmath>
#include <cstdio>

namespace bptt_test {

inline int checks = 0;
inline int failures = 0;

inline bool report(bool ok, const char* file, int line, const char* expression) {
  ++checks;
  if (!ok) {
    ++failures;
    std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, expression);
  }
  return ok;
}

inline int finish() {
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 && checks > 0 ? 0 : 1;
}

}  // namespace bptt_test

#define CHECK(expression) \
  ::bptt_test::report(static_cast<bool>(expression), __FILE__, __LINE__, #expression)

// As CHECK, with the values that explain a failure: CHECK_MSG(a == b, "a %d b %d", a, b).
#define CHECK_MSG(expression, ...)                                                              \
  do {                                                                                          \
    if (!::bptt_test::report(static_cast<bool>(expression), __FILE__, __LINE__, #expression)) { \
      std::fprintf(stderr, "    " __VA_ARGS__);                                                 \
      std::fputc('\n', stderr);                                                                 \
    }                                                                                           \
  } while (0)
