// How much memory the machine can still give this process. An operating system that
// overcommits grants any size and ends the process when it is touched, so what cannot be had
// has to be refused before.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace bptt {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// Bytes that this process may hold in all, as far as can be known: what is available (free, or
// held by caches that give way; swap too) and what it holds already. kNoLimit where nothing is
// known, or where the system refuses by itself what it cannot give (Windows).
int64_t memory_limit() noexcept;

// The same for Linux, from the files below two folders: /proc and /sys/fs/cgroup.
int64_t memory_limit(const std::string& proc, const std::string& cgroup);

}  // namespace bptt
