// The control groups of Linux that a process is in, versions 1 and 2.
#pragma once

#include <sstream>
#include <string>

namespace bptt {

// One group, or one above it, that may limit what its processes get.
struct ControlGroup {
  std::string directory;
  int version;
};

// Calls visit(ControlGroup) for the groups of a process that have a controller ("cpu",
// "memory"), and for all above them: some may not exist, since a container often sees its own
// group as the root, under a path that is not there. `membership` is the text of
// /proc/self/cgroup and `mount` is where the hierarchies lie (/sys/fs/cgroup).
template <class Visit>
void for_each_group(const std::string& membership, const std::string& mount,
                    const std::string& controller, Visit visit) {
  const auto visit_up = [&](const std::string& root, std::string path, int version) {
    for (;;) {
      visit(ControlGroup{root + path, version});
      if (path.empty() || path == "/") return;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  };
  std::istringstream lines(membership);
  // "hierarchy:controllers:path"; version 2 is hierarchy 0 without controllers.
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (line.compare(0, second + 1, "0::") == 0) {
      visit_up(mount, path, 2);
    } else if (("," + controllers + ",").find("," + controller + ",") != std::string::npos) {
      visit_up(mount + "/" + controller, path, 1);
      if (controllers != controller) visit_up(mount + "/" + controllers, path, 1);
    }
  }
}

}  // namespace bptt
