// A batch of sequences as a packed sequence: rows sorted by length, longest first
// (stable), and step t holds only the rows that are that long.
//
//   lengths 2 4 1      order   1 0 2           step   0     1    2   3
//                      length  4 2 1           rows   1 0 2 1 0  1   1
//                                              offset 0     3    5   6   7
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace bptt {

struct PackedSequence {
  std::vector<int64_t> order;   // [B]: sorted row r is row order[r] of the batch
  std::vector<int64_t> length;  // [B], descending
  std::vector<int64_t> offset;  // [steps+1]: step t holds packed rows offset[t] .. offset[t+1]
  int64_t steps = 0;            // of the longest row
  int64_t rows = 0;             // of all steps
  bool full = true;             // every row has all T steps
  bool sorted = true;           // order[r] == r

  PackedSequence() = default;
  // lengths: [B], 0..T each; null: all T.
  PackedSequence(int64_t T, int64_t B, const int32_t* lengths) {
    const auto length_of = [&](int64_t b) { return lengths ? int64_t{lengths[b]} : T; };
    order.resize(B);
    for (int64_t b = 0; b < B; ++b) order[b] = b;
    if (lengths) {
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return length_of(a) > length_of(b); });
    }
    length.resize(B);
    for (int64_t r = 0; r < B; ++r) {
      length[r] = length_of(order[r]);
      full = full && length[r] == T;
      sorted = sorted && order[r] == r;
    }
    steps = B == 0 ? 0 : length[0];
    offset.resize(steps + 1);
    offset[0] = 0;
    int64_t rest = B;
    for (int64_t t = 0; t < steps; ++t) {
      while (rest > 0 && length[rest - 1] <= t) --rest;
      offset[t + 1] = offset[t] + rest;
    }
    rows = offset[steps];
  }

  // Rows of step t.
  int64_t active(int64_t t) const { return offset[t + 1] - offset[t]; }
};

}  // namespace bptt
