// Embedding: rows of a table picked by index, and their gradient.
#include "define.h"
#include "functions.h"

namespace bptt::cuda {
__device__ inline bool is_row(int32_t index, int64_t rows) { return index >= 0 && index < rows; }
}  // namespace bptt::cuda

BPTT_KERNEL(embedding, Embedding) {
  const T* table = static_cast<const T*>(a.table);
  T* out = static_cast<T*>(a.out);
  BPTT_EACH(at, a.n * a.cols) {
    const int64_t i = at / a.cols, column = at - i * a.cols;
    const int32_t row = a.index[i];
    const bool valid = is_row(row, a.rows);
    out[at] = valid ? table[row * a.cols + column] : T(0);
    if (!valid) *a.flag = 1;
  }
}

// -- gradient --------------------------------------------------------------------
// The places that have one index form a chain, ascending; the threads of its first place
// walk it, one per column, and sum in that order, with no sorting and no atomics.
//
// Linking compares each place with those after it, up to the next that has its index. The
// stretches between equal indices do not overlap, so that is at most n comparisons for each
// different index: n * min(n, rows) in all, shared by n threads.

BPTT_KERNEL(embedding_links, EmbeddingLinks) {
  BPTT_EACH(i, a.n) {
    const int32_t row = a.index[i];
    const bool valid = is_row(row, a.rows);
    int64_t next = valid ? i + 1 : a.n;
    while (next < a.n && a.index[next] != row) ++next;
    a.next[i] = next;
    if (next < a.n) a.follows[next] = 1;
    if (!valid) *a.flag = 1;
  }
}

BPTT_KERNEL(embedding_backward, EmbeddingBackward) {
  const T* dout = static_cast<const T*>(a.dout);
  T* dtable = static_cast<T*>(a.dtable);
  BPTT_EACH(at, a.n * a.cols) {
    const int64_t first = at / a.cols, column = at - first * a.cols;
    const int32_t row = a.index[first];
    if (a.follows[first] || !is_row(row, a.rows) || row == a.padding) continue;
    T sum = 0, lost = 0;  // what rounding loses is added at the end
    for (int64_t i = first; i < a.n; i = a.next[i]) {
      const T value = dout[i * a.cols + column], next = sum + value, added = next - sum;
      lost += (sum - (next - added)) + (value - added);
      sum = next;
    }
    dtable[row * a.cols + column] = is_finite(lost) ? sum + lost : sum;
  }
}
