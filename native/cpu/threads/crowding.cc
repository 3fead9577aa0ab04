#include "cpu/threads/crowding.h"

#include <algorithm>

namespace bptt::cpu {

namespace {

// Regions are judged together once they have lasted this long, in seconds: a single one may be
// shorter than the time for which the system displaces a thread.
constexpr double kJudged = 2e-3;
// How many times as long as fewer members would have taken, before there are fewer.
constexpr double kClearly = 1.2;
// The share of the elapsed time that members must have been displaced for: where they were not,
// uneven shares of the work are why others waited.
constexpr double kDisplaced = 0.1;

// How long a limit stands: in seconds, and at least so many times as long as what was judged,
// since a trial that fails costs that again. The more often trials fail, the rarer they get.
constexpr double kShortestHold = 10e-3, kShortestHoldOfJudged = 4;
constexpr double kLongestHold = 1, kLongestHoldOfJudged = 32;

}  // namespace

int Crowding::members(int size, double now) {
  if (limit_ == 0 || limit_ >= size) return size;
  if (now >= until_) {
    ++limit_;
    since_ = now;
    until_ = now + hold_;
    lately_ = {};
  }
  return limit_;
}

bool Crowding::crowded(int members) const {
  if (lately_.elapsed > kClearly * lately_.computed) return true;  // one would have been faster
  return lately_.displaced > kDisplaced * lately_.elapsed &&
         lately_.elapsed * (members - 1) > kClearly * lately_.computed;
}

void Crowding::ended(int size, const RegionTimes& times, double now) {
  const int members = limit_ == 0 ? size : std::min(limit_, size);
  lately_ += times;
  if (lately_.elapsed < kJudged) return;
  const bool lasted = now - since_ > hold_;
  if (crowded(members)) {
    const double shortest = std::max(kShortestHold, kShortestHoldOfJudged * lately_.elapsed);
    const double longest = std::max(kLongestHold, kLongestHoldOfJudged * lately_.elapsed);
    hold_ = lasted ? shortest : std::clamp(2 * hold_, shortest, longest);
    limit_ = std::max(1, members - 1);
    since_ = now;
    until_ = now + hold_;
  } else if (lasted && members == size) {
    limit_ = 0;
    hold_ = 0;
  }
  lately_ = {};
}

}  // namespace bptt::cpu
