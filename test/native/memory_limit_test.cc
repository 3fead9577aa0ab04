// What the files of Linux say of the memory that a process may have: control groups of both
// versions, limits in a row, and files that are missing or hold something else.
#include "runtime/memory_limit.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "check.h"

using bptt::kNoLimit;
using bptt::memory_limit;

namespace {

constexpr int64_t kMega = int64_t{1} << 20;
// What the process of these files holds: 8 MiB, and 2 MiB that were swapped out.
constexpr int64_t kOwn = 10 * kMega;

// /proc and /sys/fs/cgroup of a machine with 1000 MiB to be had and 100 MiB of free swap.
class Machine {
 public:
  Machine() {
    std::random_device random;
    root_ = std::filesystem::temp_directory_path() /
            ("bptt_memory_limit_test_" + std::to_string(random()) + std::to_string(random()));
    write("proc/meminfo",
          "MemTotal:        4096000 kB\nMemFree:           1024 kB\n"
          "MemAvailable:    1024000 kB\nSwapFree:         102400 kB\n");
    write("proc/self/status", "Name:\tx\nVmRSS:\t9216 kB\nRssAnon:\t8192 kB\nVmSwap:\t2048 kB\n");
  }
  ~Machine() { std::filesystem::remove_all(root_); }
  Machine(const Machine&) = delete;

  Machine& write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
    return *this;
  }
  Machine& write(const std::string& path, int64_t number) {
    return write(path, std::to_string(number) + "\n");
  }
  Machine& group(const std::string& membership) { return write("proc/self/cgroup", membership); }

  // MiB besides the process's own, or the limit as it is.
  int64_t room() const {
    const int64_t limit = memory_limit((root_ / "proc").string(), (root_ / "cgroup").string());
    return limit == kNoLimit ? limit : (limit - kOwn) / kMega;
  }

 private:
  std::filesystem::path root_;
};

void without_groups() {
  Machine machine;
  CHECK(machine.room() == 1100);
  machine.write("proc/self/status", "Name:\tx\n");
  CHECK(machine.room() == 1090);
  machine.write("proc/meminfo", "MemAvailable: 0 kB\n");
  CHECK(machine.room() == -10);
  for (const char* text : {"", "MemFree: 5 kB\n", "MemAvailable: plenty\n", "\n:\n\x01\xff\n"}) {
    machine.write("proc/meminfo", text);
    CHECK_MSG(machine.room() == kNoLimit, "%s", text);
  }
}

void version_2() {
  Machine machine;
  machine.group("0::/a/b\n");
  CHECK(machine.room() == 1100);  // the groups are not to be seen

  machine.write("cgroup/a/b/memory.max", 300 * kMega);
  CHECK(machine.room() == 1100);  // no usage
  machine.write("cgroup/a/b/memory.current", 120 * kMega);
  CHECK(machine.room() == 180);
  machine.write("cgroup/a/b/memory.stat",
                "anon 1\nfile 99\ninactive_file 10485760\nactive_file 20971520\n");
  CHECK(machine.room() == 210);

  machine.write("cgroup/a/b/memory.swap.max", "max\n");
  CHECK(machine.room() == 210);  // no usage of swap: none is counted on
  machine.write("cgroup/a/b/memory.swap.current", 7 * kMega);
  CHECK(machine.room() == 310);  // as much as the machine has
  machine.write("cgroup/a/b/memory.swap.max", 27 * kMega);
  CHECK(machine.room() == 230);
  machine.write("cgroup/a/b/memory.swap.max", 5 * kMega);
  CHECK(machine.room() == 210);  // lowered beneath what is used

  machine.write("cgroup/a/b/memory.max", "max\n");
  CHECK(machine.room() == 1100);
  machine.write("cgroup/a/b/memory.max", 100 * kMega);
  CHECK(machine.room() == 10);
  machine.write("cgroup/a/b/memory.max", 50 * kMega);
  CHECK(machine.room() == 0);  // over its limit: what the process holds it may keep
  machine.write("cgroup/a/b/memory.max", 0);
  CHECK(machine.room() == 0);
}

