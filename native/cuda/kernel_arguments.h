// The kernels, as host and device both see them: one struct of arguments each, so that
// a call cannot differ from its kernel. nvcc, the emulation and the host compiler read this.
//
// A kernel NAME with arguments Name in kernels/*.cu becomes bptt_NAME_float32 and
// bptt_NAME_float64; "T" below is that type. Structs stay below 4096 bytes, the most that
// every driver passes to a kernel.
#pragma once

#include <stdint.h>

#include "backend.h"
#include "cuda/recurrent/kernel_arguments.h"
#include "shared/axes.h"

namespace bptt::cuda {

constexpr unsigned kBlockThreads = 256;
// Grids are no larger: kernels loop over what is left.
constexpr int64_t kMostBlocks = 4096;

// -- how work is laid out ------------------------------------------------------

// How a block divides lines, which are what is summed into one value each: `lanes`
// threads, a power of two, take the elements of a line in turn. Neighbouring threads are
// lanes of one line where a line is adjacent in memory (then 32 or more of them), else
// they belong to neighbouring lines.
struct Lanes {
  int lanes;
  int along;
};

// Lines over the middle axis of [outer, length, inner].
struct Lines {
  int64_t count;  // outer * inner
  int64_t length, inner;
  Lanes lanes;
};

// Tensors cut into chunks of kChunk elements, which are numbered through: those of
// tensor i begin at first[i], and first[count] is the number of chunks.
constexpr int64_t kChunk = 4096;
template <int kMost>
struct Chunks {
  int count;
  int64_t first[kMost + 1];
  int64_t size[kMost];
};

// -- elementwise ---------------------------------------------------------------

// out[i] = value
struct Fill {
  int64_t n;
  double value;
  void* out;         // T[n]
  bptt_dtype dtype;  // int32 or bool: out is of that type, by the kernel of float32
};

// Words of T's size are copied, whatever they hold: dst[b offset] = src[a offset]. copy_bytes
// copies bytes. copy_tiles is for a transposition: src has its smallest stride along the last
// axis but one, dst along the last; its grid has a block for each tile.
struct Copy {
  Axes axes;
  const void* src;
  void* dst;
};
constexpr int kCopyTile = 32;

struct Unary {
  bptt_unary_op op;
  double alpha, beta;
  int64_t n;
  const void* x;  // T[n]
  void* out;      // T[n], may be x
};

struct UnaryBackward {
  bptt_unary_op op;
  double alpha, beta;
  int64_t n;
  const void* saved;  // T[n]: the forward's x or result, as backend.h says
  const void* dout;   // T[n]
  void* dx;           // T[n], may be either
};

struct Binary {
  bptt_binary_op op;
  Axes axes;
  const void *a, *b;  // by the strides of axes
  void* out;          // T[axes.n]
};

// -- any dtype, and integers ----------------------------------------------------
// Kernels that take their types from dtypes; T is float.

struct Convert {
  bptt_dtype from, to;
  int64_t n;
  const void* x;
  void* out;
};

struct Compare {
  bptt_dtype dtype;
  bptt_comparison op;
  Axes axes;
  const void *a, *b;  // by the strides of axes
  uint8_t* out;       // [axes.n]
};

struct MaskedCopy {
  int bytes;  // of an element
  Axes axes;
  const uint8_t* mask;  // by the first strides of axes
  const void* src;      // by the second
  void* out;            // [axes.n]
};

struct IntegerBinary {
  bptt_dtype dtype;  // int32, or bool for maximum and minimum
  bptt_binary_op op;
  Axes axes;
  const void *a, *b;
  void* out;
};

// Outputs are [outer, inner], inner adjacent.
struct IntegerSum {
  Walk outer, reduced;
  int64_t outputs, inner, length;
  const int32_t* x;
  int32_t* out;  // [outputs]
};

// -- random numbers --------------------------------------------------------------

struct Dropout {
  bptt_rng rng;
  int64_t n;
  uint32_t threshold;  // a smaller word drops the element
  double scale;
  const void* x;  // T[n]
  void* out;      // T[n], may be x
};

struct Uniform {
  bptt_rng rng;
  int64_t n;
  double low, high;
  void* out;  // T[n]
};

struct Normal {
  bptt_rng rng;
  int64_t n;
  double mean, std;
  void* out;  // T[n]
};

// -- sums -------------------------------------------------------------------------

// One pass of a sum: out[chunk, output] = the sum of elements [chunk * chunk_length, ...) of
// that output, and out_small the same of small, the elements times part, a power of two.
// Outputs are [outer, inner], inner adjacent.
struct Sum {
  Walk outer, reduced;
  int64_t outputs, inner, length;
  int64_t chunks, chunk_length;
  Lanes lanes;
  double part, scale, small_scale;  // small_scale = scale / part
  const void *x, *small;            // small may be null: it is then x times part
  void* out;                        // T[chunks, outputs]
  // The same; null in a last pass, which leaves in out scale * the sum, or small_scale * the small
  // one where the sum has left the range of the type.
  void* out_small;
};

// -- softmax ----------------------------------------------------------------------

struct Softmax {
  Lines lines;
  int log;
  const void* x;  // T[outer, length, inner]
  void* out;      // the same
};

struct SoftmaxBackward {
  Lines lines;
  int log;
  const void *out, *dout;  // T[outer, length, inner]
  void* dx;                // the same
};

// -- layer norm -------------------------------------------------------------------

struct LayerNorm {
  int64_t rows, cols;
  Lanes lanes;
  double eps, root_eps;
  const void* x;             // T[rows,cols]
  const void *gamma, *beta;  // T[cols] or null
  void* y;                   // T[rows,cols]
  void *mean, *rstd;         // T[rows] or null
};

// From mean and rstd: how the backward normalizes each row, as (x * [0] + [1]) * [2].
constexpr int64_t kNormalizeNumbers = 3;
struct LayerNormSaved {
  int64_t rows, cols;
  Lanes lanes;
  const void* x;            // T[rows,cols]
  const void *mean, *rstd;  // T[rows]
  void* normalize;          // T[rows, kNormalizeNumbers]
};

struct LayerNormBackward {
  int64_t rows, cols;
  Lanes lanes;
  double part;            // a power of two, 1 / cols at most
  const void* x;          // T[rows,cols]
  const void* gamma;      // T[cols] or null
  const void* normalize;  // T[rows, kNormalizeNumbers]
  const void* dy;         // T[rows,cols]
  void* dx;               // T[rows,cols]
};

// out[chunk, j] = the sum over rows [chunk * chunk_rows, ...) of dy * xhat.
struct LayerNormGamma {
  int64_t rows, cols;
  int64_t chunks, chunk_rows;
  Lanes lanes;
  const void* x;          // T[rows,cols]
  const void* normalize;  // T[rows, kNormalizeNumbers]
  const void* dy;         // T[rows,cols]
  void* out;              // T[chunks,cols]
};

// -- along the middle axis of [outer, n, inner] ---------------------------------------
// Where `integer` is set, elements are int32 and the kernel is that of float32.

struct Extreme {
  Lines lines;
  int largest, integer;
  const void* x;   // T[outer, n, inner], n > 0
  void* values;    // T[outer, inner] or null
  int32_t* index;  // [outer, inner]
};

// Each element counts the elements that come before it: that is its place.
struct Sort {
  int64_t outer, n, inner, k;
  int descending, integer;
  const void* x;   // T[outer, n, inner]
  void* values;    // T[outer, k, inner]
  int32_t* index;  // the same
};

struct Cumsum {
  Lines lines;
  int reverse, integer;
  double part;    // a power of two, 1 / n at most
  const void* x;  // T[outer, n, inner]
  void* out;      // the same
};

// Elements of `bytes` are copied, whatever they hold; 8 by the kernel of float64. An index out of
// range makes zeros and sets *flag to 1.
struct Gather {
  int bytes;
  int64_t outer, n, inner, m;
  int shared;            // all lines have the same index
  const void* x;         // T[outer, n, inner]
  const int32_t* index;  // [outer, m, inner], shared: [m]
  void* out;             // T[outer, m, inner]
  int32_t* flag;
};

// An index out of range is left out and sets *flag to 1.
struct ScatterAdd {
  int64_t outer, n, inner, m;
  int shared, integer;
  double part;           // a power of two, 1 / (m + 1) at most
  const int32_t* index;  // [outer, m, inner], shared: [m]
  const void* base;      // T[outer, n, inner] or null
  const void* source;    // T[outer, m, inner]
  void* out;             // T[outer, n, inner]
  void* lost;            // the same
  int32_t* flag;
};

struct Fold {
  bptt_fold fold;
  double alpha;
  int64_t rows, cols;
  Lanes lanes;
  const void* x;  // T[rows, cols]
  void* out;      // T[rows]
};

// -- embedding --------------------------------------------------------------------
// An index out of range makes zeros and sets *flag to 1.

struct Embedding {
  int64_t n, rows, cols;
  const void* table;     // T[rows,cols]
  const int32_t* index;  // [n]
  void* out;             // T[n,cols]
  int32_t* flag;
};

// next[i] is the next place after i that has the same index, or n; then follows[next[i]]
// becomes 1. An index out of range has no next.
struct EmbeddingLinks {
  int64_t n, rows;
  const int32_t* index;  // [n]
  int64_t* next;         // [n]
  int64_t* follows;      // [n], zeros before
  int32_t* flag;
};

// dtable holds zeros before.
struct EmbeddingBackward {
  int64_t n, rows, cols, padding;
  const int32_t* index;           // [n]
  const int64_t *next, *follows;  // [n]
  const void* dout;               // T[n,cols]
  void* dtable;                   // T[rows,cols]
};

// -- losses -----------------------------------------------------------------------

// A target that is neither ignored nor a class makes zeros and sets *flag to 1.
struct CrossEntropy {
  Lines lines;  // outer, classes, inner
  int32_t ignore;
  const void* logits;     // T[outer, classes, inner]
  const int32_t* target;  // [outer, inner]
  void* losses;           // T[outer, inner], 0 where ignored
  void* counted;          // T[outer, inner], 1 or 0
  void* log_sum;          // T[outer, inner], 0 where ignored
  int32_t* flag;
};

// From the sums of losses and counted: the loss, and log_sum's last place.
struct CrossEntropyTotal {
  int mean;
  double part;
  const void *sums, *small;  // T[2], small: those of losses and counted times part
  void* loss;                // T[1]
  void* counted;             // T[1]
};

struct CrossEntropyBackward {
  Lines lines;
  bptt_reduction reduction;
  int32_t ignore;
  const void* logits;     // T[outer, classes, inner]
  const int32_t* target;  // [outer, inner]
  const void* log_sum;    // T[outer * inner + 1]
  const void* dloss;      // T[outer, inner] for BPTT_NONE, else T[1]
  void* dlogits;          // T[outer, classes, inner]
  int32_t* flag;
};

struct PairwiseLoss {
  bptt_pairwise_loss loss;
  int64_t n;
  const void *x, *target;  // T[n]
  void* out;               // T[n]
};

// out[chunk] = the sum over elements [chunk * kChunk, ...), out_small that of the losses times
// root^2.
struct PairwiseLossSum {
  bptt_pairwise_loss loss;
  int64_t n, chunks;
  double root;             // a power of two
  const void *x, *target;  // T[n]
  void *out, *out_small;   // T[chunks]
};

struct PairwiseLossBackward {
  bptt_pairwise_loss loss;
  bptt_reduction reduction;
  int64_t n;
  const void *x, *target;  // T[n]
  const void* dloss;       // T[n] for BPTT_NONE, else T[1]
  void *dx, *dtarget;      // T[n] or null
};

// A row whose lengths or labels are refused makes zeros and sets *flag to 1.
struct CtcRows {
  int64_t T, B, C, S, total;
  int32_t blank;
  const void* log_probs;            // T[T,B,C]
  const int32_t *targets, *layout;  // [total], [3,B]
  int32_t* flag;
};

struct CtcLoss {
  CtcRows rows;
  int32_t zero_infinity;
  int64_t kept;  // steps: T, or 2 in turn where no gradient is wanted
  void* loss;    // T[B]
  void* alpha;   // T[B, kept, 2S+4]
};

struct CtcLossBackward {
  CtcRows rows;
  const void* alpha;  // T[B,T,2S+4]
  const void* dloss;  // T[B]
  void* dlog_probs;   // T[T,B,C]
  void* room;         // T[B, 3, 2S+1]
};

// -- optimizers ---------------------------------------------------------------------

constexpr int kParametersAtOnce = 64;
constexpr int kGradsAtOnce = 128;

// The update number *options.step + 1 of some parameters. Nothing changes where *flag is
// not 0.
struct Optimize {
  bptt_optimizer options;
  const int32_t* flag;
  Chunks<kParametersAtOnce> chunks;
  void* value[kParametersAtOnce];  // T[size] each
  const void* grad[kParametersAtOnce];
  void* state[kParametersAtOnce][3];
};

// *step += 1, unless *flag is not 0.
struct CountStep {
  const int32_t* flag;
  double* step;
};

// partial[chunk, k] = the sum of squares of that chunk: as they are and, of float64, of numbers
// scaled down and up.
constexpr int kMostSquareSums = 3;
struct GradSquares {
  Chunks<kGradsAtOnce> chunks;
  const void* grad[kGradsAtOnce];  // T[size] each
  double* partial;                 // [chunks, kMostSquareSums]
};

// norm = sqrt(sum of partial)
struct GradNorm {
  int64_t n;
  const double* partial;  // [n, kMostSquareSums]
  void* norm;             // T[1]
};

// clip_grads scales by a norm, clamp_grads brings each element into [-most, most].
struct ClipGrads {
  Chunks<kGradsAtOnce> chunks;
  void* grad[kGradsAtOnce];  // T[size] each
  double most;
  const void* norm;  // T[1], of clip_grads
};

static_assert(sizeof(Optimize) <= 4096 && sizeof(GradSquares) <= 4096 && sizeof(ClipGrads) <= 4096);

// -- the list -------------------------------------------------------------------------

// KERNEL(name, Arguments): what names, types and loads them all.
#define BPTT_CUDA_KERNELS(KERNEL)                      \
  KERNEL(fill, Fill)                                   \
  KERNEL(copy, Copy)                                   \
  KERNEL(copy_tiles, Copy)                             \
  KERNEL(copy_bytes, Copy)                             \
  KERNEL(convert, Convert)                             \
  KERNEL(compare, Compare)                             \
  KERNEL(masked_copy, MaskedCopy)                      \
  KERNEL(integer_unary, Unary)                         \
  KERNEL(integer_binary, IntegerBinary)                \
  KERNEL(integer_sum, IntegerSum)                      \
  KERNEL(unary, Unary)                                 \
  KERNEL(unary_backward, UnaryBackward)                \
  KERNEL(binary, Binary)                               \
  KERNEL(dropout, Dropout)                             \
  KERNEL(uniform, Uniform)                             \
  KERNEL(normal, Normal)                               \
  KERNEL(sum, Sum)                                     \
  KERNEL(softmax, Softmax)                             \
  KERNEL(softmax_backward, SoftmaxBackward)            \
  KERNEL(layer_norm, LayerNorm)                        \
  KERNEL(layer_norm_saved, LayerNormSaved)             \
  KERNEL(layer_norm_backward, LayerNormBackward)       \
  KERNEL(layer_norm_gamma, LayerNormGamma)             \
  KERNEL(extreme, Extreme)                             \
  KERNEL(sort, Sort)                                   \
  KERNEL(cumsum, Cumsum)                               \
  KERNEL(gather, Gather)                               \
  KERNEL(scatter_add, ScatterAdd)                      \
  KERNEL(fold, Fold)                                   \
  KERNEL(embedding, Embedding)                         \
  KERNEL(embedding_links, EmbeddingLinks)              \
  KERNEL(embedding_backward, EmbeddingBackward)        \
  KERNEL(cross_entropy, CrossEntropy)                  \
  KERNEL(cross_entropy_total, CrossEntropyTotal)       \
  KERNEL(cross_entropy_backward, CrossEntropyBackward) \
  KERNEL(pairwise_loss, PairwiseLoss)                  \
  KERNEL(pairwise_loss_sum, PairwiseLossSum)           \
  KERNEL(pairwise_loss_backward, PairwiseLossBackward) \
  KERNEL(ctc_loss, CtcLoss)                            \
  KERNEL(ctc_loss_backward, CtcLossBackward)           \
  KERNEL(sgd, Optimize)                                \
  KERNEL(adam, Optimize)                               \
  KERNEL(rmsprop, Optimize)                            \
  KERNEL(average, Optimize)                            \
  KERNEL(count_step, CountStep)                        \
  KERNEL(grad_squares, GradSquares)                    \
  KERNEL(grad_norm, GradNorm)                          \
  KERNEL(clip_grads, ClipGrads)                        \
  KERNEL(clamp_grads, ClipGrads)                       \
  BPTT_CUDA_RECURRENT_KERNELS(KERNEL)

// A kernel's place in the list, with its type.
template <class Arguments>
struct Kernel {
  int index;
  const char* name;
};

enum KernelIndex {
#define BPTT_KERNEL_INDEX(name, Arguments) kIndex_##name,
  BPTT_CUDA_KERNELS(BPTT_KERNEL_INDEX)
#undef BPTT_KERNEL_INDEX
      kKernelCount
};

#define BPTT_KERNEL_VALUE(name, Arguments) \
  inline constexpr Kernel<Arguments> name##_kernel = {kIndex_##name, #name};
BPTT_CUDA_KERNELS(BPTT_KERNEL_VALUE)
#undef BPTT_KERNEL_VALUE

}  // namespace bptt::cuda
