// Sums over any axes, one pass.
#include "reduce.h"
#include "walk.h"

BPTT_KERNEL(sum, Sum) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  T* out = static_cast<T*>(a.out);
  const int64_t lines = a.chunks * a.outputs;
  BPTT_EACH_LINE(line, lines, p) {
    T total = 0;
    if (line < lines) {
      const int64_t chunk = line / a.outputs, output = line - chunk * a.outputs;
      const int64_t outer = output / a.inner;
      const T* x =
          static_cast<const T*>(a.x) + offset_of(a.outer, outer) + (output - outer * a.inner);
      const int64_t begin = chunk * a.chunk_length;
      const int64_t end = a.length - begin < a.chunk_length ? a.length : begin + a.chunk_length;
      for (int64_t i = begin + p.lane; i < end; i += p.lanes) total += x[offset_of(a.reduced, i)];
    }
    total = combine_lanes(p, total, shared, Add());
    if (line < lines && p.lane == 0) out[line] = total * static_cast<T>(a.scale);
  }
}
