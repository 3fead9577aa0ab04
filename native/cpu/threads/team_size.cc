#include "cpu/threads/team_size.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "runtime/cgroup.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace bptt::cpu {

namespace {

int whole_processors(double quota, double period) {
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(quota / period)) : 0;
}

int stricter(int a, int b) { return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b); }

// Version 2: "max 100000" or "150000 100000".
int version_2_limit(const std::string& directory) {
  std::ifstream file(directory + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period ? whole_processors(quota, period) : 0;
}

// Version 1: a quota of -1 is none.
int version_1_limit(const std::string& directory) {
  std::ifstream quota_file(directory + "/cpu.cfs_quota_us");
  std::ifstream period_file(directory + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period ? whole_processors(quota, period) : 0;
}

}  // namespace

int cgroup_processors(const std::string& membership, const std::string& mount) {
  int limit = 0;
  for_each_group(membership, mount, "cpu", [&](const ControlGroup& group) {
    limit = stricter(limit, group.version == 2 ? version_2_limit(group.directory)
                                               : version_1_limit(group.directory));
  });
  return limit;
}

int default_team_size() {
  int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    processors = std::max(1, CPU_COUNT(&allowed));
  }
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream membership;
  membership << file.rdbuf();
  processors = stricter(processors, cgroup_processors(membership.str(), "/sys/fs/cgroup"));
#endif
  return processors;
}

}  // namespace bptt::cpu
