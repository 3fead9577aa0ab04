#include "cpu/team_size.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

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

// The limits of a group and of all groups above it. A container often sees its
// own group as the root, under a path that does not exist there.
template <class Limit>
int strictest(const std::string& root, std::string path, Limit limit_of) {
  for (int limit = 0;;) {
    limit = stricter(limit, limit_of(root + path));
    if (path.empty() || path == "/") return limit;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

bool contains(const std::string& list, const std::string& word) {
  std::istringstream words(list);
  for (std::string item; std::getline(words, item, ',');) {
    if (item == word) return true;
  }
  return false;
}

}  // namespace

int cgroup_processors(const std::string& membership, const std::string& mount) {
  int limit = 0;
  std::istringstream lines(membership);
  // "hierarchy:controllers:path"; version 2 is hierarchy 0 without controllers.
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (line.compare(0, second + 1, "0::") == 0) {
      limit = stricter(limit, strictest(mount, path, version_2_limit));
    } else if (contains(controllers, "cpu")) {
      for (const std::string& name : {std::string("cpu"), controllers}) {
        limit = stricter(limit, strictest(mount + "/" + name, path, version_1_limit));
      }
    }
  }
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
