// Sums over any axes: passes that each divide long sums into chunks, until one is left.
#include "cuda/device.h"
#include "cuda/ops_integers.h"
#include "cuda/reduction.h"

namespace bptt::cuda {

namespace {

// At least 1: an empty sum is one chunk.
int64_t chunks_of(const SumShape& s) {
  const int64_t chunks = divide_up(s.length, chunk_length_of(s.along));
  return chunks > 1 ? chunks : 1;
}

SumShape shape_of(int rank, const int64_t* shape, const int* reduced) {
  SumShape s = {sum_axes_of(rank, shape, reduced)};
  s.length = s.reduced.size();
  s.outputs = s.outer.size() * s.inner;
  return s;
}

}  // namespace

SumShape sum_of_rows(int64_t length, int64_t outputs) {
  SumShape s;
  s.reduced.append(length, outputs);
  s.outputs = s.inner = outputs;
  s.length = length;
  s.along = outputs == 1;
  return s;
}

SumShape sum_of_columns(int64_t outputs, int64_t length) {
  SumShape s;
  s.outer.append(outputs, length);
  s.reduced.append(length, 1);
  s.outputs = outputs;
  s.length = length;
  s.along = true;
  return s;
}

int64_t sum_scratch(const SumShape& shape) {
  int64_t places = 0;
  SumShape s = shape;
  for (int64_t chunks = chunks_of(s); chunks > 1; chunks = chunks_of(s)) {
    places += 2 * chunks * s.outputs;
    s = sum_of_rows(chunks, s.outputs);
  }
  return places;
}

bptt_code run_sum(bptt_context* context, bptt_dtype dtype, const SumShape& shape, double scale,
                  Terms terms, void* out, void* out_small, void* scratch) {
  if (!terms.small) terms.part = power_of_two_part(shape.length);
  SumShape s = shape;
  for (;;) {
    const int64_t chunks = chunks_of(s), length = chunk_length_of(s.along);
    const bool last = chunks == 1;
    void* const to = last ? out : scratch;
    void* const to_small = last ? out_small : element(dtype, scratch, chunks * s.outputs);
    const Lanes lanes = lanes_of(s.length < length ? s.length : length, s.along);
    const bptt_code code =
        launch(context, sum_kernel, dtype, grid_of_lines(chunks * s.outputs, lanes),
               Sum{s.outer, s.reduced, s.outputs, s.inner, s.length, chunks, length, lanes,
                   terms.part, scale, scale / terms.part, terms.x, terms.small, to, to_small});
    if (code || last) return code;
    terms.x = to;
    terms.small = to_small;
    scratch = element(dtype, scratch, 2 * chunks * s.outputs);
    s = sum_of_rows(chunks, s.outputs);
  }
}

bptt_code sum(bptt_context* context, bptt_dtype dtype, int rank, const int64_t* shape,
              const int* reduced, double scale, const void* x, void* out) {
  const SumShape s = shape_of(rank, shape, reduced);
  if (!is_float(dtype)) return sum_integers(context, dtype, s, x, out);
  Scratch& scratch = device_of(context).reduction;
  if (const bptt_code code = reserve(context, scratch, bytes_of(dtype, sum_scratch(s))))
    return code;
  return run_sum(context, dtype, s, scale, {x}, out, nullptr, pointer<void>(scratch));
}

}  // namespace bptt::cuda