void nested() {
  Machine machine;
  machine.group("0::/a/b\n");
  machine.write("cgroup/a/b/memory.max", "max\n").write("cgroup/a/b/memory.current", 1 * kMega);
  machine.write("cgroup/a/memory.max", 400 * kMega).write("cgroup/a/memory.current", 100 * kMega);
  CHECK(machine.room() == 300);
  machine.write("cgroup/a/b/memory.max", 200 * kMega);
  CHECK(machine.room() == 199);
  machine.write("cgroup/a/memory.current", 390 * kMega);  // by its other groups
  CHECK(machine.room() == 10);
  machine.write("cgroup/memory.max", 395 * kMega).write("cgroup/memory.current", 391 * kMega);
  CHECK(machine.room() == 4);
  machine.group("0::/elsewhere/c\n");  // a container that sees its own group as the root
  CHECK(machine.room() == 4);
  machine.group("0::/\n");
  CHECK(machine.room() == 4);
}

void version_1() {
  Machine machine;
  machine.group("12:cpuset:/\n4:memory:/docker/x\n1:name=systemd:/y\n");
  CHECK(machine.room() == 1100);
  const std::string group = "cgroup/memory/docker/x/memory.";
  machine.write(group + "limit_in_bytes", int64_t{9223372036854771712});
  machine.write(group + "usage_in_bytes", 150 * kMega);
  CHECK(machine.room() == 1100);
  machine.write(group + "limit_in_bytes", 250 * kMega);
  CHECK(machine.room() == 200);  // swap is the machine's
  machine.write(group + "memsw.limit_in_bytes", 250 * kMega);
  CHECK(machine.room() == 100);
  machine.write(group + "memsw.limit_in_bytes", 290 * kMega);
  CHECK(machine.room() == 140);
  machine.write(group + "stat",
                "inactive_file 1048576\ntotal_inactive_file 5242880\ntotal_active_file 1048576\n");
  CHECK(machine.room() == 146);
  machine.write("cgroup/memory/memory.limit_in_bytes", 200 * kMega);
  machine.write("cgroup/memory/memory.usage_in_bytes", 190 * kMega);
  machine.write("cgroup/memory/memory.memsw.limit_in_bytes", 200 * kMega);
  CHECK(machine.room() == 10);
  // Beside a hierarchy of version 2, which has other controllers; and mounted with one.
  machine.group("4:memory:/docker/x\n0::/a\n");
  CHECK(machine.room() == 10);
  machine.write("cgroup/cpu,memory/z/memory.limit_in_bytes", 60 * kMega);
  machine.write("cgroup/cpu,memory/z/memory.usage_in_bytes", 59 * kMega);
  machine.write("cgroup/cpu,memory/z/memory.memsw.limit_in_bytes", 60 * kMega);
  machine.group("4:cpu,memory:/z\n");
  CHECK(machine.room() == 1);
}

void garbage() {
  Machine machine;
  for (const char* text :
       {"", "nonsense\n::\n", "0:\n", "::::\n\n:", "0::relative\n", "4:memories:/a\n"}) {
    machine.group(text);
    CHECK_MSG(machine.room() == 1100, "%s", text);
  }
  machine.group("0::/a\n").write("cgroup/a/memory.current", 5 * kMega);
  for (const char* text : {"", "\n", "many\n", "-1\n", "99999999999999999999999\n"}) {
    machine.write("cgroup/a/memory.max", text);
    CHECK_MSG(machine.room() == 1100, "%s", text);
  }
  machine.write("cgroup/a/memory.max", 25 * kMega);
  for (const char* text : {"", "inactive_file\n", "inactive_file x\nfile 7 7\n", "\n\n"}) {
    machine.write("cgroup/a/memory.stat", text);
    CHECK_MSG(machine.room() == 20, "%s", text);
  }
  for (const char* text : {"", "few\n", "-1\n"}) {
    machine.write("cgroup/a/memory.current", text);
    CHECK_MSG(machine.room() == 1100, "%s", text);
  }
  CHECK(memory_limit("/nowhere/at/all", "/nor/here") == kNoLimit);
}

}  // namespace

int main() {
  without_groups();
  version_2();
  nested();
  version_1();
  garbage();
  CHECK(memory_limit() > 0);
  return bptt_test::finish();
}
