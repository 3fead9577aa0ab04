// What surrounds cuDNN's recurrent layers: rows of packed sequences, dropout between
// layers, and weights in cuDNN's layout; each converts where cuDNN computes in 16 bits.
#include "shared/philox.h"
#include "stored.h"

// out[g, r] = in[g, index[r]], or `otherwise`'s row [g, r] (null: zeros) where the index is
// negative.
BPTT_KERNEL(move_rows, MoveRows) {
  const T* otherwise = static_cast<const T*>(a.otherwise);
  BPTT_EACH(i, a.groups * a.rows * a.columns) {
    const int64_t column = i % a.columns, row = i / a.columns;
    const int64_t group = row / a.rows, place = row % a.rows;
    const int64_t from = a.index ? a.index[place] : place;
    T value = T(0);
    if (from >= 0) {
      value = load<T>(a.in_as, a.in, (group * a.rows_in + from) * a.columns + column);
    } else if (otherwise) {
      value = otherwise[i];
    }
    store(a.out_as, a.out, i, value);
  }
}

// The mask is a function of the place in the unsorted [T,B,columns]: the CPU's numbers.
BPTT_KERNEL(dropout_rows, DropoutRows) {
  BPTT_EACH(i, a.rows * a.columns) {
    const int64_t row = i / a.columns;
    const int64_t place = (a.index ? a.index[row] : row) * a.columns + i % a.columns;
    const PhiloxBlock block = philox(a.seed, a.offset + static_cast<uint64_t>(place / 4));
    // Selected, not indexed: an array with a variable index would not stay in registers.
    const int64_t w = place % 4;
    const uint32_t word = w == 0   ? block.word[0]
                          : w == 1 ? block.word[1]
                          : w == 2 ? block.word[2]
                                   : block.word[3];
    store(a.as, a.out, i, word >= a.threshold ? load<T>(a.as, a.in, i) * T(a.scale) : T(0));
  }
}

// Weights into cuDNN's layout, or their gradients out of it. Nothing is done where the
// destination already holds this stamp.
BPTT_KERNEL(copy_parts, CopyParts) {
  if (a.held && *a.held == a.stamp) return;
  for (int part = 0; part < a.count; ++part) {
    const auto& piece = a.part[part];
    BPTT_EACH(i, piece.size) store(a.out_as, piece.out, i, load<T>(a.in_as, piece.in, i));
  }
}

// After all parts: what the destination now holds.
BPTT_KERNEL(hold_stamp, HoldStamp) {
  if (blockIdx.x == 0 && threadIdx.x == 0) *a.held = a.stamp;
}
