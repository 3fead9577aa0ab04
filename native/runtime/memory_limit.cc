#include "runtime/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <initializer_list>

#include "runtime/cgroup.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace bptt {

namespace {

// The sum of entries such as "MemAvailable:   1234 kB" or "inactive_file 5678"; `otherwise` where
// none of them is there.
int64_t sum_of(const std::string& path, std::initializer_list<const char*> names, int64_t unit,
               int64_t otherwise = 0) {
  std::ifstream file(path);
  int64_t sum = 0;
  bool found = false;
  std::string name;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    int64_t value = 0;
    if (!(words >> name >> value)) continue;
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    sum += value * unit;
    found = true;
  }
  return found ? sum : otherwise;
}

// A file of one number; kNoLimit where it says "max" or no amount, or is not there.
int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value && value >= 0 ? value : kNoLimit;
}

// What a group leaves of its limit; pages of files give way to others.
int64_t room_of(const ControlGroup& group, int64_t free_swap) {
  const std::string& at = group.directory;
  const bool two = group.version == 2;
  const int64_t limit = number_in(at + (two ? "/memory.max" : "/memory.limit_in_bytes"));
  const int64_t used = number_in(at + (two ? "/memory.current" : "/memory.usage_in_bytes"));
  // Version 1 says "none" by a number near the largest.
  if (used == kNoLimit || limit >= kNoLimit / 2) return kNoLimit;
  const int64_t files =
      two ? sum_of(at + "/memory.stat", {"inactive_file", "active_file"}, 1)
          : sum_of(at + "/memory.stat", {"total_inactive_file", "total_active_file"}, 1);
  int64_t swap = 0;
  if (two) {
    const int64_t most = number_in(at + "/memory.swap.max");
    const int64_t swapped = number_in(at + "/memory.swap.current");
    if (most > swapped) swap = std::min(free_swap, most - swapped);  // else it was lowered since
  } else {
    const int64_t both = number_in(at + "/memory.memsw.limit_in_bytes");
    if (both >= limit) swap = std::min(free_swap, both - limit);
  }
  return limit - used + files + swap;
}

}  // namespace

int64_t memory_limit(const std::string& proc, const std::string& cgroup) {
  constexpr int64_t kKilo = 1024;
  int64_t room = sum_of(proc + "/meminfo", {"MemAvailable:"}, kKilo, kNoLimit);
  if (room == kNoLimit) return kNoLimit;
  const int64_t free_swap = sum_of(proc + "/meminfo", {"SwapFree:"}, kKilo);
  room += free_swap;
  std::ifstream file(proc + "/self/cgroup");
  std::ostringstream membership;
  membership << file.rdbuf();
  for_each_group(membership.str(), cgroup, "memory", [&](const ControlGroup& group) {
    room = std::min(room, room_of(group, free_swap));
  });
  return std::max<int64_t>(room, 0) + sum_of(proc + "/self/status", {"RssAnon:", "VmSwap:"}, kKilo);
}

int64_t memory_limit() noexcept {
  try {
#if defined(__linux__)
    return memory_limit("/proc", "/sys/fs/cgroup");
#elif defined(__APPLE__)
    int64_t bytes = 0;
    size_t size = sizeof bytes;
    if (sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0 && bytes > 0) return bytes;
#endif
  } catch (...) {
    // Without memory to look, the system's own answer decides.
  }
  return kNoLimit;
}

}  // namespace bptt
