// The team: members, barriers, competing callers, resizing, float mode, default size.
#include "cpu/threads/team.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "check.h"
#include "cpu/threads/placement.h"
#include "cpu/threads/team_size.h"

using bptt::cpu::cgroup_processors;
using bptt::cpu::Member;
using bptt::cpu::Team;

namespace {

void members() {
  Team& team = Team::instance();
  for (const int size : {1, 2, 3, 5, 2, 1, 4}) {
    team.resize(size, true);
    CHECK(team.size() == size);
    std::vector<std::atomic<int>> calls(size);
    std::atomic<int> wrong{0};
    const auto caller = std::this_thread::get_id();
    for (int repeat = 0; repeat < 50; ++repeat) {
      team.run([&](Member& member) {
        if (member.count != size) ++wrong;
        if ((member.index == 0) != (std::this_thread::get_id() == caller)) ++wrong;
        ++calls[member.index];
      });
    }
    CHECK(wrong == 0);
    for (int i = 0; i < size; ++i) CHECK_MSG(calls[i] == 50, "size %d member %d", size, i);
  }
  team.resize(0, true);
  CHECK(team.size() == 1);
  team.resize(100000);
  CHECK(team.size() == 256);
}

// Each step every member reads what its neighbours wrote in the step before.
void barriers() {
  Team& team = Team::instance();
  for (const int size : {2, 3, 4}) {
    team.resize(size, true);
    constexpr int kSteps = 300;
    std::vector<int64_t> even(size, 1), odd(size, 0);
    team.run([&](Member& member) {
      for (int step = 0; step < kSteps; ++step) {
        const std::vector<int64_t>& from = step % 2 == 0 ? even : odd;
        std::vector<int64_t>& to = step % 2 == 0 ? odd : even;
        int64_t sum = 0;
        for (int i = 0; i < size; ++i) sum = (sum + from[i]) % 1000003;
        to[member.index] = sum + member.index;
        member.barrier();
      }
    });
    std::vector<int64_t> expected(size, 1);
    for (int step = 0; step < kSteps; ++step) {
      int64_t sum = 0;
      for (const int64_t value : expected) sum = (sum + value) % 1000003;
      for (int i = 0; i < size; ++i) expected[i] = sum + i;
    }
    CHECK(even == expected);
  }
}

void ranges() {
  Team& team = Team::instance();
  for (const int size : {1, 2, 3}) {
    team.resize(size, true);
    for (const int64_t n : {0, 1, 7, 16, 17, 1000}) {
      for (const int64_t grain : {1, 8, 5000}) {
        std::vector<std::atomic<int>> touched(n);
        std::atomic<int> unaligned{0}, bodies{0};
        team.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          ++bodies;
          if (begin % grain != 0 || (end % grain != 0 && end != n)) ++unaligned;
          for (int64_t i = begin; i < end; ++i) ++touched[i];
        });
        CHECK(unaligned == 0);
        if (n > 0 && n <= grain) CHECK(bodies == 1);
        for (int64_t i = 0; i < n; ++i) CHECK(touched[i] == 1);
      }
    }
  }
}

