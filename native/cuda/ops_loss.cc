// Losses.
#include "cuda/device.h"
#include "cuda/reduction.h"

namespace bptt::cuda {

bptt_code cross_entropy(bptt_context* context, bptt_dtype dtype, bptt_reduction reduction,
                        int64_t outer, int64_t classes, int64_t inner, int32_t ignore,
                        const void* logits, const int32_t* target, void* loss, void* log_sum) {
  CudaDevice& device = device_of(context);
  const Lines lines = lines_of(outer, classes, inner);
  const int64_t rows = lines.count;
  const bool one = reduction != BPTT_NONE;
  // Losses and counts lie side by side, so that one sum makes both totals; whole numbers
  // are summed without error up to 2^24 (2^53) rows.
  const SumShape totals = sum_of_columns(one ? 2 : 1, rows);
  const int64_t kept = (one ? 2 : 1) * rows;
  if (const bptt_code code =
          reserve(context, device.reduction, bytes_of(dtype, kept + 4 + sum_scratch(totals))))
    return code;
  void* values = pointer<void>(device.reduction);
  void* losses = one ? values : loss;
  void* counted = one ? element(dtype, values, rows) : values;
  void* sums = element(dtype, values, kept);
  void* small = element(dtype, sums, 2);
  if (const bptt_code code =
          launch(context, cross_entropy_kernel, dtype, grid_of_lines(rows, lines.lanes),
                 CrossEntropy{lines, ignore, logits, target, losses, counted, log_sum,
                              pointer<int32_t>(device.flags)}))
    return code;
  void* last = element(dtype, log_sum, rows);
  if (const bptt_code code = run_sum(context, dtype, totals, 1, {values}, one ? sums : last,
                                     one ? small : nullptr, element(dtype, small, 2)))
    return code;
  if (!one) return BPTT_OK;
  return launch(
      context, cross_entropy_total_kernel, dtype, {1, 1},
      CrossEntropyTotal{reduction == BPTT_MEAN, power_of_two_part(rows), sums, small, loss, last});
}

bptt_code cross_entropy_backward(bptt_context* context, bptt_dtype dtype, bptt_reduction reduction,
                                 int64_t outer, int64_t classes, int64_t inner, int32_t ignore,
                                 const void* logits, const int32_t* target, const void* log_sum,
                                 const void* dloss, void* dlogits) {
  const Lines lines = lines_of(outer, classes, inner);
  return launch(context, cross_entropy_backward_kernel, dtype,
                grid_of_lines(lines.count, lines.lanes),
                CrossEntropyBackward{lines, reduction, ignore, logits, target, log_sum, dloss,
                                     dlogits, pointer<int32_t>(device_of(context).flags)});
}

bptt_code pairwise_loss(bptt_context* context, bptt_dtype dtype, bptt_pairwise_loss loss,
                        bptt_reduction reduction, int64_t n, const void* x, const void* target,
                        void* out) {
  if (reduction == BPTT_NONE)
    return launch(context, pairwise_loss_kernel, dtype, grid_of(n),
                  PairwiseLoss{loss, n, x, target, out});
  Scratch& scratch = device_of(context).reduction;
  const int64_t chunks = divide_up(n, kChunk);
  const SumShape rest = sum_of_columns(1, chunks);
  if (const bptt_code code =
          reserve(context, scratch, bytes_of(dtype, 2 * chunks + sum_scratch(rest))))
    return code;
  void* partial = pointer<void>(scratch);
  void* small = element(dtype, partial, chunks);
  const double root = root_of_part(n);
  if (const bptt_code code =
          launch(context, pairwise_loss_sum_kernel, dtype, grid_of_chunks(chunks),
                 PairwiseLossSum{loss, n, chunks, root, x, target, partial, small}))
    return code;
  const double scale = reduction == BPTT_MEAN ? 1 / static_cast<double>(n) : 1;
  return run_sum(context, dtype, rest, scale, {partial, small, root * root}, out, nullptr,
                 element(dtype, small, chunks));
}

bptt_code pairwise_loss_backward(bptt_context* context, bptt_dtype dtype, bptt_pairwise_loss loss,
                                 bptt_reduction reduction, int64_t n, const void* x,
                                 const void* target, const void* dloss, void* dx, void* dtarget) {
  return launch(context, pairwise_loss_backward_kernel, dtype, grid_of(n),
                PairwiseLossBackward{loss, reduction, n, x, target, dloss, dx, dtarget});
}

// One block a row: its steps follow one another, its states are shared out.
static Grid grid_of_rows(int64_t rows) { return {rows < kMostBlocks ? rows : kMostBlocks}; }

bptt_code ctc_loss(bptt_context* context, bptt_dtype dtype, int64_t T, int64_t B, int64_t C,
                   int64_t S, int64_t total, int32_t blank, int32_t zero_infinity,
                   const void* log_probs, const int32_t* targets, const int32_t* layout, void* loss,
                   void* alpha) {
  CudaDevice& device = device_of(context);
  const int64_t kept = alpha ? T : 2;
  if (!alpha) {
    if (const bptt_code code =
            reserve(context, device.reduction, bytes_of(dtype, B * kept * (2 * S + 4))))
      return code;
    alpha = pointer<void>(device.reduction);
  }
  int32_t* flag = pointer<int32_t>(device.flags);
  return launch(context, ctc_loss_kernel, dtype, grid_of_rows(B),
                CtcLoss{{T, B, C, S, total, blank, log_probs, targets, layout, flag},
                        zero_infinity,
                        kept,
                        loss,
                        alpha});
}

bptt_code ctc_loss_backward(bptt_context* context, bptt_dtype dtype, int64_t T, int64_t B,
                            int64_t C, int64_t S, int64_t total, int32_t blank,
                            const void* log_probs, const int32_t* targets, const int32_t* layout,
                            const void* alpha, const void* dloss, void* dlog_probs) {
  CudaDevice& device = device_of(context);
  if (const bptt_code code =
          reserve(context, device.reduction, bytes_of(dtype, B * 3 * (2 * S + 1))))
    return code;
  int32_t* flag = pointer<int32_t>(device.flags);
  return launch(context, ctc_loss_backward_kernel, dtype, grid_of_rows(B),
                CtcLossBackward{{T, B, C, S, total, blank, log_probs, targets, layout, flag},
                                alpha,
                                dloss,
                                dlog_probs,
                                pointer<void>(device.reduction)});
}

}  // namespace bptt::cuda
