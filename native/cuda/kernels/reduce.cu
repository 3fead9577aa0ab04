// Sums over any axes, one pass. Beside each sum goes that of its terms times a power of two, which
// replaces it where it leaves the range of the type.
#include "reduce.h"
#include "walk.h"

BPTT_KERNEL(sum, Sum) {
  BPTT_SHARED(T, shared, kBlockThreads);
  const Place p = place_of(a.lanes);
  const T *x = static_cast<const T*>(a.x), *x_small = static_cast<const T*>(a.small);
  const T part = static_cast<T>(a.part);
  T *out = static_cast<T*>(a.out), *out_small = static_cast<T*>(a.out_small);
  const int64_t lines = a.chunks * a.outputs;
  BPTT_EACH_LINE(line, lines, p) {
    T total = 0, small = 0;
    if (line < lines) {
      const int64_t chunk = line / a.outputs, output = line - chunk * a.outputs;
      const int64_t outer = output / a.inner;
      const int64_t start = offset_of(a.outer, outer) + (output - outer * a.inner);
      const int64_t begin = chunk * a.chunk_length;
      const int64_t end = a.length - begin < a.chunk_length ? a.length : begin + a.chunk_length;
      for (int64_t i = begin + p.lane; i < end; i += p.lanes) {
        const int64_t at = start + offset_of(a.reduced, i);
        const T term = x[at];
        total += term;
        small += x_small ? x_small[at] : term * part;
      }
    }
    total = combine_lanes(p, total, shared, Add());
    small = combine_lanes(p, small, shared, Add());
    if (line >= lines || p.lane != 0) continue;
    if (out_small) {
      out[line] = total;
      out_small[line] = small;
    } else {
      out[line] = is_finite(total) ? total * static_cast<T>(a.scale)
                                   : small * static_cast<T>(a.small_scale);
    }
  }
}