// Callers that find the team taken, or are inside it, run alone.
void competition() {
  Team& team = Team::instance();
  team.resize(3, true);
  std::atomic<int> alone{0}, together{0}, wrong{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&, c] {
      for (int i = 0; i < 300; ++i) {
        std::vector<int> out(64, 0);
        team.run([&](Member& member) {
          if (member.index == 0) ++(member.count == 1 ? alone : together);
          for (int k = member.index; k < 64; k += member.count) out[k] = k + c;
          member.barrier();
          for (int k = 0; k < 64; ++k) {
            if (out[k] != k + c) ++wrong;
          }
        });
        if (c == 0 && i % 50 == 0) team.resize(2 + i / 50 % 2, true);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0 && together > 0 && alone + together == 4 * 300);

  std::atomic<int> nested{0};
  team.resize(2, true);
  team.run([&](Member& member) {
    const int outer = member.count;
    team.run([&](Member& inner) {
      if (inner.count == 1 && outer == 2) ++nested;
    });
  });
  CHECK(nested == 2);
}

// A denormal product is zero inside and only there.
void float_mode() {
#if defined(__x86_64__) || defined(_M_X64) || defined(__aarch64__) || defined(_M_ARM64)
  Team& team = Team::instance();
  volatile float tiny = 1e-38f, small = 1e-3f;
  CHECK(tiny * small != 0.0f);
  for (const int size : {1, 3}) {
    team.resize(size, true);
    std::atomic<int> zeros{0};
    team.run([&](Member&) {
      if (tiny * small == 0.0f) ++zeros;
    });
    CHECK(zeros == size);
    int64_t flushed = 0;
    team.parallel_for(1, 8, [&](int64_t, int64_t) { flushed = tiny * small == 0.0f; });
    CHECK(flushed == 1);
    CHECK(tiny * small != 0.0f);
  }
#endif
}

void write(const std::filesystem::path& path, const char* text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

void default_size() {
  const auto root = std::filesystem::temp_directory_path() /
                    ("bptt_team_test_" +
                     std::to_string(std::hash<std::thread::id>()(std::this_thread::get_id())));
  const std::string mount = root.string();
  const char* v2 = "0::/a/b\n";
  CHECK(cgroup_processors(v2, mount) == 0);
  write(root / "a/b/cpu.max", "max 100000\n");
  CHECK(cgroup_processors(v2, mount) == 0);
  write(root / "a/cpu.max", "350000 100000\n");
  CHECK(cgroup_processors(v2, mount) == 3);
  write(root / "a/b/cpu.max", "50000 100000\n");
  CHECK(cgroup_processors(v2, mount) == 1);
  CHECK(cgroup_processors("0::/elsewhere\n", mount) == 0);
  write(root / "cpu.max", "200000 100000\n");
  CHECK(cgroup_processors("0::/elsewhere\n", mount) == 2);
  CHECK(cgroup_processors("0::/\n", mount) == 2);

  const char* v1 = "12:cpuset:/\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/y\n";
  CHECK(cgroup_processors(v1, mount) == 0);
  write(root / "cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
  write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_processors(v1, mount) == 4);
  write(root / "cpu,cpuacct/docker/x/cpu.cfs_quota_us", "-1\n");
  write(root / "cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_processors(v1, mount) == 4);
  write(root / "cpu,cpuacct/docker/x/cpu.cfs_quota_us", "150000\n");
  CHECK(cgroup_processors(v1, mount) == 1);
  CHECK(cgroup_processors("nonsense\n::\n", mount) == 0);
  std::filesystem::remove_all(root);

  const int size = bptt::cpu::default_team_size();
  CHECK(size >= 1 && size <= static_cast<int>(std::thread::hardware_concurrency()));
  std::printf("default team size %d\n", size);
}

// The members of a region, as the leader sees them.
int members_of_region(Team& team) {
  int count = 0;
  team.run([&](Member& member) {
    if (member.index == 0) count = member.count;
  });
  return count;
}

// Where members sleep and others wait for them, one thread does better; it is not for ever.
void late_members() {
  Team& team = Team::instance();
  const auto late = [](Member& member) {
    for (int step = 0; step < 10; ++step) {
      if (member.index == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      member.barrier();
    }
  };
  team.resize(2, true);
  for (int i = 0; i < 3; ++i) team.run(late);
  CHECK(members_of_region(team) == 2);
  team.resize(2);
  for (int i = 0; i < 3; ++i) team.run(late);
  CHECK(members_of_region(team) == 1);
  int count = 1;
  for (int i = 0; i < 1000 && count == 1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    count = members_of_region(team);
  }
  CHECK(count == 2);
}

}  // namespace

// A worker that finds itself on its leader's processor moves, and is bound to none after.
void placement() {
#if defined(__linux__)
  cpu_set_t allowed;
  CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
  if (CPU_COUNT(&allowed) < 2) {
    std::printf("placement: skipped, there is one processor\n");
    return;
  }
  int met = 0, moved = 0;
  // The system may move the thread, too: away before it settles, or back after.
  for (int attempt = 0; attempt < 1000 && moved == 0; ++attempt) {
    bptt::cpu::Placement places;
    cpu_set_t here, after;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    sched_setaffinity(0, sizeof(here), &here);
    places.begin();
    sched_setaffinity(0, sizeof(allowed), &allowed);
    const bool meets = CPU_ISSET(sched_getcpu(), &here);
    places.settle();
    const bool apart = !CPU_ISSET(sched_getcpu(), &here);
    CHECK(sched_getaffinity(0, sizeof(after), &after) == 0 && CPU_EQUAL(&after, &allowed));
    met += meets;
    moved += meets && apart;
  }
  CHECK_MSG(moved > 0, "%d times on the leader's processor, never moved", met);
#else
  std::printf("placement: skipped, left to the system here\n");
#endif
}

int main() {
  members();
  barriers();
  ranges();
  competition();
  float_mode();
  default_size();
  late_members();
  placement();
  return bptt_test::finish();
}
