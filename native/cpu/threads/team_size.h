// How many processors this process may use.
#pragma once

#include <string>

namespace bptt::cpu {

// Whole processors that the control groups of a process allow, at least 1, or 0
// where nothing limits it. `membership` is the text of /proc/self/cgroup and
// `mount` is where the hierarchies lie (/sys/fs/cgroup); versions 1 and 2.
int cgroup_processors(const std::string& membership, const std::string& mount);

// Threads this process should use by default.
int default_team_size();

}  // namespace bptt::cpu
