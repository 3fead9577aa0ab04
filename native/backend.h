// What a backend provides: a table of C function pointers over plain data.
//
// Every entry that computes is called on the thread of one stream, in order,
// and returns BPTT_OK or a code with a message in context->message. No C++
// exception crosses this line and nothing behind it prints, aborts or exits.
// All tensors are dense and row-major unless strides are given; strides and
// sizes count elements, never bytes. Pointers are device pointers of this
// backend. Outputs may not overlap inputs unless an entry says so.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cells.h"

#ifdef __cplusplus
extern "C" {
#endif

// A backend of another version is refused: its structs differ. The lists of cells.h count
// themselves; any other change of a struct or a list below raises the first number.
#define BPTT_ONE_MORE(...) +1
enum {
  BPTT_BACKEND_VERSION =
      11 * 10000 + (BPTT_CELLS(BPTT_ONE_MORE)) * 100 + (BPTT_PARAMETERS(BPTT_ONE_MORE))
};
#undef BPTT_ONE_MORE
#define BPTT_MAX_RANK 8

// An enum is a list of ENTRY(enumerator, name), in the order of their values, which count from
// 0. The bounds and names of enums.h come of it, and lib/enums.ts by generate.mjs.
#define BPTT_ENUMERATOR(enumerator, name) enumerator,

#define BPTT_DTYPE(ENTRY)      \
  ENTRY(BPTT_FLOAT32, float32) \
  ENTRY(BPTT_FLOAT64, float64) \
  ENTRY(BPTT_INT32, int32)     \
  ENTRY(BPTT_BOOL, bool) /* a byte, 0 or 1 */

typedef enum bptt_dtype { BPTT_DTYPE(BPTT_ENUMERATOR) } bptt_dtype;

typedef enum bptt_code {
  BPTT_OK = 0,
  BPTT_OUT_OF_MEMORY = 1,
  BPTT_INDEX = 2,       // an index in a tensor's data is out of range
  BPTT_CANCELLED = 3,   // the environment is going away
  BPTT_DEVICE = 4,      // the device failed
  BPTT_INTERNAL = 5,    // a broken invariant: a bug in this library
  BPTT_UNSUPPORTED = 6  // this backend or this device cannot do it, whatever is tried
} bptt_code;

// One per stream. The entry that fails writes the message.
typedef struct bptt_context {
  int (*cancelled)(void* arg);  // long kernels ask now and then, and end early; thread-safe
  void* cancelled_arg;
  void* device;  // the backend's own
  char message[256];
} bptt_context;

// Source of random numbers: element i of a tensor draws from Philox4x32-10 with
// key = seed and counter = offset + i / 4, word i % 4 (shared/philox.h).
typedef struct bptt_rng {
  uint64_t seed;
  uint64_t offset;
} bptt_rng;

// alpha and beta are what some take beside x.
#define BPTT_UNARY(ENTRY)                                                                       \
  ENTRY(BPTT_NEG, neg)                                                                          \
  ENTRY(BPTT_TANH, tanh)                                                                        \
  ENTRY(BPTT_SIGMOID, sigmoid)                                                                  \
  ENTRY(BPTT_RELU, relu)                                                                        \
  ENTRY(BPTT_EXP, exp)                                                                          \
  ENTRY(BPTT_LOG, log)                                                                          \
  ENTRY(BPTT_SQRT, sqrt)                                                                        \
  ENTRY(BPTT_ABS, abs)                                                                          \
  ENTRY(BPTT_SCALE, scale)          /* alpha * x */                                             \
  ENTRY(BPTT_ADD_SCALAR, addScalar) /* x + alpha */                                             \
  ENTRY(BPTT_SIGN, sign)            /* 0 for NaN */                                             \
  ENTRY(BPTT_SQUARE, square)                                                                    \
  ENTRY(BPTT_FLOOR, floor)                                                                      \
  ENTRY(BPTT_ROUND, round) /* halves to the even one */                                         \
  ENTRY(BPTT_CEIL, ceil)                                                                        \
  ENTRY(BPTT_SIN, sin)                                                                          \
  ENTRY(BPTT_COS, cos)                                                                          \
  ENTRY(BPTT_ERF, erf)                                                                          \
  ENTRY(BPTT_GELU, gelu)                                                                        \
  ENTRY(BPTT_GELU_TANH, geluTanh)                                                               \
  ENTRY(BPTT_SILU, silu)                                                                        \
  ENTRY(BPTT_SOFTPLUS, softplus)    /* log(1 + exp(alpha x)) / alpha; x where alpha x > beta */ \
  ENTRY(BPTT_LEAKY_RELU, leakyRelu) /* x above 0, else alpha x */                               \
  ENTRY(BPTT_ELU, elu)              /* x above 0, else alpha (exp(x) - 1) */                    \
  ENTRY(BPTT_CLAMP, clamp)          /* min(max(x, alpha), beta) */                              \
  ENTRY(BPTT_POW, pow)              /* x to the power of alpha */

#define BPTT_BINARY(ENTRY)                               \
  ENTRY(BPTT_ADD, add)                                   \
  ENTRY(BPTT_SUB, sub)                                   \
  ENTRY(BPTT_MUL, mul)                                   \
  ENTRY(BPTT_DIV, div)                                   \
  ENTRY(BPTT_MAXIMUM, maximum) /* NaN where either is */ \
  ENTRY(BPTT_MINIMUM, minimum)                           \
  ENTRY(BPTT_POWER, pow)

// As IEEE 754: with NaN all are false but ne.
#define BPTT_COMPARISON(ENTRY) \
  ENTRY(BPTT_EQ, eq)           \
  ENTRY(BPTT_NE, ne)           \
  ENTRY(BPTT_LT, lt)           \
  ENTRY(BPTT_LE, le)           \
  ENTRY(BPTT_GT, gt)           \
  ENTRY(BPTT_GE, ge)

#define BPTT_REDUCTION(ENTRY) ENTRY(BPTT_NONE, none) ENTRY(BPTT_MEAN, mean) ENTRY(BPTT_SUM, sum)

#define BPTT_PAIRWISE_LOSS(ENTRY) \
  ENTRY(BPTT_MSE, mseLoss) ENTRY(BPTT_BCE_WITH_LOGITS, bceWithLogits)

#define BPTT_SOFTMAX_KIND(ENTRY) ENTRY(BPTT_SOFTMAX, softmax) ENTRY(BPTT_LOG_SOFTMAX, logSoftmax)

#define BPTT_EXTREME(ENTRY) ENTRY(BPTT_LARGEST, max) ENTRY(BPTT_SMALLEST, min)

// Reductions of a line to one number.
#define BPTT_FOLD(ENTRY)                                                           \
  ENTRY(BPTT_PROD, prod)                                                           \
  ENTRY(BPTT_VARIANCE, variance) /* sum of squares about the mean / (n - alpha) */ \
  ENTRY(BPTT_STD, std)           /* its root */                                    \
  ENTRY(BPTT_NORM, norm)         /* root of the sum of squares */                  \
  ENTRY(BPTT_LOG_SUM_EXP, logSumExp)

// The ops that pick elements along an axis, with the shape of their index.
#define BPTT_PICK(ENTRY)                                        \
  ENTRY(BPTT_GATHER, gather)            /* [outer, m, inner] */ \
  ENTRY(BPTT_SCATTER_ADD, scatterAdd)   /* the same */          \
  ENTRY(BPTT_ONE_HOT, oneHot)           /* the same */          \
  ENTRY(BPTT_INDEX_SELECT, indexSelect) /* [m], for all lines */

// AveragedModel: the value moves towards grad, which holds new weights.
#define BPTT_OPTIMIZER(ENTRY)  \
  ENTRY(BPTT_SGD, SGD)         \
  ENTRY(BPTT_ADAM, Adam)       \
  ENTRY(BPTT_ADAMW, AdamW)     \
  ENTRY(BPTT_RMSPROP, RMSprop) \
  ENTRY(BPTT_NADAM, NAdam)     \
  ENTRY(BPTT_RADAM, RAdam)     \
  ENTRY(BPTT_ADAGRAD, Adagrad) \
  ENTRY(BPTT_AVERAGE, AveragedModel)

typedef enum bptt_unary_op { BPTT_UNARY(BPTT_ENUMERATOR) } bptt_unary_op;
typedef enum bptt_binary_op { BPTT_BINARY(BPTT_ENUMERATOR) } bptt_binary_op;
typedef enum bptt_comparison { BPTT_COMPARISON(BPTT_ENUMERATOR) } bptt_comparison;
typedef enum bptt_reduction { BPTT_REDUCTION(BPTT_ENUMERATOR) } bptt_reduction;
typedef enum bptt_pairwise_loss { BPTT_PAIRWISE_LOSS(BPTT_ENUMERATOR) } bptt_pairwise_loss;
typedef enum bptt_softmax_kind { BPTT_SOFTMAX_KIND(BPTT_ENUMERATOR) } bptt_softmax_kind;
typedef enum bptt_extreme { BPTT_EXTREME(BPTT_ENUMERATOR) } bptt_extreme;
typedef enum bptt_fold { BPTT_FOLD(BPTT_ENUMERATOR) } bptt_fold;
typedef enum bptt_pick { BPTT_PICK(BPTT_ENUMERATOR) } bptt_pick;
typedef enum bptt_optimizer_kind { BPTT_OPTIMIZER(BPTT_ENUMERATOR) } bptt_optimizer_kind;

// Names and meaning are torch.optim's. step is a float64 scalar in device
// memory, incremented by the update itself, so that a skipped update leaves it.
typedef struct bptt_optimizer {
  bptt_optimizer_kind kind;
  double lr, weight_decay;
  double momentum, dampening;  // SGD, RMSprop (momentum)
  double beta1, beta2, eps;    // Adam and its kin; eps also RMSprop, Adagrad
  double alpha;                // RMSprop; averages: their decay, or -1: all weigh the same
  double lr_decay;             // Adagrad
  double mu_decay;             // NAdam: 0.96^momentum_decay
  int nesterov, centered, amsgrad, maximize;
  int decoupled;  // NAdam, RAdam: decoupled weight decay
  double* step;   // [1]
} bptt_optimizer;

// One parameter of an update. State buffers an option does not need are null:
// SGD momentum_buffer | Adam and its kin exp_avg, exp_avg_sq, max_exp_avg_sq (not NAdam, RAdam) |
// RMSprop square_avg, momentum_buffer, grad_avg | Adagrad sum.
typedef struct bptt_parameter {
  int64_t size;
  void* value;       // [size], updated in place
  const void* grad;  // [size]
  void* state[3];    // [size] each
} bptt_parameter;

// out[b, i, j] = init + sum over k, ascending, of left[b, i, k] * right[b, k, j].
// init is bias[j], or out's own value with accumulate, or zero.
typedef struct bptt_matmul {
  int64_t m, n, k;
  int64_t left_row, left_k;    // strides of left
  int64_t right_k, right_col;  // strides of right
  int64_t out_row;             // out's columns are adjacent
  int batch_rank;              // batch dimensions, broadcast by stride 0
  int64_t batch_shape[BPTT_MAX_RANK];
  int64_t left_batch[BPTT_MAX_RANK], right_batch[BPTT_MAX_RANK], out_batch[BPTT_MAX_RANK];
  int accumulate;
} bptt_matmul;

#define BPTT_CELL(enumerator, ...) enumerator,
typedef enum bptt_cell { BPTT_CELLS(BPTT_CELL) } bptt_cell;
#undef BPTT_CELL

// The type in which recurrent layers compute their products, and keep rows, states and packed
// weights inside. The tensors of a call have the dtype whatever this is. All but the first
// are for float32 alone, and a backend may lack them.
#define BPTT_COMPUTE(ENTRY)                                                                       \
  ENTRY(BPTT_COMPUTE_DTYPE, dtype) /* the dtype itself: float32 is plain float32 */               \
  ENTRY(BPTT_COMPUTE_TF32, tf32) /* products of factors with 10 bits of mantissa, else float32 */ \
  ENTRY(BPTT_COMPUTE_FLOAT16, float16)   /* kept and multiplied as float16, summed in float32 */  \
  ENTRY(BPTT_COMPUTE_BFLOAT16, bfloat16) /* kept and multiplied as bfloat16, summed in float32 */

typedef enum bptt_compute { BPTT_COMPUTE(BPTT_ENUMERATOR) } bptt_compute;

// A stack of recurrent layers: T time, B batch, I input, H hidden, P projection
// (0: none), L layers, D directions. Hout = P ? P : H.
typedef struct bptt_recurrent {
  bptt_cell cell;
  bptt_dtype dtype;
  bptt_compute compute;
  int64_t T, B, I, H, P, L, D;
  int bias;
  int batch_first;         // x and y are [B,T,*] instead of [T,B,*]
  int training;            // forward fills the reserve that backward reads
  double dropout;          // between layers; the caller passes 0 outside training
  const int32_t* lengths;  // [B], 0..T each, in host memory, copied; null: all T
} bptt_recurrent;

typedef struct bptt_plan bptt_plan;  // the backend's own; immutable once made

typedef struct bptt_plan_sizes {
  size_t packed_bytes;              // weights in the backend's layout, kept by the caller
  size_t reserve_bytes;             // 0 unless training
  size_t forward_workspace_bytes;   // scratch of one call
  size_t backward_workspace_bytes;  // 0 unless training
  // How much less scratch a call with packed needs: what it leaves untouched at the end.
  size_t forward_packing_bytes;
  size_t backward_packing_bytes;
} bptt_plan_sizes;

// Parameters of pseudo-layer (layer * D + direction): those of cells.h, torch's tensors. Null
// where the layer has none; in gradients also where the gradient is not wanted.
#define BPTT_FIELD(name, ...) void* name;
typedef struct bptt_recurrent_params {
  BPTT_PARAMETERS(BPTT_FIELD)
} bptt_recurrent_params;
#undef BPTT_FIELD

typedef struct bptt_recurrent_forward {
  const bptt_recurrent_params* params;  // [L*D]
  void* packed;    // packed_bytes, or null: pack into the workspace at each call
  uint64_t stamp;  // packed is rebuilt unless it holds this stamp; never 0
  const void* x;   // [T,B,I]
  const void* h0;  // [L*D,B,Hout], null: zeros
  const void* c0;  // [L*D,B,H], cells with c only, null: zeros
  void* y;         // [T,B,D*Hout]; rows past their length become zero
  void* hn;        // [L*D,B,Hout], may be null; of the CPU may be h0 itself, as cn may be c0
  void* cn;        // [L*D,B,H], cells with c only, may be null
  void* reserve;
  void* workspace;
  bptt_rng rng;
} bptt_recurrent_forward;

// One reserve serves one backward: gates are overwritten by their gradients.
typedef struct bptt_recurrent_backward {
  const bptt_recurrent_params* params;  // [L*D]
  void* packed;
  uint64_t stamp;
  const void *x, *h0, *c0, *y;           // as in forward
  const void* dy;                        // [T,B,D*Hout], null: zeros
  const void* dhn;                       // [L*D,B,Hout], null: zeros
  const void* dcn;                       // [L*D,B,H], null: zeros
  void* dx;                              // [T,B,I], null: not wanted
  void* dh0;                             // [L*D,B,Hout], null: not wanted
  void* dc0;                             // [L*D,B,H], null: not wanted
  const bptt_recurrent_params* dparams;  // [L*D]; overwritten, never accumulated
  void* reserve;
  void* workspace;
  bptt_rng rng;  // the forward's
} bptt_recurrent_backward;

// The operations. Tables, declarations and the exports of the addon are made of this list; the
// struct below gives signatures and contracts.
// clang-format off
#define BPTT_ANY_DTYPE_OPS(OP) \
  OP(fill) OP(copy) OP(convert) OP(compare) OP(masked_copy) \
  OP(extreme) OP(sort) OP(cumsum) OP(gather) OP(scatter_add)
#define BPTT_NUMBER_OPS(OP) OP(unary) OP(binary) OP(sum)
#define BPTT_FLOAT_OPS(OP) \
  OP(unary_backward) OP(dropout) OP(uniform) OP(normal) \
  OP(softmax) OP(softmax_backward) OP(layer_norm) OP(layer_norm_backward) \
  OP(fold) OP(matmul) OP(embedding) OP(embedding_backward) \
  OP(cross_entropy) OP(cross_entropy_backward) OP(pairwise_loss) OP(pairwise_loss_backward) \
  OP(ctc_loss) OP(ctc_loss_backward) \
  OP(optimize) OP(grad_norm) OP(clip_grads)
// clang-format on
#define BPTT_OPS(OP) BPTT_ANY_DTYPE_OPS(OP) BPTT_NUMBER_OPS(OP) BPTT_FLOAT_OPS(OP)

// The CPU backend has one such table per instruction set.
typedef struct bptt_ops {
  const char* isa;  // "avx2", ...

  // -- elementwise; out may be an input -------------------------------------
  bptt_code (*fill)(bptt_context*, bptt_dtype, int64_t n, double value, void* out);
  // Of int32: neg, abs, sign, scale and addScalar, which wrap.
  bptt_code (*unary)(bptt_context*, bptt_dtype, bptt_unary_op, double alpha, double beta, int64_t n,
                     const void* x, void* out);
  // saved is the forward's result for tanh, sigmoid, relu, exp and sqrt, and its x for the others.
  bptt_code (*unary_backward)(bptt_context*, bptt_dtype, bptt_unary_op, double alpha, double beta,
                              int64_t n, const void* saved, const void* dout, void* dx);
  // Broadcasting by stride 0; out is dense over shape. Of int32, all but div and pow, which wrap;
  // of bool, maximum (or) and minimum (and).
  bptt_code (*binary)(bptt_context*, bptt_dtype, bptt_binary_op, int rank, const int64_t* shape,
                      const void* a, const int64_t* a_strides, const void* b,
                      const int64_t* b_strides, void* out);
  // Strided copy: transpose, slice, concat, expand. Any dtype.
  bptt_code (*copy)(bptt_context*, bptt_dtype, int rank, const int64_t* shape, const void* src,
                    const int64_t* src_strides, void* dst, const int64_t* dst_strides);
  // Any two dtypes. To int32: rounds toward zero and saturates, NaN becomes 0. To bool: x != 0.
  bptt_code (*convert)(bptt_context*, bptt_dtype from, bptt_dtype to, int64_t n, const void* x,
                       void* out);
  // As binary, into bool; any dtype.
  bptt_code (*compare)(bptt_context*, bptt_dtype, bptt_comparison, int rank, const int64_t* shape,
                       const void* a, const int64_t* a_strides, const void* b,
                       const int64_t* b_strides, void* out);
  // out = src where the mask, of bool, is 1; elsewhere out is left as it is. Any dtype; out is
  // dense over shape.
  bptt_code (*masked_copy)(bptt_context*, bptt_dtype, int rank, const int64_t* shape,
                           const void* mask, const int64_t* mask_strides, const void* src,
                           const int64_t* src_strides, void* out);
  // out = x / (1-p) where kept, else 0. Its own backward, with the same rng.
  bptt_code (*dropout)(bptt_context*, bptt_dtype, int64_t n, double p, bptt_rng, const void* x,
                       void* out);
  bptt_code (*uniform)(bptt_context*, bptt_dtype, int64_t n, double low, double high, bptt_rng,
                       void* out);
  bptt_code (*normal)(bptt_context*, bptt_dtype, int64_t n, double mean, double std, bptt_rng,
                      void* out);

  // -- reductions, by the fixed tree of docs/numerics.md --------------------
  // out = scale * sum over the axes whose reduced flag is set; out is dense over the rest. Of
  // int32 the sum wraps, and scale is 1.
  bptt_code (*sum)(bptt_context*, bptt_dtype, int rank, const int64_t* shape, const int* reduced,
                   double scale, const void* x, void* out);
  // x is [outer, classes, inner].
  bptt_code (*softmax)(bptt_context*, bptt_dtype, bptt_softmax_kind, int64_t outer, int64_t classes,
                       int64_t inner, const void* x, void* out);
  bptt_code (*softmax_backward)(bptt_context*, bptt_dtype, bptt_softmax_kind, int64_t outer,
                                int64_t classes, int64_t inner, const void* out, const void* dout,
                                void* dx);
  // x, y [rows,cols]; gamma, beta [cols] or null; mean, rstd [rows] saved, or null.
  bptt_code (*layer_norm)(bptt_context*, bptt_dtype, int64_t rows, int64_t cols, double eps,
                          const void* x, const void* gamma, const void* beta, void* y, void* mean,
                          void* rstd);
  // dx, dgamma, dbeta: null where not wanted.
  bptt_code (*layer_norm_backward)(bptt_context*, bptt_dtype, int64_t rows, int64_t cols,
                                   const void* x, const void* gamma, const void* mean,
                                   const void* rstd, const void* dy, void* dx, void* dgamma,
                                   void* dbeta);

  // -- along an axis: x is [outer, n, inner], of numbers ----------------------
  // index [outer, inner]: where the largest or smallest of a line is first; values the same, or
  // null. NaN wins over all numbers. Nothing is written where n is 0.
  bptt_code (*extreme)(bptt_context*, bptt_dtype, bptt_extreme, int64_t outer, int64_t n,
                       int64_t inner, const void* x, void* values, int32_t* index);
  // values, index [outer, k, inner]: the first k <= n of each line in order, stable, and where
  // they are. NaN is greater than all numbers.
  bptt_code (*sort)(bptt_context*, bptt_dtype, int32_t descending, int64_t k, int64_t outer,
                    int64_t n, int64_t inner, const void* x, void* values, int32_t* index);
  // out[j] = sum of x[i] over i <= j, or, in reverse, over i >= j; of int32 modulo 2^32.
  bptt_code (*cumsum)(bptt_context*, bptt_dtype, int32_t reverse, int64_t outer, int64_t n,
                      int64_t inner, const void* x, void* out);
  // Any dtype. out [outer, m, inner] = x[index]. An index outside of [0, n): BPTT_INDEX.
  bptt_code (*gather)(bptt_context*, bptt_dtype, bptt_pick, int64_t outer, int64_t n, int64_t inner,
                      int64_t m, const void* x, const int32_t* index, void* out);
  // out [outer, n, inner] = base, or 0 where that is null, + the source [outer, m, inner] of each
  // index, in ascending order of place.
  bptt_code (*scatter_add)(bptt_context*, bptt_dtype, bptt_pick, int64_t outer, int64_t n,
                           int64_t inner, int64_t m, const int32_t* index, const void* base,
                           const void* source, void* out);
  // Floats. out [outer, inner].
  bptt_code (*fold)(bptt_context*, bptt_dtype, bptt_fold, double alpha, int64_t outer, int64_t n,
                    int64_t inner, const void* x, void* out);

  // -- products --------------------------------------------------------------
  bptt_code (*matmul)(bptt_context*, bptt_dtype, const bptt_matmul*, const void* left,
                      const void* right, const void* bias, void* out);

  // -- embedding -------------------------------------------------------------
  // out[i] = table[index[i]]; table [rows,cols], index [n].
  bptt_code (*embedding)(bptt_context*, bptt_dtype, int64_t n, int64_t rows, int64_t cols,
                         const void* table, const int32_t* index, void* out);
  // dtable is overwritten; rows are summed in ascending i, that of padding, if there is one, is 0.
  bptt_code (*embedding_backward)(bptt_context*, bptt_dtype, int64_t n, int64_t rows, int64_t cols,
                                  int64_t padding, const int32_t* index, const void* dout,
                                  void* dtable);

  // -- losses ----------------------------------------------------------------
  // logits [outer, classes, inner], target [outer, inner]; log_sum [outer*inner + 1]
  // saves log(sum(exp(x - max))) per row and, last, the number of rows that count. loss is a
  // scalar, or [outer, inner] with BPTT_NONE. A target that is neither ignore nor a class:
  // BPTT_INDEX.
  bptt_code (*cross_entropy)(bptt_context*, bptt_dtype, bptt_reduction, int64_t outer,
                             int64_t classes, int64_t inner, int32_t ignore, const void* logits,
                             const int32_t* target, void* loss, void* log_sum);
  bptt_code (*cross_entropy_backward)(bptt_context*, bptt_dtype, bptt_reduction, int64_t outer,
                                      int64_t classes, int64_t inner, int32_t ignore,
                                      const void* logits, const int32_t* target,
                                      const void* log_sum, const void* dloss, void* dlogits);
  bptt_code (*pairwise_loss)(bptt_context*, bptt_dtype, bptt_pairwise_loss, bptt_reduction,
                             int64_t n, const void* x, const void* target, void* loss);
  // dx, dtarget: null where not wanted.
  bptt_code (*pairwise_loss_backward)(bptt_context*, bptt_dtype, bptt_pairwise_loss, bptt_reduction,
                                      int64_t n, const void* x, const void* target,
                                      const void* dloss, void* dx, void* dtarget);
  // log_probs [T,B,C]; targets [total], the labels of all rows; layout [3,B]: each row's steps,
  // number of labels, at most S, and the place of its first one. loss [B], 0 for infinity with
  // zero_infinity. alpha [B,T,2S+4], of the backend's own layout, is what backward reads; null
  // where there is none. Lengths out of range, labels that are no class or the blank: BPTT_INDEX.
  bptt_code (*ctc_loss)(bptt_context*, bptt_dtype, int64_t T, int64_t B, int64_t C, int64_t S,
                        int64_t total, int32_t blank, int32_t zero_infinity, const void* log_probs,
                        const int32_t* targets, const int32_t* layout, void* loss, void* alpha);
  // dlog_probs = (exp(log_probs) - posterior) * dloss, dloss [B]: torch's, which is the gradient
  // where exp(log_probs) adds up to 1. 0 past a row's steps, and in rows of infinite loss.
  bptt_code (*ctc_loss_backward)(bptt_context*, bptt_dtype, int64_t T, int64_t B, int64_t C,
                                 int64_t S, int64_t total, int32_t blank, const void* log_probs,
                                 const int32_t* targets, const int32_t* layout, const void* alpha,
                                 const void* dloss, void* dlog_probs);

  // -- optimizers ------------------------------------------------------------
  bptt_code (*optimize)(bptt_context*, bptt_dtype, const bptt_optimizer*, int64_t count,
                        const bptt_parameter*);
  // norm [1] = square root of the sum of squares of all gradients.
  bptt_code (*grad_norm)(bptt_context*, bptt_dtype, int64_t count, const void* const* grads,
                         const int64_t* sizes, void* norm);
  // Each gradient is multiplied by min(1, most / (norm + 1e-6)), in place. Where norm is null, each
  // element is brought into [-most, most] instead.
  bptt_code (*clip_grads)(bptt_context*, bptt_dtype, int64_t count, void* const* grads,
                          const int64_t* sizes, double most, const void* norm);

  // -- recurrent layers: one call for the whole stack ---------------------------
  // plan_create and plan_sizes may be called on any thread; they allocate host memory only.
  bptt_code (*plan_create)(bptt_context*, const bptt_recurrent*, bptt_plan**);
  void (*plan_destroy)(bptt_plan*);
  void (*plan_sizes)(const bptt_plan*, bptt_plan_sizes*);
  bptt_code (*recurrent_forward)(bptt_context*, const bptt_plan*, const bptt_recurrent_forward*);
  bptt_code (*recurrent_backward)(bptt_context*, const bptt_plan*, const bptt_recurrent_backward*);
} bptt_ops;

typedef struct bptt_backend {
  int version;       // BPTT_BACKEND_VERSION
  const char* name;  // "cpu", "cuda"

  // Fills context->device for one stream on one device of this backend.
  bptt_code (*open)(bptt_context*, int device_index);
  void (*close)(bptt_context*);

  // Device memory, aligned to 64 bytes; size 0 gives a valid pointer. Any thread.
  bptt_code (*allocate)(bptt_context*, size_t bytes, void** out);
  void (*release)(bptt_context*, void* pointer);
  // Gives back what the backend keeps for its next ops, such as scratch. On the thread of ops.
  void (*trim)(bptt_context*);

  // Copies in stream order. The host side must stay valid until wait() has returned.
  bptt_code (*upload)(bptt_context*, void* device, const void* host, size_t bytes);
  bptt_code (*download)(bptt_context*, void* host, const void* device, size_t bytes);
  // Returns when all work that this context has started is done.
  bptt_code (*wait)(bptt_context*);

  bptt_ops ops;
} bptt_backend;

#ifdef __cplusplus
}

#define BPTT_ONE(op) +1
static_assert(offsetof(bptt_ops, plan_create) == sizeof(void*) * (1 BPTT_OPS(BPTT_ONE)),
              "BPTT_OPS lists every operation of bptt_ops");
#undef BPTT_ONE
#endif
