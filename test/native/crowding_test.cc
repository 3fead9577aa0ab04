// How many members regions get, by times that are made up.
#include "cpu/threads/crowding.h"

#include "check.h"

using bptt::cpu::Crowding;
using bptt::cpu::RegionTimes;

namespace {

constexpr RegionTimes kPunctual = {.elapsed = 5e-3, .computed = 9.8e-3, .displaced = 0};
constexpr RegionTimes kLate = {.elapsed = 30e-3, .computed = 9e-3, .displaced = 4e-3};

// Two threads: one as soon as it would have been faster, then a trial, less and less often.
void two_members() {
  Crowding crowding;
  double now = 100;
  CHECK(crowding.members(2, now) == 2);
  crowding.ended(2, kPunctual, now);
  CHECK(crowding.members(2, now) == 2);
  crowding.ended(2, kLate, now);
  CHECK(crowding.members(2, now) == 1);
  double last = now, before = 0;
  for (int trial = 0; trial < 6; ++trial) {
    while (crowding.members(2, now) == 1) now += 1e-3;
    const double hold = now - last;
    CHECK_MSG(hold > 3.9 * kLate.elapsed && hold < 1.1, "held for %g s", hold);
    if (before > 0) CHECK_MSG(hold > 1.8 * before || hold > 0.95, "%g s after %g s", hold, before);
    before = hold;
    crowding.ended(2, kLate, now);
    CHECK(crowding.members(2, now) == 1);
    last = now;
  }
  // Where the others have gone, it stays, and the next disturbance is judged as the first was.
  while (crowding.members(2, now) == 1) now += 1e-3;
  for (int i = 0; i < 1000; ++i) {
    now += kPunctual.elapsed;
    crowding.ended(2, kPunctual, now);
    CHECK(crowding.members(2, now) == 2);
  }
  crowding.ended(2, kLate, now);
  CHECK(crowding.members(2, now) == 1);
  CHECK(crowding.members(2, now + 5 * kLate.elapsed) == 2);
}

// Regions shorter than a thread is displaced for are judged together.
void brief_regions() {
  Crowding crowding;
  for (int i = 0; i < 60; ++i) {
    crowding.ended(2, {.elapsed = 30e-6, .computed = 58e-6, .displaced = 0}, 1);
  }
  crowding.ended(2, {.elapsed = 1e-3, .computed = 50e-6, .displaced = 0.9e-3}, 1);
  CHECK(crowding.members(2, 1) == 2);
  for (int i = 0; i < 2; ++i) {
    crowding.ended(2, {.elapsed = 4e-3, .computed = 60e-6, .displaced = 3.9e-3}, 1);
  }
  CHECK(crowding.members(2, 1) == 1);
}

// Of many members one goes; uneven shares alone take none away.
void many_members() {
  Crowding crowding;
  const RegionTimes uneven = {.elapsed = 10e-3, .computed = 60e-3, .displaced = 0};
  crowding.ended(16, uneven, 1);
  CHECK(crowding.members(16, 1) == 16);
  const RegionTimes crowded = {.elapsed = 10e-3, .computed = 60e-3, .displaced = 4e-3};
  crowding.ended(16, crowded, 1);
  CHECK(crowding.members(16, 1) == 15);
  CHECK(crowding.members(4, 1) == 4);
  CHECK(crowding.members(1, 1) == 1);
}

}  // namespace

int main() {
  two_members();
  brief_regions();
  many_members();
  return bptt_test::finish();
}
