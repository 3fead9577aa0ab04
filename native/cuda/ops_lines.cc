// The ops along an axis: extreme, sort, cumsum, gather, scatter_add and fold.
#include "cuda/device.h"
#include "cuda/reduction.h"

namespace bptt::cuda {

namespace {

// The kernel that serves int32: floats are words of the same size.
bptt_dtype words_of(bptt_dtype dtype) { return dtype == BPTT_INT32 ? BPTT_FLOAT32 : dtype; }

}  // namespace

bptt_code extreme(bptt_context* context, bptt_dtype dtype, bptt_extreme kind, int64_t outer,
                  int64_t n, int64_t inner, const void* x, void* values, int32_t* index) {
  if (n == 0) return BPTT_OK;
  const Lines lines = lines_of(outer, n, inner);
  return launch(context, extreme_kernel, words_of(dtype), grid_of_lines(lines.count, lines.lanes),
                Extreme{lines, kind == BPTT_LARGEST, dtype == BPTT_INT32, x, values, index});
}

bptt_code sort(bptt_context* context, bptt_dtype dtype, int32_t descending, int64_t k,
               int64_t outer, int64_t n, int64_t inner, const void* x, void* values,
               int32_t* index) {
  return launch(context, sort_kernel, words_of(dtype), grid_of(outer * n * inner),
                Sort{outer, n, inner, k, descending, dtype == BPTT_INT32, x, values, index});
}

bptt_code cumsum(bptt_context* context, bptt_dtype dtype, int32_t reverse, int64_t outer, int64_t n,
                 int64_t inner, const void* x, void* out) {
  const Lines lines = lines_of(outer, n, inner);
  if (n == 0) return BPTT_OK;  // of any number of lines
  return launch(context, cumsum_kernel, words_of(dtype), grid_of(lines.count),
                Cumsum{lines, reverse, dtype == BPTT_INT32, power_of_two_part(n), x, out});
}

bptt_code gather(bptt_context* context, bptt_dtype dtype, bptt_pick kind, int64_t outer, int64_t n,
                 int64_t inner, int64_t m, const void* x, const int32_t* index, void* out) {
  const int bytes = dtype == BPTT_BOOL ? 1 : dtype == BPTT_FLOAT64 ? 8 : 4;
  return launch(context, gather_kernel, bytes == 8 ? BPTT_FLOAT64 : BPTT_FLOAT32,
                grid_of(outer * m * inner),
                Gather{bytes, outer, n, inner, m, kind == BPTT_INDEX_SELECT, x, index, out,
                       pointer<int32_t>(device_of(context).flags)});
}

bptt_code scatter_add(bptt_context* context, bptt_dtype dtype, bptt_pick kind, int64_t outer,
                      int64_t n, int64_t inner, int64_t m, const int32_t* index, const void* base,
                      const void* source, void* out) {
  if (n + m == 0) return BPTT_OK;  // of any number of lines
  CudaDevice& device = device_of(context);
  if (const bptt_code code = reserve(context, device.reduction, bytes_of(dtype, outer * n * inner)))
    return code;
  return launch(context, scatter_add_kernel, words_of(dtype), grid_of(outer * inner),
                ScatterAdd{outer, n, inner, m, kind == BPTT_INDEX_SELECT, dtype == BPTT_INT32,
                           power_of_two_part(m + 1), index, base, source, out,
                           pointer<void>(device.reduction), pointer<int32_t>(device.flags)});
}

bptt_code fold(bptt_context* context, bptt_dtype dtype, bptt_fold fold, double alpha, int64_t outer,
               int64_t n, int64_t inner, const void* x, void* out) {
  if (inner != 1) {  // lines become rows
    Scratch& scratch = device_of(context).reduction;
    if (const bptt_code code = reserve(context, scratch, bytes_of(dtype, outer * n * inner)))
      return code;
    void* rows = pointer<void>(scratch);
    const int64_t shape[] = {outer, inner, n};
    const int64_t from[] = {n * inner, 1, inner}, to[] = {n * inner, n, 1};
    if (const bptt_code code = copy(context, dtype, 3, shape, x, from, rows, to)) return code;
    x = rows;
  }
  const Lanes lanes = lanes_of(n, true);
  return launch(context, fold_kernel, dtype, grid_of_lines(outer * inner, lanes),
                Fold{fold, alpha, outer * inner, n, lanes, x, out});
}

}  // namespace bptt::cuda
