// How many members a region gets while other threads use the processors too.
//
// A member that has to share its processor makes all others wait at every barrier: a
// region of many barriers may take five times as long on two threads as on one. What a
// region would have taken with fewer members is known when it ends: what its members
// computed, together, divided by their number. Where that would have been clearly less,
// the next regions have a member less, for a while; then one more is tried again.
#pragma once

namespace bptt::cpu {

// Regions of one number of members, or several of them together. In seconds.
struct RegionTimes {
  double elapsed = 0;    // from the first member's begin to the last one's end
  double computed = 0;   // processor time of all members, without what they spun
  double displaced = 0;  // time in which members could have run and did not

  void operator+=(const RegionTimes& other) {
    elapsed += other.elapsed;
    computed += other.computed;
    displaced += other.displaced;
  }
};

class Crowding {
 public:
  // Members of the next region, at most `size` and at least 1.
  int members(int size, double now);
  // A region has ended that had as many members as members() said.
  void ended(int size, const RegionTimes& times, double now);

 private:
  bool crowded(int members) const;

  int limit_ = 0;     // members; 0: as many as there are
  double hold_ = 0;   // how long the limit stands before one member more is tried
  double until_ = 0;  // when that is
  double since_ = 0;  // since when there are as many as now
  RegionTimes lately_;
};

}  // namespace bptt::cpu
