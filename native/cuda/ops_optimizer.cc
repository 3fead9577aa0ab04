// Optimizers and gradient norms: many tensors in one launch.
#include "cuda/device.h"
#include "cuda/reduction.h"

namespace bptt::cuda {

namespace {

// Adds a tensor of at least one element; false where there is no room.
template <int kMost>
bool append(Chunks<kMost>& chunks, int64_t size) {
  if (chunks.count == kMost) return false;
  chunks.size[chunks.count] = size;
  const int64_t first = chunks.first[chunks.count];
  chunks.first[++chunks.count] = first + divide_up(size, kChunk);
  return true;
}

// Fills argument structs with tensors [0, count) of size(i) elements and starts each:
// put(arguments, place, i) stores the pointers, start(arguments) launches.
template <class Arguments, class Size, class Put, class Start>
bptt_code in_batches(int64_t count, Arguments arguments, const Size& size, const Put& put,
                     const Start& start) {
  for (int64_t i = 0; i < count;) {
    arguments.chunks.count = 0;
    for (; i < count; ++i) {
      if (size(i) == 0) continue;
      const int place = arguments.chunks.count;
      if (!append(arguments.chunks, size(i))) break;
      put(arguments, place, i);
    }
    if (arguments.chunks.count == 0) break;
    if (const bptt_code code = start(arguments)) return code;
  }
  return BPTT_OK;
}

template <int kMost>
int64_t total_of(const Chunks<kMost>& chunks) {
  return chunks.first[chunks.count];
}

Kernel<Optimize> kernel_of(bptt_optimizer_kind kind) {
  switch (kind) {
    case BPTT_SGD:
      return sgd_kernel;
    case BPTT_RMSPROP:
    case BPTT_ADAGRAD:
      return rmsprop_kernel;
    case BPTT_AVERAGE:
      return average_kernel;
    case BPTT_ADAM:
    case BPTT_ADAMW:
    case BPTT_NADAM:
    case BPTT_RADAM:
      break;
  }
  return adam_kernel;
}

}  // namespace

bptt_code optimize(bptt_context* context, bptt_dtype dtype, const bptt_optimizer* optimizer,
                   int64_t count, const bptt_parameter* parameters) {
  const int32_t* flag = pointer<int32_t>(device_of(context).flags);
  Optimize arguments{};
  arguments.options = *optimizer;
  arguments.flag = flag;
  const bptt_code code = in_batches(
      count, arguments, [&](int64_t i) { return parameters[i].size; },
      [&](Optimize& a, int place, int64_t i) {
        a.value[place] = parameters[i].value;
        a.grad[place] = parameters[i].grad;
        for (int s = 0; s < 3; ++s) a.state[place][s] = parameters[i].state[s];
      },
      [&](const Optimize& a) {
        return launch(context, kernel_of(optimizer->kind), dtype,
                      grid_of_chunks(total_of(a.chunks)), a);
      });
  if (code) return code;
  return launch(context, count_step_kernel, dtype, {1, 1}, CountStep{flag, optimizer->step});
}

bptt_code grad_norm(bptt_context* context, bptt_dtype dtype, int64_t count,
                    const void* const* grads, const int64_t* sizes, void* norm) {
  Scratch& scratch = device_of(context).reduction;
  int64_t chunks = 0;
  for (int64_t i = 0; i < count; ++i) chunks += divide_up(sizes[i], kChunk);
  if (const bptt_code code =
          reserve(context, scratch, static_cast<size_t>(chunks * kMostSquareSums) * sizeof(double)))
    return code;
  double* const all = pointer<double>(scratch);
  double* partial = all;
  const bptt_code code = in_batches(
      count, GradSquares{}, [&](int64_t i) { return sizes[i]; },
      [&](GradSquares& a, int place, int64_t i) { a.grad[place] = grads[i]; },
      [&](GradSquares& a) {
        a.partial = partial;
        partial += total_of(a.chunks) * kMostSquareSums;
        return launch(context, grad_squares_kernel, dtype, grid_of_chunks(total_of(a.chunks)), a);
      });
  if (code) return code;
  return launch(context, grad_norm_kernel, dtype, {1}, GradNorm{chunks, all, norm});
}

bptt_code clip_grads(bptt_context* context, bptt_dtype dtype, int64_t count, void* const* grads,
                     const int64_t* sizes, double most, const void* norm) {
  ClipGrads arguments{};
  arguments.most = most;
  arguments.norm = norm;
  return in_batches(
      count, arguments, [&](int64_t i) { return sizes[i]; },
      [&](ClipGrads& a, int place, int64_t i) { a.grad[place] = grads[i]; },
      [&](const ClipGrads& a) {
        return launch(context, norm ? clip_grads_kernel : clamp_grads_kernel, dtype,
                      grid_of_chunks(total_of(a.chunks)), a);
      });
}

}  // namespace bptt::cuda
